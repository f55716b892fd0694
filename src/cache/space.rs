//! How much of the disk a cache may take, and what makes way.
//!
//! What is there, and when it was used last, is read from the directory itself: mounts that share it see the same, and there is
//! no index that could be wrong. Between two looks what this mount writes is counted.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::StatVfs;

use super::entry::Files;
use super::header::NAME_LEN;

/// The share of the disk that stays free: a tenth.
const FREE_SHARE: u64 = 10;

/// With the one of its bytes, and that of its records.
const FILES_OF_A_COPY: u64 = 2;

/// The share of its size that a cache is brought below it by evicting, so that it is not gone through for every file: a
/// twentieth.
const SLACK_SHARE: u64 = 20;

/// What may be written between two looks at the directory and the disk, in bytes.
const LOOK_EVERY_BYTES: u64 = 64 << 20;

/// How soon a full cache is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A file in the cache.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) files: Files,
    /// What it takes of the disk, in bytes.
    pub(super) bytes: u64,
    pub(super) used_at: SystemTime,
}

/// What a cache takes of the disk, as far as is known.
#[derive(Debug)]
pub(super) struct Space {
    bytes_max: u64,
    /// At the last look.
    bytes: u64,
    /// Since then.
    written: u64,
    looked_at: Option<Instant>,
    is_full: bool,
}

impl Space {
    pub(super) fn new(bytes_max: u64) -> Space {
        Space { bytes_max, bytes: 0, written: 0, looked_at: None, is_full: false }
    }

    /// What the cache takes of the disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.written
    }

    /// Whether nothing more may be written for the time being.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// So much was written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Whether it is time to look, before so much is written, at what is below `root`.
    pub(super) fn is_to_be_looked_at(&self, root: &Path, bytes: u64) -> bool {
        let Some(looked_at) = self.looked_at else { return true };
        if self.is_full {
            return looked_at.elapsed() >= LOOK_AGAIN_AFTER;
        }
        let due = LOOK_EVERY_BYTES.min(self.bytes_max / SLACK_SHARE);
        let is_short = || rustix::fs::statvfs(root).is_ok_and(|disk| !shares(disk).has_room(bytes));
        // Others write to the disk, too.
        self.written + bytes > due || self.bytes() + bytes > self.bytes_max || is_short()
    }

    /// The disk takes no more for the time being.
    pub(super) fn set_full(&mut self) {
        (self.is_full, self.looked_at) = (true, Some(Instant::now()));
    }

    /// Looks at the directory and the disk, and evicts what is too much, the least recently used first and nothing that is open. What
    /// `drafts` take, in bytes, has no names there, and so much is `wanted`. Returns how many files made way.
    pub(super) fn look(&mut self, root: &Path, drafts: u64, wanted: u64) -> io::Result<u64> {
        let mut found = found(root)?;
        let disk = rustix::fs::statvfs(root)?;
        let mut lacking_files = lacking_files(disk.f_files, disk.f_favail);
        let Shares { free, kept_free } = shares(disk);
        let mut bytes: u64 = drafts + found.iter().map(|one| one.bytes).sum::<u64>();
        let for_all = bytes + free;
        let limit = self.bytes_max.min(for_all.saturating_sub(kept_free + wanted));
        // What is written until the next look has room, too.
        let target = limit - limit / SLACK_SHARE;
        let mut evicted = 0;
        // Also where there is nothing to evict, and the disk is full of other things.
        let is_too_much = |bytes: u64, lacking_files: u64| {
            bytes > target || bytes + kept_free + wanted > for_all || lacking_files > 0
        };
        if is_too_much(bytes, lacking_files) {
            found.sort_by_key(|one| one.used_at);
            for one in found {
                if !is_too_much(bytes, lacking_files) {
                    break;
                }
                if one.files.evict() {
                    bytes -= one.bytes;
                    lacking_files = lacking_files.saturating_sub(FILES_OF_A_COPY);
                    evicted += 1;
                }
            }
        }
        let is_full = is_too_much(bytes, lacking_files);
        (self.bytes, self.written, self.looked_at, self.is_full) = (bytes, 0, Some(Instant::now()), is_full);
        Ok(evicted)
    }
}

/// How many files a disk, which has room for so many in all and for so many more, has room for too few. One that has no bound tells 0.
fn lacking_files(all: u64, free: u64) -> u64 {
    (all / FREE_SHARE).saturating_sub(free)
}

/// What a disk has free, and what of it has to stay so, in bytes.
struct Shares {
    free: u64,
    kept_free: u64,
}

impl Shares {
    fn has_room(&self, bytes: u64) -> bool {
        self.free >= self.kept_free + bytes
    }
}

fn shares(disk: StatVfs) -> Shares {
    Shares { free: disk.f_bavail * disk.f_frsize, kept_free: disk.f_blocks * disk.f_frsize / FREE_SHARE }
}

/// Whether the disk of an open file has as much free as has to stay so.
pub fn has_room(file: &File) -> io::Result<bool> {
    Ok(shares(rustix::fs::fstatvfs(file)?).has_room(0))
}

/// Every file in the cache.
pub(super) fn found(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for shard in fs::read_dir(root)? {
        let shard = shard?.path();
        // Somebody else may remove what is being looked at.
        let Ok(entries) = fs::read_dir(&shard) else { continue };
        let shard = shard.file_name().unwrap_or_default().to_owned();
        for entry in entries.flatten() {
            let path = entry.path();
            // What is not of the cache is not the cache's to remove.
            if !is_name_in(&shard, path.file_stem()) {
                continue;
            }
            let files = Files { data: path.with_extension("data"), records: path.with_extension("sums") };
            let records = fs::metadata(&files.records);
            // One of the two may have been left alone by a crash.
            let is_listed =
                if path == files.records { records.is_ok() } else { path == files.data && records.is_err() };
            if !is_listed {
                continue;
            }
            let data = fs::metadata(&files.data);
            let bytes = [&records, &data].into_iter().flatten().map(disk_bytes).sum();
            let used_at = records.or(data).and_then(|one| one.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(Found { files, bytes, used_at });
        }
    }
    Ok(found)
}

/// Whether a file has a name that the cache gives to one in a directory of that name.
fn is_name_in(shard: &OsStr, stem: Option<&OsStr>) -> bool {
    let is_hexadecimal = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let name = stem.unwrap_or_default().as_bytes();
    name.len() == NAME_LEN && name.iter().all(is_hexadecimal) && name.starts_with(shard.as_bytes()) && shard.len() == 2
}

/// What a file takes of the disk: its holes nothing.
fn disk_bytes(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_has_room_beside_what_stays_free() {
        let home = tempfile::tempdir().unwrap();
        let Shares { free, .. } = shares(rustix::fs::statvfs(home.path()).unwrap());
        let mut space = Space::new(u64::MAX);
        space.look(home.path(), 0, free).unwrap();
        assert!(space.is_full());
    }

    #[test]
    fn a_tenth_of_the_files_stays_free_where_there_is_a_bound() {
        let table = [((1000, 100), 0), ((1000, 99), 1), ((1000, 0), 100), ((0, 0), 0)];
        for ((all, free), lacking) in table {
            assert_eq!(lacking_files(all, free), lacking, "{free} of {all}");
        }
    }
}
