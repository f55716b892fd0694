//! The service's limits as a value, so that planners can be tested with tiny ones.

use std::collections::BTreeMap;

use super::ChecksumAlgorithm;

/// A binary mebibyte.
pub const MIB: u64 = 1 << 20;
/// A binary gibibyte.
pub const GIB: u64 = 1 << 30;
/// A binary tebibyte.
pub const TIB: u64 = 1 << 40;

/// What one service takes (`cos-api.md` 4.9 and 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The smallest part, in bytes; the last part of an upload may be smaller.
    pub part_bytes_min: u64,
    /// The largest part, and the largest range of one part copy, in bytes.
    pub part_bytes_max: u64,
    /// The most parts of one upload.
    pub part_count_max: u64,
    /// The largest object that one PUT or one copy can make, in bytes.
    pub put_bytes_max: u64,
    /// The largest object, in bytes.
    pub object_bytes_max: u64,
    /// The largest value of one user metadatum, in bytes (`cos-api.md` 3.12).
    pub metadatum_bytes_max: usize,
    /// The largest sum of all user metadata of an object, names and values, in bytes (`cos-api.md` 3.12).
    pub metadata_bytes_max: usize,
    /// The checksum that it tells of objects and parts.
    pub checksum: ChecksumAlgorithm,
}

impl Limits {
    /// The limits of COS.
    pub const COS: Limits = Limits {
        part_bytes_min: MIB,
        part_bytes_max: 5 * GIB,
        part_count_max: 10_000,
        put_bytes_max: 5 * GIB,
        // 10,000 parts of 5 GiB: the "48.82 TB" of the documentation.
        object_bytes_max: 50_000 * GIB,
        metadatum_bytes_max: 2 << 10,
        metadata_bytes_max: 4 << 10,
        checksum: ChecksumAlgorithm::Crc64Xz,
    };

    /// The limits of S3.
    pub const S3: Limits = Limits {
        part_bytes_min: 5 * MIB,
        // 10,000 parts: the 5 TiB that most services go to.
        object_bytes_max: 5 * TIB,
        metadatum_bytes_max: 2 << 10,
        metadata_bytes_max: 2 << 10,
        checksum: ChecksumAlgorithm::Crc64Nvme,
        ..Limits::COS
    };

    /// Whether an object can have so much user metadata.
    pub fn hold_metadata(&self, user: &BTreeMap<String, String>) -> bool {
        let sum: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
        sum <= self.metadata_bytes_max && user.values().all(|value| value.len() <= self.metadatum_bytes_max)
    }
}

const _: () = assert!(Limits::COS.part_bytes_max * Limits::COS.part_count_max >= Limits::COS.object_bytes_max);

impl Default for Limits {
    fn default() -> Limits {
        Limits::COS
    }
}
