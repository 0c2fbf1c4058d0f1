//! PSKC, the portable symmetric key container (RFC 6030), as privacyIDEA and vendors of hardware tokens write it.
//!
//! Names are read without regard to namespace and case, since writers differ in both.

mod crypt;
mod policy;
mod tree;

use self::crypt::{Container, Opened};
use self::tree::{child, find, text};
use super::incoming::{Incoming, Reading, Used, What, digits, period};
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::foreign::Foreign;
use crate::domain::secret::{Secret, SecretBytes};
use crate::domain::time::UnixTime;

/// Reads a container at the time `now`; `key` is the text of a key file: the pre-shared key in hexadecimal, or the password.
///
/// # Errors
/// Where the text is no container, or the key does not fit it.
pub fn read(document: &str, key: Option<&Secret<String>>, now: UnixTime) -> Result<Reading, String> {
    let document = roxmltree::Document::parse(document).map_err(|error| {
        let at = error.pos();
        format!("line {}, column {}: this is not XML without a DOCTYPE", at.row, at.col)
    })?;
    let root = document.root_element();
    if !root.tag_name().name().eq_ignore_ascii_case("KeyContainer") {
        return Err(format!(
            "the root element is <{}>; expected <KeyContainer> (RFC 6030)",
            Foreign(root.tag_name().name())
        ));
    }
    let container = Container::of(root, key)?;
    let mut reading = Reading::default();
    let (mut forged, mut opened) = (0, 0);
    for (index, package) in tree::children(root, "KeyPackage").enumerate() {
        let Some(key) = child(package, "Key") else {
            let place = format!("package {}", index + 1);
            reading.note(place, Err("there is no <Key> in it; take it out, or export it again".into()));
            continue;
        };
        let serial = serial(package, key).unwrap_or_else(|| (index + 1).to_string());
        let place = format!("key {}", Foreign(&serial));
        let Some(kind) = Kind::of(key) else {
            let algorithm = Foreign(tree::attribute(key, "Algorithm").unwrap_or_default());
            reading.passed.push(format!("{place}: passed over: the algorithm {algorithm} is neither hotp nor totp"));
            continue;
        };
        match container.open(key) {
            Ok(Opened::Secret(secret)) => {
                opened += 1;
                let entry = Entry { place: &place, serial: &serial, kind, package, key };
                let incoming = policy::permits(key, now).and_then(|()| entry.incoming(secret, &mut reading.remarks));
                reading.note(place, incoming);
            }
            Ok(Opened::Forged) => {
                forged += 1;
                let what = "the MAC does not fit the secret: it was changed, or belongs to another key";
                reading.note(place, Err(what.into()));
            }
            Err(what) => reading.note(place, Err(what)),
        }
    }
    if forged > 0 && opened == 0 {
        return Err(
            "the key is not that of this file, or the file was changed: the MAC fits none of its secrets".into()
        );
    }
    if reading.found.is_empty() && reading.flaws.is_empty() && reading.passed.is_empty() {
        return Err("there is no <KeyPackage> in it: it holds no authenticators".into());
    }
    Ok(reading)
}

type Node<'a> = roxmltree::Node<'a, 'a>;

/// The algorithms of codes that are verified here.
#[derive(Clone, Copy)]
enum Kind {
    Hotp,
    Totp,
}

impl Kind {
    fn of(key: Node<'_>) -> Option<Self> {
        let name = tree::attribute(key, "Algorithm")?.rsplit(':').next()?;
        [("hotp", Self::Hotp), ("totp", Self::Totp)]
            .into_iter()
            .find_map(|(known, kind)| name.eq_ignore_ascii_case(known).then_some(kind))
    }
}

/// One package, and what of it is known already.
struct Entry<'a> {
    place: &'a str,
    serial: &'a str,
    kind: Kind,
    package: Node<'a>,
    key: Node<'a>,
}

impl Entry<'_> {
    fn incoming(&self, secret: SecretBytes, remarks: &mut Vec<String>) -> Result<Incoming, String> {
        let Self { place, serial, kind, package, key } = *self;
        let parameters = child(key, "AlgorithmParameters");
        let format = parameters.and_then(|node| child(node, "ResponseFormat"));
        if let Some(encoding) = format.and_then(|node| tree::attribute(node, "Encoding"))
            && !encoding.eq_ignore_ascii_case("DECIMAL")
        {
            return Err(format!("codes in the encoding {}; expected DECIMAL", Foreign(encoding)));
        }
        if let Some(check) = format.and_then(|node| tree::attribute(node, "CheckDigits"))
            && !["false", "0"].contains(&check)
        {
            return Err(
                "its codes end with a check digit (CheckDigits), which is not verified here; let its user have \
                        another token"
                    .into(),
            );
        }
        for name in ["Counter", "Time", "TimeInterval", "TimeDrift"] {
            if find(key, &["Data", name, "EncryptedValue"]).is_some() {
                return Err(format!("its <{name}> is encrypted; export it again with <{name}> as <PlainValue>"));
            }
        }
        let digits = format.and_then(|node| tree::attribute(node, "Length")).map_or(Ok(6), digits)?;
        let algorithm = parameters.and_then(|node| child(node, "Suite")).map_or(Ok(Algorithm::Sha1), suite)?;
        let counter = self.number("Counter").unwrap_or("0").parse().map_err(|_| "the counter is not a number")?;
        let what = match kind {
            Kind::Hotp => What::Hotp { hotp: Hotp { algorithm, digits }, secret },
            Kind::Totp => {
                let period = self.number("TimeInterval").filter(|text| *text != "0").map_or(Ok(30), period)?;
                if let Some(drift) =
                    self.number("TimeDrift").filter(|text| !text.trim_matches(['0', '.', '-']).is_empty())
                {
                    let drift = Foreign(drift);
                    remarks.push(format!("{place}: its clock is off by {drift}, which is not taken over"));
                }
                What::Totp { totp: Totp { algorithm, digits, period }, secret }
            }
        };
        Ok(Incoming {
            place: place.to_owned(),
            user: Some(user(package, key).unwrap_or_else(|| serial.to_owned())),
            label: Some(serial.to_owned()),
            what,
            // Also where it is time-based: a writer that gives a counter there means the next time step.
            used: Used::before(counter),
            created: None,
        })
    }

    /// A number among the data, where one is written.
    fn number(&self, name: &str) -> Option<&str> {
        find(self.key, &["Data", name, "PlainValue"]).and_then(text).filter(|text| *text != "None")
    }
}

/// Under which number the token is known.
fn serial(package: Node<'_>, key: Node<'_>) -> Option<String> {
    let written = find(package, &["DeviceInfo", "SerialNo"]).and_then(text);
    written.or_else(|| tree::attribute(key, "Id")).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

/// Whose it is: the user id, out of a distinguished name where it is one.
fn user(package: Node<'_>, key: Node<'_>) -> Option<String> {
    let id = child(key, "UserId").and_then(text).or_else(|| find(package, &["DeviceInfo", "UserId"]).and_then(text))?;
    let first = id.split(',').next().unwrap_or_default();
    let name = match first.split_once('=') {
        Some((kind, name)) if ["uid", "cn"].iter().any(|known| kind.trim().eq_ignore_ascii_case(known)) => name,
        Some(_) | None => id,
    };
    Some(name.trim().to_owned())
}

/// The hash function of a `<Suite>`, such as `HMAC-SHA256` in it or in its attribute.
fn suite(node: Node<'_>) -> Result<Algorithm, String> {
    let name = text(node).or_else(|| tree::attribute(node, "hashalgo")).unwrap_or("SHA1");
    let bare = name.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("HMAC-")).and(name.get(5..)).unwrap_or(name);
    Algorithm::named(bare)
        .ok_or_else(|| format!("unknown algorithm {}; expected SHA1, SHA256 or SHA512", Foreign(name)))
}

#[cfg(test)]
mod tests;
