//! `countersign import`: authenticators that people hold already, out of what other systems keep of them.
//!
//! Each source is one file: a pure function from text to what comes. Whose that is, and whether it is good enough, is decided
//! in one place for all of them, and everything is enrolled in one step or nothing is.

mod backup;
mod batch;
mod cbc;
mod codes;
mod enrol;
mod google_authenticator;
mod google_export;
mod home_assistant;
mod incoming;
mod input;
mod piccolo;
mod pskc;
mod uri;
mod users_oath;

use std::io::Write;
use std::path::{Path, PathBuf};

use self::backup::{Removed, Wanted};
use self::batch::{Batch, Run, Telling, Then};
use self::enrol::{Order, Strength};
use self::incoming::Reading;
use super::AdminError;
use super::desk::{self, Desk};
use crate::clock::Clock;
use crate::domain::claimant::Subscriber;
use crate::domain::secret::Secret;

/// The sources of an import.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// otpauth:// URIs, one a line
    Uri(Unnamed),
    /// What Google Authenticator exports: otpauth-migration:// URIs, one a line for each QR code
    GoogleExport(Unnamed),
    /// The .google_authenticator file of one person (PAM module)
    GoogleAuthenticator(OfOne),
    /// users.oath of oath-toolkit
    UsersOath(Named),
    /// .storage/auth_module.totp of Home Assistant; its users are ids: --map gives them names
    HomeAssistant(Named),
    /// The rows of piccolo_api's table authenticator_secret, as JSON or CSV
    Piccolo(Sealed),
    /// PSKC (RFC 6030), as privacyIDEA and vendors of tokens write it; called by user id or serial number
    Pskc(Tokens),
    /// What countersign export wrote
    Backup(FromBackup),
}

/// What every source takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Where it stands; without it, or with -, on standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Tell what would come and what would be refused, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Pass over what is here already
    #[arg(long)]
    skip_existing: bool,

    /// Pass over what is flawed, and take the rest
    #[arg(long)]
    skip_flawed: bool,
}

/// What the sources of other systems take.
#[derive(Debug, clap::Args)]
struct Source {
    /// What the authenticators are called, such as phone
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    /// Take secrets of 80 bits or more; below 128 bits they are refused otherwise
    #[arg(long)]
    allow_weak: bool,

    #[command(flatten)]
    common: Common,
}

/// What a source takes that names accounts.
#[derive(Debug, clap::Args)]
pub struct Unnamed {
    /// Whose they are
    #[arg(long, value_name = "USER", required_unless_present_any = ["user_from_label", "map"])]
    user: Option<String>,

    /// Take the user's name from each account: the part of its label behind the issuer
    #[arg(long, conflicts_with_all = ["user", "label"])]
    user_from_label: bool,

    /// Lines such as: NAME THERE = NAME HERE; nothing behind the = passes one over
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    map: Option<PathBuf>,

    #[command(flatten)]
    source: Source,
}

/// What a source takes that says nothing of whose it is.
#[derive(Debug, clap::Args)]
pub struct OfOne {
    /// Whose it is
    #[arg(long, value_name = "USER")]
    user: String,

    #[command(flatten)]
    source: Source,
}

/// What a source takes that names users.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Take this user only, by the name here; may be there several times
    #[arg(long, value_name = "USER")]
    only: Vec<String>,

    /// Lines such as: NAME THERE = NAME HERE; nothing behind the = passes one over
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,

    #[command(flatten)]
    source: Source,
}

/// What a source takes that names users and may be encrypted.
#[derive(Debug, clap::Args)]
pub struct Sealed {
    /// The file with the key, where the secrets are encrypted; - for standard input
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    #[command(flatten)]
    named: Named,
}

/// What a container of tokens takes.
#[derive(Debug, clap::Args)]
pub struct Tokens {
    /// The file with the pre-shared key or the password, where the secrets are encrypted; - for standard input
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    #[command(flatten)]
    unnamed: Unnamed,
}

/// What a backup takes.
#[derive(Debug, clap::Args)]
pub struct FromBackup {
    /// The file with the key that export made or was given
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,

    /// Restore this user only; may be there several times
    #[arg(long, value_name = "USER")]
    only: Vec<String>,

    /// Bring back what was removed here since the backup was made, too
    #[arg(long)]
    restore_removed: bool,

    #[command(flatten)]
    common: Common,
}

/// Imports what the source holds, all of it or nothing.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    let of = |text: &Secret<String>, read: fn(&str) -> Result<Reading, String>| {
        // Parsed at once; every secret is taken into custody by itself.
        read(text.expose())
    };
    match command {
        Command::Uri(args) => args.run(&desk, out, None, |text, _| of(text, uri::read)),
        Command::GoogleExport(args) => args.run(&desk, out, None, |text, _| of(text, google_export::read)),
        Command::GoogleAuthenticator(args) => args.run(&desk, out, |text| of(text, google_authenticator::read)),
        Command::UsersOath(args) => args.run(&desk, out, None, |text, _| of(text, users_oath::read)),
        Command::HomeAssistant(args) => args.run(&desk, out, None, |text, _| of(text, home_assistant::read)),
        Command::Piccolo(args) => {
            args.named.run(&desk, out, args.key_file.as_deref(), |text, key| piccolo::read(text.expose(), key))
        }
        Command::Pskc(args) => args
            .unnamed
            .run(&desk, out, args.key_file.as_deref(), |text, key| pskc::read(text.expose(), key, desk.now())),
        Command::Backup(args) => args.run(&desk, out),
    }
}

impl Common {
    fn batch<'a>(&self, desk: &'a Desk) -> Batch<'a> {
        let then = |skip| if skip { Then::PassOver } else { Then::Refuse };
        Batch::new(desk, then(self.skip_flawed), then(self.skip_existing))
    }

    const fn mode(&self) -> Run {
        if self.dry_run { Run::Dry } else { Run::Real }
    }
}

impl Source {
    /// Reads the source, and enrols what is in it.
    fn run(
        &self,
        desk: &Desk,
        out: &mut impl Write,
        key: Option<&Path>,
        order: Order<'_>,
        read: impl FnOnce(&Secret<String>, Option<&Secret<String>>) -> Result<Reading, String>,
    ) -> Result<(), AdminError> {
        let Self { label, allow_weak, common } = self;
        let file = common.file.as_deref();
        let key = key.map(|key| input::key(key, file)).transpose()?;
        let text = input::source(file)?;
        let reading =
            read(&text, key.as_ref()).map_err(|what| AdminError::Data(format!("{what}; nothing was imported")))?;
        let Reading { found, flaws, passed, remarks: _ } = &reading;
        if found.is_empty() && flaws.is_empty() && passed.is_empty() {
            return Err(AdminError::Data("the source holds no authenticators; nothing was imported".into()));
        }
        let strength = if *allow_weak { Strength::Weak } else { Strength::Sound };
        let telling = if order.user.is_some() { Telling::Each } else { Telling::Count };
        let order = Order { label: label.as_deref(), strength, ..order };
        let mut batch = common.batch(desk);
        enrol::take(&mut batch, desk, &order, reading)?;
        batch.finish(common.mode(), telling, out)
    }
}

impl Unnamed {
    fn run(
        &self,
        desk: &Desk,
        out: &mut impl Write,
        key: Option<&Path>,
        read: impl FnOnce(&Secret<String>, Option<&Secret<String>>) -> Result<Reading, String>,
    ) -> Result<(), AdminError> {
        let Self { user, user_from_label: _, map, source } = self;
        let names = map.as_deref().map(input::names).transpose()?;
        source.run(desk, out, key, Order { user: user.as_deref(), names, ..Order::default() }, read)
    }
}

impl OfOne {
    fn run(
        &self,
        desk: &Desk,
        out: &mut impl Write,
        read: impl FnOnce(&Secret<String>) -> Result<Reading, String>,
    ) -> Result<(), AdminError> {
        let Self { user, source } = self;
        source.run(desk, out, None, Order { user: Some(user), ..Order::default() }, |text, _| read(text))
    }
}

impl Named {
    fn run(
        &self,
        desk: &Desk,
        out: &mut impl Write,
        key: Option<&Path>,
        read: impl FnOnce(&Secret<String>, Option<&Secret<String>>) -> Result<Reading, String>,
    ) -> Result<(), AdminError> {
        let Self { only, map, source } = self;
        let names = map.as_deref().map(input::names).transpose()?;
        source.run(desk, out, key, Order { only: subscribers(only)?, names, ..Order::default() }, read)
    }
}

impl FromBackup {
    fn run(&self, desk: &Desk, out: &mut impl Write) -> Result<(), AdminError> {
        let Self { key_file, only, restore_removed, common } = self;
        let removed = if *restore_removed { Removed::Restore } else { Removed::Keep };
        let wanted = Wanted { only: subscribers(only)?, removed };
        let sealed = input::source(common.file.as_deref())?;
        let mut batch = common.batch(desk);
        // Sealed still: what is exposed is for whoever has its key.
        backup::take(&mut batch, desk, sealed.expose(), key_file, &wanted)?;
        batch.finish(common.mode(), Telling::Count, out)
    }
}

fn subscribers(names: &[String]) -> Result<Vec<Subscriber>, AdminError> {
    names.iter().map(|name| desk::subscriber(name)).collect()
}
