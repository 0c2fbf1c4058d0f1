//! OpenVPN: files and environment as the server gives them, statuses and files as it takes them.

#[path = "openvpn/kept.rs"]
mod kept;
#[path = "openvpn/late.rs"]
mod late;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use super::rig::{Home, PATIENCE, Phone, finish};

/// At the middle of a time step.
const NOW: u64 = 1_767_268_815;

/// A server, as far as its programs see it.
struct Server {
    home: Home,
    count: Cell<u32>,
    /// Whom the server says that it is called for.
    user: Cell<&'static str>,
}

/// What the program left behind.
struct Left {
    status: i32,
    control: PathBuf,
    pending: String,
    number: u32,
    dir: PathBuf,
}

impl Server {
    fn new(home: Home, options: &str) -> Self {
        home.append(&format!("[gateway openvpn]\n{options}\n"));
        fs::create_dir(home.dir().join("vpn")).unwrap();
        Self { home, count: Cell::new(0), user: Cell::new("alice") }
    }

    /// alice with phone 1, at [`NOW`].
    fn of_alice(options: &str) -> (Self, Phone) {
        let phone = Phone::new(1);
        let home = Home::with(&[("alice", &phone)]);
        home.set_clock(NOW);
        (Self::new(home, options), phone)
    }

    fn dir(&self) -> PathBuf {
        self.home.dir().join("vpn")
    }

    /// Files as the server makes them for a login.
    fn files(&self) -> u32 {
        let number = self.count.get() + 1;
        self.count.set(number);
        for kind in ["acf", "apf", "afr"] {
            fs::write(self.file(kind, number), "").unwrap();
        }
        number
    }

    fn file(&self, kind: &str, number: u32) -> PathBuf {
        self.dir().join(format!("openvpn_{kind}_{number}.tmp"))
    }

    /// Runs the program as the server does, in `script_type` for login `number`, with `input` in a file of `kind`.
    fn run(&self, script_type: &str, number: u32, kind: &str, input: &[u8], sso: &str) -> Left {
        let path = self.file(kind, number);
        fs::write(&path, input).unwrap();
        let mut command = self.home.command(&["gateway", "openvpn"]);
        command
            .arg(&path)
            .env("script_type", script_type)
            .env("username", self.user.get())
            .env("untrusted_ip", "192.0.2.7")
            .env("untrusted_port", "50022")
            .env("IV_SSO", sso)
            .env("auth_control_file", self.file("acf", number))
            .env("auth_pending_file", self.file("apf", number))
            .env("auth_failed_reason_file", self.file("afr", number));
        let finished = finish(&mut command, b"");
        assert!(finished.stdout.is_empty() && finished.stderr.is_empty(), "{finished:?}");
        assert!(!path.exists(), "what was typed is still there");
        Left {
            status: finished.status.expect("an exit status"),
            control: self.file("acf", number),
            pending: fs::read_to_string(self.file("apf", number)).unwrap(),
            number,
            dir: self.dir(),
        }
    }

    fn verify(&self, user: &str, password: &str) -> Left {
        self.verify_with(user, password, "")
    }

    fn verify_with(&self, user: &str, password: &str, sso: &str) -> Left {
        self.run("user-pass-verify", self.files(), "up", format!("{user}\n{password}\n").as_bytes(), sso)
    }

    fn respond(&self, number: u32, answer: &str) -> Left {
        let input = format!("{}\n", BASE64.encode(answer.as_bytes()));
        self.run("client-crresponse", number, "cr", input.as_bytes(), "crtext")
    }
}

impl Left {
    fn control(&self) -> String {
        fs::read_to_string(&self.control).unwrap()
    }

    fn reason(&self) -> String {
        fs::read_to_string(self.dir.join(format!("openvpn_afr_{}.tmp", self.number))).unwrap()
    }

    /// How the login ends: by the status, or by the control file where that says so; never by both.
    #[track_caller]
    fn ends(&self) -> bool {
        if self.status != 2 {
            assert_eq!(self.control(), "", "status {} and a word in the control file", self.status);
            return self.status == 0;
        }
        self.ends_late()
    }

    /// How the login ends by the control file.
    #[track_caller]
    fn ends_late(&self) -> bool {
        wait_until(|| !self.control().is_empty());
        match self.control().as_str() {
            "1" => true,
            "0" => false,
            other => panic!("{other:?} in the control file"),
        }
    }

    /// The state and the rest of the question that the client is to ask.
    #[track_caller]
    fn challenge(&self) -> (String, String) {
        let reason = self.reason();
        let fields: Vec<&str> = reason.splitn(5, ':').collect();
        let [word, flags, state, user, prompt] = fields[..] else { panic!("{reason:?}") };
        assert!(word == "CRV1" && reason.len() < 1010, "{reason:?}");
        (state.to_owned(), format!("{flags}:{user}:{prompt}"))
    }
}

#[track_caller]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_right_code_lets_in_once() {
    let (server, phone) = Server::of_alice("");
    assert!(server.verify("alice", &phone.code_at(NOW, 0)).ends());
    let used = server.verify("alice", &phone.code_at(NOW, 0));
    assert_eq!((used.status, used.ends(), used.reason().as_str()), (1, false, "Authentication failed"));
    let log = server.home.log();
    assert!(log.contains("192.0.2.7") && log.contains("openvpn") && !log.contains(&phone.code_at(NOW, 0)), "{log}");
}

#[test]
fn a_static_challenge_brings_password_and_code() {
    let (server, phone) = Server::of_alice("");
    let checker = server.home.dir().join("checker");
    fs::write(&checker, "#!/bin/sh\nread -r user; read -r password\n[ \"$user $password\" = 'alice p:w;1' ]\n")
        .unwrap();
    fs::set_permissions(&checker, fs::Permissions::from_mode(0o755)).unwrap();
    server.home.append(&format!("first_factor = pwauth:{}\nappend_otp = ,\n", checker.display()));
    let said = |password: &str, otp: &str| {
        format!("SCRV1:{}:{}", BASE64.encode(password.as_bytes()), BASE64.encode(otp.as_bytes()))
    };
    assert!(!server.verify("alice", &said("wrong", &phone.code_at(NOW, 0))).ends());
    assert!(server.verify("alice", &said("p:w;1", &phone.code_at(NOW, 0))).ends());
    assert!(!server.verify("alice", &said("p:w;1", &phone.code_at(NOW, 0))).ends());
    assert!(server.verify("alice", &format!("p:w;1,{}", phone.code_at(NOW, 1))).ends());
    // Without the code, it is asked for.
    let asked = server.verify("alice", "p:w;1");
    assert!(!asked.ends());
    assert_eq!(asked.challenge().1.split(':').next(), Some("R,E"));
}

#[test]
fn questions_come_one_after_another() {
    let (server, phone) = Server::of_alice("field = checked");
    server.home.append("[question_1]\nkey = ticket\nprompt = Ticket: which?\ndisable_echo = yes\n");
    let first = server.verify("alice", "a password");
    let (state, rest) = first.challenge();
    assert_eq!(first.status, 1);
    assert_eq!(rest, "R,E:YWxpY2U=:Press Enter for push notification or type one-time password:");
    let answered = format!("CRV1::{state}::{}", phone.code_at(NOW, 0));
    assert!(answered.len() < 128, "{answered}");
    let second = server.verify("alice", &answered);
    let (state, rest) = second.challenge();
    assert_eq!((second.status, rest.as_str()), (1, "R:YWxpY2U=:Ticket: which?"));
    assert!(!state.contains(':') && "CRV1::::4711".len() + state.len() < 128, "{state}");
    // The state is alice's.
    server.home.import("bob", &Phone::new(2));
    assert!(!server.verify("bob", &format!("CRV1::{state}::4711")).ends());
    assert!(server.verify("alice", &format!("CRV1::{state}::47::11")).ends());
}

#[test]
fn a_client_that_can_answers_over_its_connection() {
    let (server, phone) = Server::of_alice("field = checked");
    let asked = server.verify_with("alice", "a password", "webauth,crtext");
    assert_eq!((asked.status, asked.control().as_str(), asked.reason().as_str()), (2, "", ""));
    let question = "CR_TEXT:R,E:Press Enter for push notification or type one-time password:";
    assert_eq!(asked.pending, format!("180\ncrtext\n{question}\n"));
    let kept = server.dir().join(format!("countersign_openvpn_acf_{}.tmp", asked.number));
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let answered = server.respond(asked.number, &phone.code_at(NOW, 0));
    assert!(answered.status == 0 && answered.ends_late() && !kept.exists());

    // What was answered is not answered again, and a question of an earlier login is none of this one.
    let asked = server.verify_with("alice", "a password", "crtext");
    let answered = server.respond(asked.number, &phone.wrong_code(NOW));
    assert!(answered.status == 0 && !answered.ends_late());
    assert_eq!(answered.reason(), "Authentication failed");
    let again = server.respond(asked.number, &phone.code_at(NOW, 1));
    assert!(again.status == 0 && !again.ends_late());
    let unasked = server.respond(server.files(), &phone.code_at(NOW, 1));
    assert!(unasked.status == 0 && !unasked.ends_late());
    // None of them used the code up.
    let asked = server.verify_with("alice", "a password", "crtext");
    assert!(server.respond(asked.number, &phone.code_at(NOW, 1)).ends_late());
}

#[test]
fn a_further_question_ends_the_connection() {
    let (server, phone) = Server::of_alice("field = checked");
    server.home.append("[question_1]\nkey = ticket\nprompt = Ticket:\ndisable_echo = no\n");
    let asked = server.verify_with("alice", "a password", "crtext");
    let further = server.respond(asked.number, &phone.code_at(NOW, 0));
    assert!(further.status == 0 && !further.ends_late());
    let (state, rest) = further.challenge();
    assert_eq!(rest, "R,E:YWxpY2U=:Ticket:");
    assert!(server.verify("alice", &format!("CRV1::{state}::4711")).ends());
}

#[test]
fn what_nobody_answered_is_removed_with_the_next() {
    let (server, _) = Server::of_alice("field = checked");
    let names = |server: &Server| -> Vec<String> {
        let names = fs::read_dir(server.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("countersign_")).collect()
    };
    let first = server.verify_with("alice", "a password", "crtext");
    assert_eq!(names(&server).len(), 1);
    // As long as the server waits, it stays.
    server.verify_with("alice", "a password", "crtext");
    assert_eq!(names(&server).len(), 2);
    fs::remove_file(&first.control).unwrap();
    server.verify_with("alice", "a password", "crtext");
    assert_eq!(names(&server).len(), 2);
    assert!(!names(&server).iter().any(|name| first.control.ends_with(name.trim_start_matches("countersign_"))));
}

#[test]
fn a_configuration_that_cannot_be_read_lets_nobody_in() {
    let (server, phone) = Server::of_alice("");
    let log = server.home.dir().join("words");
    server.home.append("[plugin]\n");
    let number = server.files();
    let path = server.file("up", number);
    fs::write(&path, format!("alice\n{}\n", phone.code_at(NOW, 0))).unwrap();
    let mut command = server.home.command(&["gateway", "openvpn", "--log", log.to_str().unwrap()]);
    command
        .arg(&path)
        .env("script_type", "user-pass-verify")
        .env("auth_failed_reason_file", server.file("afr", number));
    assert_eq!(finish(&mut command, b"").status, Some(1));
    assert!(fs::read_to_string(&log).unwrap().contains("plugin.ini"));
    let reason = fs::read_to_string(server.file("afr", number)).unwrap();
    assert!(reason.starts_with("TEMP[") && !path.exists(), "{reason}");
}

#[test]
fn only_the_files_of_the_server_are_removed_and_no_link_is_followed() {
    let (server, phone) = Server::of_alice("");
    let (victim, code) = (server.home.dir().join("victim"), phone.code_at(NOW, 0));
    let run = |path: &Path, afr: &Path| {
        let mut command = server.home.command(&["gateway", "openvpn"]);
        command.arg(path).env("script_type", "user-pass-verify").env("auth_failed_reason_file", afr);
        finish(&mut command, b"").status
    };
    let none = Path::new("/nonexistent");
    for name in ["victim", "openvpn_acf_1.tmp", "openvpn_up_1", "up_1.tmp"] {
        let path = server.home.dir().join(name);
        fs::write(&path, format!("alice\n{}\n", phone.wrong_code(NOW))).unwrap();
        assert_eq!(run(&path, none), Some(1), "{name}");
        assert!(path.exists(), "{name}");
    }
    fs::write(&victim, format!("alice\n{code}\n")).unwrap();
    let link = server.file("up", 1);
    symlink(&victim, &link).unwrap();
    assert_eq!(run(&link, none), Some(1));
    assert!(victim.exists());
    fs::remove_file(&link).unwrap();
    for path in [Path::new("/nonexistent/openvpn_up_1.tmp"), Path::new("openvpn_up_1.tmp"), &server.dir()] {
        assert_eq!(run(path, none), Some(1), "{path:?}");
    }
    // Nor is one in the place of a file that the server made.
    let reason = server.file("afr", 2);
    symlink(&victim, &reason).unwrap();
    fs::write(server.file("up", 2), "alice\n000\n").unwrap();
    assert_eq!(run(&server.file("up", 2), &reason), Some(1));
    assert_eq!(fs::read_to_string(&victim).unwrap(), format!("alice\n{code}\n"));
}

#[test]
fn whatever_comes_gets_one_verdict_and_leaves_no_trace() {
    let (server, _) = Server::of_alice("append_otp = ,");
    let long = "8".repeat(8 * 1024);
    // Names are logged, passwords are not.
    let marked = |text: &str| if text.contains('\n') { format!("{text}canary") } else { text.to_owned() };
    let mut inputs: Vec<Vec<u8>> = [
        "",
        "\n",
        "alice",
        "alice\n",
        "\n\n\n",
        "alice\nCRV1::",
        "alice\nCRV1::::",
        "alice\nCRV1::a:b::c",
        "alice\nSCRV1:",
        "alice\nSCRV1::",
        "alice\nSCRV1:!:!",
        "alice\nSCRV1:YQ==",
        "alice\nSCRV1:/w==:/w==",
        "$(id)\n`id`",
        "alice\n%s%n",
        "al\"i\\ce'\n\"\\'",
        "alice\n\u{202e}",
        "CRV1::a::b\nCRV1::a::b",
    ]
    .iter()
    .flat_map(|text| [(*text).to_owned(), marked(text), format!("{text}\n"), marked(text) + "\n"])
    .map(String::into_bytes)
    .collect();
    inputs.push(format!("{}\n{long}\n", "7".repeat(8 * 1024)).into_bytes());
    inputs.push(format!("alice\n{}\n", "9".repeat(70 * 1024)).into_bytes());
    inputs.push(b"al\xffice\nca\xffnary\n".to_vec());
    inputs.push(b"al\0ice\ncana\0ry\n".to_vec());
    for input in inputs {
        let left = server.run("user-pass-verify", server.files(), "up", &input, "crtext");
        let shown = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
        match left.status {
            1 => assert_eq!(left.control(), "", "{shown:?}"),
            // Somebody who typed no code is asked.
            2 => assert!(left.pending.contains("CR_TEXT:") && left.reason().is_empty(), "{shown:?}"),
            other => panic!("{other}: {shown:?}"),
        }
        assert!(!left.reason().contains(|c: char| c.is_control() || c == '"'), "{shown:?}: {}", left.reason());
    }
    for answer in [&b""[..], b"!\n", b"YQ", b"/w==\n", b"AA==\n", long.as_bytes()] {
        let asked = server.verify_with("alice", "", "crtext");
        assert_eq!(asked.status, 2);
        let left = server.run("client-crresponse", asked.number, "cr", answer, "crtext");
        assert!(left.status == 0 && !left.ends_late(), "{answer:?}");
    }
    for script_type in ["", "tls-verify"] {
        assert_eq!(server.run(script_type, server.files(), "up", b"alice\n000000\n", "").status, 1);
    }
    let log = server.home.log();
    assert!(!log.contains("canary") && !log.contains(&"8".repeat(20)), "{log}");
}
