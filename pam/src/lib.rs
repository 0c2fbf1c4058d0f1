//! The second factor of countersign as a PAM module: a dialogue of the host's with the person, by the verdicts of
//! `countersign serve` (protocol.md). It decides nothing.
//!
//! | | |
//! |---|---|
//! | `auth` | a process for each login, asked until it says accept or reject |
//! | accept | `PAM_SUCCESS` |
//! | reject | `PAM_AUTH_ERR`; too many questions `PAM_MAXTRIES` |
//! | need_info | a prompt, with its echo flag; lines before the last one as text |
//! | a fault, of the service, of countersign or here | `PAM_AUTHINFO_UNAVAIL` |
//! | nobody answers | `PAM_CONV_ERR` |
//! | a wrong word in pam.d | `PAM_SERVICE_ERR` |
//! | a panic | `PAM_ABORT` |
//! | setcred | `PAM_SUCCESS`: there are no credentials to set |
//! | `account`, `password`, `session` | `PAM_IGNORE`: nothing is known of these, and another module must be there |
//!
//! | module | |
//! |---|---|
//! | `options` | the words in pam.d |
//! | `wire` | the lines of protocol.md |
//! | `login` | the dialogue, without a host and without a process |
//! | `process` | the process; the one place with `unsafe` |
//! | `journal` | the system's log |

mod journal;
mod login;
mod options;
mod process;
mod wire;

use std::ffi::CStr;
use std::sync::Once;

use pam::constants::{
    PAM_ERROR_MSG, PAM_PROMPT_ECHO_OFF, PAM_PROMPT_ECHO_ON, PAM_SILENT, PAM_TEXT_INFO, PamFlag, PamResultCode,
};
use pam::conv::Conv;
use pam::items::{AuthTok, Item, RHost, Service, Tty, User};
use pam::module::{PamHandle, PamHooks};
use zeroize::Zeroizing;

use crate::login::{Ending, NoAnswer, Person, Tone, login};
use crate::options::{FirstPass, Messages, Options};
use crate::process::Process;
use crate::wire::{Echo, Facts};

struct Module;

pam::pam_hooks!(Module);

impl PamHooks for Module {
    fn sm_authenticate(host: &mut PamHandle, words: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        watch_panics();
        let service = item(host, |Service(text)| text).unwrap_or_default();
        match authenticate(host, &service, &words, flags) {
            Ok(Ending::Accepted) => PamResultCode::PAM_SUCCESS,
            Ok(Ending::Denied) => PamResultCode::PAM_AUTH_ERR,
            Ok(Ending::TooMany) => PamResultCode::PAM_MAXTRIES,
            Ok(Ending::Gone) => PamResultCode::PAM_CONV_ERR,
            Ok(Ending::Fault(why)) => {
                journal::complain(&service, &why);
                PamResultCode::PAM_AUTHINFO_UNAVAIL
            }
            Err(mistake) => {
                journal::complain(&service, &mistake);
                PamResultCode::PAM_SERVICE_ERR
            }
        }
    }

    fn sm_setcred(_host: &mut PamHandle, _words: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }
}

/// Leads the login; an `Err` is a mistake in pam.d.
fn authenticate(host: &mut PamHandle, service: &str, words: &[&CStr], flags: PamFlag) -> Result<Ending, String> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let mut options = Options::read(words.iter().map(|word| &**word))?;
    if flags & PAM_SILENT != 0 {
        options.messages = Messages::Silent;
    }
    let user = match host.get_user(None) {
        Ok(user) => user,
        // Nobody has a name that is no UTF-8.
        Err(_) if item(host, |User(text)| text).is_some() => return Ok(Ending::Denied),
        Err(_) => return Ok(Ending::Gone),
    };
    let facts = Facts {
        service: service.to_owned(),
        user,
        remote_host: item(host, |RHost(text)| text),
        tty: item(host, |Tty(text)| text),
    };
    let Ok(Some(conversation)) = host.get_item::<Conv<'_>>() else { return Ok(Ending::Gone) };
    let collected = match options.first_pass {
        FirstPass::Use => match host.get_item::<AuthTok<'_>>() {
            Ok(Some(token)) => match std::str::from_utf8(token.as_bytes()) {
                Ok(text) => Some(Zeroizing::new(text.to_owned())),
                Err(_) => return Ok(Ending::Denied),
            },
            Ok(None) | Err(_) => None,
        },
        FirstPass::None | FirstPass::Prompt => None,
    };
    let mut random = [0; 16];
    if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()) != Ok(random.len()) {
        return Ok(Ending::Fault("there is no randomness".into()));
    }
    let session_id = format!("{:032x}", u128::from_ne_bytes(random));
    let mut process = match Process::start(&options) {
        Ok(process) => process,
        Err(why) => return Ok(Ending::Fault(why)),
    };
    let ending = login(&options, &facts, &session_id, collected, &mut Conversation(conversation), &mut process);
    Ok(match ending {
        Ending::Fault(why) => Ending::Fault(format!("{why}\n{}", process.said())),
        Ending::Accepted | Ending::Denied | Ending::TooMany | Ending::Gone => ending,
    })
}

/// The host's conversation function.
struct Conversation<'a>(Conv<'a>);

impl Person for Conversation<'_> {
    fn ask(&mut self, prompt: &str, echo: Echo) -> Result<Zeroizing<String>, NoAnswer> {
        let style = match echo {
            Echo::Show => PAM_PROMPT_ECHO_ON,
            Echo::Hide => PAM_PROMPT_ECHO_OFF,
        };
        match self.0.send(style, prompt) {
            // Copied into what is wiped as well; what it is copied from is wiped here.
            Ok(Some(typed)) => match typed.as_str() {
                Ok(text) => Ok(Zeroizing::new(text.to_owned())),
                Err(_) => Err(NoAnswer::Unreadable),
            },
            Ok(None) | Err(_) => Err(NoAnswer::Gone),
        }
    }

    fn tell(&mut self, tone: Tone, text: &str) {
        let style = match tone {
            Tone::Information => PAM_TEXT_INFO,
            Tone::Error => PAM_ERROR_MSG,
        };
        // Who cannot show it lets in and refuses as who can.
        let _ = self.0.send(style, text);
    }
}

/// An item of the host's, where there is one that is not empty.
fn item<'a, I: Item<'a>>(host: &'a PamHandle, text: impl FnOnce(I) -> &'a CStr) -> Option<String> {
    let found = host.get_item::<I>().ok()??;
    Some(text(found).to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Sees to it that a panic goes to the log and not to the host's standard error. The hook is of this library alone.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            journal::complain("pam_countersign", &format!("failed at {place}"));
        }));
    });
}
