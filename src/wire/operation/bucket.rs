//! Requests about a bucket or the service (`cos-api.md` 3.5, 4.8, 5), and which request a path without a key is.

use super::fields::{self, push_param};
use super::{BucketConfiguration, Operation, RequestError, body};
use crate::wire::answer::Versioning;
use crate::wire::code::Code;
use crate::wire::escape::QueryPair;
use crate::wire::request::{Headers, Method, RequestHead};

/// Sub-resources of buckets that exist and that this product does not speak (`cos-api.md` 5.3, 5.4), or only reads.
const UNSPOKEN: [&str; 10] = [
    "versions",
    "inventory",
    "object-lock",
    "metadata",
    "list-type",
    "domaincertificate",
    "mirror",
    "analytics",
    "metrics",
    "policyStatus",
];

pub(super) fn decode(method: Method, query: &[QueryPair], headers: Headers<'_>) -> Result<Operation, RequestError> {
    let asks = |name: &str| query.iter().any(|(parameter, _)| parameter == name);
    if method == Method::Get && asks("versions") {
        return Ok(Operation::ListObjectVersions(ListObjectVersions::decode(query)?));
    }
    if let Some(name) = UNSPOKEN.into_iter().find(|name| asks(name)) {
        return Err(RequestError::new(Code::NotImplemented, format!("?{name} is not implemented")));
    }
    if let Some(kind) = BucketConfiguration::of(query) {
        return kind.decode(method, headers);
    }
    match method {
        Method::Get if asks("location") => Ok(Operation::GetBucketLocation),
        Method::Get if asks("versioning") => Ok(Operation::GetBucketVersioning),
        Method::Get if asks("uploads") => Ok(Operation::ListMultipartUploads(ListMultipartUploads::decode(query)?)),
        Method::Get => Ok(Operation::ListObjects(ListObjects::decode(query)?)),
        Method::Head => Ok(Operation::HeadBucket),
        Method::Put if asks("versioning") => Ok(Operation::PutBucketVersioning(PutBucketVersioning::default())),
        Method::Put => Ok(Operation::PutBucket),
        Method::Post if asks("delete") => Ok(Operation::DeleteMultipleObjects(DeleteMultipleObjects::default())),
        // A browser's form upload.
        Method::Post => Err(RequestError::plain(Code::NotImplemented)),
        Method::Delete => Ok(Operation::DeleteBucket),
    }
}

/// A request about the bucket with at most a sub-resource.
pub(super) fn plain(method: Method, sub_resource: Option<&'static str>) -> RequestHead {
    let query = sub_resource.map(|name| (name.into(), None)).into_iter().collect();
    RequestHead { method, path: "/".to_owned(), query, headers: Vec::new(), body: None }
}

/// PUT Bucket versioning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutBucketVersioning {
    /// What to switch to. [`Versioning::Never`] until the body is read, and in no request.
    pub versioning: Versioning,
}

impl PutBucketVersioning {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = plain(Method::Put, Some("versioning"));
        body::set_xml(&mut head, self.versioning.encode());
        head
    }

    pub(super) fn read_body(&mut self, xml: &[u8]) -> Result<(), RequestError> {
        self.versioning = Versioning::decode(xml).map_err(|error| body::malformed(&error))?;
        match self.versioning {
            Versioning::Never => Err(RequestError::new(Code::MalformedXML, "Status is missing")),
            Versioning::Enabled | Versioning::Suspended => Ok(()),
        }
    }
}

/// List Objects, version 1, the only documented one (`cos-api.md` 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjects {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Keys that have this after the prefix are gathered into common prefixes; empty for none.
    pub delimiter: String,
    /// Only keys and common prefixes after this one; empty for all.
    pub marker: String,
    /// The most keys and common prefixes together; the service caps it at 1,000, which `None` means.
    pub max_keys: Option<u32>,
    /// Whether the keys in the answer are to be escaped. We always ask for that.
    pub url_encoded: bool,
}

impl Default for ListObjects {
    fn default() -> ListObjects {
        let empty = String::new;
        ListObjects { prefix: empty(), delimiter: empty(), marker: empty(), max_keys: None, url_encoded: true }
    }
}

impl ListObjects {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = plain(Method::Get, None);
        let query = &mut head.query;
        push_param(query, "prefix", not_empty(&self.prefix));
        push_param(query, "delimiter", not_empty(&self.delimiter));
        push_param(query, "marker", not_empty(&self.marker));
        push_param(query, "max-keys", self.max_keys.map(|max| max.to_string()).as_deref());
        fields::push_url_encoding(query, self.url_encoded);
        head
    }

    fn decode(query: &[QueryPair]) -> Result<ListObjects, RequestError> {
        Ok(ListObjects {
            prefix: fields::text(query, "prefix").unwrap_or_default(),
            delimiter: fields::text(query, "delimiter").unwrap_or_default(),
            marker: fields::text(query, "marker").unwrap_or_default(),
            max_keys: fields::number(query, "max-keys")?,
            url_encoded: fields::url_encoding(query)?,
        })
    }
}

/// List Object Versions: also those that were replaced, and what was deleted (`cos-api.md` 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjectVersions {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Keys that have this after the prefix are gathered into common prefixes; empty for none.
    pub delimiter: String,
    /// Only keys after this one, or, with a version marker, also older versions of it; empty for all.
    pub key_marker: String,
    /// Only versions of the marked key that are older than this one; empty for none of them.
    pub version_id_marker: String,
    /// The most versions and common prefixes together, at most 1,000; `None` is 1,000.
    pub max_keys: Option<u32>,
    /// Whether the keys in the answer are to be escaped. We always ask for that.
    pub url_encoded: bool,
}

impl ListObjectVersions {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = plain(Method::Get, Some("versions"));
        let query = &mut head.query;
        push_param(query, "prefix", not_empty(&self.prefix));
        push_param(query, "delimiter", not_empty(&self.delimiter));
        push_param(query, "key-marker", not_empty(&self.key_marker));
        push_param(query, "version-id-marker", not_empty(&self.version_id_marker));
        push_param(query, "max-keys", self.max_keys.map(|max| max.to_string()).as_deref());
        fields::push_url_encoding(query, self.url_encoded);
        head
    }

    fn decode(query: &[QueryPair]) -> Result<ListObjectVersions, RequestError> {
        Ok(ListObjectVersions {
            prefix: fields::text(query, "prefix").unwrap_or_default(),
            delimiter: fields::text(query, "delimiter").unwrap_or_default(),
            key_marker: fields::text(query, "key-marker").unwrap_or_default(),
            version_id_marker: fields::text(query, "version-id-marker").unwrap_or_default(),
            max_keys: fields::number(query, "max-keys")?,
            url_encoded: fields::url_encoding(query)?,
        })
    }
}

/// List Multipart Uploads: those neither completed nor aborted (`cos-api.md` 4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListMultipartUploads {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Keys that have this after the prefix are gathered into common prefixes; empty for none.
    pub delimiter: String,
    /// Only keys after this one, or, with an upload id marker, also later uploads of it; empty for all.
    pub key_marker: String,
    /// Only uploads of the marked key with larger ids; empty for none of them.
    pub upload_id_marker: String,
    /// The most uploads, at most 1,000; `None` is 1,000.
    pub max_uploads: Option<u32>,
    /// Whether the keys in the answer are to be escaped. We always ask for that.
    pub url_encoded: bool,
}

impl Default for ListMultipartUploads {
    fn default() -> ListMultipartUploads {
        ListMultipartUploads {
            prefix: String::new(),
            delimiter: String::new(),
            key_marker: String::new(),
            upload_id_marker: String::new(),
            max_uploads: None,
            url_encoded: true,
        }
    }
}

impl ListMultipartUploads {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = plain(Method::Get, Some("uploads"));
        let query = &mut head.query;
        push_param(query, "prefix", not_empty(&self.prefix));
        push_param(query, "delimiter", not_empty(&self.delimiter));
        push_param(query, "key-marker", not_empty(&self.key_marker));
        push_param(query, "upload-id-marker", not_empty(&self.upload_id_marker));
        push_param(query, "max-uploads", self.max_uploads.map(|max| max.to_string()).as_deref());
        fields::push_url_encoding(query, self.url_encoded);
        head
    }

    fn decode(query: &[QueryPair]) -> Result<ListMultipartUploads, RequestError> {
        Ok(ListMultipartUploads {
            prefix: fields::text(query, "prefix").unwrap_or_default(),
            delimiter: fields::text(query, "delimiter").unwrap_or_default(),
            key_marker: fields::text(query, "key-marker").unwrap_or_default(),
            upload_id_marker: fields::text(query, "upload-id-marker").unwrap_or_default(),
            max_uploads: fields::number(query, "max-uploads")?,
            url_encoded: fields::url_encoding(query)?,
        })
    }
}

/// One object of a Delete Multiple Objects. The key is any text: what cannot be a key is simply not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The key.
    pub key: String,
    /// The version; `None` for the newest.
    pub version: Option<String>,
}

/// Delete Multiple Objects: up to 1,000 at once (`cos-api.md` 3.5). The server reads the `Content-MD5` that it
/// requires with [`super::BodyChecks::from_headers`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteMultipleObjects {
    /// Whether only failures are answered.
    pub quiet: bool,
    /// What to remove. Empty until the body is read.
    pub objects: Vec<ObjectVersion>,
}

impl DeleteMultipleObjects {
    pub(super) fn encode(&self) -> RequestHead {
        let mut head = plain(Method::Post, Some("delete"));
        body::set_xml(&mut head, body::encode_delete(self));
        head
    }

    pub(super) fn read_body(&mut self, xml: &[u8]) -> Result<(), RequestError> {
        *self = body::decode_delete(xml)?;
        Ok(())
    }
}

fn not_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
