//! `countersign simulate`.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rcgen::KeyPair;
use tokio::signal::unix::{SignalKind, signal};

use super::AdminError;
use super::temporary::TemporaryDirectory;
use crate::domain::fault::Reach;
use crate::files::{self, Exposure};
use crate::simulate::authority::Authority;
use crate::simulate::guise::Guise;
use crate::simulate::{Accept, Event, FAULTS, Fault, Over, Play, Scene, SimulateError};

/// What is kept in a directory that is named, or in a temporary one.
const CA_FILE: &str = "simulate-ca.pem";
const CA_KEY_FILE: &str = "simulate-ca.key";
const SIGNATURE_KEY_FILE: &str = "simulate-signature.pem";

/// What `simulate` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It prints the section of plugin.ini by which it is asked, plays the fault to everybody who connects, \
                        and tells each call on standard error, until SIGINT or SIGTERM. What clients send is written \
                        nowhere. See docs/simulate.md."
)]
pub struct Args {
    /// What goes wrong; --list shows all
    #[arg(value_name = "NAME", required_unless_present = "list")]
    fault: Option<String>,

    /// Show every fault, with the class and the code of the verdict that belongs to it
    #[arg(long, conflicts_with_all = ["fault", "client", "listen", "any_address", "host", "plain", "after", "keep"])]
    list: bool,

    /// Which service is played: http, privacyidea, duo, okta, yubico, oidc or notify
    #[arg(long, value_name = "CLIENT", default_value = "http", value_parser = guise)]
    client: Guise,

    /// Address and port; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))]
    listen: SocketAddr,

    /// Let --listen name an address that other machines reach, too
    #[arg(long)]
    any_address: bool,

    /// The name or address by which gateways reach it, for the certificate and plugin.ini
    #[arg(long, value_name = "WHERE", value_parser = host)]
    host: Option<String>,

    /// Speak HTTP without TLS
    #[arg(long)]
    plain: bool,

    /// Answer so many requests as if all were well, before anything goes wrong: a push, say, and then its polls
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    after: usize,

    /// Keep the certificate authority in this directory, so that one plugin.ini serves for all faults
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn guise(word: &str) -> Result<Guise, String> {
    let found = Guise::ALL.into_iter().find(|guise| guise.word() == word);
    found.ok_or_else(|| format!("expected one of {}", Guise::ALL.map(Guise::word).join(", ")))
}

/// A name or address that can stand in an address and in a certificate.
fn host(text: &str) -> Result<String, String> {
    let is_host = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if is_host { Ok(text.to_owned()) } else { Err("expected a host name or an IPv4 address".to_owned()) }
}

/// Plays one fault until it is told to end, or lists them all.
pub fn run(args: &Args, out: &mut impl Write) -> Result<ExitCode, AdminError> {
    let Some(name) = &args.fault else {
        list(out)?;
        return Ok(ExitCode::SUCCESS);
    };
    let fault = Fault::named(name).ok_or_else(|| unknown(name))?;
    if !args.listen.ip().is_loopback() && !args.any_address {
        let text =
            format!("--listen {}: other machines reach that address; add --any-address to allow it", args.listen);
        return Err(AdminError::Usage(text));
    }
    let place = Place::open(args.keep.as_deref())?;
    let is_tls = !args.plain && fault.over() != Over::Plain;
    let scene = Scene {
        accept: Accept::Of(args.client),
        tls: if is_tls { Some(Arc::new(authority(place.path())?)) } else { None },
        listen: args.listen,
        name: args.host.clone().or_else(|| args.listen.ip().is_unspecified().then(|| "127.0.0.1".to_owned())),
        after: args.after,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        // Before anything is printed: whoever reads it may end us.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let name = fault.name;
        let tell = move |event: &Event| {
            // Where nobody reads it, the fault is played all the same.
            let _ = writeln!(io::stderr(), "{name}: {event}");
        };
        let play = Play::bind(fault, &scene, Arc::new(tell)).await.map_err(|error| refused(&error))?;
        let way = way(place.path(), &play, is_tls)?;
        write!(out, "{}", printed(fault, args.client, &play.url, &way))?;
        out.flush()?;
        tokio::select! {
            () = play.run() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn unknown(name: &str) -> AdminError {
    let near = FAULTS.iter().map(|fault| (strsim::damerau_levenshtein(fault.name, name), fault.name)).min();
    let hint = near.filter(|(distance, _)| *distance <= 3).map(|(_, name)| format!(" Did you mean {name}?"));
    let hint = hint.unwrap_or_default();
    AdminError::Usage(format!("there is no such fault.{hint} All of them: countersign simulate --list"))
}

fn refused(error: &SimulateError) -> AdminError {
    match error {
        SimulateError::Unfit(why) => AdminError::Usage((*why).to_owned()),
        SimulateError::Io(error) => AdminError::Failed(format!("the address cannot be listened on: {error}")),
        SimulateError::Certificate(_) | SimulateError::Tls(_) | SimulateError::Other(_) => {
            AdminError::Failed(error.to_string())
        }
    }
}

/// A line for each fault.
fn list(out: &mut impl Write) -> Result<(), AdminError> {
    for fault in FAULTS {
        let told = format!("{}/{}", fault.class.word(), fault.code);
        writeln!(out, "{:<24} {told:<39} {}", fault.name, fault.what)?;
    }
    Ok(())
}

/// How the service is reached and believed: the options for that, and the files that they name.
fn way(place: &Path, play: &Play, is_tls: bool) -> Result<String, AdminError> {
    let mut way = if is_tls {
        format!("ca_file = {}\n", place.join(CA_FILE).display())
    } else {
        "allow_insecure_http = yes\n".to_owned()
    };
    if let Some(key) = &play.key {
        let file = place.join(SIGNATURE_KEY_FILE);
        std::fs::write(&file, key)?;
        way += &format!("signature_key = {}\n", file.display());
    }
    Ok(way)
}

/// What is put into plugin.ini, and what must come of it.
fn printed(fault: &Fault, guise: Guise, url: &str, way: &str) -> String {
    let Fault { name, what, class, reach, code, .. } = fault;
    let (section, options, more) = (guise.section(), guise.options(url), guise.more());
    let open = match reach {
        Reach::NotSent => "; on_unreachable may say otherwise",
        Reach::Sent | Reach::Answered => "",
    };
    let enter = if guise.is_asked_by_enter() { "Enter" } else { "" };
    let typed = [enter, guise.code().unwrap_or_default()].into_iter().filter(|text| !text.is_empty());
    let typed = typed.collect::<Vec<_>>().join(" or ");
    let session = match guise {
        Guise::Notify => {
            "# url and ca_file go into the section of yours where alice has a target (docs/clients/notify.md)\n"
        }
        Guise::Http | Guise::Privacyidea | Guise::Duo | Guise::Okta | Guise::Yubico | Guise::Oidc => "",
    };
    format!(
        "# {name}: {what}\n# expected: reject, {}/{code}{open}\n# to be asked: alice, {typed}\n{session}\
         # in [plugin]: clients = {section}\n\n[{section}]\n{options}{way}{more}\n\
         # {name} is played until SIGINT or SIGTERM\n",
        class.word(),
    )
}

/// Where the authority lies: in a directory that stays, or in one that goes.
enum Place {
    Kept(PathBuf),
    Temporary(TemporaryDirectory),
}

impl Place {
    fn open(keep: Option<&Path>) -> Result<Self, AdminError> {
        let Some(path) = keep else { return Ok(Self::Temporary(TemporaryDirectory::new("simulate")?)) };
        if !path.is_dir() {
            files::create_private_directory(path)?;
        }
        // Others do not know our working directory.
        Ok(Self::Kept(path.canonicalize()?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

/// The authority in `place`, made where there is none.
fn authority(place: &Path) -> Result<Authority, AdminError> {
    let (ca, key) = (place.join(CA_FILE), place.join(CA_KEY_FILE));
    if key.exists() && ca.exists() {
        let pem = files::read_text(&key, Exposure::Private)?;
        let pair = KeyPair::from_pem(&pem)
            .map_err(|_| AdminError::Data(format!("{}: holds no private key in PEM form", key.display())))?;
        return Authority::with_key(pair).map_err(|error| refused(&error));
    }
    let authority = Authority::new().map_err(|error| refused(&error))?;
    files::create_private(&key, authority.key().as_bytes())?;
    files::create_private(&ca, authority.certificate.pem().as_bytes())?;
    Ok(authority)
}
