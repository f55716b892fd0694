//! What is being uploaded in parts, before anybody knows what it will be a copy of.
//!
//! Its files have no names until then, so that nothing is left of it if this process dies.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};

use super::GRAIN_BYTES;
use super::data_file::{DataFile, slice_of};
use super::entry::{Files, RECORD_BYTES, records_for, too_long};
use super::header::{HEADER_BYTES, Header, Identity};
use crate::object::ChecksumAlgorithm;

/// A copy that grows part by part.
pub struct Draft {
    directory: PathBuf,
    algorithm: ChecksumAlgorithm,
    /// `None` until something is written. Std mutex, 8 in the order of locks: held by the thread that writes, over calls of the disk.
    grown: Mutex<Option<Grown>>,
    is_given_up: AtomicBool,
}

struct Grown {
    data: DataFile,
    /// The records of the grains so far, 0 where nothing is.
    records: Vec<u8>,
    /// A last grain that has fewer bytes than others: where it ends, and its record.
    short: Option<(u64, Vec<u8>)>,
}

impl Draft {
    /// Nothing yet, below `directory`.
    pub(super) fn new(directory: &Path, algorithm: ChecksumAlgorithm) -> Draft {
        Draft {
            directory: directory.to_owned(),
            algorithm,
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
            none => none.insert(Grown::begin(&self.directory)?),
        };
        grown.data.write(&pieces, first * GRAIN_BYTES)?;
        if !end.is_multiple_of(GRAIN_BYTES) {
            grown.short = Some((end, sums.split_off(sums.len() - RECORD_BYTES as usize)));
        }
        let at = (first * RECORD_BYTES) as usize;
        grown.records.resize(grown.records.len().max(at + sums.len()), 0);
        grown.records[at..at + sums.len()].copy_from_slice(&sums);
        Ok(end - first * GRAIN_BYTES)
    }

    /// Becomes the copy of a version, unless there is one.
    ///
    /// Returns whether it is.
    pub(super) fn adopt(&self, files: &Files, identity: &Identity) -> io::Result<bool> {
        let Some(grown) = self.lock().take() else { return Ok(false) };
        let Grown { data, mut records, short } = grown;
        data.file().set_len(identity.size)?;
        let grains = identity.size.div_ceil(GRAIN_BYTES);
        records.resize((grains * RECORD_BYTES) as usize, 0);
        if let Some((_, record)) = short.filter(|(end, _)| *end == identity.size) {
            let at = records.len() - record.len();
            records[at..].copy_from_slice(&record);
        }
        let header = Header::of_nothing(identity.clone(), self.algorithm);
        let sums = nameless(&self.directory)?;
        sums.write_all_at(&header.written().ok_or_else(too_long)?, 0)?;
        sums.write_all_at(&records, HEADER_BYTES as u64)?;
        // In this order: what has no records says nothing.
        name(data.file(), &files.data)?;
        name(&sums, &files.records)?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Grown>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grown {
    fn begin(directory: &Path) -> io::Result<Grown> {
        let file = nameless(directory)?;
        Ok(Grown { data: DataFile::new(file), records: Vec::new(), short: None })
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
