//! Files behind links: what comes, or is exchanged, after a process gave up the rest.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use countersign::config::Config;
use countersign::confine::{Confined, Plan};
use serde_json::json;

use crate::rig::authority::Authority;
use crate::rig::http::Response;
use crate::rig::web::Web;
use crate::rig::{Gateway, Home, request};

/// A link to `target`, in the place of what is there, at once.
fn exchange(link: &Path, target: &str) {
    let new = link.with_file_name("new");
    symlink(target, &new).unwrap();
    fs::rename(&new, link).unwrap();
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// How authorities are exchanged: what it is called, `ca_file`, what is there at the start, and what happens then.
struct Scheme {
    name: &'static str,
    ca_file: &'static str,
    start: fn(&Path),
    exchange: fn(&Path),
}

const SCHEMES: [Scheme; 5] = [
    Scheme {
        name: "a directory link",
        ca_file: "current/ca.pem",
        start: |place| {
            write(&place.join("v1/ca.pem"), "old");
            exchange(&place.join("current"), "v1");
        },
        exchange: |place| {
            write(&place.join("v2/ca.pem"), "new");
            exchange(&place.join("current"), "v2");
        },
    },
    Scheme {
        name: "a directory link behind a link",
        ca_file: "etc/ca.pem",
        start: |place| {
            fs::create_dir(place.join("etc")).unwrap();
            write(&place.join("x/releases/1/ca.pem"), "old");
            exchange(&place.join("x/current"), place.join("x/releases/1").to_str().unwrap());
            exchange(&place.join("etc/ca.pem"), "../x/current/ca.pem");
        },
        exchange: |place| {
            write(&place.join("x/releases/2/ca.pem"), "new");
            exchange(&place.join("x/current"), place.join("x/releases/2").to_str().unwrap());
        },
    },
    Scheme {
        name: "a mounted secret",
        ca_file: "mount/ca.pem",
        start: |place| {
            write(&place.join("mount/..1/ca.pem"), "old");
            exchange(&place.join("mount/..data"), "..1");
            exchange(&place.join("mount/ca.pem"), "..data/ca.pem");
        },
        exchange: |place| {
            write(&place.join("mount/..2/ca.pem"), "new");
            exchange(&place.join("mount/..data"), "..2");
            fs::remove_dir_all(place.join("mount/..1")).unwrap();
        },
    },
    Scheme {
        name: "an archive",
        ca_file: "live/x/chain.pem",
        start: |place| {
            write(&place.join("archive/x/chain1.pem"), "old");
            fs::create_dir_all(place.join("live/x")).unwrap();
            exchange(&place.join("live/x/chain.pem"), "../../archive/x/chain1.pem");
        },
        exchange: |place| {
            write(&place.join("archive/x/chain2.pem"), "new");
            exchange(&place.join("live/x/chain.pem"), "../../archive/x/chain2.pem");
        },
    },
    Scheme {
        name: "a link that dangles",
        ca_file: "etc/ca.pem",
        start: |place| {
            fs::create_dir(place.join("etc")).unwrap();
            fs::create_dir(place.join("run")).unwrap();
            exchange(&place.join("etc/ca.pem"), "../run/service/made/ca.pem");
        },
        exchange: |place| write(&place.join("run/service/made/ca.pem"), "new"),
    },
];

#[test]
fn authorities_are_read_after_they_were_exchanged() {
    for Scheme { name, ca_file, start, exchange } in SCHEMES {
        let home = Home::init();
        let place = home.dir().parent().unwrap().join("place");
        let beside = place.join("beside/file");
        write(&beside, "");
        // So that what lies right in the place is no more than one of these.
        let place = place.join("of");
        fs::create_dir(&place).unwrap();
        start(&place);
        let ca_file = place.join(ca_file);
        home.append(&format!("[privacyidea]\nurl = https://mfa.corp.example\nca_file = {}\n", ca_file.display()));
        home.set("plugin", "clients", "privacyidea");
        let config = Config::load(&home.ini()).unwrap();
        let (go, stop) = (Barrier::new(2), Barrier::new(2));
        let (read, denied) = thread::scope(|scope| {
            let held = scope.spawn(|| {
                let confined = Plan::of(&config, None, |_| ()).carry_out();
                go.wait();
                stop.wait();
                let is_held = !matches!(confined, Confined::Landlock { abi: 0, .. });
                (fs::read_to_string(&ca_file), File::open(&beside).err().filter(|_| is_held))
            });
            go.wait();
            exchange(&place);
            stop.wait();
            held.join().unwrap()
        });
        assert_eq!(read.unwrap_or_else(|error| error.to_string()), "new", "{name}");
        match denied {
            Some(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{name}"),
            None => assert_eq!(crate::landlock(), 0, "{name}: another file is read"),
        }
    }
}

/// A process that is started before the machine's resolver has written its /etc/resolv.conf, which is a link into /run.
#[test]
fn names_are_found_once_the_resolver_has_started() {
    let home = Home::init();
    let web = Web::always(Response::empty(500));
    let address = web.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (_, port) = address.split_once(':').unwrap();
    let authority = Authority::new();
    let ca_file = authority.ca_file().display().to_string();
    home.append(&format!(
        "[privacyidea]\nurl = http://mfa.corp.example:{port}\nallow_insecure_http = yes\nca_file = {ca_file}\n"
    ));
    home.set("plugin", "clients", "privacyidea");
    let machine: PathBuf = home.dir().parent().unwrap().join("machine");
    write(&machine.join("etc/hosts"), "127.0.0.1 mfa.corp.example\n::1 mfa.corp.example\n");
    symlink("../run/systemd/resolve/stub-resolv.conf", machine.join("etc/resolv.conf")).unwrap();
    fs::create_dir(machine.join("run")).unwrap();
    let mounts = "mount --bind \"$0/etc\" /etc && mount --bind \"$0/run\" /run || exit 99; exec \"$@\"";
    let in_machine = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mounts]).arg(&machine);
        command
    };
    let tried = in_machine().arg("true").output();
    if !tried.as_ref().is_ok_and(|done| done.status.success()) {
        // That is no program that is missing.
        println!("skipped: no mount name space can be made here: {tried:?}");
        return;
    }
    let mut command = in_machine();
    let mut gateway =
        Gateway::spawn(command.args([env!("CARGO_BIN_EXE_countersign"), "serve", "--config"]).arg(home.ini()));
    let typed = json!({"key_value_pairs": {"otp": "123456"}});
    assert_eq!(gateway.ask(&request(1, "alice", typed.clone())).verdict(), "reject");
    assert_eq!(web.seen().connections, 0, "{}", home.log());
    write(&machine.join("run/systemd/resolve/stub-resolv.conf"), "nameserver 127.0.0.1\n");
    assert_eq!(gateway.ask(&request(2, "alice", typed)).verdict(), "reject");
    assert!(web.seen().connections > 0, "{}", home.log());
    web.excuse();
}
