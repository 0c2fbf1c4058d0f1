//! Changes of seeds that find the ends of what a reader expects: bytes and pieces cut, doubled, exchanged, and put together.

/// What readers treat in another way than other text.
const PIECES: &[&str] = &[
    "\0",
    "\n",
    "\r\n",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "=",
    "%",
    "%00",
    "%ff",
    "%2",
    "$",
    ";",
    "#",
    " ",
    "\t",
    "\u{feff}",
    "\u{202e}",
    "\u{0301}",
    "\u{ff11}",
    "ß",
    "İ",
    "-1",
    "0",
    "1e400",
    "9223372036854775808",
    "18446744073709551616",
    "null",
    "true",
    "CRV1::",
    "SCRV1:",
    "otpauth://",
    "file:",
    "env:",
    "../",
    "\u{10ffff}",
];

/// A repeatable stream of changed seeds.
pub struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, seeds }
    }

    /// A number below `most` (xorshift64*).
    fn below(&mut self, most: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % most.max(1)
    }

    /// The next input.
    pub fn next(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len());
        let mut input = self.seeds[at].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(70_000);
        input
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = (start + self.below(24)).min(length);
        start..end
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input.len());
        match self.below(9) {
            0 => drop(input.drain(range)),
            1 => {
                let piece = input[range.clone()].to_vec();
                input.splice(range.start..range.start, piece);
            }
            2 if !input.is_empty() => {
                let (at, bit) = (self.below(input.len()), self.below(8));
                input[at] ^= 1 << bit;
            }
            3 if !input.is_empty() => {
                let (at, byte) = (self.below(input.len()), self.below(256));
                input[at] = byte as u8;
            }
            4 => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(range, piece.bytes());
            }
            5 => {
                let piece = PIECES[self.below(PIECES.len())].repeat(1 + self.below(40));
                input.splice(range.start..range.start, piece.bytes());
            }
            6 => {
                let at = self.below(self.seeds.len());
                let other = self.seeds[at].clone();
                let piece = other[self.range(other.len())].to_vec();
                input.splice(range, piece);
            }
            7 => input.truncate(range.start),
            8 => {
                let swap = self.range(input.len());
                let piece = input[swap].to_vec();
                input.splice(range, piece);
            }
            _ => input.push(b' '),
        }
    }
}
