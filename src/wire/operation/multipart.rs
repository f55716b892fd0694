//! Requests of a multipart upload (`cos-api.md` 4.1 to 4.7).

use super::fields::{self, push_header, push_param, push_passed};
use super::object::head_of;
use super::{BodyChecks, PassedHeaders, RequestError, body};
use crate::object::{ByteRange, ETag, ObjectAttributes, ObjectKey, PartNumber, UploadId};
use crate::wire::condition::{Conditions, Overwrite};
use crate::wire::copy_source::CopySource;
use crate::wire::digest::{CHECKSUM_TYPE, DigestAlgorithm, ObjectDigest};
use crate::wire::escape::QueryPair;
use crate::wire::range::RangeSpec;
use crate::wire::request::{HeaderPair, Headers, Method, RequestHead};

/// Initiate Multipart Upload: begin one. The metadata of the object is fixed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitiateMultipartUpload {
    /// The key that the upload will write.
    pub key: ObjectKey,
    /// The metadata that the object will have.
    pub attributes: ObjectAttributes,
    /// What it may replace.
    pub overwrite: Overwrite,
    /// How the object will be vouched for; `None` leaves that to the service.
    pub digest: Option<ObjectDigest>,
    /// Headers handed through.
    pub passed: PassedHeaders,
}

/// The header with the algorithm of an [`ObjectDigest`].
const CHECKSUM_ALGORITHM: &str = "x-cos-checksum-algorithm";

impl ObjectDigest {
    /// Reads the two headers. Where the type is not said it is the usual one of the algorithm.
    pub(super) fn from_headers(headers: Headers<'_>) -> Result<Option<ObjectDigest>, RequestError> {
        let Some(name) = headers.get(CHECKSUM_ALGORITHM) else { return Ok(None) };
        let algorithm = DigestAlgorithm::parse(name)
            .ok_or_else(|| fields::invalid(format!("{CHECKSUM_ALGORITHM}: there is no {name:?}")))?;
        let is_of_bytes = match headers.get(CHECKSUM_TYPE) {
            None => algorithm == DigestAlgorithm::Crc64Nvme,
            Some(ObjectDigest::OF_BYTES) if algorithm.joins() => true,
            Some(ObjectDigest::OF_DIGESTS) if algorithm != DigestAlgorithm::Crc64Nvme => false,
            Some(other) => return Err(fields::invalid(format!("{CHECKSUM_TYPE}: {name} cannot be {other:?}"))),
        };
        Ok(Some(ObjectDigest { algorithm, is_of_bytes }))
    }

    /// Appends the two headers.
    pub fn push(self, headers: &mut Vec<HeaderPair>) {
        headers.push((CHECKSUM_ALGORITHM.into(), self.algorithm.name().to_owned()));
        headers.push((CHECKSUM_TYPE.into(), self.type_name().to_owned()));
    }
}

impl InitiateMultipartUpload {
    /// A plain one.
    pub fn new(key: ObjectKey, attributes: ObjectAttributes) -> InitiateMultipartUpload {
        let (overwrite, passed) = (Overwrite::Allowed, PassedHeaders::new());
        InitiateMultipartUpload { key, attributes, overwrite, digest: None, passed }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Post, &self.key);
        head.query.push(("uploads".into(), None));
        self.attributes.push_headers(&mut head.headers);
        self.overwrite.push(&mut head.headers);
        if let Some(digest) = self.digest {
            digest.push(&mut head.headers);
        }
        push_passed(&mut head.headers, &self.passed);
        head
    }

    pub(super) fn decode(key: ObjectKey, headers: Headers<'_>) -> Result<InitiateMultipartUpload, RequestError> {
        Ok(InitiateMultipartUpload {
            key,
            attributes: ObjectAttributes::from_headers(headers),
            overwrite: Overwrite::from_headers(headers),
            digest: ObjectDigest::from_headers(headers)?,
            passed: fields::passed_headers(headers),
        })
    }
}

/// Upload Part: the bytes of one part. The same number again overwrites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPart {
    /// The key of the upload.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// Which part.
    pub number: PartNumber,
    /// Digests of the body.
    pub checks: BodyChecks,
    /// Headers handed through.
    pub passed: PassedHeaders,
}

impl UploadPart {
    /// A plain one.
    pub fn new(key: ObjectKey, upload: UploadId, number: PartNumber) -> UploadPart {
        UploadPart { key, upload, number, checks: BodyChecks::default(), passed: PassedHeaders::new() }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Put, &self.key);
        push_part(&mut head, &self.upload, self.number);
        self.checks.push(&mut head.headers);
        push_passed(&mut head.headers, &self.passed);
        head
    }

    pub(super) fn decode(
        key: ObjectKey,
        query: &[QueryPair],
        headers: Headers<'_>,
    ) -> Result<UploadPart, RequestError> {
        Ok(UploadPart {
            key,
            upload: fields::upload_id(query)?,
            number: fields::part_number(query)?,
            checks: BodyChecks::from_headers(headers),
            passed: fields::passed_headers(headers),
        })
    }
}

/// Upload Part - Copy: a part made of a range of an object, on the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPartCopy {
    /// The key of the upload.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// Which part.
    pub number: PartNumber,
    /// The object to read.
    pub source: CopySource,
    /// Which bytes of it; `None` for all.
    pub range: Option<ByteRange>,
    /// What must hold of the source.
    pub conditions: Conditions,
    /// Headers handed through.
    pub passed: PassedHeaders,
}

impl UploadPartCopy {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Put, &self.key);
        push_part(&mut head, &self.upload, self.number);
        let headers = &mut head.headers;
        headers.push(("x-cos-copy-source".into(), self.source.header()));
        push_header(headers, "x-cos-copy-source-range", self.range.map(ByteRange::header).as_deref());
        self.conditions.push_of_copy_source(headers);
        push_passed(headers, &self.passed);
        head
    }

    pub(super) fn decode(
        key: ObjectKey,
        query: &[QueryPair],
        headers: Headers<'_>,
    ) -> Result<UploadPartCopy, RequestError> {
        Ok(UploadPartCopy {
            key,
            upload: fields::upload_id(query)?,
            number: fields::part_number(query)?,
            source: CopySource::parse(headers.get("x-cos-copy-source").unwrap_or(""))?,
            range: headers.get("x-cos-copy-source-range").map(source_range).transpose()?,
            conditions: Conditions::of_copy_source(headers),
            passed: fields::passed_headers(headers),
        })
    }
}

/// Only the full form is a source range (`cos-api.md` 4.3).
fn source_range(header: &str) -> Result<ByteRange, RequestError> {
    let range = match RangeSpec::parse(header) {
        Some(RangeSpec::FromTo { first, last }) => last.checked_add(1).and_then(|end| ByteRange::new(first, end)),
        _ => None,
    };
    range.ok_or_else(|| fields::invalid(format!("x-cos-copy-source-range: {header:?} is not bytes=first-last")))
}

/// One line of a Complete: a part and the version of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// Which part.
    pub number: PartNumber,
    /// The ETag that Upload Part answered.
    pub etag: ETag,
}

/// Complete Multipart Upload: make the object of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// The key of the upload.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The parts as listed in the body; the server judges their order and gaps. Empty until the body is read.
    pub parts: Vec<CompletedPart>,
    /// What it may replace.
    pub overwrite: Overwrite,
    /// The digest of all bytes, by which the object is judged: S3's `x-amz-checksum-*`.
    pub digest: Option<(DigestAlgorithm, String)>,
}

impl CompleteMultipartUpload {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Post, &self.key);
        push_upload_id(&mut head, &self.upload);
        self.overwrite.push(&mut head.headers);
        if let Some((algorithm, digest)) = &self.digest {
            push_header(&mut head.headers, algorithm.header(), Some(digest));
        }
        body::set_xml(&mut head, body::encode_parts(&self.parts));
        head
    }

    pub(super) fn decode(
        key: ObjectKey,
        query: &[QueryPair],
        headers: Headers<'_>,
    ) -> Result<CompleteMultipartUpload, RequestError> {
        Ok(CompleteMultipartUpload {
            key,
            upload: fields::upload_id(query)?,
            parts: Vec::new(),
            overwrite: Overwrite::from_headers(headers),
            digest: fields::digest_of(headers),
        })
    }

    pub(super) fn read_body(&mut self, xml: &[u8]) -> Result<(), RequestError> {
        self.parts = body::decode_parts(xml)?;
        Ok(())
    }
}

/// Abort Multipart Upload: give one up and free its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortMultipartUpload {
    /// The key of the upload.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
}

impl AbortMultipartUpload {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Delete, &self.key);
        push_upload_id(&mut head, &self.upload);
        head
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair]) -> Result<AbortMultipartUpload, RequestError> {
        Ok(AbortMultipartUpload { key, upload: fields::upload_id(query)? })
    }
}

/// List Parts: what an upload holds so far, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListParts {
    /// The key of the upload.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The most parts to answer, at most 1,000; `None` is 1,000.
    pub max_parts: Option<u32>,
    /// Only parts after this number.
    pub part_number_marker: Option<u32>,
    /// Whether the key in the answer is to be escaped.
    pub url_encoded: bool,
}

impl ListParts {
    /// The first page.
    pub fn new(key: ObjectKey, upload: UploadId) -> ListParts {
        ListParts { key, upload, max_parts: None, part_number_marker: None, url_encoded: true }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Get, &self.key);
        push_upload_id(&mut head, &self.upload);
        let query = &mut head.query;
        push_param(query, "max-parts", self.max_parts.map(|max| max.to_string()).as_deref());
        push_param(query, "part-number-marker", self.part_number_marker.map(|marker| marker.to_string()).as_deref());
        fields::push_url_encoding(query, self.url_encoded);
        head
    }

    pub(super) fn decode(key: ObjectKey, query: &[QueryPair]) -> Result<ListParts, RequestError> {
        Ok(ListParts {
            key,
            upload: fields::upload_id(query)?,
            max_parts: fields::number(query, "max-parts")?,
            part_number_marker: fields::number(query, "part-number-marker")?,
            url_encoded: fields::url_encoding(query)?,
        })
    }
}

fn push_part(head: &mut RequestHead, upload: &UploadId, number: PartNumber) {
    push_param(&mut head.query, "partNumber", Some(&number.to_string()));
    push_upload_id(head, upload);
}

fn push_upload_id(head: &mut RequestHead, upload: &UploadId) {
    push_param(&mut head.query, "uploadId", Some(upload.as_str()));
}
