//! How `cosmount unmount` talks to the daemon of a mount: a Unix socket in a directory of the user's own.
//!
//! One line asks, lines answer, and the connection stays open until the daemon has ended, so that whoever asked knows
//! when. The directory belongs to the user alone (mode 0700), which is all the protection that the socket has.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::wire::Crc64Hasher;

/// Asks a daemon to unmount.
pub(super) const UNMOUNT: &str = "unmount";

/// A line of the daemon's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It began, and will have ended within so many seconds.
    Within(u64),
    /// Something could not be published, and why.
    Unpublished(String),
    /// All was said; the end of the connection follows.
    Done,
}

impl Answer {
    /// The line, without its end.
    pub(super) fn encode(&self) -> String {
        match self {
            Answer::Within(seconds) => format!("within {seconds}"),
            Answer::Unpublished(what) => format!("unpublished {}", what.replace(['\n', '\r'], " ")),
            Answer::Done => "done".to_owned(),
        }
    }

    /// Reads a line; `None` is a line that this version does not know.
    pub(super) fn decode(line: &str) -> Option<Answer> {
        match line.split_once(' ') {
            Some(("within", seconds)) => seconds.parse().ok().map(Answer::Within),
            Some(("unpublished", what)) => Some(Answer::Unpublished(what.to_owned())),
            _ => (line == "done").then_some(Answer::Done),
        }
    }
}

/// Where the sockets of this user's mounts may be, the best first. `runtime` is `$XDG_RUNTIME_DIR`.
pub(super) fn directories(user_id: u32, runtime: Option<&Path>) -> Vec<PathBuf> {
    if user_id == 0 {
        return vec!["/run/cosmount".into(), "/tmp/cosmount-0".into()];
    }
    let usual = PathBuf::from(format!("/run/user/{user_id}"));
    let runtime = runtime.filter(|directory| *directory != usual).map(|directory| directory.join("cosmount"));
    runtime.into_iter().chain([usual.join("cosmount"), format!("/tmp/cosmount-{user_id}").into()]).collect()
}

/// The socket of one mount in a directory: a digest, because a path to a socket holds at most 107 bytes.
pub(super) fn socket_path(directory: &Path, mount_point: &Path) -> PathBuf {
    let mut digest = Crc64Hasher::new();
    digest.update(mount_point.as_os_str().as_bytes());
    directory.join(format!("{:016x}.sock", digest.value().0))
}

/// The file that the mounts of one bucket share in a directory; see [`crate::fs::Others`].
pub(super) fn shared_path(directory: &Path, origin: &str, bucket: &str) -> PathBuf {
    let mut digest = Crc64Hasher::new();
    digest.update(format!("{origin} {bucket}").as_bytes());
    directory.join(format!("{:016x}.changes", digest.value().0))
}

/// A path for a socket in the first of the directories that can be made. A socket that a daemon without a mount left
/// behind is removed: nobody else can be mounted on the same mount point.
pub(super) fn prepare(candidates: &[PathBuf], mount_point: &Path) -> io::Result<PathBuf> {
    let path = socket_path(&own_directory(candidates)?, mount_point);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(path),
    }
}

/// Makes the first of the directories that can be made and that belong to the user alone.
pub(super) fn own_directory(candidates: &[PathBuf]) -> io::Result<PathBuf> {
    let user_id = rustix::process::geteuid().as_raw();
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for directory in candidates {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                refused = error;
                continue;
            }
            _ => {}
        }
        if !belongs_to(directory, user_id) {
            refused = io::Error::other(format!("{} is open to others", directory.display()));
            continue;
        }
        return Ok(directory.clone());
    }
    Err(refused)
}

/// Whether a directory is one user's alone; in `/tmp` anybody may have made one of that name.
pub(super) fn belongs_to(directory: &Path, user_id: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user_id && metadata.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn answers_are_read_back_as_they_were_written() {
        let answers = [Answer::Within(60), Answer::Unpublished("a b.txt: no such bucket".into()), Answer::Done];
        for answer in answers {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        assert_eq!(Answer::decode("something new"), None);
    }

    #[test]
    fn an_answer_is_one_line_whatever_a_file_is_called() {
        assert_eq!(Answer::Unpublished("a\nb".into()).encode(), "unpublished a b");
    }

    #[test]
    fn sockets_are_where_a_users_runtime_files_are() {
        let places = |user, runtime: Option<&str>| directories(user, runtime.map(Path::new));
        assert_eq!(places(0, Some("/run/user/0"))[0], Path::new("/run/cosmount"));
        let expected: Vec<PathBuf> = vec!["/run/user/7/cosmount".into(), "/tmp/cosmount-7".into()];
        assert_eq!(places(7, None), expected);
        assert_eq!(places(7, Some("/run/user/7")), expected);
        assert_eq!(places(7, Some("/x"))[0], Path::new("/x/cosmount"));
    }

    #[test]
    fn a_directory_that_others_can_enter_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let (open, own) = (parent.path().join("open"), parent.path().join("own"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();

        let socket = prepare(&[open, own.clone()], Path::new("/mnt")).unwrap();
        assert_eq!(socket.parent(), Some(own.as_path()));
        assert!(belongs_to(&own, rustix::process::geteuid().as_raw()));
        fs::write(&socket, "left behind").unwrap();
        assert_eq!(prepare(&[own], Path::new("/mnt")).unwrap(), socket);
        assert!(!socket.exists());
    }

    #[test]
    fn every_mount_point_has_its_own_socket() {
        let directory = Path::new("/run/cosmount");
        let path = |mount_point: &str| socket_path(directory, Path::new(mount_point));
        assert_ne!(path("/mnt/a"), path("/mnt/b"));
        assert_eq!(path("/mnt/a"), path("/mnt/a"));
    }
}
