//! What a diagnosis found out, step by step.

/// One step, and what came of it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at: resolve, connect, tls, time, credentials, permissions, request, or a client's own.
    pub step: &'static str,
    pub result: Result<String, Trouble>,
}

/// What is wrong, and what to do.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub what: String,
    pub remedy: String,
}

impl Finding {
    /// A step that went well; `text` says what was found, and holds no secret.
    pub fn well(step: &'static str, text: impl Into<String>) -> Self {
        Self { step, result: Ok(text.into()) }
    }

    /// A step that did not.
    pub fn wrong(step: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { step, result: Err(Trouble { what: what.into(), remedy: remedy.into() }) }
    }
}
