//! What Duo answers, read strictly: what decides must be there and of its type, what only explains may be missing.

use serde_json::{Map, Value};

use crate::client::ClientError;
use crate::domain::secret::Secret;

/// The longest name of a transaction that is taken, in bytes.
const TXID_LIMIT: usize = 256;

/// What a user may do.
pub enum Preauth {
    /// Authenticate, with one of these. The transaction is there where a push must be verified by a code.
    Authenticate { devices: Vec<Device>, verified: Option<Verified> },
    /// Go on without a second factor.
    Allow { said: String },
    /// Nothing.
    Deny { said: String },
    /// Enrol: the user is unknown, or has no device.
    Enroll { said: String },
}

/// A push whose code must be typed on the phone.
pub struct Verified {
    pub txid: Secret<String>,
    /// Digits only.
    pub code: String,
}

/// Something that a user has.
pub struct Device {
    pub id: String,
    pub name: Option<String>,
    pub kind: String,
    pub capabilities: Vec<String>,
}

/// How a transaction stands, or ended.
pub struct Status {
    pub result: Standing,
    /// The word that says more, where there is one.
    pub status: Option<String>,
    pub said: String,
}

/// The three words of a transaction's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Waiting,
    Allow,
    Deny,
}

impl Preauth {
    /// Reads what `preauth` answered.
    ///
    /// # Errors
    /// Where it is not what the protocol says.
    pub fn read(fields: &Map<String, Value>) -> Result<Self, ClientError> {
        let said = said(fields);
        match fields.get("result").and_then(Value::as_str) {
            Some("auth") => {}
            Some("allow") => return Ok(Self::Allow { said }),
            Some("deny") => return Ok(Self::Deny { said }),
            Some("enroll") => return Ok(Self::Enroll { said }),
            Some(_) | None => {
                return Err(ClientError::unexpected("preauth: result is neither auth, allow, deny nor enroll"));
            }
        }
        let devices = match fields.get("devices") {
            None => Vec::new(),
            Some(Value::Array(devices)) => devices.iter().map(Device::read).collect::<Result<_, _>>()?,
            Some(_) => return Err(ClientError::unexpected("preauth: devices is no list")),
        };
        let verified = match fields.get("verification_code") {
            None | Some(Value::Null) => None,
            Some(code) => {
                let code = match code {
                    Value::String(code) => code.clone(),
                    Value::Number(code) => code.to_string(),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
                };
                if code.is_empty() || code.len() > 16 || !code.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(ClientError::unexpected("preauth: verification_code is not digits"));
                }
                Some(Verified { txid: txid(fields, "preauth")?, code })
            }
        };
        Ok(Self::Authenticate { devices, verified })
    }
}

impl Device {
    fn read(value: &Value) -> Result<Self, ClientError> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("device").filter(|id| !id.is_empty());
        let capabilities = match value.get("capabilities") {
            None => Vec::new(),
            Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(_) => return Err(ClientError::unexpected("preauth: a device's capabilities are no list")),
        };
        Ok(Self {
            id: id.ok_or_else(|| ClientError::unexpected("preauth: a device without an id"))?,
            name: text("name").or_else(|| text("display_name")).filter(|name| !name.is_empty()),
            kind: text("type").unwrap_or_default(),
            capabilities,
        })
    }
}

impl Status {
    /// Reads what `auth` or `auth_status` answered.
    ///
    /// # Errors
    /// Where it is not what the protocol says.
    pub fn read(fields: &Map<String, Value>, endpoint: &str) -> Result<Self, ClientError> {
        let result = match fields.get("result").and_then(Value::as_str) {
            Some("waiting") => Standing::Waiting,
            Some("allow") => Standing::Allow,
            Some("deny") => Standing::Deny,
            Some(_) | None => {
                return Err(ClientError::unexpected(format!("{endpoint}: result is neither waiting, allow nor deny")));
            }
        };
        let status = match fields.get("status") {
            None | Some(Value::Null) => None,
            Some(Value::String(status)) => Some(status.clone()),
            Some(_) => return Err(ClientError::unexpected(format!("{endpoint}: status is no text"))),
        };
        Ok(Self { result, status, said: said(fields) })
    }
}

/// The name of a transaction.
///
/// # Errors
/// Where there is none.
pub fn txid(fields: &Map<String, Value>, endpoint: &str) -> Result<Secret<String>, ClientError> {
    let txid = fields.get("txid").and_then(Value::as_str).filter(|txid| is_txid(txid));
    txid.map(|txid| Secret::new(txid.to_owned())).ok_or_else(|| ClientError::unexpected(format!("{endpoint}: no txid")))
}

/// Whether `text` can name a transaction.
pub fn is_txid(text: &str) -> bool {
    !text.is_empty() && text.len() <= TXID_LIMIT && text.bytes().all(|b| b.is_ascii_graphic())
}

fn said(fields: &Map<String, Value>) -> String {
    fields.get("status_msg").and_then(Value::as_str).unwrap_or_default().to_owned()
}
