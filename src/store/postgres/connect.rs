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

use super::schema::SCHEMA;
use crate::domain::foreign::Foreign;
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

/// What of an address is heeded besides the servers, the user and the database.
const PARAMETERS: [&str; 3] = ["sslmode", "channel_binding", "options"];

/// After how many seconds of silence the other side is asked whether it is there, and how often.
const SILENCE: Duration = Duration::from_secs(10);
const ASKED: u32 = 3;

/// A database.
pub struct Where {
    /// Everything but the servers.
    config: Config,
    servers: Vec<(Host, u16)>,
    is_secured: bool,
    pub connections: usize,
    pub patience: Duration,
    pub statement: Duration,
}

impl Where {
    /// The database of `settings`. A connection that leaves this machine is secured by TLS.
    ///
    /// # Errors
    /// Where the address is none, or would send a password, and everything else, over a network in clear.
    pub fn of(settings: &Settings<'_>) -> Result<Self, StoreError> {
        let wrong = |text: &str| StoreError::Failed(format!("the address of the store {text}"));
        let parameters = settings.url.split_once('?').map_or("", |(_, parameters)| parameters);
        let mut names = parameters.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        if let Some(name) = names.find(|name| !name.is_empty() && !PARAMETERS.contains(name)) {
            let text = format!("has a parameter {}, which is not heeded; see [postgres]", Foreign(name));
            return Err(wrong(&text));
        }
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
        if let Some(options) = named.get_options() {
            config.options(options);
        }
        config
            .user(user)
            .dbname(database)
            .application_name("countersign")
            .connect_timeout(settings.patience)
            .tcp_user_timeout(settings.patience.saturating_add(settings.statement))
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / ASKED)
            .keepalives_retries(ASKED)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .channel_binding(named.get_channel_binding())
            .ssl_mode(if is_secured { SslMode::Require } else { SslMode::Disable });
        let Settings { connections, patience, statement, url: _, password: _ } = *settings;
        Ok(Self { config, servers, is_secured, connections, patience, statement })
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
        let (servers, patience) = (self.servers.clone(), self.patience);
        let milliseconds = self.statement.as_millis();
        let begin = format!(
            "SET search_path = {SCHEMA}; SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds}; \
             SET idle_in_transaction_session_timeout = {milliseconds}"
        );
        Way { servers, tls: tls.map(MakeRustlsConnect::new), resolver: Resolver::default(), patience, begin }
    }

    /// How long making a connection may take, whichever of the servers is the first to answer.
    pub fn patience_for_all(&self) -> Duration {
        self.patience.saturating_mul(u32::try_from(self.servers.len()).unwrap_or(u32::MAX))
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
    /// How long each server is waited for.
    patience: Duration,
    /// What every session begins with: said after the connection is made, so that a pool in between needs to know nothing.
    begin: String,
}

impl Way {
    /// A server by its addresses, which are looked up anew each time.
    async fn config(&self, rest: &Config, (host, port): &(Host, u16)) -> Config {
        let mut config = rest.clone();
        match host {
            Host::Unix(path) => {
                config.host_path(path).port(*port);
            }
            Host::Tcp(name) => match name.parse::<IpAddr>() {
                Ok(address) => {
                    config.host(name).hostaddr(address).port(*port);
                }
                Err(_) => {
                    for address in self.resolver.addresses(name).await.unwrap_or_default() {
                        config.host(name).hostaddr(address.ip()).port(*port);
                    }
                }
            },
        }
        config
    }

    /// A session with one server, ready to be used.
    async fn session(&self, config: Config) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, tokio::spawn(connection.map(drop)))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(connection.map(drop)))
            }
        };
        client.batch_execute(&self.begin).await?;
        Ok((client, task))
    }
}

impl Connect for Way {
    /// One server after the other: each has its own time, to the end of what a session begins with.
    fn connect(&self, rest: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let rest = rest.clone();
        async move {
            let mut failed = None;
            for server in &self.servers {
                let attempt = async { self.session(self.config(&rest, server).await).await };
                match tokio::time::timeout(self.patience, attempt).await {
                    Ok(Ok(session)) => return Ok(session),
                    Ok(Err(error)) => failed = Some(error),
                    Err(_elapsed) => {}
                }
            }
            match failed {
                Some(error) => Err(error),
                // Who says nothing at all leaves no error of its own: what the pool waits for is over, too.
                None => std::future::pending().await,
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
            ("postgres://gw@localhost/mfa?target_session_attrs=any", "target_session_attrs"),
            ("postgres://gw@localhost/mfa?sslmode=disable&connect_timeout=9", "connect_timeout"),
        ] {
            let error = place(url).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
