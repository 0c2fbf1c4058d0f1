//! OpenVPN on both ends of a cable, with the configurations of contrib/openvpn.

#[path = "openvpn/client.rs"]
mod client;
#[path = "openvpn/network.rs"]
mod network;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::client::{Client, End, Typed};
use self::network::{Network, SERVER};
use crate::rig::okta::Okta;
use crate::rig::{PATIENCE, Phone};
use crate::stage::{self, CROWD, Stage, crowd, script};
use crate::table::{Case, Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "openvpn",
    programs: &[
        ("openvpn", "openvpn"),
        ("openssl", "openssl"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
    ],
    needs: Needs::Root,
    play,
};

/// A client that shows questions over the connection that it has.
const SHOWS_TEXT: &[&str] = &["--setenv", "IV_SSO", "crtext", "--push-peer-info"];

/// A client that asks for name, password and code at once.
const ASKS_AT_ONCE: &[&str] = &["--static-challenge", "Code:", "1"];

fn play(sheet: &mut Sheet) {
    let network = Network::new();
    sheet.case(Case::Accept, || accepts(&network));
    sheet.case(Case::Reject, || rejects(&network));
    sheet.case(Case::Challenge, || asks(&network));
    sheet.case(Case::TwoRounds, || asks_twice(&network));
    sheet.case(Case::PushWait, || waits_for_a_phone(&network));
    sheet.case(Case::Parallel, || serves_many(&network));
    sheet.case(Case::ServiceDown, || tells_that_it_may_pass(&network));
    sheet.case(Case::BadInput, || stands_bad_input(&network));
    let (stage, next) = (Stage::codes(), AtomicUsize::new(0));
    let vpn = Vpn::start(&network, &stage, "");
    let plain = Vpn::of(&network, &stage, "plain", "", |_| "/bin/true".to_owned());
    let log_in = |vpn: &Vpn<'_>| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (user, code) = (format!("user{number}"), crowd(number).fresh_code());
        assert_eq!(vpn.log_in(&[], &typed(&user, &code)), End::Connected);
    };
    sheet.time(8, |_| log_in(&vpn), |_| log_in(&plain));
}

/// A server, and what its clients need.
struct Vpn<'a> {
    network: &'a Network,
    dir: PathBuf,
    count: AtomicUsize,
    _server: stage::Server,
}

impl<'a> Vpn<'a> {
    /// The server of contrib/openvpn in front of `stage`, with `options` behind the command.
    fn start(network: &'a Network, stage: &Stage, options: &str) -> Self {
        Self::of(network, stage, "vpn", "", |stage| stage.gateway("openvpn", options))
    }

    /// The same; its programs are in the network of the tests, where the services of the stage are.
    fn start_outside(network: &'a Network, stage: &Stage) -> Self {
        let outside = format!("/usr/bin/nsenter --net=/proc/{}/ns/net", std::process::id());
        Self::of(network, stage, "vpn", "", |stage| format!("{outside} {}", stage.gateway("openvpn", "")))
    }

    /// A server called `name` of which the programs are `command`, with `more` in its configuration.
    fn of(network: &'a Network, stage: &Stage, name: &str, more: &str, command: impl Fn(&Stage) -> String) -> Self {
        let dir = stage.dir().join(name);
        fs::create_dir_all(dir.join("tmp")).unwrap();
        let fingerprint = certify(&dir);
        let port = stage::free_port().to_string();
        let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/openvpn");
        let read = |name: &str| fs::read_to_string(contrib.join(name)).unwrap();
        let documented = "/usr/local/bin/countersign gateway openvpn --config /etc/countersign/plugin.ini";
        let server = substitute(
            &read("server.conf"),
            &[
                ("1194", &port),
                (documented, &command(stage)),
                ("/run/openvpn-server", dir.join("tmp").to_str().unwrap()),
            ],
        );
        // Two servers of one machine need different networks.
        let server = if name == "vpn" { server } else { server.replace("10.8.0.0", "10.9.0.0") };
        fs::write(dir.join("server.conf"), server + more).unwrap();
        let client = substitute(
            &read("client.conf"),
            &[("1194", &port), ("vpn.example.com", SERVER), ("AA:BB:CC", &fingerprint)],
        );
        fs::write(dir.join("client.conf"), client).unwrap();
        let log = dir.join("server.log");
        let process = stage::Server::start(
            network
                .server
                .command("openvpn")
                .args(["--cd", dir.to_str().unwrap(), "--config", "server.conf", "--log", log.to_str().unwrap()])
                .stdin(Stdio::null()),
        );
        wait_until(|| fs::read_to_string(&log).is_ok_and(|log| log.contains("Initialization Sequence Completed")));
        Self { network, dir, count: AtomicUsize::new(0), _server: process }
    }

    fn client(&self, options: &[&str]) -> Client {
        let name = format!("client{}", self.count.fetch_add(1, Ordering::Relaxed));
        Client::start(self.network, &self.dir, &name, options)
    }

    /// A whole login, with a client of its own.
    fn log_in(&self, options: &[&str], typed: &Typed<'_>) -> End {
        self.client(options).log_in(typed)
    }

    /// Nothing of what was typed lies around, and nothing that waits for an answer.
    fn is_clean(&self) -> bool {
        let names = fs::read_dir(self.dir.join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
        !names
            .filter_map(|name| name.into_string().ok())
            .any(|name| ["openvpn_up_", "openvpn_cr_", "countersign_"].iter().any(|start| name.starts_with(start)))
    }
}

/// Each of `pairs` must be there.
fn substitute(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "contrib/openvpn has no {from}");
        text.replace(from, to)
    })
}

/// Makes the server's certificate as docs/gateways/openvpn.md says; its fingerprint.
fn certify(dir: &Path) -> String {
    let run = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=vpn -keyout server.key -out \
         server.crt",
    );
    let printed = run("x509 -in server.crt -noout -fingerprint -sha256");
    printed.trim().split_once('=').unwrap().1.to_owned()
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn typed<'a>(user: &'a str, password: &'a str) -> Typed<'a> {
    Typed { user, password, ..Typed::default() }
}

/// Somebody who is asked for all but a password.
fn answering<'a>(user: &'a str, answers: &'a [&'a str]) -> Typed<'a> {
    Typed { answers, ..typed(user, "a password") }
}

fn failed() -> End {
    End::Rejected("Authentication failed".into())
}

fn alice() -> Phone {
    Phone::new(1)
}

/// A code in place of the password; password and code in one form.
fn accepts(network: &Network) {
    let stage = Stage::codes();
    let vpn = Vpn::start(network, &stage, "");
    assert_eq!(vpn.log_in(&[], &typed("alice", &alice().fresh_code())), End::Connected);
    let code = Phone::new(2).fresh_code();
    let both = Typed { user: "bob", password: "any", response: &code, answers: &[] };
    assert_eq!(vpn.log_in(ASKS_AT_ONCE, &both), End::Connected);
    assert!(vpn.is_clean());
    drop(vpn);
    // Whoever is in stays in when the keys are made anew, and is asked nothing.
    let vpn = Vpn::of(network, &stage, "vpn", "\nhand-window 5\nreneg-sec 10\n", |stage| stage.gateway("openvpn", ""));
    let mut client = vpn.client(&[]);
    assert_eq!(client.log_in(&typed("user0", &crowd(0).fresh_code())), End::Connected);
    let log = vpn.dir.join("server.log");
    wait_until(|| {
        fs::read_to_string(&log).unwrap().contains("auth-token authentication succeeded for username 'user0'")
    });
    assert_eq!(stage.home.log().matches("claimant=\"user0\"").count(), 1);
}

fn rejects(network: &Network) {
    let stage = Stage::codes();
    let vpn = Vpn::start(network, &stage, "");
    let (right, wrong) = (alice().fresh_code(), alice().wrong_code(crate::rig::now()));
    assert_eq!(vpn.log_in(&[], &typed("alice", &wrong)), failed());
    assert_eq!(vpn.log_in(&[], &typed("alice", &right)), End::Connected);
    assert_eq!(vpn.log_in(&[], &typed("alice", &right)), failed());
    // Whoever mistyped types once more, at the same client.
    let code = Phone::new(2).fresh_code();
    let mut client = vpn.client(&[]);
    assert_eq!(client.log_in(&typed("bob", &wrong)), failed());
    assert_eq!(client.log_in(&typed("bob", &code)), End::Connected);
    drop(client);
    // A program that checks the password goes before.
    let checker = stage.dir().join("checker");
    script(&checker, "#!/bin/sh\nread -r user; read -r password\n[ \"$password\" = \"right $user\" ]\n");
    stage.home.append(&format!("[gateway openvpn]\nfirst_factor = pwauth:{}\n", checker.display()));
    for (password, end) in [("wrong", failed()), ("right user0", End::Connected)] {
        let code = crowd(0).fresh_code();
        let both = Typed { user: "user0", password, response: &code, answers: &[] };
        assert_eq!(vpn.log_in(ASKS_AT_ONCE, &both), end);
    }
    assert!(vpn.is_clean());
}

/// The code is asked for after the password, by clients of both kinds.
fn asks(network: &Network) {
    let stage = Stage::codes();
    let vpn = Vpn::start(network, &stage, "--field checked");
    for (number, options) in [(0, &[][..]), (1, SHOWS_TEXT)] {
        let (user, phone) = (format!("user{number}"), crowd(number));
        let (right, wrong) = (phone.fresh_code(), phone.wrong_code(crate::rig::now()));
        let mut client = vpn.client(options);
        assert_eq!(client.log_in(&answering(&user, &[&wrong])), failed());
        assert_eq!(client.log_in(&answering(&user, &[&right])), End::Connected);
        assert_eq!(client.questions.len(), 2);
        assert!(client.questions.iter().all(|question| question.ends_with("one-time password:")));
        assert_eq!(vpn.log_in(options, &answering(&user, &[&right])), failed());
    }
    assert!(vpn.is_clean());
}

/// A ticket after the code: the code typed at once, asked for, and asked for over the connection.
fn asks_twice(network: &Network) {
    let stage = Stage::two_rounds();
    let vpn = Vpn::start(network, &stage, "");
    let codes: Vec<String> = (0..3).map(|number| crowd(number).fresh_code()).collect();
    let mut client = vpn.client(&[]);
    assert_eq!(client.log_in(&Typed { answers: &["T: 4711"], ..typed("user0", &codes[0]) }), End::Connected);
    assert_eq!(client.questions, ["Ticket number:"]);
    drop((client, vpn));
    let vpn = Vpn::start(network, &stage, "--field checked");
    for (number, options) in [(1, &[][..]), (2, SHOWS_TEXT)] {
        let mut client = vpn.client(options);
        let (user, answers) = (format!("user{number}"), [codes[number].as_str(), "T: 4711"]);
        assert_eq!(client.log_in(&answering(&user, &answers)), End::Connected);
        assert_eq!(client.questions.len(), 2);
        assert_eq!(client.questions[1], "Ticket number:");
    }
    assert!(vpn.is_clean());
}

/// alice's phone rings until others have come and gone; what she types is nothing, at both kinds of clients.
fn waits_for_a_phone(network: &Network) {
    let okta = Okta::start();
    let stage = Stage::push(&okta);
    stage.home.append("number_challenge = no\n[gateway openvpn]\nfield = checked\n");
    let vpn = Vpn::start_outside(network, &stage);
    // The second kind sends no empty answer.
    for (round, (options, nothing)) in [(&[][..], ""), (SHOWS_TEXT, " ")].into_iter().enumerate() {
        let began = Instant::now();
        thread::scope(|scope| {
            let name = format!("alice{round}");
            let (vpn, user) = (&vpn, name.clone());
            let alice = scope.spawn(move || vpn.log_in(options, &answering(&user, &[nothing])));
            okta.wait_for("POST", "ostf1/verify", round + 1);
            for _ in 0..2 {
                assert_eq!(vpn.log_in(&[], &answering("bob", &["123456"])), End::Connected);
            }
            assert!(!alice.is_finished());
            // Whoever takes a phone out of a pocket takes two seconds for it.
            thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
            okta.press(&name, "SUCCESS");
            assert_eq!(alice.join().unwrap(), End::Connected);
        });
    }
    // A no is one, and the server has no verdict of its own.
    okta.press("carol", "REJECTED");
    assert!(matches!(vpn.log_in(&[], &answering("carol", &[""])), End::Rejected(_)));
    assert!(vpn.is_clean());
}

/// All log in, 16 at a time; every fifth mistypes the code.
fn serves_many(network: &Network) {
    let stage = Stage::codes();
    let vpn = Vpn::start(network, &stage, "");
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CROWD {
                        return;
                    }
                    let (user, phone, is_wrong) = (format!("user{number}"), crowd(number), number.is_multiple_of(5));
                    let code = if is_wrong { phone.wrong_code(crate::rig::now()) } else { phone.fresh_code() };
                    let end = vpn.log_in(&[], &typed(&user, &code));
                    assert_eq!(end, if is_wrong { failed() } else { End::Connected }, "{user}");
                }
            });
        }
    });
    assert!(vpn.is_clean());
}

fn tells_that_it_may_pass(network: &Network) {
    let (stage, _refused) = Stage::down();
    let vpn = Vpn::start_outside(network, &stage);
    let End::Rejected(told) = vpn.log_in(&[], &typed("alice", "123456")) else { panic!("alice is in") };
    assert!(told.contains("The authentication service cannot be reached"), "{told}");
    let log = fs::read_to_string(vpn.dir.join("server.log")).unwrap();
    assert!(
        log.contains("AUTH_FAILED,TEMP[backoff 15,advance no]:The authentication service cannot be reached"),
        "{log}"
    );
}

/// Names and passwords that mean something to somebody on the way; and a name of that kind that is somebody's.
fn stands_bad_input(network: &Network) {
    let stage = Stage::codes();
    let (odd, phone) = ("o'd\"d\\, n%m$(id)é", Phone::new(3));
    stage.home.import(odd, &phone);
    stage.home.set("throttle", "source_failures", "1000");
    let vpn = Vpn::start(network, &stage, "");
    let long = "7".repeat(180);
    for (user, password) in [
        ("alice", "CRV1::canary::canary"),
        ("alice", "CRV1::canary"),
        ("alice", "SCRV1:canary"),
        ("alice", "SCRV1:Y2FuYXJ5:/w=="),
        ("CRV1:R,E:canary:YQ==:x", "canary"),
        ("`id`; $(touch canary) | x", "'\"\\`;$(touch canary)"),
        ("alice\u{202e}", "é\u{2028}canary"),
        (&long, &long),
    ] {
        let End::Rejected(told) = vpn.log_in(&[], &typed(user, password)) else { panic!("{user:?} is in") };
        assert!(!told.contains("canary") && !told.contains('7'), "{told}");
    }
    // Longer than a line of the management interface holds; of more, this client itself makes nothing.
    let file = vpn.dir.join("long");
    fs::write(&file, format!("alice\n{}\n", "8".repeat(1000))).unwrap();
    let mut client = vpn.client(&["--auth-user-pass", file.to_str().unwrap(), "--auth-retry", "none"]);
    assert!(matches!(client.log_in(&typed("alice", "")), End::Rejected(_)));
    drop(client);
    drop(vpn);
    let vpn = Vpn::start(network, &stage, "--field checked");
    for options in [&[][..], SHOWS_TEXT] {
        let step = if options.is_empty() { 0 } else { 1 };
        let code = phone.code_at(crate::rig::now(), step);
        assert_eq!(vpn.log_in(options, &Typed { answers: &[&code], ..typed(odd, "pass\"w,or\\d") }), End::Connected);
    }
    assert!(vpn.is_clean() && !vpn.dir.join("canary").exists());
    let log = stage.home.log();
    assert!(!log.contains("canary::") && !log.contains(&"8".repeat(20)) && !log.contains(&phone.fresh_code()), "{log}");
}
