//! plugin.ini.example, printed from the declarations.

use std::fmt::Write;

use super::clients::{CLIENTS_DECLARED, PUSH_DECLARED, Remote};
use super::declare::OptionDeclaration;
use super::http::{HttpOptions, Step, StepName};
use super::options::DECLARED;

/// What `countersign example` prints: every option with what it means and what it takes, its default behind a `;`.
pub fn text() -> String {
    let mut text = local();
    text.push_str(
        "\n# Remote services. Name those in use in [plugin] clients, and take the # away from their sections and from what\n\
         # is to be set there. A secret is better kept in a file of its own (file:PATH) than written here.\n",
    );
    for section in CLIENTS_DECLARED {
        text.push('\n');
        comment(&mut text, section.doc);
        let _ = writeln!(text, "#[{}]", section.name);
        for option in section.options {
            one(&mut text, option, '#');
        }
    }
    text.push('\n');
    comment(&mut text, PUSH_DECLARED.doc);
    let _ = writeln!(text, "#[{}]", PUSH_DECLARED.name);
    for option in PUSH_DECLARED.options {
        one(&mut text, option, '#');
    }
    text.push_str("\n# A service without a client of its own: contrib/http has examples.\n#[http corp]\n");
    for option in HttpOptions::OPTIONS {
        one(&mut text, option, '#');
    }
    let steps = StepName::ALL.map(StepName::word).join(", ");
    let _ = writeln!(text, "\n# One request of it, in a section for each: {steps}.\n#[http corp otp]");
    for option in Step::OPTIONS {
        one(&mut text, option, '#');
    }
    text.push_str("\n# In the section of every remote service there may also stand:\n");
    for option in Remote::OPTIONS {
        one(&mut text, option, '#');
    }
    text
}

/// What `countersign init` writes: the same without the remote services. What stays commented out follows the defaults
/// of later versions, and costs no verdict the time to read it.
pub fn local() -> String {
    let mut text = String::from(
        "# countersign: configuration. `countersign example` prints every option; `countersign check` tells every mistake.\n\
         # Lines are [section], name = value, or comments that begin with # or ;. A value is everything behind the first =.\n\
         # Each option stands here with its default; take the ; away to change it.\n",
    );
    for section in DECLARED {
        text.push('\n');
        comment(&mut text, section.doc);
        let _ = writeln!(text, "[{}]", section.name);
        for option in section.options {
            one(&mut text, option, ';');
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "#{line}");
    }
}

fn one(text: &mut String, option: &OptionDeclaration, mark: char) {
    comment(text, option.doc);
    let _ = writeln!(text, "# Takes {}.", (option.expected)());
    let line = format!("{mark}{} = {}", option.name, option.default);
    let _ = writeln!(text, "{}", line.trim_end());
}
