//! Whether the client would work: what `countersign doctor` asks of a privacyIDEA server.

use std::time::Instant;

use super::answer::{self, Polled};
use super::{Account, PrivacyideaClient};
use crate::client::ClientError;
use crate::client::diagnosis::Finding;
use crate::client::http::{Call, Method};
use crate::domain::time::UnixTime;

/// A transaction that nobody started.
const NO_TRANSACTION: &str = "00000000000000000000";

/// The right that the service account needs.
const RIGHT: &str = "triggerchallenge";

/// Every step up to the first that is wrong.
pub async fn findings(client: &PrivacyideaClient, now: UnixTime, until: Instant) -> Vec<Finding> {
    let mut findings = client.server.http.diagnose(now, until).await;
    if findings.iter().any(|finding| finding.result.is_err()) {
        return findings;
    }
    let request = request(client, until).await;
    let is_well = request.result.is_ok();
    findings.push(request);
    match &client.account {
        Some(account) if is_well => findings.extend(account_findings(client, account, until).await),
        None if is_well => {
            let text =
                "no service account: an empty answer is sent to /validate/check, which triggers tokens without a PIN";
            findings.push(Finding::well("credentials", text));
        }
        Some(_) | None => {}
    }
    findings
}

/// Asks after a transaction that there is not: answered by every server, and of no consequence.
async fn request(client: &PrivacyideaClient, until: Instant) -> Finding {
    let asked = async {
        let server = &client.server;
        if let Some(key) = &server.response_key {
            key.check()?;
        }
        let mut url = server.url(&["validate", "polltransaction"])?;
        url.query_pairs_mut().append_pair("transaction_id", NO_TRANSACTION);
        let (status, body) = server.ask(server.with_key(Call::new(Method::GET, url))?, until).await?;
        answer::poll(status, &body)
    };
    match asked.await {
        Ok(Polled::Pending) if client.server.response_key.is_some() => {
            Finding::well("request", "/validate answers as privacyIDEA does, signed with signature_key")
        }
        Ok(Polled::Pending) => Finding::well("request", "/validate answers as privacyIDEA does"),
        Ok(Polled::Answered | Polled::Declined | Polled::Cancelled | Polled::Refused(_)) => {
            let what = "the server knows an answer to a question that nobody asked";
            Finding::wrong("request", what, "check that url is the address of a privacyIDEA or eduMFA server")
        }
        Err(error) => Finding::error("request", &error, remedy(&error)),
    }
}

async fn account_findings(client: &PrivacyideaClient, account: &Account, until: Instant) -> Vec<Finding> {
    let may = |login: answer::Login<'_>| login.rights.map(|rights| rights.contains(&RIGHT));
    match account.log_in(&client.server, until, may).await {
        Err(error) => {
            let remedy = match &error {
                ClientError::Communication(refused) if refused.code == "credentials_refused" => {
                    "check service_user and service_password against the server's administrators"
                }
                ClientError::Communication(_)
                | ClientError::Unreachable(_)
                | ClientError::Unusable(_)
                | ClientError::Store(_)
                | ClientError::Seal(_)
                | ClientError::Authenticator(_) => remedy(&error),
            };
            vec![Finding::error("credentials", &error, remedy)]
        }
        Ok(may) => {
            let credentials = Finding::well("credentials", "the service account can log in");
            let permissions = match may {
                Some(true) => Finding::well("permissions", "the service account may trigger challenges"),
                Some(false) => Finding::wrong(
                    "permissions",
                    "the service account may not trigger challenges",
                    "give it the action triggerchallenge by a policy in the scope admin",
                ),
                None => Finding::well("permissions", "the server does not say what the service account may do"),
            };
            vec![credentials, permissions]
        }
    }
}

fn remedy(error: &ClientError) -> &'static str {
    let code = match error {
        ClientError::Unusable(_) => return "mend what plugin.ini names, then run: countersign check",
        ClientError::Communication(error) | ClientError::Unreachable(error) => error.code,
        ClientError::Store(_) | ClientError::Seal(_) | ClientError::Authenticator(_) => "",
    };
    match code {
        "credentials_refused" => "check validate_key: the server wants one, or not this one",
        "bad_signature" => "copy the server's public key (PI_AUDIT_KEY_PUBLIC) to the file in signature_key",
        "http_status" | "not_json" | "unexpected_answer" => {
            "check that url is the address of the server, without /validate at its end"
        }
        _ => "look into the server's own log",
    }
}
