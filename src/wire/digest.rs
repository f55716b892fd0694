//! The digests by which a service refuses a body that was damaged on the way: MD5 (`cos-api.md` 3.1), which COS insists on for
//! some XML bodies (3.5), and those that S3 has beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::Sha256;

use crate::object::Crc64;

/// The value of `Content-MD5` for `body`: base64 of the 16 bytes.
pub fn content_md5(body: &[u8]) -> String {
    ContentMd5::new([body]).header()
}

/// The MD5 of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentMd5([u8; 16]);

impl ContentMd5 {
    /// The MD5 of the pieces one after the other.
    pub fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> ContentMd5 {
        let mut md5 = Md5::new();
        pieces.into_iter().for_each(|piece| md5.update(piece));
        ContentMd5(md5.finalize().into())
    }

    /// The value of `Content-MD5`: base64 of the 16 bytes.
    pub fn header(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Its digits, as in the ETag of what one PUT has stored.
    pub fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The algorithms of the digests that a body can be vouched for by, beside MD5: those of S3's `x-amz-checksum-` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DigestAlgorithm {
    /// CRC-32 as in gzip.
    Crc32,
    /// CRC-32C, of Castagnoli's polynomial.
    Crc32c,
    /// CRC-64 as in NVMe.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl DigestAlgorithm {
    /// Every algorithm.
    pub const ALL: [DigestAlgorithm; 5] = [
        DigestAlgorithm::Crc32,
        DigestAlgorithm::Crc32c,
        DigestAlgorithm::Crc64Nvme,
        DigestAlgorithm::Sha1,
        DigestAlgorithm::Sha256,
    ];

    /// Its name in capital letters, as `x-amz-checksum-algorithm` has it.
    pub fn name(self) -> &'static str {
        match self {
            DigestAlgorithm::Crc32 => "CRC32",
            DigestAlgorithm::Crc32c => "CRC32C",
            DigestAlgorithm::Crc64Nvme => "CRC64NVME",
            DigestAlgorithm::Sha1 => "SHA1",
            DigestAlgorithm::Sha256 => "SHA256",
        }
    }

    /// The header with the digest, in COS's way to name headers.
    pub fn header(self) -> &'static str {
        match self {
            DigestAlgorithm::Crc32 => "x-cos-checksum-crc32",
            DigestAlgorithm::Crc32c => "x-cos-checksum-crc32c",
            DigestAlgorithm::Crc64Nvme => "x-cos-checksum-crc64nvme",
            DigestAlgorithm::Sha1 => "x-cos-checksum-sha1",
            DigestAlgorithm::Sha256 => "x-cos-checksum-sha256",
        }
    }

    /// The element with the digest in XML bodies.
    pub fn element(self) -> &'static str {
        match self {
            DigestAlgorithm::Crc32 => "ChecksumCRC32",
            DigestAlgorithm::Crc32c => "ChecksumCRC32C",
            DigestAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
            DigestAlgorithm::Sha1 => "ChecksumSHA1",
            DigestAlgorithm::Sha256 => "ChecksumSHA256",
        }
    }

    /// The algorithm of that name, in any case.
    pub fn parse(name: &str) -> Option<DigestAlgorithm> {
        DigestAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name.trim()))
    }

    /// One that grows with the bytes it is shown.
    pub fn hasher(self) -> DigestHasher {
        match self {
            DigestAlgorithm::Sha1 => DigestHasher::Sha1(Sha1::new()),
            DigestAlgorithm::Sha256 => DigestHasher::Sha256(Sha256::new()),
            crc => DigestHasher::Crc(crc, crc_fast::Digest::new(crc.crc().unwrap_or(CrcAlgorithm::Crc32IsoHdlc))),
        }
    }

    /// Bytes of a digest.
    pub fn digest_bytes(self) -> usize {
        match self {
            DigestAlgorithm::Crc32 | DigestAlgorithm::Crc32c => 4,
            DigestAlgorithm::Crc64Nvme => 8,
            DigestAlgorithm::Sha1 => 20,
            DigestAlgorithm::Sha256 => 32,
        }
    }

    /// Whether the digests of neighbours make that of both.
    pub fn joins(self) -> bool {
        self.crc().is_some()
    }

    /// The digest of stretches that follow one another, each with its digest and its length in bytes; `None` if one of them is
    /// no digest, or if the algorithm does not [join](DigestAlgorithm::joins).
    pub fn joined<'a>(self, stretches: impl IntoIterator<Item = (&'a str, u64)>) -> Option<String> {
        let crc = self.crc()?;
        let mut whole = crc_fast::checksum(crc, b"");
        for (digest, bytes) in stretches {
            whole = crc_fast::checksum_combine(crc, whole, self.number(digest)?, bytes);
        }
        Some(self.text_of(whole))
    }

    /// The digest of the parts' digests and their number, as S3 tells of an object whose parts' digests do not join.
    pub fn of_digests<'a>(self, digests: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let (mut hasher, mut count) = (self.hasher(), 0);
        for digest in digests {
            hasher.update(&STANDARD.decode(digest).ok()?);
            count += 1;
        }
        Some(format!("{}-{count}", hasher.finish()))
    }

    /// The digest that a CRC-64 of this algorithm is, in base64; `None` for algorithms that are none.
    pub fn of_crc64(self, crc64: Crc64) -> Option<String> {
        (self == DigestAlgorithm::Crc64Nvme).then(|| self.text_of(crc64.0))
    }

    /// The CRC-64 that a digest is; `None` for algorithms that are none, and for what is no digest.
    pub fn crc64(self, digest: &str) -> Option<Crc64> {
        self.number(digest.trim()).filter(|_| self == DigestAlgorithm::Crc64Nvme).map(Crc64)
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            DigestAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            DigestAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            DigestAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            DigestAlgorithm::Sha1 | DigestAlgorithm::Sha256 => None,
        }
    }

    fn number(self, digest: &str) -> Option<u64> {
        let bytes = STANDARD.decode(digest).ok().filter(|bytes| bytes.len() == self.digest_bytes())?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text_of(self, crc: u64) -> String {
        STANDARD.encode(&crc.to_be_bytes()[8 - self.digest_bytes()..])
    }
}

/// The header with the kind of a digest of an object, in COS's way to name headers.
pub const CHECKSUM_TYPE: &str = "x-cos-checksum-type";

/// How an object is vouched for: S3's `x-amz-checksum-algorithm` and `x-amz-checksum-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectDigest {
    /// The algorithm.
    pub algorithm: DigestAlgorithm,
    /// Whether the digest is that of all bytes, and not that of the parts' digests.
    pub is_of_bytes: bool,
}

impl ObjectDigest {
    /// The kind of a digest of all bytes.
    pub const OF_BYTES: &str = "FULL_OBJECT";
    /// The kind of a digest of the parts' digests.
    pub const OF_DIGESTS: &str = "COMPOSITE";

    /// Its kind by name.
    pub fn type_name(self) -> &'static str {
        if self.is_of_bytes { ObjectDigest::OF_BYTES } else { ObjectDigest::OF_DIGESTS }
    }
}

/// A digest that grows with the bytes it is shown.
#[derive(Clone)]
pub enum DigestHasher {
    /// A checksum.
    Crc(DigestAlgorithm, crc_fast::Digest),
    /// SHA-1.
    Sha1(Sha1),
    /// SHA-256.
    Sha256(Sha256),
}

impl DigestHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            DigestHasher::Crc(_, crc) => crc.update(bytes),
            DigestHasher::Sha1(sha1) => sha1.update(bytes),
            DigestHasher::Sha256(sha256) => sha256.update(bytes),
        }
    }

    /// The digest in base64, as headers have it.
    pub fn finish(self) -> String {
        match self {
            DigestHasher::Crc(algorithm, crc) => algorithm.text_of(crc.finalize()),
            DigestHasher::Sha1(sha1) => STANDARD.encode(sha1.finalize()),
            DigestHasher::Sha256(sha256) => STANDARD.encode(sha256.finalize()),
        }
    }
}

impl std::fmt::Debug for DigestHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(content_md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(ContentMd5::new([]).hex(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn the_digest_does_not_depend_on_how_the_bytes_are_cut() {
        let pieces = [b"[Object ".as_slice(), b"", b"Content]"];
        assert_eq!(ContentMd5::new(pieces), ContentMd5::new([b"[Object Content]".as_slice()]));
    }

    /// The digests of nine digits that the documentation of each algorithm gives, in base64.
    #[test]
    fn every_algorithm_has_its_known_digest() {
        let table = [
            (DigestAlgorithm::Crc32, "y/Q5Jg=="),
            (DigestAlgorithm::Crc32c, "4waSgw=="),
            (DigestAlgorithm::Crc64Nvme, "rosUhgp5mIg="),
            (DigestAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (DigestAlgorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ];
        for (algorithm, expected) in table {
            let mut hasher = algorithm.hasher();
            hasher.update(b"1234");
            hasher.update(b"56789");
            assert_eq!(hasher.finish(), expected, "{algorithm:?}");
            assert_eq!(DigestAlgorithm::parse(algorithm.name()), Some(algorithm));
            let of = |bytes: &[u8]| {
                let mut hasher = algorithm.hasher();
                hasher.update(bytes);
                hasher.finish()
            };
            let (first, second) = (of(b"1234"), of(b"56789"));
            let joined = algorithm.joined([(&*first, 4), (&*second, 5)]);
            assert_eq!(joined, algorithm.joins().then(|| expected.to_owned()), "{algorithm:?}");
            assert_eq!(algorithm.joined([("AA=", 4)]), None);
            let number = algorithm.crc64(expected);
            assert_eq!(number.is_some(), algorithm == DigestAlgorithm::Crc64Nvme);
            assert_eq!(number.and_then(|number| algorithm.of_crc64(number)), number.map(|_| expected.to_owned()));
            assert!(algorithm.of_digests([&*first, &*second]).unwrap().ends_with("-2"));
        }
    }
}
