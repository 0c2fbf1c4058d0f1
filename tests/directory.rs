//! The directory, against OpenLDAP's slapd and against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use countersign::config::filter::{Place, SearchFilter};
use countersign::config::policy::LdapServer;
use countersign::config::value::{Authorities, SecretRef, ServiceSecret};
use countersign::directory::{Directory, DirectoryError, LdapDirectory};
use countersign::domain::finding::{Finding, Trouble};
use countersign::domain::secret::Secret;
use countersign::domain::time::UnixTime;
use rig::authority::{Authority, Validity};
use rig::faults::{Blackhole, Refused};
use rig::slapd::{BASE, PASSWORD, READER, Slapd, Strangers, User, group_dn};
use rig::{Home, Phone, attempt, request};
use serde_json::json;

/// How long a directory that answers may take.
const LONG: Duration = Duration::from_secs(60);

/// How long one that does not is waited for.
const SHORT: Duration = Duration::from_millis(400);

fn written(password: &str) -> Option<ServiceSecret> {
    Some(ServiceSecret::Written(Secret::new(password.to_owned())))
}

fn finds(filter: &str) -> SearchFilter {
    SearchFilter::parse(filter, &Place::ALL).unwrap()
}

/// What plugin.ini would say of the directory at `urls`.
fn settings(urls: &[&str]) -> LdapServer {
    LdapServer {
        name: "corp".into(),
        urls: urls.iter().map(|url| url.parse().unwrap()).collect(),
        start_tls: false,
        ca_cert: None,
        allow_insecure_ldap: true,
        bind_dn: Some(READER.into()),
        bind_password: written(PASSWORD),
        base_dn: BASE.into(),
        user_filter: finds("(uid={user})"),
        group_attribute: "memberOf".into(),
        group_filter: None,
        group_base_dn: None,
        group_name_attribute: "cn".into(),
        timeout: 60,
    }
}

fn directory(settings: &LdapServer) -> LdapDirectory {
    LdapDirectory::new(settings, Path::to_owned)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn attribute(settings: &LdapServer, user: &str, name: &str) -> Result<Option<String>, DirectoryError> {
    run(directory(settings).attribute(user, name, Instant::now() + LONG))
}

fn groups(settings: &LdapServer, user: &str) -> Result<Option<Vec<String>>, DirectoryError> {
    let found = run(directory(settings).groups(user, Instant::now() + LONG))?;
    Ok(found.map(|mut groups| {
        groups.sort();
        groups
    }))
}

/// What is said where `settings` give no answer, however long it may take.
#[track_caller]
fn wrong(settings: &LdapServer) -> String {
    let error = attribute(settings, "alice", "mail").unwrap_err().to_string();
    assert!(!error.contains(PASSWORD), "{error}");
    error
}

/// The same, where it may take a short time only.
#[track_caller]
fn late(settings: &LdapServer) -> String {
    let found = run(directory(settings).attribute("alice", "mail", Instant::now() + SHORT));
    found.unwrap_err().to_string()
}

fn people() -> Vec<User> {
    vec![
        User::new("alice")
            .with("mail", &["alice@ad"])
            .with("multi", &["m1", "m2"])
            .with::<&str>("empty", &[])
            .with("num", &["1000"])
            .with("photo", &[b"\xff\xfe".as_slice()])
            .with("bidi", &["al\u{202e}ice"])
            .with("long", &["x".repeat(300)]),
        User::new("bob").with("mail", &["shared@corp.example"]),
        User::new("carol").with("mail", &["shared@corp.example"]),
        User::new("a)(uid=*").with("mail", &["brackets@corp.example"]),
        User::new("*").with("mail", &["star@corp.example"]),
        User::new("jürgen\\").with("mail", &["j@corp.example"]),
    ]
}

const GROUPS: [(&str, &[&str]); 3] =
    [("admins", &["alice", "bob"]), ("dba, \"one\" + two", &["alice"]), ("nobody", &[])];

fn slapd() -> Option<Slapd> {
    Slapd::start(&people(), &GROUPS)
}

// --------------------------------------------------------------------------------------------------------- attributes

#[test]
fn the_first_value_of_an_attribute_is_found_by_the_name_of_its_user() {
    let Some(slapd) = slapd() else { return };
    let settings = settings(&[&slapd.url()]);
    for (user, name, value) in [
        ("alice", "mail", Some("alice@ad")),
        ("ALICE", "MAIL", Some("alice@ad")),
        ("alice", "multi", Some("m1")),
        ("alice", "num", Some("1000")),
        ("alice", "empty", None),
        ("alice", "nosuch", None),
        ("alice", "userPassword", None),
        ("nobody", "mail", None),
        ("jürgen\\", "mail", Some("j@corp.example")),
    ] {
        assert_eq!(attribute(&settings, user, name).unwrap().as_deref(), value, "{user} {name}");
    }
}

#[test]
fn a_value_that_nobody_can_be_is_refused() {
    let Some(slapd) = slapd() else { return };
    let settings = settings(&[&slapd.url()]);
    for (name, why) in [("photo", "is not text"), ("bidi", "invisible"), ("long", "longer than 256 bytes")] {
        let error = attribute(&settings, "alice", name).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("xxx"), "{name}: {error}");
    }
}

#[test]
fn a_name_is_looked_for_as_it_is() {
    let Some(slapd) = slapd() else { return };
    let settings = settings(&[&slapd.url()]);
    assert_eq!(attribute(&settings, "*", "mail").unwrap().as_deref(), Some("star@corp.example"));
    assert_eq!(attribute(&settings, "a)(uid=*", "mail").unwrap().as_deref(), Some("brackets@corp.example"));
    let long = "a".repeat(300);
    for name in [
        "",
        " ",
        "**",
        "alic*",
        "alice)(objectClass=*",
        "\\2a",
        "\\61lice",
        "alice\0",
        "al\u{200b}ice",
        "\u{202e}ecila",
        "al\nice",
        "{user}",
        "{dn}",
        "(uid=alice)",
        "alice,ou=people",
        &long,
        "\u{feff}alice",
    ] {
        assert_eq!(attribute(&settings, name, "mail"), Ok(None), "{name:?}");
        assert_eq!(groups(&settings, name), Ok(None), "{name:?}");
    }
}

#[test]
fn two_users_of_one_name_are_told_and_neither_is_taken() {
    let Some(slapd) = slapd() else { return };
    let settings = LdapServer { user_filter: finds("(mail={user})"), ..settings(&[&slapd.url()]) };
    assert_eq!(attribute(&settings, "star@corp.example", "uid").unwrap().as_deref(), Some("*"));
    let error = attribute(&settings, "shared@corp.example", "uid").unwrap_err();
    assert_eq!(error.to_string(), "more than one entry is shared@corp.example's");
    assert_eq!(groups(&settings, "shared@corp.example").unwrap_err(), error);
}

// ------------------------------------------------------------------------------------------------------------- groups

#[test]
fn groups_are_known_by_both_of_their_names() {
    let Some(slapd) = slapd() else { return };
    let by_member = settings(&[&slapd.url()]);
    let by_filter = LdapServer {
        group_filter: Some(finds("(&(objectClass=groupOfNames)(member={dn}))")),
        group_base_dn: Some(format!("ou=groups,{BASE}")),
        ..by_member.clone()
    };
    for settings in [&by_member, &by_filter] {
        let alice = groups(settings, "alice").unwrap().unwrap();
        assert_eq!(alice.len(), 4, "{alice:?}");
        for name in ["admins", "dba, \"one\" + two", &group_dn("admins")] {
            assert!(alice.iter().any(|group| group == name), "{name}: {alice:?}");
        }
        let bob = groups(settings, "bob").unwrap().unwrap();
        assert_eq!(bob, ["admins".to_owned(), group_dn("admins")]);
        assert_eq!(groups(settings, "carol").unwrap(), Some(Vec::new()));
        assert_eq!(groups(settings, "zoe").unwrap(), None);
    }
}

#[test]
fn a_group_that_is_no_distinguished_name_is_itself() {
    let user =
        User::new("alice").with("department", &["ops", "cn=two,dc=x", "a b"]).with("photo", &[b"\xff".as_slice()]);
    let Some(slapd) = Slapd::start(&[user], &[]) else { return };
    let settings = LdapServer { group_attribute: "DEPARTMENT".into(), ..settings(&[&slapd.url()]) };
    assert_eq!(groups(&settings, "alice").unwrap().unwrap(), ["a b", "cn=two,dc=x", "ops", "two"]);
    let settings = LdapServer { group_attribute: "photo".into(), ..settings };
    assert!(groups(&settings, "alice").is_err(), "a group that cannot be read may be the one that counts");
    let by_name =
        LdapServer { group_filter: Some(finds("(uid={user})")), group_name_attribute: "sn".into(), ..settings };
    assert_eq!(groups(&by_name, "alice").unwrap().unwrap(), ["alice".to_owned(), rig::slapd::user_dn("alice")]);
}

#[test]
fn more_groups_than_the_server_gives_are_not_taken_for_all() {
    let users: Vec<User> = (0..600).map(|number| User::new(&format!("user{number}"))).collect();
    let Some(slapd) = Slapd::start(&users, &[]) else { return };
    let group_filter = Some(finds("(|(uid={user})(uid=user*))"));
    let settings = LdapServer { group_filter, ..settings(&[&slapd.url()]) };
    let error = groups(&settings, "user1").unwrap_err().to_string();
    assert!(error.contains("more than 5000 groups, or than the server gives"), "{error}");
}

// --------------------------------------------------------------------------------------------------------------- bind

#[test]
fn who_may_not_read_is_told_and_finds_nothing() {
    let Some(slapd) = slapd() else { return };
    let right = settings(&[&slapd.url()]);
    let error = wrong(&LdapServer { bind_password: written("guess"), ..right.clone() });
    assert!(error.contains("the bind is refused: invalid credentials (49)"), "{error}");
    let anonymous = LdapServer { bind_dn: None, bind_password: None, ..right.clone() };
    assert!(wrong(&anonymous).contains("no such object (32)"));
    let half = LdapServer { bind_password: None, ..right.clone() };
    assert!(wrong(&half).contains("a bind_dn and no bind_password"), "a bind without a password is none");
    assert!(wrong(&LdapServer { bind_dn: None, ..right.clone() }).contains("no bind_dn"));
    assert!(wrong(&LdapServer { bind_password: written(""), ..right.clone() }).contains("bind_password is empty"));
    let absent = Some(ServiceSecret::Lies(SecretRef::File("/nowhere/password".into())));
    assert!(wrong(&LdapServer { bind_password: absent, ..right.clone() }).contains("/nowhere/password"));
    assert!(wrong(&LdapServer { base_dn: "dc=elsewhere".into(), ..right }).contains("no such object (32)"));
}

#[test]
fn where_strangers_may_read_nobody_needs_to_bind() {
    let Some(slapd) = Slapd::start_with(&people(), &GROUPS, Strangers::MayRead, None) else { return };
    let settings = LdapServer { bind_dn: None, bind_password: None, ..settings(&[&slapd.url()]) };
    assert_eq!(attribute(&settings, "alice", "mail").unwrap().as_deref(), Some("alice@ad"));
}

#[test]
fn a_refused_bind_is_not_tried_at_the_next_server() {
    let Some(slapd) = slapd() else { return };
    let untouched = Refused::new();
    let urls = [slapd.url(), format!("ldap://{}", untouched.host())];
    let settings = LdapServer { bind_password: written("guess"), ..settings(&[&urls[0], &urls[1]]) };
    let error = wrong(&settings);
    assert!(error.contains("(49)") && !error.contains(&untouched.host()), "{error}");
}

// ---------------------------------------------------------------------------------------------------------------- TLS

#[test]
fn the_way_is_protected_by_either_kind_of_tls_with_a_verified_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = authority.certificate(&["localhost", "127.0.0.1"], Validity::Valid);
    let Some(slapd) = Slapd::start_tls(&people(), &GROUPS, &certificate) else { return };
    let (plain, secure) = (slapd.url(), slapd.tls_url("localhost"));
    let secured = |url: &str, start_tls, ca_file| LdapServer {
        start_tls,
        ca_cert: Some(Authorities::File(ca_file)),
        allow_insecure_ldap: false,
        ..settings(&[url])
    };
    for (url, start_tls) in [(&plain, true), (&secure, false), (&secure, true)] {
        let settings = secured(url, start_tls, authority.ca_file());
        assert_eq!(attribute(&settings, "alice", "mail").unwrap().as_deref(), Some("alice@ad"), "{url}");
        let settings = secured(url, start_tls, stranger.ca_file());
        let error = wrong(&settings);
        assert!(error.contains("the TLS handshake failed: invalid peer certificate"), "{url}: {error}");
        assert!(wrong(&secured(url, start_tls, "/nowhere/ca.pem".into())).contains("/nowhere/ca.pem"));
    }
}

#[test]
fn a_certificate_of_another_name_or_time_is_refused() {
    let authority = Authority::new();
    for (names, validity, why) in [
        (["elsewhere.example"], Validity::Valid, "not valid for name"),
        (["localhost"], Validity::Expired, "expired"),
        (["localhost"], Validity::NotYetValid, "not valid yet"),
    ] {
        let certificate = authority.certificate(&names, validity);
        let Some(slapd) = Slapd::start_tls(&people(), &GROUPS, &certificate) else { return };
        for (url, start_tls) in
            [(slapd.tls_url("localhost"), false), (format!("ldap://localhost:{}", slapd.port()), true)]
        {
            let ca_cert = Some(Authorities::File(authority.ca_file()));
            let error = wrong(&LdapServer { start_tls, ca_cert, ..settings(&[&url]) });
            assert!(error.to_lowercase().contains(why), "{url}: {error}");
        }
    }
}

#[test]
fn a_password_crosses_no_network_in_clear() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // An address that leads here, and is not known to.
    let url = format!("ldap://0.0.0.0:{}", listener.local_addr().unwrap().port());
    let error = wrong(&LdapServer { allow_insecure_ldap: false, ..settings(&[&url]) });
    assert!(error.contains("in clear") && error.contains("ldaps://"), "{error}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn a_server_that_cannot_start_tls_is_sent_no_password() {
    let Some(slapd) = slapd() else { return };
    let settings = LdapServer { start_tls: true, allow_insecure_ldap: true, ..settings(&[&slapd.url()]) };
    let error = wrong(&settings);
    assert!(error.contains("StartTLS is refused"), "{error}");
    assert!(!slapd.log().iter().any(|line| line.contains("BIND")), "it was bound to in clear");
}

// -------------------------------------------------------------------------------------------------------- connections

/// How often somebody bound since this was asked last.
fn binds(slapd: &Slapd) -> usize {
    slapd.log().iter().filter(|line| line.contains(" BIND ") && line.contains("method=128")).count()
}

#[test]
fn a_connection_is_made_at_the_first_question_and_kept() {
    let Some(slapd) = slapd() else { return };
    let settings = settings(&[&slapd.url()]);
    let directory = directory(&settings);
    run(async {
        for _ in 0..5 {
            let until = Instant::now() + LONG;
            assert_eq!(directory.attribute("alice", "mail", until).await.unwrap().as_deref(), Some("alice@ad"));
            assert_eq!(directory.groups("alice", until).await.unwrap().unwrap().len(), 4);
            assert_eq!(directory.attribute("zoe", "mail", until).await.unwrap(), None);
        }
    });
    drop(directory);
    attribute(&settings, "bob", "mail").unwrap();
    assert_eq!(binds(&slapd), 2);
}

#[test]
fn after_the_server_was_away_the_next_question_connects_again() {
    let Some(mut slapd) = slapd() else { return };
    let directory = directory(&settings(&[&slapd.url()]));
    run(async {
        let ask = || directory.attribute("alice", "mail", Instant::now() + LONG);
        assert!(ask().await.unwrap().is_some());
        slapd.restart();
        assert!(ask().await.unwrap().is_some(), "a kept connection that broke is made once more");
        slapd.kill();
        assert!(ask().await.unwrap_err().to_string().contains("cannot connect"));
        slapd.restart();
        assert!(ask().await.unwrap().is_some());
    });
}

#[test]
fn many_questions_at_once_are_all_answered() {
    let Some(slapd) = slapd() else { return };
    let directory = directory(&settings(&[&slapd.url()]));
    run(async {
        let until = Instant::now() + LONG;
        let all = (0..100).map(|number| {
            let (user, mail) = [("alice", "alice@ad"), ("*", "star@corp.example")][number % 2];
            let directory = &directory;
            async move { assert_eq!(directory.attribute(user, "mail", until).await.unwrap().as_deref(), Some(mail)) }
        });
        futures_util::future::join_all(all).await;
    });
}

#[test]
fn where_the_first_server_does_not_answer_the_second_is_asked() {
    let Some(slapd) = slapd() else { return };
    let (refused, blackhole) = (Refused::new(), Blackhole::new());
    let silent = Act::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for first in [refused.host(), blackhole.host(), silent.host(), "countersign-test.invalid".into()] {
        let first = format!("ldap://{first}");
        let settings = LdapServer { timeout: 4, ..settings(&[&first, &slapd.url()]) };
        assert_eq!(attribute(&settings, "alice", "mail").unwrap().as_deref(), Some("alice@ad"), "{first}");
    }
}

#[test]
fn a_reference_to_another_server_is_not_followed() {
    let Some(slapd) = slapd() else { return };
    let settings = LdapServer { base_dn: format!("ou=elsewhere,{BASE}"), ..settings(&[&slapd.url()]) };
    let error = wrong(&settings);
    assert!(error.contains("references are not followed"), "{error}");
}

// ------------------------------------------------------------------------------------------- servers that misbehave

/// A server whose every connection is what a function makes of it.
struct Act(u16);

impl Act {
    fn start(act: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let act = act.clone();
                thread::spawn(move || act(stream));
            }
        });
        Self(port)
    }

    /// One that answers whatever comes first with `bytes`, and then does nothing more.
    fn saying(bytes: Vec<u8>) -> Self {
        Self::start(move |mut stream| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&bytes);
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    /// One that takes the bind, and answers the search with `bytes`.
    fn answering(bytes: Vec<u8>) -> Self {
        Self::start(move |mut stream| {
            for bytes in [&message(1, 0x61, b"\x0a\x01\x00\x04\x00\x04\x00"), &bytes] {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(bytes);
            }
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.0)
    }

    fn settings(&self) -> LdapServer {
        settings(&[&format!("ldap://{}", self.host())])
    }
}

/// One value in BER.
fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &length[..], content].concat()
}

/// A message of LDAP.
fn message(id: u8, tag: u8, content: &[u8]) -> Vec<u8> {
    ber(0x30, &[&[2, 1, id], &*ber(tag, content)].concat())
}

/// An entry that answers the first search.
fn entry(dn: &[u8], attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| ber(4, value)).collect();
            ber(0x30, &[ber(4, name.as_bytes()), ber(0x31, &values)].concat())
        })
        .collect();
    message(2, 0x64, &[ber(4, dn), ber(0x30, &attributes)].concat())
}

fn done(code: u8) -> Vec<u8> {
    message(2, 0x65, &[&[10, 1, code][..], b"\x04\x00\x04\x02hi"].concat())
}

#[test]
fn the_messages_of_these_tests_are_understood() {
    let well = Act::answering([entry(b"uid=alice", &[("MAIL", &[b"a@b", b"c"])]), done(0)].concat());
    assert_eq!(attribute(&well.settings(), "alice", "mail").unwrap().as_deref(), Some("a@b"));
    let empty = Act::answering([entry(b"uid=alice", &[("mail", &[b"", b"c"])]), done(0)].concat());
    assert_eq!(attribute(&empty.settings(), "alice", "mail"), Ok(None));
}

#[test]
fn whoever_says_nothing_is_not_waited_for() {
    let authority = Authority::new();
    let silent = Act::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let blackhole = Blackhole::new();
    let bound = Act::answering(Vec::new());
    let plain = silent.settings();
    assert!(late(&plain).contains("no answer to the bind in time"));
    assert!(late(&bound.settings()).contains("no answer to the search in time"));
    assert!(late(&settings(&[&format!("ldap://{}", blackhole.host())])).contains("took too long"));
    let ca_cert = Some(Authorities::File(authority.ca_file()));
    let tls = LdapServer { ca_cert: ca_cert.clone(), ..settings(&[&format!("ldaps://{}", silent.host())]) };
    assert!(late(&tls).contains("the TLS handshake took too long"));
    assert!(late(&LdapServer { start_tls: true, ca_cert, ..plain.clone() }).contains("took too long"));
    let error = run(directory(&plain).groups("alice", Instant::now())).unwrap_err().to_string();
    assert_eq!(error, "there was no time left to ask the directory");
    assert!(wrong(&LdapServer { timeout: 1, ..plain }).contains("in time"), "its own limit counts too");
}

#[test]
fn whoever_is_not_there_is_told() {
    let refused = Refused::new();
    assert!(wrong(&settings(&[&format!("ldap://{}", refused.host())])).contains("cannot connect"));
    let error = wrong(&settings(&["ldap://countersign-test.invalid", &format!("ldap://{}", refused.host())]));
    assert!(error.contains("countersign-test.invalid: ") && error.contains(&refused.host()), "{error}");
}

#[test]
fn an_answer_that_is_none_is_an_error_and_nothing_worse() {
    let deep = (0..30_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        if inner.len() < 60_000 {
            [&[0x30, 0x82][..], &u16::try_from(inner.len()).unwrap().to_be_bytes(), &inner].concat()
        } else {
            inner
        }
    });
    let half = entry(b"uid=alice", &[("mail", &[b"a@b"])]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("noise", (0..=255).cycle().take(4096).collect()),
        ("zeros", vec![0; 4096]),
        ("empty sequence", vec![0x30, 0]),
        ("no operation", ber(0x30, &[2, 1, 2])),
        ("huge", [&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..], &vec![4; 3 << 20]].concat()),
        ("endless length", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("deep", deep),
        ("result without a code", message(2, 0x65, b"")),
        ("unknown code", message(2, 0x65, b"\x0a\x01\x7f\x04\x00\x04\x00")),
        ("entry without attributes", message(2, 0x64, b"\x04\x00")),
        ("name that is not text", [entry(b"\xff\xfe", &[]), done(0)].concat()),
        (
            "attributes that are not text",
            [message(2, 0x64, b"\x04\x00\x30\x07\x30\x05\x04\x01\xff\x31\x00"), done(0)].concat(),
        ),
        ("another operation", message(2, 0x61, b"\x0a\x01\x00\x04\x00\x04\x00")),
        ("a request", message(2, 0x42, b"")),
        ("what was not asked", message(9, 0x65, b"\x0a\x01\x00\x04\x00\x04\x00").repeat(20)),
        ("goodbye", message(0, 0x78, b"\x0a\x01\x34\x04\x00\x04\x00")),
        ("three entries", [entry(b"uid=a", &[]), entry(b"uid=b", &[]), entry(b"uid=c", &[])].concat()),
        ("half an entry", half[..half.len() - 3].to_vec()),
        ("an entry and no end", half.clone()),
        ("values by and by", [entry(b"uid=alice", &[("mail", &[]), ("mail;range=0-1499", &[b"x"])]), done(0)].concat()),
        ("busy", done(51)),
        ("unavailable", done(52)),
        ("a limit of its own", [half.clone(), done(4)].concat()),
        ("no more time", [half, done(3)].concat()),
    ];
    for (name, bytes) in cases {
        for server in [Act::answering(bytes.clone()), Act::saying(bytes)] {
            let found = run(directory(&server.settings()).attribute("alice", "mail", Instant::now() + SHORT));
            let Err(DirectoryError(error)) = found else { panic!("{name}: {found:?}") };
            assert!(error.len() < 1024 && !error.contains(PASSWORD), "{name}: {error}");
        }
    }
}

#[test]
fn what_the_server_says_cannot_forge_a_line() {
    let content = [&[10, 1, 49][..], b"\x04\x00", &ber(4, "no\nverdict=accept \u{202e}".as_bytes())].concat();
    let error = wrong(&Act::saying(message(1, 0x61, &content)).settings());
    assert!(error.contains("<U+000A>") && !error.contains('\n') && !error.contains('\u{202e}'), "{error}");
}

#[test]
fn what_comes_before_tls_is_not_taken_for_what_comes_in_it() {
    let well = message(1, 0x78, b"\x0a\x01\x00\x04\x00\x04\x00");
    let injected = [well.clone(), message(2, 0x61, b"\x0a\x01\x00\x04\x00\x04\x00")].concat();
    let authority = Authority::new();
    let settings = |bytes| LdapServer {
        start_tls: true,
        ca_cert: Some(Authorities::File(authority.ca_file())),
        ..Act::saying(bytes).settings()
    };
    let error = wrong(&settings(injected));
    assert!(error.contains("more than the answer to StartTLS"), "{error}");
    assert!(late(&settings(well)).contains("TLS handshake"));
}

#[test]
fn a_kept_connection_that_fell_silent_is_given_up_for_a_new_one() {
    let answer = [entry(b"uid=alice", &[("mail", &[b"a@b"])]), done(0)].concat();
    let server = Act::answering(answer);
    let directory = directory(&server.settings());
    run(async {
        for _ in 0..3 {
            let found = directory.attribute("alice", "mail", Instant::now() + Duration::from_secs(2)).await;
            assert_eq!(found.unwrap().as_deref(), Some("a@b"));
        }
    });
}

// ---------------------------------------------------------------------------------------------------------- diagnosis

fn diagnosed(settings: &LdapServer) -> Vec<(&'static str, String)> {
    let found = run(directory(settings).diagnose(UnixTime(rig::now()), Instant::now() + LONG));
    let step = |Finding { step, result }| match result {
        Ok(text) => (step, text),
        Err(Trouble { what, remedy }) => (step, format!("wrong: {what}; {remedy}")),
    };
    found.into_iter().map(step).collect()
}

#[test]
fn a_diagnosis_goes_from_the_name_to_the_users() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"], Validity::Valid);
    let Some(slapd) = Slapd::start_tls(&people(), &GROUPS, &certificate) else { return };
    let steps = |found: &[(&'static str, String)]| found.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    let right = LdapServer {
        ca_cert: Some(Authorities::File(authority.ca_file())),
        ..settings(&[&slapd.tls_url("localhost")])
    };
    let found = diagnosed(&right);
    assert_eq!(steps(&found), ["server", "resolve", "connect", "tls", "bind", "base_dn"], "{found:?}");
    assert!(found.iter().all(|(_, text)| !text.starts_with("wrong") && !text.contains(PASSWORD)), "{found:?}");
    assert!(found[3].1.contains("signed by") && found[4].1.contains(READER), "{found:?}");

    let stranger = Authority::new();
    let refused = Refused::new();
    let elsewhere = format!("ldaps://{}", refused.host());
    let secure = slapd.tls_url("localhost");
    for (changed, step, text) in [
        (LdapServer { ca_cert: Some(Authorities::File(stranger.ca_file())), ..right.clone() }, "tls", "ca_cert"),
        (LdapServer { bind_password: written("guess"), ..right.clone() }, "bind", "(49)"),
        (LdapServer { base_dn: "dc=x".into(), ..right.clone() }, "base_dn", "check base_dn"),
        (LdapServer { urls: vec![elsewhere.parse().unwrap()], ..right.clone() }, "connect", "firewall"),
        (
            LdapServer { urls: vec!["ldaps://countersign-test.invalid".parse().unwrap()], ..right.clone() },
            "resolve",
            "hosts",
        ),
        (LdapServer { allow_insecure_ldap: false, ..settings(&["ldap://192.0.2.1"]) }, "resolve", "ldaps://"),
    ] {
        let found = diagnosed(&changed);
        let wrong: Vec<_> = found.iter().filter(|(_, text)| text.starts_with("wrong")).collect();
        assert!(wrong.len() == 1 && wrong[0].0 == step && wrong[0].1.contains(text), "{step}: {found:?}");
    }
    let both = LdapServer { urls: vec![elsewhere.parse().unwrap(), secure.parse().unwrap()], ..right };
    let found = diagnosed(&both);
    assert_eq!(steps(&found).iter().filter(|step| **step == "server").count(), 2, "{found:?}");
    assert!(found.last().is_some_and(|(step, text)| *step == "base_dn" && text.contains("can be read")), "{found:?}");
}

// ---------------------------------------------------------------------------------------------- through the executable

/// A home that asks `slapd`, where `alice@ad` is enrolled.
fn home(slapd: &Slapd, phone: &Phone, more: &str) -> Home {
    let home = Home::with(&[("alice@ad", phone), ("carol", phone)]);
    home.append(&format!("\n[ldap_server]\nname = corp\n{}\n{more}\n", slapd.ini("corp")));
    home
}

#[test]
fn a_user_is_verified_under_the_name_that_the_directory_has() {
    let Some(mut slapd) = slapd() else { return };
    let phone = Phone::new(1);
    let home = home(&slapd, &phone, "[usermapping source=ldap_server]\nuser_attribute = mail");
    let asked = attempt(1, "alice", &phone.code_at(rig::now(), 0));
    slapd.kill();
    let away = home.ask_one(&asked);
    assert_eq!(away.code(), "not_enrolled", "the name goes on as it is: {away:?}");
    assert!(home.log().contains("cannot connect"), "{}", home.log());
    slapd.restart();
    let answer = home.ask_one(&asked);
    assert_eq!((answer.told().as_str(), answer.mfa_identity.as_deref()), ("accept", Some("alice@ad")), "{answer:?}");
    assert!(!home.log().contains(PASSWORD));
}

#[test]
fn members_of_a_group_are_exempt_while_the_directory_says_so() {
    let Some(mut slapd) = slapd() else { return };
    let phone = Phone::new(1);
    let home = home(&slapd, &phone, "[whitelist source=ldap_server_group]\nallow = no_user\nexcept = Admins");
    let ask = |user| home.ask_one(&request(1, user, json!({}))).told();
    assert_eq!((ask("alice"), ask("carol"), ask("zoe")), ("accept".into(), "need_info".into(), "need_info".into()));
    assert_eq!(ask("alice)(uid=*"), "need_info");
    slapd.kill();
    assert_eq!(ask("alice"), "need_info");
}

#[test]
fn doctor_diagnoses_the_directory_that_is_asked() {
    let Some(slapd) = slapd() else { return };
    let home = home(&slapd, &Phone::new(1), "[usermapping source=ldap_server]\nuser_attribute = mail");
    for arguments in [&["doctor"][..], &["doctor", "ldap_server corp"]] {
        let shown = home.run(arguments, "").ok().stdout;
        assert!(shown.contains("ldap_server corp\n") && shown.contains("ok     base_dn"), "{shown}");
    }
    home.set("ldap_server corp", "bind_password", "guess");
    let done = home.run(&["doctor", "ldap_server corp"], "");
    assert!(done.status == Some(1) && done.stdout.contains("wrong  bind"), "{done:?}");
}

#[test]
fn a_filter_that_is_none_is_refused_at_the_start() {
    let Some(slapd) = slapd() else { return };
    let home = home(&slapd, &Phone::new(1), "[usermapping source=ldap_server]\nuser_attribute = mail");
    home.run(&["check"], "").ok();
    for (option, wrong, right) in [
        ("user_filter", "(uid={name})", "(uid={user})"),
        ("user_filter", "(uid=alice)", "(uid={user})"),
        ("group_filter", "(member={dn}", "(member={dn})"),
    ] {
        home.set("ldap_server corp", option, wrong);
        let done = home.run(&["check"], "");
        assert!(done.status != Some(0) && format!("{done:?}").contains(option), "{done:?}");
        home.set("ldap_server corp", option, right);
        home.run(&["check"], "").ok();
    }
}
