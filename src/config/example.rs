//! plugin.ini.example, printed from the declarations.

use std::fmt::Write;

use super::options::DECLARED;

/// A complete plugin.ini: every option with what it means and what it takes, its default behind a `;`. What stays
/// commented out follows the defaults of later versions, and costs no verdict the time to read it.
pub fn text() -> String {
    let mut text = String::from(
        "# countersign: configuration. Printed by `countersign example`; `countersign check` tells every mistake in yours.\n\
         # Lines are [section], name = value, or comments that begin with # or ;. A value is everything behind the first =.\n\
         # Each option stands here with its default; take the ; away to change it.\n",
    );
    for section in DECLARED {
        text.push('\n');
        for line in section.doc {
            let _ = writeln!(text, "#{line}");
        }
        let _ = writeln!(text, "[{}]", section.name);
        for option in section.options {
            for line in option.doc {
                let _ = writeln!(text, "#{line}");
            }
            let _ = writeln!(text, "# Takes {}.", (option.expected)());
            let _ = writeln!(text, ";{} = {}", option.name, option.default);
        }
    }
    text
}
