//! Logins as every gateway without a dialogue has them: a name, and what is typed into one field.

use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::okta::Okta;
use crate::rig::{PATIENCE, Phone, now};
use crate::stage::{CROWD, Stage, crowd};

/// A login: whether `name` gets in by `field`.
pub type Login<'a> = &'a (dyn Fn(&str, &str) -> bool + Sync);

/// Texts that mean something to somebody on the way, each with a word that must be in no log.
pub const HOSTILE: [&str; 7] = [
    "canary\"'\\",
    "canary,\\\",",
    "$(id)`id`canary;id",
    "CRV1::canary::1",
    "canary%00%n",
    "-canary",
    "\u{202e}canary",
];

/// Waits until something listens on `port`.
pub fn listening(port: u16) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nothing listens on {port}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A file of `contrib`, with what it says of the executable and of plugin.ini as it is on `stage`.
pub fn contrib(stage: &Stage, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let put = |text: String, old: &str, new: &str| {
        assert!(text.contains(old), "{name}: no {old}");
        text.replace(old, new)
    };
    let text = put(text, "/usr/local/bin/countersign", stage.executable.to_str().unwrap());
    put(text, "/etc/countersign/plugin.ini", stage.home.ini().to_str().unwrap())
}

/// A right code.
pub fn accept(login: Login<'_>) {
    assert!(login("alice", &Phone::new(1).fresh_code()));
}

/// A wrong code, and one that was used.
pub fn reject(login: Login<'_>) {
    let phone = Phone::new(2);
    assert!(!login("bob", &phone.wrong_code(now())));
    let code = phone.fresh_code();
    assert!(login("bob", &code));
    assert!(!login("bob", &code));
    assert!(!login("nobody at all", &code));
}

/// A push that takes two seconds, and somebody else's, who is let in meanwhile.
pub fn push_wait(okta: &Okta, login: Login<'_>) {
    okta.press("bob", "SUCCESS");
    thread::scope(|scope| {
        let alice = scope.spawn(|| (login("alice", ""), Instant::now()));
        okta.wait_for("GET", "transactions/t1", 1);
        assert!(login("bob", ""), "bob is let in while alice's push waits");
        let bob = Instant::now();
        // Polls come each second.
        okta.wait_for("GET", "00ualice/factors/ostf1/transactions/t1", 3);
        okta.press("alice", "SUCCESS");
        let (is_in, then) = alice.join().unwrap();
        assert!(is_in && bob < then, "alice is let in after bob");
    });
    okta.press("carol", "REJECTED");
    assert!(!login("carol", ""));
}

/// `count` of the crowd, 16 at a time; every tenth types a wrong code.
pub fn parallel(count: usize, login: Login<'_>) {
    assert!(count <= CROWD);
    let (next, accepted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        break;
                    }
                    let is_right = number % 10 != 9;
                    let phone = crowd(number);
                    let code = if is_right { phone.fresh_code() } else { phone.wrong_code(now()) };
                    assert_eq!(login(&format!("user{number}"), &code), is_right, "user{number}");
                    accepted.fetch_add(usize::from(is_right), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(accepted.into_inner(), count - count / 10);
}

/// A service that is away: nobody is let in, and that in less than `limit`.
pub fn service_down(limit: Duration, login: Login<'_>) {
    let began = Instant::now();
    assert!(!login("alice", "123456"));
    assert!(!login("alice", ""));
    assert!(began.elapsed() < limit);
}
