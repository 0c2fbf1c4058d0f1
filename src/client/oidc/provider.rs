//! What the provider says of itself and of a code, and what is kept until the code is used.

use serde_json::{Value, json};
use url::Url;

use super::super::ClientError;
use super::super::http::json;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, STATE_LIMIT};
use crate::domain::secret::Secret;
use crate::domain::time::UnixTime;

/// The longest address and device code that are kept, and the longest code and address that are shown, in bytes. What is
/// kept stays below [`STATE_LIMIT`] even if all of it is escaped.
const LINK: usize = 1024;
const DEVICE_CODE: usize = 2048;
const SHOWN_CODE: usize = 40;
const SHOWN_LINK: usize = 200;

const _: () = assert!(2 * LINK + 2 * DEVICE_CODE + 128 <= STATE_LIMIT);

/// How long to wait between two looks where the provider does not say, in seconds (RFC 8628, section 3.2).
const INTERVAL: u64 = 5;

/// Which addresses of the provider are used. They may lie on another host than the issuer, who names them; but never where
/// somebody on the way could answer instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    HttpsOnly,
    /// `allow_insecure_http = yes`.
    Insecure,
}

impl Links {
    fn follow(self, text: &str, limit: usize) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let is_safe = match self {
            Self::HttpsOnly => url.scheme() == "https",
            Self::Insecure => matches!(url.scheme(), "https" | "http"),
        };
        let is_plain = url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.as_str().len() <= limit;
        (is_safe && is_plain).then_some(url)
    }

    /// The address in `json` under `name`.
    fn read(self, json: &Value, name: &str, limit: usize) -> Result<Url, ClientError> {
        let Some(text) = json.get(name).and_then(Value::as_str) else {
            return Err(ClientError::unexpected(format!("the provider names no {name}")));
        };
        self.follow(text, limit).ok_or_else(|| {
            let text =
                format!("{name}: {} cannot be used; expected an address that begins with https://", Foreign(text));
            ClientError::communication("foreign_link", text)
        })
    }
}

/// Whether `text` is how the provider at `configured` is called: exactly, but the slash behind a bare host, which
/// configured addresses do not keep.
pub fn is_issuer(configured: &Url, text: &str) -> bool {
    let whole = configured.as_str();
    text == whole || (configured.path() == "/" && whole.strip_suffix('/') == Some(text))
}

/// What the provider says of itself (OpenID Connect Discovery 1.0), as far as it matters.
pub struct Metadata {
    pub device_authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub jwks_uri: Url,
}

impl Metadata {
    /// Reads what `configured` says of itself.
    ///
    /// # Errors
    /// Where it is another issuer, or names no device flow or no addresses that can be used.
    pub fn read(json: &Value, configured: &Url, links: Links) -> Result<Self, ClientError> {
        let issuer = json.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if !is_issuer(configured, issuer) {
            let text = format!("the provider calls itself \"{}\"; expected exactly {configured}", Foreign(issuer));
            return Err(ClientError::unexpected(text));
        }
        if json.get("device_authorization_endpoint").is_none() {
            return Err(ClientError::unexpected("the provider offers no device flow (device_authorization_endpoint)"));
        }
        Ok(Self {
            device_authorization_endpoint: links.read(json, "device_authorization_endpoint", LINK)?,
            token_endpoint: links.read(json, "token_endpoint", LINK)?,
            jwks_uri: links.read(json, "jwks_uri", LINK)?,
        })
    }
}

/// A code that the provider made (RFC 8628, section 3.2).
pub struct Device {
    pub device_code: Secret<String>,
    /// Visible ASCII without spaces, short.
    pub user_code: String,
    pub verification_uri: Url,
    /// In seconds.
    pub expires_in: u64,
    /// In seconds.
    pub interval: u64,
}

impl Device {
    /// Reads the provider's answer.
    ///
    /// # Errors
    /// Where something is missing, or could not be shown.
    pub fn read(json: &Value, links: Links) -> Result<Self, ClientError> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let is_code =
            |code: &&str| (1..=DEVICE_CODE).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_graphic());
        let device_code = text("device_code")
            .filter(is_code)
            .ok_or_else(|| ClientError::unexpected("the answer has no device_code"))?;
        let user_code = text("user_code").filter(is_code).filter(|code| code.len() <= SHOWN_CODE);
        let user_code =
            user_code.ok_or_else(|| ClientError::unexpected("the answer has no user_code that could be shown"))?;
        // Google's name for it.
        let place = if json.get("verification_uri").is_some() { "verification_uri" } else { "verification_url" };
        let seconds = json.get("expires_in").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
        let interval = match json.get("interval") {
            None | Some(Value::Null) => INTERVAL,
            Some(interval) => {
                interval.as_u64().ok_or_else(|| ClientError::unexpected("interval is not a number of seconds"))?
            }
        };
        Ok(Self {
            device_code: Secret::new(device_code.to_owned()),
            user_code: user_code.to_owned(),
            verification_uri: links.read(json, place, SHOWN_LINK)?,
            expires_in: seconds.ok_or_else(|| ClientError::unexpected("expires_in is not a number of seconds"))?,
            interval: interval.max(1),
        })
    }
}

/// A sign-in that goes on elsewhere.
pub struct Flow {
    pub token_endpoint: Url,
    pub jwks_uri: Url,
    pub device_code: Secret<String>,
    /// In seconds.
    pub interval: u64,
    pub started: UnixTime,
    pub expires: UnixTime,
}

impl Flow {
    /// What is kept of it.
    pub fn state(&self) -> ClientState {
        let Self { token_endpoint, jwks_uri, device_code, interval, started, expires } = self;
        // Sealed before it is kept.
        let json =
            json!([token_endpoint.as_str(), jwks_uri.as_str(), device_code.expose(), interval, started.0, expires.0]);
        Secret::new(json.to_string().into_bytes())
    }

    /// What was kept; `None` where it is nothing that [`Flow::state`] made, or is not to be used any more.
    pub fn read(state: &ClientState, links: Links) -> Option<Self> {
        // Was sealed meanwhile.
        let bytes = state.expose();
        let Value::Array(parts) = json::parse(bytes).ok()? else { return None };
        let [token_endpoint, jwks_uri, device_code, interval, started, expires] = <[Value; 6]>::try_from(parts).ok()?;
        let Value::String(device_code) = device_code else { return None };
        Some(Self {
            token_endpoint: links.follow(token_endpoint.as_str()?, LINK)?,
            jwks_uri: links.follow(jwks_uri.as_str()?, LINK)?,
            device_code: Secret::new(device_code),
            interval: interval.as_u64()?,
            started: UnixTime(started.as_u64()?),
            expires: UnixTime(expires.as_u64()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_issuer_is_called_exactly_as_configured() {
        assert!(is_issuer(&url("https://login.example"), "https://login.example"));
        assert!(is_issuer(&url("https://login.example/"), "https://login.example/"));
        assert!(is_issuer(&url("https://login.example/realms/a"), "https://login.example/realms/a"));
        for text in
            ["", "https://login.example/realms/a/", "https://login.example/realms/A", "http://login.example/realms/a"]
        {
            assert!(!is_issuer(&url("https://login.example/realms/a"), text), "{text}");
        }
        for text in [
            "https://login.example//",
            "https://login.example.evil.example",
            "https://LOGIN.example",
            " https://login.example",
        ] {
            assert!(!is_issuer(&url("https://login.example"), text), "{text}");
        }
    }

    #[test]
    fn addresses_are_of_any_host_but_never_open_to_others() {
        let metadata = |field: &str, value: Value| {
            let mut json = json!({
                "issuer": "https://a.example", "device_authorization_endpoint": "https://b.example/device",
                "token_endpoint": "https://c.example/token?x=1", "jwks_uri": "https://d.example/keys",
            });
            json[field] = value;
            told(Metadata::read(&json, &url("https://a.example"), Links::HttpsOnly))
        };
        assert_eq!(metadata("more", json!(true)), "ok");
        for field in ["device_authorization_endpoint", "token_endpoint", "jwks_uri"] {
            assert_eq!(metadata(field, Value::Null), "unexpected_answer", "{field}");
            for text in [
                "http://c.example/x",
                "https://u@c.example/",
                "https://u:p@c.example/",
                "https://c.example/#x",
                "file:///etc/passwd",
                "/token",
                "",
                &format!("https://c.example/{}", "x".repeat(LINK)),
            ] {
                assert_eq!(metadata(field, json!(text)), "foreign_link", "{field} {text}");
            }
        }
        assert_eq!(metadata("issuer", json!("https://b.example")), "unexpected_answer");
        assert_eq!(metadata("issuer", json!(["https://a.example"])), "unexpected_answer");
        assert!(Links::Insecure.follow("http://c.example/x", LINK).is_some());
        assert!(Links::Insecure.follow("ftp://c.example/x", LINK).is_none());
    }

    #[test]
    fn a_code_can_be_shown() {
        let device = |field: &str, value: Value| {
            let mut json = json!({
                "device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "https://a.example/device",
                "expires_in": 60, "interval": 2,
            });
            json[field] = value;
            told(Device::read(&json, Links::HttpsOnly))
        };
        assert_eq!(device("more", json!([])), "ok");
        assert_eq!(device("interval", Value::Null), "ok");
        for (field, value) in [
            ("device_code", Value::Null),
            ("device_code", json!("")),
            ("device_code", json!("a b")),
            ("device_code", json!("x".repeat(DEVICE_CODE + 1))),
            ("user_code", Value::Null),
            ("user_code", json!("")),
            ("user_code", json!("AB\nCD")),
            ("user_code", json!("AB\u{202e}CD")),
            ("user_code", json!("X".repeat(SHOWN_CODE + 1))),
            ("verification_uri", Value::Null),
            ("expires_in", Value::Null),
            ("expires_in", json!(0)),
            ("expires_in", json!("60")),
            ("interval", json!("5")),
            ("interval", json!(-1)),
        ] {
            assert_eq!(device(field, value.clone()), "unexpected_answer", "{field} {value}");
        }
        for text in
            ["http://a.example/device", "javascript:alert(1)", &format!("https://a.example/{}", "x".repeat(SHOWN_LINK))]
        {
            assert_eq!(device("verification_uri", json!(text)), "foreign_link", "{text}");
        }
        let json =
            json!({"device_code": "d", "user_code": "A", "verification_url": "https://a.example/", "expires_in": 9});
        let device = Device::read(&json, Links::HttpsOnly).unwrap();
        assert_eq!((device.interval, device.expires_in), (INTERVAL, 9));
    }

    #[test]
    fn a_flow_is_kept_whole_and_read_strictly() {
        let long = |start: &str| url(&format!("{start}{}", "x".repeat(LINK - start.len())));
        let flow = Flow {
            token_endpoint: long("https://a.example/"),
            jwks_uri: long("https://b.example/"),
            device_code: Secret::new("\"\\".repeat(DEVICE_CODE / 2)),
            interval: u64::MAX,
            started: UnixTime(u64::MAX),
            expires: UnixTime(u64::MAX),
        };
        let state = flow.state();
        assert!(state.expose().len() <= STATE_LIMIT);
        let read = Flow::read(&state, Links::HttpsOnly).unwrap();
        assert_eq!(read.device_code.expose(), flow.device_code.expose());
        assert_eq!((read.token_endpoint, read.jwks_uri), (flow.token_endpoint, flow.jwks_uri));
        let read = |text: &str| Flow::read(&Secret::new(text.as_bytes().to_vec()), Links::HttpsOnly).is_some();
        assert!(read(r#"["https://a.example","https://a.example","d",1,2,3]"#));
        for text in [
            "",
            "[]",
            "{}",
            r#"["http://a.example","https://a.example","d",1,2,3]"#,
            r#"["https://a.example","https://a.example","d",1,2,3,4]"#,
            r#"["https://a.example","https://a.example",1,1,2,3]"#,
            r#"["https://a.example","https://a.example","d",1,2,-3]"#,
        ] {
            assert!(!read(text), "{text}");
        }
    }
}
