//! QR codes for a terminal, in half-block characters.

use fast_qr::ECL;
use fast_qr::qr::QRBuilder;

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

/// `text` as a QR code, one line of text for two rows of modules; `None` where it is too long for one.
pub fn render(text: &str, colours: Colours) -> Option<String> {
    let code = QRBuilder::new(text).ecl(ECL::M).build().ok()?;
    let dark = |row: usize, column: usize| {
        let (Some(row), Some(column)) = (row.checked_sub(QUIET), column.checked_sub(QUIET)) else { return false };
        let modules = code.data.get(row * code.size..(row + 1) * code.size);
        column < code.size && modules.and_then(|row| row.get(column)).is_some_and(|module| module.value())
    };
    let side = code.size + 2 * QUIET;
    let mut lines = String::new();
    for row in (0..side).step_by(2) {
        if colours == Colours::Fixed {
            lines.push_str("\u{1b}[30;107m");
        }
        for column in 0..side {
            let (upper, lower) = (dark(row, column), dark(row + 1, column));
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
    Some(lines)
}

const fn half_block(upper: bool, lower: bool) -> char {
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}
