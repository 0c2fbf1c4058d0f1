//! sudo: the password, and then the PAM module.

use crate::dialogue::{Door, Many, PROMPT, play, push};
use crate::machine::{Machine, PASSWORD};
use crate::rig::now;
use crate::rig::okta::Okta;
use crate::rig::pam::HEADERS;
use crate::rig::terminal::Terminal;
use crate::stage::{Stage, crowd};
use crate::table::{Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "sudo",
    programs: &[("sudo", "sudo"), ("unshare", "util-linux"), ("openssl", "openssl"), HEADERS],
    needs: Needs::Root,
    play: run,
};

struct Sudo(Machine);

impl Door for Sudo {
    fn knock(&self, user: &str) -> Terminal {
        self.type_command(user, &["sudo", "-k", "sh", "-c", "echo in as $SUDO_USER, who is $(id -un)"])
    }

    fn is_in(&self, person: &mut Terminal, user: &str) -> bool {
        let (status, text) = person.end();
        let is_in = text.contains(&format!("in as {user}, who is root"));
        assert_eq!(status, Some(i32::from(!is_in)), "{text}");
        is_in
    }
}

impl Sudo {
    /// The password is known.
    fn type_command(&self, user: &str, words: &[&str]) -> Terminal {
        let mut person = Terminal::start(self.0.inside(), |command| {
            command.args(Machine::become_user(user)).args(words);
        });
        person.wait_for(&format!("[sudo] password for {user}: "));
        person.enter(PASSWORD);
        person
    }
}

fn run(sheet: &mut Sheet) {
    let open = |stage: &Stage| Sudo(Machine::with(stage, &["sudo", "sudo-i"]));
    play(sheet, &Many::ALL, open);
    interrupted(open);
    as_at_a_login(&open(&Stage::codes()));
    let (ours, theirs) = (Stage::codes(), Stage::codes());
    let (ours, theirs) = (open(&ours), open(&theirs));
    theirs.0.set("sudo", "@include common-auth\n@include common-account\n@include common-session-noninteractive\n");
    sheet.time(
        20,
        |round| assert!(ours.login(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(theirs.is_in(&mut theirs.knock("alice"), "alice")),
    );
}

/// Ctrl-C ends the login, and takes the push back.
fn interrupted(open: impl Fn(&Stage) -> Sudo) {
    let okta = Okta::start();
    let stage = Stage::push(&okta);
    let mut person = push(&open(&stage), "alice");
    okta.wait_for("GET", "/transactions/t1", 2);
    person.press(b"\x03");
    let (status, text) = person.end();
    assert!(status != Some(0) && !text.contains("in as"), "{text}");
    okta.wait_for("DELETE", "/transactions/t1", 1);
}

/// `sudo -i` has a file of its own, and asks for the same.
fn as_at_a_login(door: &Sudo) {
    for (code, lets_in) in [(crowd(0).fresh_code(), true), (crowd(0).wrong_code(now()), false)] {
        let mut person = door.type_command("user0", &["sudo", "-k", "-i", "id", "-un"]);
        door.answer(&mut person, PROMPT, code.as_bytes());
        let (status, text) = person.end();
        assert_eq!((status == Some(0), text.contains("\nroot\r")), (lets_in, lets_in), "{text}");
    }
}
