//! pam_exec.so behind the real sshd, and ssh: in one prompt, and with the two lines that ask.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::logins::{self, HOSTILE, contrib, listening};
use crate::rig::okta::Okta;
use crate::rig::{Phone, finish, now};
use crate::stage::{CROWD, Server, Stage, crowd, free_port};
use crate::table::{Case, Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "pam-exec",
    programs: &[
        ("/usr/sbin/sshd", "openssh-server"),
        ("ssh", "openssh-client"),
        ("sshpass", "sshpass"),
        ("unshare", "util-linux"),
    ],
    needs: Needs::Root,
    play,
};

const ONE_ANSWER: &str =
    "the two lines of pam_exec.so put one question: there is no third line that could take the answer to another";

/// An sshd with users of its own, in a name space where they are those of the machine.
struct Sshd {
    port: u16,
    dir: PathBuf,
    _server: Server,
}

/// What is written instead of the auth part of the file for sshd.
enum Auth<'a> {
    /// A file of contrib.
    Contrib(&'a str),
    /// Without countersign: a program that reads its input, and says yes.
    Bare,
}

impl Sshd {
    fn start(stage: &Stage, auth: Auth<'_>) -> Self {
        let (dir, port) = (stage.dir().join("sshd"), free_port());
        let (pam, keys) = (dir.join("pam.d"), dir.join("keys"));
        fs::create_dir_all(&pam).unwrap();
        fs::create_dir_all(&keys).unwrap();
        // sshd, and whoever logs in, goes through.
        for path in [&stage.dir(), &dir] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let halves = format!(" {}", dir.join("halves").display());
        let (lines, has_keys) = match auth {
            Auth::Contrib(name) => {
                let with_place = |line: &str| {
                    let is_half = line.ends_with(" ask") || line.ends_with(" answer");
                    format!("{line}{}\n", if is_half { halves.as_str() } else { "" })
                };
                (contrib(stage, name).lines().map(with_place).collect(), name.ends_with("two-lines"))
            }
            Auth::Bare => {
                let line =
                    "auth requisite pam_exec.so expose_authtok stdout quiet /bin/cat\nauth required pam_permit.so\n";
                (line.replace("/bin/cat", "/usr/bin/true"), false)
            }
        };
        let rest = "account required pam_permit.so\nsession required pam_permit.so\n";
        fs::write(pam.join("countersign"), lines + rest).unwrap();
        let keygen = |path: &Path| {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
            assert!(made.success());
        };
        keygen(&dir.join("host"));
        keygen(&dir.join("key"));
        let names =
            ["alice", "bob", "carol"].map(str::to_owned).into_iter().chain((0..CROWD).map(|n| format!("user{n}")));
        let (mut passwd, mut shadow) =
            (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/shadow").unwrap());
        for (number, name) in names.enumerate() {
            passwd += &format!("{name}:x:{}:65534::/:/bin/sh\n", 70000 + number);
            shadow += &format!("{name}:*:19000::::::\n");
            fs::copy(dir.join("key.pub"), keys.join(&name)).unwrap();
        }
        fs::write(dir.join("passwd"), passwd).unwrap();
        fs::write(dir.join("shadow"), shadow).unwrap();
        fs::set_permissions(dir.join("shadow"), fs::Permissions::from_mode(0o600)).unwrap();
        let said =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/pam-exec/sshd_config")).unwrap();
        let key_and_code = "AuthenticationMethods publickey,keyboard-interactive:pam";
        assert!(said.contains(key_and_code));
        let said =
            if has_keys { said } else { said.replace(key_and_code, "AuthenticationMethods keyboard-interactive:pam") };
        let config = format!(
            "{said}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nPidFile none\nStrictModes no\n\
             AuthorizedKeysFile {dir}/keys/%u\nMaxStartups 100\nMaxAuthTries 20\nLoginGraceTime 110\nUseDNS no\nPrintMotd no\n",
            dir = dir.display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        // The name of the program is the name of the service.
        let program = dir.join("countersign");
        symlink("/usr/sbin/sshd", &program).unwrap();
        let script = "mkdir -p /run/sshd && mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/shadow\" /etc/shadow &&\n\
                      mount --bind \"$1/pam.d\" /etc/pam.d && exec \"$2\" -D -E \"$1/log\" -f \"$1/sshd_config\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(&dir).arg(&program);
        let server = Server::start(&mut command);
        listening(port);
        Self { port, dir, _server: server }
    }

    fn ssh(&self, name: &str, command: &mut Command) -> (Option<i32>, String) {
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "NumberOfPasswordPrompts=1",
            "IdentitiesOnly=yes",
            "PreferredAuthentications=publickey,keyboard-interactive",
            "ConnectTimeout=60",
            "IdentityAgent=none",
        ] {
            command.args(["-o", option]);
        }
        command.arg("-F/dev/null").arg("-i").arg(self.dir.join("key")).args(["-p", &self.port.to_string(), "-l", name]);
        let output = command.args(["127.0.0.1", "echo in"]).stdin(Stdio::null()).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), shown.starts_with("in"), "{shown}");
        (output.status.code(), shown)
    }

    /// A login that types `field` at the one prompt; what is shown is beside it.
    fn login(&self, name: &str, field: &str) -> (bool, String) {
        let mut command = Command::new("sshpass");
        // What ssh shows on its terminal is told by -v.
        command.env("SSHPASS", field).args(["-v", "-P", "Password:", "-e", "ssh"]);
        let (status, shown) = self.ssh(name, &mut command);
        assert!(matches!(status, Some(0 | 5 | 255)), "{status:?}: {shown}");
        (status == Some(0), shown)
    }

    fn is_in(&self, name: &str, field: &str) -> bool {
        self.login(name, field).0
    }
}

fn play(sheet: &mut Sheet) {
    let stage = Stage::codes();
    let sshd = Sshd::start(&stage, Auth::Contrib("pam-exec/one-run"));
    let login = |name: &str, field: &str| sshd.is_in(name, field);
    sheet.case(Case::Accept, || logins::accept(&login));
    sheet.case(Case::Reject, || {
        logins::reject(&login);
        let (is_in, shown) = sshd.login("bob", &Phone::new(2).wrong_code(now()));
        assert!(!is_in && shown.contains("Authentication failed"), "{shown}");
    });
    sheet.case(Case::Challenge, challenge);
    sheet.cannot(Case::TwoRounds, ONE_ANSWER);
    sheet.case(Case::PushWait, || {
        let okta = Okta::start();
        let stage = Stage::push(&okta);
        let sshd = Sshd::start(&stage, Auth::Contrib("pam-exec/one-run"));
        logins::push_wait(&okta, &|name, field| sshd.is_in(name, field));
    });
    sheet.case(Case::Parallel, || {
        // As PAM runs the program, without what a whole ssh costs.
        let program = Program::of(&stage);
        logins::parallel(CROWD, &|name, field| program.run(name.as_ref(), field.as_bytes()));
        let stage = Stage::codes();
        let sshd = Sshd::start(&stage, Auth::Contrib("pam-exec/one-run"));
        logins::parallel(40, &|name, field| sshd.is_in(name, field));
    });
    sheet.case(Case::ServiceDown, || {
        let (stage, _refused) = Stage::down();
        let sshd = Sshd::start(&stage, Auth::Contrib("pam-exec/one-run"));
        logins::service_down(Duration::from_secs(90), &|name, field| {
            let (is_in, shown) = sshd.login(name, field);
            assert!(shown.contains("The authentication service cannot be reached"), "{shown}");
            is_in
        });
    });
    sheet.case(Case::BadInput, || bad_input(&stage, &sshd));
    let (stage, other) = (Stage::codes(), Stage::codes());
    let sshd = Sshd::start(&stage, Auth::Contrib("pam-exec/one-run"));
    let bare = Sshd::start(&other, Auth::Bare);
    sheet.time(
        11,
        |round| assert!(sshd.is_in(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(bare.is_in("alice", "x")),
    );
}

/// The two lines, after a public key.
fn challenge() {
    let stage = Stage::codes();
    stage
        .home
        .append("[whitelist source=user_list]\nname = exempt\n[user_list exempt]\nallow = no_user\nexcept = carol\n");
    let sshd = Sshd::start(&stage, Auth::Contrib("pam-exec/two-lines"));
    let (is_in, shown) = sshd.login("alice", &Phone::new(1).wrong_code(now()));
    assert!(!is_in && shown.contains("type one-time password:"), "{shown}");
    let (is_in, shown) = sshd.login("alice", &Phone::new(1).fresh_code());
    assert!(is_in && shown.contains("type one-time password:"), "{shown}");
    // Who is exempt sees no question, and presses Enter.
    let (is_in, shown) = sshd.login("carol", "");
    assert!(is_in && !shown.contains("type one-time password:"), "{shown}");
    // Without the key there is no question at all.
    fs::remove_file(sshd.dir.join("keys/bob")).unwrap();
    let (is_in, shown) = sshd.login("bob", &Phone::new(2).fresh_code());
    assert!(!is_in && !shown.contains("type one-time password:"), "{shown}");
    logins::parallel(24, &|name, field| sshd.is_in(name, field));
    assert_eq!(fs::read_dir(sshd.dir.join("halves")).unwrap().count(), 0);
}

/// The program, as pam_exec.so runs it.
struct Program {
    executable: PathBuf,
    ini: PathBuf,
}

impl Program {
    fn of(stage: &Stage) -> Self {
        Self { executable: stage.executable.clone(), ini: stage.home.ini() }
    }

    fn run(&self, name: &OsStr, typed: &[u8]) -> bool {
        let mut command = Command::new(&self.executable);
        command.env_clear().current_dir("/").args(["gateway", "pam-exec", "--config"]).arg(&self.ini);
        command.env("PAM_USER", name).env("PAM_SERVICE", "sshd").env("PAM_TYPE", "auth").env("PAM_RHOST", "127.0.0.1");
        let finished = finish(&mut command, typed);
        assert_eq!(finished.stderr, "");
        assert_eq!(finished.status == Some(0), finished.stdout.is_empty(), "{finished:?}");
        finished.status == Some(0)
    }
}

fn bad_input(stage: &Stage, sshd: &Sshd) {
    let long = "canary".repeat(90);
    for text in HOSTILE.into_iter().chain([long.as_str()]) {
        assert!(!sshd.is_in("user199", &text.replace("canary", "sesame")), "{text}");
        assert!(!Program::of(stage).run(text.as_ref(), b"123456"), "{text}");
    }
    // sshd passes on something else for somebody who is not there.
    assert!(!sshd.is_in("canary", "123456") && !sshd.is_in("c$(id)`id`", "123456"));
    let log = stage.home.log() + &fs::read_to_string(sshd.dir.join("log")).unwrap();
    assert!(!log.contains("sesame"), "a password is in a log");
}
