//! contrib/sps: the plugin is packed, unpacked as a gateway does, and called as a gateway does, by the SDK's own tester and
//! by callers and executables that mean ill.
#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rig::services::{SpsSdk, has_python};
use rig::{Finished, Home, Phone, finish};
use serde_json::{Value, json};

/// The command line of `countersign` in the tests.
const COUNTERSIGN: &str = env!("CARGO_BIN_EXE_countersign");

/// What the gateway's operator pasted.
const CONFIGURATION: &str = "[auth]\nprompt = Code?\ndisable_echo = yes\n";

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/sps").join(name)
}

/// Packs `executable` into `zip`.
fn build(executable: &Path, zip: &Path) -> Finished {
    finish(Command::new(contrib("build.sh")).arg(executable).arg(zip), b"")
}

/// The plugin as a gateway has unpacked it, with a state directory, in a temporary directory.
struct Plugin {
    home: Home,
    dir: PathBuf,
}

impl Plugin {
    /// With this `executable`, which is a script, or the real one.
    fn unpack(executable: Option<&str>) -> Self {
        let home = Home::init();
        let root = home.dir().parent().unwrap().to_owned();
        let (dir, zip) = (root.join("plugin"), root.join("plugin.zip"));
        fs::create_dir(root.join("state")).unwrap();
        let script = root.join("script");
        let executable = match executable {
            Some(text) => text.to_owned(),
            None => format!("exec {COUNTERSIGN} \"$@\"\n"),
        };
        fs::write(&script, format!("#!/bin/sh\n{executable}")).unwrap();
        build(&script, &zip).ok();
        // As Python unpacks, without modes.
        let unpack = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
        finish(Command::new("python3").args(["-c", unpack]).args([&zip, &dir]), b"").ok();
        Self { home, dir }
    }

    fn root(&self) -> PathBuf {
        self.home.dir().parent().unwrap().to_owned()
    }

    /// Where key, store and configurations are.
    fn state(&self) -> PathBuf {
        self.root().join("state/countersign")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        let call = "import sys, json; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); import main; \
                    call = json.load(sys.stdin); plugin = main.Plugin(call['configuration']); \
                    print(json.dumps(getattr(plugin, call['hook'])(**call['arguments'])))";
        command.args(["-c", call]).arg(&self.dir).env("SCB_PLUGIN_STATE_DIRECTORY", self.root().join("state"));
        command
    }

    /// What a new object of the plugin answers to a call, and what it left in the log.
    #[track_caller]
    fn call(&self, configuration: &str, hook: &str, arguments: &Value) -> (Value, String) {
        let finished = finish(&mut self.command(), call(configuration, hook, arguments).as_bytes());
        assert_eq!(finished.status, Some(0), "{finished:?}");
        (serde_json::from_str(&finished.stdout).unwrap(), finished.stderr)
    }

    /// An administrator's command on the plugin's store.
    fn administer(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = Command::new(COUNTERSIGN);
        finish(command.args(arguments).arg("--config").arg(self.state().join("plugin.ini")), input.as_bytes())
    }
}

/// What [`Plugin::command`] reads.
fn call(configuration: &str, hook: &str, arguments: &Value) -> String {
    json!({"configuration": configuration, "hook": hook, "arguments": arguments}).to_string()
}

fn arguments(otp: Option<&str>) -> Value {
    let pairs = otp.map_or(json!({}), |otp| json!({"otp": otp}));
    json!({
        "cookie": {"x": 1}, "session_cookie": {"y": [2]}, "session_id": "svc/s-1:1", "protocol": "ssh",
        "connection_name": "ssh", "client_ip": "192.0.2.10", "client_port": 50022, "client_hostname": null,
        "gateway_user": "alice", "gateway_domain": null, "server_username": "root", "server_domain": null,
        "key_value_pairs": pairs,
    })
}

fn session_ended() -> Value {
    json!({"cookie": {}, "session_cookie": {}, "session_id": "svc/s-1:1"})
}

#[test]
fn what_is_packed_is_what_a_gateway_takes() {
    if !has_python() {
        return;
    }
    let home = Home::init();
    let root = home.dir().parent().unwrap().to_owned();
    let (one, two) = (root.join("one.zip"), root.join("two.zip"));
    let script = root.join("countersign-script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    build(&script, &one).ok();
    build(&script, &two).ok();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let list = "import sys, zipfile\nfor e in zipfile.ZipFile(sys.argv[1]).infolist(): \
                print(e.filename, oct(e.external_attr >> 16), e.date_time[0])";
    let listed = finish(Command::new("python3").args(["-c", list]).arg(&one), b"").ok();
    assert_eq!(
        listed.stdout,
        "MANIFEST 0o100644 1980\ndefault.cfg 0o100644 1980\nmain.py 0o100755 1980\ncountersign 0o100755 1980\n"
    );
    // What cannot be made smaller, by the generator of the phones.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..2_700_000_u64)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()
        })
        .collect();
    fs::write(&script, noise).unwrap();
    let refused = build(&script, &two);
    assert!(refused.status == Some(1) && refused.stderr.contains("20000000 are allowed"), "{refused:?}");
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap(), "a refused one replaces nothing");
    assert!(build(&root.join("nothing"), &two).status == Some(1));
    assert_eq!(
        fs::read_dir(&root).unwrap().filter(|e| e.as_ref().unwrap().path().to_str().unwrap().ends_with(".new")).count(),
        0
    );
    let manifest = fs::read_to_string(contrib("MANIFEST")).unwrap();
    assert!(manifest.contains(&format!("\nversion: {}\n", env!("CARGO_PKG_VERSION"))), "{manifest}");
    let defaults = fs::read_to_string(contrib("default.cfg")).unwrap();
    fs::write(home.ini(), defaults).unwrap();
    home.run(&["check"], "").ok();
}

#[test]
fn the_first_call_makes_key_and_store_and_every_text_has_a_file_of_its_own() {
    if !has_python() {
        return;
    }
    let plugin = Plugin::unpack(None);
    // Two at once, as a gateway may.
    let input = &call(CONFIGURATION, "authenticate", &arguments(None));
    let verdicts: Vec<Finished> = thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| plugin.command())
            .map(|mut command| scope.spawn(move || finish(&mut command, input.as_bytes())))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for finished in verdicts {
        let verdict: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
        assert_eq!(
            (&verdict["verdict"], &verdict["question"]),
            (&json!("NEEDINFO"), &json!(["otp", "Code? ", true])),
            "{verdict}"
        );
        assert_eq!((&verdict["cookie"]["x"], &verdict["session_cookie"]), (&json!(1), &json!({"y": [2]})));
    }
    let phone = Phone::new(1);
    plugin.administer(&["import", "uri", "--user", "alice"], &phone.uri("alice")).ok();
    let code = phone.fresh_code();
    let (verdict, log) = plugin.call(CONFIGURATION, "authenticate", &arguments(Some(&code)));
    assert_eq!(verdict["verdict"], "ACCEPT", "{verdict} {log}");
    assert!(log.contains("verdict=\"accept\"") && !log.contains(&code), "{log}");
    let (verdict, _) = plugin.call("[auth]\nprompt = Other?\n", "authenticate", &arguments(None));
    assert_eq!(verdict["question"][1], "Other? ");
    let (verdict, _) = plugin.call(CONFIGURATION, "authenticate", &arguments(None));
    assert_eq!(verdict["question"][1], "Code? ");
    assert_eq!(plugin.call(CONFIGURATION, "session_ended", &session_ended()).0, Value::Null);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&plugin.state()), 0o700);
    let mut configurations = 0;
    for entry in fs::read_dir(plugin.state()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("configuration-") {
            configurations += 1;
            assert_eq!(mode(&entry.path()), 0o600);
        }
    }
    assert_eq!(configurations, 2);
}

#[test]
fn a_file_that_another_call_takes_away_meanwhile_is_no_reason_to_deny() {
    if !has_python() {
        return;
    }
    let plugin = Plugin::unpack(None);
    let (_, log) = plugin.call(CONFIGURATION, "authenticate", &arguments(None));
    // What was listed is renamed before it is looked at, as the file of another first call is.
    let call = "import os, sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); import main; \
                new = os.path.join(sys.argv[2], 'configuration-new'); open(new, 'w').close(); \
                listed = list(os.scandir(sys.argv[2])); os.unlink(new); os.scandir = lambda _: listed; \
                main.forget(sys.argv[2])";
    let mut command = Command::new("python3");
    finish(command.args(["-c", call]).arg(&plugin.dir).arg(plugin.state()), b"").ok();
    assert!(!log.contains("gave no verdict"), "{log}");
}

#[test]
fn a_configuration_that_cannot_be_used_denies_and_says_where() {
    if !has_python() {
        return;
    }
    let plugin = Plugin::unpack(None);
    let (verdict, log) = plugin.call("[auth]\ndisable_echo = x\n", "authenticate", &arguments(None));
    assert_eq!((&verdict["verdict"], &verdict["reason"]), (&json!("DENY"), &json!("Internal error")), "{verdict}");
    assert!(log.contains("ini:2: [auth] disable_echo: expected yes or no"), "{log}");
    assert!(verdict["additional_metadata"].as_str().unwrap().contains("exit status 78"), "{verdict}");
    assert_eq!((&verdict["cookie"], &verdict["session_cookie"]), (&json!({"x": 1}), &json!({"y": [2]})));
}

#[test]
fn a_call_that_cannot_be_passed_on_is_a_denial() {
    if !has_python() {
        return;
    }
    let plugin = Plugin::unpack(None);
    // Text that cannot be written, and a state directory that nobody named, or that is a file.
    let input = call("CANARY", "authenticate", &arguments(None));
    let lone = input.replace("CANARY", "\\ud800");
    let file = plugin.root().join("script");
    let denials = [
        finish(&mut plugin.command(), lone.as_bytes()),
        finish(plugin.command().env_remove("SCB_PLUGIN_STATE_DIRECTORY"), input.as_bytes()),
        finish(plugin.command().env("SCB_PLUGIN_STATE_DIRECTORY", &file), input.as_bytes()),
    ];
    for finished in denials {
        assert!(finished.status == Some(0) && finished.stdout.contains("\"verdict\": \"DENY\""), "{finished:?}");
        assert!(finished.stderr.contains("countersign gave no verdict"), "{finished:?}");
    }
    // Nor is anything lost, or said in the wrong place, where there is no log.
    let program = plugin.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 2>&-", "sh"]).arg(program.get_program()).args(program.get_args());
    let finished = finish(&mut shell, input.as_bytes());
    let verdict: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((finished.status, &verdict["verdict"]), (Some(0), &json!("DENY")), "{finished:?}");
}

#[test]
fn an_executable_that_answers_nothing_or_nonsense_is_a_denial() {
    if !has_python() {
        return;
    }
    for script in [
        "exit 0",
        "exit 70",
        "kill -9 $$",
        "echo",
        "echo nonsense",
        "echo null",
        "echo '[]'",
        "echo '{}'",
        "echo '{\"verdict\":\"accept\"}'",
        "echo '{\"verdict\":\"ACCEPT\"}'; echo '{\"verdict\":\"ACCEPT\"}'",
        "printf '{\"verdict\":\"ACCEPT\"'",
        "printf '\\377\\n'",
    ] {
        let plugin = Plugin::unpack(Some(script));
        fs::create_dir(plugin.state()).unwrap();
        for hook in ["authenticate", "authorize"] {
            let (verdict, log) = plugin.call(CONFIGURATION, hook, &arguments(Some("492039")));
            assert_eq!(
                (&verdict["verdict"], &verdict["reason"]),
                (&json!("DENY"), &json!("Internal error")),
                "{script}"
            );
            let metadata: Value = serde_json::from_str(verdict["additional_metadata"].as_str().unwrap()).unwrap();
            let reason = metadata["reason"].as_str().unwrap();
            assert!(reason.starts_with("countersign gave no verdict"), "{script}: {reason}");
            assert!(log.contains(reason) && !log.contains("492039"), "{script}: {log}");
            assert_eq!((&verdict["cookie"], &verdict["session_cookie"]), (&json!({"x": 1}), &json!({"y": [2]})));
        }
    }
    let plugin = Plugin::unpack(Some("exit 0"));
    fs::remove_file(plugin.dir.join("countersign")).unwrap();
    let mut command = plugin.command();
    let input = call("", "authenticate", &arguments(None));
    let python = finish(Command::new("sh").args(["-c", "command -v python3"]), b"").ok().stdout;
    let paths = [Path::new(python.trim()).parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")];
    assert!(paths.iter().all(|path| !path.join("countersign").exists()));
    let finished = finish(command.env("PATH", std::env::join_paths(paths).unwrap()), input.as_bytes());
    assert!(finished.stdout.contains("\"DENY\"") && finished.stdout.contains("FileNotFoundError"), "{finished:?}");
}

#[test]
fn nothing_secret_is_in_the_arguments_or_the_environment_of_the_executable() {
    if !has_python() {
        return;
    }
    let plugin = Plugin::unpack(Some(&format!(
        "tr '\\0' ' ' < /proc/$$/cmdline >> \"$SCB_PLUGIN_STATE_DIRECTORY/seen\"\n\
         env >> \"$SCB_PLUGIN_STATE_DIRECTORY/seen\"\nexec {COUNTERSIGN} \"$@\"\n"
    )));
    let configuration =
        "[plugin]\nclients = duo\n[duo]\nhost = 127.0.0.1\nikey = DICANARYCANARYCANARY\nskey = canary-skey\n";
    let (verdict, _) = plugin.call(configuration, "authenticate", &arguments(Some("492039")));
    assert!(verdict["verdict"].is_string());
    let seen = fs::read_to_string(plugin.root().join("state/seen")).unwrap();
    assert!(seen.contains("gateway sps --config"), "{seen}");
    for secret in ["canary-skey", "CANARY", "492039", "alice"] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

#[test]
fn the_sdk_s_own_tester_plays_a_session() {
    let Some(sdk) = SpsSdk::install() else { return };
    let plugin = Plugin::unpack(None);
    let phone = Phone::new(1);
    plugin.call(CONFIGURATION, "session_ended", &session_ended());
    plugin.administer(&["import", "uri", "--user", "alice"], &phone.uri("alice")).ok();
    let play = |scenario: &str, code: &str| {
        let mut command = sdk.session(&plugin.dir, CONFIGURATION, scenario, "alice");
        command.env("SCB_PLUGIN_STATE_DIRECTORY", plugin.root().join("state"));
        let finished = finish(&mut command, format!("{code}\n").as_bytes());
        assert_eq!(finished.status, Some(0), "{finished:?}");
        assert_eq!(finished.stdout.matches("Code? ").count(), 1, "{finished:?}");
        finished.stdout
    };
    let code = phone.fresh_code();
    let played = play("SshWithGatewayAuth", &code);
    for what in
        ["plugin authenticate finished with: ", "plugin authorize finished with: ", "plugin session end finished"]
    {
        assert!(played.contains(what), "{played}");
    }
    assert_eq!(played.matches("\"verdict\": \"ACCEPT\"").count(), 2, "{played}");
    let played = play("SshWithGatewayAuth", &code);
    assert!(played.contains("\"verdict\": \"DENY\"") && played.contains("was used before"), "{played}");
    assert!(!played.contains("plugin authorize"), "{played}");
    for scenario in ["SshWithoutGatewayAuth", "RdpWithoutGatewayAuth", "RdpWithGatewayAuth"] {
        let played = play(scenario, "000000");
        assert!(played.contains("\"reason\": \"Authentication failed\""), "{scenario}: {played}");
    }
}
