//! `countersign client`: what is configured, and what can be, as data for other programs.

use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use serde::Serialize;

use super::AdminError;
use super::gateway::Language;
use crate::client::description::{Channel, Description, Kind, capabilities};
use crate::client::{self, Place, Wired};
use crate::config::http::is_http_section;
use crate::config::mistake::suggestion;
use crate::config::schema;
use crate::config::value::{ClientName, Value};
use crate::domain::foreign::Foreign;
use crate::setup::Setup;
use crate::store::{RECOVERY, Store};

/// What `client` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List every client in use: the default first, and behind the others what only stands in for one
    List(ListArgs),
    /// Print the JSON Schema of a client's section
    Schema(SchemaArgs),
}

/// What `client list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    language: Language,
}

/// What `client schema` takes.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// The client, by its section: totp, duo, "http NAME"; of one of its requests: "http NAME STEP"
    #[arg(required = true, num_args = 1..)]
    name: Vec<String>,
}

/// A client in the listing.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    title: &'a str,
    r#type: &'static str,
    channel: &'static str,
    place: &'static str,
    default: bool,
    stands_in: bool,
    capabilities: Vec<&'static str>,
}

/// Runs `command`.
pub fn run(command: &Command, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    match command {
        Command::List(args) => list(args, config, out),
        Command::Schema(args) => print(args, out),
    }
}

/// Writes `schema` for whoever reads it.
pub fn write(schema: &schema::Json, out: &mut impl Write) -> Result<(), AdminError> {
    let text = serde_json::to_string_pretty(schema).map_err(|error| AdminError::Failed(error.to_string()))?;
    Ok(writeln!(out, "{text}")?)
}

fn list(args: &ListArgs, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let Setup { config, sealer, store } = Setup::open_as(config, args.language.reading())?;
    let store: Rc<dyn Store> = store;
    let clients = client::build(&config, &store, &sealer);
    let named = config.plugin.clients.0.len();
    let listed = clients.iter().enumerate().map(|(index, wired)| Listed::of(wired, index, named));
    let listed: Vec<_> = listed.chain([Listed::recovery()]).collect();
    if args.json {
        let text = serde_json::to_string_pretty(&listed).map_err(|error| AdminError::Failed(error.to_string()))?;
        return Ok(writeln!(out, "{text}")?);
    }
    writeln!(out, "{:12} {:28} {:12} {:8} {:7} {:9} CAN", "NAME", "TITLE", "TYPE", "CHANNEL", "PLACE", "USE")?;
    for Listed { name, title, r#type, channel, place, default, stands_in, capabilities } in listed {
        let (title, can) = (Foreign(title).to_string(), capabilities.join(", "));
        let used = match (default, stands_in) {
            (true, _) => "default",
            (false, true) => "stands in",
            (false, false) => "",
        };
        writeln!(out, "{name:12} {title:28} {type:12} {channel:8} {place:7} {used:9} {can}")?;
    }
    Ok(())
}

impl<'a> Listed<'a> {
    fn of(wired: &'a Wired, index: usize, named: usize) -> Self {
        let client = &*wired.client;
        let Description { title: _, kind, channel, sends: _, matching: _ } = client.description();
        Self {
            name: client.section(),
            title: wired.title(),
            r#type: kind.word(),
            channel: channel.word(),
            place: client.place().word(),
            default: index == 0,
            stands_in: index >= named,
            capabilities: capabilities(client),
        }
    }
}

impl Listed<'_> {
    /// What was handed out for the day on which the authenticator is lost: no client of its own, and taken at every prompt.
    fn recovery() -> Self {
        Self {
            name: RECOVERY,
            title: "Recovery codes",
            r#type: Kind::LookUp.word(),
            channel: Channel::None.word(),
            place: Place::Here.word(),
            default: false,
            stands_in: true,
            capabilities: vec!["codes"],
        }
    }
}

fn print(args: &SchemaArgs, out: &mut impl Write) -> Result<(), AdminError> {
    let name = args.name.join(" ");
    let is_client = ClientName::parse(&name).is_some() || is_http_section(&name) || name == RECOVERY;
    match schema::section(&name).filter(|_| is_client) {
        Some(schema) => write(&schema, out),
        None => {
            let known = ClientName::NAMED.map(|name| name.section());
            let hint = suggestion(&name, known.iter().map(AsRef::as_ref), false);
            let text = format!("no client \"{}\"; expected {}{hint}", Foreign(&name), ClientName::expected());
            Err(AdminError::Usage(text))
        }
    }
}
