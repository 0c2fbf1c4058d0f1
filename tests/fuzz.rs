//! Whatever comes from outside, mutated: request lines of every dialect, plugin.ini, cookies, otpauth URIs, import files, the
//! replies of services.
//!
//! Each target begins with what tests/fuzz/NAME holds (a seed a line, or a file), changes it, and holds the program to what it
//! says of such input: one answer, no panic, and never an accept. A run is repeatable: `COUNTERSIGN_FUZZ=N` sets how many
//! inputs each target gets, `COUNTERSIGN_FUZZ_SEED=N` where the changes begin. What made a target fail is printed, and
//! belongs into its seeds.
#![expect(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used, reason = "a test ends where it fails")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "fuzz/mutate.rs"]
mod mutate;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::config::value::SecretRef;
use countersign::config::{Config, Reading};
use countersign::domain::claimant::Claimant;
use countersign::domain::foreign::Foreign;
use countersign::domain::request::{Dialogue, Request};
use countersign::domain::secret::Secret;
use countersign::domain::time::UnixTime;
use countersign::domain::verdict::Verdict;
use countersign::gateway::checkpassword::Checkpassword;
use countersign::gateway::conduct::{Conduct, OnError, PasswordField};
use countersign::gateway::json::Native;
use countersign::gateway::once::{Answered, Given, OneShot};
use countersign::gateway::openvpn::Openvpn;
use countersign::gateway::pam_exec::PamExec;
use countersign::gateway::pwauth::Pwauth;
use countersign::gateway::radius_exec::RadiusExec;
use countersign::gateway::sps::Sps;
use countersign::gateway::squid::{Channels, Squid, SquidHelper};
use countersign::gateway::{Inbound, Protocol, Said};
use countersign::otp::typed;
use countersign::otp::uri::KeyUri;
use countersign::secret::cookie::{Binding, Cookie, LIFETIME, Progress, Slot};
use countersign::secret::keys::Keys;
use countersign::secret::seal::Sealer;
use countersign::simulate::guise::Guise;
use mutate::Mutator;
use rig::http::Response;
use rig::web::Web;
use rig::{Gateway, Home, attempt};

/// How many inputs a target gets where nobody says.
const USUAL: usize = 20_000;

/// Where the seeds of `target` lie.
fn seeds_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(target)
}

/// Each line of the seeds of `target`.
fn lines_of(target: &str) -> Vec<Vec<u8>> {
    let text = fs::read(seeds_of(target)).unwrap();
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

/// Gives `target` the seeds and their mutations, and prints how many.
fn fuzz(target: &str, seeds: Vec<Vec<u8>>, share: usize, mut run: impl FnMut(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let count = (number("COUNTERSIGN_FUZZ").unwrap_or(USUAL) / share).max(seeds.len());
    let mut mutator = Mutator::new(number("COUNTERSIGN_FUZZ_SEED").unwrap_or(1) as u64, seeds.clone());
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let began = std::time::Instant::now();
    for at in 0..count {
        let input = seeds.get(at).cloned().unwrap_or_else(|| mutator.next());
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
            println!("{target}: input {at} made it fail: {:?}", String::from_utf8_lossy(&input));
            std::panic::resume_unwind(panic);
        }
    }
    let hours = began.elapsed().as_secs_f64() / 3600.0;
    println!("{target}: {count} inputs in {hours:.3} h, 0 crashes");
}

/// A line is one request or one flaw; a request's answer is one line, and not one that others could take for two.
fn dialect(target: &str, protocol: &dyn Protocol) {
    fuzz(target, lines_of(target), 1, |line| {
        let (id, fault) = match protocol.read(line) {
            Inbound::Decide { id, request, unknown: _ } => {
                check(&request);
                (id, countersign::gateway::too_long())
            }
            Inbound::Cancel { id, target: _ } | Inbound::Hello { id } => (id, countersign::gateway::too_long()),
            Inbound::Flawed { id, fault } => (id, fault),
        };
        assert!(!fault.reason.contains('\n'), "{}", fault.reason);
        let verdict = Verdict::Reject(fault.into());
        let mut answer = Vec::new();
        protocol.write(id.as_ref(), Said::bare(&verdict, "trace"), &mut answer);
        assert_eq!(answer.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(answer.last(), Some(&b'\n'));
        let text = std::str::from_utf8(&answer).unwrap().to_lowercase();
        assert!(!text.contains("\"verdict\":\"accept\"") && !text.contains("\"verdict\": \"accept\""), "{text}");
    });
}

/// No secret of a request is printed with it.
fn check(request: &Request) {
    let shown = format!("{request:?}");
    if let Some(cookie) = &request.cookie
        && cookie.expose().len() >= 8
        && request.session.session_id.is_none()
        && request.session.gateway_user.is_none()
    {
        assert!(request.name.is_some() || !shown.contains(cookie.expose().as_str()), "{shown}");
    }
}

#[test]
fn native_lines() {
    dialect("native", &Native);
}

#[test]
fn sps_lines() {
    dialect("sps", &Sps);
}

fn conduct(number: usize) -> Conduct {
    Conduct {
        append_otp: [None, Some(",".to_owned()), Some("::".to_owned())][number % 3].clone(),
        field: [PasswordField::Code, PasswordField::Checked][number % 2],
        wait: Duration::from_secs(1),
        min_runtime: Duration::ZERO,
        on_error: [OnError::Reject, OnError::TempFail][number / 2 % 2],
        has_first_factor: number / 3 % 2 == 1,
    }
}

#[test]
fn squid_lines() {
    for (helper, channels) in [
        (SquidHelper::Basic, Channels::Numbered),
        (SquidHelper::Basic, Channels::One),
        (SquidHelper::ExternalAcl, Channels::Numbered),
    ] {
        let squid = Squid { helper, conduct: conduct(1), channels, key: Secret::new(vec![7; 32]) };
        fuzz("squid", lines_of("squid"), 1, |line| {
            let (id, fault) = match squid.read(line) {
                Inbound::Decide { id, request, unknown: _ } => {
                    assert_eq!(request.dialogue, Dialogue::Closed);
                    (id, countersign::gateway::too_long())
                }
                Inbound::Flawed { id, fault } => (id, fault),
                other @ (Inbound::Cancel { .. } | Inbound::Hello { .. }) => panic!("{other:?}"),
            };
            let mut answer = Vec::new();
            squid.write(id.as_ref(), Said::bare(&Verdict::Reject(fault.into()), "trace"), &mut answer);
            assert_eq!(answer.iter().filter(|b| **b == b'\n').count(), 1);
            let text = String::from_utf8(answer).unwrap();
            let said = if id.is_some() { text.split_once(' ').unwrap().1 } else { &text };
            assert!(said.starts_with("ERR") || said.starts_with("BH"), "{text}");
        });
    }
}

/// What a server gives a program: input, arguments and environment, parted by tabulators.
#[test]
fn one_shot_gateways() {
    let codecs: [(&str, &dyn OneShot); 5] = [
        ("radius-exec", &RadiusExec),
        ("openvpn", &Openvpn { kept: None }),
        ("pam-exec", &PamExec),
        ("pwauth", &Pwauth),
        ("checkpassword", &Checkpassword),
    ];
    let mut number = 0;
    for (name, codec) in codecs {
        fuzz(name, lines_of(name), 2, |line| {
            number += 1;
            let mut parts = line.split(|b| *b == b'\t');
            let input: Vec<u8> = String::from_utf8_lossy(parts.next().unwrap_or_default())
                .replace("\\0", "\0")
                .replace("\\n", "\n")
                .into();
            let arguments = vec!["/bin/true".into()];
            let environment = parts
                .map(|part| {
                    let at = part.iter().position(|b| *b == b'=').unwrap_or(part.len());
                    let value = part.get(at + 1..).unwrap_or_default().to_vec();
                    (OsString::from_vec(part[..at].to_vec()), Secret::new(value))
                })
                .collect();
            let given = Given {
                arguments,
                environment,
                repeated: Default::default(),
                input: Secret::new(input),
                left: None,
                nonce: [7; 15],
            };
            let conduct = conduct(number);
            let fault = match codec.read(&given, &conduct) {
                Ok(request) => {
                    check(&request);
                    countersign::gateway::too_long()
                }
                Err(fault) => fault,
            };
            let parting = codec.part(&given, &Answered::fault(fault), &conduct);
            assert!(parting.status != 0 && parting.program.is_none(), "{parting:?}");
            assert!(!parting.files.iter().any(|(_, content)| content.starts_with(b"1")), "{parting:?}");
            assert!(parting.output.len() <= 4096 && parting.output.iter().filter(|b| **b == b'\n').count() <= 1);
        });
    }
}

#[test]
fn configurations() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for entry in fs::read_dir(seeds_of("ini")).unwrap() {
        seeds.push(fs::read(entry.unwrap().path()).unwrap());
    }
    seeds.push(fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin.ini.example")).unwrap());
    fuzz("ini", seeds, 20, |text| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        for reading in [Reading::Native, Reading::Sps] {
            match Config::parse_as(Path::new("/etc/plugin.ini"), text, reading) {
                // What can be used is the same the second time.
                Ok(config) => {
                    let again = Config::parse_as(Path::new("/etc/plugin.ini"), text, reading).unwrap();
                    assert_eq!(config.fingerprint(), again.fingerprint());
                }
                // Every mistake is told in a line that nobody forges.
                Err(mistakes) => {
                    let told = mistakes.to_string();
                    assert!(!told.is_empty());
                    assert!(told.lines().all(|line| line.contains("plugin.ini")), "{told}");
                }
            }
        }
    });
}

#[test]
fn otpauth_uris() {
    fuzz("otpauth", lines_of("otpauth"), 1, |text| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        match KeyUri::parse(text) {
            Ok(uri) => assert!(uri.secret.expose().len() <= 256),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn typed_codes() {
    fuzz("typed", lines_of("typed"), 1, |text| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        for digits in 6..=8 {
            if let Some(code) = typed::code(text, digits) {
                assert_eq!(code.len(), digits as usize);
                assert!(code.bytes().all(|b| b.is_ascii_digit()));
            }
        }
        let shown = Foreign(text).to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    });
}

#[test]
fn cookies() {
    let home = Home::init();
    let key = home.dir().join("master.key");
    let sealer = Sealer::new(Keys::load(&SecretRef::File(key.clone()), |_| key.clone()).unwrap());
    let (claimant, now) = (Claimant("alice".into()), UnixTime(1_800_000_000));
    let binding = Binding { session: Some("s1"), claimant: &claimant, configuration: b"c", errand: "" };
    let cookie = Cookie {
        progress: Progress::Asked,
        answered: 0,
        slot: Slot::None,
        expires: now.plus(LIFETIME),
        handle: Some([7; 16]),
    };
    let good = cookie.seal(&sealer, binding).unwrap();
    assert!(Cookie::open(&Secret::new(good.clone()), &sealer, binding, now).is_ok());
    let seeds = vec![good.clone().into_bytes(), b"AAAA".to_vec()];
    fuzz("cookies", seeds, 1, |text| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        if text != good {
            assert!(Cookie::open(&Secret::new(text.to_owned()), &sealer, binding, now).is_err(), "{text:?}");
        }
    });
}

/// Through the executable, since each form has its own reader there: exit statuses are those that are promised, and nothing
/// of the input is enrolled by a trial run.
#[test]
fn import_files() {
    let home = Home::init();
    for (form, options) in [
        ("uri", &["--user-from-label"][..]),
        ("google-export", &["--user-from-label"]),
        ("google-authenticator", &["--user", "alice"]),
        ("users-oath", &[]),
        ("home-assistant", &[]),
    ] {
        let seeds = vec![fs::read(seeds_of("import").join(form)).unwrap()];
        fuzz(&format!("import {form}"), seeds, 400, |text| {
            let mut arguments = vec!["import", form, "--dry-run"];
            arguments.extend(options);
            let ran = home.run(&arguments, text);
            assert!(matches!(ran.status, Some(0 | 64 | 65)), "{ran:?}");
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        });
    }
    assert!(!home.run(&["list"], "").ok().stdout.contains("alice"));
}

/// What a service said last, to which of its paths.
type Spoilt = Arc<Mutex<(Vec<u8>, Vec<u8>)>>;

/// A path's end and a body, of a line of seeds; at what is no path any more, the body is for any.
fn reply(line: &[u8], address: &str) -> (Vec<u8>, Vec<u8>) {
    let (path, body) = line.split_at(line.iter().position(|b| *b == b'\t').unwrap_or(0));
    let text = String::from_utf8_lossy(body).into_owned();
    let body = if text.as_bytes() == body {
        text.replace("ADDRESS", address).replace("\\r", "\r").replace("\\n", "\n").into_bytes()
    } else {
        body.to_vec()
    };
    (path.to_vec(), body.strip_prefix(b"\t").map_or(body.clone(), <[u8]>::to_vec))
}

/// How often one subscriber is heard without a wait.
const HEARD: usize = 1000;

/// One reply of a service is spoilt, the others of the same login are as they should be.
fn replies(guise: Guise) {
    let target = format!("replies/{}", guise.word());
    let seeds = lines_of(&target);
    let spoilt = Spoilt::default();
    let (served, known) = (Arc::clone(&spoilt), seeds.clone());
    let kind = if guise == Guise::Yubico { "text/plain" } else { "application/json" };
    let web = Web::serve(move |request| {
        let address = format!("http://{}", request.header("host").unwrap());
        let (path, body) = served.lock().unwrap().clone();
        let is_asked = |path: &[u8]| request.path.as_bytes().ends_with(path);
        if is_asked(&path) {
            return Response::new(200, kind, body);
        }
        let usual = known.iter().map(|line| reply(line, &address)).find(|(path, _)| is_asked(path));
        usual.map_or_else(|| Response::empty(404), |(_, body)| Response::new(200, kind, body))
    });
    let home = Home::init();
    home.set("plugin", "clients", guise.section());
    home.set("plugin", "deadline", "20");
    home.set("throttle", "failures", &HEARD.to_string());
    home.set("throttle", "source_failures", "1000000");
    let url = web.url("");
    let url = url.trim_end_matches('/');
    home.append(&format!(
        "\n[{}]\n{}allow_insecure_http = yes\ntimeout = 5\n{}",
        guise.section(),
        guise.options(url),
        guise.more()
    ));
    let mut gateway = Gateway::start(&home);
    let mut asked = 0;
    fuzz(&target, seeds, 40, |line| {
        asked += 1;
        if asked % (HEARD - 1) == 0 {
            home.run(&["unlock", "alice"], "");
        }
        *spoilt.lock().unwrap() = reply(line, url);
        let answer = gateway.ask(&attempt(1, "alice", guise.code().unwrap_or_default()));
        assert_ne!(answer.code(), "panic", "{answer:?}");
        // What is signed is not let in by what anybody can say.
        let is_signed = matches!(guise, Guise::Yubico | Guise::Oidc);
        assert!(!is_signed || answer.verdict() != "accept", "{answer:?}");
    });
    web.excuse();
    gateway.end().1.ok();
}

#[test]
fn service_replies() {
    for guise in [Guise::Http, Guise::Privacyidea, Guise::Duo, Guise::Okta, Guise::Yubico, Guise::Oidc] {
        replies(guise);
    }
}
