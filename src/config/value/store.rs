//! Where the store is.

use std::path::PathBuf;

use super::Value;
use crate::config::schema::Schema;

/// A directory of this machine, or a database that many machines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    Directory(PathBuf),
    /// `postgres://…`
    Postgres(String),
}

impl Value for StorePlace {
    fn expected() -> String {
        "a directory, or postgres://USER@HOST/DATABASE".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"postgres(ql)?://.*|(?!.*://)(?![pP][oO][sS][tT][gG][rR][eE][sS]:).+")
    }

    /// Where it is none, nothing of it is repeated: an address that is mistyped may hold a password.
    fn read(text: &str) -> Result<Self, String> {
        let found = if text.is_empty() { ", found \"\"" } else { "" };
        Self::parse(text).ok_or_else(|| format!("expected {}{found}", Self::expected()))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_mistyped =
            text.contains("://") || text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("postgres:"));
        match text {
            "" => None,
            url if ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) => {
                Some(Self::Postgres(url.to_owned()))
            }
            _ if is_mistyped => None,
            path => Some(Self::Directory(path.into())),
        }
    }
}
