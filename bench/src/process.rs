//! One process from its start to its end, and what it cost.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wait4::Wait4;

/// A process that says nothing for this long is stopped and counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that has ended.
pub struct Ended {
    pub wall: Duration,
    pub cpu: Duration,
    /// Peak resident set in KiB. The kernel lets a new process inherit the peak of the one that started it, so this is
    /// never less than the peak of this driver.
    pub peak_kib: u64,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
}

/// Runs `command` with `input` as the whole of its standard input. The clock runs from before the start until after
/// the end.
pub fn run(command: &mut Command, input: &[u8]) -> io::Result<Ended> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        allow_broken_pipe(stdin.write_all(input))?;
    }
    let mut stdout = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        read_all(pipe, &mut stdout).inspect_err(|_| stop(&mut child))?;
    }
    let ended = child.wait4()?;
    Ok(Ended {
        wall: started.elapsed(),
        cpu: ended.rusage.utime + ended.rusage.stime,
        peak_kib: ended.rusage.maxrss / 1024,
        status: ended.status,
        stdout,
    })
}

/// Leaves nothing behind of a process that went wrong.
pub fn stop(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Reads what there is, waiting for it no longer than [`PATIENCE`]; zero at the end.
pub fn read_some(pipe: &mut (impl Read + AsFd), buffer: &mut [u8]) -> io::Result<usize> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    if poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&patience))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no output for 20 s"));
    }
    pipe.read(buffer)
}

fn read_all(mut pipe: impl Read + AsFd, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match read_some(&mut pipe, &mut buffer)? {
            0 => return Ok(()),
            read => into.extend_from_slice(&buffer[..read]),
        }
    }
}

/// A program that reads no input may be gone before it is written.
fn allow_broken_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Peak resident set of a living process in KiB, by its id or `self`.
pub fn peak_kib(process: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("no VmHWM"))
}

/// CPU time that all threads of a living process have used so far.
pub fn cpu(process: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks_each_second = rustix::param::clock_ticks_per_second();
    // The second field is the program's name in parentheses; utime and stime are the 14th and 15th.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / ticks_each_second))
}
