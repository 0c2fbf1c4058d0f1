//! In the works.

use super::conduct::Conduct;
use super::fields::invalid;
use super::once::{Answered, Given, Input, OneShot, Parting};
use crate::domain::fault::Fault;
use crate::domain::request::Request;

/// The codec.
pub struct Openvpn;

impl OneShot for Openvpn {
    fn input(&self) -> Input {
        Input::Nothing
    }

    fn read(&self, _given: &Given, _conduct: &Conduct) -> Result<Request, Fault> {
        Err(invalid("missing_field", "not read yet"))
    }

    fn part(&self, _given: &Given, _answered: &Answered, _conduct: &Conduct) -> Parting {
        Parting::status(1)
    }
}
