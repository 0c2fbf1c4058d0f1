//! su: the password, and then the PAM module.

use std::fs;

use rustix::process::{Pid, getsid};

use crate::dialogue::{Door, Many, PROMPT, play};
use crate::machine::{Machine, PASSWORD};
use crate::rig::pam::HEADERS;
use crate::rig::terminal::{Terminal, children};
use crate::stage::{Stage, crowd};
use crate::table::{Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "su",
    programs: &[("su", "util-linux"), ("unshare", "util-linux"), ("openssl", "openssl"), HEADERS],
    needs: Needs::Root,
    play: run,
};

struct Su(Machine);

impl Door for Su {
    fn knock(&self, user: &str) -> Terminal {
        let mut person = Terminal::start(self.0.inside(), |command| {
            command.args(Machine::become_user(if user == "user199" { "user198" } else { "user199" }));
            command.args(["su", user, "-c", "echo in as $(id -un)"]);
        });
        person.wait_for("Password: ");
        person.enter(PASSWORD);
        person
    }

    fn is_in(&self, person: &mut Terminal, user: &str) -> bool {
        let (status, text) = person.end();
        let is_in = text.contains(&format!("in as {user}"));
        assert_eq!(status, Some(i32::from(!is_in)), "{text}");
        is_in
    }
}

fn run(sheet: &mut Sheet) {
    let open = |stage: &Stage| Su(Machine::with(stage, &["su"]));
    play(sheet, &Many::ALL, open);
    apart(&open(&Stage::codes()));
    let (ours, theirs) = (Stage::codes(), Stage::codes());
    let (ours, theirs) = (open(&ours), open(&theirs));
    theirs.0.set("su", "@include common-auth\n@include common-account\n@include common-session\n");
    sheet.time(
        20,
        |round| assert!(ours.login(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(theirs.is_in(&mut theirs.knock("alice"), "alice")),
    );
}

/// The process is root's, and has nothing of who types the command.
fn apart(door: &Su) {
    let mut person = door.knock("alice");
    person.wait_for(PROMPT);
    let [verifier] = children(person.pid())[..] else { panic!("{:?}", children(person.pid())) };
    let status = fs::read_to_string(format!("/proc/{verifier}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(["Uid:", "Gid:", "Groups:", "Umask:"].map(field), ["0 0 0 0", "0 0 0 0", "", "0077"], "{status}");
    // A key that stops su stops su alone.
    let session = |pid: u32| getsid(Pid::from_raw(pid.cast_signed())).unwrap().as_raw_nonzero().get().cast_unsigned();
    assert_eq!((session(person.pid()), session(verifier)), (person.pid(), verifier));
}
