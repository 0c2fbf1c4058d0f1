//! `countersign serve`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::AdminError;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::gateway::FirstFactor;
use crate::confine::{self, Confined, Plan};
use crate::engine::Engine;
use crate::gateway::Protocol;
use crate::gateway::json::Native;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::serve::stream::Stream;
use crate::serve::{self, End, Serving};
use crate::setup::Setup;
use crate::store::{self, Store};

/// The configuration, where the command line is exactly `serve --config PATH`: a gateway starts it for each login, and the
/// general parser costs as much as the verification.
pub fn quick(arguments: &[OsString]) -> Option<PathBuf> {
    match arguments {
        [_, serve, option, path] if serve == "serve" && option == "--config" => Some(path.into()),
        _ => None,
    }
}

/// Serves in the native protocol until the end of input.
pub fn run(config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    confine::keep_descriptors();
    serve(Config::load(config)?, clock, Arc::new(Native))
}

/// Serves in the language of `protocol` until the end of standard input.
pub fn serve(config: Config, clock: Clock, protocol: Arc<dyn Protocol + Send + Sync>) -> Result<ExitCode, AdminError> {
    let confined = Plan::of(&config, None, |_| ()).carry_out();
    let setup = Setup::of(config)?;
    let deadline = Duration::from_secs(setup.config.plugin.deadline.0);
    converse(setup, clock, Conversation { protocol, streams: standard, deadline, first_factor: None, confined })?;
    Ok(ExitCode::SUCCESS)
}

/// Standard input and output, as the streams of a conversation.
pub fn standard() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?))
}

/// With whom is spoken, and how.
pub struct Conversation<S> {
    pub protocol: Arc<dyn Protocol + Send + Sync>,
    /// Input and output.
    pub streams: S,
    /// The longest that a verdict may take.
    pub deadline: Duration,
    pub first_factor: Option<FirstFactor>,
    /// What the process gave up.
    pub confined: Confined,
}

/// Serves until the end of the conversation's input.
pub fn converse(
    setup: Setup,
    clock: Clock,
    conversation: Conversation<impl FnOnce() -> io::Result<(OwnedFd, OwnedFd)>>,
) -> Result<(), AdminError> {
    let Setup { config, sealer, store } = setup;
    let Conversation { protocol, streams, deadline, first_factor, confined } = conversation;
    let log = Log::start(&config)?;
    for warning in config.warnings() {
        tracing::warn!(%warning, "plugin.ini may be meant otherwise");
    }
    confined.log();
    std::panic::set_hook(Box::new(|panic| {
        // The place only: the message may hold anything.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "the program failed; the request is rejected");
    }));
    let engine = Engine::new(&config, Rc::clone(&store) as Rc<dyn Store>, sealer);
    let metrics = Metrics::of(&config).map(Rc::new);
    let failed = |error: io::Error| AdminError::Failed(format!("standard input and output cannot be served: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
    let served = runtime.block_on(async {
        let (input, output) = streams()?;
        let (input, output) = (Stream::reader(input)?, Stream::writer(output)?);
        let serving = Serving {
            engine: &engine,
            protocol,
            clock,
            log: log.clone(),
            deadline,
            max_in_flight: usize::try_from(config.plugin.max_in_flight.0).unwrap_or(1),
            clients: config.plugin.clients.0.iter().map(|name| name.section().into_owned()).collect(),
            first_factor,
            metrics: metrics.clone(),
        };
        let served = serve::run(serving, input, output).await;
        if let Some(metrics) = &metrics {
            serve::finish(metrics).await;
        }
        let end = served?;
        // Everything is answered. A log that is not moved now is moved by the next process.
        if end == End::Served {
            let _ = store.close(store::Log::Long);
        }
        Ok(end)
    });
    log.flush();
    // Nothing that was served needs to be taken apart again.
    std::mem::forget((engine, store, runtime));
    match served.map_err(failed)? {
        End::Served => Ok(()),
        End::Orphaned => Err(AdminError::Failed("the store was removed or replaced while it was served".into())),
    }
}
