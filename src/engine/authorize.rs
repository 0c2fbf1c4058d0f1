//! Whether a session goes on to its target, and what it gives back at its end.

use std::cell::Cell;

use super::admit::Admission;
use super::held::{self, Kind};
use super::step_up::Stepped;
use super::story::{Aside, Story};
use super::{End, Engine, own_fault};
use crate::client::{self, Wired};
use crate::config::policy::ConnectionLimit;
use crate::domain::authenticator::{Authenticator, Mechanism, Standing};
use crate::domain::challenge::State;
use crate::domain::claimant::Claimant;
use crate::domain::fault::Reach;
use crate::domain::outcome::{Denial, Outcome};
use crate::domain::request::{Request, Session};
use crate::domain::time::Moment;
use crate::domain::verdict::{Footing, Verdict};
use crate::policy::source::exact_source;
use crate::secret::cookie::{Cookie, Progress, Slot};
use crate::store::{Again, StoreError};

/// Whether a slot was taken for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Now,
    /// There is no limit, or the session had one before.
    No,
}

impl Engine {
    /// Proof → connection limit → what a client has to say → accept.
    pub(super) async fn authorize(&self, story: Story<'_>) -> Result<Verdict, End> {
        let (footing, reason) = self.proof(&story).await?;
        let admission = Admission::authorized(footing, reason);
        // Before a slot is taken: nobody who is asked holds one.
        let (story, admission) = match self.step_up(story).await? {
            Stepped::Asked(verdict) => return Ok(verdict),
            Stepped::On(story, None) => (story, admission),
            Stepped::On(story, Some(fresh)) => (self.renewed(story, fresh.progress), admission.stepped_up(*fresh)),
        };
        let (taken, request) = (self.take_session_slot(&story).await?, story.request);
        // It was asked before it was let on, and has held one since.
        let waits = story.cookie.is_some_and(|cookie| cookie.handle.is_some());
        let verdict = match self.clients.iter().find(|wired| wired.client.authorizes()) {
            None => self.go_on(&story, admission),
            Some(wired) => self.ask_to_authorize(story, wired, admission).await,
        };
        // Who was not the first to answer is told so, and the session of the first goes on.
        let is_second = matches!(&verdict, Err(End::Denied(Denial::ChallengeGone, _)));
        if verdict.is_err() && (taken == Taken::Now || (waits && !is_second)) {
            // Nothing goes on that would give it back.
            self.release_session_slots(&request.session).await?;
        }
        verdict
    }

    /// What the cookie proves: that the session was authenticated, by somebody who still is enrolled.
    async fn proof(&self, story: &Story<'_>) -> Result<(Footing, String), End> {
        let authenticated = |footing| Ok((footing, "the session was authenticated".to_owned()));
        let footing = match story.cookie.map(|cookie| cookie.progress) {
            Some(Progress::Accepted) => Footing::Full,
            Some(Progress::StoodIn) => Footing::Degraded,
            // Who is enrolled there, only the service knows; it was asked a moment ago.
            Some(Progress::AcceptedRemotely | Progress::Exempt) => return authenticated(Footing::Full),
            Some(Progress::AcceptedDegraded) => return authenticated(Footing::Degraded),
            Some(Progress::Asked) | None if self.policy.authorize_requires_proof => {
                return Err(Denial::NotAuthenticated.into());
            }
            Some(Progress::Asked) | None => {
                let text =
                    "no proof came that this session was authenticated, and [authorize] require_proof asks for none";
                return Ok((Footing::Full, text.into()));
            }
        };
        if self.policy.user_attribute.is_some() {
            // Under which name they are enrolled, only the directory knows; it was asked a moment ago.
            return authenticated(footing);
        }
        let held = self.store.held_by(&story.origin.subscriber).await?;
        let counts = |known: &Authenticator| match known.mechanism {
            Mechanism::LookUp => true,
            Mechanism::Totp(_) | Mechanism::Hotp(_) | Mechanism::Sent | Mechanism::Elsewhere => {
                self.wired(&known.client).is_some()
            }
        };
        match held.iter().any(|known| known.standing == Standing::Active && counts(known)) {
            true => authenticated(footing),
            false => Err(Denial::NotEnrolled.into()),
        }
    }

    /// Takes one of the slots of `[connection_limit]`, where the session does not have one.
    async fn take_session_slot(&self, story: &Story<'_>) -> Result<Taken, End> {
        let Some(ConnectionLimit { limit, stale_after }) = self.policy.connection_limit else { return Ok(Taken::No) };
        let Session { session_id, client_ip, .. } = &story.request.session;
        let session = session_id.as_deref().ok_or(Denial::Uncounted { missing: "session_id" })?;
        let source = client_ip.as_deref().ok_or(Denial::Uncounted { missing: "client_ip" })?;
        let source = exact_source(source);
        // With the length of the first: no two pairs have one key.
        let key = format!("session {} {source} {}", source.len(), story.owner().subscriber.as_str());
        let has_one = story.cookie.is_some_and(|cookie| cookie.slot == Slot::Held);
        let again = if has_one { Again::Keeps } else { Again::Counts };
        let (now, most) = (story.moment.now, u32::try_from(limit).unwrap_or(if limit < 0 { 0 } else { u32::MAX }));
        let holder = holder(session);
        let is_free = self.store.take_slot(&key, &holder, again, most, now, now.plus(stale_after)).await?;
        self.note("limit", || match is_free {
            true => format!("one of {limit} sessions of this user from this address"),
            false => format!("{limit} sessions of this user from this address are open"),
        });
        match (is_free, has_one) {
            (false, _) => Err(Denial::TooManySessions { limit }.into()),
            (true, true) => Ok(Taken::No),
            (true, false) => Ok(Taken::Now),
        }
    }

    async fn release_session_slots(&self, session: &Session) -> Result<(), StoreError> {
        if let (Some(_), Some(session)) = (self.policy.connection_limit, session.session_id.as_deref()) {
            self.store.release_slots(&holder(session)).await?;
        }
        Ok(())
    }

    /// What the client says, which may ask the claimant something first.
    async fn ask_to_authorize(&self, story: Story<'_>, wired: &Wired, admission: Admission) -> Result<Verdict, End> {
        let (section, now) = (wired.client.section(), story.moment.now);
        let held = self.find_named(&story).await?;
        let held = held.filter(|held| held.kind == Kind::Authorizing && held.section == section);
        let answered = held.as_ref().map(|held| story.request.answers.answer(&held.prompt.key));
        if let (Some(held), Some(None)) = (&held, &answered) {
            return self.ask_to_go_on(&story, held);
        }
        self.settle(&story).await?;
        // The service is asked about whom it knows, not about whoever has the claimant's name there.
        let identity = match &held {
            Some(held) => held.identity.clone(),
            None => self.identity(&story).await?,
        };
        let story = story.named(identity);
        let state = held.as_ref().map(|held| &held.state).filter(|state| !state.expose().is_empty());
        let reached = if held.is_some() { Reach::Answered } else { Reach::NotSent };
        let attempt = story.attempt();
        let asked = wired.client.authorize(&attempt, answered.flatten(), state);
        let outcome = client::in_one_piece(reached, asked).await;
        if let Some(held) = held
            && !held::finish(&*self.store, &held, State::Used, now).await.map_err(own_fault)?
        {
            return Err(Denial::ChallengeGone.into());
        }
        match outcome {
            Ok(Outcome::Verified(proof)) => {
                if let Some(remarks) = &proof.remarks {
                    story.aside.share(&remarks.session_cookie);
                }
                self.go_on(&story, admission.agreed(section.to_owned(), proof))
            }
            Ok(Outcome::Denied(denial)) => Err(End::Denied(denial, Some(section.to_owned()))),
            Ok(Outcome::Ask { prompt, state }) => {
                story.aside.share(&prompt.session_cookie);
                let id = held::new_id().map_err(own_fault)?;
                let held = story.held(id, Kind::Authorizing, section.to_owned(), prompt, None, state);
                self.hold(&story, &held).await?;
                self.ask_to_go_on(&story, &held)
            }
            // Nothing is sent to a device here.
            Ok(Outcome::Pushed { show: _, state: _ }) => Err(End::Denied(Denial::Undecided, Some(section.to_owned()))),
            Err(error) => Err(End::Fault(error.into_fault(section))),
        }
    }

    fn ask_to_go_on(&self, story: &Story<'_>, held: &held::Held) -> Result<Verdict, End> {
        let cookie = Cookie { handle: held::handle(&held.id), ..self.carried(story) };
        self.ask_with(story, &held.prompt, cookie)
    }

    fn go_on(&self, story: &Story<'_>, admission: Admission) -> Result<Verdict, End> {
        // Where nothing is new, the one that came stays.
        let is_new = self.policy.connection_limit.is_some()
            || admission.is_proof()
            || story.cookie.is_some_and(|cookie| cookie.handle.is_some());
        let cookie = match is_new {
            true => Some(self.seal(self.carried(story), story.session(), &story.claimant, &story.errand)?),
            false => None,
        };
        Ok(admission.accept(Some(story.claimant.clone()), cookie))
    }

    /// The story with a cookie that speaks of a proof of now.
    fn renewed<'a>(&self, mut story: Story<'a>, progress: Progress) -> Story<'a> {
        let fresh = self.new_cookie(progress, &story);
        story.cookie = Some(match story.cookie {
            Some(Cookie { progress: _, answered, slot, expires: _, handle: _ }) => Cookie { answered, slot, ..fresh },
            None => fresh,
        });
        story
    }

    /// What the cookie said, for as long as it said it, and that the session holds a slot.
    fn carried(&self, story: &Story<'_>) -> Cookie {
        let fresh = self.new_cookie(Progress::Asked, story);
        let slot = if self.policy.connection_limit.is_some() { Slot::Held } else { Slot::None };
        match story.cookie {
            Some(Cookie { progress, answered, slot: _, expires, handle: _ }) => {
                Cookie { progress, answered, slot, expires, ..fresh }
            }
            None => Cookie { slot, ..fresh },
        }
    }

    /// The session is over: what it held is given back.
    pub(super) async fn end_session(
        &self,
        request: &Request,
        claimant: Option<Claimant>,
        cookie: Option<Cookie>,
        moment: Moment,
        aside: &Aside,
    ) -> Result<Verdict, End> {
        self.release_session_slots(&request.session).await?;
        let verdict = Admission::ended().accept(claimant.clone(), None);
        if let Some(claimant) = claimant
            && request.session.session_id.is_some()
        {
            let mark = Cell::new(self.store.mark());
            let identity = self.known_identity(&claimant.0);
            let story = Story::new(request, claimant, identity, cookie, moment, &mark, aside);
            self.end_push_of(&story).await?;
        }
        Ok(verdict)
    }
}

/// By what a session is known as the holder of a slot.
fn holder(session: &str) -> String {
    format!("session {session}")
}
