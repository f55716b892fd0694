//! How much memory a mount takes when nobody says.

use std::fs;
use std::path::{Path, PathBuf};

/// The most that a mount takes unasked, in bytes: room for 8 parts of 8 MiB on their way for each of a few writers,
/// and for the windows of a few readers, on a machine that does other work too.
const MEMORY_BYTES_DEFAULT_MAX: u64 = 512 << 20;

/// 512 MiB, or a quarter of what the machine or this process's cgroup has, whichever is less.
pub(super) fn default_memory_bytes() -> u64 {
    (available_memory_bytes() / 4).min(MEMORY_BYTES_DEFAULT_MAX)
}

/// What the machine or this process's cgroup has, whichever is less.
pub fn available_memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    // `totalram` is as wide as the machine's word and `mem_unit` scales it.
    #[allow(clippy::useless_conversion)]
    let machine = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit));
    cgroup_limit_bytes(Path::new("/sys/fs/cgroup")).map_or(machine, |limit| limit.min(machine))
}

/// The smallest limit on the way from this process's cgroup up to the root; `None` where there is no limit.
fn cgroup_limit_bytes(root: &Path) -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_files(root, &membership).into_iter().filter_map(|file| read_limit(&file)).min()
}

/// The files that may hold a limit. Version 2 lists itself as `0::/path`, version 1 as `N:memory:/path`.
fn limit_files(root: &Path, membership: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (tree, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            files.push(tree.join(group).join(file));
        }
    }
    files
}

/// A file without a number (`max`) sets no limit.
fn read_limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_quarter_but_never_over_512_mib() {
        assert_eq!(default_memory_bytes(), (available_memory_bytes() / 4).min(512 << 20));
        assert!(default_memory_bytes() > 0);
    }

    #[test]
    fn the_smallest_limit_of_all_ancestors_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        fs::create_dir_all(root.path().join("memory/v1")).unwrap();
        fs::write(root.path().join("memory/v1/memory.limit_in_bytes"), "900\n").unwrap();

        let limits = |membership: &str| -> Option<u64> {
            limit_files(root.path(), membership).iter().filter_map(|file| read_limit(file)).min()
        };
        assert_eq!(limits("0::/a/b\n"), Some(1000));
        assert_eq!(limits("3:cpu:/v1\n2:memory:/v1\n"), Some(900));
        assert_eq!(limits("0::/\n"), None);
    }
}
