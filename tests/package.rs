//! What is packaged: the units, and what Cargo.toml says of the packages. contrib/package/check runs a package that was built.

#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rig::Home;
use rig::services::{program, skip};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The values of `option` in a unit.
fn values(unit: &str, option: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == option).map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn the_service_is_exposed_to_little() {
    let Some(analyze) = program("systemd-analyze") else {
        return skip::<()>("skipped: systemd-analyze is missing; run: apt-get install systemd").unwrap_or_default();
    };
    let unit = root().join("contrib/systemd/countersign.service");
    // In tenths: 0 is a service that can do nothing, 100 one that can do everything.
    let done = Command::new(analyze).args(["security", "--offline=yes", "--threshold=15"]).arg(unit).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn the_units_start_what_there_is_as_whom_there_is() {
    let (service, socket) = (read("contrib/systemd/countersign.service"), read("contrib/systemd/countersign.socket"));
    let (users, directories) =
        (read("contrib/systemd/countersign.sysusers"), read("contrib/systemd/countersign.tmpfiles"));
    let names: Vec<&str> =
        users.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    for name in [values(&service, "User"), values(&service, "Group"), values(&socket, "SocketGroup")].concat() {
        assert!(names.contains(&name.as_str()), "{name} is made by nobody");
    }
    assert_ne!(values(&socket, "SocketGroup"), values(&service, "Group"), "who may ask could read the key");
    let listen = values(&socket, "ListenStream").concat();
    let directory = Path::new(&listen).parent().unwrap().display().to_string();
    assert!(directories.contains(&format!("{directory} ")), "{directory}");
    let started = values(&service, "ExecStart").concat();
    let mut words = started.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/countersign"));
    let (options, config): (Vec<&str>, Vec<&str>) = words.partition(|word| !word.ends_with("plugin.ini"));
    assert_eq!(config, ["/etc/countersign/plugin.ini"]);
    // The command line is understood, and wants the socket.
    let home = Home::init();
    let options: Vec<&str> = options.into_iter().filter(|option| *option != "--config").collect();
    let done = home.run(&options, "");
    assert_eq!(done.status, Some(70), "{done:?}");
    assert!(done.stderr.contains("LISTEN_FDS"), "{done:?}");
}

#[test]
fn everything_that_is_packaged_is_there() {
    let mut count = 0;
    for directory in ["", "pam"] {
        let manifest = fs::read_to_string(root().join(directory).join("Cargo.toml")).unwrap();
        let manifest: toml::Value = toml::from_str(&manifest).unwrap();
        let deb = &manifest["package"]["metadata"]["deb"];
        for asset in deb["assets"].as_array().unwrap() {
            let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
            assert!(!to.starts_with('/') && !to.starts_with("etc"), "{to}: is the operator's");
            if from.starts_with("target/") {
                continue;
            }
            let path = root().join(directory).join(from.split('*').next().unwrap());
            assert!(path.exists(), "{from} is not there");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn the_scripts_can_be_read_by_any_shell() {
    for script in ["boot", "build", "check", "setup", "static", "scripts/postinst", "scripts/postrm", "scripts/prerm"] {
        let path = root().join("contrib/package").join(script);
        assert!(Command::new("sh").arg("-n").arg(&path).status().unwrap().success(), "{script}");
        assert!(fs::read_to_string(&path).unwrap().starts_with("#!/bin/sh\n"), "{script}");
    }
}
