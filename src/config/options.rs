//! Every option of plugin.ini: what it means, its type and its default, declared once.

use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::value::{
    Clients, Count, Destination, Format, Level, LogLevel, Names, Seconds, SecretRef, StorePlace, Value, YesNo,
};
use crate::domain::authenticator::Algorithm;
use crate::domain::verdict::Echo;

sections! {
    /// What runs, and where its state lies. Paths that do not begin with / start at the directory of this file.
    plugin = Plugin {
        /// The clients that verify, the default first. Each has a section of its name below.
        clients: Clients = "totp";
        /// How long one verdict may take in all. A gateway that sends deadline_ms can shorten it.
        deadline: Seconds<1, 3600> = "30";
        /// How many requests are worked on at once; further ones wait in the pipe.
        max_in_flight: Count<1, 65536> = "4096";
        /// Where authenticators, used time steps and failures are kept: the directory of the embedded store, or a database that
        /// many gateways share (docs/scale-out.md).
        store: StorePlace = "store";
        /// The key under which the store and the cookies are sealed. `countersign keys` makes and rotates it.
        master_key: SecretRef = "file:master.key";
        /// Whether a process that serves confines itself to the files that this file names (SECURITY.md); no: only where the kernel's
        /// own means against that are in the way.
        hardening: YesNo = "yes";
    }

    /// What the claimant is asked.
    auth = Auth {
        /// The question. One space is put behind it.
        prompt: String = "Press Enter for push notification or type one-time password:";
        /// Whether the gateway hides what is typed.
        disable_echo: Echo = "no";
        /// Protocols over which the claimant can be asked. Over any other, no answer is a push.
        interactive_protocols: Names = "rdp,ssh,telnet";
    }

    /// Time-based one-time passwords (RFC 6238), verified here. What stands here but valid_window is for new
    /// authenticators: each keeps what it was enrolled with.
    totp = Totp {
        /// Under which name authenticator apps show the account.
        issuer: String = "countersign";
        /// The hash function. Many apps know SHA1 only.
        algorithm: Algorithm = "SHA1";
        /// How many digits a code has. Many apps know 6 only.
        digits: Count<6, 8> = "6";
        /// How long a code lives. Many apps know 30 only.
        period: Seconds<15, 120> = "30";
        /// How many time steps before and after now are right as well.
        valid_window: Count<0, 10> = "1";
        /// How long a new secret is, in bytes (RFC 4226 recommends 20).
        secret_bytes: Count<16, 64> = "20";
    }

    /// What failures cost, counted before each verification, in the store, across processes and restarts.
    throttle = Throttle {
        /// Failures of one subscriber that cost no wait.
        failures: Count<1, 1000> = "5";
        /// The wait after the next failure; each further one doubles it.
        first_wait: Seconds<1, 86400> = "60";
        /// The longest wait. Together with forget_after it bounds what guessing can reach (SECURITY.md has the sum).
        longest_wait: Seconds<1, 604800> = "43200";
        /// The time in which one failure is forgotten.
        forget_after: Seconds<1, 604800> = "43200";
        /// The same four for one source address (client_ip; IPv6 by /64 network).
        source_failures: Count<1, 1000000> = "100";
        /// The wait of a source after the next failure.
        source_first_wait: Seconds<1, 86400> = "5";
        /// The longest wait of a source.
        source_longest_wait: Seconds<1, 604800> = "300";
        /// The time in which one failure of a source is forgotten.
        source_forget_after: Seconds<1, 604800> = "30";
        /// For how long an address at which a subscriber succeeded is known for theirs: while others have failed too often
        /// under the name, a few attempts are heard from there. 0: no address is.
        known_source: Seconds<0, 31536000> = "2592000";
        /// How many failures are heard from one such address.
        known_failures: Count<1, 100> = "3";
        /// How many are heard from all such addresses of one subscriber.
        known_failures_together: Count<1, 1000> = "5";
        /// The time in which one of these is forgotten.
        known_forget_after: Seconds<1, 2592000> = "604800";
        /// How many names that nobody enrolled, and how many sources, are remembered at most. Of one subscriber, 16 known addresses are.
        traces: Count<100, 10000000> = "100000";
    }

    /// What is written about it. One line a verdict at level info; never a code or a secret at any level.
    logging = Logging {
        /// stderr, syslog or file:PATH.
        destination: Destination = "stderr";
        /// text or json.
        format: Format = "text";
        /// How much.
        level: Level = "info";
    }
}

/// SPS's name of `[logging] level`.
pub const LOG_LEVEL: &str = "log_level";

/// Makes `[logging] log_level`, SPS's name, the `level` that it is.
pub fn name_log_level(sections: &mut [Section], mistakes: &mut Mistakes) {
    let Some(section) = sections.iter_mut().find(|section| section.name == "logging") else { return };
    let Some(index) = section.entries.iter().position(|entry| entry.name == LOG_LEVEL) else { return };
    let said = declare::required::<LogLevel>(Some(section), LOG_LEVEL, "info", mistakes);
    let mut alias = section.entries.remove(index);
    let Some(LogLevel(level)) = said else { return };
    match section.value("level") {
        None => {
            alias.name = "level".into();
            section.entries.push(alias);
        }
        Some(other) if Level::parse(other).is_none_or(|other| other == level) => {}
        Some(_) => {
            let text = format_args!("contradicts level, at line {}; keep one of the two", section.line_of("level"));
            mistakes.at_option(alias.line, &section.name, LOG_LEVEL, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_what_its_option_takes() {
        let mut mistakes = Mistakes::new(std::path::Path::new("f"), crate::config::Reading::Native);
        assert!(Options::read(&[], &mut mistakes).is_some());
    }
}
