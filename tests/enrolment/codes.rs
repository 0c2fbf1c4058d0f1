//! QR codes in every form, read by programs that are not ours.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::browser::{EYES, Scheme, picture, scan};
use super::rig::Home;
use super::{Pending, are_there, enroll, refused, show};

/// The issuers and accounts of the vectors, as far as they can be an issuer and a user here.
fn names() -> Vec<(String, String)> {
    let vectors: Value = serde_json::from_str(include_str!("../data/otp.json")).unwrap();
    let field = |vector: &Value, name: &str| vector[name].as_str().unwrap().to_owned();
    let vectors = vectors["uris_pyotp"].as_array().unwrap();
    let names: Vec<_> = vectors
        .iter()
        .map(|vector| (field(vector, "issuer").trim().replace('\t', " "), field(vector, "account")))
        .filter(|(issuer, account)| !issuer.is_empty() && !account.contains('\n'))
        .chain([("x".repeat(40), "ž".repeat(128))])
        .collect();
    assert!(names.len() > 15);
    names
}

/// A pending enrolment for each of the names, whose URI holds them.
fn pending(home: &Home) -> Vec<Pending> {
    let enrolled = names().into_iter().map(|(issuer, account)| {
        home.set("totp", "issuer", &issuer);
        let pending = enroll(home, &[&account]);
        let label = pending.uri.strip_prefix("otpauth://totp/").unwrap().split_once('?').unwrap().0;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let (told_issuer, told_account) = label.split_once(':').unwrap();
        assert_eq!((decoded(told_issuer), decoded(told_account)), (issuer, account.trim().to_owned()));
        pending
    });
    enrolled.collect()
}

fn html(home: &Home, body: &str) -> PathBuf {
    let path = home.dir().join("shown.html");
    fs::write(&path, format!("<!DOCTYPE html><meta charset=utf-8><body style='margin:0'>{body}")).unwrap();
    path
}

#[test]
fn pictures_give_back_the_exact_uri() {
    if !are_there(&[EYES[1], ("rsvg-convert", "librsvg2-bin")]) {
        return;
    }
    let home = Home::init();
    let file = |name: &str| home.dir().join(name);
    for (index, pending) in pending(&home).iter().enumerate() {
        for form in ["png", "svg"] {
            let path = file(&format!("{index}.{form}"));
            let arguments = ["enroll", "show", &pending.challenge, "--qr", form, "--qr-file", path.to_str().unwrap()];
            let said = home.run(&arguments, "").ok().stdout;
            assert!(
                said.starts_with(&format!("{}: written; whoever reads it has the secret\n", path.display())),
                "{said}"
            );
            // Neither the secret nor the codes beside it.
            assert!(!said.contains(&pending.secret) && !said.contains(&pending.recovery_codes[0]), "{said}");
        }
        let (png, svg, drawn) = (file(&format!("{index}.png")), file(&format!("{index}.svg")), file("drawn.png"));
        assert!(Command::new("rsvg-convert").arg(&svg).arg("-o").arg(&drawn).status().unwrap().success());
        let url = pending.qr.as_deref().unwrap();
        let inside = BASE64.decode(url.strip_prefix("data:image/png;base64,").unwrap().as_bytes()).unwrap();
        assert!(inside == fs::read(&png).unwrap(), "the URL holds the file");
        for picture in [png, drawn] {
            assert_eq!(scan(&picture), [pending.uri.as_str()], "{}", picture.display());
        }
    }
}

#[test]
fn a_phone_reads_the_exact_uri_from_a_terminal() {
    if !are_there(EYES) {
        return;
    }
    let home = Home::init();
    let all = pending(&home);
    // As a terminal draws it: characters of one width, light on dark. One picture for all of them costs one browser.
    let mut body = String::new();
    for one in &all {
        let text = home.run(&["enroll", "show", &one.challenge], "").ok().stdout;
        let lines: Vec<&str> = text.lines().filter(|line| line.contains('█')).collect();
        assert!(lines.len() > 20, "{text}");
        body.push_str(&format!(
            "<div style='float:left;width:{CELL}px;height:{CELL}px'>{}</div>",
            terminal(&lines.join("\n"))
        ));
    }
    let rows = u32::try_from(all.len()).unwrap().div_ceil(ACROSS);
    let shown = picture(&home, &html(&home, &body), Scheme::Light, ACROSS * CELL, rows * CELL);
    for (one, cell) in all.iter().zip(cells(&home, &shown)) {
        assert_eq!(scan(&cell), [one.uri.as_str()]);
    }
}

/// How large a cell of a picture is in pixels, and how many stand side by side.
const CELL: u32 = 1000;
const ACROSS: u32 = 4;

/// The cells of a picture, row by row, each as a picture of its own.
fn cells(home: &Home, picture: &Path) -> Vec<PathBuf> {
    let file = BufReader::new(File::open(picture).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let samples = info.color_type.samples();
    let (cell, line) = (usize::try_from(CELL).unwrap(), info.line_size);
    let mut paths = Vec::new();
    for top in 0..pixels.len() / line / cell {
        for left in 0..line / samples / cell {
            let mut grey = format!("P5\n{cell} {cell}\n255\n").into_bytes();
            for row in 0..cell {
                let start = (top * cell + row) * line + left * cell * samples;
                grey.extend(pixels[start..start + cell * samples].chunks(samples).map(|pixel| pixel[0]));
            }
            let path = home.dir().join(format!("cell{}.pgm", paths.len()));
            fs::write(&path, grey).unwrap();
            paths.push(path);
        }
    }
    paths
}

#[test]
fn a_phone_reads_it_whatever_the_colours_of_the_terminal() {
    if !are_there(EYES) || !are_there(&[("script", "util-linux, bsdutils")]) {
        return;
    }
    let home = Home::init();
    let pending = enroll(&home, &["alice"]);
    let program = env!("CARGO_BIN_EXE_countersign");
    let command = format!("'{program}' enroll show {} --config '{}'", pending.challenge, home.ini().display());
    let done = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("\u{1b}[30;107m")).collect();
    let code = lines.join("\n").replace('\r', "");
    let code =
        code.replace("\u{1b}[30;107m", "<span style='color:#000;background:#fff'>").replace("\u{1b}[0m", "</span>");
    for colours in ["color:#fff;background:#000", "color:#000;background:#fff", "color:#839496;background:#fdf6e3"] {
        let body = terminal(&code).replace("color:#fff;background:#000", colours);
        assert_eq!(
            scan(&picture(&home, &html(&home, &body), Scheme::Light, 900, 900)),
            [pending.uri.as_str()],
            "{colours}"
        );
    }
}

/// `text` as a terminal shows it.
fn terminal(text: &str) -> String {
    format!(
        "<pre style=\"display:inline-block;vertical-align:top;margin:8px;padding:8px;color:#fff;background:#000;\
         font:12px/normal 'DejaVu Sans Mono'\">{text}</pre>"
    )
}

#[test]
fn a_name_too_long_for_a_code_is_shown_as_text() {
    let home = Home::init();
    home.set("totp", "issuer", &"ž".repeat(400));
    let pending = enroll(&home, &["alice"]);
    assert_eq!((pending.qr.as_deref(), pending.uri.len() > 2331), (None, true));
    let text = home.run(&["enroll", "show", &pending.challenge], "").ok().stdout;
    assert!(text.starts_with("The names are too long for a QR code.\n\ntype the secret:"), "{text}");
    assert!(text.contains(&pending.uri) && !text.contains('█'));
    let page = home.dir().join("page.html");
    home.run(&["enroll", "show", &pending.challenge, "--page", page.to_str().unwrap()], "").ok();
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("Type this key into the app:") && !page.contains("<svg"), "{page}");
    let picture = home.dir().join("code.png");
    let arguments = ["enroll", "bob", "--qr", "png", "--qr-file", picture.to_str().unwrap()];
    assert!(refused(&home.run(&arguments, ""), 65).contains("too long for a QR code"));
    assert!(!picture.exists());
    assert_eq!(super::parse(&show(&home, &pending.challenge).ok().stdout), pending);
}

#[test]
fn what_is_written_for_one_is_not_told_to_the_screen() {
    let home = Home::init();
    let path = home.dir().join("code.svg");
    let text = home.run(&["enroll", "alice", "--qr", "svg", "--qr-file", path.to_str().unwrap()], "").ok().stdout;
    let id = text.split_once("enroll confirm ").unwrap().1.split_once(' ').unwrap().0;
    let pending = super::parse(&show(&home, id).ok().stdout);
    assert!(!text.replace(' ', "").contains(&pending.secret) && !text.contains("otpauth"), "{text}");
    let plain = home.run(&["enroll", "show", id, "--qr", "none"], "").ok().stdout;
    assert!(plain.replace(' ', "").contains(&pending.secret) && !plain.contains('█'), "{plain}");
    let json = home.run(&["enroll", "show", id, "--qr", "none", "--json"], "").ok().stdout;
    assert_eq!(super::parse(&json), Pending { qr: None, ..pending });
    assert!(Path::new(&path).exists());
}
