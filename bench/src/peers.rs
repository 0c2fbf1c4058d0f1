//! What else verifies a second factor, or stands where countersign stands: programs of Debian and packages of PyPI, each as one
//! whole process. Whichever is not installed is left out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use crate::Result;
use crate::arguments::Arguments;
use crate::rounds::{Job, Row};
use crate::subscriber;

/// The secret of every peer that has one; it guards nothing.
const SECRET: &[u8] = b"12345678901234567890";

/// The peer that the targets compare with, besides the SDK.
pub const PAM_HOTP: &str = "pamtester + pam_google_authenticator, HOTP";
/// One call of the Python SDK.
pub const SDK: &str = "Python plugin SDK, authenticate()";

/// What `bench/peers/sdk_authenticate.py` is asked.
const SDK_REQUEST: &[u8] = br#"{"cookie":{},"session_cookie":{},"session_id":"s1","protocol":"ssh","connection_name":"bench","client_ip":"192.0.2.7","client_port":4022,"client_hostname":null,"gateway_user":"user0","gateway_domain":null,"server_username":"root","server_domain":null,"key_value_pairs":{"otp":"123456"}}
"#;

/// "secret" as Apache's and Squid's password files have it, by MD5.
const PASSWORDS: &str = "user:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1\n";

/// Where Debian has Squid's helpers.
const SQUID: &str = "/usr/lib/squid";

/// A row for each peer that is there. Their files go into `arguments.data`.
pub fn rows<'a>(arguments: &Arguments) -> Result<Vec<Row<'a>>> {
    let mut rows = Vec::new();
    if let Some(service) = &arguments.pam {
        rows.extend(pam(service, &arguments.data)?);
    }
    if is_on_path("oathtool") {
        rows.push(Row::new("oathtool, TOTP of a secret on its command line", oathtool, |said| !said.is_empty()));
    }
    if is_on_path("login_duo") {
        rows.push(login_duo(&arguments.data)?);
    }
    rows.extend(squid(&arguments.data)?);
    if let Some(python) = &arguments.python {
        if let Some(script) = &python.pyotp {
            let command = (python.program.clone(), script.clone());
            let next = move || Ok(Job { command: quiet(Command::new(&command.0).arg(&command.1)), input: totp_line() });
            rows.push(Row::new("python3 + pyotp, verify()", next, |said| said == b"True\n").every(5));
        }
        if let Some(script) = &python.sdk {
            let command = (python.program.clone(), script.clone());
            let next =
                move || Ok(Job { command: quiet(Command::new(&command.0).arg(&command.1)), input: SDK_REQUEST.into() });
            rows.push(Row::new(SDK, next, |said| said.starts_with(br#"{"verdict": "ACCEPT""#)).every(5));
        }
    }
    Ok(rows)
}

/// Modules behind `pamtester`, each by a service of its own that `bench/run` has made where the module is installed.
fn pam<'a>(service: &str, data: &Path) -> Result<Vec<Row<'a>>> {
    let secret = BASE32_NOPAD.encode(SECRET);
    keep(&data.join("hotp"), &format!("{secret}\n\" HOTP_COUNTER 1\n\" WINDOW_SIZE 3\n"))?;
    keep(&data.join("totp"), &format!("{secret}\n\" WINDOW_SIZE 3\n\" TOTP_AUTH\n"))?;
    keep(&data.join("oath"), &format!("HOTP root - {}\n", HEXLOWER.encode(SECRET)))?;
    keep(&data.join("pam_duo.conf"), &duo())?;
    let mut rows = Vec::new();
    let mut add = |name: &'static str, ending: &str, mut answer: Box<dyn FnMut() -> Vec<u8>>| {
        let service = format!("{service}{ending}");
        if Path::new("/etc/pam.d").join(&service).exists() {
            let next = move || {
                let command = quiet(Command::new("pamtester").args([&service, "root", "authenticate"]));
                Ok(Job { command, input: answer() })
            };
            rows.push(Row::new(name, next, |said| said.ends_with(b"successfully authenticated\n")));
        }
    };
    // Counters that the modules write back each time.
    let hotp = |first: u64| {
        let mut next = first;
        Box::new(move || {
            next += 1;
            format!("{:06}\n", subscriber::code(SECRET, next - 1)).into_bytes()
        })
    };
    add(PAM_HOTP, "", hotp(1));
    add("pamtester + pam_google_authenticator, TOTP, codes may be used again", "-totp", Box::new(totp_line));
    add("pamtester + pam_oath, HOTP", "-oath", hotp(0));
    add("pamtester + pam_duo, its service unreachable, fails open", "-duo", Box::new(Vec::new));
    add("pamtester + pam_permit (its floor)", "-floor", Box::new(Vec::new));
    Ok(rows)
}

fn oathtool() -> Result<Job> {
    let (secret, code) = (BASE32_NOPAD.encode(SECRET), totp_line());
    let code = String::from_utf8_lossy(&code).trim_end().to_owned();
    let command = quiet(Command::new("oathtool").args(["--totp", "--window=1", "--base32", &secret, &code]));
    Ok(Job { command, input: Vec::new() })
}

fn login_duo<'a>(data: &Path) -> Result<Row<'a>> {
    let file = data.join("login_duo.conf");
    keep(&file, &duo())?;
    let next = move || {
        let command = quiet(Command::new("login_duo").arg("-c").arg(&file).args(["-f", "root", "echo", "in"]));
        Ok(Job { command, input: Vec::new() })
    };
    Ok(Row::new("login_duo, its service unreachable, fails open", next, |said| said == b"in\n"))
}

/// Nobody listens there, and whoever asks is let in: what it costs to find that out.
fn duo() -> String {
    let (integration, secret) = ("DI".to_owned() + &"X".repeat(18), "0".repeat(40));
    format!("[duo]\nikey = {integration}\nskey = {secret}\nhost = 127.0.0.1:9\nfailmode = safe\n")
}

/// Two of Squid's own helpers, each asked one line.
fn squid<'a>(data: &Path) -> Result<Vec<Row<'a>>> {
    let file = data.join("squid.passwords");
    fs::write(&file, PASSWORDS)?;
    let mut rows = Vec::new();
    for (name, helper, argument) in [
        ("Squid's basic_ncsa_auth, one password by MD5", "basic_ncsa_auth", Some(file)),
        ("Squid's basic_fake_auth, which accepts anything", "basic_fake_auth", None),
    ] {
        let program = Path::new(SQUID).join(helper);
        if program.exists() {
            let next = move || {
                let command = quiet(Command::new(&program).args(&argument));
                Ok(Job { command, input: b"user secret\n".to_vec() })
            };
            rows.push(Row::new(name, next, |said| said.starts_with(b"OK")));
        }
    }
    Ok(rows)
}

/// The code of now.
fn totp_line() -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{:06}\n", subscriber::code(SECRET, seconds / 30)).into_bytes()
}

fn keep(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

fn quiet(command: &mut Command) -> Command {
    let mut quiet = Command::new(command.get_program());
    quiet.args(command.get_args()).stderr(Stdio::null());
    quiet
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|place| place.join(program).exists()))
}
