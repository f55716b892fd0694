//! Where the sockets, shared files and logs of a user's mounts are.
//!
//! The directory belongs to the user alone (mode 0700), which is all the protection that a socket has.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fs::Others;
use crate::object::Crc64Hasher;

/// What the environment says of where a user's files may be.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Places {
    /// `$XDG_RUNTIME_DIR`.
    pub(in crate::cli) runtime: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub(in crate::cli) state: Option<PathBuf>,
    /// The user's home.
    pub(in crate::cli) home: Option<PathBuf>,
}

/// Where the sockets, shared files and logs of this user's mounts may be, the best first. None of them is in a directory
/// where others may make one of that name.
pub(in crate::cli) fn directories(user_id: u32, places: &Places) -> Vec<PathBuf> {
    let usual = if user_id == 0 { "/run".into() } else { PathBuf::from(format!("/run/user/{user_id}")) };
    let runtime = places.runtime.clone().filter(|directory| user_id != 0 && *directory != usual);
    let state = places.state.clone().or_else(|| Some(places.home.as_ref()?.join(".local/state")));
    // Relative ones are meaningless (XDG Base Directory Specification).
    let bases = runtime.into_iter().chain([usual]).chain(state).filter(|base| base.is_absolute());
    bases.map(|base| base.join("cosmount")).collect()
}

/// The socket of one mount in a directory: a digest, because a path to a socket holds at most 107 bytes.
pub(in crate::cli) fn socket_path(directory: &Path, mount_point: &Path) -> PathBuf {
    let mut digest = Crc64Hasher::new();
    digest.update(mount_point.as_os_str().as_bytes());
    directory.join(format!("{:016x}.sock", digest.value().0))
}

/// The file that the mounts of one bucket share in a directory; see [`crate::fs::Others`].
pub(in crate::cli) fn shared_path(directory: &Path, origin: &str, bucket: &str) -> PathBuf {
    let mut digest = Crc64Hasher::new();
    digest.update(format!("{origin} {bucket}").as_bytes());
    directory.join(format!("{:016x}.{}", digest.value().0, Others::EXTENSION))
}

/// The log of one mount in a directory, on a machine without syslog. Its name can be read, and the digest keeps two apart
/// that look the same.
pub(in crate::cli) fn log_path(directory: &Path, mount_point: &Path) -> PathBuf {
    let socket = socket_path(directory, mount_point);
    let digest = socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let place: String =
        mount_point.to_string_lossy().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    // The end of a path tells more, and 80 of its characters fit any file system.
    let skipped = place.chars().count().saturating_sub(80);
    let place: String = place.chars().skip(skipped).collect();
    directory.join(format!("{}-{}.log", place.trim_matches('-'), &digest[..8.min(digest.len())]))
}

/// How long a log in a runtime directory is kept when nobody writes to it.
const LOG_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Removes logs of mounts that are long gone.
pub(in crate::cli) fn remove_old_logs(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LOG_KEPT_FOR));
        if is_old && (name.ends_with(".log") || name.ends_with(".log.1")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what mounts have left that did not end in order: sockets that nobody listens at, and files that were shared with
/// mounts that are gone.
pub(in crate::cli) fn remove_what_is_left(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sock") => {
                let refused =
                    UnixStream::connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                if refused {
                    let _ = fs::remove_file(&path);
                }
            }
            Some(Others::EXTENSION) => Others::remove_if_unused(&path),
            _ => {}
        }
    }
}

/// A path for a socket in the first of the directories that can be made. A socket that a daemon without a mount left
/// behind is removed: nobody else can be mounted on the same mount point.
pub(in crate::cli) fn prepare(candidates: &[PathBuf], mount_point: &Path) -> io::Result<PathBuf> {
    let path = socket_path(&own_directory(candidates)?, mount_point);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(path),
    }
}

/// Makes the first of the directories that can be made and that belong to the user alone.
pub(in crate::cli) fn own_directory(candidates: &[PathBuf]) -> io::Result<PathBuf> {
    let user_id = rustix::process::geteuid().as_raw();
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for directory in candidates {
        if let Err(error) = make_private(directory) {
            refused = error;
            continue;
        }
        if !belongs_to(directory, user_id) {
            refused = io::Error::other(format!(
                "{} belongs to somebody else or is open to others: remove it, or set XDG_RUNTIME_DIR to a directory of \
                 your own (mode 0700)",
                directory.display()
            ));
            continue;
        }
        return Ok(directory.clone());
    }
    Err(refused)
}

fn make_private(directory: &Path) -> io::Result<()> {
    let make = || match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    match (make(), directory.parent()) {
        // A home without `.local/state` yet. A runtime directory that is not there is not made: the system does.
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound && parent.ends_with(".local/state") => {
            DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
            make()
        }
        (made, _) => made,
    }
}

/// Whether a directory is one user's alone.
pub(in crate::cli) fn belongs_to(directory: &Path, user_id: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user_id && metadata.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn sockets_are_where_a_users_runtime_files_are() {
        let places = |user, runtime: Option<&str>| {
            let (runtime, home) = (runtime.map(PathBuf::from), Some("/h".into()));
            directories(user, &Places { runtime, home, state: None })
        };
        let paths = |expected: &[&str]| expected.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(places(0, Some("/run/user/0")), paths(&["/run/cosmount", "/h/.local/state/cosmount"]));
        let usual = paths(&["/run/user/7/cosmount", "/h/.local/state/cosmount"]);
        assert_eq!(places(7, None), usual);
        assert_eq!(places(7, Some("/run/user/7")), usual);
        assert_eq!(places(7, Some("/x"))[0], Path::new("/x/cosmount"));
        assert!(!places(7, Some("/x")).iter().any(|place| place.starts_with("/tmp")), "others may make a name there");
    }

    #[test]
    fn a_directory_under_the_state_is_made_and_a_runtime_directory_is_not() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join(".local/state/cosmount");
        assert_eq!(own_directory(&[home.path().join("run/cosmount"), state.clone()]).unwrap(), state);
        assert!(!home.path().join("run").exists());
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        let error = own_directory(&[state]).unwrap_err().to_string();
        assert!(error.contains("set XDG_RUNTIME_DIR to a directory of your own"), "{error}");
    }

    #[test]
    fn what_others_left_is_removed_and_what_is_used_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        drop(std::os::unix::net::UnixListener::bind(path("dead.sock")).unwrap());
        let _alive = std::os::unix::net::UnixListener::bind(path("alive.sock")).unwrap();
        std::fs::write(path("dead.stamps"), "").unwrap();
        std::fs::create_dir(path("dead.locks")).unwrap();
        let _others = Others::join(&path("alive.stamps")).unwrap();
        remove_what_is_left(directory.path());
        let mut left: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["alive.sock", "alive.stamps"]);
    }

    #[test]
    fn a_log_has_a_name_that_people_can_read() {
        let path = log_path(Path::new("/run/cosmount"), Path::new("/mnt/my photos"));
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("mnt-my-photos-") && name.ends_with(".log"), "{name}");
        let long = log_path(Path::new("/r"), Path::new(&format!("/{}", "d/".repeat(500))));
        assert!(long.file_name().unwrap().len() < 120);
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
