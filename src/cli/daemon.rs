//! A mount in the background: the process that was started waits for the one that stays.
//!
//! The binary runs itself again instead of forking, because a process with threads cannot fork safely
//! (`docs/decisions/0001-daemon-by-re-execution.md`). The environment is inherited, so that no secret is in a command
//! line. The daemon's standard output is a pipe to its parent, on which it says [`READY`] once its mount answers; until
//! then it shares the parent's standard error, where it says why if there will be no mount.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::failure::{Exit, Failure};

const READY: &str = "ready\n";

/// The first descriptor behind standard input, output and error.
const FIRST_OTHER_FD: i32 = 3;

/// Starts the daemon and returns once its mount answers. A daemon that fails has said why; its exit code is `Err`.
///
/// `arguments` are those of this process without its name, the subcommand first.
pub(super) fn start(arguments: &[OsString]) -> Result<Result<(), Exit>, Failure> {
    let failed = |what: &str, error: io::Error| Failure::new(Exit::Failed, format!("{what}: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("this program cannot be found again", error))?;
    let (subcommand, rest) = arguments.split_at(arguments.len().min(1));
    // What the caller has open besides, a lock or the end of a pipe, is not the daemon's to keep.
    close_fds::set_fds_cloexec(FIRST_OTHER_FD, &[]);
    let mut child = Command::new(program)
        .arg0("cosmount")
        .args(subcommand)
        .arg("--daemon")
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed("the daemon cannot be started", error))?;
    let mut told = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut told).map_err(|error| failed("the daemon cannot be heard", error))?;
    }
    if told == READY {
        return Ok(Ok(()));
    }
    let status = child.wait().map_err(|error| failed("the daemon cannot be waited for", error))?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != 0 => Ok(Err(Exit::from_code(code))),
        // A crash, somebody killed it, or it was unmounted at once.
        _ => Err(Failure::new(Exit::Failed, format!("the daemon ended before the mount answered ({status})"))),
    }
}

/// Cuts the daemon loose from the terminal and session that it was started from.
pub(super) fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    // A daemon that stays in a directory would keep that file system from being unmounted.
    std::env::set_current_dir("/")
}

/// Tells the parent that the mount answers, and lets go of its pipe and terminal. What is written to standard error
/// from now on (the text of a panic) goes to the log file, or nowhere.
///
/// Fails if the parent is gone: whoever started this mount does not want it any more.
pub(super) fn tell_ready(log_file: Option<&Path>) -> io::Result<()> {
    let mut pipe = io::stdout();
    pipe.write_all(READY.as_bytes())?;
    pipe.flush()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    match log_file {
        Some(path) => rustix::stdio::dup2_stderr(File::options().append(true).create(true).open(path)?.as_fd())?,
        None => rustix::stdio::dup2_stderr(nowhere.as_fd())?,
    }
    // Last, because the parent returns when its end of the pipe does, and nothing may be left to do then.
    rustix::stdio::dup2_stdout(nowhere.as_fd())?;
    Ok(())
}
