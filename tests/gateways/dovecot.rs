//! Dovecot, and curl as a mail program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::logins::{self, HOSTILE, contrib, listening};
use crate::rig::now;
use crate::rig::okta::Okta;
use crate::stage::{Server, Stage, crowd, free_port, user_id};
use crate::table::{Case, Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "dovecot",
    programs: &[("/usr/sbin/dovecot", "dovecot-core"), ("/usr/lib/dovecot/imap", "dovecot-imapd"), ("curl", "curl")],
    // It has users of its own, and only root becomes those.
    needs: Needs::Root,
    play,
};

const NO_DIALOGUE: &str = "IMAP logins have one field and no second question; a push, or password and code in it";

struct Dovecot {
    port: u16,
    conf: String,
    _server: Server,
}

/// How a login ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    In,
    Denied,
    /// Dovecot says that it may pass.
    Later,
}

impl Dovecot {
    /// Where the passwords are `pw`, and nothing of countersign is there.
    fn bare(stage: &Stage) -> Self {
        let passdb = "passdb {\n  driver = static\n  args = password=pw\n}\n";
        let userdb =
            "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/var/vmail/%n mail=maildir:~/Maildir\n}\n";
        Self::start(stage, &format!("{passdb}{userdb}"))
    }

    fn start(stage: &Stage, databases: &str) -> Self {
        let (dir, port) = (stage.dir().join("dovecot"), free_port());
        let mail = dir.join("mail");
        fs::create_dir_all(&mail).unwrap();
        let databases =
            databases.replace("vmail gid=vmail", "nobody gid=nogroup").replace("/var/vmail", mail.to_str().unwrap());
        let text = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/run\nlog_path = {dir}/log\nprotocols = imap\nlisten = 127.0.0.1\nssl = no\n\
             auth_verbose = yes\nauth_failure_delay = 0\nauth_username_chars =\n\
             service imap-login {{\n  process_limit = 100\n  inet_listener imap {{\n    port = {port}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n\
             service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n{databases}",
            dir = dir.display(),
        );
        let conf = dir.join("dovecot.conf");
        fs::write(&conf, text).unwrap();
        stage.give_to(user_id("dovecot").unwrap());
        // Others go through to their mail.
        for path in [stage.dir(), dir.clone()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        }
        fs::set_permissions(&mail, fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::chown(&dir, Some(0), Some(0)).unwrap();
        let server = Server::start(Command::new("/usr/sbin/dovecot").arg("-F").arg("-c").arg(&conf));
        listening(port);
        Self { port, conf: conf.to_str().unwrap().to_owned(), _server: server }
    }

    fn login(&self, name: &str, field: &str) -> Ended {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "100", &format!("imap://127.0.0.1:{}/", self.port)]);
        let output = command.arg("--user").arg(format!("{name}:{field}")).arg("--verbose").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ended::In,
            Some(67) if said.contains("[UNAVAILABLE]") => Ended::Later,
            Some(67) if said.contains("[AUTHENTICATIONFAILED]") || said.contains(" BAD ") => Ended::Denied,
            other => panic!("{other:?}: {said}"),
        }
    }
}

fn start(stage: &Stage) -> Dovecot {
    Dovecot::start(stage, &contrib(stage, "dovecot/countersign.conf"))
}

fn play(sheet: &mut Sheet) {
    let stage = Stage::codes();
    let dovecot = start(&stage);
    let login = |name: &str, field: &str| match dovecot.login(name, field) {
        Ended::In => true,
        Ended::Denied => false,
        Ended::Later => panic!("{name}: a failure of our own"),
    };
    sheet.case(Case::Accept, || {
        logins::accept(&login);
        // A user who is looked up is not taken for one who logs in.
        let accepts = || stage.home.log().matches("verdict=\"accept\"").count();
        let before = accepts();
        let doveadm =
            |arguments: &[&str]| Command::new("doveadm").args(["-c", &dovecot.conf]).args(arguments).output().unwrap();
        assert!(!doveadm(&["user", "alice"]).status.success(), "this passdb cannot be asked for a name alone");
        assert!(accepts() == before && stage.home.log().contains("AUTHORIZED"), "{}", stage.home.log());
        assert!(!doveadm(&["auth", "test", "user199", &crowd(199).wrong_code(now())]).status.success());
        assert!(doveadm(&["auth", "test", "user199", &crowd(199).fresh_code()]).status.success());
    });
    sheet.case(Case::Reject, || logins::reject(&login));
    sheet.cannot(Case::Challenge, NO_DIALOGUE);
    sheet.cannot(Case::TwoRounds, NO_DIALOGUE);
    sheet.case(Case::PushWait, || {
        let okta = Okta::start();
        let stage = Stage::push(&okta);
        // A password without a code behind it asks for a push.
        stage.home.append("[gateway checkpassword]\nappend_otp = ,\n");
        let dovecot = start(&stage);
        logins::push_wait(&okta, &|name, field| {
            dovecot.login(name, if field.is_empty() { "pw" } else { field }) == Ended::In
        });
    });
    sheet.case(Case::Parallel, || logins::parallel(200, &login));
    sheet.case(Case::ServiceDown, || {
        let (stage, _refused) = Stage::down();
        let dovecot = start(&stage);
        logins::service_down(Duration::from_secs(60), &|name, field| {
            let ended = dovecot.login(name, if field.is_empty() { "123457" } else { field });
            assert_eq!(ended, Ended::Later);
            false
        });
        lookups(&stage);
    });
    let stage = Stage::codes();
    let dovecot = start(&stage);
    sheet.case(Case::BadInput, || bad_input(&stage, &dovecot));
    let other = Stage::codes();
    let bare = Dovecot::bare(&other);
    sheet.time(
        15,
        |round| assert_eq!(dovecot.login(&format!("user{round}"), &crowd(round).fresh_code()), Ended::In),
        |_| assert_eq!(bare.login("alice", "pw"), Ended::In),
    );
}

/// A userdb of the driver checkpassword asks without a password: nobody is found by that.
fn lookups(stage: &Stage) {
    let text = contrib(stage, "dovecot/countersign.conf");
    let (passdb, _userdb) = text.split_once("userdb {").unwrap();
    let asking = passdb.replace("passdb {", "userdb {");
    fs::remove_dir_all(stage.dir().join("dovecot")).unwrap();
    let dovecot = Dovecot::start(stage, &format!("{passdb}\n{asking}"));
    let found = Command::new("doveadm").args(["-c", &dovecot.conf, "user", "alice"]).output().unwrap();
    assert!(!found.status.success(), "{found:?}");
}

fn bad_input(stage: &Stage, dovecot: &Dovecot) {
    let long = "canary".repeat(600);
    for text in HOSTILE.into_iter().chain([long.as_str()]) {
        assert_eq!(dovecot.login("user199", &text.replace("canary", "sesame")), Ended::Denied, "{text}");
        assert_eq!(dovecot.login(&text.replace(':', ";"), "123456"), Ended::Denied, "{text}");
    }
    let code = crowd(198).fresh_code();
    assert_eq!(dovecot.login("user198", &code), Ended::In);
    let log = stage.home.log() + &fs::read_to_string(stage.dir().join("dovecot/log")).unwrap();
    assert!(!log.contains(&code) && !log.contains("sesame"), "a code or a password is in a log");
}
