//! Where the database is, and how it is reached.

use std::net::IpAddr;
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::domain::secret::Secret;
use crate::net::resolve::Resolver;
use crate::store::StoreError;

/// What plugin.ini says of the database.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `postgres://user@host:port/database`, without a password.
    pub url: &'a str,
    pub password: Option<&'a Secret<String>>,
    /// How many connections there are at most.
    pub connections: usize,
    /// How long a connection is waited for.
    pub patience: Duration,
    /// The longest that one statement may take.
    pub statement: Duration,
}

/// A database.
pub struct Where {
    /// Everything but the servers.
    config: Config,
    servers: Vec<(Host, u16)>,
    is_secured: bool,
    pub connections: usize,
    pub patience: Duration,
}

impl Where {
    /// The database of `settings`. A connection that leaves this machine is secured by TLS.
    ///
    /// # Errors
    /// Where the address is none, or would send a password, and everything else, over a network in clear.
    pub fn of(settings: &Settings<'_>) -> Result<Self, StoreError> {
        let wrong = |text: &str| StoreError::Failed(format!("the address of the store {text}"));
        // The crate's own text repeats nothing of the address.
        let named: Config = settings.url.parse().map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        if named.get_password().is_some() {
            return Err(wrong("holds a password; put it into a file of its own: [postgres] password"));
        }
        let (Some(user), Some(database)) = (named.get_user(), named.get_dbname()) else {
            return Err(wrong("names no user or no database; expected postgres://USER@HOST/DATABASE"));
        };
        let ports = named.get_ports();
        let port = |at: usize| ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
        let servers: Vec<(Host, u16)> =
            named.get_hosts().iter().enumerate().map(|(at, host)| (host.clone(), port(at))).collect();
        if servers.is_empty() {
            return Err(wrong("names no server"));
        }
        let is_here = servers.iter().all(|(host, _)| is_here(host));
        let mode = named.get_ssl_mode();
        if mode == SslMode::Disable && !is_here {
            return Err(wrong("says sslmode=disable: everything would go over the network in clear"));
        }
        let is_secured = mode != SslMode::Disable && (mode == SslMode::Require || !is_here);
        let mut config = Config::new();
        if let Some(password) = settings.password {
            // Goes to the database that asks for it.
            config.password(password.expose());
        }
        let milliseconds = settings.statement.as_millis();
        let limits = format!(
            "-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} \
             -c idle_in_transaction_session_timeout={milliseconds}"
        );
        let options = named.get_options().map_or(limits.clone(), |named| format!("{named} {limits}"));
        config
            .user(user)
            .dbname(database)
            .application_name("countersign")
            .connect_timeout(settings.patience)
            .tcp_user_timeout(settings.patience.saturating_add(settings.statement))
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .options(options)
            .ssl_mode(if is_secured { SslMode::Require } else { SslMode::Disable });
        let (connections, patience) = (settings.connections, settings.patience);
        Ok(Self { config, servers, is_secured, connections, patience })
    }

    /// Whether TLS secures the connection.
    pub const fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// What is known of it before it is connected to.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The way to it; `tls` secures it, where it is secured.
    pub fn way(&self, tls: Option<ClientConfig>) -> Way {
        let servers = self.servers.clone();
        Way { servers, tls: tls.map(MakeRustlsConnect::new), resolver: Resolver::default() }
    }
}

/// Whether what goes to `host` stays on this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

/// How a connection is made.
pub struct Way {
    servers: Vec<(Host, u16)>,
    tls: Option<MakeRustlsConnect>,
    resolver: Resolver,
}

impl Way {
    /// The servers by their addresses, which are looked up anew each time.
    async fn config(&self, rest: &Config) -> Config {
        let mut config = rest.clone();
        for (host, port) in &self.servers {
            match host {
                Host::Unix(path) => {
                    config.host_path(path).port(*port);
                }
                Host::Tcp(name) => match name.parse::<IpAddr>() {
                    Ok(address) => {
                        config.host(name).hostaddr(address).port(*port);
                    }
                    Err(_) => {
                        // A server without an address is one that does not answer; the next may.
                        for address in self.resolver.addresses(name).await.unwrap_or_default() {
                            config.host(name).hostaddr(address.ip()).port(*port);
                        }
                    }
                },
            }
        }
        config
    }
}

impl Connect for Way {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let rest = config.clone();
        async move {
            let config = self.config(&rest).await;
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    Ok((client, tokio::spawn(connection.map(drop))))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    Ok((client, tokio::spawn(connection.map(drop))))
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<bool, String> {
        let second = Duration::from_secs(1);
        let settings = Settings { url, password: None, connections: 1, patience: second, statement: second };
        Where::of(&settings).map(|place| place.is_secured()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_leaves_this_machine_is_secured() {
        for (url, is_secured) in [
            ("postgres://gw@localhost/mfa", false),
            ("postgres://gw@127.0.0.1:5433/mfa", false),
            ("postgres://gw@127.0.0.1/mfa?sslmode=require", true),
            ("postgres://gw@%2Frun%2Fpostgresql/mfa", false),
            ("postgres://gw@db.corp.example/mfa", true),
            ("postgres://gw@localhost,db.corp.example/mfa", true),
        ] {
            assert_eq!(place(url), Ok(is_secured), "{url}");
        }
        for (url, why) in [
            ("postgres://gw@db.corp.example/mfa?sslmode=disable", "in clear"),
            ("postgres://gw:hunter2@localhost/mfa", "[postgres] password"),
            ("postgres://localhost/mfa", "no user"),
            ("postgres://gw@/mfa", "no server"),
        ] {
            let error = place(url).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
