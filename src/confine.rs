//! What a process that serves gives up before it reads a request: cores, new privileges, and every file that plugin.ini does
//! not name. SECURITY.md has the table.
//!
//! Threads that were started before are not held by it, so it comes first.

mod grants;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::DumpableBehavior;

use crate::config::Config;
use crate::config::gateway::FirstFactor;
use crate::config::value::{Via, YesNo};
pub use grants::{Grants, around};

/// The newest Landlock whose rules are used; what an older kernel lacks of it is left out.
const NEWEST: ABI = ABI::V6;

/// No core of this process, and no look into it by others of its user: the master key is in its memory. Where the kernel refuses,
/// nothing else changes. The limit of cores stays as it is: a program that is run inherits that, and this mark not.
pub fn guard_memory() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Keeps descriptors that this process inherited by accident from the programs that it runs. They stay open here: whoever
/// started it may tell by them how long it lives.
pub fn keep_descriptors() {
    close_fds::set_fds_cloexec(3, &[]);
}

/// What a process is going to give up.
#[derive(Clone, Debug)]
pub enum Plan {
    /// `[plugin] hardening = no`.
    Off,
    /// It runs programs, which may need what they would inherit the loss of. Where each is named.
    Runs(BTreeSet<String>),
    /// It runs none.
    Rules(Arc<Rules>),
}

/// What is left.
#[derive(Debug)]
pub struct Rules {
    grants: Grants,
    made: Result<RulesetCreated, String>,
}

impl Plan {
    /// The plan for a process that serves under `config`, and has `first_factor` check passwords; in `also`, what it opens besides.
    pub fn of(config: &Config, first_factor: Option<&FirstFactor>, also: impl FnOnce(&mut Grants)) -> Self {
        if config.plugin.hardening == YesNo::No {
            return Self::Off;
        }
        let notify = config.remote.notify.iter().filter(|(_, section)| section.via == Via::Command);
        let mut runs: BTreeSet<String> = notify.map(|(name, _)| format!("[notify {name}] command")).collect();
        runs.extend(first_factor.map(|_| "first_factor".to_owned()));
        if !runs.is_empty() {
            return Self::Runs(runs);
        }
        let mut grants = Grants::of(config);
        also(&mut grants);
        let made = ruleset(&grants).map_err(|error| error.to_string());
        Self::Rules(Arc::new(Rules { grants, made }))
    }

    /// Gives it up, for this thread and those that it starts, for good.
    pub fn carry_out(&self) -> Confined {
        let rules = match self {
            Self::Off => return Confined::Off,
            Self::Runs(places) => return Confined::Runs(places.clone()),
            Self::Rules(rules) => rules,
        };
        let restricted = rules.made.as_ref().map_err(Clone::clone).and_then(|made| {
            let again = made.try_clone().map_err(|error| error.to_string())?;
            again.restrict_self().map_err(|error| error.to_string())
        });
        match restricted {
            Ok(RestrictionStatus { ruleset, landlock, .. }) => Confined::Landlock { abi: number(&landlock), ruleset },
            Err(error) => Confined::Refused(error),
        }
    }

    /// What may still be opened, in short.
    pub fn allows(&self) -> String {
        let rules = match self {
            Self::Off | Self::Runs(_) => return "every file of this user".into(),
            Self::Rules(rules) => rules,
        };
        let listed = |paths: &BTreeSet<PathBuf>| {
            let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
        };
        let Grants { read, keep, write, sockets, devices: _ } = &rules.grants;
        let writes = [keep, write, sockets].into_iter().flatten().cloned().collect();
        format!("reads below {}; writes below {}", listed(read), listed(&writes))
    }
}

/// What a process gave up.
#[derive(Debug)]
pub enum Confined {
    /// Nothing, as plugin.ini says.
    Off,
    /// Nothing, for the sake of the programs that it runs; where each is named.
    Runs(BTreeSet<String>),
    /// New privileges; and files, as far as a Landlock of this number goes: 0 where the kernel has none.
    Landlock { abi: i32, ruleset: RulesetStatus },
    /// The kernel refused.
    Refused(String),
}

impl Confined {
    /// Whether it is all that was meant to be given up.
    pub const fn is_whole(&self) -> bool {
        match self {
            Self::Landlock { abi: _, ruleset } => matches!(ruleset, RulesetStatus::FullyEnforced),
            Self::Off | Self::Runs(_) | Self::Refused(_) => false,
        }
    }

    /// Says in the log what was not given up.
    pub fn log(&self) {
        match self {
            Self::Off => tracing::info!("not confined to the files of plugin.ini: [plugin] hardening is no"),
            Self::Runs(_) => tracing::info!(state = %self, "not confined to the files of plugin.ini"),
            Self::Landlock { .. } if self.is_whole() => {
                tracing::debug!(state = %self, "confined to the files of plugin.ini")
            }
            Self::Landlock { .. } | Self::Refused(_) => {
                tracing::warn!(state = %self, "not wholly confined to the files of plugin.ini");
            }
        }
    }
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("[plugin] hardening = no"),
            Self::Runs(places) => {
                let places: Vec<_> = places.iter().map(String::as_str).collect();
                write!(f, "{} names a program, which may need more than this process", places.join(", "))
            }
            Self::Landlock { abi: 0, ruleset: _ } => f.write_str("no new privileges; this kernel has no Landlock"),
            Self::Landlock { abi, ruleset } => {
                write!(f, "no new privileges, Landlock ABI {abi}")?;
                match ruleset {
                    RulesetStatus::FullyEnforced => Ok(()),
                    RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
                        write!(f, ", which lacks some of ABI {}", NEWEST as i32)
                    }
                }
            }
            Self::Refused(error) => write!(f, "the kernel refused: {error}"),
        }
    }
}

fn number(status: &LandlockStatus) -> i32 {
    match status {
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(*effective_abi as i32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    }
}

fn ruleset(grants: &Grants) -> Result<RulesetCreated, RulesetError> {
    let keep = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        // It listens nowhere. Where services are is not known beforehand: connections stay free.
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let all: [(&BTreeSet<PathBuf>, BitFlags<AccessFs>); 5] = [
        // What is a directory where a file should be is told as that.
        (&grants.read, AccessFs::ReadFile | AccessFs::ReadDir),
        (&grants.keep, keep),
        (&grants.write, AccessFs::WriteFile | AccessFs::MakeReg),
        // A lock lies beside each.
        (
            &grants.sockets,
            AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile | AccessFs::MakeReg | AccessFs::WriteFile,
        ),
        (&grants.devices, AccessFs::ReadFile | AccessFs::WriteFile),
    ];
    for (paths, access) in all {
        for path in paths {
            ruleset = add(ruleset, path, access)?;
        }
    }
    Ok(ruleset)
}

/// Allows `access` below `path`; what cannot be opened now could not be used either.
fn add(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => ruleset.add_rule(PathBeneath::new(opened, access)),
        Err(_) => Ok(ruleset),
    }
}
