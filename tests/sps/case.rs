//! One recorded call: what was asked, how the client behaved, and what the SDK answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A line of cases.jsonl, as far as it is played.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    pub name: String,
    pub hook: String,
    pub plugin: String,
    pub config_ini: String,
    pub request: Map<String, Value>,
    pub client_behaviour: BTreeMap<String, Behaviour>,
    pub verdict: Value,
    pub raised: Option<Raised>,
    pub group: Option<String>,
    pub step: Option<u32>,
    #[serde(default)]
    pub fixtures: Fixtures,
    pub now: f64,
    #[serde(default)]
    pub state_before: Map<String, Value>,
    #[serde(default)]
    pub state_after: Map<String, Value>,
    pub client_calls: Vec<Vec<Value>>,
}

/// With what exception the call left.
#[derive(Clone, Debug, Deserialize)]
pub struct Raised {
    #[serde(rename = "type")]
    pub kind: String,
}

/// What a method of the client, or a hook of the plugin, does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// As it was written: the members of an object have an order.
    #[serde(default, rename = "return", deserialize_with = "there")]
    pub returns: Option<Box<RawValue>>,
    pub raise: Option<String>,
    #[serde(default, deserialize_with = "said")]
    pub message: Option<Value>,
    pub args: Option<Vec<Value>>,
    pub response: Option<Vec<Vec<Box<RawValue>>>>,
}

/// A null is a value, too.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What the SDK's fakes held.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fixtures {
    pub user_lists: BTreeMap<String, UserList>,
    pub ldap_servers: BTreeMap<String, LdapServer>,
    /// Store, option, section, accounts, passwords.
    pub credential_stores: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Value>>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UserList {
    pub allow: String,
    pub except: Vec<String>,
}

/// Users with their attributes, and groups with their members.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LdapServer {
    pub users: BTreeMap<String, BTreeMap<String, Value>>,
    pub groups: BTreeMap<String, Vec<String>>,
}

impl Case {
    /// The cases in `text`, one a line.
    pub fn read_all(text: &str) -> Vec<Self> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("line {}: {error}", index + 1))
            })
            .collect()
    }

    /// The exception's name without its module.
    pub fn exception(&self) -> Option<&str> {
        let raised = self.raised.as_ref()?;
        raised.kind.rsplit('.').next()
    }

    /// A member of the verdict, where there is one.
    pub fn said(&self, field: &str) -> Option<&Value> {
        self.verdict.as_object()?.get(field)
    }
}
