//! `cosmount sync`: publish what is open or waits, and return when it is in the bucket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control::{self, Answer, Ask, Conversation};
use super::failure::{Exit, Failure};
use super::given_mount;
use super::mount_point::{self, MountEntry};
use super::progress::PublishProgress;
use super::status;

/// How long the daemon may be silent: it tells how far it is several times a second.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Publishes what is at and below `path`, or everything of all mounts of this user.
pub(super) fn run(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else {
        return all();
    };
    let Place { daemon, mount_point, below } = place(path)?;
    outcome(&publish(daemon, &mount_point.display().to_string(), below)?)
}

/// Publishes everything of all mounts. One that cannot keeps no other from it.
fn all() -> Result<(), Failure> {
    let mut result = Ok(());
    for (socket, daemon) in control::daemons() {
        // One that is just ending publishes everything, and says itself what it could not.
        let Ok(status) = status::ask(daemon, "a mount of yours") else { continue };
        let Ok(daemon) = UnixStream::connect(socket) else { continue };
        let published = publish(daemon, &status.mount_point, String::new()).and_then(|left| outcome(&left));
        result = result.and(published);
    }
    result
}

fn outcome(unpublished: &[String]) -> Result<(), Failure> {
    if unpublished.is_empty() {
        return Ok(());
    }
    let sentence = format!(
        "this could not be published: {}; it is kept: see to the cause, and sync again",
        unpublished.join("; ")
    );
    Err(Failure::new(Exit::Unpublished, sentence))
}

/// Returns what could not be published.
fn publish(daemon: UnixStream, mount: &str, path: String) -> Result<Vec<String>, Failure> {
    let mut conversation = Conversation::begin(daemon, mount, &Ask::Sync { path })?;
    conversation.wait_for(SILENCE_MAX)?;
    let (mut unpublished, mut progress) = (Vec::new(), PublishProgress::new());
    while let Some(answer) = conversation.next()? {
        match answer {
            Answer::Progress { files, bytes } => progress.tell(files, bytes),
            Answer::Unpublished { what } => unpublished.push(what),
            Answer::Done => return Ok(unpublished),
            _ => {}
        }
    }
    let sentence = format!("the mount on {mount} ended before everything was published; its log says why");
    Err(Failure::new(Exit::Unpublished, sentence))
}

/// Something in a mount.
pub(super) struct Place {
    pub(super) daemon: UnixStream,
    pub(super) mount_point: PathBuf,
    /// The path below the mount, without a slash before it; empty for the mount itself.
    pub(super) below: String,
}

/// The mount that a path is in.
pub(super) fn place(path: &Path) -> Result<Place, Failure> {
    let refuse = |sentence: String| Failure::new(Exit::MountPoint, sentence);
    let shown = path.display();
    if given_mount::number(path).is_some()
        && let Some(daemon) = control::daemon_of(path, None)
    {
        return Ok(Place { daemon, mount_point: path.to_owned(), below: String::new() });
    }
    // Not the last component: it may be a mount that is dead, or a link whose target is not what is meant.
    let real = mount_point::real_path(path).filter(|real| real.symlink_metadata().is_ok() || is_mounted(real));
    let real =
        real.ok_or_else(|| refuse(format!("{shown} does not exist; see what is mounted with `cosmount status`")))?;
    // The innermost mount is the one that it is in.
    let mounted = real.ancestors().find_map(|path| Some((path, mount_point::mounted_at(path)?)));
    if let Some((mount_point, entry)) = mounted.filter(|(_, entry)| entry.may_be_ours()) {
        let daemon = control::daemon_of(mount_point, Some(&entry));
        let daemon = daemon.ok_or_else(|| refuse(unreachable(mount_point, &entry)))?;
        let below = real.strip_prefix(mount_point).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        return Ok(Place { daemon, mount_point: mount_point.to_owned(), below });
    }
    Err(refuse(format!("{shown} is in no mount of cosmount; see them with `cosmount status`")))
}

fn is_mounted(path: &Path) -> bool {
    mount_point::mounted_at(path).is_some()
}

fn unreachable(mount_point: &Path, entry: &MountEntry) -> String {
    let mounted = mount_point.display();
    if mount_point::is_dead(mount_point) {
        return format!(
            "the process of the mount on {mounted} has ended; clean it up with `cosmount unmount {mounted}`"
        );
    }
    format!("the process that mounted {} on {mounted} cannot be reached; ask as the user who mounted it", entry.source)
}
