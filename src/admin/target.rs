//! The target of sent codes, enrolled like any authenticator: it counts once a code that was sent to it is proved.

use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::AdminError;
use super::audit::Act;
use super::desk::{self, Desk};
use super::enroll::{free_label, label_taken};
use super::fresh::NewAuthenticator;
use crate::client::notify::code::Sent;
use crate::client::notify::target::Target;
use crate::client::notify::{Errand, NotifyClient, Typed};
use crate::client::{MfaClient, Parts};
use crate::clock;
use crate::config::value::{ClientName, Value};
use crate::domain::authenticator::{Authenticator, Mechanism};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::secret::keys;
use crate::secret::seal::authenticator_place;
use crate::store::{Added, Rank, Store};

/// What the payload of such an enrolment begins with: no otpauth URI does.
const MARK: &[u8] = b"countersign target 1\n";

/// What `enroll` takes of a target.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// Where codes are sent to, with --client "notify NAME": a code is sent there now, and proves it
    #[arg(long, value_name = "TEXT", conflicts_with = "target_stdin")]
    target: Option<String>,

    /// The same, read from standard input
    #[arg(long)]
    target_stdin: bool,
}

/// Whether `client` is one whose authenticators are targets.
pub fn is_meant(client: &str) -> bool {
    client.starts_with("notify ")
}

impl TargetArgs {
    /// Refuses a target where none is meant.
    pub fn refuse(&self) -> Result<(), AdminError> {
        if self.target.is_none() && !self.target_stdin {
            return Ok(());
        }
        Err(AdminError::Usage("enroll: a target goes with --client \"notify NAME\"".into()))
    }

    /// The target; asked for on a terminal where none was given.
    fn read(&self, out: &mut impl Write) -> Result<String, AdminError> {
        if let Some(target) = &self.target {
            return Ok(target.clone());
        }
        let is_asked = io::stdin().is_terminal();
        if !self.target_stdin && !is_asked {
            return Err(AdminError::Usage(
                "enroll: where are codes sent to? give --target TEXT or --target-stdin".into(),
            ));
        }
        if is_asked {
            write!(out, "Where codes are sent to: ")?;
            out.flush()?;
        }
        let line = desk::read_line(&mut io::stdin().lock())?;
        // A target is no secret.
        let line = line.ok_or_else(|| AdminError::Data("no target was given; nothing was sent".into()))?;
        Ok(line.expose().trim().to_owned())
    }
}

/// What waits with the challenge, sealed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    client: String,
    target: String,
    sent: Sent,
}

/// The enrolment of a target that waits for its proof.
pub struct Enrolment {
    challenge: Challenge,
    waiting: Waiting,
}

impl Enrolment {
    /// Sends a code to the target that `args` give, and waits for it.
    pub fn open(
        desk: &Desk,
        user: &str,
        client: &str,
        label: Option<&str>,
        args: &TargetArgs,
        out: &mut impl Write,
    ) -> Result<Self, AdminError> {
        let subscriber = desk::subscriber(user)?;
        let notify = notify(desk, client)?;
        let text = args.read(out)?;
        let target = notify.target(&text).map_err(|expected| {
            AdminError::Data(format!("the target \"{}\" is none of [{client}]: {expected}", Foreign(&text)))
        })?;
        let label = free_label(&desk.authenticators_of(&subscriber)?, label)?;
        desk.audit(&Act {
            action: "enrol_begin",
            subscriber: &subscriber,
            what: &label,
            grounds: "by an administrator",
        })?;
        let id = ChallengeId(desk::random_text::<16>()?);
        let (now, origin) = (desk.now(), format!("the enrolment of {}", Foreign(subscriber.as_str())));
        let errand = Errand { target: &target, subscriber: &subscriber, to: &id.0, origin: &origin, now };
        let until = clock::after(Duration::from_secs(desk.setup.config.plugin.deadline.0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let sent = runtime
            .block_on(notify.send(errand, until))
            .map_err(|error| AdminError::Failed(format!("no code was sent, and nothing is enrolled: {error}")))?;
        let waiting = Waiting { client: client.to_owned(), target: target.text().to_owned(), sent };
        let challenge = Challenge {
            sealed: seal(desk, &subscriber, &id, &waiting)?,
            id,
            subscriber,
            purpose: Purpose::Enrol,
            binding: label,
            state: State::New,
            created: now,
            expires: now.plus(notify.lifetime()),
            tries_left: notify.tries(),
        };
        desk.settled(desk.store().open_challenge(&challenge))?;
        Ok(Self { challenge, waiting })
    }

    /// The enrolment `id`, where it is one of a target and waits for its proof.
    pub fn find(desk: &Desk, id: &str) -> Result<Option<Self>, AdminError> {
        let id = ChallengeId(id.trim().to_lowercase());
        let found = desk.settled(desk.store().challenge(&id, desk.now()))?;
        let is_waiting = |known: &Challenge| known.purpose == Purpose::Enrol && known.state == State::New;
        let Some(challenge) = found.filter(is_waiting) else { return Ok(None) };
        let place = authenticator_place(&challenge.subscriber, &challenge.id.0);
        let opened = desk.setup.sealer.open(keys::Purpose::Challenge, &place, &challenge.sealed);
        let opened = opened.map_err(|error| AdminError::Failed(error.to_string()))?;
        // Read at once; it was written by this program.
        let Some(text) = opened.expose().strip_prefix(MARK) else { return Ok(None) };
        let unread = |_| AdminError::Failed("the pending enrolment cannot be read".into());
        let waiting = serde_json::from_slice(text).map_err(unread)?;
        Ok(Some(Self { challenge, waiting }))
    }

    /// Says once more where the code went.
    pub fn show(&self, desk: &Desk, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let (subscriber, what) = (&self.challenge.subscriber, self.challenge.binding.as_str());
        desk.audit(&Act { action: "enrol_show", subscriber, what, grounds: "by an administrator" })?;
        self.print(json, out)
    }

    /// Says where the code went.
    pub fn print(&self, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let Waiting { client, target, sent: _ } = &self.waiting;
        if json {
            let shown = json!({
                "user": self.challenge.subscriber.as_str(),
                "label": self.challenge.binding,
                "client": client,
                "challenge": self.challenge.id.0,
                "target": target,
                "expires": self.challenge.expires.0,
            });
            return Ok(writeln!(out, "{shown}")?);
        }
        Ok(writeln!(out, "A code was sent to {}.", Foreign(target))?)
    }

    /// Says how to prove it later.
    pub fn print_next(&self, desk: &Desk, out: &mut impl Write) -> Result<(), AdminError> {
        let (id, config) = (&self.challenge.id.0, desk.setup.config.path().display());
        Ok(writeln!(out, "Nothing counts yet. To prove it: countersign enroll confirm {id} --config {config}")?)
    }

    /// Takes codes from standard input until one proves the target.
    pub fn confirm(&self, desk: &Desk, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let notify = notify(desk, &self.waiting.client)?;
        let mut input = io::stdin().lock();
        loop {
            if !json {
                write!(out, "Type the code that was sent: ")?;
                out.flush()?;
            }
            let code = desk::read_line(&mut input)?;
            let code = code.ok_or_else(|| AdminError::Data("no code was given; nothing was enrolled".into()))?;
            let Some(left) = desk.settled(desk.store().try_challenge(&self.challenge.id, desk.now()))? else {
                let text = "the enrolment has expired, or too many codes were wrong; begin a new one";
                return Err(AdminError::Data(text.into()));
            };
            let why = match notify.examine(&self.waiting.sent, &self.challenge.subscriber, &code, desk.now()) {
                Typed::Right => return self.complete(desk, &notify, json, out),
                Typed::Wrong | Typed::Malformed => "the code is not the one that was sent",
                Typed::Over => "the time of the code is over; begin a new enrolment",
            };
            if left == 0 || !io::stdin().is_terminal() {
                return Err(AdminError::Data(format!("{why}; nothing was enrolled ({left} tries left)")));
            }
            writeln!(io::stderr(), "{why} ({left} tries left)")?;
        }
    }

    fn complete(&self, desk: &Desk, notify: &NotifyClient, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let Waiting { client, target, sent: _ } = &self.waiting;
        // The section may say something else since.
        let target = notify.target(target).map_err(AdminError::Data)?;
        let subscriber = &self.challenge.subscriber;
        let authenticator = authenticator(desk, subscriber, client, &self.challenge.binding, &target)?;
        let what = authenticator.label.as_str();
        desk.audit(&Act { action: "enrol", subscriber, what, grounds: "a code proved it" })?;
        match desk.settled(desk.store().enrol(&self.challenge.id, &authenticator, None, Rank::Any, desk.now()))? {
            Added::Yes => {}
            Added::LabelTaken => return Err(label_taken(&authenticator.label)),
            Added::ChallengeGone | Added::NotFirst => {
                return Err(AdminError::Data("the enrolment is over; begin a new one".into()));
            }
        }
        if json {
            let done = json!({"enrolled": true, "user": subscriber.as_str(), "authenticator": authenticator.id.0});
            return Ok(writeln!(out, "{done}")?);
        }
        let (user, label) = (Foreign(subscriber.as_str()), Foreign(&authenticator.label));
        writeln!(
            out,
            "{user} is enrolled with \"{label}\" ({}): codes are sent to {}.",
            authenticator.id.0,
            target.masked()
        )?;
        Ok(())
    }
}

/// The client of that section.
fn notify(desk: &Desk, client: &str) -> Result<NotifyClient, AdminError> {
    let config = &desk.setup.config;
    let store: Rc<dyn Store> = Rc::clone(&desk.setup.store) as _;
    let parts = Parts { config, store: &store, sealer: &desk.setup.sealer };
    let found = match ClientName::parse(client) {
        Some(ClientName::Notify(name)) => config.remote.notify.get(&name),
        Some(_) | None => None,
    };
    let made = found.and_then(|options| NotifyClient::new(client.to_owned(), options, &parts));
    made.ok_or_else(|| AdminError::Data(format!("there is no section [{}] in plugin.ini; write it", Foreign(client))))
}

fn seal(desk: &Desk, subscriber: &Subscriber, id: &ChallengeId, waiting: &Waiting) -> Result<Vec<u8>, AdminError> {
    let text = serde_json::to_vec(waiting).map_err(|error| AdminError::Failed(error.to_string()))?;
    // Sealed at once.
    let plain = SecretBytes::new([MARK, &text].concat());
    let sealed =
        desk.setup.sealer.seal(keys::Purpose::Challenge, &authenticator_place(subscriber, &id.0), plain.expose());
    sealed.map_err(|error| AdminError::Failed(error.to_string()))
}

/// The authenticator that `target` becomes, sealed.
fn authenticator(
    desk: &Desk,
    subscriber: &Subscriber,
    client: &str,
    label: &str,
    target: &Target,
) -> Result<Authenticator, AdminError> {
    // Sealed at once.
    let secret = SecretBytes::new(target.text().as_bytes().to_vec());
    NewAuthenticator { client, label, mechanism: Mechanism::Sent, secret: &secret, last_step: None }
        .seal(desk, subscriber)
}
