//! plugin.ini.example, printed from the declarations.

use std::fmt::Write;

use super::clients::{CLIENTS_DECLARED, PUSH_DECLARED, Remote};
use super::credentials::CREDENTIALS_DECLARED;
use super::declare::{OptionDeclaration, SectionDeclaration};
use super::enrolment::ENROLMENT_DECLARED;
use super::fixed::FIXED_DECLARED;
use super::gateway::GATEWAY_DECLARED;
use super::http::{HttpOptions, Step, StepName};
use super::metrics::METRICS_DECLARED;
use super::network::NETWORK_DECLARED;
use super::notify::NotifyOptions;
use super::options::DECLARED;
use super::policy::sections::{EXPLICIT, POLICY_DECLARED};
use super::postgres::POSTGRES_DECLARED;

/// What `countersign example` prints: every option with what it means and what it takes, its default behind a `;`.
pub fn text() -> String {
    let mut text = local();
    text.push_str("\n# Enrolment. Each section stands here as it is without it.\n");
    for declaration in ENROLMENT_DECLARED {
        section(&mut text, declaration, declaration.name);
    }
    text.push_str(
        "\n# Remote services. Name those in use in [plugin] clients, and take the # away from their sections and from what\n\
         # is to be set there. A secret is better kept in a file of its own (file:PATH) than written here.\n",
    );
    for declaration in CLIENTS_DECLARED.iter().chain([&PUSH_DECLARED]) {
        section(&mut text, declaration, declaration.name);
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
    text.push_str(
        "\n# Codes that are sent to a subscriber: by mail, by a webhook such as an SMS provider's, or by a program. Where they\n\
         # are sent to is enrolled: countersign enroll USER --client \"notify mail\" --target ADDRESS.\n#[notify mail]\n",
    );
    for option in NotifyOptions::OPTIONS {
        one(&mut text, option, '#');
    }
    text.push_str("\n# In the section of every remote service there may also stand:\n");
    for option in Remote::OPTIONS {
        one(&mut text, option, '#');
    }
    for declaration in NETWORK_DECLARED {
        section(&mut text, declaration, declaration.name);
    }
    text.push_str(
        "\n# Policy: who needs a second factor, under which name, and what else is asked. Each section is off until the #\n\
         # before it and before its options is taken away. The names are those of SPS plugins, whose configurations\n\
         # `countersign gateway sps` reads as they are; `countersign check --gateway sps` tells what it passes over.\n",
    );
    for declaration in POLICY_DECLARED {
        // The names of those that there are many of, as examples.
        let name = match declaration.name {
            "user_list NAME" => "user_list vips",
            "ldap_server NAME" => "ldap_server corp",
            "question_N" => "question_1",
            name => name,
        };
        if name == "usermapping source=ldap_server" {
            text.push_str(
                "\n# Names at the MFA service, where they are others: a line for each user, whose name is taken in any case.\n",
            );
            let _ = writeln!(text, "#[{EXPLICIT}]\n#alice = alice.smith");
        }
        section(&mut text, declaration, name);
    }
    for declaration in FIXED_DECLARED {
        section(&mut text, declaration, declaration.name);
    }
    section(&mut text, &CREDENTIALS_DECLARED, CREDENTIALS_DECLARED.name);
    section(&mut text, &POSTGRES_DECLARED, POSTGRES_DECLARED.name);
    section(&mut text, &METRICS_DECLARED, METRICS_DECLARED.name);
    section(&mut text, &GATEWAY_DECLARED, "gateway radius-exec");
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

fn section(text: &mut String, declaration: &SectionDeclaration, name: &str) {
    text.push('\n');
    comment(text, declaration.doc);
    let _ = writeln!(text, "#[{name}]");
    for option in declaration.options {
        one(text, option, '#');
    }
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
