//! What a cached file is a copy of, and how that is written at the beginning of its records. Pure.
//!
//! A header is one page: `cosmcach`, the form's version, the length of the fields, the fields, and at its end the checksum of all
//! that. What does not agree with its checksum is no header.

use super::Description;
use super::proof::{Era, Proof};
use crate::object::{Checksum, ChecksumAlgorithm, ETag};

/// The bytes of a header, which records follow.
pub(super) const HEADER_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"cosmcach";

/// The form of headers and records. Another one is not read.
const VERSION: u32 = 1;

/// Where the fields begin: behind the mark, the version and their length.
const FIELDS_AT: usize = 8 + 4 + 4;

/// Where the checksum is.
const CHECKSUM_AT: usize = HEADER_BYTES - 8;

/// One version of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Where the bucket is: the base URL that its objects are under.
    pub origin: String,
    /// The object's key.
    pub key: String,
    /// Which version of it.
    pub etag: ETag,
    /// Its bytes.
    pub size: u64,
}

/// What is written at the beginning of a file's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    /// How the checksums of its records are taken.
    pub(super) algorithm: ChecksumAlgorithm,
    /// All of the file was there when this was written.
    pub(super) is_whole: bool,
    /// With it, the whole has been compared with the checksum that the service tells of the object.
    pub(super) is_verified: bool,
    /// That a whole file is right.
    pub(super) proof: Option<Proof>,
    /// What else is known of the version; left out where there is no room for it.
    pub(super) description: Option<Description>,
}

/// How long the name of a copy's files is: two checksums, in hexadecimal digits.
pub(super) const NAME_LEN: usize = 32;

impl Identity {
    /// The name of its files. Two identities may have the same one: the header tells them apart.
    pub(super) fn name(&self) -> String {
        let text = [&self.origin, "\0", &self.key, "\0", &self.etag.text(), "\0", &self.size.to_string()].concat();
        let halves = [ChecksumAlgorithm::Crc64Xz, ChecksumAlgorithm::Crc64Nvme].map(|sum| sum.of(text.as_bytes()).0);
        format!("{:016x}{:016x}", halves[0], halves[1])
    }
}

impl Header {
    /// Of a copy of which nothing is there yet.
    pub(super) fn of_nothing(identity: Identity, algorithm: ChecksumAlgorithm) -> Header {
        Header { identity, algorithm, is_whole: false, is_verified: false, proof: None, description: None }
    }

    /// What is known of this version beside its bytes, if the copy is a whole one of it.
    pub(super) fn description_of(self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Option<Description> {
        let is_this = self.identity == *identity && self.algorithm == algorithm;
        self.description.filter(|_| is_this && self.is_whole)
    }

    /// One page; `None` if the fields take more.
    pub(super) fn written(&self) -> Option<[u8; HEADER_BYTES]> {
        let description = self.description.as_ref().and_then(|description| serde_json::to_vec(description).ok());
        let described = description.and_then(|description| self.written_with(&description));
        described.or_else(|| self.written_with(&[]))
    }

    fn written_with(&self, description: &[u8]) -> Option<[u8; HEADER_BYTES]> {
        let mut fields = Vec::new();
        let algorithm = match self.algorithm {
            ChecksumAlgorithm::Crc64Xz => 0,
            ChecksumAlgorithm::Crc64Nvme => 1,
        };
        fields.extend([algorithm, u8::from(self.is_whole), u8::from(self.is_verified)]);
        fields.extend(self.identity.size.to_le_bytes());
        for text in [&self.identity.origin, &self.identity.key, &*self.identity.etag.text()] {
            fields.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
            fields.extend(text.as_bytes());
        }
        fields.extend(written_era(self.proof.map(|proof| proof.era)));
        let (seconds, nanoseconds) = self.proof.map_or((0, 0), |proof| proof.changed_at);
        fields.extend(seconds.to_le_bytes());
        fields.extend(nanoseconds.to_le_bytes());
        fields.extend(u16::try_from(description.len()).ok()?.to_le_bytes());
        fields.extend(description);
        let mut page = [0; HEADER_BYTES];
        page[..8].copy_from_slice(MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[12..16].copy_from_slice(&u32::try_from(fields.len()).ok()?.to_le_bytes());
        page[..CHECKSUM_AT].get_mut(FIELDS_AT..FIELDS_AT + fields.len())?.copy_from_slice(&fields);
        let checksum = sum(&page[..CHECKSUM_AT]);
        page[CHECKSUM_AT..].copy_from_slice(&checksum.0.to_le_bytes());
        Some(page)
    }

    /// What a page says, if it is a header of this form and undamaged.
    pub(super) fn read(page: &[u8]) -> Option<Header> {
        let (page, checksum) = page.get(..HEADER_BYTES)?.split_at(CHECKSUM_AT);
        let mut page_fields = Fields(page);
        let is_known = page_fields.take(8)? == MAGIC && page_fields.number()? == VERSION;
        if !is_known || Some(sum(page).0) != Fields(checksum).long() {
            return None;
        }
        let len = page_fields.number()?;
        let mut fields = Fields(page_fields.take(len as usize)?);
        let &[algorithm, is_whole, is_verified] = fields.take(3)? else { return None };
        let algorithm = match algorithm {
            0 => ChecksumAlgorithm::Crc64Xz,
            1 => ChecksumAlgorithm::Crc64Nvme,
            _ => return None,
        };
        let size = fields.long()?;
        let (origin, key, etag) = (fields.text()?, fields.text()?, ETag::new(fields.text()?));
        let identity = Identity { origin, key, etag, size };
        // Headers of before there were proofs end here.
        let proven = fields.era();
        let changed_at = fields.long().map(u64::cast_signed).zip(fields.number());
        let proof = proven.zip(changed_at).map(|(era, changed_at)| Proof { era, changed_at });
        // Headers of before there were descriptions end here.
        let description = fields.text().and_then(|text| serde_json::from_str(&text).ok());
        let (is_whole, is_verified) = (is_whole == 1, is_verified == 1);
        Some(Header { identity, algorithm, is_whole, is_verified, proof, description })
    }
}

/// 24 bytes, which are 0 for none.
fn written_era(era: Option<Era>) -> Vec<u8> {
    let Era { boot, mount } = era.unwrap_or(Era { boot: 0, mount: 0 });
    [&boot.to_le_bytes()[..], &mount.to_le_bytes()].concat()
}

fn sum(bytes: &[u8]) -> Checksum {
    ChecksumAlgorithm::Crc64Xz.of(bytes)
}

/// What is left to be read of a header.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn era(&mut self) -> Option<Era> {
        let boot = self.take(16)?.try_into().ok().map(u128::from_le_bytes)?;
        let mount = self.long()?;
        (boot != 0).then_some(Era { boot, mount })
    }

    fn text(&mut self) -> Option<String> {
        let len = self.take(2)?.try_into().ok().map(u16::from_le_bytes)?;
        String::from_utf8(self.take(len.into())?.to_vec()).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::object::ObjectAttributes;

    pub(in crate::cache) fn identity(key: &str, size: u64) -> Identity {
        Identity { origin: "http://b".to_owned(), key: key.to_owned(), etag: ETag::new("abc-2"), size }
    }

    fn header() -> Header {
        let (identity, algorithm) = (identity("a/ö", 77), ChecksumAlgorithm::Crc64Nvme);
        let era = Era { boot: 5, mount: 6 };
        let proof = Some(Proof { era, changed_at: (-7, 8) });
        let user = [("mode".to_owned(), "33188".to_owned())].into();
        let attributes = ObjectAttributes { user, ..ObjectAttributes::default() };
        let last_modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let description = Some(Description { attributes, checksum: Some(Checksum(u64::MAX)), last_modified });
        Header { identity, algorithm, is_whole: true, is_verified: false, proof, description }
    }

    #[test]
    fn what_is_written_is_read() {
        for header in [header(), Header { proof: None, ..header() }, Header { description: None, ..header() }] {
            assert_eq!(Header::read(&header.written().unwrap()), Some(header));
        }
    }

    #[test]
    fn a_damaged_header_is_none() {
        let page = header().written().unwrap();
        for bit in (0..HEADER_BYTES * 8).step_by(3) {
            let mut damaged = page;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&damaged), None, "{bit}");
        }
        for len in [0, 1, 30, 100, HEADER_BYTES - 1] {
            assert_eq!(Header::read(&page[..len]), None, "{len}");
        }
        assert_eq!(Header::read(&[0; HEADER_BYTES]), None);
    }

    #[test]
    fn a_description_that_does_not_fit_is_left_out() {
        let mut long = header();
        let user = &mut long.description.as_mut().unwrap().attributes.user;
        user.insert("note".to_owned(), "n".repeat(HEADER_BYTES));
        assert_eq!(Header::read(&long.written().unwrap()), Some(Header { description: None, ..long }));
    }

    #[test]
    fn what_does_not_fit_has_no_header() {
        let long = Header { identity: identity(&"k".repeat(4096), 1), ..header() };
        assert_eq!(long.written(), None);
    }

    #[test]
    fn every_version_has_a_name_of_its_own() {
        let one = identity("a", 1);
        let others = [
            Identity { origin: "http://c".to_owned(), ..one.clone() },
            Identity { key: "b".to_owned(), ..one.clone() },
            Identity { etag: ETag::new("abc-3"), ..one.clone() },
            Identity { size: 2, ..one.clone() },
        ];
        assert!(others.iter().all(|other| other.name() != one.name()));
        assert_eq!(one.name().len(), 32);
    }
}
