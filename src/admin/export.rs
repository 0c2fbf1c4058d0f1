//! `countersign export`: a sealed backup of everything that is enrolled.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::AdminError;
use super::access::{is_there, unwritable};
use super::audit::Act;
use super::backup::{self, Backup, Kept};
use super::desk::{self, Desk};
use crate::clock::Clock;
use crate::domain::authenticator::{Authenticator, Hotp, Mechanism, Standing, Totp};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::files;
use crate::secret::keys::Purpose;
use crate::secret::seal::authenticator_place;
use crate::store::RECOVERY;

/// The name that stands for standard output.
const STANDARD: &str = "-";

/// What `export` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write: a new file, or - for standard output
    file: PathBuf,

    /// The file with the key to seal with; one that another export made
    #[arg(long, value_name = "FILE", required_unless_present = "new_key_file", conflicts_with = "new_key_file")]
    key_file: Option<PathBuf>,

    /// Make a key, and write it to this new file. Keep it apart from the backup
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,

    /// This user only; may be there several times
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
}

/// Exports.
pub fn run(args: &Args, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let Args { file, key_file, new_key_file, user } = args;
    let desk = Desk::open(config, clock)?;
    let is_stream = file.as_os_str() == STANDARD;
    if !is_stream && file.symlink_metadata().is_ok() {
        return Err(is_there(file));
    }
    let backup = collect(&desk, user)?;
    let key = match (key_file, new_key_file) {
        (_, Some(new)) if !is_stream && is_same(file, new) => {
            return Err(AdminError::Usage("export: backup and key want the same file; keep the two apart".into()));
        }
        (_, Some(new)) => {
            // The key file is where the key belongs.
            create(new, backup::new_key()?.expose().as_bytes())?;
            new
        }
        (Some(key), None) => key,
        (None, None) => return Err(AdminError::Usage("export: under which key? --key-file or --new-key-file".into())),
    };
    let written = write(&desk, &backup, key, file, out);
    if written.is_err()
        && let Some(new) = new_key_file
    {
        // It opens nothing, and would be in the way of the next attempt. What went wrong first is told, not this.
        let _ = std::fs::remove_file(new);
    }
    written?;
    if is_stream {
        return Ok(());
    }
    let (count, users) = (backup.authenticators.len(), users(&backup).len());
    writeln!(out, "wrote {count} authenticators of {users} users to {}", file.display())?;
    if let Some(key) = new_key_file {
        writeln!(out, "It opens with {} alone: keep the two apart.", key.display())?;
    }
    Ok(())
}

/// Seals the backup, and writes it where it is wanted.
fn write(desk: &Desk, backup: &Backup, key: &Path, file: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let sealed = backup::seal(backup, key)?;
    for user in users(backup) {
        let subscriber = Subscriber::canonical(user);
        desk.audit(&Act { action: "export", subscriber: &subscriber, what: "all", grounds: "backup" })?;
    }
    if file.as_os_str() == STANDARD {
        out.write_all(sealed.as_bytes())?;
        return Ok(out.flush()?);
    }
    create(file, sealed.as_bytes())
}

/// Whether two names are of one file that is not there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.canonicalize().ok().zip(path.file_name().map(ToOwned::to_owned))
    };
    one == other || place(one).is_some_and(|place_of_one| Some(place_of_one) == place(other))
}

/// Everything that is to be kept of `users`, or of everybody.
fn collect(desk: &Desk, users: &[String]) -> Result<Backup, AdminError> {
    let mut authenticators = Vec::new();
    let mut keep = |authenticator: &Authenticator| {
        authenticators.extend(kept(desk, authenticator)?);
        Ok::<(), AdminError>(())
    };
    if users.is_empty() {
        desk.for_each(&mut keep)?;
    }
    for user in users {
        let subscriber = desk::subscriber(user)?;
        let held = desk.authenticators_of(&subscriber)?;
        if held.is_empty() {
            return Err(AdminError::Data(format!("{} is not enrolled; nothing was exported", Foreign(user))));
        }
        held.iter().try_for_each(&mut keep)?;
    }
    Ok(Backup { made: desk.now().0, authenticators })
}

/// What is kept of one authenticator; nothing of codes that were handed out for a while.
fn kept(desk: &Desk, authenticator: &Authenticator) -> Result<Option<Kept>, AdminError> {
    let Authenticator {
        id,
        subscriber,
        client,
        label,
        mechanism,
        sealed,
        last_step,
        created,
        last_used,
        standing,
        is_default,
    } = authenticator;
    let (algorithm, digits, period) = match mechanism {
        Mechanism::Totp(Totp { algorithm, digits, period }) => (Some(*algorithm), Some(*digits), Some(*period)),
        Mechanism::Hotp(Hotp { algorithm, digits }) => (Some(*algorithm), Some(*digits), None),
        Mechanism::LookUp if client != RECOVERY => return Ok(None),
        Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere => (None, None, None),
    };
    let place = authenticator_place(subscriber, &id.0);
    // Sealed again under the key of the backup, and written nowhere before.
    let secret = desk.setup.sealer.open(Purpose::Authenticator, &place, sealed).map_err(|error| {
        let (user, label) = (Foreign(subscriber.as_str()), Foreign(label));
        AdminError::Failed(format!(
            "\"{label}\" of {user} cannot be opened: {error}; countersign keys verify says more"
        ))
    })?;
    let codes = match mechanism {
        Mechanism::LookUp => desk.settled(desk.store().recovery_hashes(subscriber))?,
        Mechanism::Totp(_) | Mechanism::Hotp(_) | Mechanism::Sent | Mechanism::Elsewhere => Vec::new(),
    };
    Ok(Some(Kept {
        user: subscriber.as_str().to_owned(),
        id: id.0.clone(),
        client: client.clone(),
        label: label.clone(),
        kind: mechanism.word().to_owned(),
        algorithm: algorithm.map(|algorithm| algorithm.name().to_owned()),
        digits,
        period,
        secret: backup::written(&secret),
        last_step: *last_step,
        created: created.0,
        last_used: last_used.map(|time| time.0),
        disabled: match standing {
            Standing::Active => false,
            Standing::Disabled => true,
        },
        default: *is_default,
        codes: codes.into_iter().map(|hash| backup::written(&SecretBytes::new(hash))).collect(),
    }))
}

/// Whose they are, each once.
fn users(backup: &Backup) -> std::collections::BTreeSet<&str> {
    backup.authenticators.iter().map(|kept| kept.user.as_str()).collect()
}

/// Makes a file that is not there yet; two who do so at once do not overwrite each other's.
fn create(path: &Path, content: &[u8]) -> Result<(), AdminError> {
    if path.symlink_metadata().is_ok() {
        return Err(is_there(path));
    }
    files::create_private(path, content).map_err(|error| unwritable(path, error))
}
