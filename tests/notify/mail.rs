//! Codes by mail, to servers by aiosmtpd.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::rig::authority::{Authority, Validity};
use crate::rig::faults::{Blackhole, Refused};
use crate::rig::services::MailServers;
use crate::rig::web::Web;
use crate::rig::{Answer, Home};
use crate::stage::{answer, code_in, login};

const ADDRESS: &str = "alice.canary@corp.example";

/// A home that sends mail by `server`, with alice enrolled by a server that takes everything.
struct Post {
    home: Home,
    servers: MailServers,
    authority: Authority,
}

impl Post {
    fn new() -> Option<Self> {
        let authority = Authority::new();
        let servers = MailServers::start(&authority.certificate(&["localhost", "127.0.0.1"], Validity::Valid))?;
        let post = Self { home: Home::init(), servers, authority };
        post.home.set("plugin", "clients", "notify mail");
        post.section(&format!("server = 127.0.0.1:{}\nsecurity = none\n", post.servers.port("PLAIN")));
        let arguments = ["enroll", "alice", "--client", "notify mail", "--target", ADDRESS, "--json"];
        let pending: Value = serde_json::from_str(&post.home.run(&arguments, "").ok().stdout).unwrap();
        let code = code_in(&post.servers.mail().text);
        post.home.run(&["enroll", "confirm", pending["challenge"].as_str().unwrap()], code).ok();
        Some(post)
    }

    /// Makes the section say this.
    fn section(&self, options: &str) {
        let ini = fs::read_to_string(self.home.ini()).unwrap();
        let before = ini.split("\n[notify mail]").next().unwrap();
        let section = format!(
            "\n[notify mail]\nvia = smtp\nfrom = Gateway <gateway@corp.example>\ncode_length = 12\ntls_timeout = 1\n\
             connect_timeout = 1\ntimeout = 2\n{options}"
        );
        self.home.keep("plugin.ini", &format!("{before}{section}"));
    }

    /// Makes it say how the server `name` is reached by its right name, with its login.
    fn secured(&self, name: &str, security: &str, more: &str) {
        self.section(&format!(
            "server = localhost:{}\nsecurity = {security}\nca_file = {}\n{more}",
            self.servers.port(name),
            self.authority.ca_file().display()
        ));
    }

    fn ask(&self) -> Answer {
        self.home.ask_one(&login("alice"))
    }

    /// That neither these texts nor the address are in the log.
    #[track_caller]
    fn leaks_nothing(&self, texts: &[&str]) {
        let log = self.home.log();
        assert!(log.contains("verdict"), "{log}");
        for text in texts.iter().chain([&ADDRESS, &"canary"]) {
            assert!(!log.contains(text), "{text} is in the log: {log}");
        }
    }
}

fn login_options() -> String {
    format!("user = {}\npassword = file:mail.password\n", MailServers::USER)
}

#[test]
fn a_code_comes_by_mail_however_the_way_is_protected() {
    let Some(post) = Post::new() else { return };
    post.home.keep("mail.password", MailServers::PASSWORD);
    for (name, security) in [("STARTTLS", "starttls"), ("TLS", "tls"), ("PLAIN", "none")] {
        match security {
            "none" => post.section(&format!("server = localhost:{}\nsecurity = none\n", post.servers.port(name))),
            _ => post.secured(name, security, &login_options()),
        }
        let question = post.ask();
        assert_eq!(question.told(), "need_info", "{name}: {question:?}");
        let prompt = question.question.as_ref().unwrap().prompt.clone();
        assert_eq!(prompt, "A code was sent to a…y@corp.example. Type it, or resend for another one: ");
        let mail = post.servers.mail();
        assert_eq!((mail.server.as_str(), mail.hello.as_str()), (name, "corp.example"));
        assert_eq!(mail.user.is_some(), security != "none", "{mail:?}");
        assert_eq!((mail.from.as_str(), &mail.to[..]), ("gateway@corp.example", &[ADDRESS.to_owned()][..]));
        let header = |name: &str| mail.headers.get(name).map(String::as_str).unwrap_or_default();
        assert_eq!(header("from"), "Gateway <gateway@corp.example>");
        assert_eq!((header("to"), header("subject")), (ADDRESS, "Your one-time code"));
        assert!(header("message-id").ends_with("@corp.example>") && !header("date").is_empty(), "{mail:?}");
        let code = code_in(&mail.text);
        assert!(!header("subject").contains(&code));
        assert_eq!(post.home.ask_one(&answer("alice", question.cookie(), &code)).told(), "accept", "{name}");
        post.leaks_nothing(&[&code]);
    }
}

#[test]
fn a_message_in_any_language_is_read_as_it_was_written() {
    let Some(post) = Post::new() else { return };
    let message = "Your code is {code}. It was asked – für {origin}. 日本語 .";
    post.section(&format!(
        "server = 127.0.0.1:{}\nsecurity = none\nsubject = Einmalpasswort für Sie\nmessage = {message}\n",
        post.servers.port("PLAIN")
    ));
    assert_eq!(post.ask().told(), "need_info");
    let mail = post.servers.mail();
    let code = code_in(&mail.text);
    let expected = message.replace("{code}", &code).replace("{origin}", "a login as alice by ssh from 192.0.2.7");
    assert_eq!(mail.text.trim_end(), expected);
    assert_eq!(mail.headers["subject"], "Einmalpasswort für Sie");
}

#[test]
fn a_server_that_takes_no_message_is_a_communication_error_and_is_not_quoted() {
    let Some(post) = Post::new() else { return };
    for (name, expected) in [("REFUSING", "550 5.1.1"), ("BUSY", "451 4.7.1")] {
        post.section(&format!("server = 127.0.0.1:{}\nsecurity = none\n", post.servers.port(name)));
        let refused = post.ask();
        assert_eq!(refused.told(), "communication_error/delivery_failed");
        assert!(refused.reason().ends_with(expected), "{refused:?}");
        assert!(!refused.reason().contains("canary"), "{refused:?}");
    }
    post.leaks_nothing(&[]);
}

#[test]
fn a_server_whose_certificate_is_not_trusted_gets_nothing() {
    let Some(post) = Post::new() else { return };
    post.home.keep("mail.password", MailServers::PASSWORD);
    let stranger = Authority::new();
    for (name, security) in [("STARTTLS", "starttls"), ("TLS", "tls")] {
        post.section(&format!(
            "server = localhost:{}\nsecurity = {security}\nca_file = {}\non_unreachable = accept\n{}",
            post.servers.port(name),
            stranger.ca_file().display(),
            login_options()
        ));
        let untrusted = post.ask();
        assert_eq!(untrusted.told(), "communication_error/tls_failed", "{name}: {untrusted:?}");
        // The certificate is not for this name.
        post.secured(name, security, &login_options());
        post.home.set("notify mail", "server", &format!("127.0.0.2:{}", post.servers.port(name)));
        let misnamed = post.ask();
        assert!(["tls_failed", "connection_refused"].contains(&misnamed.code()), "{misnamed:?}");
        post.secured(name, security, &format!("pin_sha256 = {}=\n{}", "A".repeat(43), login_options()));
        assert_eq!(post.ask().told(), "communication_error/tls_failed", "{name}");
    }
    assert!(!post.servers.has_mail());
}

#[test]
fn a_login_that_is_not_taken_is_told_as_such() {
    let Some(post) = Post::new() else { return };
    post.home.keep("mail.password", "canary-wrong");
    post.secured("STARTTLS", "starttls", &login_options());
    assert_eq!(post.ask().told(), "communication_error/credentials_refused");
    // A server that knows no logins.
    post.section(&format!("server = 127.0.0.1:{}\nsecurity = none\n{}", post.servers.port("PLAIN"), login_options()));
    assert_eq!(post.ask().told(), "communication_error/unsupported");
    // One that wants one.
    post.secured("STARTTLS", "starttls", "");
    assert_eq!(post.ask().told(), "communication_error/delivery_failed");
    post.leaks_nothing(&[]);
}

#[test]
fn without_starttls_nothing_is_sent_in_clear() {
    let Some(post) = Post::new() else { return };
    post.home.keep("mail.password", MailServers::PASSWORD);
    post.secured("PLAIN", "starttls", "");
    assert_eq!(post.ask().told(), "communication_error/no_starttls");
    post.secured("PLAIN", "tls", "");
    assert_eq!(post.ask().told(), "communication_error/tls_failed");
    assert!(!post.servers.has_mail());
}

#[test]
fn a_server_that_is_not_reached_is_unreachable() {
    let Some(post) = Post::new() else { return };
    let (refused, blackhole, silent, closing) = (Refused::new(), Blackhole::new(), Web::silent(), Web::closing());
    for (host, told, is_open) in [
        (refused.host(), "connection_refused", true),
        (blackhole.host(), "connect_timeout", true),
        (format!("127.0.0.1:{}", silent.port()), "read_timeout", false),
        (format!("127.0.0.1:{}", post.servers.port("SLOW")), "read_timeout", false),
        (format!("127.0.0.1:{}", closing.port()), "connection_lost", false),
    ] {
        post.section(&format!("server = {host}\nsecurity = none\n"));
        assert_eq!(post.ask().told(), format!("service_unreachable/{told}"), "{host}");
        // Open only where not one byte was exchanged.
        post.home.set("notify mail", "on_unreachable", "accept");
        let open = post.ask();
        assert_eq!(open.verdict() == "accept", is_open, "{host}: {open:?}");
    }
    post.leaks_nothing(&[]);
}

#[test]
fn what_is_no_mail_server_is_a_communication_error() {
    let Some(post) = Post::new() else { return };
    let speaking = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = speaking.local_addr().unwrap().port();
    let said = std::thread::spawn(move || {
        let (mut stream, _) = speaking.accept().unwrap();
        stream.write_all(b"canary alice.canary@corp.example\r\n").unwrap();
    });
    post.section(&format!("server = 127.0.0.1:{port}\nsecurity = none\n"));
    assert_eq!(post.ask().told(), "communication_error/not_smtp");
    said.join().unwrap();
    post.leaks_nothing(&[]);
}

#[test]
fn a_server_that_never_ends_its_line_is_cut_short() {
    let Some(post) = Post::new() else { return };
    let endless = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = endless.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in endless.incoming() {
            let mut stream = stream.unwrap();
            let mut said = stream.write_all(b"220 ");
            while said.is_ok() {
                said = stream.write_all(&[b'a'; 64 * 1024]);
            }
        }
    });
    for security in ["none", "starttls"] {
        post.section(&format!("server = 127.0.0.1:{port}\nsecurity = {security}\n"));
        let answer = post.ask();
        assert_eq!(answer.told(), "communication_error/not_smtp", "{answer:?}");
        assert!(answer.reason().contains("says too much"), "{answer:?}");
    }
}

#[test]
fn what_is_no_address_is_no_target() {
    let Some(post) = Post::new() else { return };
    for target in [
        "",
        "alice",
        "alice@",
        "a b@corp.example",
        "alice@corp.example\r\nBcc: x@y.example",
        "+4366012344711",
        // Addresses that cannot be sent to.
        "\"a b\"@corp.example",
        "bob@[127.0.0.1]",
    ] {
        let ended = post.home.run(&["enroll", "bob", "--client", "notify mail", "--target", target], "");
        let expected = "expected an address such as alice@corp.example";
        assert!(ended.status == Some(65) && ended.stderr.contains(expected), "{target:?}: {ended:?}");
    }
    assert!(!post.servers.has_mail());
}

#[test]
fn the_doctor_goes_as_far_as_the_login() {
    let Some(post) = Post::new() else { return };
    post.home.keep("mail.password", MailServers::PASSWORD);
    post.secured("STARTTLS", "starttls", &login_options());
    let said = post.home.run(&["doctor", "notify mail"], "").ok();
    assert!(said.stdout.contains("the server takes the login of gateway. No message was sent"), "{}", said.stdout);
    assert!(said.stdout.contains("CN=countersign simulate server"), "{}", said.stdout);
    post.home.keep("mail.password", "canary-wrong");
    let wrong = post.home.run(&["doctor", "notify mail"], "");
    assert!(
        wrong.status == Some(1) && wrong.stdout.contains("the server does not take user and password"),
        "{wrong:?}"
    );
    assert!(!post.servers.has_mail());
}
