//! Everything that can go wrong between a client and its service, played by the product's own table of faults.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use countersign::simulate;
use countersign::simulate::{Accept, Counts, Event, FAULTS, Play, Scene, SimulateError};
use tokio::runtime::{self, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::PATIENCE;
use super::authority::Authority;
use super::http::Response;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Those that never end, but by the client's patience. Any other takes as long as a busy machine makes it.
pub const ENDLESS: [&str; 5] = ["blackhole", "silent-port", "silence", "dripping-head", "dripping-body"];

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// One fault, played until this is dropped.
pub struct Fault {
    pub fault: &'static simulate::Fault,
    /// Where it happens: scheme, host and port.
    pub url: String,
    /// The public key in PEM that plugin.ini has to name a file of.
    pub key: Option<String>,
    counts: watch::Receiver<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fault {
    /// `fault`, over TLS with certificates of `authority`, or over plain TCP; `None` where it does not fit.
    pub fn start(fault: &'static simulate::Fault, authority: Option<&Authority>, accept: Accept) -> Option<Self> {
        Self::start_after(0, fault, authority, accept)
    }

    /// The same, after so many requests that got `accept`.
    pub fn start_after(
        after: usize,
        fault: &'static simulate::Fault,
        authority: Option<&Authority>,
        accept: Accept,
    ) -> Option<Self> {
        let tls = authority.map(|authority| Arc::clone(&authority.made));
        let scene = Scene { accept, tls, listen: (LOOPBACK, 0).into(), name: None, after };
        let runtime = runtime();
        let tell = Arc::new(|_: &Event| {});
        let play = match runtime.block_on(Play::bind(fault, &scene, tell)) {
            Ok(play) => play,
            Err(SimulateError::Unfit(_)) => return None,
            Err(error) => panic!("{}: {error}", fault.name),
        };
        let (url, key, counts) = (play.url.clone(), play.key.clone(), play.counts.clone());
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            // Whatever is under way goes with the runtime.
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = play.run() => {}
                }
            });
        });
        Some(Self { fault, url, key, counts, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether only the client's patience ends it.
    pub fn is_endless(&self) -> bool {
        ENDLESS.contains(&self.fault.name)
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.url.split_once("://").unwrap().1.to_owned()
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Blocks until what was seen is enough.
    #[track_caller]
    pub fn wait_until(&self, enough: impl Fn(&Counts) -> bool) -> Counts {
        let mut counts = self.counts.clone();
        let found = runtime().block_on(async {
            let found = timeout(PATIENCE, counts.wait_for(|counts| enough(counts))).await;
            found.ok().and_then(|found| found.ok().map(|counts| *counts))
        });
        found.unwrap_or_else(|| panic!("it does not come: {:?}", self.counts()))
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the service panicked");
    }
}

/// All faults that fit, each at a place of its own.
///
/// `accept` is an answer that would let somebody in. Wherever there is an answer at all, it is that one, spoilt.
pub fn faults(authority: Option<&Authority>, accept: &Response) -> Vec<Fault> {
    FAULTS.iter().filter_map(|fault| Fault::start(fault, authority, Accept::Same(accept.clone()))).collect()
}

fn named(name: &str) -> Fault {
    let fault = simulate::Fault::named(name).unwrap();
    Fault::start(fault, None, Accept::Same(Response::empty(204))).unwrap()
}

/// A port where nobody listens, and which nobody else gets: it is bound all the time.
pub struct Refused(Fault);

impl Refused {
    pub fn new() -> Self {
        Self(named("refused"))
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.0.host()
    }
}

/// A port where no connection comes about: the kernel has no room for one more, and says nothing.
pub struct Blackhole(Fault);

impl Blackhole {
    pub fn new() -> Self {
        Self(named("blackhole"))
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.0.host()
    }
}
