//! What is kept of a question until it is answered: taken once, from our own file, for the user that the server names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::rig::Phone;
use super::{NOW, Server};

/// Asks alice, does `harm` to what is kept, and answers rightly; whether that lets in.
fn answered(server: &Server, phone: &Phone, harm: impl FnOnce(&Path)) -> bool {
    let asked = server.verify_with("alice", "a password", "crtext");
    assert_eq!(asked.status, 2);
    let kept = kept(server, asked.number);
    harm(&kept);
    let left = server.respond(asked.number, &phone.code_at(NOW, 0));
    assert_eq!(left.status, 0);
    assert!(fs::symlink_metadata(&kept).is_err(), "it is still there");
    left.ends_late()
}

fn kept(server: &Server, number: u32) -> PathBuf {
    server.dir().join(format!("countersign_openvpn_acf_{number}.tmp"))
}

#[test]
fn what_others_could_have_put_there_is_nothing() {
    let (server, phone) = Server::of_alice("field = checked");
    let elsewhere = server.home.dir().join("elsewhere");
    assert!(!answered(&server, &phone, |kept| fs::set_permissions(kept, fs::Permissions::from_mode(0o666)).unwrap()));
    assert!(!answered(&server, &phone, |kept| {
        fs::rename(kept, &elsewhere).unwrap();
        symlink(&elsewhere, kept).unwrap();
    }));
    assert!(!answered(&server, &phone, |kept| {
        fs::remove_file(kept).unwrap();
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(kept).status().unwrap().success());
    }));
    if fs::metadata(&elsewhere).unwrap().uid() == 0 {
        assert!(!answered(&server, &phone, |kept| chown(kept, Some(65534), None).unwrap()));
    }
    assert!(elsewhere.exists() && server.home.log().contains("no_question"));
    assert!(answered(&server, &phone, |_| ()), "the code was used");
}

#[test]
fn a_question_is_that_of_the_user_whom_the_server_names() {
    let (server, phone) = Server::of_alice("field = checked");
    server.home.import("bob", &Phone::new(2));
    for user in ["bob", "ALICE", ""] {
        server.user.set(user);
        assert!(!answered(&server, &phone, |_| ()), "{user}");
    }
    server.user.set("alice");
    assert!(!answered(&server, &phone, |kept| {
        let text = fs::read_to_string(kept).unwrap();
        fs::write(kept, text.replacen("alice", "bob", 1)).unwrap();
    }));
    assert!(answered(&server, &phone, |_| ()));
}

#[test]
fn nothing_is_swept_away_that_is_not_ours() {
    let (server, _) = Server::of_alice("field = checked");
    let name = |name: &str| server.dir().join(name);
    let mut stay =
        vec![name("countersign_notes"), name("countersign_openvpn_acf_1"), name("countersign_openvpn_up_1.tmp")];
    for path in &stay {
        fs::write(path, "").unwrap();
    }
    let ours = name("countersign_openvpn_acf_gone.tmp");
    fs::write(&ours, "").unwrap();
    if fs::metadata(&ours).unwrap().uid() == 0 {
        let others = name("countersign_openvpn_acf_others.tmp");
        fs::write(&others, "").unwrap();
        chown(&others, Some(65534), None).unwrap();
        stay.push(others);
    }
    assert_eq!(server.verify_with("alice", "a password", "crtext").status, 2);
    assert!(!ours.exists());
    for path in stay {
        assert!(path.exists(), "{path:?}");
    }
}
