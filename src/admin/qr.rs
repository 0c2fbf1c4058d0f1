//! QR codes as pictures: SVG and PNG.

use std::fmt::Write;

use data_encoding::BASE64;

use super::AdminError;
use crate::domain::secret::{Secret, SecretBytes};
use crate::otp::qr::Code;

/// How many pixels a module of a PNG has on a side; phones need four at least.
const SCALE: usize = 8;

/// `code` as an SVG document, which can stand in HTML as it is.
pub fn svg(code: &Code) -> Secret<String> {
    let side = code.side();
    let mut path = String::new();
    for row in 0..side {
        let mut column = 0;
        while column < side {
            let run = (column..side).take_while(|at| code.is_dark(row, *at)).count();
            if run > 0 {
                // Runs, not modules: between two shapes that meet, some renderers show a line.
                let _ = write!(path, "M{column} {row}h{run}v1h-{run}z");
            }
            column += run.max(1);
        }
    }
    let pixels = side * SCALE;
    Secret::new(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"{pixels}\" height=\"{pixels}\" \
         shape-rendering=\"crispEdges\" role=\"img\" aria-label=\"QR code\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/>\
         <path fill=\"#000\" d=\"{path}\"/></svg>\n"
    ))
}

/// `code` as a PNG: black and white, one bit a pixel.
///
/// # Errors
/// Never, unless the encoder has a bug.
pub fn png(code: &Code) -> Result<SecretBytes, AdminError> {
    let flawed = |error: png::EncodingError| AdminError::Failed(format!("the picture could not be made: {error}"));
    let side = code.side();
    let pixels = side * SCALE;
    let width = u32::try_from(pixels).map_err(|error| AdminError::Failed(error.to_string()))?;
    let mut rows = Vec::with_capacity(pixels * pixels.div_ceil(8));
    for row in 0..side {
        // A module is as wide as a byte has bits.
        let line: Vec<u8> = (0..side).map(|column| if code.is_dark(row, column) { 0x00 } else { 0xff }).collect();
        (0..SCALE).for_each(|_| rows.extend_from_slice(&line));
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, width);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(flawed)?;
    writer.write_image_data(&rows).map_err(flawed)?;
    writer.finish().map_err(flawed)?;
    Ok(SecretBytes::new(file))
}

/// A PNG as a URL that holds all of it.
pub fn data_url(png: &SecretBytes) -> Secret<String> {
    // Another form of the same picture, in the same custody.
    Secret::new(format!("data:image/png;base64,{}", BASE64.encode(png.expose())))
}
