//! A mount in the background: the process that was started waits for the one that stays.
//!
//! The binary runs itself again instead of forking, because a process with threads cannot fork safely
//! (`docs/decisions/0001-daemon-by-re-execution.md`). The environment is inherited, and the arguments come by its standard
//! input, so that no secret is in a command line: what `ps` shows of the daemon is made for people. The daemon's standard
//! output is a pipe to its parent, on which it says [`READY`] once its mount answers, and before that what its user should
//! know; until then it shares the parent's standard error, where it says why if there will be no mount.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::failure::{Exit, Failure};
use super::{given_mount, logging, terminal};
use crate::config::redacted;

const READY: &str = "ready";

/// Before a line that the parent shows.
const NOTE: &str = "note ";

/// The first descriptor behind standard input, output and error.
const FIRST_OTHER_FD: i32 = 3;

/// The most that arguments can be, in bytes: the kernel takes no longer ones (execve(2)).
const ARGUMENTS_BYTES_MAX: u64 = 8 << 20;

/// What a mount was started with.
pub(super) struct Shown<'a> {
    /// What is mounted, if that was said.
    pub(super) source: Option<&'a str>,
    /// Where, as it was typed.
    pub(super) mount_point: &'a Path,
}

/// Starts the daemon and returns once its mount answers. A daemon that fails has said why; its exit code is `Err`.
///
/// `arguments` are those of this process without its name, the subcommand first.
pub(super) fn start(arguments: &[OsString], shown: &Shown<'_>) -> Result<Result<(), Exit>, Failure> {
    let failed = |what: &str, error: io::Error| Failure::new(Exit::Failed, format!("{what}: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("this program cannot be found again", error))?;
    // What the caller has open besides, a lock or the end of a pipe, is not the daemon's to keep; a mount that it was given is.
    let given = given_mount::number(shown.mount_point);
    close_fds::set_fds_cloexec(FIRST_OTHER_FD, given.as_slice());
    let mut child = Command::new(program)
        .arg0("cosmount")
        .args(shown_arguments(arguments, shown))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed("the daemon cannot be started", error))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A daemon that is gone by now has said why.
        let _ = pipe.write_all(&joined(arguments));
    }
    let mut is_ready = false;
    for line in child.stdout.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()) {
        let line = line.map_err(|error| failed("the daemon cannot be heard", error))?;
        match line.strip_prefix(NOTE) {
            Some(note) => terminal::tell(note),
            None => is_ready |= line == READY,
        }
    }
    if is_ready {
        return Ok(Ok(()));
    }
    let status = child.wait().map_err(|error| failed("the daemon cannot be waited for", error))?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != 0 => Ok(Err(Exit::from_code(code))),
        // A crash, somebody killed it, or it was unmounted at once.
        _ => Err(Failure::new(
            Exit::Failed,
            format!("the daemon ended before the mount answered ({status}): see why with --foreground, or in its log"),
        )),
    }
}

/// The arguments as one text; none of them holds a zero byte.
fn joined(arguments: &[OsString]) -> Vec<u8> {
    arguments.iter().flat_map(|argument| argument.as_bytes().iter().copied().chain([0])).collect()
}

/// The arguments that the parent has sent to this daemon.
pub(super) fn arguments() -> io::Result<Vec<OsString>> {
    let mut text = Vec::new();
    io::stdin().lock().take(ARGUMENTS_BYTES_MAX).read_to_end(&mut text)?;
    let nothing = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(nothing.as_fd())?;
    let arguments = text.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec()));
    let mut arguments: Vec<OsString> = arguments.collect();
    // What follows the last zero is nothing.
    arguments.pop();
    Ok(arguments)
}

/// What a list of processes shows: what is mounted where, by its absolute path, then what else was typed, without
/// passwords. It is not what the daemon reads.
fn shown_arguments(arguments: &[OsString], shown: &Shown<'_>) -> Vec<OsString> {
    let (subcommand, rest) = arguments.split_at(arguments.len().min(1));
    let mut rest: Vec<&OsStr> = rest.iter().map(OsString::as_os_str).collect();
    let typed = shown.mount_point.as_os_str();
    if let Some(at) = rest.iter().rposition(|argument| *argument == typed) {
        rest.remove(at);
    }
    let source = shown.source.map(OsString::from);
    if let Some(at) = rest.iter().position(|argument| Some(*argument) == source.as_deref()) {
        rest.remove(at);
    }
    let mount_point = std::path::absolute(shown.mount_point).unwrap_or_else(|_| shown.mount_point.to_owned());
    let places = source.into_iter().chain([mount_point.into_os_string()]);
    let rest = rest.into_iter().map(|argument| match argument.to_str() {
        Some(text) => redacted(text).into_owned().into(),
        None => argument.to_owned(),
    });
    subcommand.iter().cloned().chain(["--daemon".into()]).chain(places).chain(rest).collect()
}

/// Cuts the daemon loose from the terminal and session that it was started from.
pub(super) fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    // A daemon that stays in a directory would keep that file system from being unmounted.
    std::env::set_current_dir("/")
}

/// Lets the parent show a line to its user.
pub(super) fn tell_note(line: &str) {
    let _ = writeln!(io::stdout(), "{NOTE}{line}").and_then(|()| io::stdout().flush());
}

/// Tells the parent that the mount answers, and lets go of its pipe and terminal.
///
/// Fails if the parent is gone: whoever started this mount does not want it any more.
pub(super) fn tell_ready(log_file: Option<&Path>) -> io::Result<()> {
    let mut pipe = io::stdout();
    writeln!(pipe, "{READY}")?;
    pipe.flush()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    keep_standard_error(log_file)?;
    // Last, because the parent returns when its end of the pipe does, and nothing may be left to do then.
    rustix::stdio::dup2_stdout(nowhere.as_fd())?;
    Ok(())
}

/// What libraries write to standard error, or the runtime at the end of its memory, goes to the log file, or nowhere.
pub(super) fn keep_standard_error(log_file: Option<&Path>) -> io::Result<()> {
    let file = match log_file {
        Some(path) => logging::open_file(path)?,
        None => File::options().read(true).write(true).open("/dev/null")?,
    };
    Ok(rustix::stdio::dup2_stderr(file.as_fd())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, source: Option<&str>, mount_point: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let shown = Shown { source, mount_point: Path::new(mount_point) };
        let words = shown_arguments(&arguments, &shown).into_iter().map(|word| word.into_string().unwrap());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_ps_shows_has_the_whole_path_and_no_password() {
        let line = "mount b-1 /mnt -f --proxy http://u:hunter2@p:1 -o proxy=http://u:hunter2@p";
        let expected = "mount --daemon b-1 /mnt -f --proxy http://***@p:1 -o proxy=http://***@p";
        assert_eq!(shown(line, Some("b-1"), "/mnt"), expected);
        let here = std::env::current_dir().unwrap();
        assert_eq!(shown("mount --local d d", None, "d"), format!("mount --daemon {}/d --local d", here.display()));
    }
}
