//! The checksum that a service tells of objects and of parts.
//!
//! Those of neighbours make that of both, so that a whole is verified by its pieces, in whatever order they come. Which one
//! a service tells its [`super::Limits`] say; whoever computes one asks that, and names none.

use cosmount_digests::Crc64Polynomial;
pub use cosmount_digests::{Crc64 as Checksum, Crc64Hasher as ChecksumHasher};

/// How checksums are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// CRC-64/XZ, which COS tells (`cos-api.md` 4.10).
    Crc64Xz,
    /// CRC-64/NVME, which services of S3 tell that have checksums of whole objects.
    Crc64Nvme,
}

impl ChecksumAlgorithm {
    /// The checksum of no bytes.
    pub fn empty(self) -> Checksum {
        Checksum::EMPTY
    }

    /// The checksum of `bytes`.
    pub fn of(self, bytes: &[u8]) -> Checksum {
        self.polynomial().of(bytes)
    }

    /// The checksum of `len` zeros, without looking at them.
    pub fn of_zeros(self, len: u64) -> Checksum {
        self.polynomial().of_zeros(len)
    }

    /// The checksum of bytes with the checksum `first`, followed by `next_bytes` bytes with the checksum `next`.
    pub fn of_both(self, first: Checksum, next: Checksum, next_bytes: u64) -> Checksum {
        self.polynomial().joined(first, next, next_bytes)
    }

    /// The checksum of the last `rest_bytes` bytes of what has the checksum `both`, where that of all before them is `first`.
    pub fn of_rest(self, first: Checksum, both: Checksum, rest_bytes: u64) -> Checksum {
        self.polynomial().rest(first, both, rest_bytes)
    }

    /// The checksum of stretches that follow one another, each with its length; `None` if one is not known.
    pub fn joined(self, stretches: impl IntoIterator<Item = (Option<Checksum>, u64)>) -> Option<Checksum> {
        stretches.into_iter().try_fold(self.empty(), |whole, (next, len)| Some(self.of_both(whole, next?, len)))
    }

    /// One that grows with the bytes it is shown.
    pub fn hasher(self) -> ChecksumHasher {
        self.polynomial().hasher()
    }

    fn polynomial(self) -> Crc64Polynomial {
        match self {
            ChecksumAlgorithm::Crc64Xz => Crc64Polynomial::Xz,
            ChecksumAlgorithm::Crc64Nvme => Crc64Polynomial::Nvme,
        }
    }
}
