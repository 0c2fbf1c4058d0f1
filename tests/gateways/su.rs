//! su: the password, and then the PAM module.

use crate::dialogue::{Door, Many, play};
use crate::machine::{Machine, PASSWORD};
use crate::rig::pam::HEADERS;
use crate::rig::terminal::Terminal;
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
    let (ours, theirs) = (Stage::codes(), Stage::codes());
    let (ours, theirs) = (open(&ours), open(&theirs));
    theirs.0.set("su", "@include common-auth\n@include common-account\n@include common-session\n");
    sheet.time(
        20,
        |round| assert!(ours.login(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(theirs.is_in(&mut theirs.knock("alice"), "alice")),
    );
}
