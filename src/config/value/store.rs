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
        Schema::Text
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "" => None,
            url if ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) => {
                Some(Self::Postgres(url.to_owned()))
            }
            path => Some(Self::Directory(path.into())),
        }
    }
}
