//! `countersign serve`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;

use super::AdminError;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::gateway::FirstFactor;
use crate::confine::{self, Confined, Plan, around};
use crate::engine::Engine;
use crate::gateway::Protocol;
use crate::gateway::json::Native;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::serve::listen;
use crate::serve::socket::{Socket, SocketError};
use crate::serve::stream::Stream;
use crate::serve::{self, End, Serving};
use crate::setup::Setup;
use crate::store::{self, Store};

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serve whoever connects to this Unix socket, which is made, until SIGTERM
    #[arg(long, value_name = "PATH", conflicts_with = "socket_activation")]
    listen: Option<PathBuf>,

    /// The same on the socket that systemd hands over (LISTEN_FDS)
    #[arg(long)]
    socket_activation: bool,

    /// How many connections are served at once; further ones wait
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = RangedU64ValueParser::<usize>::new().range(1..=16_384))]
    connections: usize,
}

/// The configuration, where the command line is exactly `serve --config PATH`: a gateway starts it for each login, and the
/// general parser costs as much as the verification.
pub fn quick(arguments: &[OsString]) -> Option<PathBuf> {
    match arguments {
        [_, serve, option, path] if serve == "serve" && option == "--config" => Some(path.into()),
        _ => None,
    }
}

/// Serves in the native protocol: standard input until its end, or whoever connects to a socket.
pub fn run(args: &Args, config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    let Args { listen, socket_activation, connections } = args;
    match (listen, socket_activation) {
        (Some(path), _) => {
            // No link that is made later leads elsewhere, and the place is known before this process is confined to it.
            let path = std::path::absolute(path)?;
            listen_on(config, clock, *connections, Some(around(&path)), async || Socket::bind(&path).await)
        }
        (None, true) => listen_on(config, clock, *connections, None, async || Socket::handed_over()),
        (None, false) => run_standard(config, clock),
    }
}

/// Serves standard input in the native protocol until its end.
pub fn run_standard(config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    confine::keep_descriptors();
    serve(Config::load(config)?, clock, Arc::new(Native))
}

fn listen_on(
    config: &Path,
    clock: Clock,
    connections: usize,
    directory: Option<PathBuf>,
    socket: impl AsyncFnOnce() -> Result<Socket, SocketError>,
) -> Result<ExitCode, AdminError> {
    confine::keep_descriptors();
    let config = Config::load(config)?;
    let confined = Plan::of(&config, None, |grants| grants.sockets.extend(directory)).carry_out();
    let setup = Setup::of(config)?;
    let deadline = Duration::from_secs(setup.config.plugin.deadline.0);
    let terms = Terms { protocol: Arc::new(Native), deadline, first_factor: None, confined };
    with_engine(setup, clock, terms, async |serving| {
        let socket = socket().await.map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok(listen::run(serving, socket, connections).await?)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Serves in the language of `protocol` until the end of standard input.
pub fn serve(config: Config, clock: Clock, protocol: Arc<dyn Protocol + Send + Sync>) -> Result<ExitCode, AdminError> {
    let confined = Plan::of(&config, None, |_| ()).carry_out();
    let setup = Setup::of(config)?;
    let deadline = Duration::from_secs(setup.config.plugin.deadline.0);
    converse(setup, clock, standard, Terms { protocol, deadline, first_factor: None, confined })?;
    Ok(ExitCode::SUCCESS)
}

/// Standard input and output, as the streams of a conversation.
pub fn standard() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?))
}

/// How it is served, over whatever.
pub struct Terms {
    pub protocol: Arc<dyn Protocol + Send + Sync>,
    /// The longest that a verdict may take.
    pub deadline: Duration,
    pub first_factor: Option<FirstFactor>,
    /// What the process gave up.
    pub confined: Confined,
}

/// Serves a conversation over `streams`, input and output, until its input ends.
pub fn converse(
    setup: Setup,
    clock: Clock,
    streams: impl FnOnce() -> io::Result<(OwnedFd, OwnedFd)>,
    terms: Terms,
) -> Result<(), AdminError> {
    with_engine(setup, clock, terms, async |serving| {
        let served = async {
            let (input, output) = streams()?;
            serve::run(serving, Stream::reader(input)?, Stream::writer(output)?).await
        };
        served.await.map_err(|error| AdminError::Failed(format!("standard input and output cannot be served: {error}")))
    })
}

/// Has `serving_it` serve with the one engine of this process.
fn with_engine(
    setup: Setup,
    clock: Clock,
    terms: Terms,
    serving_it: impl AsyncFnOnce(Serving<'_>) -> Result<End, AdminError>,
) -> Result<(), AdminError> {
    let Setup { config, sealer, store } = setup;
    let Terms { protocol, deadline, first_factor, confined } = terms;
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let served = runtime.block_on(async {
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
        let served = serving_it(serving).await;
        if let Some(metrics) = &metrics {
            serve::finish(metrics).await;
        }
        match served? {
            End::Served => {
                // Everything is answered. A log that is not moved now is moved by the next process.
                let _ = store.close(store::Log::Long);
                Ok(())
            }
            End::Orphaned => Err(AdminError::Failed("the store was removed or replaced while it was served".into())),
        }
    });
    log.flush();
    // Nothing that was served needs to be taken apart again.
    std::mem::forget((engine, store, runtime));
    served
}
