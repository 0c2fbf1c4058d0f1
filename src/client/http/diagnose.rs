//! From a name to an answer, step by step.

use std::time::Instant;

use tokio::net::TcpStream;

use super::super::ClientError;
use super::super::diagnosis::Finding;
use super::{Call, Http, Method};
use crate::clock;
use crate::domain::time::UnixTime;
use crate::net::certificate;

/// How far the clocks may differ, in seconds, before codes and signatures suffer.
const OFFSET: u64 = 30;

/// Looks at the way to the service.
pub async fn steps(http: &Http, now: UnixTime, until: Instant) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (target, whose) = match &http.proxy {
        Some(proxy) => (&proxy.url, "the proxy"),
        None => (&http.base, "the service"),
    };
    let host = target.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = target.port_or_known_default().unwrap_or(443);
    let limit = http.limits.connect.min(clock::left(until));

    let addresses = match host.parse::<std::net::IpAddr>() {
        Ok(address) => vec![std::net::SocketAddr::new(address, port)],
        Err(_) => match tokio::time::timeout(limit, http.resolver.addresses(&host)).await {
            Ok(Ok(found)) => found
                .into_iter()
                .map(|mut address| {
                    address.set_port(port);
                    address
                })
                .collect(),
            Ok(Err(error)) => {
                let remedy = "check the spelling in plugin.ini, /etc/hosts, and the name servers in /etc/resolv.conf";
                findings.push(Finding::wrong("resolve", error.to_string(), remedy));
                return findings;
            }
            Err(_) => {
                let what = format!("{host}: no name server answered within {} s", limit.as_secs());
                findings.push(Finding::wrong("resolve", what, "check the name servers in /etc/resolv.conf"));
                return findings;
            }
        },
    };
    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    findings.push(Finding::well("resolve", format!("{whose}, {host}, is at {}", shown.join(", "))));

    match tokio::time::timeout(limit, TcpStream::connect(&addresses[..])).await {
        Ok(Ok(stream)) => {
            let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
            findings.push(Finding::well("connect", format!("{peer} takes connections")));
        }
        Ok(Err(error)) => {
            let remedy = "check that the service runs, its port, and the firewall between here and there";
            findings.push(Finding::wrong("connect", error.to_string(), remedy));
            return findings;
        }
        Err(_) => {
            let remedy = "a firewall may drop the packets; check the route, the port, or connect_timeout";
            let what = format!("no connection within {} s", limit.as_secs());
            findings.push(Finding::wrong("connect", what, remedy));
            return findings;
        }
    }

    let answer = http.send(Call::new(Method::GET, http.base.clone()), until).await;
    if http.base.scheme() == "https" {
        let chain = certificate::describe(&http.presented(), now);
        match &answer {
            Err(error @ ClientError::Communication(broken)) if broken.code == "tls_failed" => {
                let what = format!("{error}; {chain}");
                findings.push(Finding::wrong("tls", what, certificate::remedy(&error.to_string())));
                return findings;
            }
            Ok(_) | Err(_) if !http.presented().is_empty() => findings.push(Finding::well("tls", chain)),
            Ok(_) | Err(_) => {}
        }
    } else {
        findings
            .push(Finding::well("tls", "none: the address begins with http://, everybody on the way can read along"));
    }
    match answer {
        Ok(answer) => findings.push(time(answer.date(), now)),
        Err(error) => {
            let remedy = match &error {
                ClientError::Unusable(_) => "mend what plugin.ini names, then run: countersign check",
                ClientError::Communication(_)
                | ClientError::Unreachable(_)
                | ClientError::Store(_)
                | ClientError::Seal(_)
                | ClientError::Authenticator(_) => "check the address and the service's own log",
            };
            findings.push(Finding::error("request", &error, remedy));
        }
    }
    findings
}

fn time(theirs: Option<UnixTime>, now: UnixTime) -> Finding {
    let Some(theirs) = theirs else {
        return Finding::well("time", "the service does not say what time it is there");
    };
    let (ahead, behind) = (theirs.since(now), now.since(theirs));
    let text = match (ahead, behind) {
        (0, 0) => "the clocks agree".to_owned(),
        (0, behind) => format!("the service's clock is {behind} s behind ours"),
        (ahead, _) => format!("the service's clock is {ahead} s ahead of ours"),
    };
    if ahead.max(behind) > OFFSET {
        Finding::wrong("time", text, "set both clocks, best by NTP; codes and signatures depend on them")
    } else {
        Finding::well("time", text)
    }
}
