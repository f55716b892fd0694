//! The journal: every change of the index once more, in a form that any tool can read.
//!
//! The index is one file of a data base. Without it the segments would be bytes that nobody can name, so what it is told
//! is written down a second time, and an index that is lost or damaged is made anew from that. The journal never
//! decides anything while the index is there: after a run that ended in disorder it is written anew from the index.
//!
//! The file is a line with the identity that it shares with its index, then batches: a line with the number of the
//! last change, the bytes that follow and their CRC-64, and these bytes, which are lines of rows (`rows.rs`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::object::Crc64;

use super::StorageError;

/// The file of the journal, in the service's directory.
pub(super) const JOURNAL_FILE: &str = "journal";
/// Where it is written before it takes the place of the older one.
const NEW_FILE: &str = "journal.new";

/// How the first line begins; the number is that of the form.
const HEADER: &str = "cosmount journal 1 ";
/// How the first line of a batch begins.
const BATCH: &str = "change ";

/// Below this the journal is not shortened while the service runs: some 100,000 changes of small objects, which take
/// longer to make than the writing anew takes.
const SHORTEN_BYTES_MIN: u64 = 64 << 20;
/// The journal is shortened when it has grown to so many times what it was when it was last written anew, so that
/// all writing anew together costs a fraction of the changes.
const SHORTEN_GROWTH: u64 = 4;

/// The journal of a service that runs.
pub(super) struct Journal {
    directory: PathBuf,
    identity: String,
    file: File,
    bytes: u64,
    /// Its size when it was last written anew.
    bytes_at_first: u64,
}

impl Journal {
    /// Writes a journal that says what `rows` say, in place of an older one.
    pub(super) fn write_anew(
        directory: &Path,
        identity: &str,
        sequence: u64,
        rows: impl Iterator<Item = Result<Vec<u8>, StorageError>>,
    ) -> Result<Journal, StorageError> {
        let failed = |error: io::Error| StorageError::io("write the journal", error);
        let new = directory.join(NEW_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new);
        let mut file = file.map_err(failed)?;
        let mut bytes = 0;
        let header = format!("{HEADER}{identity}\n");
        file.write_all(header.as_bytes()).map_err(failed)?;
        bytes += header.len() as u64;
        for rows in rows {
            let batch = batch(sequence, &rows?);
            file.write_all(&batch).map_err(failed)?;
            bytes += batch.len() as u64;
        }
        file.sync_all().map_err(failed)?;
        fs::rename(&new, directory.join(JOURNAL_FILE)).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let (directory, identity) = (directory.to_owned(), identity.to_owned());
        Ok(Journal { directory, identity, file, bytes, bytes_at_first: bytes })
    }

    /// Goes on with the journal that is there and was read to its end, `bytes` long.
    pub(super) fn go_on(directory: &Path, identity: &str, bytes: u64) -> Result<Journal, StorageError> {
        let file = OpenOptions::new().read(true).write(true).open(directory.join(JOURNAL_FILE));
        let file = file.map_err(|error| StorageError::io("open the journal", error))?;
        let (directory, identity) = (directory.to_owned(), identity.to_owned());
        Ok(Journal { directory, identity, file, bytes, bytes_at_first: bytes })
    }

    /// Its size, for [`Journal::take_back`].
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes down a batch of changes. On error nothing was added.
    pub(super) fn append(&mut self, sequence: u64, rows: &[u8]) -> io::Result<()> {
        let batch = batch(sequence, rows);
        let before = self.bytes;
        if let Err(error) = self.file.write_all_at(&batch, before) {
            self.take_back(before);
            return Err(error);
        }
        self.bytes += batch.len() as u64;
        Ok(())
    }

    /// Makes durable what was written down.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Forgets what was written down after it was `bytes` long, since it did not come to be.
    pub(super) fn take_back(&mut self, bytes: u64) {
        self.bytes = bytes;
        if let Err(error) = self.file.set_len(bytes) {
            // What follows is written over it; if nothing does, the next start writes the journal anew.
            log::warn!("the journal could not be cut back: {error}");
        }
    }

    /// Whether most of it says what is true no more.
    pub(super) fn is_long(&self) -> bool {
        self.bytes > SHORTEN_BYTES_MIN && self.bytes > self.bytes_at_first.saturating_mul(SHORTEN_GROWTH)
    }

    /// Writes it anew from all rows that there are. On error the long one stays.
    pub(super) fn shorten(
        &mut self,
        sequence: u64,
        rows: impl Iterator<Item = Result<Vec<u8>, StorageError>>,
    ) -> Result<(), StorageError> {
        *self = Journal::write_anew(&self.directory, &self.identity, sequence, rows)?;
        Ok(())
    }
}

fn batch(sequence: u64, rows: &[u8]) -> Vec<u8> {
    let mut batch = format!("{BATCH}{sequence} {} {:016x}\n", rows.len(), Crc64::of(rows).0).into_bytes();
    batch.extend_from_slice(rows);
    batch
}

/// A journal being read.
pub(super) struct JournalReader {
    file: BufReader<File>,
    identity: String,
    /// Where the next batch begins.
    position: u64,
    bytes: u64,
    /// The number of the last change that was read.
    pub(super) sequence: u64,
    /// Bytes that could not be understood and were skipped.
    pub(super) bytes_damaged: u64,
}

impl JournalReader {
    /// Opens the journal in `directory`; `None` if there is none, or if not even its first line is there.
    pub(super) fn open(directory: &Path) -> Result<Option<JournalReader>, StorageError> {
        let failed = |error: io::Error| StorageError::io("read the journal", error);
        let file = match File::open(directory.join(JOURNAL_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let bytes = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(file);
        let mut first = Vec::new();
        file.read_until(b'\n', &mut first).map_err(failed)?;
        let identity = std::str::from_utf8(&first).ok().and_then(|line| line.strip_prefix(HEADER));
        let Some(identity) = identity.and_then(|line| line.strip_suffix('\n')) else { return Ok(None) };
        let identity = identity.to_owned();
        let position = first.len() as u64;
        Ok(Some(JournalReader { file, identity, position, bytes, sequence: 0, bytes_damaged: 0 }))
    }

    /// What it shares with its index.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// How far it was understood.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The rows of the next batch; `None` at the end. What was damaged is skipped and counted.
    pub(super) fn next_batch(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        loop {
            let mut line = Vec::new();
            let read = self.file.read_until(b'\n', &mut line);
            let read = read.map_err(|error| StorageError::io("read the journal", error))? as u64;
            if read == 0 {
                return Ok(None);
            }
            if let Some((sequence, length, crc64)) = parse_batch(&line)
                && length <= self.bytes - self.position.min(self.bytes)
            {
                let mut rows = vec![0; usize::try_from(length).unwrap_or(0)];
                let whole = self.file.read_exact(&mut rows);
                self.position += read + length;
                if whole.is_ok() && Crc64::of(&rows) == crc64 {
                    self.sequence = self.sequence.max(sequence);
                    return Ok(Some(rows));
                }
                self.bytes_damaged += read + length;
            } else {
                self.position += read;
                self.bytes_damaged += read;
            }
        }
    }
}

fn parse_batch(line: &[u8]) -> Option<(u64, u64, Crc64)> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix(BATCH)?.strip_suffix('\n')?;
    let mut words = line.split(' ');
    let sequence = words.next()?.parse().ok()?;
    let length = words.next()?.parse().ok()?;
    let crc64 = u64::from_str_radix(words.next()?, 16).ok()?;
    words.next().is_none().then_some((sequence, length, Crc64(crc64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(directory: &Path) -> (Vec<String>, u64, u64) {
        let mut reader = JournalReader::open(directory).unwrap().unwrap();
        assert_eq!(reader.identity(), "me");
        let mut batches = Vec::new();
        while let Some(rows) = reader.next_batch().unwrap() {
            batches.push(String::from_utf8(rows).unwrap());
        }
        (batches, reader.sequence, reader.bytes_damaged)
    }

    #[test]
    fn what_was_written_down_is_read_and_what_was_taken_back_is_not() {
        let home = tempfile::tempdir().unwrap();
        let first = [Ok(b"a\nb\n".to_vec())];
        let mut journal = Journal::write_anew(home.path(), "me", 5, first.into_iter()).unwrap();
        journal.append(6, b"c\n").unwrap();
        let before = journal.bytes();
        journal.append(7, b"d\n").unwrap();
        journal.take_back(before);
        journal.sync().unwrap();
        assert_eq!(read(home.path()), (vec!["a\nb\n".to_owned(), "c\n".to_owned()], 6, 0));
        let mut again = Journal::go_on(home.path(), "me", before).unwrap();
        again.append(7, b"e\n").unwrap();
        assert_eq!(read(home.path()).0, ["a\nb\n", "c\n", "e\n"]);
    }

    #[test]
    fn a_damaged_batch_is_skipped_and_counted_and_a_torn_one_too() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::write_anew(home.path(), "me", 0, std::iter::empty()).unwrap();
        for (sequence, rows) in [(1, "one\n"), (2, "two\n"), (3, "three\n")] {
            journal.append(sequence, rows.as_bytes()).unwrap();
        }
        let path = home.path().join(JOURNAL_FILE);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(3).position(|window| window == b"two").unwrap();
        bytes[at] ^= 1;
        bytes.truncate(bytes.len() - 2);
        fs::write(&path, bytes).unwrap();
        let (batches, sequence, damaged) = read(home.path());
        assert_eq!((batches, sequence), (vec!["one\n".to_owned()], 1));
        assert!(damaged > 8, "{damaged}");
    }
}
