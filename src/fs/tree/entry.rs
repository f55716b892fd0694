//! Names in a directory, and what they stand for.

use std::time::{Duration, SystemTime};

use super::Ino;
use crate::fs::attributes::{Kind, unmarked_attributes};
use crate::fs::moving_directories::Copy;
use crate::object::{Crc64, ETag, ObjectAttributes, ObjectHead, ObjectKey};
use crate::read::Version;
use crate::upload::PublishedFile;

/// The service's time of an object may differ from when this mount had published it by so much: whole seconds, and the way
/// of the answer. Where clocks differ by more, attributes are asked for once more.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);

/// A name in a directory.
#[derive(Clone, Debug)]
pub(in crate::fs) struct Entry {
    pub(in crate::fs) ino: Ino,
    /// When it was last known to be so.
    pub(in crate::fs) seen_at: SystemTime,
    pub(in crate::fs) what: What,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::fs) enum What {
    /// A directory, with its marker where somebody asked for it.
    Directory(Option<Box<Marker>>),
    /// A file that is in the bucket.
    Object(Facts),
    /// A file that was made here and is not in the bucket yet.
    New,
}

/// What the marker object of a directory says of it. A directory without one has what a new marker would say.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::fs) struct Marker {
    pub(in crate::fs) attributes: ObjectAttributes,
    pub(in crate::fs) last_modified: SystemTime,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::fs) struct Facts {
    pub(in crate::fs) size: u64,
    pub(in crate::fs) etag: ETag,
    pub(in crate::fs) last_modified: SystemTime,
    /// Whether `last_modified` is the service's word; otherwise it is when this mount published.
    pub(in crate::fs) is_exact: bool,
    pub(in crate::fs) crc64: Option<Crc64>,
    /// The metadata; `None` until somebody asked for them.
    pub(in crate::fs) attributes: Option<Box<ObjectAttributes>>,
}

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) enum Known {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// Somebody has to ask.
    Unknown,
}

impl What {
    /// What it is, as far as is known: a symbolic link shows by its metadata.
    pub(in crate::fs) fn kind(&self) -> Kind {
        match self {
            What::Directory(_) => Kind::Directory,
            What::Object(facts) => Kind::of_object(facts.attributes.as_deref(), facts.size),
            What::New => Kind::File,
        }
    }

    pub(in crate::fs) fn is_directory(&self) -> bool {
        matches!(self, What::Directory(_))
    }

    /// Whether both are directories, or the same object.
    pub(super) fn is_same_version(&self, other: &What) -> bool {
        match (self, other) {
            (What::Object(one), What::Object(other)) => one.etag == other.etag,
            (one, other) => one.is_directory() && other.is_directory(),
        }
    }
}

impl Marker {
    /// Whether there is one.
    pub(in crate::fs) fn is_there(&self) -> bool {
        self.last_modified != SystemTime::UNIX_EPOCH
    }

    /// What stands for the marker of a directory that exists only as a prefix.
    pub(in crate::fs) fn absent() -> Box<Marker> {
        Box::new(Marker { attributes: unmarked_attributes(), last_modified: SystemTime::UNIX_EPOCH })
    }
}

impl Facts {
    /// When the content was last changed: as whoever did tells, or as the service does.
    pub(super) fn mtime(&self) -> SystemTime {
        self.attributes.as_ref().and_then(|attributes| attributes.mtime()).unwrap_or(self.last_modified)
    }

    /// The version, for reading.
    pub(in crate::fs) fn version(&self, key: ObjectKey) -> Version {
        Version { key, etag: self.etag.clone(), size: self.size, crc64: self.crc64 }
    }

    /// What a HEAD said.
    pub(in crate::fs) fn told(head: ObjectHead) -> Facts {
        let ObjectHead { size, etag, last_modified, crc64, attributes } = head;
        Facts { size, etag, last_modified, is_exact: true, crc64, attributes: Some(Box::new(attributes)) }
    }

    /// What is known after this mount published the file.
    pub(in crate::fs) fn published(file: PublishedFile, now: SystemTime) -> Facts {
        let PublishedFile { base, attributes, key: _, serial: _ } = file;
        let (size, etag, crc64, attributes) = (base.size, base.etag, base.crc64, Some(Box::new(attributes)));
        Facts { size, etag, last_modified: now, is_exact: false, crc64, attributes }
    }

    /// The object is now a copy of the version that somebody has copied, made at `now`: of what is known that holds which is
    /// known of this version.
    pub(super) fn take_copy(&mut self, copy: &Copy, now: SystemTime) {
        if self.etag != copy.etag || !self.was_last_modified_at(copy.last_modified) {
            (self.size, self.crc64, self.attributes) = (copy.size, None, None);
        }
        (self.etag, self.last_modified, self.is_exact) = (copy.copied.clone(), now, false);
    }

    /// Whether the service's time of the last change may be that of this version. Where that has not been asked for, it is
    /// about when this mount published.
    fn was_last_modified_at(&self, at: SystemTime) -> bool {
        if self.is_exact {
            return self.last_modified == at;
        }
        let apart = at.duration_since(self.last_modified).unwrap_or_else(|before| before.duration());
        apart <= PUBLISHED_WITHIN
    }

    /// What a new answer says, and what was known before and still holds.
    pub(super) fn updated(self, before: Facts) -> Facts {
        let same = self.etag == before.etag && before.was_last_modified_at(self.last_modified);
        if !same {
            return self;
        }
        Facts { crc64: self.crc64.or(before.crc64), attributes: self.attributes.or(before.attributes), ..self }
    }
}
