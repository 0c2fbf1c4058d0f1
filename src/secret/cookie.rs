//! The state of a dialogue, carried by the gateway: sealed, bound to session, claimant and configuration, expiring, 95
//! characters.

use data_encoding::BASE64URL_NOPAD;

use super::keys::Purpose;
use super::seal::{SealError, Sealer};
use crate::domain::claimant::Claimant;
use crate::domain::secret::Secret;
use crate::domain::time::UnixTime;

/// The longest cookie without state of a client, in characters: a RADIUS State holds 253, an OpenVPN client 128.
pub const LIMIT: usize = 100;

/// How long a cookie is good for, in seconds: the time to type a code, and to be authorized after it.
pub const LIFETIME: u64 = 600;

/// How far the dialogue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The claimant was asked for a code.
    Asked,
    /// The claimant was verified here, over the store.
    Accepted,
    /// The claimant was verified by a service.
    AcceptedRemotely,
    /// The claimant was let in as the configuration says for a service that was not reached.
    AcceptedDegraded,
    /// The claimant was verified here, in place of a service that was not reached.
    StoodIn,
    /// The claimant was let in without being verified now: exempt, or verified a moment ago.
    Exempt,
}

impl Progress {
    /// What stands for it in a cookie; never given to another.
    pub const fn number(self) -> u8 {
        match self {
            Self::Asked => 1,
            Self::Accepted => 2,
            Self::AcceptedRemotely => 3,
            Self::AcceptedDegraded => 4,
            Self::StoodIn => 5,
            Self::Exempt => 6,
        }
    }

    /// The progress that `number` stands for.
    pub fn numbered(number: u8) -> Option<Self> {
        let all =
            [Self::Asked, Self::Accepted, Self::AcceptedRemotely, Self::AcceptedDegraded, Self::StoodIn, Self::Exempt];
        all.into_iter().find(|progress| progress.number() == number)
    }
}

/// Whether the session holds one of the slots of `[connection_limit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    None,
    Held,
}

/// To what a cookie is bound: anywhere else it is foreign.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub session: Option<&'a str>,
    pub claimant: &'a Claimant,
    /// What the configuration says, in short.
    pub configuration: &'a [u8],
    /// For what else than its session's way in it is: an action that is confirmed. Empty for none.
    pub errand: &'a str,
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub progress: Progress,
    /// How many of the questions of plugin.ini were answered.
    pub answered: u8,
    pub slot: Slot,
    pub expires: UnixTime,
    /// The challenge in the store that holds what is too large for a cookie.
    pub handle: Option<[u8; 16]>,
}

/// Why a cookie is as if none had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not sealed by us, or for another session, claimant or configuration.
    Foreign,
    Expired,
}

impl Cookie {
    /// The cookie's text, bound to `binding`.
    ///
    /// # Errors
    /// See [`Sealer::seal`].
    pub fn seal(&self, sealer: &Sealer, binding: Binding<'_>) -> Result<String, SealError> {
        let mut plain = Vec::with_capacity(LENGTH);
        plain.push(self.progress.number());
        plain.push(self.answered);
        plain.push(match self.slot {
            Slot::None => 0,
            Slot::Held => 1,
        });
        plain.extend_from_slice(&self.expires.0.to_be_bytes());
        plain.extend_from_slice(&self.handle.unwrap_or_default());
        let sealed = sealer.seal(Purpose::Cookie, &binding.parts(), &plain)?;
        Ok(BASE64URL_NOPAD.encode(&sealed))
    }

    /// Reads `text` where it is bound to `binding`.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn open(text: &Secret<String>, sealer: &Sealer, binding: Binding<'_>, now: UnixTime) -> Result<Self, Flaw> {
        // Decoded and opened; nothing of it is kept or shown.
        let text = text.expose();
        if text.len() > LIMIT {
            return Err(Flaw::Foreign);
        }
        let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Flaw::Foreign)?;
        let plain = sealer.open(Purpose::Cookie, &binding.parts(), &sealed).map_err(|_| Flaw::Foreign)?;
        // The plain text of a cookie holds no secret.
        let ([progress, answered, slot, rest @ ..], LENGTH) = (plain.expose().as_slice(), plain.expose().len()) else {
            return Err(Flaw::Foreign);
        };
        let (expires, handle) = rest.split_first_chunk::<8>().ok_or(Flaw::Foreign)?;
        let handle = *handle.first_chunk::<16>().ok_or(Flaw::Foreign)?;
        let cookie = Self {
            progress: Progress::numbered(*progress).ok_or(Flaw::Foreign)?,
            answered: *answered,
            slot: match slot {
                0 => Slot::None,
                1 => Slot::Held,
                _ => return Err(Flaw::Foreign),
            },
            expires: UnixTime(u64::from_be_bytes(*expires)),
            handle: (handle != [0; 16]).then_some(handle),
        };
        // One that is good for longer than any was made before the clock was set back.
        let is_good = now < cookie.expires && cookie.expires <= now.plus(LIFETIME);
        if is_good { Ok(cookie) } else { Err(Flaw::Expired) }
    }
}

/// The bytes of a cookie before it is sealed.
const LENGTH: usize = 27;

impl Binding<'_> {
    /// A session without an id is told from one with an empty id.
    fn parts(&self) -> [&[u8]; 5] {
        let (known, id): (&[u8], &str) = self.session.map_or((b"0", ""), |id| (b"1", id));
        [known, id.as_bytes(), self.claimant.0.as_bytes(), self.configuration, self.errand.as_bytes()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::seal::tests::sealer;

    #[test]
    fn a_cookie_is_good_for_its_session_claimant_configuration_and_time_only() {
        let (sealer, path) = sealer("cookie");
        let (alice, bob) = (Claimant("alice".into()), Claimant("bob".into()));
        let of = |session, claimant, configuration| Binding { session, claimant, configuration, errand: "" };
        let here = of(Some("s1"), &alice, b"c");
        let (progress, slot, handle) = (Progress::Accepted, Slot::Held, Some([7; 16]));
        let cookie = Cookie { progress, answered: 2, slot, expires: UnixTime(100), handle };
        let text = cookie.seal(&sealer, here).unwrap();
        assert!(text.len() <= LIMIT, "{}", text.len());
        let text = Secret::new(text);
        let open = |binding, now| Cookie::open(&text, &sealer, binding, UnixTime(now));
        assert_eq!(open(here, 99), Ok(cookie));
        assert_eq!(open(here, 100), Err(Flaw::Expired));
        for elsewhere in [
            of(Some("s2"), &alice, b"c"),
            of(None, &alice, b"c"),
            of(Some(""), &alice, b"c"),
            of(Some("s1"), &bob, b"c"),
            of(Some("s1"), &alice, b"d"),
            Binding { errand: "an action", ..here },
        ] {
            assert_eq!(open(elsewhere, 99), Err(Flaw::Foreign), "{elsewhere:?}");
        }
        let text = Secret::new(Cookie { expires: UnixTime(1000), ..cookie }.seal(&sealer, here).unwrap());
        assert_eq!(Cookie::open(&text, &sealer, here, UnixTime(399)), Err(Flaw::Expired), "set back");
        std::fs::remove_file(path).unwrap();
    }
}
