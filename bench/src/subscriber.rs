//! The enrolled subscribers of one installation: their names, their secrets, and the codes they have left.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Seconds in one time step of RFC 6238.
const STEP: u64 = 30;

/// The oldest step of the window is left alone this long before it closes, so that no request arrives too late.
const MARGIN: u64 = 5;

/// Everybody enrolled in one installation, and the highest time step that each has used.
///
/// Secrets follow from the index, so a roll of a million subscribers is four megabytes.
pub struct Roll {
    used: Vec<u32>,
    walk: Walk,
}

/// In which order subscribers come.
#[derive(Clone, Copy)]
pub enum Order {
    /// As they were enrolled, so that one page of the store holds many who come together.
    Enrolled,
    /// Far from each other, as people log in.
    Scattered,
}

/// A walk that comes by everybody, over and over.
pub struct Walk {
    size: usize,
    next: usize,
    stride: usize,
}

/// One `authenticate` request that should be accepted.
pub struct Request {
    /// The line, ended.
    pub line: String,
    /// What the answer must carry.
    pub id: u64,
}

impl Roll {
    /// `size` subscribers who have used nothing yet.
    pub fn new(size: usize) -> Roll {
        Roll { used: vec![0; size], walk: Walk::new(size) }
    }

    /// How many are enrolled.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Writes one otpauth URI a line for each of `which`, the account being the name of the subscriber.
    pub fn write_uris(&self, which: Range<usize>, mut out: impl io::Write) -> io::Result<()> {
        for index in which {
            let (name, secret) = (name(index), BASE32_NOPAD.encode(&secret(index)));
            writeln!(out, "otpauth://totp/Bench:{name}?secret={secret}&issuer=Bench")?;
        }
        out.flush()
    }

    /// The next subscriber who has an unused code within the window, as a request; none when all have used theirs up.
    pub fn request(&mut self, id: u64, order: Order) -> Option<Request> {
        let now = SystemTime::now();
        for _ in 0..self.len() {
            let index = self.walk.next(order);
            if let Some(step) = free_step(self.used[index], now) {
                self.used[index] = step;
                let line = request_line(id, index, code(&secret(index), step.into()));
                return Some(Request { line, id });
            }
        }
        None
    }
}

impl Walk {
    /// A walk among `size`, which begins with the first.
    pub fn new(size: usize) -> Walk {
        let golden = (size as f64 * 0.618) as usize;
        let comes_by_all = |&stride: &usize| greatest_common_divisor(stride, size) == 1;
        let stride = (golden.max(1)..=size.max(1)).find(comes_by_all).unwrap_or(1);
        Walk { size, next: 0, stride }
    }

    /// Where the walk is now; it goes on from there in this order.
    pub fn next(&mut self, order: Order) -> usize {
        let stride = match order {
            Order::Enrolled => 1,
            Order::Scattered => self.stride,
        };
        let here = self.next;
        self.next = (here + stride) % self.size;
        here
    }
}

/// The name of a subscriber. Names sort as they were enrolled.
pub fn name(index: usize) -> String {
    format!("user{index:07}")
}

/// RFC 4226: six digits for one value of the counter.
pub fn code(secret: &[u8], counter: u64) -> u32 {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(&counter.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 15);
    let word = [0, 1, 2, 3].map(|place| digest[offset + place]);
    (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
}

/// The oldest step that is newer than `used` and that a verifier with a window of one step either way takes now.
fn free_step(used: u32, now: SystemTime) -> Option<u32> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let step = (seconds / STEP) as u32;
    let closing = STEP - seconds % STEP <= MARGIN;
    let oldest = if closing { step } else { step - 1 };
    let free = oldest.max(used + 1);
    (free <= step + 1).then_some(free)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Twenty bytes that differ for each index (splitmix64).
fn secret(index: usize) -> [u8; 20] {
    let mut secret = [0; 20];
    let mut state = index as u64;
    for chunk in secret.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        state ^= word;
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    secret
}

fn request_line(id: u64, index: usize, code: u32) -> String {
    let name = name(index);
    // Everybody has an address of their own.
    let [_, first, second, third] = u32::try_from(index).unwrap_or_default().to_be_bytes();
    let mut line = String::with_capacity(192);
    let written = writeln!(
        line,
        r#"{{"type":"authenticate","id":{id},"session_id":"s{id}","protocol":"ssh","client_ip":"10.{first}.{second}.{third}","gateway_user":"{name}","key_value_pairs":{{"otp":"{code:06}"}}}}"#
    );
    debug_assert!(written.is_ok());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// RFC 4226, appendix D.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        let codes: Vec<u32> = (0..4).map(|counter| code(secret, counter)).collect();
        assert_eq!(codes, [755_224, 287_082, 359_152, 969_429]);
    }

    #[test]
    fn each_step_of_the_window_is_used_once() {
        assert_eq!(free_step(0, at(30_000)), Some(999));
        assert_eq!(free_step(999, at(30_000)), Some(1000));
        assert_eq!(free_step(1000, at(30_000)), Some(1001));
        assert_eq!(free_step(1001, at(30_000)), None);
    }

    #[test]
    fn a_closing_step_is_left_alone() {
        assert_eq!(free_step(0, at(30_024)), Some(999));
        assert_eq!(free_step(0, at(30_025)), Some(1000));
    }

    #[test]
    fn a_scattered_walk_visits_everybody() {
        for size in [1, 2, 10, 1000, 300_000] {
            let mut walk = Walk::new(size);
            let mut seen = vec![false; size];
            (0..size).for_each(|_| seen[walk.next(Order::Scattered)] = true);
            assert!(seen.iter().all(|&visited| visited), "{size}");
        }
    }

    #[test]
    fn secrets_differ() {
        assert_ne!(secret(0), secret(1));
        assert_ne!(secret(0)[..8], secret(0)[8..16]);
    }
}
