//! Requests about one object (`cos-api.md` 3.1 to 3.6), and which request a path with a key is.

use super::fields::{self, push_header, push_param, push_passed};
use super::{
    BodyChecks, DeleteObjectTagging, GetObjectAcl, GetObjectAttributes, GetObjectTagging, MetadataDirective, Operation,
    PassedHeaders, PutObjectAcl, PutObjectTagging, RequestError, ResponseOverrides, RestoreObject, multipart,
};
use crate::object::{ObjectAttributes, ObjectKey};
use crate::wire::code::Code;
use crate::wire::condition::{Conditions, Overwrite};
use crate::wire::copy_source::CopySource;
use crate::wire::escape::QueryPair;
use crate::wire::range::RangeSpec;
use crate::wire::request::{Headers, Method, RequestHead};

/// S3's header that asks for the digest of an object.
const CHECKSUM_MODE: &str = "x-cos-checksum-mode";

/// Sub-resources of objects that exist and that this product does not speak (`cos-api.md` 3.7 to 3.9).
const UNSPOKEN: [&str; 9] =
    ["acl", "append", "tagging", "symlink", "restore", "rename", "select", "retention", "legal-hold"];

/// The calls on sub-resources that this product does speak.
fn decode_sub_resource(
    method: Method,
    key: &ObjectKey,
    query: &[QueryPair],
    headers: Headers<'_>,
) -> Result<Option<Operation>, RequestError> {
    let asks = |name: &str| query.iter().any(|(parameter, _)| parameter == name);
    let key = || key.clone();
    Ok(Some(match method {
        Method::Get if asks("tagging") => Operation::GetObjectTagging(GetObjectTagging::decode(key(), query)),
        Method::Put if asks("tagging") => Operation::PutObjectTagging(PutObjectTagging::decode(key(), query)),
        Method::Delete if asks("tagging") => Operation::DeleteObjectTagging(DeleteObjectTagging::decode(key(), query)),
        Method::Get if asks("acl") => Operation::GetObjectAcl(GetObjectAcl { key: key() }),
        Method::Put if asks("acl") => Operation::PutObjectAcl(PutObjectAcl::decode(key(), headers)),
        Method::Get if asks("attributes") => {
            Operation::GetObjectAttributes(GetObjectAttributes::decode(key(), query, headers))
        }
        Method::Post if asks("append") => Operation::AppendObject(AppendObject::decode(key(), query, headers)?),
        Method::Post if asks("restore") => Operation::RestoreObject(RestoreObject::decode(key(), query)),
        _ => return Ok(None),
    }))
}

pub(super) fn decode(
    method: Method,
    key: ObjectKey,
    query: &[QueryPair],
    headers: Headers<'_>,
) -> Result<Operation, RequestError> {
    let asks = |name: &str| query.iter().any(|(parameter, _)| parameter == name);
    if let Some(operation) = decode_sub_resource(method, &key, query, headers)? {
        return Ok(operation);
    }
    if let Some(name) = UNSPOKEN.into_iter().find(|name| asks(name)) {
        return Err(RequestError::new(Code::NotImplemented, format!("?{name} is not implemented")));
    }
    let copies = headers.get("x-cos-copy-source").is_some();
    let of_part = asks("partNumber") || asks("uploadId");
    match method {
        Method::Get if asks("uploadId") => Ok(Operation::ListParts(multipart::ListParts::decode(key, query)?)),
        Method::Get => Ok(Operation::GetObject(GetObject::decode(key, query, headers))),
        Method::Head => Ok(Operation::HeadObject(HeadObject::decode(key, query, headers))),
        Method::Put if of_part && copies => {
            Ok(Operation::UploadPartCopy(multipart::UploadPartCopy::decode(key, query, headers)?))
        }
        Method::Put if of_part => Ok(Operation::UploadPart(multipart::UploadPart::decode(key, query, headers)?)),
        Method::Put if copies => Ok(Operation::CopyObject(CopyObject::decode(key, headers)?)),
        Method::Put => Ok(Operation::PutObject(PutObject::decode(key, headers))),
        Method::Post if asks("uploads") => {
            Ok(Operation::InitiateMultipartUpload(multipart::InitiateMultipartUpload::decode(key, headers)?))
        }
        Method::Post if asks("uploadId") => {
            Ok(Operation::CompleteMultipartUpload(multipart::CompleteMultipartUpload::decode(key, query, headers)?))
        }
        Method::Post => Err(RequestError::plain(Code::MethodNotAllowed)),
        Method::Delete if asks("uploadId") => {
            Ok(Operation::AbortMultipartUpload(multipart::AbortMultipartUpload::decode(key, query)?))
        }
        Method::Delete => Ok(Operation::DeleteObject(DeleteObject { key, version: version(query) })),
    }
}

/// A request about `key` with nothing more to it yet.
pub(super) fn head_of(method: Method, key: &ObjectKey) -> RequestHead {
    let mut path = String::with_capacity(key.as_str().len() + 1);
    path.push('/');
    path.push_str(key.as_str());
    RequestHead { method, path, query: Vec::new(), headers: Vec::new(), body: None }
}

/// PUT Object: store a whole object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObject {
    /// The key to write.
    pub key: ObjectKey,
    /// The metadata that the object will have.
    pub attributes: ObjectAttributes,
    /// Digests of the body.
    pub checks: BodyChecks,
    /// What it may replace.
    pub overwrite: Overwrite,
    /// Headers handed through.
    pub passed: PassedHeaders,
}

impl PutObject {
    /// A plain PUT.
    pub fn new(key: ObjectKey, attributes: ObjectAttributes) -> PutObject {
        PutObject {
            key,
            attributes,
            checks: BodyChecks::default(),
            overwrite: Overwrite::Allowed,
            passed: PassedHeaders::new(),
        }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Put, &self.key);
        self.attributes.push_headers(&mut head.headers);
        self.checks.push(&mut head.headers);
        self.overwrite.push(&mut head.headers);
        push_passed(&mut head.headers, &self.passed);
        head
    }

    fn decode(key: ObjectKey, headers: Headers<'_>) -> PutObject {
        PutObject {
            key,
            attributes: ObjectAttributes::from_headers(headers),
            checks: BodyChecks::from_headers(headers),
            overwrite: Overwrite::from_headers(headers),
            passed: fields::passed_headers(headers),
        }
    }
}

/// Append Object: bytes after those of an object (`cos-api.md` 3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendObject {
    /// The object.
    pub key: ObjectKey,
    /// How long it is now, in bytes; 0 makes it.
    pub position: u64,
    /// The metadata that it has if it is made.
    pub attributes: ObjectAttributes,
    /// Digests of the body.
    pub checks: BodyChecks,
    /// Headers handed through.
    pub passed: PassedHeaders,
}

impl AppendObject {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Post, &self.key);
        head.query.push(("append".into(), None));
        push_param(&mut head.query, "position", Some(&self.position.to_string()));
        self.attributes.push_headers(&mut head.headers);
        self.checks.push(&mut head.headers);
        push_passed(&mut head.headers, &self.passed);
        head
    }

    fn decode(key: ObjectKey, query: &[QueryPair], headers: Headers<'_>) -> Result<AppendObject, RequestError> {
        let position: Option<u64> = fields::number(query, "position")?;
        Ok(AppendObject {
            key,
            position: position.ok_or_else(|| fields::invalid("position is missing"))?,
            attributes: ObjectAttributes::from_headers(headers),
            checks: BodyChecks::from_headers(headers),
            passed: fields::passed_headers(headers),
        })
    }
}

/// HEAD Object: size, version and metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadObject {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
    /// When to answer.
    pub conditions: Conditions,
    /// Whether the answer is to tell the digest by which the object was vouched for: S3's `x-amz-checksum-mode`.
    pub with_digest: bool,
}

impl HeadObject {
    /// A HEAD without conditions.
    pub fn new(key: ObjectKey) -> HeadObject {
        HeadObject { key, version: None, conditions: Conditions::default(), with_digest: false }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Head, &self.key);
        push_version(&mut head, self.version.as_deref());
        self.conditions.push_of_object(&mut head.headers);
        push_header(&mut head.headers, CHECKSUM_MODE, self.with_digest.then_some("ENABLED"));
        head
    }

    fn decode(key: ObjectKey, query: &[QueryPair], headers: Headers<'_>) -> HeadObject {
        let conditions = Conditions::of_object(headers);
        HeadObject { key, version: version(query), conditions, with_digest: headers.get(CHECKSUM_MODE).is_some() }
    }
}

/// GET Object: the bytes, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetObject {
    /// The object.
    pub key: ObjectKey,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
    /// Which bytes; `None` for all.
    pub range: Option<RangeSpec>,
    /// When to answer with bytes.
    pub conditions: Conditions,
    /// Headers of the answer that the client wants otherwise.
    pub overrides: ResponseOverrides,
    /// Whether the answer is to tell the digest by which the object was vouched for, if it is all of it.
    pub with_digest: bool,
}

impl GetObject {
    /// A GET of `range`, or of all.
    pub fn new(key: ObjectKey, range: Option<RangeSpec>) -> GetObject {
        let (conditions, overrides) = (Conditions::default(), ResponseOverrides::default());
        GetObject { key, version: None, range, conditions, overrides, with_digest: false }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Get, &self.key);
        push_version(&mut head, self.version.as_deref());
        self.overrides.push(&mut head.query);
        push_header(&mut head.headers, "range", self.range.map(RangeSpec::header).as_deref());
        self.conditions.push_of_object(&mut head.headers);
        push_header(&mut head.headers, CHECKSUM_MODE, self.with_digest.then_some("ENABLED"));
        head
    }

    fn decode(key: ObjectKey, query: &[QueryPair], headers: Headers<'_>) -> GetObject {
        GetObject {
            key,
            version: version(query),
            range: headers.get("range").and_then(RangeSpec::parse),
            conditions: Conditions::of_object(headers),
            overrides: ResponseOverrides::from_query(query),
            with_digest: headers.get(CHECKSUM_MODE).is_some(),
        }
    }
}

/// DELETE Object: remove it, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteObject {
    /// The object.
    pub key: ObjectKey,
    /// The version to remove; `None` for the newest.
    pub version: Option<String>,
}

impl DeleteObject {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Delete, &self.key);
        push_version(&mut head, self.version.as_deref());
        head
    }
}

/// PUT Object - Copy: make an object of another one, on the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyObject {
    /// The key to write.
    pub key: ObjectKey,
    /// The object to read.
    pub source: CopySource,
    /// What must hold of the source; what does not is always a 412.
    pub conditions: Conditions,
    /// Whose metadata the copy has.
    pub directive: MetadataDirective,
    /// The new metadata, for `Replaced`. The storage class counts for `Copy` too: it is never the source's.
    pub attributes: ObjectAttributes,
    /// What it may replace.
    pub overwrite: Overwrite,
    /// Headers handed through.
    pub passed: PassedHeaders,
}

impl CopyObject {
    /// A copy that keeps the metadata of the source.
    pub fn new(key: ObjectKey, source: CopySource) -> CopyObject {
        CopyObject {
            key,
            source,
            conditions: Conditions::default(),
            directive: MetadataDirective::Copy,
            attributes: ObjectAttributes::default(),
            overwrite: Overwrite::Allowed,
            passed: PassedHeaders::new(),
        }
    }

    pub(super) fn encode(&self) -> RequestHead {
        let mut head = head_of(Method::Put, &self.key);
        let headers = &mut head.headers;
        headers.push(("x-cos-copy-source".into(), self.source.header()));
        headers.push(("x-cos-metadata-directive".into(), self.directive.header().to_owned()));
        self.conditions.push_of_copy_source(headers);
        self.attributes.push_headers(headers);
        self.overwrite.push(headers);
        push_passed(headers, &self.passed);
        head
    }

    fn decode(key: ObjectKey, headers: Headers<'_>) -> Result<CopyObject, RequestError> {
        Ok(CopyObject {
            key,
            source: CopySource::parse(headers.get("x-cos-copy-source").unwrap_or(""))?,
            conditions: Conditions::of_copy_source(headers),
            directive: MetadataDirective::from_headers(headers)?,
            attributes: ObjectAttributes::from_headers(headers),
            overwrite: Overwrite::from_headers(headers),
            passed: fields::passed_headers(headers),
        })
    }
}

pub(super) fn version(query: &[QueryPair]) -> Option<String> {
    fields::text(query, "versionId")
}

pub(super) fn push_version(head: &mut RequestHead, version: Option<&str>) {
    push_param(&mut head.query, "versionId", version);
}
