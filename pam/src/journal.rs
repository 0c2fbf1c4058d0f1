//! What the operator finds in the system's log (authpriv), beside what countersign itself logs.

use std::os::unix::net::UnixDatagram;

/// Where the system's log listens.
const PLACE: &str = "/dev/log";

/// Facility authpriv, severity err (RFC 3164).
const PRIORITY: u8 = 10 * 8 + 3;

/// The longest line.
const LIMIT: usize = 1000;

/// Writes the lines of `text`. Not by syslog(3): what that keeps belongs to the host. Where nobody listens, or not fast
/// enough, the login goes on.
pub fn complain(service: &str, text: &str) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_err() || socket.connect(PLACE).is_err() {
        return;
    }
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // As above.
        let _ = socket.send(record(service, std::process::id(), line).as_bytes());
    }
}

fn record(service: &str, pid: u32, line: &str) -> String {
    let service = crate::wire::visible(service);
    let line: String = format!("pam_countersign({service}:auth): {line}").chars().take(LIMIT).collect();
    format!("<{PRIORITY}>{service}[{pid}]: {}", crate::wire::visible(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_under_the_name_of_the_service() {
        assert_eq!(record("sshd", 7, "a\u{1b}b\tc"), "<83>sshd[7]: pam_countersign(sshd:auth): a b c");
        assert!(record("sshd", 7, &"ä".repeat(5000)).len() < 2048 + 100);
    }
}
