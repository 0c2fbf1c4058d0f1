//! `countersign enroll`: an authenticator that counts once a code proves it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::AdminError;
use super::desk::{self, Desk};
use crate::clock::Clock;
use crate::domain::authenticator::{Authenticator, Mechanism, Standing, Totp};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::foreign::Foreign;
use crate::domain::secret::{SecretBytes, TypedCode};
use crate::otp::uri::OtpAuth;
use crate::otp::window::{Match, Verifier};
use crate::otp::{base32, qr, typed};
use crate::secret::keys;
use crate::secret::seal::authenticator_place;
use crate::store::{Added, Rank};

/// How long a pending enrolment can be proved, in seconds.
const LIFETIME: u64 = 900;

/// How many codes may be tried.
const TRIES: u32 = 5;

/// How an authenticator is called when nobody says.
pub const LABEL: &str = "authenticator";

/// What `enroll` takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// Who: the name under which the gateway presents them
    #[arg(required = true, value_name = "USER")]
    user: Option<String>,

    /// What the authenticator is called, such as phone
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    /// Read a code that proves it from standard input; asked for anyway on a terminal
    #[arg(long)]
    confirm: bool,

    /// Print JSON: user, challenge, uri, secret, expires; after a proof, enrolled and authenticator
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    pending: Option<Pending>,
}

#[derive(Debug, Subcommand)]
enum Pending {
    /// Show the secret of a pending enrolment again
    Show {
        /// The challenge that enroll printed
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Prove a pending enrolment: reads a code from standard input
    Confirm {
        /// The challenge that enroll printed
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Enrols, shows or confirms.
pub fn run(args: &Args, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    match (&args.pending, &args.user) {
        (Some(Pending::Show { id, json }), _) => {
            let pending = Enrolment::find(&desk, id)?;
            pending.show(*json, out)
        }
        (Some(Pending::Confirm { id, json }), _) => {
            let pending = Enrolment::find(&desk, id)?;
            pending.confirm(&desk, *json, out)
        }
        (None, Some(user)) => {
            let pending = Enrolment::open(&desk, user, args.label.as_deref())?;
            pending.show(args.json, out)?;
            out.flush()?;
            if args.confirm || (io::stdin().is_terminal() && !args.json) {
                return pending.confirm(&desk, args.json, out);
            }
            if !args.json {
                let (id, config) = (&pending.challenge.id.0, desk.setup.config.path().display());
                writeln!(out, "Nothing counts yet. To prove it: countersign enroll confirm {id} --config {config}")?;
            }
            Ok(())
        }
        (None, None) => Err(AdminError::Usage("enroll: who?".into())),
    }
}

/// An enrolment that waits for its proof.
struct Enrolment {
    challenge: Challenge,
    label: String,
    otpauth: OtpAuth,
}

impl Enrolment {
    fn open(desk: &Desk, user: &str, label: Option<&str>) -> Result<Self, AdminError> {
        let subscriber = desk::subscriber(user)?;
        let options = &desk.setup.config.totp;
        let label = free_label(&desk.authenticators_of(&subscriber)?, label)?;
        let otpauth = OtpAuth {
            issuer: Some(options.issuer.clone()),
            account: user.trim().to_owned(),
            totp: Totp { algorithm: options.algorithm, digits: options.digits.0, period: options.period.0 },
            secret: new_secret(usize::try_from(options.secret_bytes.0).unwrap_or(20))?,
        };
        let id = ChallengeId(desk::random_text::<16>()?);
        // Sealed at once.
        let sealed = desk
            .setup
            .sealer
            .seal(
                keys::Purpose::Challenge,
                &authenticator_place(&subscriber, &id.0),
                otpauth.to_uri().expose().as_bytes(),
            )
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        let created = desk.now();
        let challenge = Challenge {
            id,
            subscriber,
            purpose: Purpose::Enrol,
            binding: label.clone(),
            sealed,
            state: State::New,
            created,
            expires: created.plus(LIFETIME),
            tries_left: TRIES,
        };
        desk.settled(desk.store().open_challenge(&challenge))?;
        Ok(Self { challenge, label, otpauth })
    }

    fn find(desk: &Desk, id: &str) -> Result<Self, AdminError> {
        let gone = |what: &str| AdminError::Data(format!("the enrolment {} {what}; begin a new one", Foreign(id)));
        let challenge = desk
            .settled(desk.store().challenge(&ChallengeId(id.trim().to_lowercase()), desk.now()))?
            .filter(|challenge| challenge.purpose == Purpose::Enrol)
            .ok_or_else(|| gone("is not known"))?;
        match challenge.state {
            State::New => {}
            State::Used => return Err(gone("was proved already")),
            State::Expired => return Err(gone("has expired")),
            State::InProcess | State::Confirmed | State::Failed | State::Cancelled => return Err(gone("is over")),
        }
        let place = authenticator_place(&challenge.subscriber, &challenge.id.0);
        let uri = desk
            .setup
            .sealer
            .open(keys::Purpose::Challenge, &place, &challenge.sealed)
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        // Parsed at once; it was written by this program.
        let otpauth = std::str::from_utf8(uri.expose())
            .ok()
            .and_then(|uri| OtpAuth::parse(uri).ok())
            .ok_or_else(|| AdminError::Failed("the pending enrolment cannot be read".into()))?;
        Ok(Self { label: challenge.binding.clone(), challenge, otpauth })
    }

    /// Shows the secret to whoever enrols: this is where it may be seen.
    fn show(&self, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let (uri, secret) = (self.otpauth.to_uri(), base32::encode(&self.otpauth.secret));
        if json {
            let shown = json!({
                "user": self.challenge.subscriber.as_str(),
                "label": self.label,
                "challenge": self.challenge.id.0,
                "uri": uri.expose(),
                "secret": secret.expose(),
                "expires": self.challenge.expires.0,
            });
            return Ok(writeln!(out, "{shown}")?);
        }
        let colours = if io::stdout().is_terminal() { qr::Colours::Fixed } else { qr::Colours::Terminal };
        writeln!(out, "Scan this with an authenticator app:\n")?;
        if let Some(code) = qr::render(uri.expose(), colours) {
            writeln!(out, "{code}")?;
        }
        writeln!(out, "or type the secret:  {}", base32::grouped(secret.expose()))?;
        writeln!(out, "or open the URI:     {}\n", uri.expose())?;
        Ok(())
    }

    /// Takes codes from standard input until one proves the secret.
    fn confirm(&self, desk: &Desk, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let mut input = io::stdin().lock();
        loop {
            if !json {
                write!(out, "Type the code that the app shows: ")?;
                out.flush()?;
            }
            let code = read_code(&mut input)?;
            let Some(left) = desk.settled(desk.store().try_challenge(&self.challenge.id, desk.now()))? else {
                return Err(AdminError::Data(
                    "the enrolment has expired, or too many codes were wrong; begin a new one".into(),
                ));
            };
            match self.prove(desk, &code)? {
                Match::Step(step) => return self.complete(desk, step, json, out),
                Match::Outside { step: _, offset } => {
                    let seconds = offset.unsigned_abs().saturating_mul(self.otpauth.totp.period);
                    let direction = if offset > 0 { "fast" } else { "slow" };
                    let advice = format!(
                        "the code is right, but the app's clock is about {seconds} s {direction} of this machine's: set both by the network"
                    );
                    self.refuse(&advice, left)?;
                }
                Match::Nowhere => self.refuse("the code is wrong", left)?,
            }
        }
    }

    /// Tells why a code did not prove it; ends where nobody sits there to try again.
    fn refuse(&self, why: &str, left: u32) -> Result<(), AdminError> {
        if left == 0 || !io::stdin().is_terminal() {
            return Err(AdminError::Data(format!("{why}; nothing was enrolled ({left} tries left)")));
        }
        writeln!(io::stderr(), "{why} ({left} tries left)")?;
        Ok(())
    }

    fn prove(&self, desk: &Desk, code: &TypedCode) -> Result<Match, AdminError> {
        let verifier = Verifier::new(self.otpauth.totp, &self.otpauth.secret)
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        // Read as the digits that were meant; wiped when dropped.
        let code = typed::code(code.expose(), self.otpauth.totp.digits);
        let window = desk.setup.config.totp.valid_window.0.into();
        Ok(code.map_or(Match::Nowhere, |code| verifier.find(&code, desk.now(), window)))
    }

    /// The proved authenticator; the code that proved it is used.
    fn complete(&self, desk: &Desk, step: u64, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let new = NewAuthenticator {
            label: &self.label,
            totp: self.otpauth.totp,
            secret: &self.otpauth.secret,
            last_step: Some(step),
        };
        let authenticator = new.seal(desk, &self.challenge.subscriber)?;
        match desk.settled(desk.store().enrol(&self.challenge.id, &authenticator, Rank::Any, desk.now()))? {
            Added::Yes => {}
            Added::LabelTaken => return Err(label_taken(&self.label)),
            Added::ChallengeGone | Added::NotFirst => {
                return Err(AdminError::Data("the enrolment is over; begin a new one".into()));
            }
        }
        if json {
            let done = json!({"enrolled": true, "user": self.challenge.subscriber.as_str(), "authenticator": authenticator.id.0});
            return Ok(writeln!(out, "{done}")?);
        }
        let user = Foreign(self.challenge.subscriber.as_str());
        writeln!(
            out,
            "{user} is enrolled with \"{}\" ({}). The code is used; the next login takes the next one.",
            self.label, authenticator.id.0
        )?;
        Ok(())
    }
}

/// What an authenticator is made of.
pub struct NewAuthenticator<'a> {
    pub label: &'a str,
    pub totp: Totp,
    pub secret: &'a SecretBytes,
    pub last_step: Option<u64>,
}

impl NewAuthenticator<'_> {
    /// The authenticator for `subscriber`, its secret sealed.
    pub fn seal(
        &self,
        desk: &Desk,
        subscriber: &crate::domain::claimant::Subscriber,
    ) -> Result<Authenticator, AdminError> {
        let id = desk::new_authenticator_id()?;
        // Sealed at once.
        let sealed = desk
            .setup
            .sealer
            .seal(keys::Purpose::Authenticator, &authenticator_place(subscriber, &id.0), self.secret.expose())
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok(Authenticator {
            id,
            subscriber: subscriber.clone(),
            client: "totp".into(),
            label: self.label.to_owned(),
            mechanism: Mechanism::Totp(self.totp),
            sealed,
            last_step: self.last_step,
            created: desk.now(),
            last_used: None,
            standing: Standing::Active,
            is_default: false,
        })
    }
}

/// The label that was asked for, or the first free one of the usual name.
pub fn free_label(existing: &[Authenticator], wanted: Option<&str>) -> Result<String, AdminError> {
    let is_taken = |label: &str| existing.iter().any(|authenticator| authenticator.label == label);
    if let Some(label) = wanted.map(desk::label).transpose()? {
        return if is_taken(label) { Err(label_taken(label)) } else { Ok(label.to_owned()) };
    }
    let mut label = LABEL.to_owned();
    let mut count = 1;
    while is_taken(&label) {
        count += 1;
        label = format!("{LABEL} {count}");
    }
    Ok(label)
}

/// The error for a label that the user has already.
pub fn label_taken(label: &str) -> AdminError {
    AdminError::Data(format!("the user has an authenticator called \"{}\"; choose another --label", Foreign(label)))
}

fn new_secret(bytes: usize) -> Result<SecretBytes, AdminError> {
    let mut secret = vec![0; bytes];
    getrandom::fill(&mut secret).map_err(|error| AdminError::Failed(format!("no randomness: {error}")))?;
    Ok(SecretBytes::new(secret))
}

fn read_code(input: &mut impl BufRead) -> Result<TypedCode, AdminError> {
    desk::read_line(input)?.ok_or_else(|| AdminError::Data("no code was given; nothing was enrolled".into()))
}
