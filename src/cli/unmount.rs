//! `cosmount unmount`: ask the daemon, tell what it could not publish, and wait until it has ended.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::control::{self, Answer, Places, UNMOUNT};
use super::failure::{Exit, Failure};
use super::mount_point::{self, MountEntry};
use super::session::{CUT_OFF, Left};
use super::terminal;
use crate::config::ByteSize;

/// How long a daemon may take to answer at all: it only has to read a line.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a daemon may take after its own deadline, to let its connections and its service end.
const ENDING_TIMEOUT: Duration = Duration::from_secs(30);

/// How to find what was meant.
const SEE_MOUNTS: &str = "see what is mounted with findmnt -t fuse.cosmount";

/// Unmounts `path`, or says why not.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let refuse = |sentence: String| Failure::new(Exit::MountPoint, sentence);
    let shown = path.display();
    let mount_point = mount_point::real_path(path)
        .ok_or_else(|| refuse(format!("{shown} does not exist, so nothing is mounted: {SEE_MOUNTS}")))?;
    let entry = mount_point::mounted_at(&mount_point);
    let below = mount_point::mounted_below(&mount_point);
    if entry.is_some() && !below.is_empty() {
        // As umount(8) does: taking this one away would take them along.
        let below: Vec<String> = below.iter().map(|path| path.display().to_string()).collect();
        return Err(refuse(format!("{shown} is busy: unmount first what is mounted below it: {}", below.join(", "))));
    }
    if let Some(daemon) = connect(&mount_point, entry.as_ref()) {
        return ask(daemon, path);
    }
    match entry {
        None => Err(refuse(format!("{shown} is not a mount point: {SEE_MOUNTS}"))),
        Some(entry) if !entry.may_be_ours() => {
            let what = format!("{shown} is a mount of type {}, not one of cosmount", entry.fs_type);
            Err(refuse(format!("{what}: unmount it with umount {shown}")))
        }
        Some(_) if mount_point::is_dead(&mount_point) => {
            mount_point::detach(&mount_point)?;
            terminal::tell(&format!("{shown} was a mount whose process had ended; it is cleaned up"));
            Ok(())
        }
        Some(entry) => Err(refuse(format!(
            "the process that mounted {} on {shown} cannot be reached; ask the user who mounted it, \
             or use umount {shown}, which does not wait for uploads",
            entry.source
        ))),
    }
}

/// The daemon of a mount: this user's, or for root that of the user who mounted it.
fn connect(mount_point: &Path, entry: Option<&MountEntry>) -> Option<UnixStream> {
    let user_id = rustix::process::geteuid().as_raw();
    let mut places = vec![(user_id, super::session::directories())];
    if let Some(owner) = entry.and_then(|entry| entry.user_id).filter(|owner| *owner != user_id) {
        let known = nix::unistd::User::from_uid(owner.into()).ok().flatten();
        let home = known.map(|user| user.dir);
        places.push((owner, control::directories(owner, &Places { home, ..Places::default() })));
    }
    places.into_iter().find_map(|(owner, directories)| {
        directories
            .into_iter()
            .filter(|directory| control::belongs_to(directory, owner))
            .find_map(|directory| UnixStream::connect(control::socket_path(&directory, mount_point)).ok())
    })
}

fn ask(mut daemon: UnixStream, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let silent = |error: std::io::Error| {
        let sentence = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!(
                    "the daemon of {shown} does not answer in time: its log says why; umount -l {shown} gives it up"
                )
            }
            _ => format!("the daemon of {shown} cannot be heard: {error}; look into its log"),
        };
        Failure::new(Exit::Failed, sentence)
    };
    daemon.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(silent)?;
    writeln!(daemon, "{UNMOUNT}").map_err(silent)?;

    let limits = daemon.try_clone().map_err(silent)?;
    let (mut left, mut done) = (Left::default(), false);
    // The lines end when the daemon has ended and with it the connection.
    for line in BufReader::new(daemon).lines() {
        match line {
            Ok(line) => match Answer::decode(&line) {
                Some(Answer::Within(seconds)) => {
                    let most = Duration::from_secs(seconds) + ENDING_TIMEOUT;
                    limits.set_read_timeout(Some(most)).map_err(silent)?;
                }
                Some(Answer::Waiting(files, bytes)) => {
                    let bytes = ByteSize(bytes >> 10 << 10);
                    terminal::warn(&format!("waiting until {files} files with {bytes} in memory are published"));
                }
                Some(Answer::Unpublished(what)) => left.unpublished.push(what),
                Some(Answer::Upload(what)) => left.uploads.push(what),
                Some(Answer::CutOff(path)) => terminal::warn(&format!("{path} is published as it is, {CUT_OFF}")),
                Some(Answer::Done) => done = true,
                None => {}
            },
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(silent(error)),
        }
    }
    if !done {
        let sentence =
            format!("the daemon of {shown} ended without saying whether everything is published: look into its log");
        return Err(Failure::new(Exit::Unpublished, sentence));
    }
    left.outcome()
        .map_err(|failure| Failure { sentence: format!("{shown} is unmounted, but {}", failure.sentence), ..failure })
}
