//! One call of the Auth API v2: signed, sent, and its envelope read.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::sign::{self, Signed};
use crate::client::http::{Answer, Body, Call, Http, Method, Wait};
use crate::client::{ClientError, LazySecret};
use crate::clock;
use crate::config::value::DuoSignature;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::domain::time::Moment;

/// The service's codes for a time that it does not take, and for parameters that it does not take.
const BAD_TIME: u64 = 40105;
pub const BAD_PARAMETERS: u64 = 40002;

/// The last second that HTTP can write.
const LAST_DATE: u64 = 253_402_300_799;

/// The parameters whose values must not be repeated, whatever the service says.
const HIDDEN: [&str; 2] = ["passcode", "txid"];

/// An application at Duo.
pub struct Api {
    http: Http,
    ikey: LazySecret,
    skey: LazySecret,
    signature: DuoSignature,
    /// How far the service's clock is ahead of ours, in seconds; 0 until it complains.
    offset: Cell<i64>,
}

/// The calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Ping,
    Check,
    Preauth,
    Auth,
    AuthStatus,
}

/// Whether a request may be sent once more after its time was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Harmless,
    Never,
}

impl Endpoint {
    const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Check => "check",
            Self::Preauth => "preauth",
            Self::Auth => "auth",
            Self::AuthStatus => "auth_status",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Ping | Self::Check | Self::AuthStatus => Method::GET,
            Self::Preauth | Self::Auth => Method::POST,
        }
    }

    const fn again(self) -> Again {
        match self {
            Self::Check | Self::Preauth | Self::AuthStatus => Again::Harmless,
            // It may use up a passcode.
            Self::Auth => Again::Never,
            // It is not signed.
            Self::Ping => Again::Never,
        }
    }
}

/// Names and values of one call.
pub type Parameters = Vec<(&'static str, Secret<String>)>;

/// What the service answered, in an envelope that says how it went.
pub enum Reply {
    Well(Map<String, Value>),
    Failed(Failure),
}

/// What the service has against a request.
pub struct Failure {
    pub code: u64,
    pub error: ClientError,
}

impl Reply {
    /// What the service answered, where it went well.
    ///
    /// # Errors
    /// What its complaint is to a client that has no use for it.
    pub fn well(self) -> Result<Map<String, Value>, ClientError> {
        match self {
            Self::Well(fields) => Ok(fields),
            Self::Failed(Failure { code: _, error }) => Err(error),
        }
    }
}

impl Api {
    /// The application with these keys at the service behind `http`.
    pub const fn new(http: Http, ikey: LazySecret, skey: LazySecret, signature: DuoSignature) -> Self {
        Self { http, ikey, skey, signature, offset: Cell::new(0) }
    }

    /// The way to the service.
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// Asks once. Where the service refuses the time of a request that does no harm, its clock is read and the request
    /// sent again, once.
    ///
    /// # Errors
    /// Where there is no envelope, or none that can be used.
    pub async fn call(
        &self,
        moment: &Moment,
        endpoint: Endpoint,
        parameters: &Parameters,
        wait: Wait,
    ) -> Result<Reply, ClientError> {
        let reply = self.once(moment, endpoint, parameters, wait).await?;
        match (&reply, endpoint.again()) {
            (Reply::Failed(Failure { code: BAD_TIME, error: _ }), Again::Harmless) => {
                self.ping(moment).await?;
                self.once(moment, endpoint, parameters, wait).await
            }
            (Reply::Well(_) | Reply::Failed(_), Again::Harmless | Again::Never) => Ok(reply),
        }
    }

    /// Reads the service's clock, to sign by it from now on. Unsigned, so that it works whatever the clocks say.
    ///
    /// # Errors
    /// Where the service does not say what time it is.
    pub async fn ping(&self, moment: &Moment) -> Result<(), ClientError> {
        let fields = self.once(moment, Endpoint::Ping, &Vec::new(), Wait::Usual).await?.well()?;
        let theirs = fields.get("time").and_then(Value::as_i64).filter(|time| *time >= 0);
        let theirs = theirs.ok_or_else(|| ClientError::unexpected("ping: no time in seconds"))?;
        let ours = i64::try_from(clock::present(moment).0).unwrap_or(i64::MAX);
        self.offset.set(theirs.saturating_sub(ours));
        Ok(())
    }

    async fn once(
        &self,
        moment: &Moment,
        endpoint: Endpoint,
        parameters: &Parameters,
        wait: Wait,
    ) -> Result<Reply, ClientError> {
        let call = self.sign(moment, endpoint, parameters)?.wait(wait);
        let answer = self.http.send(call, moment.until()).await?;
        self.open(endpoint, parameters, &answer)
    }

    fn sign(&self, moment: &Moment, endpoint: Endpoint, parameters: &Parameters) -> Result<Call, ClientError> {
        let url = self.http.url(&["auth", "v2", endpoint.name()]);
        let mut url = url.ok_or_else(|| ClientError::Unusable("host is an address that takes no path".into()))?;
        if endpoint == Endpoint::Ping {
            return Ok(Call::new(Method::GET, url));
        }
        let at = clock::present(moment).0.saturating_add_signed(self.offset.get()).min(LAST_DATE);
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at));
        let method = endpoint.method();
        // Leaves in the body or, where Duo takes it nowhere else, in the query; signed in both.
        let pairs = || parameters.iter().map(|(name, value)| (*name, value.expose().as_str()));
        let line = sign::parameters(pairs());
        let (path, host) = (url.path().to_owned(), url.host_str().unwrap_or_default().to_owned());
        let signed = |parameters| Signed { date: &date, method: method.as_str(), host: &host, path: &path, parameters };
        let (text, body) = match (self.signature, method == Method::GET) {
            (DuoSignature::Two, true) => (signed(&line).second(), Body::None),
            (DuoSignature::Five, true) => (signed(&line).fifth(b""), Body::None),
            (DuoSignature::Two, false) => {
                let form = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                (signed(&line).second(), Body::Form(form))
            }
            (DuoSignature::Five, false) => {
                let json = json(pairs())?;
                (signed("").fifth(json.expose().as_bytes()), Body::Json(json))
            }
        };
        if method == Method::GET && !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs());
        }
        // The keys go into the signature only.
        let authorization = sign::authorization(self.ikey.get()?.expose(), self.skey.get()?.expose(), &text)?;
        Ok(Call::new(method, url).header("date", Secret::new(date)).header("authorization", authorization).body(body))
    }

    /// Reads an envelope.
    fn open(&self, endpoint: Endpoint, parameters: &Parameters, answer: &Answer) -> Result<Reply, ClientError> {
        let status = answer.status;
        if matches!(status, 300..=399 | 429 | 502..=504) {
            let later =
                answer.header("x-retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            return Err(answer.unexpected().retry_after(answer.retry_after().or(later)));
        }
        let envelope = match answer.json() {
            Ok(Value::Object(envelope)) => Some(envelope),
            Ok(_) => None,
            Err(error) if status == 200 => return Err(error),
            Err(_) => None,
        };
        let stat =
            envelope.as_ref().and_then(|envelope| envelope.get("stat")).and_then(Value::as_str).map(str::to_owned);
        match (status, stat.as_deref(), envelope) {
            (200, Some("OK"), Some(mut envelope)) => match envelope.remove("response") {
                Some(Value::Object(mut fields)) => {
                    if let Some(Value::String(said)) = fields.get_mut("status_msg") {
                        *said = without(said, parameters);
                    }
                    Ok(Reply::Well(fields))
                }
                Some(_) | None => {
                    Err(ClientError::unexpected(format!("{}: no response in the envelope", endpoint.name())))
                }
            },
            (_, Some("FAIL"), Some(envelope)) => {
                Ok(Reply::Failed(self.failure(endpoint, parameters, answer, &envelope)))
            }
            (200, _, _) => {
                Err(ClientError::unexpected(format!("{}: the envelope's stat is neither OK nor FAIL", endpoint.name())))
            }
            (401 | 403, _, _) => Err(refused_credentials(format!("status {status}"))),
            (_, _, _) => Err(answer.unexpected()),
        }
    }

    fn failure(
        &self,
        endpoint: Endpoint,
        parameters: &Parameters,
        answer: &Answer,
        envelope: &Map<String, Value>,
    ) -> Failure {
        let code = match envelope.get("code") {
            Some(Value::Number(code)) => code.as_u64(),
            Some(Value::String(code)) => code.parse().ok(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
        };
        let code = code.unwrap_or_default();
        let text = |name: &str| envelope.get(name).and_then(Value::as_str).unwrap_or_default();
        let said = [text("message"), text("message_detail")].into_iter().filter(|text| !text.is_empty());
        let said = without(&said.collect::<Vec<_>>().join(": "), parameters);
        let said = format!("{}: status {}, code {code}: {}", endpoint.name(), answer.status, Foreign(&said));
        let error = match answer.status {
            200..=299 => ClientError::unexpected(format!("{said}; a failure with the status of a success")),
            _ if code == BAD_TIME => ClientError::communication("clock_skew", format!("{said}; {}", self.skew())),
            400 => ClientError::communication("request_refused", said),
            401 | 403 => refused_credentials(said),
            500..=599 => ClientError::communication("service_fault", said),
            _ => ClientError::communication("http_status", said),
        };
        // What came with the status of a success is no failure that has a meaning.
        Failure { code: if answer.status < 400 { 0 } else { code }, error }
    }

    /// How the clocks differ, as far as that was found out.
    pub fn skew(&self) -> String {
        match self.offset.get() {
            0 => "Duo's clock agrees with ours".into(),
            ahead @ 1.. => format!("Duo's clock is {ahead} s ahead of ours"),
            behind => format!("Duo's clock is {} s behind ours", behind.unsigned_abs()),
        }
    }
}

fn refused_credentials(said: String) -> ClientError {
    let text = format!("{said}; check ikey, skey and that the application is of the type Auth API");
    ClientError::communication("credentials_refused", text)
}

/// The pairs as a JSON object.
fn json<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<Secret<String>, ClientError> {
    // Room for what escaping can make of it, so that a passcode is never moved by a growing buffer.
    let room = pairs.clone().map(|(name, value)| name.len() + 6 * value.len() + 8).sum::<usize>() + 2;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let unusable = |error: serde_json::Error| ClientError::Unusable(error.to_string());
    for (index, (name, value)) in pairs.enumerate() {
        text.push(if index == 0 { b'{' } else { b',' });
        serde_json::to_writer(&mut *text, name).map_err(unusable)?;
        text.push(b':');
        serde_json::to_writer(&mut *text, value).map_err(unusable)?;
    }
    text.push(b'}');
    let text = String::from_utf8(std::mem::take(&mut *text));
    text.map(Secret::new).map_err(|error| ClientError::Unusable(error.utf8_error().to_string()))
}

/// `text` without the values that must not be repeated.
fn without(text: &str, parameters: &Parameters) -> String {
    let hidden = parameters.iter().filter(|(name, value)| HIDDEN.contains(name) && !value.expose().is_empty());
    // Compared only, to leave it out.
    hidden.fold(text.to_owned(), |text, (_, value)| text.replace(value.expose().as_str(), "<redacted>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_a_parser_reads_back() {
        let pairs = [("username", "a\"b\\c\u{1}\u{7f}é\u{10348}"), ("passcode", "123456")];
        let text = json(pairs.into_iter()).unwrap();
        let read: std::collections::BTreeMap<String, String> = serde_json::from_str(text.expose()).unwrap();
        assert_eq!(read.len(), 2);
        assert!(pairs.iter().all(|(name, value)| read[*name] == *value), "{read:?}");
    }

    #[test]
    fn what_must_not_be_repeated_is_left_out() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let parameters = vec![("username", secret("alice")), ("passcode", secret("123456")), ("txid", secret(""))];
        assert_eq!(without("alice: 123456, 123456", &parameters), "alice: <redacted>, <redacted>");
    }
}
