//! One request decided for an administrator, as a server would: settled, written to the log, and its chores done.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::AdminError;
use super::desk::{self, Desk};
use crate::clock::{self, Clock};
use crate::domain::request::Request;
use crate::domain::verdict::Verdict;
use crate::engine::{Decision, Engine, store_fault};
use crate::log::audit;
use crate::serve;
use crate::store::Store;

/// How long what is left to do may go on after the answer.
const CHORES: Duration = Duration::from_secs(4);

/// A desk with an engine.
pub struct Inquiry {
    pub desk: Desk,
    engine: Engine,
}

impl Inquiry {
    /// An engine over the configuration at `config`.
    pub fn open(config: &Path, clock: Clock) -> Result<Self, AdminError> {
        let desk = Desk::open(config, clock)?;
        let setup = &desk.setup;
        let store = Rc::clone(&setup.store) as Rc<dyn Store>;
        let engine = Engine::new(&setup.config, store, Rc::clone(&setup.sealer));
        Ok(Self { desk, engine })
    }

    /// Decides `request`. The verdict may be said.
    ///
    /// # Errors
    /// Where the log cannot be written: nothing is decided that would leave no trace.
    pub fn decide(&self, request: &Request) -> Result<Decision, AdminError> {
        let (log, trace) = (self.desk.kept_log()?, desk::random_text::<10>()?);
        let mut facts = serve::facts(&self.engine, request);
        let moment = self.desk.clock.moment(Duration::from_secs(self.desk.setup.config.plugin.deadline.0));
        let mut decision = self.desk.wait(async {
            let mut decision = self.engine.decide(request, moment).await;
            if let Err(error) = self.desk.store().settle(decision.mark).await {
                decision.verdict = Verdict::Reject(store_fault(&error).into());
                decision.challenge = None;
            }
            decision
        });
        facts.identity = decision.identity.take().map(|identity| identity.0);
        facts.take_in(decision.challenge.as_ref());
        if let Some(log) = log {
            let took = moment.allowance.saturating_sub(clock::left(moment.deadline));
            audit(&trace, &facts, &decision.verdict, took);
            log.flush();
        }
        let chores = self.engine.take_chores();
        // Whatever is not done then ends by itself at its service.
        let _ = self.desk.wait(async {
            tokio::time::timeout(CHORES, async {
                for chore in chores {
                    chore.await;
                }
            })
            .await
        });
        Ok(decision)
    }
}
