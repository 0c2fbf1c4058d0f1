//! The proxy on the way to a service.

use data_encoding::BASE64;
use reqwest::Proxy;
use reqwest::header::HeaderValue;
use url::Url;
use zeroize::Zeroizing;

use crate::config::clients::Remote;
use crate::config::value::ServiceSecret;
use crate::domain::secret::Secret;

/// The proxy on the way to a service.
pub struct Through {
    pub url: Url,
    /// The name and the password by which it knows this client.
    login: Option<(String, ServiceSecret)>,
}

impl Through {
    /// The one of the section, else the one of all services, which is for https:// addresses.
    pub fn of(remote: &Remote, base: &Url) -> Option<Self> {
        let own = remote.proxy.0.as_ref().map(|url| Self { url: url.0.clone(), login: None });
        let shared = || remote.network.general()?.proxy.as_ref().filter(|_| base.scheme() == "https");
        own.or_else(|| shared().map(|proxy| Self { url: proxy.url.clone(), login: proxy.login.clone() }))
    }

    /// The same for the library; `read` reads our secrets.
    ///
    /// # Errors
    /// Where the password cannot be read, or the address is not one of a proxy.
    pub fn wire(&self, read: impl Fn(&ServiceSecret) -> Result<Secret<String>, String>) -> Result<Proxy, String> {
        let proxy = Proxy::all(self.url.clone()).map_err(|error| super::text(&error))?;
        Ok(match &self.login {
            None => proxy,
            Some((name, password)) => proxy.custom_http_auth(basic(name, &read(password)?)?),
        })
    }
}

/// The header for a name and a password (RFC 7617). Made here: the library takes a `%` in them for an escape.
fn basic(name: &str, password: &Secret<String>) -> Result<HeaderValue, String> {
    // Leaves in a header for the proxy only, which is marked so that nothing shows it.
    let login = Zeroizing::new(format!("{name}:{}", password.expose()));
    let text = Zeroizing::new(format!("Basic {}", BASE64.encode(login.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(|_| "the password of the proxy cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
