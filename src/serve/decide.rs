//! One decision, with the first factor before it, and with an end at the deadline.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use futures_util::future::FutureExt;

use super::first_factor;
use crate::config::gateway::FirstFactor;
use crate::domain::fault::Fault;
use crate::domain::request::{Beginning, Kind, Request};
use crate::domain::time::Moment;
use crate::domain::verdict::{Reject, Sent, Verdict};
use crate::engine::{CookieState, Decision, Engine, Trial};

/// Whether a verdict is about the second factor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    SecondFactor,
    /// The claimant did not get as far as that: no trial run lets them in.
    FirstFactor,
}

/// The decision, whatever happens: at the deadline, and where the program fails, a fault. Where there is a first factor, it
/// comes before: with the request, or with the one whose cookie this is.
pub async fn decide(
    engine: &Engine,
    first_factor: Option<&FirstFactor>,
    request: &Request,
    moment: Moment,
) -> (Decision, Standing) {
    let mark = engine.store().mark();
    let reject = |reject: Reject, sent: Sent| Decision {
        verdict: Verdict::Reject(reject),
        session_cookie: request.session_cookie.clone(),
        troubles: Vec::new(),
        mark,
        cookie: CookieState::None,
        identity: None,
        challenge: None,
        sent,
        calls: Vec::new(),
    };
    let is_behind = is_behind_password(first_factor, request);
    let decided = AssertUnwindSafe(async {
        // On the heap: it is large, and would be moved with everything that is wrapped around it.
        let decision = Box::pin(engine.decide(request, moment));
        if !is_behind {
            return (decision.await, Standing::SecondFactor);
        }
        // Before anything is verified, or sent to anybody: nobody is asked anything for whoever brings no password, or a
        // cookie that is not ours.
        let cookie = engine.cookie_state(request, moment);
        let is_later = request.beginning == Beginning::Before || !first_factor::has_password(request);
        let passed = match (cookie, first_factor) {
            (CookieState::Good, _) if is_later => Ok(()),
            (_, Some(program)) if request.beginning == Beginning::Anywhere => {
                first_factor::check(engine, program, request, moment).await
            }
            (CookieState::Good | CookieState::None | CookieState::Foreign | CookieState::Expired, _) => {
                Err(first_factor::missing())
            }
        };
        match passed {
            Ok(()) => (decision.await, Standing::SecondFactor),
            Err(no) => (Decision { cookie, ..reject(no, Sent::Nothing) }, Standing::FirstFactor),
        }
    })
    .catch_unwind();
    let standing = if is_behind { Standing::FirstFactor } else { Standing::SecondFactor };
    match tokio::time::timeout_at(moment.deadline.into(), decided).await {
        Ok(Ok(decided)) => decided,
        Ok(Err(_panic)) => {
            let fault = Fault::internal("panic", "the program failed; the log says where");
            (reject(fault.into(), Sent::Perhaps), standing)
        }
        Err(_elapsed) => (reject(late().into(), Sent::Perhaps), standing),
    }
}

/// Whether a password comes before the second factor, and this program knows of that.
pub fn is_behind_password(first_factor: Option<&FirstFactor>, request: &Request) -> bool {
    request.kind == Kind::Authenticate && (first_factor.is_some() || request.beginning == Beginning::Before)
}

/// The fault of a verdict that was not there in time.
pub fn late() -> Fault {
    Fault::internal("deadline_exceeded", "there was no verdict within the deadline: the store did not answer in time")
}

/// What is said where `verdict` was decided.
pub fn said<'a>(trial: Option<&Trial>, verdict: &'a Verdict) -> Cow<'a, Verdict> {
    trial.map_or(Cow::Borrowed(verdict), |trial| Cow::Owned(trial.answer(verdict)))
}
