//! The dialect of the SPS plugin SDK (docs/gateways/sps.md): a hook and its arguments in, the verdict's dict out, one line
//! each.

mod answer;
mod arguments;
mod kept;
mod python;

use super::fields::{Fields, flawed, invalid};
use super::tree::{self, Json};
use super::{Greeting, Inbound, Protocol, RequestId, Said};
use crate::domain::fault::Fault;
use crate::domain::request::Kind;
use crate::domain::verdict::Verdict;
use kept::Kept;

/// The key of the cookie under which ours lies; whatever else is in it goes back as it came.
const COOKIE: &str = "countersign";

/// The dialect of the SPS plugin SDK.
pub struct Sps;

impl Protocol for Sps {
    fn read(&self, line: &[u8]) -> Inbound {
        // There are no ids: what is kept of the request stands for one.
        let (value, _id) = tree::parse(line);
        let mut fields = match value.map_err(flawed).and_then(Fields::of) {
            Ok(fields) => fields,
            Err(fault) => return Inbound::Flawed { id: None, fault },
        };
        let (kind, arguments) = (hook(&mut fields), fields.take("arguments"));
        let id = kept::keep(kind.as_ref().ok(), arguments.as_ref());
        match kind.and_then(|kind| arguments::read(kind, arguments_of(arguments)?)) {
            Ok(request) => {
                Inbound::Decide { id, request: Box::new(request), unknown: fields.names().map(Into::into).collect() }
            }
            Err(fault) => Inbound::Flawed { id, fault },
        }
    }

    fn write(&self, id: Option<&RequestId>, said: Said<'_>, out: &mut Vec<u8>) {
        answer::line(&Kept::of(id), said, out);
    }

    fn write_cancelled(&self, id: Option<&RequestId>, _found: bool, out: &mut Vec<u8>) {
        self.unspoken(id, out);
    }

    fn write_greeting(&self, id: Option<&RequestId>, _greeting: &Greeting, out: &mut Vec<u8>) {
        self.unspoken(id, out);
    }
}

impl Sps {
    /// Answers what no line of this dialect can ask for; still one line, and no accept.
    fn unspoken(&self, id: Option<&RequestId>, out: &mut Vec<u8>) {
        let verdict = Verdict::Reject(invalid("unknown_hook", "the dialect has no such request").into());
        self.write(id, Said::bare(&verdict, ""), out);
    }
}

fn hook(fields: &mut Fields) -> Result<Kind, Fault> {
    match fields.text("hook")?.as_deref() {
        Some("authenticate") => Ok(Kind::Authenticate),
        Some("authorize") => Ok(Kind::Authorize),
        Some("session_ended") => Ok(Kind::SessionEnded),
        Some(_) => Err(invalid("unknown_hook", "hook: expected authenticate, authorize or session_ended")),
        None => Err(invalid("missing_field", "hook: is missing")),
    }
}

fn arguments_of(value: Option<Json>) -> Result<Fields, Fault> {
    let value = value.ok_or_else(|| invalid("missing_field", "arguments: is missing"))?;
    let kind = value.kind();
    Fields::of(value).map_err(|_| super::fields::wrong("arguments", "an object", kind))
}
