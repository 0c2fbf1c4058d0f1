//! The types of options that say how services are reached.

use std::path::{Path, PathBuf};

use super::{SecretRef, ServiceSecret, Value};
use crate::config::schema::Schema;
use crate::domain::secret::Secret;

/// The name or address of a proxy, as it stands in an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHost(pub String);

impl Value for ProxyHost {
    fn expected() -> String {
        "the name or address of a host, such as proxy.corp.example".into()
    }

    fn schema() -> Schema {
        // A name, or an address with or without brackets.
        Schema::pattern(r"[^/@?#\\%\s:\[\]]+|\[?[0-9A-Fa-f:.]+\]?")
    }

    fn parse(text: &str) -> Option<Self> {
        let host = if text.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.to_owned() };
        let is_host = !host.is_empty()
            && !host.contains(['/', '@', '?', '#', '\\', '%'])
            && !host.contains(char::is_whitespace)
            && (host.starts_with('[') || !host.contains(':'));
        let url = is_host.then(|| url::Url::parse(&format!("http://{host}")).ok()).flatten()?;
        url.host_str().is_some_and(|host| !host.is_empty()).then_some(Self(host))
    }
}

/// Certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    File(PathBuf),
    /// PEM.
    Written(String),
}

impl Authorities {
    /// The same; `resolve` makes a path of plugin.ini absolute.
    pub fn resolved(&self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        match self {
            Self::File(file) => Self::File(resolve(file)),
            Self::Written(pem) => Self::Written(pem.clone()),
        }
    }
}

impl Value for Authorities {
    fn expected() -> String {
        "certificates (PEM), file:PATH or a path".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"(?!\$\[)(?:(?=.*-----BEGIN CERTIFICATE-----).*|(?!.*-----)(?!file:$).+)")
    }

    fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix("file:").unwrap_or(text);
        match () {
            () if text.contains("-----BEGIN CERTIFICATE-----") => Some(Self::Written(pem_lines(text))),
            // A list of authorities that another gateway keeps; or PEM that is something else.
            () if text.starts_with("$[") || text.contains("-----") || path.is_empty() => None,
            () => Some(Self::File(path.into())),
        }
    }
}

/// A certificate with its chain and its private key, together.
#[derive(Clone, Debug)]
pub struct Identity(pub ServiceSecret);

impl Value for Identity {
    const SECRET: bool = true;

    fn expected() -> String {
        "a certificate and its private key (PEM), or where they lie: file:PATH, env:NAME, credential:NAME or a path"
            .into()
    }

    fn schema() -> Schema {
        let pem = "(?=.*-----BEGIN CERTIFICATE-----)(?=.*PRIVATE KEY-----).*";
        Schema::pattern(format!("{pem}|(?:file|env|credential):.+|(?!.*-----).+"))
    }

    fn parse(text: &str) -> Option<Self> {
        if text.contains("-----BEGIN") {
            let is_whole = text.contains("-----BEGIN CERTIFICATE-----") && text.contains("PRIVATE KEY-----");
            return is_whole.then(|| Self(ServiceSecret::Written(Secret::new(pem_lines(text)))));
        }
        match ServiceSecret::parse(text)? {
            ServiceSecret::Lies(place) => Some(Self(ServiceSecret::Lies(place))),
            ServiceSecret::Written(_) if text.contains("-----") => None,
            ServiceSecret::Written(_) => Some(Self(ServiceSecret::Lies(SecretRef::File(text.into())))),
        }
    }
}

/// PEM that may stand on one line, with a line for each mark and for whatever white space parted.
fn pem_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + 16);
    for part in text.split("-----") {
        if part.starts_with("BEGIN ") || part.starts_with("END ") {
            lines.push_str("-----");
            lines.push_str(part);
            lines.push_str("-----\n");
        } else {
            for word in part.split_whitespace() {
                lines.push_str(word);
                lines.push('\n');
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host() {
        for (text, expected) in [
            ("proxy.corp.example", Some("proxy.corp.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("2001:db8::1", Some("[2001:db8::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("", None),
            ("http://proxy", None),
            ("proxy:3128", None),
            ("u@proxy", None),
            ("proxy/x", None),
            ("a b", None),
            ("proxy#", None),
        ] {
            assert_eq!(ProxyHost::parse(text).map(|host| host.0).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn pem_on_one_line_gets_its_lines_back() {
        let pem = "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";
        assert_eq!(pem_lines(&pem.replace('\n', " ")), pem);
        assert_eq!(pem_lines(pem), pem);
        assert_eq!(Authorities::parse(&pem.replace('\n', " ")), Some(Authorities::Written(pem.into())));
        assert_eq!(Authorities::parse("file:a b.pem"), Some(Authorities::File("a b.pem".into())));
        for text in ["$[Corp]", "-----BEGIN PRIVATE KEY-----", "file:", ""] {
            assert_eq!(Authorities::parse(text), None, "{text}");
        }
        assert!(Identity::parse(pem).is_none(), "without a key");
        assert!(matches!(Identity::parse("client.pem"), Some(Identity(ServiceSecret::Lies(SecretRef::File(_))))));
    }
}
