//! What `countersign doctor` finds out about a client, step by step.

use std::future::Future;
use std::pin::Pin;

use super::ClientError;
pub use crate::domain::finding::{Finding, Trouble};

/// What a client promises to find out.
pub type Findings<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

impl Finding {
    /// A step that a client's error ended.
    pub fn error(step: &'static str, error: &ClientError, remedy: impl Into<String>) -> Self {
        Self::wrong(step, error.to_string(), remedy)
    }
}
