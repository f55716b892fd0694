//! The records of a journal, and the lines that they are.
//!
//! A line is the CRC-64 of what follows, in hexadecimal digits, a blank, and the record as JSON. Whoever reads a journal
//! passes over kinds of records that it does not know, so that later versions can add some.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::unfinished::SentPart;
use crate::object::{Crc64, ETag, ObjectAttributes, PartNumber, UploadedPart};

/// The form of the records. A journal of another form is left alone.
pub(super) const FORM: u32 = 1;

/// What a record is about: one upload, one rename. Counted from 1 in each journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId(pub(super) u64);

/// Who writes a journal: what is said in its first record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Where the bucket is, and its name: mounts of one bucket say the same.
    pub bucket: String,
    /// What all keys of the mount begin with; empty or ending in `/`.
    pub prefix: String,
    /// The machine, as `/etc/machine-id` has it; empty where there is none.
    pub machine: String,
    /// The process, for people who read the journal.
    pub process: u32,
}

impl Owner {
    /// Whether both are mounts of one bucket on one machine.
    pub(super) fn is_of_same_bucket(&self, other: &Owner) -> bool {
        (&self.bucket, &self.machine) == (&other.bucket, &other.machine)
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    /// The first one.
    Mount {
        form: u32,
        /// The name of this one mount, which the keys of what it hides begin with.
        id: String,
        owner: Owner,
    },
    /// An upload is about to be begun, at this time of the service.
    Initiating { entry: EntryId, key: String, at_ms: u64 },
    /// It was begun.
    Begun { entry: EntryId, upload: String, attributes: Box<ObjectAttributes> },
    /// A part is being sent. Whether it has landed a listing of parts tells.
    Sending { entry: EntryId, number: u16, size: u64, crc64: u64 },
    /// A part has landed. Parts follow one another, so that what lies before tells where it begins.
    Part { entry: EntryId, at_ms: u64, number: u16, size: u64, etag: String, crc64: u64 },
    /// Objects are being copied from one directory to another.
    Renaming { entry: EntryId, from: String, to: String, replaces: bool },
    /// All of them are there, and those in the first directory are being removed.
    Arrived { entry: EntryId },
    /// Objects whose keys begin so are of a mount that is dead, and nobody sees them.
    Hidden { entry: EntryId, prefix: String },
    /// Nothing of it is left to be done.
    Ended { entry: EntryId },
    /// Of a kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Record {
    /// What it is about; `None` for what is about all of the journal.
    pub(super) fn entry(&self) -> Option<EntryId> {
        match self {
            Record::Initiating { entry, .. }
            | Record::Begun { entry, .. }
            | Record::Sending { entry, .. }
            | Record::Part { entry, .. }
            | Record::Renaming { entry, .. }
            | Record::Arrived { entry }
            | Record::Hidden { entry, .. }
            | Record::Ended { entry } => Some(*entry),
            Record::Mount { .. } | Record::Unknown => None,
        }
    }

    pub(super) fn part(entry: EntryId, number: PartNumber, part: &UploadedPart, at: SystemTime) -> Option<Record> {
        // Without a checksum nobody could say later whether it is the same.
        let crc64 = part.crc64?.0;
        let (etag, size) = (part.etag.to_string(), part.size);
        Some(Record::Part { entry, at_ms: milliseconds(at), number: number.get(), size, etag, crc64 })
    }

    pub(super) fn sending(entry: EntryId, number: PartNumber, part: SentPart) -> Record {
        Record::Sending { entry, number: number.get(), size: part.size, crc64: part.crc64.0 }
    }

    /// The line of it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("texts and numbers are JSON");
        let mut line = format!("{:016x} ", Crc64::of(&json).0).into_bytes();
        line.extend(json);
        line.push(b'\n');
        line
    }

    /// Reads a line, without its end; `None` of one that is damaged.
    pub(super) fn decode(line: &[u8]) -> Option<Record> {
        let (crc64, json) = (line.get(..16)?, line.get(17..)?);
        let crc64 = u64::from_str_radix(std::str::from_utf8(crc64).ok()?, 16).ok()?;
        if Crc64::of(json).0 != crc64 {
            return None;
        }
        // What is whole and cannot be understood is of a later version.
        Some(serde_json::from_slice(json).unwrap_or(Record::Unknown))
    }
}

/// What a journal says, record by record, and how far it could be read.
pub(super) struct Lines {
    pub(super) records: Vec<Record>,
    /// Where the last line that is whole ends.
    pub(super) end: u64,
    /// Lines in the middle that are damaged.
    pub(super) damaged: usize,
}

/// Reads a journal. What stands behind the last line that is whole was being written when its writer died.
pub(super) fn lines(bytes: &[u8]) -> Lines {
    let (mut read, mut position, mut torn) = (Lines { records: Vec::new(), end: 0, damaged: 0 }, 0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        position += line.len() as u64;
        match line.strip_suffix(b"\n").and_then(Record::decode) {
            Some(record) => {
                read.records.push(record);
                read.damaged += std::mem::take(&mut torn);
                read.end = position;
            }
            None => torn += 1,
        }
    }
    read
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn at_milliseconds(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

pub(super) fn uploaded_part(size: u64, etag: &str, crc64: u64) -> UploadedPart {
    UploadedPart { etag: ETag::new(etag), size, crc64: Some(Crc64(crc64)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> Vec<Record> {
        let (entry, mut attributes) = (EntryId(7), ObjectAttributes::default());
        attributes.user.insert("mtime".into(), "1.5".into());
        attributes.content_type = Some("text/plain".into());
        let owner = Owner { bucket: "b".into(), prefix: "p/".into(), machine: String::new(), process: 1 };
        vec![
            Record::Mount { form: FORM, id: "1f".into(), owner },
            Record::Initiating { entry, key: "a\nb \u{1F600}".into(), at_ms: 5 },
            Record::Begun { entry, upload: "id".into(), attributes: Box::new(attributes.clone()) },
            Record::Sending { entry, number: 1, size: 9, crc64: u64::MAX },
            Record::Part { entry, at_ms: 6, number: 1, size: 9, etag: "e".into(), crc64: u64::MAX },
            Record::Renaming { entry, from: "a/".into(), to: "b/".into(), replaces: true },
            Record::Arrived { entry },
            Record::Hidden { entry, prefix: "h/1f-".into() },
            Record::Ended { entry },
        ]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(Record::encode).collect()
    }

    #[test]
    fn what_is_written_down_is_read() {
        let read = lines(&written(&records()));
        assert_eq!((read.records, read.damaged), (records(), 0));
    }

    #[test]
    fn a_torn_tail_is_not_read_and_damage_in_the_middle_costs_one_record() {
        let bytes = written(&records());
        let last = records().last().map(|record| record.encode().len()).unwrap();
        for cut in 1..=last {
            let read = lines(&bytes[..bytes.len() - cut]);
            assert_eq!(read.records, records()[..records().len() - 1], "{cut}");
            assert_eq!((read.end, read.damaged), ((bytes.len() - last) as u64, 0));
        }
        let mut damaged = bytes.clone();
        let second = Record::encode(&records()[0]).len();
        damaged[second + 30] ^= 1;
        let read = lines(&damaged);
        assert_eq!((read.records.len(), read.damaged, read.end), (records().len() - 1, 1, bytes.len() as u64));
    }

    #[test]
    fn a_record_of_a_later_version_is_passed_over() {
        for json in [r#"{"record":"committed","path":"x"}"#, r#"{"record":"ended","entry":"seven"}"#, "[]"] {
            let line = format!("{:016x} {json}", Crc64::of(json.as_bytes()).0);
            assert_eq!(Record::decode(line.as_bytes()), Some(Record::Unknown), "{json}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_is_worth_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read = lines(&bytes);
            prop_assert!(read.end <= bytes.len() as u64);
        }
    }
}
