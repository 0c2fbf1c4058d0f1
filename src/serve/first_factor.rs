//! The password, where a program checks it before the second factor is looked at.

use std::process::Stdio;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::child;
use crate::clock;
use crate::config::gateway::{Asked, FirstFactor};
use crate::domain::fault::{Class, Fault};
use crate::domain::request::Request;
use crate::domain::verdict::Reject;

/// What the log and the answer call it.
const SERVICE: &str = "first_factor";

/// The longest answer of a program that is read, in bytes.
const ANSWER: u64 = 8 * 1024;

/// Whether there is a password to check. Where there is none, an earlier request of the dialogue has to have had it.
pub fn has_password(request: &Request) -> bool {
    request.answers.answer("password").is_some()
}

/// Has `program` check the password of `request`, until `until`.
///
/// # Errors
/// Where it is wrong or missing, or nobody knows.
pub async fn check(program: &FirstFactor, request: &Request, until: Instant) -> Result<(), Reject> {
    let Some(password) = request.answers.answer("password") else {
        return Err(missing());
    };
    let user = request.session.gateway_user.as_deref().unwrap_or_default();
    // Goes to the program that checks it, through a pipe.
    let password = password.expose();
    let mut line = Zeroizing::new(Vec::with_capacity(3 * (user.len() + password.len()) + 2));
    // What a program would read as the end of a text is no name and no password.
    let ends: &[char] = match program.asked {
        Asked::Pwauth => &['\n', '\r', '\0'],
        Asked::Squid => &['\0'],
    };
    if [user, password].iter().any(|text| text.contains(ends)) {
        return Err(wrong());
    }
    match program.asked {
        Asked::Pwauth => {
            line.extend([user.as_bytes(), b"\n", password.as_bytes(), b"\n"].concat());
        }
        Asked::Squid => {
            let mut add = |text: &str, end: u8| {
                percent_encode(text.as_bytes(), NON_ALPHANUMERIC).for_each(|part| line.extend(part.bytes()));
                line.push(end);
            };
            add(user, b' ');
            add(password, b'\n');
        }
    }
    let says_yes = ask(program, &line, until).await?;
    if says_yes { Ok(()) } else { Err(wrong()) }
}

async fn ask(program: &FirstFactor, line: &[u8], until: Instant) -> Result<bool, Reject> {
    let FirstFactor { asked, program, arguments } = program;
    let failed = |reason: String| unusable(format!("{}: {reason}", program.display()));
    let (mut child, group) = child::start(program, arguments.iter().map(String::as_str), Stdio::piped())
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let run = async {
        if let Some(mut stdin) = stdin {
            // Who does not read it says by the answer what that means.
            let _ = stdin.write_all(line).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            let _ = stdout.take(ANSWER).read_to_end(&mut answer).await;
        }
        (child.wait().await, answer)
    };
    let Ok((ended, answer)) = tokio::time::timeout(clock::left(until), run).await else {
        return Err(failed("did not end in time, and was killed".into()));
    };
    group.release();
    let status = ended.map_err(|error| failed(error.to_string()))?;
    // A line that has no end may be the beginning of another one.
    let line = answer.split_inclusive(|b| *b == b'\n').next().filter(|line| line.ends_with(b"\n")).unwrap_or_default();
    let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    match asked {
        Asked::Pwauth => Ok(status.success()),
        Asked::Squid if word == b"OK" => Ok(true),
        Asked::Squid if word == b"ERR" => Ok(false),
        Asked::Squid => Err(failed(format!("answered neither OK nor ERR, and ended with {status}"))),
    }
}

fn wrong() -> Reject {
    denied("wrong_password", "the program that checks the password said no")
}

/// The denial of a request that comes after a password, where none came before.
pub fn missing() -> Reject {
    denied("password_required", "there is no password, and no cookie of a dialogue that began with one")
}

fn denied(code: &'static str, reason: &str) -> Reject {
    Reject {
        class: Class::AuthenticationFailure,
        code,
        service: Some(SERVICE.into()),
        reason: reason.into(),
        remarks: None,
        retry_after: None,
    }
}

fn unusable(reason: String) -> Reject {
    Fault { class: Class::CommunicationError, code: "first_factor_failed", service: Some(SERVICE.into()), reason }
        .into()
}
