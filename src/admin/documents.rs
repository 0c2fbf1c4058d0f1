//! `countersign completions` and `countersign man`.

use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{AdminError, Cli};

/// What `completions` takes.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: ShellName,
}

/// The shells that there are scripts for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// What `man` takes.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write one page a command into this directory
    dir: Option<PathBuf>,
}

/// Prints a completion script.
pub fn completions(args: &CompletionsArgs, out: &mut impl Write) -> Result<(), AdminError> {
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Elvish => Shell::Elvish,
        ShellName::Fish => Shell::Fish,
        ShellName::Powershell => Shell::PowerShell,
        ShellName::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
    Ok(out.write_all(&script)?)
}

/// Prints or writes the manual pages.
pub fn man(args: &ManArgs, out: &mut impl Write) -> Result<(), AdminError> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            Ok(clap_mangen::generate_to(Cli::command(), dir)?)
        }
        None => Ok(Man::new(Cli::command()).render(out)?),
    }
}
