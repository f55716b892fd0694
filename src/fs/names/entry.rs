//! Names in a directory, and what they stand for.

use std::time::{Duration, SystemTime};

use super::{Ino, Kind, unmarked_attributes};
use crate::cache::Description;
use crate::object::time::whole_seconds;
use crate::object::{ETag, ObjectAttributes, ObjectHead, Version};
use crate::upload::PublishedFile;

/// The service's time of an object may differ from when this mount had published it by so much: whole seconds, and the way
/// of the answer. Where clocks differ by more, attributes are asked for once more.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);

/// An answer that the service gives so much later than the object's time tells nothing that later metadata of the same bytes could be
/// taken for: those have another time. Both are in whole seconds of its clock, or of several that are nearly the same.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// A name in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ino: Ino,
    /// When it was last known to be so.
    pub(crate) seen_at: SystemTime,
    pub(crate) what: EntryKind,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EntryKind {
    /// A directory, with its marker where somebody asked for it.
    Directory(Option<Box<Marker>>),
    /// A file that is in the bucket.
    Object(ObjectStat),
    /// A file that was made here and is not in the bucket yet.
    New,
}

/// What the marker object of a directory says of it. A directory without one has what a new marker would say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Marker {
    pub(crate) attributes: ObjectAttributes,
    pub(crate) last_modified: SystemTime,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ObjectStat {
    pub(crate) version: Version,
    pub(crate) last_modified: SystemTime,
    /// Whether `last_modified` is the service's word; otherwise it is when this mount published.
    pub(crate) is_exact: bool,
    /// What it is; `None` until somebody asked. Stays known when the metadata are evicted.
    pub(crate) kind: Option<Kind>,
    /// The metadata; `None` until somebody asked for them, and where they have been evicted.
    pub(crate) attributes: Option<Box<ObjectAttributes>>,
    /// Whether the service told them so much later than `last_modified` that others would have another time.
    pub(crate) is_settled: bool,
    /// Whether they were written down beside a copy: tags and a storage class that came later have not changed the time.
    pub(crate) is_recalled: bool,
}

/// An object that was copied: the version that it was, and the one that the copy is.
pub(crate) struct CopyOf {
    pub(crate) etag: ETag,
    pub(crate) last_modified: SystemTime,
    pub(crate) size: u64,
    pub(crate) copied: ETag,
}

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// Somebody has to ask.
    Unknown,
}

impl EntryKind {
    /// What it is, as far as is known: a symbolic link shows by its metadata.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            EntryKind::Directory(_) => Kind::Directory,
            EntryKind::Object(stat) => stat.kind.unwrap_or(Kind::File),
            EntryKind::New => Kind::File,
        }
    }

    /// The metadata, as far as they are known.
    pub(super) fn attributes(&self) -> Option<&ObjectAttributes> {
        match self {
            EntryKind::Directory(marker) => marker.as_ref().map(|marker| &marker.attributes),
            EntryKind::Object(stat) => stat.attributes.as_deref(),
            EntryKind::New => None,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, EntryKind::Directory(_))
    }

    /// Whether both are directories, or the same object.
    pub(super) fn is_same_version(&self, other: &EntryKind) -> bool {
        match (self, other) {
            (EntryKind::Object(one), EntryKind::Object(other)) => one.version.etag == other.version.etag,
            (one, other) => one.is_directory() && other.is_directory(),
        }
    }
}

impl Marker {
    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.last_modified != SystemTime::UNIX_EPOCH
    }

    /// What stands for the marker of a directory that exists only as a prefix.
    pub(crate) fn absent() -> Box<Marker> {
        Box::new(Marker { attributes: unmarked_attributes(), last_modified: SystemTime::UNIX_EPOCH })
    }
}

impl ObjectStat {
    /// When the content was last changed: as whoever did tells, or as the service does.
    pub(super) fn mtime(&self) -> SystemTime {
        self.attributes.as_ref().and_then(|attributes| attributes.mtime()).unwrap_or(self.last_modified)
    }

    /// What a HEAD said.
    pub(crate) fn told(head: ObjectHead) -> ObjectStat {
        let (last_modified, is_settled) = (head.last_modified, is_settled(&head));
        let made = ObjectStat::made(head.version(), head.attributes, last_modified);
        ObjectStat { is_exact: true, is_settled, ..made }
    }

    /// What a listing said.
    pub(crate) fn listed(version: Version, last_modified: SystemTime) -> ObjectStat {
        ObjectStat {
            version,
            last_modified,
            is_exact: true,
            kind: None,
            attributes: None,
            is_settled: false,
            is_recalled: false,
        }
    }

    /// What is known of an object that this mount has made at `now`.
    pub(crate) fn made(version: Version, attributes: ObjectAttributes, now: SystemTime) -> ObjectStat {
        let kind = Some(Kind::of_object(Some(&attributes), version.size));
        let attributes = Some(Box::new(attributes));
        ObjectStat { is_exact: false, kind, attributes, ..ObjectStat::listed(version, now) }
    }

    /// Takes in the metadata of this version that a HEAD has told. Those that it had at another time are not its own.
    pub(super) fn take_head(&mut self, head: &ObjectHead) {
        if self.version.etag != head.etag || self.attributes.is_some() || !self.was_last_modified_at(head.last_modified)
        {
            return;
        }
        self.version.checksum = self.version.checksum.or(head.crc64);
        self.take_attributes(head.attributes.clone());
        self.is_settled = is_settled(head);
    }

    fn take_attributes(&mut self, attributes: ObjectAttributes) {
        self.kind = Some(Kind::of_object(Some(&attributes), self.version.size));
        self.attributes = Some(Box::new(attributes));
    }

    /// What may be written down of this version beside its bytes: the service's own word of it.
    pub(crate) fn description(&self) -> Option<Description> {
        let attributes = self.attributes.as_deref().filter(|_| self.is_exact && self.is_settled)?.clone();
        Some(Description { attributes, checksum: self.version.checksum, last_modified: self.last_modified })
    }

    /// Takes in what was written down of the version, if it has had no other metadata since. Returns what it is then.
    pub(super) fn take_description(&mut self, description: Description) -> Option<Kind> {
        if !self.is_exact || !self.was_last_modified_at(description.last_modified) || self.attributes.is_some() {
            return None;
        }
        self.version.checksum = self.version.checksum.or(description.checksum);
        self.take_attributes(description.attributes);
        (self.is_settled, self.is_recalled) = (true, true);
        self.kind
    }

    /// The metadata as the service has told them to this mount, or as it has published them.
    pub(crate) fn own_attributes(&self) -> Option<&ObjectAttributes> {
        self.attributes.as_deref().filter(|_| !self.is_recalled)
    }

    /// What is known after this mount published the file.
    pub(crate) fn published(file: PublishedFile, now: SystemTime) -> ObjectStat {
        let PublishedFile { object, attributes, serial: _ } = file;
        ObjectStat::made(object.version, attributes, now)
    }

    /// The object is now a copy of the version that somebody has copied, made at `now`: of what is known that holds which is
    /// known of this version.
    pub(super) fn take_copy(&mut self, copy: &CopyOf, now: SystemTime) {
        let is_of_this = self.version.etag == copy.etag && self.was_last_modified_at(copy.last_modified);
        let version = &mut self.version;
        if !is_of_this {
            (version.size, version.checksum, self.kind, self.attributes) = (copy.size, None, None, None);
        }
        (version.etag, self.last_modified) = (copy.copied.clone(), now);
        (self.is_exact, self.is_settled, self.is_recalled) = (false, false, false);
    }

    /// Whether the service's time of the last change may be that of this version. Where that has not been asked for, it is
    /// about when this mount published.
    fn was_last_modified_at(&self, at: SystemTime) -> bool {
        if self.is_exact {
            // Listings of some services tell fractions of seconds, and no HEAD does.
            return whole_seconds(self.last_modified) == whole_seconds(at);
        }
        let apart = at.duration_since(self.last_modified).unwrap_or_else(|before| before.duration());
        apart <= PUBLISHED_WITHIN
    }

    /// What a new answer says, and what was known before and still holds.
    pub(super) fn updated(self, before: ObjectStat) -> ObjectStat {
        let same = self.version.etag == before.version.etag && before.was_last_modified_at(self.last_modified);
        if !same {
            return self;
        }
        let checksum = self.version.checksum.or(before.version.checksum);
        let (version, kind) = (Version { checksum, ..self.version }, self.kind.or(before.kind));
        // Those of before may have been told too early to be sure of them.
        let (attributes, is_settled, is_recalled) = match self.attributes {
            Some(attributes) => (Some(attributes), self.is_settled, self.is_recalled),
            None => (before.attributes, before.is_settled, before.is_recalled),
        };
        ObjectStat { version, kind, attributes, is_settled, is_recalled, ..self }
    }
}

/// Whether this was told so late that what comes after it within the same second as the object's time cannot be meant.
fn is_settled(head: &ObjectHead) -> bool {
    let later = head.told_at.and_then(|told_at| told_at.duration_since(head.last_modified).ok());
    later.is_some_and(|later| later >= SETTLED_AFTER)
}
