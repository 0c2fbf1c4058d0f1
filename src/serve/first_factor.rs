//! The password, where a program checks it before the second factor is looked at.

use std::process::Stdio;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::child;
use crate::clock;
use crate::config::gateway::{Asked, FirstFactor};
use crate::domain::fault::{Class, Fault};
use crate::domain::request::Request;
use crate::domain::time::Moment;
use crate::domain::verdict::Reject;
use crate::engine::Engine;

/// What the log and the answer call it.
const SERVICE: &str = "first_factor";

/// The longest answer of a program that is read, in bytes.
const ANSWER: u64 = 8 * 1024;

/// How many programs run at once: a crowd of logins is no crowd of processes.
const AT_ONCE: usize = 16;

/// The programs that may still be started.
static FREE: Semaphore = Semaphore::const_new(AT_ONCE);

/// Whether there is a password to check. Where there is none, an earlier request of the dialogue has to have had it.
pub fn has_password(request: &Request) -> bool {
    request.answers.answer("password").is_some()
}

/// Has `program` check the password of `request`, as the limits of `engine` allow. One that is wrong is counted with the codes;
/// where the program fails, nobody knows whether it was.
///
/// # Errors
/// Where it is wrong or missing, has to wait, or nobody knows.
pub async fn check(engine: &Engine, program: &FirstFactor, request: &Request, moment: Moment) -> Result<(), Reject> {
    if !has_password(request) {
        return Err(missing());
    }
    // Those who are let go on at once are no more than there are programs: the next ones find counted what these did.
    let _one = turn(program, moment.until()).await?;
    let origin = engine.hear_password(request, moment).await?;
    if is_right(program, request, moment.until()).await? {
        return Ok(());
    }
    engine.count_wrong_password(&origin, moment).await?;
    Err(wrong())
}

/// Waits until a program may be started.
async fn turn(program: &FirstFactor, until: Instant) -> Result<SemaphorePermit<'static>, Reject> {
    match tokio::time::timeout(clock::left(until), FREE.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => {
            Err(unusable(format!("{}: {AT_ONCE} of it ran all the time", program.program.display())))
        }
    }
}

/// Whether `program` says yes to the password of `request`.
async fn is_right(program: &FirstFactor, request: &Request, until: Instant) -> Result<bool, Reject> {
    let Some(password) = request.answers.answer("password") else {
        return Ok(false);
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
        return Ok(false);
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
    ask(program, &line, until).await
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
