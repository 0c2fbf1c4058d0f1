//! What a remote service verifies: noted here by name, so that it can be somebody's default and have a label.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::args::{New, OutputArgs};
use super::label::{free_label, label_taken};
use crate::admin::AdminError;
use crate::admin::audit::Act;
use crate::admin::desk::{self, Desk};
use crate::admin::fresh::NewAuthenticator;
use crate::clock::Clock;
use crate::config::value::{ClientName, Value};
use crate::domain::authenticator::Mechanism;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::store::Added;

/// Whether `client` is one whose users are enrolled at the service.
pub fn is_meant(client: &str) -> bool {
    match ClientName::parse(client) {
        Some(ClientName::Totp | ClientName::Hotp | ClientName::Notify(_)) | None => false,
        Some(
            ClientName::Privacyidea
            | ClientName::Duo
            | ClientName::Okta
            | ClientName::Yubico
            | ClientName::Oidc
            | ClientName::Http(_)
            | ClientName::Fixed,
        ) => true,
    }
}

/// Notes that `user` has an authenticator at the service of the client that `new` names. Nothing is proved by that: the
/// service decides each login, whether it is noted or not.
pub fn note(user: &str, new: &New, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let New { user: _, client, label, target: _, confirm, output } = new;
    let OutputArgs { qr, qr_file, page, json } = output;
    if *confirm || qr.is_some() || qr_file.is_some() || page.is_some() {
        let text = format!("{client} enrols its users itself: leave out --confirm, --qr, --qr-file and --page");
        return Err(AdminError::Usage(text));
    }
    let desk = Desk::open(config, clock)?;
    if let Some(note) = desk.unverified(client) {
        return Err(AdminError::Data(note.trim_start_matches("note: ").to_owned()));
    }
    let subscriber = desk::subscriber(user)?;
    let held = desk.authenticators_of(&subscriber)?;
    let who = Foreign(subscriber.as_str());
    if let Some(known) = held.iter().find(|known| known.client == *client) {
        let (label, id) = (Foreign(&known.label), &known.id.0);
        return Err(AdminError::Data(format!("{client} is noted for {who} already, as \"{label}\" ({id})")));
    }
    let label = free_label(&held, Some(label.as_deref().unwrap_or(client)))?;
    // There is no secret here.
    let (mechanism, secret) = (Mechanism::Elsewhere, &SecretBytes::new(Vec::new()));
    let new =
        NewAuthenticator { client, label: &label, mechanism, secret, last_step: None }.seal(&desk, &subscriber)?;
    desk.audit(&Act { action: "enrol", subscriber: &subscriber, what: &label, grounds: "by an administrator" })?;
    let id = &new.id.0;
    match desk.settled(desk.store().add(std::slice::from_ref(&new)))? {
        Added::Yes => {}
        Added::LabelTaken | Added::ChallengeGone | Added::NotFirst => return Err(label_taken(&label)),
    }
    if *json {
        let done = json!({"enrolled": true, "user": subscriber.as_str(), "authenticator": id});
        return Ok(writeln!(out, "{done}")?);
    }
    Ok(writeln!(
        out,
        "{who} has \"{label}\" ({id}), which {client} verifies and enrols itself.\n\
         To ask for it first: countersign authenticator default {who} {id}"
    )?)
}
