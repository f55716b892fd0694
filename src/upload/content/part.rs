//! One part of an upload: where its bytes are, and what is fetched for it. Pure; does no I/O.

use crate::object::{ByteRange, Checksum, UploadedPart};
use crate::upload::extents::{Extents, SourceObject};

/// A part that is sealed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) len: u64,
    /// Told apart from every earlier content of this part and of parts that once had its place.
    pub(super) version: u64,
    pub(super) body: PartBody,
    /// What is fetched for it. Empty until it is published.
    pub(super) fetches: Vec<Fetch>,
    /// What the service acknowledged for this version.
    pub(super) sent: Option<UploadedPart>,
}

#[derive(Debug)]
pub(super) enum PartBody {
    /// It is uploaded, and these are its bytes.
    Upload(Extents),
    /// It is copied on the service, from `start` of an object.
    Copy { source: SourceObject, start: u64 },
    /// It is only at the service, where nobody can read it before the upload is complete.
    Gone,
}

/// A stretch of an object that is fetched for a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upload) struct Fetch {
    pub(in crate::upload) source: SourceObject,
    pub(in crate::upload) range: ByteRange,
    pub(in crate::upload) check: Check,
    /// What was fetched for the part as it was acknowledged.
    pub(super) checksum: Option<Checksum>,
}

/// What a stretch that is fetched is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upload) enum Check {
    /// With the checksum of the object, of which it is all.
    Whole,
    /// With that of the object, together with everything else of it: see [`super::Content::doubt`].
    Together,
    /// With that of a copy of it.
    Apart,
    /// The service never told a checksum of the object.
    Nothing,
}

/// How one part fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartMark {
    /// It is full, and has not begun to go.
    Waiting,
    /// It is on its way.
    Sending,
    /// The service has it.
    Landed,
    /// The service has it, and has copied it from another object.
    Copied,
}

/// A part that must go to the service.
#[derive(Debug)]
pub(in crate::upload) struct Outgoing {
    pub(in crate::upload) index: usize,
    pub(in crate::upload) version: u64,
    pub(in crate::upload) job: Job,
}

/// How a part gets to the service.
#[derive(Debug)]
pub(in crate::upload) enum Job {
    /// By sending these bytes, after fetching those that are stored.
    Upload(Extents, Vec<Fetch>),
    /// By a copy of a range of an object.
    Copy { source: SourceObject, range: ByteRange },
}

/// The range lies, at least in part, in bytes that are only in parts of the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upload) struct NotHeld;

impl Part {
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }
}
