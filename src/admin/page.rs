//! The page for whoever enrols: one HTML file that fetches nothing, with all that they need.

mod template;

use std::fmt::Write;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::enroll::Shown;
use super::{AdminError, desk, qr};
use crate::config::{Config, Page};
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::secret::Secret;
use crate::files::{self, Exposure};
use crate::otp::qr::Code;
use crate::otp::uri::Kind;
use template::{Template, Value};

/// The page as it is where no other template is named.
const TEMPLATE: &str = include_str!("page/template.html");

/// What the copy button does. The policy of the page allows this script and no other.
const SCRIPT: &str = include_str!("page/copy.js");

/// Without it, whatever stands in a template could send the secret away.
const POLICY: &str = "content_security_policy";

/// The page about `shown`.
///
/// # Errors
/// Where the template cannot be read, or is none, with what is wrong with it.
pub fn render(shown: &Shown<'_>, config: &Config) -> Result<Secret<String>, AdminError> {
    let options = config.page();
    let flawed = |text: String| config.mistake("page", "template", text);
    let own = match &options.template.0 {
        None => None,
        Some(path) => {
            let path = config.resolve(path);
            let text = files::read_text(&path, Exposure::Readable).map_err(|error| flawed(error.to_string()))?;
            Some((path, text))
        }
    };
    let (place, text) = match &own {
        None => (String::new(), TEMPLATE),
        Some((path, text)) => (format!("{}: ", path.display()), text.as_str()),
    };
    let known: Vec<&str> = PLACEHOLDERS.iter().map(|(name, _)| *name).collect();
    let template = Template::parse(text, &known).map_err(|flaw| flawed(format!("{place}{flaw}")))?;
    if !template.puts(POLICY) {
        let meta = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{{{{{POLICY}}}}}\">");
        return Err(flawed(format!("{place}lets the page fetch what it likes; put first into <head>: {meta}")).into());
    }
    Ok(template.fill(|name| {
        let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
        known.map_or_else(|| text_of(""), |(_, value)| value(shown, &options))
    }))
}

/// What a placeholder stands for.
type Meaning = fn(&Shown<'_>, &Page) -> Value;

/// Every placeholder. What is secret among them may be seen: the page is what whoever enrols gets.
const PLACEHOLDERS: &[(&str, Meaning)] = &[
    ("title", |_, page| text_of(&page.title)),
    ("notes", |_, page| text_of(page.notes.0.as_deref().unwrap_or_default())),
    ("user", |shown, _| text_of(shown.enrolment.challenge.subscriber.as_str())),
    ("account", |shown, _| text_of(&shown.enrolment.otpauth.account)),
    ("issuer", |shown, _| text_of(shown.enrolment.otpauth.issuer.as_deref().unwrap_or_default())),
    ("label", |shown, _| text_of(&shown.enrolment.label)),
    ("challenge", |shown, _| text_of(&shown.enrolment.challenge.id.0)),
    ("digits", |shown, _| text_of(&parameters(shown).1.to_string())),
    ("period", |shown, _| text_of(&parameters(shown).2.map(|period| period.to_string()).unwrap_or_default())),
    ("algorithm", |shown, _| text_of(parameters(shown).0.name())),
    ("expires", |shown, _| text_of(&expires(shown).replace('T', " ").replace('Z', " UTC"))),
    ("expires_iso", |shown, _| text_of(&expires(shown))),
    ("uri", |shown, _| Value::Text(shown.uri.clone())),
    ("secret", |shown, _| Value::Text(shown.grouped())),
    ("secret_plain", |shown, _| Value::Text(shown.secret.clone())),
    ("qr", |shown, _| Value::Markup(shown.code.as_ref().map_or_else(|| Secret::new(String::new()), qr::svg))),
    ("qr_side", |shown, _| text_of(&shown.code.as_ref().map_or(0, Code::side).to_string())),
    ("recovery_codes", |shown, _| Value::Markup(recovery_codes(shown.recovery_codes))),
    ("style", |_, page| Value::Markup(Secret::new(style(page)))),
    ("script", |_, _| Value::Markup(Secret::new(format!("<script>{SCRIPT}</script>")))),
    (POLICY, |_, _| text_of(&policy())),
];

fn text_of(text: &str) -> Value {
    Value::Text(Secret::new(text.to_owned()))
}

/// Algorithm, digits, and the period of a time-based one.
const fn parameters(shown: &Shown<'_>) -> (Algorithm, u32, Option<u64>) {
    match shown.enrolment.otpauth.kind {
        Kind::Totp(Totp { algorithm, digits, period }) => (algorithm, digits, Some(period)),
        Kind::Hotp(Hotp { algorithm, digits }, _) => (algorithm, digits, None),
    }
}

fn expires(shown: &Shown<'_>) -> String {
    desk::shown(shown.enrolment.challenge.expires)
}

fn recovery_codes(codes: &[Secret<String>]) -> Secret<String> {
    // They are shown here, once.
    let items = codes.iter().map(|code| format!("<li><code>{}</code></li>", template::escaped(code.expose()).expose()));
    Secret::new(items.collect())
}

/// What the page may do: show itself, run the one script, and fetch nothing from anywhere.
fn policy() -> String {
    let hash = BASE64.encode(&Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; \
         form-action 'none'"
    )
}

/// The colours of the page as CSS variables: those that `[page]` names, else the usual ones.
fn style(page: &Page) -> String {
    let Page {
        title: _,
        notes: _,
        template: _,
        background,
        foreground,
        text,
        error_text,
        button,
        button_text,
        link,
        border,
    } = page;
    let named = [background, foreground, text, error_text, button, button_text, link, border].map(|shades| shades.0);
    let (mut light, mut dark) = (String::new(), String::new());
    for ((name, usual, usual_dark), named) in USUAL.into_iter().zip(named) {
        let _ = write!(light, "--{name}:{};", named.map_or_else(|| usual.to_owned(), |named| named.light.css()));
        let named_dark = named.and_then(|named| named.dark);
        let _ = write!(dark, "--{name}:{};", named_dark.map_or_else(|| usual_dark.to_owned(), |dark| dark.css()));
    }
    // A colour for the light scheme might not be seen on the dark one's ground.
    if named.iter().flatten().any(|named| named.dark.is_none()) {
        return format!("<style>:root{{color-scheme:light;{light}}}</style>");
    }
    let dark = format!("@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}");
    format!("<style>:root{{color-scheme:light dark;{light}}}{dark}</style>")
}

/// The usual colours in both schemes, in the order of `[page]`.
const USUAL: [(&str, &str, &str); 8] = [
    ("background", "#eef2f5", "#14181c"),
    ("foreground", "#ffffff", "#1e2429"),
    ("text", "#1b1f23", "#e3e8ec"),
    ("error-text", "#a3220f", "#ff9d8a"),
    ("button", "#0b5cad", "#8fc3f5"),
    ("button-text", "#ffffff", "#0d1b28"),
    ("link", "#0b5cad", "#8fc3f5"),
    ("border", "#0000002e", "#ffffff2e"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The contrast of two colours (WCAG 2, 1.4.3).
    fn contrast(one: &str, other: &str) -> f32 {
        let light = |colour: &str| {
            let [red, green, blue, _] = csscolorparser::parse(colour).unwrap().to_linear_rgba();
            0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05
        };
        let (one, other) = (light(one), light(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn the_usual_colours_can_be_read() {
        for scheme in [USUAL.map(|(name, light, _)| (name, light)), USUAL.map(|(name, _, dark)| (name, dark))] {
            let colour = |name: &str| scheme.iter().find(|(known, _)| *known == name).unwrap().1;
            for (ink, ground) in [
                ("text", "foreground"),
                ("text", "background"),
                ("error-text", "foreground"),
                ("link", "foreground"),
                ("button-text", "button"),
            ] {
                let contrast = contrast(colour(ink), colour(ground));
                assert!(contrast >= 4.5, "{ink} on {ground}: {contrast}");
            }
        }
    }

    #[test]
    fn recovery_codes_stay_text() {
        let codes = ["k3f9-2mxq", "a<b>&"].map(|code| Secret::new(code.to_owned()));
        let items = recovery_codes(&codes);
        assert_eq!(items.expose(), "<li><code>k3f9-2mxq</code></li><li><code>a&lt;b&gt;&amp;</code></li>");
        assert_eq!(recovery_codes(&[]).expose(), "");
    }

    #[test]
    fn the_page_as_it_is_is_a_template_under_the_policy() {
        let known: Vec<&str> = PLACEHOLDERS.iter().map(|(name, _)| *name).collect();
        assert!(Template::parse(TEMPLATE, &known).unwrap().puts(POLICY));
    }
}
