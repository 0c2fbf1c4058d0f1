//! Answers in gzip, which none of our clients asks for.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::response::Response;

/// How much a bomb holds: [`PIECES`] times [`PIECE`] bytes.
const PIECE: usize = 8 << 20;
const PIECES: usize = 16;

/// The same, compressed.
///
/// # Errors
/// Where it cannot be compressed.
pub fn gzipped(response: &Response) -> io::Result<Response> {
    gzip(response, 0)
}

/// The same with 128 MiB of spaces behind it, in less than 256 KiB.
///
/// # Errors
/// Where it cannot be compressed.
pub fn bomb(response: &Response) -> io::Result<Response> {
    gzip(response, PIECES)
}

/// The body and `count` pieces of spaces. What is compressed for itself may stand behind anything, and any number of times.
fn gzip(response: &Response, count: usize) -> io::Result<Response> {
    let mut checksum = Crc::new();
    checksum.update(&response.body);
    let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    bytes.extend(blocks(&response.body)?);
    if count > 0 {
        let spaces = vec![b' '; PIECE];
        let (padding, mut padding_checksum) = (blocks(&spaces)?, Crc::new());
        padding_checksum.update(&spaces);
        for _ in 0..count {
            bytes.extend(&padding);
            checksum.combine(&padding_checksum);
        }
    }
    bytes.extend(DeflateEncoder::new(Vec::new(), Compression::best()).finish()?);
    bytes.extend(checksum.sum().to_le_bytes());
    bytes.extend(checksum.amount().to_le_bytes());
    Ok(response.clone().with("Content-Encoding", "gzip").body(bytes))
}

/// `bytes` deflated, without an end.
fn blocks(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.flush()?;
    Ok(encoder.get_ref().clone())
}
