//! The state of a dialogue, carried by the gateway: sealed, bound to session and claimant, expiring, 92 characters.

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
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub progress: Progress,
    pub expires: UnixTime,
    /// The challenge in the store that holds what is too large for a cookie.
    pub handle: Option<[u8; 16]>,
}

/// Why a cookie is as if none had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not sealed by us, or for another session or claimant.
    Foreign,
    Expired,
}

impl Cookie {
    /// The cookie's text for `session` and `claimant`.
    ///
    /// # Errors
    /// See [`Sealer::seal`].
    pub fn seal(&self, sealer: &Sealer, session: Option<&str>, claimant: &Claimant) -> Result<String, SealError> {
        let mut plain = Vec::with_capacity(25);
        plain.push(match self.progress {
            Progress::Asked => 1,
            Progress::Accepted => 2,
            Progress::AcceptedRemotely => 3,
            Progress::AcceptedDegraded => 4,
            Progress::StoodIn => 5,
        });
        plain.extend_from_slice(&self.expires.0.to_be_bytes());
        plain.extend_from_slice(&self.handle.unwrap_or_default());
        let sealed = sealer.seal(Purpose::Cookie, &binding(session, claimant), &plain)?;
        Ok(BASE64URL_NOPAD.encode(&sealed))
    }

    /// Reads `text` for `session` and `claimant`.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn open(
        text: &Secret<String>,
        sealer: &Sealer,
        session: Option<&str>,
        claimant: &Claimant,
        now: UnixTime,
    ) -> Result<Self, Flaw> {
        // Decoded and opened; nothing of it is kept or shown.
        let text = text.expose();
        if text.len() > LIMIT {
            return Err(Flaw::Foreign);
        }
        let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Flaw::Foreign)?;
        let plain = sealer.open(Purpose::Cookie, &binding(session, claimant), &sealed).map_err(|_| Flaw::Foreign)?;
        // The plain text of a cookie holds no secret.
        let ([progress, rest @ ..], true) = (plain.expose().as_slice(), plain.expose().len() == 25) else {
            return Err(Flaw::Foreign);
        };
        let (expires, handle) = rest.split_first_chunk::<8>().ok_or(Flaw::Foreign)?;
        let handle = *handle.first_chunk::<16>().ok_or(Flaw::Foreign)?;
        let cookie = Self {
            progress: match progress {
                1 => Progress::Asked,
                2 => Progress::Accepted,
                3 => Progress::AcceptedRemotely,
                4 => Progress::AcceptedDegraded,
                5 => Progress::StoodIn,
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

/// A session without an id is told from one with an empty id.
fn binding<'a>(session: Option<&'a str>, claimant: &'a Claimant) -> [&'a [u8]; 3] {
    let (known, id): (&[u8], &str) = session.map_or((b"0", ""), |id| (b"1", id));
    [known, id.as_bytes(), claimant.0.as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::seal::tests::sealer;

    #[test]
    fn a_cookie_is_good_for_its_session_claimant_and_time_only() {
        let (sealer, path) = sealer("cookie");
        let alice = Claimant("alice".into());
        let cookie = Cookie { progress: Progress::Accepted, expires: UnixTime(100), handle: Some([7; 16]) };
        let text = cookie.seal(&sealer, Some("s1"), &alice).unwrap();
        assert!(text.len() <= LIMIT, "{}", text.len());
        let text = Secret::new(text);
        let open = |session, claimant: &Claimant, now| Cookie::open(&text, &sealer, session, claimant, UnixTime(now));
        assert_eq!(open(Some("s1"), &alice, 99), Ok(cookie));
        assert_eq!(open(Some("s1"), &alice, 100), Err(Flaw::Expired));
        let text = Secret::new(Cookie { expires: UnixTime(1000), ..cookie }.seal(&sealer, Some("s1"), &alice).unwrap());
        assert_eq!(Cookie::open(&text, &sealer, Some("s1"), &alice, UnixTime(399)), Err(Flaw::Expired), "set back");
        assert_eq!(open(Some("s2"), &alice, 99), Err(Flaw::Foreign));
        assert_eq!(open(None, &alice, 99), Err(Flaw::Foreign));
        assert_eq!(open(Some("s1"), &Claimant("bob".into()), 99), Err(Flaw::Foreign));
        std::fs::remove_file(path).unwrap();
    }
}
