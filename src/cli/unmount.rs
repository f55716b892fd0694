//! `cosmount unmount`: ask the daemon, tell what it could not publish, and wait until it has ended.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::arguments::UnmountArguments;
use super::control::{self, Answer, Ask, Conversation};
use super::failure::{Exit, Failure};
use super::mount_point;
use super::progress::PublishProgress;
use super::session::{CUT_OFF, Left};
use super::terminal;

/// What a daemon may take after its own deadline, to let its connections and its service end.
const ENDING_TIMEOUT: Duration = Duration::from_secs(30);

/// How to find what was meant.
const SEE_MOUNTS: &str = "see what is mounted with findmnt -t fuse.cosmount";

/// Unmounts, or says why not.
pub(super) fn run(arguments: &UnmountArguments) -> Result<(), Failure> {
    if arguments.dead { clean_up(&arguments.mount_point) } else { unmount(&arguments.mount_point) }
}

/// Takes a mount away whose process has ended, if there is one.
fn clean_up(path: &Path) -> Result<(), Failure> {
    let dead = mount_point::real_path(path).filter(|path| {
        mount_point::mounted_at(path).is_some_and(|entry| entry.may_be_ours()) && mount_point::is_dead(path)
    });
    match dead {
        Some(mount_point) => detach_dead(&mount_point, path),
        None => Ok(()),
    }
}

fn detach_dead(mount_point: &Path, path: &Path) -> Result<(), Failure> {
    mount_point::detach(mount_point)?;
    terminal::tell(&format!("{} was a mount whose process had ended; it is cleaned up", path.display()));
    Ok(())
}

fn unmount(path: &Path) -> Result<(), Failure> {
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
    if let Some(daemon) = control::daemon_of(&mount_point, entry.as_ref()) {
        return ask(daemon, path);
    }
    match entry {
        None => Err(refuse(format!("{shown} is not a mount point: {SEE_MOUNTS}"))),
        Some(entry) if !entry.may_be_ours() => {
            let what = format!("{shown} is a mount of type {}, not one of cosmount", entry.fs_type);
            Err(refuse(format!("{what}: unmount it with umount {shown}")))
        }
        Some(_) if mount_point::is_dead(&mount_point) => detach_dead(&mount_point, path),
        Some(entry) => Err(refuse(format!(
            "the process that mounted {} on {shown} cannot be reached; ask the user who mounted it, \
             or use umount {shown}, which does not wait for uploads",
            entry.source
        ))),
    }
}

fn ask(daemon: UnixStream, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let mut conversation = Conversation::begin(daemon, &shown.to_string(), &Ask::Unmount)?;
    let (mut left, mut done, mut progress) = (Left::default(), false, PublishProgress::new());
    // The answers end when the daemon has ended and with it the connection.
    while let Some(answer) = conversation.next()? {
        match answer {
            Answer::Within { seconds } => conversation.wait_for(Duration::from_secs(seconds) + ENDING_TIMEOUT)?,
            Answer::Progress { files, bytes } => progress.tell(files, bytes),
            Answer::Unpublished { what } => left.unpublished.push(what),
            Answer::Upload { what } => left.uploads.push(what),
            Answer::CutOff { path } => terminal::warn(&format!("{path} is published as it is, {CUT_OFF}")),
            Answer::Attached { why } => left.attached = Some(why),
            Answer::Done => done = true,
            _ => {}
        }
    }
    if !done {
        let sentence = format!(
            "the daemon of {shown} ended without saying whether everything is published; its log says what it was doing, and \
             the next mount of the bucket goes on with uploads that it has left"
        );
        return Err(Failure::new(Exit::Unpublished, sentence));
    }
    left.outcome().map_err(|failure| match left.attached {
        Some(_) => failure,
        None => Failure { sentence: format!("{shown} is unmounted, but {}", failure.sentence), ..failure },
    })
}
