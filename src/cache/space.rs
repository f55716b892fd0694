//! How much of the disk a cache may take, and what makes way.
//!
//! What is there, and when it was used last, is read from the directory itself: mounts that share it see the same, and there is
//! no index that could be wrong. Between two looks what this mount writes is counted.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::StatVfs;

use super::entry::Files;

/// The share of the disk that stays free: a tenth.
const FREE_SHARE: u64 = 10;

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

    /// Whether it is time to look, before so much is written.
    pub(super) fn is_to_be_looked_at(&self, bytes: u64) -> bool {
        let Some(looked_at) = self.looked_at else { return true };
        if self.is_full {
            return looked_at.elapsed() >= LOOK_AGAIN_AFTER;
        }
        let due = LOOK_EVERY_BYTES.min(self.bytes_max / SLACK_SHARE);
        self.written + bytes > due || self.bytes() + bytes > self.bytes_max
    }

    /// Looks at the directory and the disk, and evicts what is too much, the least recently used first and nothing that is open.
    /// Returns how many files made way.
    pub(super) fn look(&mut self, root: &Path) -> io::Result<u64> {
        let mut found = found(root)?;
        let (free, kept_free) = free_bytes(root)?;
        let mut bytes: u64 = found.iter().map(|one| one.bytes).sum();
        let limit = self.bytes_max.min((bytes + free).saturating_sub(kept_free));
        // What is written until the next look has room, too.
        let target = limit - limit / SLACK_SHARE;
        let mut evicted = 0;
        if bytes > target {
            found.sort_by_key(|one| one.used_at);
            for one in found {
                if bytes <= target {
                    break;
                }
                if one.files.evict() {
                    bytes -= one.bytes;
                    evicted += 1;
                }
            }
        }
        (self.bytes, self.written, self.looked_at, self.is_full) = (bytes, 0, Some(Instant::now()), bytes > target);
        Ok(evicted)
    }
}

/// What the disk has free, and what of it has to stay so, in bytes.
fn free_bytes(root: &Path) -> io::Result<(u64, u64)> {
    Ok(shares(rustix::fs::statvfs(root)?))
}

fn shares(disk: StatVfs) -> (u64, u64) {
    (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize / FREE_SHARE)
}

/// Whether the disk of an open file has as much free as has to stay so.
pub fn has_room(file: &File) -> io::Result<bool> {
    let (free, kept_free) = shares(rustix::fs::fstatvfs(file)?);
    Ok(free > kept_free)
}

/// Every file in the cache.
pub(super) fn found(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for shard in fs::read_dir(root)? {
        let shard = shard?.path();
        // Somebody else may remove what is being looked at.
        let Ok(entries) = fs::read_dir(&shard) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
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

/// What a file takes of the disk: its holes nothing.
fn disk_bytes(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}
