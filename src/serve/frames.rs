//! Bytes into lines, none longer than the limit, however they arrive.

use zeroize::{Zeroize, Zeroizing};

use crate::gateway::LINE_LIMIT;

/// One line.
#[derive(Debug)]
pub enum Frame {
    /// Without its end. Wiped when dropped: a code may be in it.
    Line(Zeroizing<Vec<u8>>),
    /// More than the limit; it was skipped.
    TooLong,
}

/// The bytes that were read and are not yet lines.
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How far behind `start` there is no line end.
    looked: usize,
    /// Whether the rest of a line that was too long is being skipped.
    skipping: bool,
    /// The longest line, in bytes without its end.
    limit: usize,
}

impl Frames {
    /// None yet.
    pub fn new() -> Self {
        Self::up_to(LINE_LIMIT)
    }

    /// None yet, of lines that are no longer than `limit`.
    pub fn up_to(limit: usize) -> Self {
        Self { buffer: vec![0; 4096], start: 0, end: 0, looked: 0, skipping: false, limit }
    }

    /// Where the next bytes go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            let kept = self.end - self.start;
            if let Some(moved) = self.buffer.get_mut(kept..self.end) {
                moved.zeroize();
            }
            (self.start, self.end) = (0, kept);
        }
        // Room for a whole line and one byte more, at most; as much as there was before, at least.
        if self.end * 2 > self.buffer.len() && self.buffer.len() < 2 * self.limit {
            let mut larger = vec![0; self.buffer.len() * 2];
            if let (Some(to), Some(from)) = (larger.get_mut(..self.end), self.buffer.get(..self.end)) {
                to.copy_from_slice(from);
            }
            self.buffer.zeroize();
            self.buffer = larger;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `count` bytes were put into [`Frames::space`].
    pub fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Whether nothing is left to be a line.
    pub fn is_empty(&self) -> bool {
        self.unread().is_empty() && !self.skipping
    }

    /// Whether a line is there; at the end of input (not `open`), also one that has no end.
    pub fn has_line(&self, open: bool) -> bool {
        self.unread().contains(&b'\n') || (!open && !self.is_empty())
    }

    /// The next line; at the end of input (not `open`), also one that has no end.
    pub fn next(&mut self, open: bool) -> Option<Frame> {
        let unread = self.unread();
        let end = unread.iter().skip(self.looked).position(|b| *b == b'\n').map(|at| at + self.looked);
        let (length, consumed) = match end {
            Some(end) => (end, end + 1),
            None if !open && !unread.is_empty() => (unread.len(), unread.len()),
            None if unread.len() > self.limit => {
                self.consume(unread.len());
                self.skipping = true;
                return None;
            }
            None => {
                self.looked = unread.len();
                // The last line was too long, and ended with the input.
                return (!open && std::mem::take(&mut self.skipping)).then_some(Frame::TooLong);
            }
        };
        let line = Zeroizing::new(unread.get(..length).unwrap_or_default().to_vec());
        self.consume(consumed);
        let skipped = std::mem::take(&mut self.skipping);
        Some(if skipped || length > self.limit { Frame::TooLong } else { Frame::Line(line) })
    }

    /// Forgets a line whose end has not come: its rest will not be read.
    pub fn drop_unended(&mut self) {
        let ended = self.unread().iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.end = self.start + ended;
        self.looked = 0;
        self.skipping = false;
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        if let Some(consumed) = self.buffer.get_mut(self.start..self.start + count) {
            consumed.zeroize();
        }
        self.start += count;
        self.looked = 0;
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `bytes` when they arrive `step` at a time; `None` for one that is too long.
    fn lines(bytes: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
        let (mut frames, mut lines) = (Frames::new(), Vec::new());
        let mut take = |frames: &mut Frames, open| {
            while let Some(frame) = frames.next(open) {
                lines.push(match frame {
                    Frame::Line(line) => Some(line.to_vec()),
                    Frame::TooLong => None,
                });
            }
        };
        for chunk in bytes.chunks(step) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let space = frames.space();
                let count = rest.len().min(space.len());
                space[..count].copy_from_slice(&rest[..count]);
                frames.filled(count);
                rest = &rest[count..];
                take(&mut frames, true);
            }
        }
        take(&mut frames, false);
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let long = vec![b'x'; LINE_LIMIT];
        let longer = vec![b'y'; LINE_LIMIT + 1];
        let bytes =
            [b"a\n\nbc\r\n".as_slice(), &long, b"\n", &longer, b"\nd\n", &longer, &longer, &longer, b"\nlast"].concat();
        let expected = vec![
            Some(b"a".to_vec()),
            Some(Vec::new()),
            Some(b"bc\r".to_vec()),
            Some(long),
            None,
            Some(b"d".to_vec()),
            None,
            Some(b"last".to_vec()),
        ];
        for step in [1, 7, 4096, 65_536, 1 << 20] {
            assert_eq!(lines(&bytes, step), expected, "{step}");
        }
    }

    #[test]
    fn a_long_line_without_an_end_is_one_line_and_holds_no_memory() {
        let mut frames = Frames::new();
        for _ in 0..1000 {
            let space = frames.space();
            space.fill(b'x');
            let count = space.len();
            frames.filled(count);
            assert!(frames.next(true).is_none());
            assert!(frames.buffer.len() <= 4 * LINE_LIMIT);
        }
        assert!(matches!(frames.next(false), Some(Frame::TooLong)));
        assert!(frames.next(false).is_none());
    }
}
