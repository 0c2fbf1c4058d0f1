//! The trial run of a configuration (`[policy] enforce = no`): every verdict is decided as ever and told to the log, and
//! whoever asked hears an accept.

use super::Engine;
use super::admit::Admission;
use crate::config::policy::Enforcement;
use crate::domain::claimant::Claimant;
use crate::domain::request::{Kind, Request};
use crate::domain::verdict::{Accept, NeedInfo, Reject, Verdict};

/// A request of a trial run: whatever comes of it, it is answered by an accept.
#[derive(Clone, Debug)]
pub struct Trial {
    claimant: Option<Claimant>,
}

impl Engine {
    /// The trial that `request` is part of; `None` where its verdict is said as it is. The permits of other programs and the
    /// ends of sessions are never on trial.
    pub fn trial(&self, request: &Request) -> Option<Trial> {
        match &request.kind {
            Kind::Authenticate | Kind::Authorize if self.policy.enforcement == Enforcement::Shadow => {
                Some(Trial { claimant: self.claimant(request) })
            }
            Kind::Authenticate | Kind::Authorize | Kind::SessionEnded | Kind::Challenge(_) => None,
        }
    }
}

impl Trial {
    /// What is said in place of `verdict`. Its cookie is that of an accept, so that an authorize is decided as it would be; no
    /// other has one.
    pub fn answer(&self, verdict: &Verdict) -> Verdict {
        let (reason, remarks, cookie) = match verdict {
            Verdict::Accept(Accept {
                claimant: _,
                identity: _,
                basis,
                factor: _,
                service: _,
                footing: _,
                reason,
                remarks,
                cookie,
            }) => (format!("accept, {}: {reason}", basis.word()), remarks.clone(), cookie.clone()),
            Verdict::Reject(Reject { class, code, service: _, reason, remarks: _, retry_after: _ }) => {
                (format!("reject, {} {code}: {reason}", class.word()), None, None)
            }
            // What would have been asked is for the claimant only: it may show a new secret.
            Verdict::NeedInfo(NeedInfo { question: _, cookie: _ }) => ("need_info: a question".into(), None, None),
        };
        let admission = Admission::shadow(format!("on trial, would have been {reason}"), remarks);
        admission.accept(self.claimant.clone(), cookie)
    }
}
