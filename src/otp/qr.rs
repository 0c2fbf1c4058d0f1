//! QR codes: the modules of one, and its form for terminals and prompts, in half-block characters.

use fast_qr::ECL;
use fast_qr::qr::{QRBuilder, QRCode};

/// The quiet zone around a code, in modules (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;

/// How the colours are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Black on white by escape sequences, whatever the terminal's own colours are.
    Fixed,
    /// Without escape sequences: right for light text on a dark ground.
    Terminal,
}

/// A QR code at error level M, in the quiet zone that readers need.
pub struct Code(QRCode);

impl Code {
    /// `text` as a QR code; `None` where it is too long for one, which holds 2331 bytes at most.
    pub fn of(text: &str) -> Option<Self> {
        QRBuilder::new(text).ecl(ECL::M).build().ok().map(Self)
    }

    /// How many modules a side has, the quiet zone on both ends included.
    pub const fn side(&self) -> usize {
        self.0.size + 2 * QUIET
    }

    /// Whether the module is dark. The quiet zone is light, and so is all that lies beyond.
    pub fn is_dark(&self, row: usize, column: usize) -> bool {
        let (Some(row), Some(column)) = (row.checked_sub(QUIET), column.checked_sub(QUIET)) else { return false };
        let size = self.0.size;
        let modules = self.0.data.get(row * size..(row + 1) * size);
        column < size && modules.and_then(|row| row.get(column)).is_some_and(|module| module.value())
    }

    /// The code in half-block characters, one line of text for two rows of modules.
    pub fn half_blocks(&self, colours: Colours) -> String {
        let mut lines = String::new();
        for row in (0..self.side()).step_by(2) {
            if colours == Colours::Fixed {
                lines.push_str("\u{1b}[30;107m");
            }
            for column in 0..self.side() {
                let (upper, lower) = (self.is_dark(row, column), self.is_dark(row + 1, column));
                lines.push(match colours {
                    Colours::Fixed => half_block(upper, lower),
                    Colours::Terminal => half_block(!upper, !lower),
                });
            }
            if colours == Colours::Fixed {
                lines.push_str("\u{1b}[0m");
            }
            lines.push('\n');
        }
        lines
    }
}

/// `text` as a QR code in half-block characters; `None` where it is too long for one.
pub fn render(text: &str, colours: Colours) -> Option<String> {
    Code::of(text).map(|code| code.half_blocks(colours))
}

const fn half_block(upper: bool, lower: bool) -> char {
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_stands_in_its_quiet_zone() {
        let code = Code::of("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap();
        let last = code.side() - 1;
        for row in 0..=last {
            for column in 0..=last {
                let is_quiet = [row, column].iter().any(|at| *at < QUIET || *at > last - QUIET);
                assert!(!(is_quiet && code.is_dark(row, column)), "{row}, {column}");
            }
        }
        // The corner of a finder pattern.
        assert!(code.is_dark(QUIET, QUIET) && !code.is_dark(QUIET + 1, QUIET + 1));
        assert!(!code.is_dark(last + 1, 0) && !code.is_dark(0, last + 1));
    }

    #[test]
    fn what_is_too_long_has_no_code() {
        assert!(Code::of(&"x".repeat(2331)).is_some());
        assert!(Code::of(&"x".repeat(2332)).is_none());
        assert!(render(&"x".repeat(2332), Colours::Terminal).is_none());
    }

    #[test]
    fn the_two_forms_are_each_other_s_negative() {
        let (fixed, plain) = (render("bob", Colours::Fixed).unwrap(), render("bob", Colours::Terminal).unwrap());
        let fixed: Vec<_> = fixed.lines().map(|l| l.replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", "")).collect();
        let swapped = |c| match c {
            '█' => ' ',
            '▀' => '▄',
            '▄' => '▀',
            _ => '█',
        };
        assert_eq!(fixed, plain.lines().map(|line| line.chars().map(swapped).collect::<String>()).collect::<Vec<_>>());
    }
}
