//! Which service is played: what it would say to let somebody in, and what plugin.ini says to ask it.

use serde_json::json;

use super::response::Response;

/// The key by which the YubiKey validation server signs.
pub const YUBICO_KEY: &[u8] = b"simulated key, of nobody";

/// The service that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guise {
    Http,
    Privacyidea,
    Duo,
    Okta,
    Yubico,
    Oidc,
    Notify,
}

impl Guise {
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Privacyidea, Self::Duo, Self::Okta, Self::Yubico, Self::Oidc, Self::Notify];

    /// What it is called here.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Privacyidea => "privacyidea",
            Self::Duo => "duo",
            Self::Okta => "okta",
            Self::Yubico => "yubico",
            Self::Oidc => "oidc",
            Self::Notify => "notify",
        }
    }

    /// The section of plugin.ini that is printed.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Http => "http simulate",
            Self::Notify => "notify simulate",
            Self::Privacyidea | Self::Duo | Self::Okta | Self::Yubico | Self::Oidc => self.word(),
        }
    }

    /// The options of that section by which the service at `url` is asked; all credentials are invented.
    pub fn options(self, url: &str) -> String {
        match self {
            Self::Http => format!("url = {url}\nauth = bearer\nauth_secret = simulated-secret\n"),
            Self::Privacyidea => format!(
                "url = {url}\nservice_user = gateway\nservice_password = simulated-secret\nvalidate_key = simulated-secret\n"
            ),
            Self::Duo => {
                format!("host = {url}\nikey = DIXXXXXXXXXXXXXXXXXX\nskey = simulated-secret\nallow_bypass = yes\n")
            }
            Self::Okta => format!("api_url = {url}\napi_key = simulated-secret\n"),
            Self::Yubico => {
                let key = data_encoding::BASE64.encode(YUBICO_KEY);
                format!("api_urls = {url}/wsapi/2.0/verify\nclient_id = 87\napi_key = {key}\n")
            }
            Self::Oidc => format!("issuer = {url}\nclient_id = gateway\nclient_secret = simulated-secret\n"),
            Self::Notify => format!(
                "via = webhook\nurl = {url}/send\njson = {{\"to\": \"{{target}}\", \"text\": \"{{message}}\"}}\n\
                 auth = bearer\nauth_secret = simulated-secret\nsuccess = /queued = true\n"
            ),
        }
    }

    /// The sections that go with it.
    pub const fn more(self) -> &'static str {
        match self {
            Self::Http => {
                "\n[http simulate otp]\nrequest = POST /check\njson = {\"user\": \"{user}\", \"pass\": \"{otp}\"}\n\
                 success = /result = true\nfailure = /result = false\n\
                 \n[http simulate push_start]\nrequest = POST /push\nform = user={user}\npending = /result = true\n\
                 capture = txid /txid digits\n\
                 \n[http simulate push_poll]\nrequest = GET /push/{txid}\nsuccess = /result = true\n\
                 pending = /result = \"pending\"\nfailure = /result = false\n"
            }
            Self::Yubico => "\n[yubico_keys]\nalice = vvcccccccccb\n",
            Self::Privacyidea | Self::Duo | Self::Okta | Self::Oidc | Self::Notify => "",
        }
    }

    /// What alice types, where a code is asked for at once.
    pub const fn code(self) -> Option<&'static str> {
        match self {
            Self::Http | Self::Privacyidea | Self::Duo | Self::Okta => Some("755224"),
            Self::Yubico => Some("vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli"),
            Self::Oidc | Self::Notify => None,
        }
    }

    /// Whether Enter alone has the service asked.
    pub const fn is_asked_by_enter(self) -> bool {
        !matches!(self, Self::Yubico)
    }

    /// An answer by which the service at `url` lets somebody in: what is spoilt. Where several are needed, it is as much as
    /// one can hold of all.
    pub fn accept(self, url: &str) -> Response {
        let body = match self {
            Self::Yubico => return Response::new(200, "text/plain", "status=OK\n"),
            Self::Http => json!({"result": true, "txid": "12345"}),
            Self::Privacyidea => json!({
                "detail": {"message": "Found matching challenge", "serial": "PIPU1"}, "id": 1, "jsonrpc": "2.0",
                "result": {"authentication": "ACCEPT", "status": true, "value": true},
            }),
            Self::Duo => json!({"stat": "OK", "response": {"result": "allow", "status": "allow"}}),
            Self::Okta => {
                json!({"id": "00u1", "status": "ACTIVE", "profile": {"login": "alice"}, "factorResult": "SUCCESS"})
            }
            Self::Oidc => json!({"issuer": url, "id_token": "simulated", "verified": true}),
            Self::Notify => json!({"queued": true}),
        };
        Response::json(200, &body)
    }
}
