//! A fresh proof before a session goes on to a target that wants one (`[step_up]`): asked for by an authorize, given as in a
//! login, and good for one accept. The challenge of the question is the permit; without a question, the push's own is.

use super::errand::Errand;
use super::held::Kind;
use super::story::Story;
use super::{End, Engine};
use crate::domain::challenge::{ChallengeId, State};
use crate::domain::outcome::{Denial, Factor};
use crate::domain::request::Session;
use crate::domain::verdict::{Accept, Footing, Verdict};
use crate::secret::cookie::{self, Cookie, Progress};

/// What came of it.
pub enum Stepped<'a> {
    /// The session may go on; what was proved for it now, where it had to be.
    On(Story<'a>, Option<Box<Fresh>>),
    /// The claimant is asked.
    Asked(Verdict),
}

/// A fresh proof.
pub struct Fresh {
    pub factor: Option<Factor>,
    pub service: Option<String>,
    pub footing: Footing,
    pub reason: String,
    /// What the cookie says of the session from here on.
    pub progress: Progress,
}

impl Engine {
    /// Which rule → is a proof fresh → what the cookie names → the second factor → the permit is used.
    pub(super) async fn step_up<'a>(&self, story: Story<'a>) -> Result<Stepped<'a>, End> {
        let Some(rule) = &self.policy.step_up else { return Ok(Stepped::On(story, None)) };
        let session = &story.request.session;
        if !rule.matches(session) {
            self.note("step_up", || "[step_up] is not about this session: no fresh proof is needed".into());
            return Ok(Stepped::On(story, None));
        }
        let target = target(session);
        let story = story.on(Errand::StepUp { target: target.clone(), by: None });
        if let Some(age) = proof_age(&story).filter(|age| *age < rule.max_age) {
            self.note("step_up", || {
                format!("a proof of {age} s ago is fresh ([step_up] max_age = {}): none is needed", rule.max_age)
            });
            return Ok(Stepped::On(story, None));
        }
        self.note("step_up", || "[step_up] wants a fresh proof of this session".into());
        let held = self.find_named(&story).await?;
        if held.as_ref().is_some_and(|held| held.kind == Kind::Authorizing) {
            self.note("step_up", || "it was given before the client asked".into());
            return Ok(Stepped::On(story, None));
        }
        let identity = match &held {
            Some(held) => held.identity.clone(),
            None => self.identity(&story).await?,
        };
        let by = held.as_ref().map(|held| held.id.clone());
        let mut story = story.named(identity).on(Errand::StepUp { target, by });
        story.numbers = self.numbers(story.request);
        let (verdict, permit) = match held {
            None => (self.second_factor(story.again(), None).await?, None),
            Some(held) => {
                let permit = match held.kind {
                    Kind::Known | Kind::Choosing | Kind::Chosen => Some(held.id.clone()),
                    // Used by whoever is first to hear of the proof.
                    Kind::Asked | Kind::Pushed => None,
                    // None of these belongs to a step-up.
                    Kind::Verified | Kind::Authorizing | Kind::Enrolling | Kind::Ticket => {
                        return Err(Denial::ChallengeGone.into());
                    }
                };
                (self.resume_held(story.again(), held).await?, permit)
            }
        };
        match verdict {
            Verdict::Accept(Accept {
                claimant: _,
                identity: _,
                basis: _,
                factor,
                service,
                footing,
                reason,
                remarks: _,
                cookie: _,
            }) => {
                self.use_permit(&story, permit).await?;
                let progress = match (footing, &service) {
                    // What was handed out may be used up, and leaves nothing to look for.
                    (Footing::Full, None) if matches!(factor, Some(Factor::RecoveryCode | Factor::BypassCode)) => {
                        Progress::AcceptedRemotely
                    }
                    (Footing::Full, None) => Progress::Accepted,
                    (Footing::Full, Some(_)) => Progress::AcceptedRemotely,
                    (Footing::Degraded, None) => Progress::StoodIn,
                    (Footing::Degraded, Some(_)) => Progress::AcceptedDegraded,
                };
                Ok(Stepped::On(story, Some(Box::new(Fresh { factor, service, footing, reason, progress }))))
            }
            Verdict::NeedInfo(_) | Verdict::Reject(_) => Ok(Stepped::Asked(verdict)),
        }
    }

    /// Of all that prove something to one question, one goes on by it.
    async fn use_permit(&self, story: &Story<'_>, permit: Option<ChallengeId>) -> Result<(), End> {
        let Some(permit) = permit else { return Ok(()) };
        match self.store.move_challenge(&permit, State::New, State::Used, story.moment.now).await? {
            true => Ok(()),
            false => Err(Denial::ChallengeGone.into()),
        }
    }

    /// The cookie of a question that belongs to the story: to a step-up, what came with the authorize, for as long as it was
    /// good for.
    pub(super) fn asking(&self, story: &Story<'_>) -> Cookie {
        let fresh = self.new_cookie(Progress::Asked, story);
        match (&story.errand, story.cookie) {
            (Errand::StepUp { target: _, by: _ }, Some(came)) => Cookie { handle: None, ..came },
            (Errand::Login | Errand::Action { id: _, purpose: _ } | Errand::StepUp { target: _, by: _ }, _) => fresh,
        }
    }
}

/// How many seconds ago the session gave the proof that its cookie speaks of. An accept in a service's absence, an exemption
/// and a verification of before are none.
fn proof_age(story: &Story<'_>) -> Option<u64> {
    let Cookie { progress, answered: _, slot: _, expires, handle: _ } = story.cookie?;
    match progress {
        Progress::Accepted | Progress::AcceptedRemotely | Progress::StoodIn => {
            // Made when the proof was accepted.
            Some(cookie::LIFETIME.saturating_sub(expires.since(story.moment.now)))
        }
        Progress::Asked | Progress::AcceptedDegraded | Progress::Exempt => None,
    }
}

/// To where the session goes on, as far as the gateway says: a proof for one target is none for another.
fn target(session: &Session) -> String {
    let Session {
        session_id: _,
        protocol,
        connection_name,
        client_ip: _,
        client_port: _,
        client_hostname: _,
        gateway_user: _,
        gateway_domain: _,
        gateway_groups: _,
        server_ip,
        server_port,
        server_hostname,
        server_username,
        server_domain,
    } = session;
    let port = server_port.map(|port| port.to_string());
    let parts = [protocol, connection_name, server_ip, &port, server_hostname, server_username, server_domain];
    // With its length: no two lists have one text.
    let part = |part: &Option<String>| part.as_ref().map_or("-".into(), |part| format!("{} {part}", part.len()));
    parts.map(part).join(" ")
}
