//! The digests of a body.
//!
//! CRC-64 and SHA-1 are taken as the bytes arrive, while they are in the processor's cache; CRC-64 by the store, which
//! keeps it of blocks too. MD5 is taken for all bodies together, see [`cosmount_digests::Md5Lanes`].

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::object::Crc64;
use crate::wire::digest::{DigestAlgorithm, DigestHasher};

/// Which digests are taken beside those of every body, since few ask for them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub sha1: bool,
    pub sha256: bool,
    /// One of S3's.
    pub digest: Option<DigestAlgorithm>,
}

/// Digests that grow with the bytes they are shown.
pub(super) struct Digests {
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    digest: Option<(DigestAlgorithm, DigestHasher)>,
}

/// The digests of a whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BodyDigests {
    /// What the ETag of the object or part says, and what `Content-MD5` promises.
    pub md5: [u8; 16],
    /// What the service answers for every body.
    pub crc64: Crc64,
    /// What `x-cos-content-sha1` promises; taken only when it was sent.
    pub sha1: Option<[u8; 20]>,
    /// What a signature of S3 covers; taken only when it does.
    pub sha256: Option<[u8; 32]>,
    /// What an `x-amz-checksum` promises, in base64; taken only when it was wanted.
    pub digest: Option<(DigestAlgorithm, String)>,
}

impl Digests {
    /// Digests of nothing so far.
    pub(super) fn new(wanted: Wanted) -> Digests {
        Digests {
            sha1: wanted.sha1.then(Sha1::new),
            sha256: wanted.sha256.then(Sha256::new),
            digest: wanted.digest.map(|algorithm| (algorithm, algorithm.hasher())),
        }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some((_, digest)) = &mut self.digest {
            digest.update(bytes);
        }
    }

    /// The digests of all that was shown, with MD5 and CRC-64 of the same bytes.
    pub(super) fn finish(self, md5: [u8; 16], crc64: Crc64) -> BodyDigests {
        BodyDigests {
            md5,
            crc64,
            sha1: self.sha1.map(|sha1| sha1.finalize().into()),
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
            digest: self.digest.map(|(algorithm, digest)| (algorithm, digest.finish())),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cosmount_digests::md5_of;

    /// The 16-byte sample of `cos-api.md` 4.10, and the SHA-1 that `sha1sum` prints for it.
    #[test]
    fn the_digests_of_the_documented_sample_come_out() {
        let mut digests = Digests::new(Wanted { sha1: true, ..Wanted::default() });
        digests.update(b"[Object ");
        digests.update(b"Content]");
        let digests = digests.finish(md5_of(b"[Object Content]"), Crc64::of(b"[Object Content]"));
        assert_eq!(hex(&digests.md5), "ee8de918d05640145b18f70f4c3aa602");
        assert_eq!(digests.crc64, Crc64(16749565679157681890));
        assert_eq!(digests.sha1.map(|sha1| hex(&sha1)).as_deref(), Some("28b7da9a7c5385e6e2669ed36e89af0053f7f58e"));
        assert_eq!(Digests::new(Wanted::default()).finish([0; 16], Crc64::EMPTY).sha1, None);
    }
}
