//! Squid with curl: the helper of basic authentication, with password and code in one field, and the external ACL that asks
//! for a push behind Squid's own password check. Both run the files of contrib/squid.

#[path = "squid/proxy.rs"]
mod proxy;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::rig::http::Response;
use crate::rig::okta::Okta;
use crate::rig::web::Web;
use crate::rig::{Phone, now};
use crate::stage::{CROWD, Stage, crowd};
use crate::table::{Case, Gateway, Needs, Sheet};
use proxy::{NCSA, PASSWORD, Proxy, Shown, contributed, passwords, wait_for_end};

const PROGRAMS: &[(&str, &str)] = &[("squid", "squid"), ("curl", "curl")];

pub const BASIC: Gateway = Gateway { name: "squid basic", programs: PROGRAMS, needs: Needs::Nothing, play: basic };

pub const EXTERNAL_ACL: Gateway =
    Gateway { name: "squid external acl", programs: PROGRAMS, needs: Needs::Nothing, play: external_acl };

/// Why Squid asks nobody anything.
const NO_DIALOGUE: &str = "Squid takes yes or no: a question is only shown, as the text of the refusal";

/// How many log in at once.
const AT_ONCE: usize = 16;

/// Who does not get in, of the crowd.
fn fails(number: usize) -> bool {
    number % 8 == 3
}

/// A server behind the proxy.
fn site() -> (Web, String) {
    let web = Web::always(Response::new(200, "text/plain", "hello"));
    let url = web.url("/page");
    (web, url)
}

fn is_let_in(shown: &Shown) -> bool {
    (shown.status, shown.body.as_str()) == (200, "hello")
}

fn everybody() -> Vec<String> {
    let named = ["alice", "bob", "carol", "dave"].map(str::to_owned);
    named.into_iter().chain((0..CROWD).map(|number| format!("user{number}"))).collect()
}

/// Puts the passwords of everybody into place.
fn prepare(stage: &Stage) {
    passwords(&stage.dir(), everybody().iter().map(String::as_str));
    stage.home.set("throttle", "source_failures", "10000");
}

/// Squid with the helper of basic authentication.
fn start_basic(stage: &Stage) -> Proxy {
    prepare(stage);
    stage.home.append(&contributed("plugin.ini", stage));
    Proxy::start(stage, &contributed("basic.conf", stage))
}

/// Squid with its own password check and our external ACL.
fn start_external_acl(stage: &Stage) -> Proxy {
    prepare(stage);
    Proxy::start(stage, &contributed("push.conf", stage))
}

/// Squid as it was before.
fn start_without(stage: &Stage) -> Proxy {
    prepare(stage);
    let passwd = stage.dir().join("passwd");
    let passwd = passwd.display();
    let logins = format!(
        "auth_param basic program {NCSA} {passwd}\nauth_param basic children 2 startup=1 idle=1\n\
         acl authenticated proxy_auth REQUIRED\nhttp_access allow authenticated\nhttp_access deny all\n"
    );
    Proxy::start(stage, &logins)
}

/// Password and code, as somebody types them; without a code, the comma at the end ends a password that has one in it.
fn both(code: &str) -> String {
    format!("{PASSWORD},{code}")
}

/// Logs in the whole crowd, 16 at a time; `login` says for a number whether it was let in.
fn storm(login: impl Fn(usize) -> bool + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CROWD {
                        return;
                    }
                    if login(number) == fails(number) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(wrong.into_inner(), 0, "so many were lost, or let in that should not be");
}

fn basic(sheet: &mut Sheet) {
    let (_web, url) = site();
    let (alice, bob) = (Phone::new(1), Phone::new(2));
    let stage = Stage::codes();
    let squid = start_basic(&stage);
    let code = alice.fresh_code();
    sheet.case(Case::Accept, || {
        assert!(is_let_in(&squid.fetch(&url, "alice", &both(&code))));
        // For credentialsttl the same code is asked of nobody.
        assert!(is_let_in(&squid.fetch(&url, "alice", &both(&code))));
        assert_eq!(stage.home.log().matches("verdict=\"accept\"").count(), 1, "{}", stage.home.log());
    });
    sheet.case(Case::Reject, || {
        let refused = |shown: Shown| {
            assert_eq!(shown.status, 407, "{shown:?}");
            assert!(shown.body.contains("<p id=\"reason\">Authentication failed</p>"), "{shown:?}");
        };
        refused(squid.fetch(&url, "alice", &both(&alice.wrong_code(now()))));
        // From elsewhere, the code is used.
        refused(squid.fetch_from("127.0.0.2", &url, b"alice", both(&code).as_bytes()));
        // A right code behind a wrong password is not looked at.
        let fresh = bob.fresh_code();
        refused(squid.fetch(&url, "bob", &format!("wrong,{fresh}")));
        refused(squid.fetch(&url, "bob", &both("")));
        assert!(is_let_in(&squid.fetch(&url, "bob", &both(&fresh))));
    });
    sheet.cannot(Case::Challenge, NO_DIALOGUE);
    sheet.cannot(Case::TwoRounds, NO_DIALOGUE);
    sheet.case(Case::Parallel, || {
        storm(|number| {
            let phone = crowd(number);
            let code = if fails(number) { phone.wrong_code(now()) } else { phone.fresh_code() };
            is_let_in(&squid.fetch(&url, &format!("user{number}"), &both(&code)))
        });
        // A helper that dies is started again; one whose Squid is gone ends.
        let before = squid.helpers();
        before.iter().for_each(|pid| crate::stage::signal(*pid, "KILL"));
        before.iter().for_each(|pid| wait_for_end(*pid));
        let wrong = squid.fetch(&url, "carol", &both("000000"));
        assert_eq!(wrong.status, 407, "{wrong:?}");
        assert!(squid.helpers().iter().all(|pid| !before.contains(pid)) && !squid.helpers().is_empty());
    });
    sheet.case(Case::BadInput, || bad_input(&stage, &squid, &url, true));
    let helpers = squid.helpers();
    drop(squid);
    helpers.into_iter().for_each(wait_for_end);

    sheet.case(Case::PushWait, || {
        let okta = Okta::start();
        let stage = Stage::push(&okta);
        let squid = start_basic(&stage);
        push_wait(&okta, &squid, &url, &both(""));
    });
    sheet.case(Case::ServiceDown, || {
        let (stage, _refused) = Stage::down();
        let squid = start_basic(&stage);
        let shown = squid.fetch(&url, "alice", &both(""));
        assert_eq!(shown.status, 407, "{shown:?}");
        // Nothing was sent to anybody, and so Squid tries it three times.
        assert_eq!(stage.home.log().matches("service_unreachable").count(), 3, "{}", stage.home.log());
    });

    let (with, without) = (Stage::codes(), Stage::codes());
    let (ours, theirs) = (start_basic(&with), start_without(&without));
    sheet.time(
        40,
        |round| {
            let code = crowd(round).fresh_code();
            assert!(is_let_in(&ours.fetch(&url, &format!("user{round}"), &both(&code))));
        },
        |round| assert!(is_let_in(&theirs.fetch(&url, &format!("user{round}"), PASSWORD))),
    );
}

fn external_acl(sheet: &mut Sheet) {
    let (_web, url) = site();
    let okta = Okta::start();
    let stage = Stage::push(&okta);
    let squid = start_external_acl(&stage);
    let pushes = || okta.count("POST", "factors/ostf1/verify");
    sheet.case(Case::Accept, || {
        okta.press("bob", "SUCCESS");
        assert!(is_let_in(&squid.fetch(&url, "bob", PASSWORD)));
        // For ttl nobody is asked again, whatever is fetched.
        assert!(is_let_in(&squid.fetch(&format!("{url}?other"), "bob", PASSWORD)));
        assert_eq!(pushes(), 1);
    });
    sheet.case(Case::Reject, || {
        okta.press("carol", "REJECTED");
        for _ in 0..2 {
            let shown = squid.fetch(&url, "carol", PASSWORD);
            let location = "https://portal.example.com/login?user=carol&why=Authentication%20failed";
            assert_eq!((shown.status, shown.location.as_str()), (302, location), "{shown:?}");
        }
        // For negative_ttl the phone does not ring again, and behind a wrong password it never does.
        assert_eq!(squid.fetch(&url, "dave", "wrong").status, 407);
        assert_eq!(pushes(), 2);
    });
    sheet.cannot(Case::Challenge, NO_DIALOGUE);
    sheet.cannot(Case::TwoRounds, NO_DIALOGUE);
    sheet.case(Case::Parallel, || {
        for number in 0..CROWD {
            let name = Box::leak(format!("user{number}").into_boxed_str());
            okta.press(name, if fails(number) { "REJECTED" } else { "SUCCESS" });
        }
        let before = pushes();
        storm(|number| is_let_in(&squid.fetch(&url, &format!("user{number}"), PASSWORD)));
        assert_eq!(pushes() - before, CROWD);
    });
    sheet.case(Case::BadInput, || bad_input(&stage, &squid, &url, false));
    drop(squid);

    sheet.case(Case::PushWait, || {
        let okta = Okta::start();
        let stage = Stage::push(&okta);
        let squid = start_external_acl(&stage);
        push_wait(&okta, &squid, &url, PASSWORD);
    });
    sheet.case(Case::ServiceDown, || {
        let (stage, _refused) = Stage::down();
        let squid = start_external_acl(&stage);
        let shown = squid.fetch(&url, "alice", PASSWORD);
        assert_eq!(shown.status, 302, "{shown:?}");
        assert!(shown.location.contains("cannot%20be%20reached"), "{shown:?}");
        assert_eq!(stage.home.log().matches("service_unreachable").count(), 3, "{}", stage.home.log());
    });

    let (okta, without) = (Okta::start(), Stage::codes());
    (0..40).for_each(|round| okta.press(Box::leak(format!("user{round}").into_boxed_str()), "SUCCESS"));
    let with = Stage::push(&okta);
    let (ours, theirs) = (start_external_acl(&with), start_without(&without));
    let login = |squid: &Proxy, round| assert!(is_let_in(&squid.fetch(&url, &format!("user{round}"), PASSWORD)));
    sheet.time(40, |round| login(&ours, round), |round| login(&theirs, round));
}

/// alice's push waits for two seconds; bob's does not. What else comes of alice meanwhile waits for the same push, or is
/// refused where it comes from elsewhere.
fn push_wait(okta: &Okta, squid: &Proxy, url: &str, typed: &str) {
    let pushes = || okta.count("POST", "factors/ostf1/verify");
    okta.press("bob", "SUCCESS");
    thread::scope(|scope| {
        let alice: Vec<_> = (0..3).map(|_| scope.spawn(|| squid.fetch(url, "alice", typed))).collect();
        okta.wait_for("POST", "factors/ostf1/verify", 1);
        assert!(is_let_in(&squid.fetch(url, "bob", typed)));
        let elsewhere = squid.fetch_from("127.0.0.2", url, b"alice", typed.as_bytes());
        assert!(!is_let_in(&elsewhere), "{elsewhere:?}");
        assert!(alice.iter().all(|fetch| !fetch.is_finished()));
        assert_eq!(squid.helpers().len(), 1, "bob and alice are served by one process");
        // So long she looks for her phone.
        thread::sleep(Duration::from_secs(2));
        assert!(alice.iter().all(|fetch| !fetch.is_finished()));
        okta.press("alice", "SUCCESS");
        assert!(alice.into_iter().all(|fetch| is_let_in(&fetch.join().unwrap())));
    });
    assert_eq!(pushes(), 2);
}

/// Whatever is said, nobody is let in by it, everything is answered, and nothing of it is in a log.
fn bad_input(stage: &Stage, squid: &Proxy, url: &str, is_basic: bool) {
    let canary = "canary-in-a-password";
    let long = "x".repeat(8 * 1024);
    let names: [&[u8]; 9] = [
        b"alice",
        b"a\"li\\ce,x",
        b"alice\nOK user=bob",
        b"alice\0x",
        b"\xff\xfe",
        b"$(touch pwned)`id`;'",
        b"CRV1::x::y",
        b"-",
        long.as_bytes(),
    ];
    let passwords = ["\"", "\\", ",", "\n", "\0", "\u{ff}", "CRV1::a::b", &long, "%00%0a OK", " OK "];
    for name in names {
        for password in passwords {
            let typed = format!("{canary}{password},{canary}{password}");
            let shown = squid.fetch_from("127.0.0.1", url, name, typed.as_bytes());
            assert!(!is_let_in(&shown) && [400, 407].contains(&shown.status), "{name:?} {password:?}: {shown:?}");
        }
    }
    let log = stage.home.log();
    assert!(!log.contains(canary) && !log.contains(PASSWORD), "{log}");
    let dir = stage.dir().join("squid");
    for file in ["cache.log", "access.log"] {
        let log = std::fs::read(dir.join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&log).contains(canary), "{file}");
    }
    assert!(!is_basic || !squid.helpers().is_empty());
}
