//! Colours of the enrolment page.

use super::Value;
use crate::config::schema::Schema;

/// A colour, as it was read and not as it was written: whatever the text was, this is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour([u8; 4]);

impl Colour {
    /// The colour in CSS: `#rrggbb`, or `#rrggbbaa` where it is not opaque.
    pub fn css(self) -> String {
        let Self([red, green, blue, alpha]) = self;
        match alpha {
            u8::MAX => format!("#{red:02x}{green:02x}{blue:02x}"),
            _ => format!("#{red:02x}{green:02x}{blue:02x}{alpha:02x}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        csscolorparser::parse(text.trim()).ok().map(|colour| Self(colour.to_rgba8()))
    }
}

/// A colour for the light scheme, and perhaps another for the dark one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shades {
    pub light: Colour,
    pub dark: Option<Colour>,
}

impl Value for Shades {
    fn expected() -> String {
        "a CSS colour such as #1a5fb4, or one for light and one for dark such as white | #222".into()
    }

    fn schema() -> Schema {
        // CSS has more forms of colours than a pattern can hold.
        Schema::Text
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once('|') {
            Some((light, dark)) => Some(Self { light: Colour::parse(light)?, dark: Some(Colour::parse(dark)?) }),
            None => Some(Self { light: Colour::parse(text)?, dark: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn css_colours_are_read_in_each_form() {
        for (text, css) in [
            ("#EEF2F5", "#eef2f5"),
            ("#fff", "#ffffff"),
            ("white", "#ffffff"),
            ("RebeccaPurple", "#663399"),
            ("rgba(0, 0, 0, 0.2)", "#00000033"),
            ("rgb(0 0 0 / 20%)", "#00000033"),
            ("hsl(120, 100%, 50%)", "#00ff00"),
            ("rgb(300, -5, 0)", "#ff0000"),
            ("transparent", "#00000000"),
        ] {
            assert_eq!(Colour::parse(text).map(Colour::css).as_deref(), Some(css), "{text}");
        }
        let two = Shades::parse("white | rgb(1, 2, 3)").unwrap();
        assert_eq!((two.light.css(), two.dark.unwrap().css()), ("#ffffff".into(), "#010203".into()));
    }

    #[test]
    fn what_would_leave_the_style_is_no_colour() {
        for text in [
            "",
            "|",
            "white |",
            "white | black | red",
            "#12345",
            "#fff;}body{display:none",
            "red</style><script>alert(1)</script>",
            "url(https://evil.example/x)",
            "var(--link)",
            "expression(alert(1))",
            "red !important",
            "light-dark(red, blue)",
            "red/**/",
            "\\72 ed",
        ] {
            assert_eq!(Shades::parse(text), None, "{text}");
        }
    }
}
