//! What `countersign doctor` finds out about a directory, step by step, at each of its servers.

use std::time::Instant;

use ldap3_proto::proto::{LdapFilter, LdapSearchScope};
use tokio::time::timeout_at;
use url::Url;

use super::connection::{Connection, Failure, Found, Query, Step, Way};
use super::ldap::{LdapDirectory, shown};
use super::server::Protection;
use crate::clock;
use crate::domain::finding::Finding;
use crate::domain::foreign::Foreign;
use crate::domain::time::UnixTime;
use crate::net::certificate;

impl LdapDirectory {
    /// Looks at the way to each server, and whether the users can be searched there. Nobody is looked up.
    pub async fn diagnose(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut findings = Vec::new();
        for error in [self.server.user_filter().err(), self.server.group_filter().err()].into_iter().flatten() {
            findings.push(Finding::wrong("filter", error, "mend the filter in plugin.ini"));
        }
        for url in &self.server.settings.urls {
            let limit = until.min(clock::after(self.server.timeout()));
            findings.push(Finding::well("server", shown(url)));
            findings.extend(self.steps(url, now, limit).await);
        }
        findings
    }

    async fn steps(&self, url: &Url, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut way = Way::default();
        let (failed, base) = match timeout_at(until.into(), Connection::open(&self.server, url, until, &mut way)).await
        {
            Err(_) => (Some(way.step.late().to_owned()), None),
            Ok(Err(Failure::Server(why) | Failure::Final(why))) => (Some(why), None),
            Ok(Ok(mut connection)) => (None, Some(self.base(&mut connection, until).await)),
        };
        let chain = self.server.presented.lock().map(|chain| chain.clone()).unwrap_or_default();
        let mut findings: Vec<_> = way.found.into_iter().map(|(step, text)| Finding::well(word(step), text)).collect();
        let is_secured = matches!(self.server.protection(url), Ok(Protection::Tls | Protection::StartTls));
        if is_secured && matches!(way.step, Step::Bind | Step::Search) {
            let at = findings.iter().position(|finding| finding.step == word(Step::Bind)).unwrap_or(findings.len());
            findings.insert(at, Finding::well(word(Step::Tls), certificate::describe(&chain, now)));
        }
        findings.extend(failed.map(|why| Finding::wrong(word(way.step), why.clone(), remedy(way.step, &why))));
        findings.extend(base);
        findings
    }

    /// Whether the entry below which users are looked for can be read.
    async fn base(&self, connection: &mut Connection, until: Instant) -> Finding {
        let base = &self.server.settings.base_dn;
        let query = Query {
            base: base.clone(),
            scope: LdapSearchScope::Base,
            filter: LdapFilter::Present("objectClass".into()),
            attribute: "1.1".into(),
            limit: 1,
        };
        let step = word(Step::Search);
        let remedy = "check base_dn, and what the account of bind_dn may read there";
        match timeout_at(until.into(), connection.search(&query, until)).await {
            Ok(Ok(Found::Entries(entries))) if !entries.is_empty() => {
                Finding::well(step, format!("{} can be read", Foreign(base)))
            }
            Ok(Ok(Found::Entries(_) | Found::TooMany)) => {
                Finding::wrong(step, format!("{} cannot be read", Foreign(base)), remedy)
            }
            Ok(Err(Failure::Server(why) | Failure::Final(why))) => Finding::wrong(step, why, remedy),
            Err(_) => Finding::wrong(step, Step::Search.late(), "check the server's own log, or raise timeout"),
        }
    }
}

const fn word(step: Step) -> &'static str {
    match step {
        Step::Resolve => "resolve",
        Step::Connect => "connect",
        Step::Tls => "tls",
        Step::Bind => "bind",
        Step::Search => "base_dn",
    }
}

fn remedy(step: Step, why: &str) -> &'static str {
    match step {
        Step::Resolve if why.contains("in clear") => "use ldaps://, or set start_tls = yes",
        Step::Resolve => "check the spelling in plugin.ini, /etc/hosts, and the name servers in /etc/resolv.conf",
        Step::Connect => "check that the server runs, its port, and the firewall between here and there",
        Step::Tls if why.contains("StartTLS") => "use ldaps://, or let the server speak StartTLS",
        Step::Tls => certificate::remedy(why),
        Step::Bind => "check bind_dn and bind_password, and whether the account is locked or expired",
        Step::Search => "check base_dn",
    }
}
