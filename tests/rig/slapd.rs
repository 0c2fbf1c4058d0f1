//! OpenLDAP's slapd itself, on loopback: a directory below `dc=corp,dc=example` for the length of a test.
//!
//! Users are `uid=NAME,ou=people`, groups are `cn=NAME,ou=groups` (groupOfNames), and each user's `memberOf` names theirs.
//! `ou=elsewhere` is a reference to a server that is not there. Whoever reads must bind as [`READER`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use data_encoding::BASE64;

use super::authority::Certificate;
use super::services::{program, skip};
use super::{PATIENCE, TemporaryDirectory};

pub const BASE: &str = "dc=corp,dc=example";
pub const READER: &str = "cn=countersign,dc=corp,dc=example";
pub const PASSWORD: &str = "canary-directory-password";

/// Where Debian has the schemas, and which of them are in use.
const SCHEMAS: [&str; 3] = ["core", "cosine", "inetorgperson"];

/// Somebody in the directory, with attributes of any name.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl User {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), attributes: Vec::new() }
    }

    /// The same with `values` of `attribute`, in this order; none of them is empty.
    pub fn with<V: AsRef<[u8]>>(mut self, attribute: &str, values: &[V]) -> Self {
        let values = values.iter().map(|value| value.as_ref().to_vec()).collect();
        self.attributes.push((attribute.to_owned(), values));
        self
    }
}

/// Whether somebody who did not bind may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    MayRead,
    MayNotRead,
}

/// A directory server. It ends with its value.
pub struct Slapd {
    dir: TemporaryDirectory,
    port: u16,
    tls_port: u16,
    running: Option<(Child, Receiver<String>)>,
}

impl Slapd {
    /// Starts a directory of `users`, and of `groups` by their members' names. `None`, after a line that says what to
    /// install, where there is no slapd.
    pub fn start(users: &[User], groups: &[(&str, &[&str])]) -> Option<Self> {
        Self::start_with(users, groups, Strangers::MayNotRead, None)
    }

    /// The same, with TLS: StartTLS on the one port, LDAPS on the other.
    pub fn start_tls(users: &[User], groups: &[(&str, &[&str])], certificate: &Certificate) -> Option<Self> {
        Self::start_with(users, groups, Strangers::MayNotRead, Some(certificate))
    }

    /// The same, to be read by `strangers` or not.
    pub fn start_with(
        users: &[User],
        groups: &[(&str, &[&str])],
        strangers: Strangers,
        certificate: Option<&Certificate>,
    ) -> Option<Self> {
        if program("slapd").is_none() || program("slapadd").is_none() {
            return skip("skipped: there is no slapd; run: apt-get install slapd");
        }
        let dir = TemporaryDirectory::new();
        fs::create_dir(dir.0.join("data")).unwrap();
        let mut slapd = Self { dir, port: 0, tls_port: 0, running: None };
        fs::write(slapd.configuration(), slapd.configured(users, strangers, certificate)).unwrap();
        let ldif = slapd.dir.0.join("data.ldif");
        fs::write(&ldif, entries(users, groups)).unwrap();
        let mut add = Command::new(program("slapadd").unwrap());
        add.args(["-q", "-f"]).arg(slapd.configuration()).arg("-l").arg(&ldif);
        let added = add.output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        while slapd.running.is_none() {
            // Another program may take a port between here and there: then there are others.
            (slapd.port, slapd.tls_port) = (free_port(), free_port());
            slapd.running = slapd.launch();
        }
        Some(slapd)
    }

    /// Where it listens, without TLS or with StartTLS.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Where it listens with TLS, under this name of the machine.
    pub fn tls_url(&self, host: &str) -> String {
        format!("ldaps://{host}:{}", self.tls_port)
    }

    /// The port without TLS, or with StartTLS.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A section `[ldap_server name]` that reads everything here, without TLS.
    pub fn ini(&self, name: &str) -> String {
        format!(
            "[ldap_server {name}]\nurl = {}\nallow_insecure_ldap = yes\nbind_dn = {READER}\nbind_password = {PASSWORD}\n\
             base_dn = {BASE}\nuser_filter = (uid={{user}})\ngroup_attribute = memberOf\n",
            self.url()
        )
    }

    /// Kills it, as a machine dies.
    pub fn kill(&mut self) {
        if let Some((mut child, lines)) = self.running.take() {
            // It has ended already, or nobody needs it any more.
            let _ = child.kill();
            let _ = child.wait();
            while lines.recv_timeout(PATIENCE).is_ok() {}
        }
    }

    /// Starts it again where it was.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.running = self.launch();
        assert!(self.running.is_some(), "slapd does not start again");
    }

    /// What it wrote about connections and operations since this was asked last, up to now: the lines come through a pipe,
    /// and a connection of our own, which it writes about as well, is the end of them.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        let Some((_, lines)) = &self.running else { return Vec::new() };
        let end = TcpStream::connect(("127.0.0.1", self.port)).unwrap().local_addr().unwrap();
        let end = format!("ACCEPT from IP={end} ");
        let mut log = Vec::new();
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("slapd writes of every connection");
            if line.contains(&end) {
                return log;
            }
            log.push(line);
        }
    }

    fn configuration(&self) -> PathBuf {
        self.dir.0.join("slapd.conf")
    }

    fn configured(&self, users: &[User], strangers: Strangers, certificate: Option<&Certificate>) -> String {
        let dir = self.dir.0.display();
        let mut text = String::new();
        let mut known = String::from("'memberof' ");
        for schema in SCHEMAS {
            let path = format!("/etc/ldap/schema/{schema}.schema");
            known.push_str(&fs::read_to_string(&path).unwrap().to_lowercase());
            writeln!(text, "include {path}").unwrap();
        }
        let names: BTreeSet<String> =
            users.iter().flat_map(|user| &user.attributes).map(|(name, _)| name.to_lowercase()).collect();
        for (number, name) in names.iter().filter(|name| !known.contains(&format!("'{name}'"))).enumerate() {
            // Of any bytes.
            writeln!(
                text,
                "attributetype ( 1.3.6.1.4.1.55555.1.{} NAME '{name}' EQUALITY octetStringMatch SYNTAX \
                 1.3.6.1.4.1.1466.115.121.1.40 )",
                number + 1
            )
            .unwrap();
        }
        writeln!(text, "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof").unwrap();
        writeln!(text, "pidfile {dir}/slapd.pid\nargsfile {dir}/slapd.args").unwrap();
        if let Some(certificate) = certificate {
            let (chain, key) = (certificate.certificate_file.display(), certificate.key_file.display());
            writeln!(text, "TLSCertificateFile {chain}\nTLSCertificateKeyFile {key}\nTLSVerifyClient never").unwrap();
        }
        let others = match strangers {
            Strangers::MayRead => "read",
            Strangers::MayNotRead => "none",
        };
        write!(
            text,
            "database mdb\nsuffix \"{BASE}\"\ndirectory {dir}/data\nmaxsize 16777216\noverlay memberof\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"{READER}\" read by * {others}\n"
        )
        .unwrap();
        text
    }

    /// The server, when it answers; `None` where it ends instead.
    fn launch(&self) -> Option<(Child, Receiver<String>)> {
        let urls = format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{}", self.port, self.tls_port);
        let mut command = Command::new(program("slapd").unwrap());
        command.args(["-d", "stats", "-h", &urls, "-f"]).arg(self.configuration());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            if line.contains("slapd starting") {
                // It listens a moment after it has said so.
                let waits = Instant::now();
                while [self.port, self.tls_port].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
                    assert!(waits.elapsed() < PATIENCE, "slapd does not listen");
                    thread::yield_now();
                }
                return Some((child, lines));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The distinguished name of a user, whatever the name.
pub fn user_dn(name: &str) -> String {
    format!("uid={},ou=people,{BASE}", escaped(name))
}

/// The distinguished name of a group.
pub fn group_dn(name: &str) -> String {
    format!("cn={},ou=groups,{BASE}", escaped(name))
}

fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'@');
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("\\{b:02x}") }).collect()
}

/// Everything there is, in LDIF.
fn entries(users: &[User], groups: &[(&str, &[&str])]) -> String {
    let mut text = String::new();
    let mut entry = |dn: &str, attributes: &[(&str, &[u8])]| {
        writeln!(text, "dn:: {}", BASE64.encode(dn.as_bytes())).unwrap();
        for (name, value) in attributes {
            writeln!(text, "{name}:: {}", BASE64.encode(value)).unwrap();
        }
        writeln!(text).unwrap();
    };
    entry(BASE, &[("objectClass", b"domain"), ("dc", b"corp")]);
    for unit in ["people", "groups"] {
        entry(&format!("ou={unit},{BASE}"), &[("objectClass", b"organizationalUnit"), ("ou", unit.as_bytes())]);
    }
    let (referral, elsewhere) = (b"extensibleObject".as_slice(), format!("ou=elsewhere,{BASE}"));
    let target = format!("ldap://127.0.0.1:9/{elsewhere}");
    let class = |class: &'static str| ("objectClass", class.as_bytes());
    entry(
        &elsewhere,
        &[class("referral"), ("objectClass", referral), ("ou", b"elsewhere"), ("ref", target.as_bytes())],
    );
    let reader = [class("organizationalRole"), class("simpleSecurityObject"), ("cn", b"countersign".as_slice())];
    entry(READER, &[&reader[..], &[("userPassword", PASSWORD.as_bytes())]].concat());
    for User { name, attributes } in users {
        let mut all = vec![class("inetOrgPerson"), class("extensibleObject")];
        all.extend(["uid", "cn", "sn"].map(|attribute| (attribute, name.as_bytes())));
        let groups = groups.iter().filter(|(_, members)| members.contains(&name.as_str()));
        let groups: Vec<String> = groups.map(|(group, _)| group_dn(group)).collect();
        all.extend(groups.iter().map(|dn| ("memberOf", dn.as_bytes())));
        let values = |(name, values): &'_ (String, Vec<Vec<u8>>)| -> Vec<(String, Vec<u8>)> {
            values.iter().map(|value| (name.clone(), value.clone())).collect()
        };
        let given: Vec<(String, Vec<u8>)> = attributes.iter().flat_map(values).collect();
        all.extend(given.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        entry(&user_dn(name), &all);
    }
    for (name, members) in groups {
        let members: Vec<String> = members.iter().map(|member| user_dn(member)).collect();
        let nobody = format!("cn=nobody,{BASE}");
        let mut all = vec![class("groupOfNames"), ("cn", name.as_bytes()), ("member", nobody.as_bytes())];
        all.extend(members.iter().map(|dn| ("member", dn.as_bytes())));
        entry(&group_dn(name), &all);
    }
    text
}
