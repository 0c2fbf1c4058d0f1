//! What whoever enrols is shown: text, JSON, pictures and the page. Here the secret may be seen.

use std::io::{self, IsTerminal, Write};

use serde_json::json;

use super::output::{Output, Picture, Place, Qr, Text, write_all};
use super::pending::Enrolment;
use crate::admin::desk::Desk;
use crate::admin::{AdminError, page, qr};
use crate::domain::secret::{Secret, SecretBytes};
use crate::otp::base32;
use crate::otp::qr::{Code, Colours};

/// A secret in the forms in which it is shown.
pub struct Shown<'a> {
    pub enrolment: &'a Enrolment,
    pub uri: Secret<String>,
    /// Base32.
    pub secret: Secret<String>,
    /// The QR code of the URI, where it is not too long for one.
    pub code: Option<Code>,
    /// What stands in for the authenticator when it is lost.
    pub recovery_codes: &'a [Secret<String>],
}

impl Enrolment {
    /// Its secret, in the forms in which it is shown.
    pub fn shown(&self) -> Shown<'_> {
        let (uri, secret) = (self.otpauth.to_uri(), base32::encode(&self.otpauth.secret));
        // The code is another form of the secret, for those who may see it.
        let code = Code::of(uri.expose());
        Shown { enrolment: self, uri, secret, code, recovery_codes: &self.recovery_codes }
    }
}

impl Shown<'_> {
    /// Writes the files of `output`, all of them or none.
    pub fn write_files(&self, desk: &Desk, output: &Output) -> Result<(), AdminError> {
        let mut files = Vec::new();
        if let Some((picture, Place::File(path))) = &output.picture {
            files.push((path.as_path(), self.picture(*picture)?));
        }
        if let Some(path) = &output.page {
            let html = page::render(self, &desk.setup.config)?;
            // From one custody to the next.
            files.push((path.as_path(), SecretBytes::new(html.expose().as_bytes().to_vec())));
        }
        write_all(&files)
    }

    /// Says on standard output what `output` wants said there.
    pub fn print(&self, output: &Output, out: &mut impl Write) -> Result<(), AdminError> {
        match output.text {
            Text::Json(wanted) => self.print_json(wanted, out)?,
            Text::Secret(wanted) => self.print_secret(wanted, out)?,
            Text::Files => {}
            Text::Nothing => {
                if let Some((picture, Place::StandardOutput)) = &output.picture {
                    // Whoever reads standard output asked for the picture.
                    out.write_all(self.picture(*picture)?.expose())?;
                }
            }
        }
        match output.text {
            Text::Json(_) | Text::Nothing => {}
            Text::Secret(_) | Text::Files => {
                for path in output.files() {
                    writeln!(out, "{}: written; whoever reads it has the secret", path.display())?;
                }
                if matches!(output.text, Text::Files) && output.page.is_none() && !self.recovery_codes.is_empty() {
                    let id = &self.enrolment.challenge.id.0;
                    writeln!(
                        out,
                        "Recovery codes come with it, which are not in the picture: countersign enroll show {id}"
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The secret as people read it aloud: base32 in groups of four.
    pub fn grouped(&self) -> Secret<String> {
        // The same text with spaces in it, in the same custody.
        Secret::new(base32::grouped(self.secret.expose()))
    }

    fn print_json(&self, wanted: Qr, out: &mut impl Write) -> Result<(), AdminError> {
        let qr = match (wanted, &self.code) {
            (Qr::Draw, Some(code)) => Some(qr::data_url(&qr::png(code)?)),
            (Qr::Draw, None) | (Qr::Leave, _) => None,
        };
        let challenge = &self.enrolment.challenge;
        // Whoever asked for JSON gets all of it: this is what they enrol with.
        let codes: Vec<&str> = self.recovery_codes.iter().map(|code| code.expose().as_str()).collect();
        let shown = json!({
            "user": challenge.subscriber.as_str(),
            "label": self.enrolment.label,
            "challenge": challenge.id.0,
            "uri": self.uri.expose(),
            "secret": self.secret.expose(),
            "qr": qr.as_ref().map(|url| url.expose().as_str()),
            "expires": challenge.expires.0,
            "recovery_codes": codes,
        });
        Ok(writeln!(out, "{shown}")?)
    }

    fn print_secret(&self, wanted: Qr, out: &mut impl Write) -> Result<(), AdminError> {
        let mut how = "type the secret:";
        match (wanted, &self.code) {
            (Qr::Draw, Some(code)) => {
                let colours = if io::stdout().is_terminal() { Colours::Fixed } else { Colours::Terminal };
                writeln!(out, "Scan this with an authenticator app:\n\n{}", code.half_blocks(colours))?;
                how = "or type the secret:";
            }
            (Qr::Draw, None) => writeln!(out, "The names are too long for a QR code.\n")?,
            (Qr::Leave, _) => {}
        }
        // Whoever enrols has to see it; only their screen does.
        writeln!(out, "{how:20} {}", self.grouped().expose())?;
        writeln!(out, "{:20} {}\n", "or open the URI:", self.uri.expose())?;
        if !self.recovery_codes.is_empty() {
            writeln!(
                out,
                "Keep these recovery codes, each good once when the app is lost; they count with the enrolment:\n"
            )?;
            for code in self.recovery_codes {
                // Shown to whoever enrols, until the enrolment is over.
                writeln!(out, "  {}", code.expose())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn picture(&self, picture: Picture) -> Result<SecretBytes, AdminError> {
        let code = self.code.as_ref().ok_or_else(|| {
            let text = "the names are too long for a QR code; shorten [totp] issuer, or use --qr none";
            AdminError::Data(text.into())
        })?;
        match picture {
            // From one custody to the next.
            Picture::Svg => Ok(SecretBytes::new(qr::svg(code).expose().as_bytes().to_vec())),
            Picture::Png => qr::png(code),
        }
    }
}
