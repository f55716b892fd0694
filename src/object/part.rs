//! Parts of a multipart upload and the upload that they belong to.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::{Crc64, ETag};

/// The largest part number (`cos-api.md` 4.2).
pub const PART_NUMBER_MAX: u16 = 10_000;

/// The 1-based number of a part.
///
/// INVARIANT: 1..=[`PART_NUMBER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartNumber(NonZeroU16);

impl PartNumber {
    /// The first part.
    pub const FIRST: PartNumber = PartNumber(NonZeroU16::MIN);

    /// The number `number`, if a part can bear it.
    pub fn new(number: u64) -> Option<PartNumber> {
        let number = u16::try_from(number).ok().filter(|&number| number <= PART_NUMBER_MAX)?;
        NonZeroU16::new(number).map(PartNumber)
    }

    /// The number as an integer, from 1.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PartNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The service's name for one running multipart upload. Opaque.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UploadId(Arc<str>);

impl UploadId {
    /// Takes the text that Initiate Multipart Upload answered.
    pub fn new(text: impl AsRef<str>) -> UploadId {
        UploadId(Arc::from(text.as_ref()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What the service acknowledged of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedPart {
    /// The ETag to name in Complete.
    pub etag: ETag,
    /// Bytes in the part.
    pub size: u64,
    /// CRC-64 of the part's bytes; `None` where a service does not answer it (a part copy in older answers).
    pub crc64: Option<Crc64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_run_from_1_to_10_000() {
        let numbers = [0, 1, 10_000, 10_001, 65_536, 65_537].map(|number| PartNumber::new(number).map(PartNumber::get));
        assert_eq!(numbers, [None, Some(1), Some(10_000), None, None, None]);
    }
}
