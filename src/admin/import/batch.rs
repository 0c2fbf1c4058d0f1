//! What an import is about to enrol, and why it will not enrol the rest.

use std::collections::BTreeMap;
use std::io::Write;

use subtle::ConstantTimeEq;

use super::incoming::Flaw;
use crate::admin::AdminError;
use crate::admin::audit::Act;
use crate::admin::desk::Desk;
use crate::domain::authenticator::{Authenticator, Hotp, Mechanism, Totp};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::secret::keys::Purpose;
use crate::secret::seal::authenticator_place;
use crate::store::Added;

/// How many flaws are told before the rest is counted.
const FLAWS: usize = 20;

/// How many a shared store is given at once.
const AT_ONCE: usize = 1000;

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Dry,
    Real,
}

/// What becomes of an entry that cannot be taken, or that is here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing at all is enrolled.
    Refuse,
    /// It is passed over, and told.
    PassOver,
}

/// How much an import tells of each that it enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    Each,
    Count,
}

/// Everything that is to come, all of it or nothing.
pub struct Batch<'a> {
    desk: &'a Desk,
    flawed: Then,
    existing: Then,
    new: Vec<(Authenticator, Vec<Vec<u8>>)>,
    held: BTreeMap<Subscriber, Vec<Held>>,
    flaws: Vec<Flaw>,
    remarks: Vec<String>,
    passed: usize,
}

/// What a subscriber holds, here or further up in the same source.
pub struct Held {
    pub id: String,
    pub client: String,
    pub label: String,
    pub is_default: bool,
    /// The word of its mechanism.
    kind: &'static str,
    /// Of what makes codes, and can be opened: nothing else is anybody's double.
    secret: Option<SecretBytes>,
}

impl<'a> Batch<'a> {
    /// An empty one.
    pub fn new(desk: &'a Desk, flawed: Then, existing: Then) -> Self {
        let (new, held, flaws, remarks) = (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new());
        Self { desk, flawed, existing, new, held, flaws, remarks, passed: 0 }
    }

    /// Takes down an entry that cannot be taken.
    pub fn flaw(&mut self, flaw: Flaw) {
        match self.flawed {
            Then::Refuse => self.flaws.push(flaw),
            Then::PassOver => {
                let Flaw { place, what } = flaw;
                self.pass_over(format!("{place}: passed over: {what}"));
            }
        }
    }

    /// Takes down an entry that is here already.
    pub fn exists(&mut self, place: &str, what: String) {
        match self.existing {
            Then::Refuse => {
                let what = format!("{what}; to pass over what is here already: --skip-existing");
                self.flaw(Flaw { place: place.to_owned(), what });
            }
            Then::PassOver => self.pass_over(format!("{place}: passed over: {what}")),
        }
    }

    /// Takes down an entry that was here, and was removed.
    pub fn removed(&mut self, place: &str, what: &str) {
        match self.existing {
            Then::Refuse => {
                let what = format!("{what}; to bring it back: --restore-removed");
                self.flaw(Flaw { place: place.to_owned(), what });
            }
            Then::PassOver => self.pass_over(format!("{place}: passed over: {what}")),
        }
    }

    /// Takes down an entry that is left out on purpose.
    pub fn pass_over(&mut self, remark: String) {
        self.passed += 1;
        self.remarks.push(remark);
    }

    /// Takes down what changes on the way.
    pub fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// What `subscriber` holds so far.
    pub fn held(&mut self, subscriber: &Subscriber) -> Result<&[Held], AdminError> {
        if !self.held.contains_key(subscriber) {
            let known = self.desk.authenticators_of(subscriber)?;
            let held = known.iter().map(|authenticator| self.opened(authenticator)).collect();
            self.held.insert(subscriber.clone(), held);
        }
        Ok(self.held.get(subscriber).map(Vec::as_slice).unwrap_or_default())
    }

    /// Whether `subscriber` holds one of this kind with this secret already; told for a person.
    pub fn double(
        &mut self,
        subscriber: &Subscriber,
        mechanism: Mechanism,
        secret: &SecretBytes,
    ) -> Result<Option<String>, AdminError> {
        let held = self.held(subscriber)?.iter().filter(|held| held.kind == mechanism.word());
        // Compared in constant time, and only here.
        let same = |known: &SecretBytes| bool::from(known.expose().as_slice().ct_eq(secret.expose()));
        let mut doubles = held.filter(|held| held.secret.as_ref().is_some_and(same));
        let user = Foreign(subscriber.as_str());
        Ok(doubles.next().map(|held| format!("{user} has this authenticator already, as \"{}\"", Foreign(&held.label))))
    }

    /// Adds an authenticator, with the hashes of its recovery codes where it is a set of them.
    pub fn add(&mut self, authenticator: Authenticator, hashes: Vec<Vec<u8>>) -> Result<(), AdminError> {
        self.held(&authenticator.subscriber)?;
        let held = self.opened(&authenticator);
        self.held.entry(authenticator.subscriber.clone()).or_default().push(held);
        self.new.push((authenticator, hashes));
        Ok(())
    }

    /// Enrols everything, or tells what would be; nothing where there is a flaw.
    pub fn finish(self, run: Run, telling: Telling, out: &mut impl Write) -> Result<(), AdminError> {
        let Self { desk, flawed: _, existing: _, new, held: _, flaws, remarks, passed } = self;
        if run == Run::Dry {
            for (authenticator, hashes) in &new {
                writeln!(out, "{}", described(authenticator, hashes.len()))?;
            }
        }
        for remark in &remarks {
            writeln!(out, "{remark}")?;
        }
        for name in ["totp", "hotp"] {
            if new.iter().any(|(authenticator, _)| authenticator.client == name)
                && let Some(note) = desk.unverified(name)
            {
                writeln!(out, "{note}")?;
            }
        }
        if run == Run::Dry {
            let (count, refused) = (new.len(), flaws.len());
            writeln!(out, "{count} would be enrolled, {passed} passed over, {refused} refused; nothing was changed")?;
            return if flaws.is_empty() { Ok(()) } else { Err(told(&flaws)) };
        }
        if !flaws.is_empty() {
            return Err(told(&flaws));
        }
        if new.is_empty() {
            writeln!(out, "0 enrolled")?;
            return Ok(());
        }
        // Others wait for what a shared store takes in at once.
        let at_once = if desk.setup.store.directory().is_some() { usize::MAX } else { AT_ONCE };
        let mut done = 0;
        for part in new.chunks(at_once) {
            for (one, _) in part {
                let grounds = "by an administrator";
                desk.audit(&Act { action: "import", subscriber: &one.subscriber, what: &one.label, grounds })?;
            }
            let what = match desk.settled(desk.store().add_with_codes(part)) {
                Ok(Added::Yes) => {
                    done += part.len();
                    continue;
                }
                Ok(Added::LabelTaken | Added::ChallengeGone | Added::NotFirst) => {
                    "somebody enrolled one of these users meanwhile".to_owned()
                }
                Err(error) if done == 0 => return Err(error.into()),
                Err(error) => error.to_string(),
            };
            let rest = match done {
                0 => "nothing was imported: run it again".to_owned(),
                _ => format!("{done} were imported before: run it again with --skip-existing"),
            };
            return Err(AdminError::Data(format!("{what}; {rest}")));
        }
        match telling {
            Telling::Count => writeln!(out, "{} enrolled", new.len())?,
            Telling::Each => {
                for (one, _) in &new {
                    let user = Foreign(one.subscriber.as_str());
                    writeln!(out, "{user} is enrolled with \"{}\" ({})", Foreign(&one.label), one.id.0)?;
                }
            }
        }
        Ok(())
    }

    fn opened(&self, authenticator: &Authenticator) -> Held {
        let Authenticator {
            id,
            subscriber,
            client,
            label,
            mechanism,
            sealed,
            last_step: _,
            created: _,
            last_used: _,
            standing: _,
            is_default,
        } = authenticator;
        let place = authenticator_place(subscriber, &id.0);
        let secret = match mechanism {
            Mechanism::Totp(_) | Mechanism::Hotp(_) => {
                self.desk.setup.sealer.open(Purpose::Authenticator, &place, sealed).ok()
            }
            Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere => None,
        };
        Held {
            id: id.0.clone(),
            client: client.clone(),
            label: label.clone(),
            is_default: *is_default,
            kind: mechanism.word(),
            secret,
        }
    }
}

/// One line for each flaw.
fn told(flaws: &[Flaw]) -> AdminError {
    let mut lines: Vec<String> =
        flaws.iter().take(FLAWS).map(|Flaw { place, what }| format!("{place}: {what}")).collect();
    if let Some(more) = flaws.len().checked_sub(FLAWS).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    let last = lines.pop().unwrap_or_default();
    lines.push(format!("{last}; nothing was imported"));
    AdminError::Data(lines.join("\n"))
}

/// An authenticator that would come, without its secret.
fn described(authenticator: &Authenticator, codes: usize) -> String {
    let user = Foreign(authenticator.subscriber.as_str());
    let label = Foreign(&authenticator.label);
    let what = match authenticator.mechanism {
        Mechanism::Totp(Totp { algorithm, digits, period }) => {
            format!("totp {}, {digits} digits, {period} s", algorithm.name())
        }
        Mechanism::Hotp(Hotp { algorithm, digits }) => {
            let next = authenticator.last_step.map_or(0, |last| last.saturating_add(1));
            format!("hotp {}, {digits} digits, next counter {next}", algorithm.name())
        }
        Mechanism::LookUp => format!("{codes} recovery codes"),
        mechanism @ (Mechanism::Sent | Mechanism::Elsewhere) => {
            format!("{} of {}", mechanism.word(), authenticator.client)
        }
    };
    format!("{user}  \"{label}\"  {what}")
}
