//! `[postgres]`: how the database of a shared store is reached. Read only where it stands.

use std::path::PathBuf;

use super::Config;
use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::policy::defaults;
use super::value::{Count, Optional, Seconds, ServiceSecret};

options! {
    /// `[postgres]`.
    Postgres {
        /// The password of the user that `[plugin] store` names; empty: the database asks for none.
        password: Optional<ServiceSecret> = "";
        /// The authorities that the server's certificate must come from (PEM). Empty: those of this machine.
        ca_file: Optional<PathBuf> = "";
        /// How many connections a process that stays keeps at most; one that is started for a login uses one.
        connections: Count<1, 200> = "8";
        /// How long a connection is waited for.
        connect_timeout: Seconds<1, 60> = "3";
        /// How long one statement may take, waiting for others included.
        statement_timeout: Seconds<1, 60> = "5";
    }
}

/// `[postgres]`, as it is declared.
pub static POSTGRES_DECLARED: SectionDeclaration = SectionDeclaration {
    name: "postgres",
    doc: &[
        " How the database is reached that [plugin] store names, such as postgres://countersign@db.corp.example/countersign",
        " (docs/scale-out.md).",
    ],
    options: Postgres::OPTIONS,
    shared: &[],
};

impl Postgres {
    /// What stands in `sections` of it.
    pub fn of(sections: &[Section], mistakes: &mut Mistakes) -> Option<Box<Self>> {
        let section = sections.iter().find(|section| section.name == POSTGRES_DECLARED.name)?;
        declare::refuse_unknown_options(section, Self::OPTIONS.iter(), mistakes);
        Self::read(Some(section), mistakes).map(Box::new)
    }
}

impl Config {
    /// `[postgres]`, or its defaults.
    pub fn postgres(&self) -> Postgres {
        self.postgres.as_deref().cloned().unwrap_or_else(|| defaults(Postgres::read))
    }
}
