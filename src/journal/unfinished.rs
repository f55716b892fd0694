//! What the records of a journal come to: what was begun and is not at its end. Pure; does no I/O.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::record::{EntryId, FORM, Owner, Record, at_milliseconds, uploaded_part};
use crate::object::{Crc64, ObjectAttributes, ObjectKey, PartNumber, UploadId, UploadedPart};

/// Something that a mount has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// A multipart upload, or the question for one.
    Upload(UnfinishedUpload),
    /// A rename of a directory.
    Rename(UnfinishedRename),
    /// Objects whose keys begin so, which nobody sees, and whose mount is dead.
    Hidden(String),
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The key that it would write.
    pub key: ObjectKey,
    /// When the service was asked to begin it, by the service's clock.
    pub asked_at: SystemTime,
    /// What came of that; `None` where the answer is not known.
    pub begun: Option<Box<BegunUpload>>,
}

/// A multipart upload that the service has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunUpload {
    /// Its id.
    pub upload: UploadId,
    /// The metadata that the object would have.
    pub attributes: ObjectAttributes,
    /// The parts that have landed.
    pub parts: BTreeMap<PartNumber, UploadedPart>,
    /// Parts that were being sent, over those that had landed where there are some of that number.
    pub sent: BTreeMap<PartNumber, SentPart>,
    /// When the last of them did, by the service's clock.
    pub last_at: SystemTime,
}

/// A part that was sent, and nobody has heard whether it has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPart {
    /// Bytes in it.
    pub size: u64,
    /// Their checksum.
    pub crc64: Crc64,
}

impl BegunUpload {
    /// Bytes that have landed.
    pub fn bytes(&self) -> u64 {
        self.parts.values().map(|part| part.size).sum()
    }
}

/// A rename of a directory that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRename {
    /// What the old keys begin with; ends in `/`.
    pub from: String,
    /// What the new ones do.
    pub to: String,
    /// Whether there was an empty directory, which it was to replace.
    pub replaces: bool,
    /// Whether everything is at the new keys, so that what is at the old ones is to go.
    pub has_arrived: bool,
}

impl Unfinished {
    /// Whether all of it is at keys that begin with `prefix`.
    pub(super) fn is_below(&self, prefix: &str) -> bool {
        match self {
            Unfinished::Upload(upload) => upload.key.as_str().starts_with(prefix),
            Unfinished::Rename(rename) => rename.from.starts_with(prefix) && rename.to.starts_with(prefix),
            Unfinished::Hidden(keys) => keys.starts_with(prefix),
        }
    }

    /// The records that say so, under another number.
    pub(super) fn records(&self, entry: EntryId) -> Vec<Record> {
        match self {
            Unfinished::Upload(upload) => upload.records(entry),
            Unfinished::Rename(UnfinishedRename { from, to, replaces, has_arrived }) => {
                let (from, to, replaces) = (from.clone(), to.clone(), *replaces);
                let renaming = Record::Renaming { entry, from, to, replaces };
                std::iter::once(renaming).chain(has_arrived.then_some(Record::Arrived { entry })).collect()
            }
            Unfinished::Hidden(prefix) => vec![Record::Hidden { entry, prefix: prefix.clone() }],
        }
    }
}

impl UnfinishedUpload {
    fn records(&self, entry: EntryId) -> Vec<Record> {
        let at_ms = super::record::milliseconds(self.asked_at);
        let mut records = vec![Record::Initiating { entry, key: self.key.to_string(), at_ms }];
        if let Some(begun) = &self.begun {
            let BegunUpload { upload, attributes, parts, sent, last_at } = &**begun;
            records.push(Record::Begun { entry, upload: upload.to_string(), attributes: Box::new(attributes.clone()) });
            records.extend(parts.iter().filter_map(|(number, part)| Record::part(entry, *number, part, *last_at)));
            records.extend(sent.iter().map(|(number, part)| Record::sending(entry, *number, *part)));
        }
        records
    }
}

/// All that a journal says.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The name of the mount and who it was; `None` where the first record is not there or of another form.
    pub(super) owner: Option<(String, Owner)>,
    pub(super) unfinished: BTreeMap<EntryId, Unfinished>,
    /// The uploads that were asked for, also those that are ended: the service may have begun more of them than it told.
    pub(super) asked: Vec<Asked>,
}

/// An upload that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The key that it would write.
    pub key: ObjectKey,
    /// When, by the service's clock.
    pub at: SystemTime,
}

impl Replay {
    pub(super) fn of(records: impl IntoIterator<Item = Record>) -> Replay {
        let mut replay = Replay::default();
        records.into_iter().for_each(|record| replay.apply(record));
        replay
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Mount { form, id, owner } => self.owner = (form == FORM).then_some((id, owner)),
            Record::Initiating { entry, key, at_ms } => {
                // One that cannot be a key was never asked for.
                let Ok(key) = ObjectKey::new(key) else { return };
                let at = at_milliseconds(at_ms);
                self.asked.push(Asked { key: key.clone(), at });
                let upload = UnfinishedUpload { key, asked_at: at, begun: None };
                self.unfinished.insert(entry, Unfinished::Upload(upload));
            }
            Record::Begun { entry, upload, attributes } => {
                let Some(unfinished) = self.upload_mut(entry) else { return };
                let (parts, sent, last_at) = (BTreeMap::new(), BTreeMap::new(), unfinished.asked_at);
                let upload = UploadId::new(upload);
                unfinished.begun =
                    Some(Box::new(BegunUpload { upload, attributes: *attributes, parts, sent, last_at }));
            }
            Record::Sending { entry, number, size, crc64 } => {
                let begun = self.upload_mut(entry).and_then(|upload| upload.begun.as_mut());
                if let (Some(begun), Some(number)) = (begun, PartNumber::new(number.into())) {
                    begun.sent.insert(number, SentPart { size, crc64: Crc64(crc64) });
                }
            }
            Record::Part { entry, at_ms, number, size, etag, crc64 } => {
                let begun = self.upload_mut(entry).and_then(|upload| upload.begun.as_mut());
                if let (Some(begun), Some(number)) = (begun, PartNumber::new(number.into())) {
                    begun.sent.remove(&number);
                    begun.parts.insert(number, uploaded_part(size, &etag, crc64));
                    begun.last_at = begun.last_at.max(at_milliseconds(at_ms));
                }
            }
            Record::Renaming { entry, from, to, replaces } => {
                let rename = UnfinishedRename { from, to, replaces, has_arrived: false };
                self.unfinished.insert(entry, Unfinished::Rename(rename));
            }
            Record::Arrived { entry } => {
                if let Some(Unfinished::Rename(rename)) = self.unfinished.get_mut(&entry) {
                    rename.has_arrived = true;
                }
            }
            Record::Hidden { entry, prefix } => {
                self.unfinished.insert(entry, Unfinished::Hidden(prefix));
            }
            Record::Ended { entry } => {
                self.unfinished.remove(&entry);
            }
            Record::Unknown => {}
        }
    }

    fn upload_mut(&mut self, entry: EntryId) -> Option<&mut UnfinishedUpload> {
        match self.unfinished.get_mut(&entry) {
            Some(Unfinished::Upload(upload)) => Some(upload),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(entry: u64, parts: &[u16]) -> Vec<Record> {
        let entry = EntryId(entry);
        let part = |number: &u16| {
            let part = uploaded_part(u64::from(*number), "e", 3);
            Record::part(entry, PartNumber::new((*number).into()).unwrap(), &part, at_milliseconds(9)).unwrap()
        };
        let begun = Record::Begun { entry, upload: "id".into(), attributes: Box::default() };
        [Record::Initiating { entry, key: "k".into(), at_ms: 5 }, begun]
            .into_iter()
            .chain(parts.iter().map(part))
            .collect()
    }

    #[test]
    fn an_upload_is_unfinished_until_its_end_and_has_the_parts_that_landed_last() {
        let mut records = upload(1, &[1, 2]);
        records.extend(upload(2, &[4]));
        let replay = Replay::of(records.clone());
        let Some(Unfinished::Upload(first)) = replay.unfinished.get(&EntryId(1)) else { panic!("{replay:?}") };
        let begun = first.begun.as_ref().unwrap();
        assert_eq!((begun.bytes(), begun.last_at), (3, at_milliseconds(9)));
        assert_eq!(begun.parts[&PartNumber::FIRST].crc64, Some(Crc64(3)));
        records.push(Record::Ended { entry: EntryId(1) });
        assert_eq!(Replay::of(records).unfinished.keys().collect::<Vec<_>>(), [&EntryId(2)]);
    }

    #[test]
    fn what_another_journal_takes_over_says_the_same_there() {
        let mut records = upload(1, &[1, 2]);
        records.push(Record::Initiating { entry: EntryId(2), key: "asked".into(), at_ms: 7 });
        records.push(Record::Renaming { entry: EntryId(3), from: "a/".into(), to: "b/".into(), replaces: true });
        records.push(Record::Renaming { entry: EntryId(4), from: "c/".into(), to: "d/".into(), replaces: false });
        records.push(Record::Arrived { entry: EntryId(4) });
        records.push(Record::Hidden { entry: EntryId(5), prefix: "h".into() });
        let before = Replay::of(records);
        let moved = before.unfinished.iter().flat_map(|(entry, what)| what.records(EntryId(entry.0 + 10)));
        let after = Replay::of(moved.collect::<Vec<_>>());
        assert_eq!(
            after.unfinished.into_values().collect::<Vec<_>>(),
            before.unfinished.into_values().collect::<Vec<_>>()
        );
    }

    #[test]
    fn records_of_what_nobody_began_say_nothing() {
        let entry = EntryId(1);
        let part = Record::Part { entry, at_ms: 1, number: 1, size: 1, etag: "e".into(), crc64: 1 };
        let bad_number = Record::Part { entry: EntryId(2), at_ms: 1, number: 0, size: 1, etag: "e".into(), crc64: 1 };
        let mut records = vec![part, Record::Arrived { entry }, Record::Ended { entry }];
        records.extend(upload(2, &[]));
        records.push(bad_number);
        let replay = Replay::of(records);
        assert_eq!(replay.unfinished.len(), 1);
    }
}
