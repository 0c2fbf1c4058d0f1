//! The PAM module in a host of its own: pamtester, under libpam-wrapper, which lets it have files of pam.d of the test's.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Home;
use super::services::program;
use super::terminal::Terminal;

/// What the module is built with.
pub const HEADERS: (&str, &str) = ("/usr/include/security/pam_modules.h", "libpam0g-dev");

/// What makes a host of any user's.
pub const WRAPPER: (&str, &str) = (
    if cfg!(target_arch = "aarch64") {
        "/usr/lib/aarch64-linux-gnu/libpam_wrapper.so"
    } else {
        "/usr/lib/x86_64-linux-gnu/libpam_wrapper.so"
    },
    "libpam-wrapper",
);

/// Builds the module, once: cargo builds no other members of the workspace for a test.
pub fn module() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_BIN_EXE_countersign")).ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--package", "pam_countersign"]);
        assert!(cargo.arg("--target-dir").arg(target).status().unwrap().success(), "the module is not built");
        target.join("debug/libpam_countersign.so")
    })
}

/// What `file` of contrib/pam says, with the module of this build, `executable` and the configuration of `home` in it.
pub fn contributed(file: &str, home: &Home, executable: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/pam").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let words = format!("{} program={}", module().display(), executable.display());
    assert!(text.contains("pam_countersign.so config=/etc/countersign/plugin.ini"), "{}", path.display());
    text.replace("pam_countersign.so", &words).replace("/etc/countersign/plugin.ini", &home.ini().display().to_string())
}

/// Whether there is a host; says what is missing where there is none.
pub fn is_here() -> bool {
    are_here(&[("pamtester", "pamtester"), WRAPPER, HEADERS])
}

/// Whether these programs, of these packages, are there.
pub fn are_here(wanted: &[(&str, &str)]) -> bool {
    let missing: Vec<_> =
        wanted.iter().filter(|(name, _)| program(name).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        println!("skipped; run: apt-get install {}", missing.join(" "));
        assert!(std::env::var_os("COUNTERSIGN_NOTHING_SKIPPED").is_none_or(|value| value != "1"), "{missing:?}");
    }
    missing.is_empty()
}

/// The module in a file of pam.d, with the executable of this build, the configuration of `home`, and `words` behind them.
pub fn line(home: &Home, words: &str) -> String {
    let (module, program, config) = (module().display(), env!("CARGO_BIN_EXE_countersign"), home.ini());
    format!("auth required {module} config={} program={program} {words}\n", config.display())
}

/// Who starts a wrapped program now: the wrapper looks for a directory of its own among few names, and gives up where another
/// one takes it at the same moment.
static TURN: Mutex<()> = Mutex::new(());

/// The directories that wrapped programs took, each with the process whose it is.
fn places() -> Vec<(PathBuf, u32)> {
    let owner = |path: &Path| fs::read_to_string(path.join("pid")).ok()?.trim().parse().ok();
    let entries = fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.path());
    let places = entries.filter(|path| path.to_string_lossy().len() == 10 && path.to_string_lossy().contains("/pam."));
    places.filter_map(|path| owner(&path).map(|owner| (path, owner))).collect()
}

/// Whether process `pid` has its directory, or had it and has ended.
fn has_place(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let has_ended = stat.is_empty() || stat.contains(") Z ");
    has_ended || places().iter().any(|(_, owner)| *owner == pid)
}

/// Removes the directories of programs that were killed.
fn sweep() {
    for (path, owner) in places() {
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Files of pam.d beside a home.
pub struct Pam {
    services: PathBuf,
}

impl Pam {
    /// None yet.
    pub fn beside(home: &Home) -> Self {
        let services = home.dir().parent().unwrap().join("pam.d");
        fs::create_dir_all(&services).unwrap();
        Self { services }
    }

    /// Writes the file of `service`.
    pub fn set(&self, service: &str, text: &str) {
        fs::write(self.services.join(service), text).unwrap();
    }

    /// Writes a file of `service` that has the module alone, with `words` behind it.
    pub fn set_module(&self, service: &str, home: &Home, words: &str) {
        self.set(service, &line(home, words));
    }

    /// A pamtester of `user`, who is authenticated `count` times by one process.
    pub fn host(&self, service: &str, user: &str, count: usize) -> Terminal {
        self.host_in("env", &[], service, user, count)
    }

    /// The same, started by `before` with these arguments.
    pub fn host_in(
        &self,
        before: &str,
        arguments: &[&str],
        service: &str,
        user: impl AsRef<OsStr>,
        count: usize,
    ) -> Terminal {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        sweep();
        let host = Terminal::start(before, |command| {
            command.args(arguments).arg("env").args(self.wrapped()).arg("pamtester").arg(service).arg(user);
            command.args(std::iter::repeat_n("authenticate", count));
        });
        let began = Instant::now();
        while !has_place(host.pid()) && began.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(2));
        }
        host
    }

    /// A pamtester with these arguments, which does what `operations` say.
    pub fn host_with(&self, arguments: &[String], service: &str, user: &str, operations: &[&str]) -> Terminal {
        Terminal::start("env", |command| {
            command.args(self.wrapped()).arg("pamtester").args(arguments).arg(service).arg(user).args(operations);
        })
    }

    /// The variables of the wrapper, for the last program before the host: each that runs with them takes one of the wrapper's
    /// few directories, and leaves it there where it becomes another program.
    fn wrapped(&self) -> [String; 3] {
        let services = self.services.display();
        [format!("LD_PRELOAD={}", WRAPPER.0), "PAM_WRAPPER=1".to_owned(), format!("PAM_WRAPPER_SERVICE_DIR={services}")]
    }
}
