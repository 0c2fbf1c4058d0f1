//! In the works.

use super::conduct::Conduct;
use super::fields::invalid;
use super::{Greeting, Inbound, Protocol, RequestId, Said};

/// Which helper is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquidHelper {
    /// `auth_param basic program`.
    Basic,
    /// `external_acl_type`.
    ExternalAcl,
}

/// The codec.
pub struct Squid {
    pub helper: SquidHelper,
    pub conduct: Conduct,
    /// Whether each line begins with the number of a channel.
    pub has_channels: bool,
}

impl Protocol for Squid {
    fn read(&self, _line: &[u8]) -> Inbound {
        Inbound::Flawed { id: None, fault: invalid("missing_field", "not read yet") }
    }

    fn write(&self, _id: Option<&RequestId>, _said: Said<'_>, _out: &mut Vec<u8>) {}

    fn write_cancelled(&self, _id: Option<&RequestId>, _found: bool, _out: &mut Vec<u8>) {}

    fn write_greeting(&self, _id: Option<&RequestId>, _greeting: &Greeting, _out: &mut Vec<u8>) {}
}
