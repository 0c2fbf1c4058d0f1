//! The files that a process that serves may still open: what plugin.ini names, and where this machine says how names and
//! authorities are found. Whatever is replaced while a process runs (a key, a certificate, a log) is allowed by its directory.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::config::clients::Remote;
use crate::config::value::{Authorities, Destination, SecretRef, ServiceSecret, StorePlace};
use crate::net::resolve;
use crate::net::tls;

/// Where randomness comes from in a static executable, and where what nobody reads goes.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/random", "/dev/urandom"];

/// How many links lead to one file at most: as many as Linux follows.
const LINKS: usize = 40;

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
            // What says how names are found may come later, or be a link to what comes later.
            grants.files(config, resolve::FILES.iter().map(Path::new));
            let authorities = tls::SYSTEM.iter().map(Path::new).filter(|path| path.symlink_metadata().is_ok());
            grants.files(config, authorities);
        }
        grants
    }

    fn secret(&mut self, config: &Config, place: &SecretRef) {
        match place {
            SecretRef::File(path) => self.files(config, Some(path.as_path())),
            SecretRef::Env(_) => {}
            SecretRef::Credential(_) => {
                self.read.extend(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
            }
        }
    }

    /// Files that are read, and what links in their paths lead to.
    fn files<'a>(&mut self, config: &Config, paths: impl IntoIterator<Item = &'a Path>) {
        for path in paths {
            let path = config.resolve(path);
            self.read.extend(behind_links(&path));
            self.read.insert(around(&path));
        }
    }
}

/// The directories where `path` is found by way of links; also after one of these was exchanged for another (a new version beside
/// the old one), and where what they lead to is not there yet. None where there is no link.
///
/// The directory of a link on the way is one of them where the link leads to something in it: one that leads elsewhere, such as
/// `/var/run`, says how the machine is laid out. The root is none, but for what lies right in it: it would be every file.
fn behind_links(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(mut ahead) = std::path::absolute(path) else { return found };
    let mut links = 0;
    // Free of links.
    let mut reached = PathBuf::new();
    let end = loop {
        let mut parts = ahead.components();
        let Some(part) = parts.next() else { break Some(around(&reached)) };
        let rest = parts.as_path().to_owned();
        let mut next = reached.clone();
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(next.pop()),
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => next.push(part),
        }
        match next.read_link() {
            Ok(_) if links == LINKS => break None,
            Ok(target) => {
                links += 1;
                if rest.as_os_str().is_empty() || is_within(&reached, &target) {
                    found.insert(reached.clone());
                }
                ahead = target.join(rest);
            }
            // It is no link.
            Err(error) if error.kind() == ErrorKind::InvalidInput => (reached, ahead) = (next, rest),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                break Some(reached).filter(|it| it.parent().is_some());
            }
            Err(_) => break None,
        }
    };
    found.remove(Path::new("/"));
    found.extend(end.filter(|_| links > 0));
    found
}

/// Whether a link in `directory` to `target` leads to something in that.
fn is_within(directory: &Path, target: &Path) -> bool {
    let leaves = target.components().any(|part| part == Component::ParentDir);
    !leaves && directory.join(target).starts_with(directory)
}

/// The directory of `path`.
pub fn around(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

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

    /// An empty directory, without links on the way to it.
    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("countersign-grants-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        place.canonicalize().unwrap()
    }

    /// What is found of `path` in a place with these links (name, target), and these directories; each below that place.
    fn found(name: &str, directories: &[&str], links: &[(&str, &str)], path: &str) -> Vec<String> {
        let place = place(name);
        for directory in directories {
            fs::create_dir_all(place.join(directory)).unwrap();
        }
        for (link, target) in links {
            symlink(target.replace("PLACE", place.to_str().unwrap()), place.join(link)).unwrap();
        }
        let found = behind_links(&place.join(path));
        fs::remove_dir_all(&place).unwrap();
        let shown = |path: &PathBuf| path.strip_prefix(&place).unwrap_or(path).display().to_string();
        found.iter().map(shown).collect()
    }

    #[test]
    fn a_link_to_what_is_not_there_yet_is_granted_by_what_is() {
        assert_eq!(found("dangling", &["etc", "run"], &[("etc/r", "../run/d/r/stub")], "etc/r"), ["etc", "run"]);
        assert_eq!(found("dangling-whole", &["etc", "run"], &[("etc/r", "PLACE/run/d/r")], "etc/r"), ["etc", "run"]);
        // Not by the root.
        assert_eq!(found("dangling-root", &["etc"], &[("etc/r", "/countersign-none/r")], "etc/r"), ["etc"]);
        assert_eq!(found("none", &["etc"], &[], "etc/none/r"), [""; 0]);
    }

    #[test]
    fn links_are_followed_to_the_last() {
        let versions = [("etc/ca", "../current/ca"), ("current", "v1")];
        assert_eq!(found("versions", &["etc", "v1"], &versions, "etc/ca"), ["", "etc", "v1"].map(str::to_owned));
        let chain = [("a/ca", "PLACE/b/ca"), ("b/ca", "../c/ca"), ("c/ca", "one")];
        assert_eq!(found("chain", &["a", "b", "c"], &chain, "a/ca"), ["a", "b", "c"]);
    }

    #[test]
    fn a_link_that_leads_out_of_its_directory_does_not_grant_that() {
        let out = [("var/run", "PLACE/run"), ("var/back", "../run")];
        assert_eq!(found("out", &["var", "run/x"], &out, "var/run/x/ca"), ["run/x"]);
        assert_eq!(found("back", &["var", "run/x"], &out, "var/back/x/ca"), ["run/x"]);
    }

    #[test]
    fn links_that_lead_in_a_circle_come_to_an_end() {
        assert_eq!(found("circle", &["x"], &[("x/a", "b"), ("x/b", "a")], "x/a"), ["x"]);
        assert_eq!(found("deeper", &["x"], &[("x/a", "a/a")], "x/a"), ["x"]);
    }

    #[test]
    fn how_names_are_found_may_be_said_later() {
        let ini = "[plugin]\nclients = duo\n[duo]\nhost = api-1.duosecurity.com\nikey = DIXXXXXXXXXXXXXXXXXX\nskey = file:/d/s\n";
        assert!(grants(ini).read.contains(Path::new("/etc")));
        assert!(!grants("").read.contains(Path::new("/etc")));
    }
}
