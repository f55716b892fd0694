//! What is being uploaded in parts, before anybody knows what it will be a copy of.
//!
//! Its files have no names until then, so that nothing is left of it if this process dies.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};

use super::GRAIN_BYTES;
use super::data_file::{DataFile, slice_of};
use super::entry::{Files, RECORD_BYTES, record_at, records_for, too_long};
use super::header::{Header, Identity};
use crate::object::ChecksumAlgorithm;

/// A copy that grows part by part.
pub struct Draft {
    directory: PathBuf,
    algorithm: ChecksumAlgorithm,
    /// What all drafts of the cache take of the disk, in bytes.
    all_taken: Arc<AtomicU64>,
    /// `None` until something is written. Std mutex, 8 in the order of locks: held by the thread that writes, over calls of the disk.
    grown: Mutex<Option<Grown>>,
    is_given_up: AtomicBool,
}

struct Grown {
    data: DataFile,
    taken: Taken,
    /// The records of the grains so far, with room for a header.
    records: File,
    /// A last grain that has fewer bytes than others: where it ends, and its record.
    short: Option<(u64, Vec<u8>)>,
}

/// What a draft takes of the disk, counted with the others for as long as it has no name.
struct Taken {
    bytes: u64,
    all: Arc<AtomicU64>,
}

impl Taken {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A copy that a draft has become: nobody evicts it while this is.
#[must_use]
pub(super) struct Adopted(#[allow(dead_code, reason = "it is locked")] DataFile);

impl Draft {
    /// Nothing yet, below `directory`; `all_taken` counts what all drafts take of the disk, in bytes.
    pub(super) fn new(directory: &Path, algorithm: ChecksumAlgorithm, all_taken: Arc<AtomicU64>) -> Draft {
        Draft {
            directory: directory.to_owned(),
            algorithm,
            all_taken,
            grown: Mutex::default(),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// How the checksums of its grains are taken.
    pub(super) fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Nothing of it is kept.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        drop(self.lock().take());
    }

    /// Writes what is to be at `start`, as far as it fills grains or may end the object. Of several pieces, which follow one another, the
    /// first begins at a grain, and all but the last have whole ones. Returns how many bytes are written.
    pub(super) fn write(&self, start: u64, pieces: &[&[u8]]) -> io::Result<u64> {
        let end = start + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let first = start.div_ceil(GRAIN_BYTES);
        let skipped = first * GRAIN_BYTES - start;
        if first * GRAIN_BYTES >= end || self.is_given_up.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let pieces = slice_of(pieces, skipped as usize..(end - start) as usize);
        let mut sums = records_for(self.algorithm, &pieces);
        let mut grown = self.lock();
        let grown = match &mut *grown {
            Some(grown) => grown,
            none => none.insert(Grown::begin(&self.directory, &self.all_taken)?),
        };
        grown.taken.add(end - first * GRAIN_BYTES);
        grown.data.write(&pieces, first * GRAIN_BYTES)?;
        if !end.is_multiple_of(GRAIN_BYTES) {
            grown.short = Some((end, sums.split_off(sums.len() - RECORD_BYTES as usize)));
        }
        grown.records.write_all_at(&sums, record_at(first))?;
        Ok(end - first * GRAIN_BYTES)
    }

    /// Becomes the copy of a version, unless there is one. Returns what keeps others from evicting it, if it is.
    pub(super) fn adopt(&self, files: &Files, identity: &Identity) -> io::Result<Option<Adopted>> {
        let Some(Grown { data, records, short, taken: _taken }) = self.lock().take() else { return Ok(None) };
        data.file().set_len(identity.size)?;
        let grains = identity.size.div_ceil(GRAIN_BYTES);
        records.set_len(record_at(grains))?;
        if let Some((_, record)) = short.filter(|(end, _)| *end == identity.size) {
            records.write_all_at(&record, record_at(grains - 1))?;
        }
        let header = Header::of_nothing(identity.clone(), self.algorithm);
        records.write_all_at(&header.written().ok_or_else(too_long)?, 0)?;
        // Nobody may take it for one without records meanwhile.
        data.file().lock_shared()?;
        // In this order: what has no records says nothing.
        name(data.file(), &files.data)?;
        name(&records, &files.records)?;
        Ok(Some(Adopted(data)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Grown>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grown {
    fn begin(directory: &Path, all_taken: &Arc<AtomicU64>) -> io::Result<Grown> {
        let (data, records) = (nameless(directory)?, nameless(directory)?);
        let taken = Taken { bytes: 0, all: all_taken.clone() };
        Ok(Grown { data: DataFile::new(data), taken, records, short: None })
    }
}

/// A new file without a name, for its user alone.
fn nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn name(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}
