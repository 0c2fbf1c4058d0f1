//! Apache with mod_authnz_external, and curl.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::logins::{self, contrib, listening};
use crate::rig::nobody::is_root;
use crate::rig::okta::Okta;
use crate::rig::{Phone, now};
use crate::stage::{Server, Stage, crowd, free_port, script, user_id};
use crate::table::{Case, Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "apache",
    programs: &[
        ("/usr/sbin/apache2", "apache2"),
        ("/usr/lib/apache2/modules/mod_authnz_external.so", "libapache2-mod-authnz-external"),
        ("curl", "curl"),
    ],
    needs: Needs::Nothing,
    play,
};

const NO_DIALOGUE: &str =
    "HTTP's Basic authentication has one field and no second question; a push, or password and code in it";

/// A running Apache: `/private` is as contrib has it, `/each` asks each time, and `/file` is Apache's own.
struct Apache {
    port: u16,
    _server: Server,
}

impl Apache {
    fn start(stage: &Stage) -> Self {
        let (dir, port) = (stage.dir().join("apache"), free_port());
        fs::create_dir_all(dir.join("htdocs")).unwrap();
        for place in ["private", "each", "file"] {
            fs::write(dir.join("htdocs").join(place), "welcome").unwrap();
        }
        fs::write(dir.join("countersign.conf"), contrib(stage, "apache/countersign.conf")).unwrap();
        // alice's password, "pw", of the Apache without countersign.
        fs::write(dir.join("passwd"), "alice:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n").unwrap();
        let modules = [
            "mpm_prefork",
            "authn_core",
            "authz_core",
            "authz_user",
            "auth_basic",
            "authn_file",
            "socache_shmcb",
            "authn_socache",
            "authnz_external",
        ];
        let modules = modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
        let identity = if is_root() { "User www-data\nGroup www-data\n" } else { "" };
        let text = format!(
            "ServerRoot {dir}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {dir}/pid\nErrorLog {dir}/error.log\n\
             DefaultRuntimeDir {dir}\nMutex file:{dir} default\nDocumentRoot {dir}/htdocs\n{}{identity}\
             Include {dir}/countersign.conf\n\
             <LocationMatch \"^/(each|file)\">\nAuthType Basic\nAuthName each\nAuthExternal countersign\n\
             AuthUserFile {dir}/passwd\nRequire valid-user\n</LocationMatch>\n\
             <Location \"/each\">\nAuthBasicProvider external\n</Location>\n\
             <Location \"/file\">\nAuthBasicProvider file\n</Location>\n",
            modules.concat(),
            dir = dir.display(),
        );
        fs::write(dir.join("httpd.conf"), text).unwrap();
        if let (true, Some(id)) = (is_root(), user_id("www-data")) {
            stage.give_to(id);
        }
        let mut command = Command::new("/usr/sbin/apache2");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-DFOREGROUND").arg("-f");
        let server = Server::start(command.arg(dir.join("httpd.conf")));
        listening(port);
        Self { port, _server: server }
    }

    /// The status of a request for `place`.
    fn status(&self, place: &str, name: &str, field: &str) -> u16 {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--max-time",
            "100",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--basic",
        ]);
        let output = command
            .arg("--user")
            .arg(format!("{name}:{field}"))
            .arg(format!("http://127.0.0.1:{}/{place}", self.port))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().parse().unwrap()
    }

    /// Whether `place` is shown; anything but that and "who are you" fails.
    fn shows(&self, place: &str, name: &str, field: &str) -> bool {
        match self.status(place, name, field) {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }
}

fn play(sheet: &mut Sheet) {
    let stage = Stage::codes();
    let apache = Apache::start(&stage);
    let each = |name: &str, field: &str| apache.shows("each", name, field);
    sheet.case(Case::Accept, || {
        let code = Phone::new(1).fresh_code();
        // The cache knows the code for the next request, and nothing else.
        assert!(apache.shows("private", "alice", &code));
        assert!(apache.shows("private", "alice", &code));
        assert!(!apache.shows("private", "alice", &Phone::new(1).wrong_code(now())));
        assert!(!apache.shows("each", "alice", &code), "used");
        assert_eq!(stage.home.log().matches("verdict=\"accept\"").count(), 1);
        password_and_code();
    });
    sheet.case(Case::Reject, || logins::reject(&each));
    sheet.cannot(Case::Challenge, NO_DIALOGUE);
    sheet.cannot(Case::TwoRounds, NO_DIALOGUE);
    sheet.case(Case::PushWait, || {
        let okta = Okta::start();
        let stage = Stage::push(&okta);
        let apache = Apache::start(&stage);
        logins::push_wait(&okta, &|name, field| apache.shows("private", name, field));
    });
    sheet.case(Case::Parallel, || logins::parallel(200, &|name, field| apache.shows("private", name, field)));
    sheet.case(Case::ServiceDown, || {
        let (stage, _refused) = Stage::down();
        let apache = Apache::start(&stage);
        logins::service_down(Duration::from_secs(60), &|name, field| apache.shows("private", name, field));
    });
    let stage = Stage::codes();
    let apache = Apache::start(&stage);
    sheet.case(Case::BadInput, || bad_input(&stage, &apache));
    sheet.time(
        15,
        |round| assert!(apache.shows("each", &format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(apache.shows("file", "alice", "pw")),
    );
}

/// Both in one field, where a program checks the password.
fn password_and_code() {
    let stage = Stage::codes();
    let checker: PathBuf = stage.dir().join("checker");
    script(&checker, "#!/bin/sh\nread -r user; read -r password; [ \"$password\" = \"secret of $user\" ]\n");
    stage.home.append(&format!("[gateway pwauth]\nappend_otp = ,\nfirst_factor = pwauth:{}\n", checker.display()));
    let apache = Apache::start(&stage);
    let code = Phone::new(1).fresh_code();
    assert!(!apache.shows("private", "alice", &format!("secret of bob,{code}")));
    assert!(!apache.shows("private", "alice", &code));
    assert!(apache.shows("private", "alice", &format!("secret of alice,{code}")));
}

fn bad_input(stage: &Stage, apache: &Apache) {
    let long = "canary".repeat(1000);
    let texts = [
        "canary\"'\\",
        "canary,\\\",",
        "canary\nX",
        "canary\r\nX: y",
        "$(id)`id`canary;id",
        "CRV1::canary::1",
        "canary%00%n",
        "-canary",
        "\u{202e}canary",
        &long,
    ];
    for text in texts {
        assert!(!apache.shows("each", "user199", &text.replace("canary", "sesame")), "{text}");
        let status = apache.status("each", &text.replace(':', ";"), "123456");
        // What is longer than a header may be is refused by the server itself.
        assert!(status == 401 || status == 400, "{text}: {status}");
    }
    // A name that goes on in the next line brings no password of its own.
    let code = crowd(198).fresh_code();
    assert!(!apache.shows("each", &format!("user198\n{}", crowd(197).fresh_code()), &code));
    assert!(apache.shows("each", "user198", &code), "nothing was decided for a name that was none");
    let log = stage.home.log() + &fs::read_to_string(stage.dir().join("apache/error.log")).unwrap();
    assert!(!log.contains(&code) && !log.contains("sesame"), "a code or a password is in a log");
}
