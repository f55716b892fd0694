//! The file of one journal: appended to by the mount that holds its lock, and by nobody else.
//!
//! The lock is the kernel's (`flock`), so it is gone with the process however that ended: a journal whose lock can be taken
//! is that of a mount that is dead.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::record::{Lines, Record, lines};

/// How the names of journals end.
pub(super) const EXTENSION: &str = "journal";

/// A journal that is longer is not read: no mount writes one.
const BYTES_MAX: u64 = 1 << 30;

/// Below this a journal is not compacted: some 10,000 parts.
const COMPACT_BYTES_MIN: u64 = 2 << 20;
/// It is compacted when it has grown to so many times what was left of it the last time, so that all compacting together
/// costs a fraction of the writing.
const COMPACT_GROWTH: u64 = 4;

/// A journal whose lock this process holds.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_at_first: u64,
}

impl LogFile {
    /// Makes a journal with these lines, durable and locked before anybody else can see it.
    pub(super) fn create(path: &Path, text: &[u8]) -> io::Result<LogFile> {
        let new = path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all_at(text, 0)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        let bytes = text.len() as u64;
        Ok(LogFile { path: path.to_owned(), file, bytes, bytes_at_first: bytes })
    }

    /// Takes the lock of a journal that is there, and cuts off its torn tail; `None` if a mount that lives has it, or it is
    /// gone.
    pub(super) fn take_over(path: &Path) -> io::Result<Option<(LogFile, Lines)>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // It may have been compacted or removed since it was opened: then this is the lock of a file that has no name.
        let is_it = fs::metadata(path).is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named.ino()));
        if !is_it {
            return Ok(None);
        }
        let read = read(&file)?;
        file.set_len(read.end)?;
        let bytes = read.end;
        Ok(Some((LogFile { path: path.to_owned(), file, bytes, bytes_at_first: bytes }, read)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What makes it durable, for a thread that waits for the disk.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Appends lines. On error nothing was appended that will ever be read.
    pub(super) fn append(&mut self, text: &[u8]) -> io::Result<()> {
        // What an earlier attempt has left half-written is written over.
        self.file.write_all_at(text, self.bytes)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Whether most of it says what is over.
    pub(super) fn is_long(&self) -> bool {
        self.bytes > COMPACT_BYTES_MIN && self.bytes > self.bytes_at_first.saturating_mul(COMPACT_GROWTH)
    }

    /// Writes it anew with the records that are `kept`, and holds the lock of that. On error the long one stays.
    pub(super) fn compact(&mut self, kept: impl Fn(&Record) -> bool) -> io::Result<()> {
        let text: Vec<u8> =
            read(&self.file)?.records.iter().filter(|record| kept(record)).flat_map(Record::encode).collect();
        *self = LogFile::create(&self.path, &text)?;
        Ok(())
    }

    /// Removes it.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // The thread that waits for the disk may have a handle yet, which would keep the lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Reads a journal that may be another's.
pub(super) fn read_path(path: &Path) -> io::Result<Lines> {
    read(&File::open(path)?)
}

fn read(file: &File) -> io::Result<Lines> {
    if file.metadata()?.len() > BYTES_MAX {
        return Err(io::Error::other(format!("longer than {BYTES_MAX} bytes")));
    }
    let mut bytes = Vec::new();
    // From its beginning, wherever somebody else has read to.
    OffsetReader { file, at: 0 }.read_to_end(&mut bytes)?;
    Ok(lines(&bytes))
}

struct OffsetReader<'f> {
    file: &'f File,
    at: u64,
}

impl Read for OffsetReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::record::EntryId;
    use super::*;

    fn ended(entry: u64) -> Record {
        Record::Ended { entry: EntryId(entry) }
    }

    #[test]
    fn a_journal_has_one_writer_and_a_dead_ones_is_taken_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.journal");
        let mut file = LogFile::create(&path, &ended(1).encode()).unwrap();
        file.append(&ended(2).encode()).unwrap();
        assert!(LogFile::take_over(&path).unwrap().is_none(), "its mount lives");
        assert_eq!(read_path(&path).unwrap().records, [ended(1), ended(2)]);
        drop(file);
        // Torn in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[b'0'; 30]).unwrap();
        let (mut file, read) = LogFile::take_over(&path).unwrap().unwrap();
        assert_eq!(read.records, [ended(1), ended(2)]);
        file.append(&ended(3).encode()).unwrap();
        assert_eq!(read_path(&path).unwrap().records, [ended(1), ended(2), ended(3)]);
        file.remove().unwrap();
        assert!(LogFile::take_over(&path).unwrap().is_none());
    }

    #[test]
    fn a_compacted_journal_has_what_was_kept_and_its_lock() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.journal");
        let mut file = LogFile::create(&path, &ended(1).encode()).unwrap();
        file.append(&ended(2).encode()).unwrap();
        file.compact(|record| record.entry() == Some(EntryId(2))).unwrap();
        file.append(&ended(3).encode()).unwrap();
        assert_eq!(read_path(&path).unwrap().records, [ended(2), ended(3)]);
        assert!(LogFile::take_over(&path).unwrap().is_none());
        assert!(!file.is_long());
    }
}
