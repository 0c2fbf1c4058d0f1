//! The PAM module in a host of any user's: pamtester, under libpam-wrapper.

use crate::dialogue::{Door, Many, play};
use crate::rig::pam::{HEADERS, Pam, WRAPPER};
use crate::rig::terminal::Terminal;
use crate::stage::{Stage, crowd};
use crate::table::{Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "pam",
    programs: &[("pamtester", "pamtester"), WRAPPER, HEADERS],
    needs: Needs::Nothing,
    play: run,
};

struct Host(Pam);

impl Door for Host {
    fn knock(&self, user: &str) -> Terminal {
        self.0.host("countersign", user, 1)
    }

    fn is_in(&self, person: &mut Terminal, _user: &str) -> bool {
        let (status, text) = person.end();
        let is_in = text.contains("pamtester: successfully authenticated");
        assert_eq!(status, Some(i32::from(!is_in)), "{text}");
        is_in
    }
}

fn run(sheet: &mut Sheet) {
    let open = |stage: &Stage| {
        let pam = Pam::beside(&stage.home);
        pam.set_module("countersign", &stage.home, "");
        Host(pam)
    };
    play(sheet, &Many::ALL, open);
    let stage = Stage::codes();
    let host = open(&stage);
    host.0.set("permit", "auth required pam_permit.so\n");
    sheet.time(
        20,
        |round| assert!(host.login(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(host.is_in(&mut host.0.host("permit", "alice", 1), "alice")),
    );
}
