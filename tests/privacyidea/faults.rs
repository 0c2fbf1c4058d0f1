//! Everything that goes wrong between the client and its server.

use std::thread;
use std::time::{Duration, Instant};

use super::rig::authority::Authority;
use super::rig::faults::{Fault, faults};
use super::*;

/// How long a verdict may take, and how much later a loaded machine may bring it.
const DEADLINE: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(90);
const SLACK: Duration = Duration::from_secs(10);

#[test]
fn no_fault_lets_anybody_in_or_costs_more_than_one_request() {
    let authority = Authority::new();
    let accept = recorded(&exchanges(), "hotp-ok");
    let mut table = faults(Some(&authority), &accept);
    table.extend(faults(None, &accept));
    let ca = authority.ca_file();
    let ca = ca.to_str().unwrap();
    for faults in table.chunks(8) {
        thread::scope(|scope| {
            for fault in faults {
                scope.spawn(|| hold(fault, ca));
            }
        });
    }
}

fn hold(fault: &Fault, ca: &str) {
    // What ends by itself has the time that a loaded machine needs.
    let (deadline, total, connect) = if fault.is_endless() { (DEADLINE, "2", "1") } else { (LONG, "60", "60") };
    let options = [("timeout", total), ("connect_timeout", connect), ("tls_timeout", connect), ("ca_file", ca)];
    let home = home(&fault.url, &options);
    home.set("plugin", "deadline", &deadline.as_secs().to_string());
    let start = Instant::now();
    let answer = Login::new(&home, "alice").types("755224");
    let took = start.elapsed();
    let name = fault.fault.name;
    let class = answer.error.as_ref().map_or("accepted", |error| error.class.as_str());
    assert_eq!(class, fault.fault.class.word(), "{name}: {answer:?}");
    assert!(took < deadline + SLACK, "{name}: {took:?}");
    assert!(!format!("{answer:?}{}", home.log()).contains("755224"), "{name}: {answer:?}");
    let counts = fault.counts();
    assert!(counts.calls <= 1 && counts.elsewhere == 0, "{name}: {counts:?}");
}
