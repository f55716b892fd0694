//! A file with the bytes of a copy, and how it is written.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use rustix::fs::OFlags;
use rustix::io::{Errno, pwritev};

use super::GRAIN_BYTES;

/// What is written past the page cache, in bytes: blocks in memory are aligned from there on.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// A file with the bytes of a copy.
pub(super) struct DataFile {
    file: File,
    /// The same past the page cache, where the disk can do that, once something large was written.
    direct: OnceLock<Option<File>>,
}

impl DataFile {
    pub(super) fn new(file: File) -> DataFile {
        DataFile { file, direct: OnceLock::new() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes pieces one after the other, large ones past the page cache: who reads has the bytes already, and a copy into memory
    /// that nobody asks for is most of what writing costs.
    pub(super) fn write(&self, pieces: &[&[u8]], at: u64) -> io::Result<()> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let whole = len / GRAIN_BYTES as usize * GRAIN_BYTES as usize;
        let is_aligned = pieces.iter().all(|piece| piece.as_ptr().addr().is_multiple_of(GRAIN_BYTES as usize));
        if whole < DIRECT_BYTES_MIN || !is_aligned {
            return write_all(&self.file, pieces, at);
        }
        let direct = self.direct.get_or_init(|| {
            let options = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).to_owned();
            options.open(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok()
        });
        let Some(direct) = direct else { return write_all(&self.file, pieces, at) };
        match write_all(direct, &slice_of(pieces, 0..whole), at) {
            // Its sectors are larger.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => write_all(&self.file, pieces, at),
            Err(error) => Err(error),
            Ok(()) => write_all(&self.file, &slice_of(pieces, whole..len), at + whole as u64),
        }
    }
}

/// A range of the bytes that pieces are one after the other.
pub(super) fn slice_of<'a>(pieces: &[&'a [u8]], range: Range<usize>) -> Vec<&'a [u8]> {
    let mut sliced = Vec::with_capacity(pieces.len());
    let mut at = 0;
    for piece in pieces {
        let (start, end) = (range.start.max(at), range.end.min(at + piece.len()));
        if start < end {
            sliced.push(&piece[start - at..end - at]);
        }
        at += piece.len();
    }
    sliced
}

/// Writes pieces one after the other, with as few calls as they take.
fn write_all(file: &File, pieces: &[&[u8]], mut at: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match pwritev(file, left, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
