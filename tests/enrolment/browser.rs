//! Chromium without a window, and zbar, which reads what it shows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::rig::Home;

/// The programs that look at what is shown.
pub const EYES: &[(&str, &str)] = &[("chromium", "chromium, fonts-dejavu-core"), ("zbarimg", "zbar-tools")];

/// The scheme that whoever looks at a page prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

/// A picture of the HTML file at `page`, so many pixels wide and high.
pub fn picture(home: &Home, page: &Path, scheme: Scheme, width: u32, height: u32) -> PathBuf {
    let path = home.dir().join("picture.png");
    let _ = std::fs::remove_file(&path);
    let scheme = match scheme {
        Scheme::Light => "1",
        Scheme::Dark => "0",
    };
    let status = chromium(home)
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", path.display()))
        .arg(page)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() && path.exists(), "no picture of {}", page.display());
    path
}

/// The document that the HTML file at `page` is once its scripts have run.
pub fn document(home: &Home, page: &Path) -> String {
    let done = chromium(home).arg("--dump-dom").arg(page).output().unwrap();
    assert!(done.status.success());
    String::from_utf8(done.stdout).unwrap()
}

/// What the QR codes in a picture say, in no order.
pub fn scan(picture: &Path) -> Vec<String> {
    let read = Command::new("zbarimg").args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"]).arg(picture).output();
    String::from_utf8(read.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

fn chromium(home: &Home) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["100", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--hide-scrollbars", "--no-first-run", "--disable-background-networking"])
        .arg(format!("--user-data-dir={}", home.dir().join("chromium").display()))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}
