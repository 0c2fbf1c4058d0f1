//! The files that a process that serves may still open: what plugin.ini names, and where this machine says how names and
//! authorities are found. Whatever is replaced while a process runs (a key, a certificate, a log) is allowed by its directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::clients::Remote;
use crate::config::value::{Authorities, Destination, SecretRef, ServiceSecret, StorePlace};
use crate::net::resolve;
use crate::net::tls;

/// Where randomness comes from in a static executable, and where what nobody reads goes.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/random", "/dev/urandom"];

/// What is allowed, each path with what lies below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Files are read, and listed.
    pub read: BTreeSet<PathBuf>,
    /// Files are read, written, made and removed.
    pub keep: BTreeSet<PathBuf>,
    /// Files are made and written.
    pub write: BTreeSet<PathBuf>,
    /// Unix sockets are made and removed.
    pub sockets: BTreeSet<PathBuf>,
    /// Single files that are read and written.
    pub devices: BTreeSet<PathBuf>,
}

impl Grants {
    /// What a verdict under `config` may have to open.
    pub fn of(config: &Config) -> Self {
        let mut grants = Self { devices: DEVICES.map(PathBuf::from).into(), ..Self::default() };
        grants.secret(config, &config.plugin.master_key);
        for (_, _, secret) in config.secrets() {
            match secret {
                ServiceSecret::Lies(place) => grants.secret(config, place),
                ServiceSecret::Written(_) => {}
            }
        }
        if let Destination::File(path) = &config.logging.destination {
            grants.write.insert(around(&config.resolve(path)));
        }
        if let Some(metrics) = config.metrics() {
            let place = |path: &PathBuf| around(&config.resolve(path));
            grants.keep.extend(metrics.file.0.as_ref().map(place));
            grants.sockets.extend(metrics.socket.0.as_ref().map(place));
        }
        let mut asks_others = config.policy.directory.is_some();
        match &config.plugin.store {
            StorePlace::Directory(directory) => {
                grants.keep.insert(config.resolve(directory));
            }
            StorePlace::Postgres(_) => {
                asks_others = true;
                grants.files(config, config.postgres().ca_file.0.as_deref());
            }
        }
        for (_, remote) in config.remote.remotes() {
            asks_others = true;
            let Remote { ca_file, client_cert, client_key, .. } = remote;
            grants.files(config, [ca_file, client_cert, client_key].into_iter().filter_map(|path| path.0.as_deref()));
        }
        let signature = config.remote.privacyidea.as_ref().and_then(|section| section.signature_key.0.as_deref());
        grants.files(config, signature);
        let general = config.remote.network.general().and_then(|general| general.ca_cert.as_ref());
        let directory = config.policy.directory.as_ref().and_then(|directory| directory.ca_cert.as_ref());
        for authorities in general.into_iter().chain(directory) {
            match authorities {
                Authorities::File(path) => grants.files(config, Some(path.as_path())),
                Authorities::Written(_) => {}
            }
        }
        if asks_others {
            let system = resolve::FILES.iter().chain(&tls::SYSTEM).map(Path::new).filter(|path| path.exists());
            grants.files(config, system);
        }
        grants
    }

    fn secret(&mut self, config: &Config, place: &SecretRef) {
        match place {
            SecretRef::File(path) => self.read.insert(around(&config.resolve(path))),
            SecretRef::Env(_) => false,
            SecretRef::Credential(_) => {
                std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|directory| self.read.insert(directory.into()))
            }
        };
    }

    /// Files that are read, and what links at their names lead to.
    fn files<'a>(&mut self, config: &Config, paths: impl IntoIterator<Item = &'a Path>) {
        for path in paths {
            let path = config.resolve(path);
            if path.is_symlink()
                && let Ok(target) = path.canonicalize()
            {
                self.read.insert(around(&target));
            }
            self.read.insert(around(&path));
        }
    }
}

/// The directory of `path`.
pub fn around(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(ini: &str) -> Grants {
        Grants::of(&Config::parse(Path::new("/etc/x/plugin.ini"), ini).unwrap())
    }

    fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_code_that_is_verified_here_needs_key_and_store() {
        let found = grants("");
        assert_eq!((found.read, found.keep, found.write), (set(&["/etc/x"]), set(&["/etc/x/store"]), set(&[])));
    }

    #[test]
    fn whatever_is_named_is_granted_by_its_directory() {
        let found = grants(
            "[plugin]\nclients = duo\nmaster_key = file:/k/master.key\nstore = /s/store\n\
             [duo]\nhost = api-1.duosecurity.com\nikey = DIXXXXXXXXXXXXXXXXXX\nskey = file:/d/skey\nca_file = /ca/ca.pem\n\
             client_cert = /c/cert.pem\nclient_key = /c2/key.pem\n[logging]\ndestination = file:/log/log\n\
             [tls]\nca_cert = /tls/ca.pem\nclient_cert = /tls2/both.pem\n",
        );
        for directory in ["/k", "/d", "/ca", "/c", "/c2", "/tls", "/tls2"] {
            assert!(found.read.contains(Path::new(directory)), "{directory}: {found:?}");
        }
        assert_eq!((found.keep, found.write), (set(&["/s/store"]), set(&["/log"])));
    }

    #[test]
    fn a_shared_store_needs_its_authorities_and_no_directory() {
        let found = grants(
            "[plugin]\nstore = postgres://gw@db.corp.example/mfa\n[postgres]\nca_file = /pg/ca.pem\npassword = file:/pw/p\n",
        );
        assert!(
            found.keep.is_empty() && ["/pg", "/pw"].iter().all(|path| found.read.contains(Path::new(path))),
            "{found:?}"
        );
    }
}
