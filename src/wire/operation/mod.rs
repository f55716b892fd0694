//! Every request of the protocol as one enum, made and read.
//!
//! [`Operation::encode`] gives what a client sends and [`Operation::decode`] what a server received, with the code for
//! each kind of payload standing side by side in the files below. Reading is in two steps, so that a server need not
//! hold the bytes of an object: the head first, then, where [`Operation::has_xml_body`] says so, the body.

mod body;
mod bucket;
mod configuration;
mod fields;
mod multipart;
mod object;
mod op;
mod sub_resource;

use std::fmt;

pub use bucket::{
    DeleteMultipleObjects, ListMultipartUploads, ListObjectVersions, ListObjects, ObjectVersion, PutBucketVersioning,
};
pub use configuration::{BucketConfiguration, PutBucketConfiguration, asks_for_place_alone};
pub use fields::{BodyChecks, MetadataDirective, PassedHeaders, ResponseOverrides, TAGGING_DIRECTIVE};
pub use multipart::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletedPart, InitiateMultipartUpload, ListParts, UploadPart,
    UploadPartCopy,
};
pub use object::{AppendObject, CopyObject, DeleteObject, GetObject, HeadObject, PutObject};
pub use op::Op;
pub use sub_resource::{
    DeleteObjectTagging, GetObjectAcl, GetObjectAttributes, GetObjectTagging, PutObjectAcl, PutObjectTagging,
    RestoreObject, RestoreTier,
};

use object::{push_version, version as version_of};

use super::address::Addressed;
use super::code::Code;
use super::escape::QueryPair;
use super::request::{Headers, Method, RequestHead};
use crate::object::ObjectAttributes;

/// One request, named as the documentation names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the payloads say what they are, the rest has none")]
pub enum Operation {
    GetService,
    PutBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetBucketLifecycle,
    PutBucketVersioning(PutBucketVersioning),
    ListObjects(ListObjects),
    ListMultipartUploads(ListMultipartUploads),
    DeleteMultipleObjects(DeleteMultipleObjects),
    PutObject(PutObject),
    HeadObject(HeadObject),
    GetObject(GetObject),
    DeleteObject(DeleteObject),
    CopyObject(CopyObject),
    InitiateMultipartUpload(InitiateMultipartUpload),
    UploadPart(UploadPart),
    UploadPartCopy(UploadPartCopy),
    CompleteMultipartUpload(CompleteMultipartUpload),
    AbortMultipartUpload(AbortMultipartUpload),
    ListParts(ListParts),
    GetObjectTagging(GetObjectTagging),
    GetObjectAcl(GetObjectAcl),
    RestoreObject(RestoreObject),
    ListObjectVersions(ListObjectVersions),
    GetBucketConfiguration(BucketConfiguration),
    PutBucketConfiguration(PutBucketConfiguration),
    DeleteBucketConfiguration(BucketConfiguration),
    PutObjectTagging(PutObjectTagging),
    DeleteObjectTagging(DeleteObjectTagging),
    PutObjectAcl(PutObjectAcl),
    AppendObject(AppendObject),
    GetObjectAttributes(GetObjectAttributes),
}

impl Operation {
    /// Which operation it is.
    pub fn op(&self) -> Op {
        match self {
            Operation::GetService => Op::GetService,
            Operation::PutBucket => Op::PutBucket,
            Operation::HeadBucket => Op::HeadBucket,
            Operation::DeleteBucket => Op::DeleteBucket,
            Operation::GetBucketLocation => Op::GetBucketLocation,
            Operation::GetBucketVersioning => Op::GetBucketVersioning,
            Operation::GetBucketLifecycle => Op::GetBucketLifecycle,
            Operation::PutBucketVersioning(_) => Op::PutBucketVersioning,
            Operation::ListObjects(_) => Op::ListObjects,
            Operation::ListMultipartUploads(_) => Op::ListMultipartUploads,
            Operation::DeleteMultipleObjects(_) => Op::DeleteMultipleObjects,
            Operation::PutObject(_) => Op::PutObject,
            Operation::HeadObject(_) => Op::HeadObject,
            Operation::GetObject(_) => Op::GetObject,
            Operation::DeleteObject(_) => Op::DeleteObject,
            Operation::CopyObject(_) => Op::CopyObject,
            Operation::InitiateMultipartUpload(_) => Op::InitiateMultipartUpload,
            Operation::UploadPart(_) => Op::UploadPart,
            Operation::UploadPartCopy(_) => Op::UploadPartCopy,
            Operation::CompleteMultipartUpload(_) => Op::CompleteMultipartUpload,
            Operation::AbortMultipartUpload(_) => Op::AbortMultipartUpload,
            Operation::ListParts(_) => Op::ListParts,
            Operation::GetObjectTagging(_) => Op::GetObjectTagging,
            Operation::GetObjectAcl(_) => Op::GetObjectAcl,
            Operation::RestoreObject(_) => Op::RestoreObject,
            Operation::ListObjectVersions(_) => Op::ListObjectVersions,
            Operation::GetBucketConfiguration(_) => Op::GetBucketConfiguration,
            Operation::PutBucketConfiguration(_) => Op::PutBucketConfiguration,
            Operation::DeleteBucketConfiguration(_) => Op::DeleteBucketConfiguration,
            Operation::PutObjectTagging(_) => Op::PutObjectTagging,
            Operation::DeleteObjectTagging(_) => Op::DeleteObjectTagging,
            Operation::PutObjectAcl(_) => Op::PutObjectAcl,
            Operation::AppendObject(_) => Op::AppendObject,
            Operation::GetObjectAttributes(_) => Op::GetObjectAttributes,
        }
    }

    /// The request, without what depends on time and place: `Host`, `Content-Length`, the signature.
    pub fn encode(&self) -> RequestHead {
        match self {
            Operation::GetService => bucket::plain(Method::Get, None),
            Operation::PutBucket => bucket::plain(Method::Put, None),
            Operation::HeadBucket => bucket::plain(Method::Head, None),
            Operation::DeleteBucket => bucket::plain(Method::Delete, None),
            Operation::GetBucketLocation => bucket::plain(Method::Get, Some("location")),
            Operation::GetBucketVersioning => bucket::plain(Method::Get, Some("versioning")),
            Operation::GetBucketLifecycle => bucket::plain(Method::Get, Some("lifecycle")),
            Operation::PutBucketVersioning(payload) => payload.encode(),
            Operation::ListObjects(payload) => payload.encode(),
            Operation::ListMultipartUploads(payload) => payload.encode(),
            Operation::DeleteMultipleObjects(payload) => payload.encode(),
            Operation::PutObject(payload) => payload.encode(),
            Operation::HeadObject(payload) => payload.encode(),
            Operation::GetObject(payload) => payload.encode(),
            Operation::DeleteObject(payload) => payload.encode(),
            Operation::CopyObject(payload) => payload.encode(),
            Operation::InitiateMultipartUpload(payload) => payload.encode(),
            Operation::UploadPart(payload) => payload.encode(),
            Operation::UploadPartCopy(payload) => payload.encode(),
            Operation::CompleteMultipartUpload(payload) => payload.encode(),
            Operation::AbortMultipartUpload(payload) => payload.encode(),
            Operation::ListParts(payload) => payload.encode(),
            Operation::GetObjectTagging(payload) => payload.encode(),
            Operation::GetObjectAcl(payload) => payload.encode(),
            Operation::RestoreObject(payload) => payload.encode(),
            Operation::ListObjectVersions(payload) => payload.encode(),
            Operation::GetBucketConfiguration(kind) => kind.encode(Method::Get),
            Operation::PutBucketConfiguration(payload) => payload.encode(),
            Operation::DeleteBucketConfiguration(kind) => kind.encode(Method::Delete),
            Operation::PutObjectTagging(payload) => payload.encode(),
            Operation::DeleteObjectTagging(payload) => payload.encode(),
            Operation::PutObjectAcl(payload) => payload.encode(),
            Operation::AppendObject(payload) => payload.encode(),
            Operation::GetObjectAttributes(payload) => payload.encode(),
        }
    }

    /// Reads the head of a request; what only the XML body tells is empty until [`Operation::read_body`].
    ///
    /// # Errors
    /// What the service would answer: a malformed argument, a name that cannot be, a call that is not implemented.
    pub fn decode(
        method: Method,
        addressed: &Addressed,
        query: &[QueryPair],
        headers: Headers<'_>,
    ) -> Result<Operation, RequestError> {
        let operation = Operation::read(method, addressed, query, headers)?;
        operation.attributes().map_or(Ok(()), ObjectAttributes::check)?;
        match operation.delimiter().chars().nth(1) {
            // A delimiter is one character (`cos-api.md` 5.2).
            Some(_) => Err(RequestError::plain(Code::InvalidDelimiter)),
            None => Ok(operation),
        }
    }

    /// Reads the head of a request without the rules that are COS's alone.
    pub(super) fn read(
        method: Method,
        addressed: &Addressed,
        query: &[QueryPair],
        headers: Headers<'_>,
    ) -> Result<Operation, RequestError> {
        if addressed.bucket.is_none() {
            return match method {
                Method::Get if addressed.key.is_empty() => Ok(Operation::GetService),
                _ => Err(RequestError::plain(Code::MethodNotAllowed)),
            };
        }
        if addressed.key.is_empty() {
            bucket::decode(method, query, headers)
        } else {
            let key = fields::key(&addressed.key)?;
            object::decode(method, key, query, headers)
        }
    }

    /// Whether the request has an XML body that [`Operation::read_body`] must be shown.
    pub fn has_xml_body(&self) -> bool {
        matches!(
            self,
            Operation::PutBucketVersioning(_)
                | Operation::DeleteMultipleObjects(_)
                | Operation::CompleteMultipartUpload(_)
                | Operation::RestoreObject(_)
                | Operation::PutBucketConfiguration(_)
                | Operation::PutObjectTagging(_)
                | Operation::PutObjectAcl(_)
        )
    }

    /// Fills in what the XML body says. Does nothing for operations without one.
    ///
    /// # Errors
    /// `MalformedXML`, or `InvalidPart` for part numbers that cannot be.
    pub fn read_body(&mut self, body: &[u8]) -> Result<(), RequestError> {
        match self {
            Operation::PutBucketVersioning(payload) => payload.read_body(body),
            Operation::DeleteMultipleObjects(payload) => payload.read_body(body),
            Operation::CompleteMultipartUpload(payload) => payload.read_body(body),
            Operation::RestoreObject(payload) => payload.read_body(body),
            Operation::PutBucketConfiguration(payload) => payload.read_body(body),
            Operation::PutObjectTagging(payload) => payload.read_body(body),
            Operation::PutObjectAcl(payload) => payload.read_body(body),
            _ => Ok(()),
        }
    }

    /// The metadata that it writes.
    pub(super) fn attributes(&self) -> Option<&ObjectAttributes> {
        match self {
            Operation::PutObject(payload) => Some(&payload.attributes),
            Operation::CopyObject(payload) => Some(&payload.attributes),
            Operation::InitiateMultipartUpload(payload) => Some(&payload.attributes),
            Operation::AppendObject(payload) => Some(&payload.attributes),
            _ => None,
        }
    }

    /// What a listing folds keys by; empty where it does not, and where there is no listing.
    fn delimiter(&self) -> &str {
        match self {
            Operation::ListObjects(payload) => &payload.delimiter,
            Operation::ListObjectVersions(payload) => &payload.delimiter,
            Operation::ListMultipartUploads(payload) => &payload.delimiter,
            _ => "",
        }
    }

    /// The key that the request is about; `None` for those about a bucket or the service.
    pub fn key(&self) -> Option<&crate::object::ObjectKey> {
        match self {
            Operation::PutObject(payload) => Some(&payload.key),
            Operation::HeadObject(payload) => Some(&payload.key),
            Operation::GetObject(payload) => Some(&payload.key),
            Operation::DeleteObject(payload) => Some(&payload.key),
            Operation::CopyObject(payload) => Some(&payload.key),
            Operation::InitiateMultipartUpload(payload) => Some(&payload.key),
            Operation::UploadPart(payload) => Some(&payload.key),
            Operation::UploadPartCopy(payload) => Some(&payload.key),
            Operation::CompleteMultipartUpload(payload) => Some(&payload.key),
            Operation::AbortMultipartUpload(payload) => Some(&payload.key),
            Operation::ListParts(payload) => Some(&payload.key),
            Operation::GetObjectTagging(payload) => Some(&payload.key),
            Operation::GetObjectAcl(payload) => Some(&payload.key),
            Operation::RestoreObject(payload) => Some(&payload.key),
            Operation::PutObjectTagging(payload) => Some(&payload.key),
            Operation::DeleteObjectTagging(payload) => Some(&payload.key),
            Operation::PutObjectAcl(payload) => Some(&payload.key),
            Operation::AppendObject(payload) => Some(&payload.key),
            Operation::GetObjectAttributes(payload) => Some(&payload.key),
            Operation::GetService
            | Operation::PutBucket
            | Operation::HeadBucket
            | Operation::DeleteBucket
            | Operation::GetBucketLocation
            | Operation::GetBucketVersioning
            | Operation::GetBucketLifecycle
            | Operation::PutBucketVersioning(_)
            | Operation::ListObjects(_)
            | Operation::ListMultipartUploads(_)
            | Operation::ListObjectVersions(_)
            | Operation::GetBucketConfiguration(_)
            | Operation::PutBucketConfiguration(_)
            | Operation::DeleteBucketConfiguration(_)
            | Operation::DeleteMultipleObjects(_) => None,
        }
    }
}

/// A request that the service refuses before it looks at any object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// The code to answer, which has the status too.
    pub code: Code,
    /// What is wrong, for a person.
    pub message: String,
}

impl RequestError {
    /// An error with a message of its own.
    pub fn new(code: Code, message: impl Into<String>) -> RequestError {
        RequestError { code, message: message.into() }
    }

    /// An error with the code's usual message.
    pub fn plain(code: Code) -> RequestError {
        RequestError::new(code, code.message())
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for RequestError {}
