//! Fields that several operations share, each with its reading beside its writing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::RequestError;
use crate::object::key::KeyError;
use crate::object::{ObjectKey, PartNumber, UploadId};
use crate::wire::attributes::KMS_KEY;
use crate::wire::code::Code;
use crate::wire::digest::DigestAlgorithm;
use crate::wire::escape::{QueryPair, header_value};
use crate::wire::request::{HeaderPair, Headers, query_value};

/// Digests of the body that the client vouches for (`cos-api.md` 3.1). Kept as text: the server judges them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyChecks {
    /// `Content-MD5`: base64 of 16 bytes.
    pub content_md5: Option<String>,
    /// `x-cos-content-sha1`: 40 hex digits.
    pub content_sha1: Option<String>,
    /// S3's `x-amz-checksum-*`: its algorithm, and the digest in base64.
    pub digest: Option<(DigestAlgorithm, String)>,
}

impl BodyChecks {
    /// Reads them from the headers of any request.
    pub fn from_headers(headers: Headers<'_>) -> BodyChecks {
        BodyChecks {
            content_md5: headers.get("content-md5").map(str::to_owned),
            content_sha1: headers.get("x-cos-content-sha1").map(str::to_owned),
            digest: digest_of(headers),
        }
    }

    pub(super) fn push(&self, headers: &mut Vec<HeaderPair>) {
        push_header(headers, "content-md5", self.content_md5.as_deref());
        push_header(headers, "x-cos-content-sha1", self.content_sha1.as_deref());
        if let Some((algorithm, digest)) = &self.digest {
            push_header(headers, algorithm.header(), Some(digest));
        }
    }
}

/// The digest of a body, or of an object, that a header tells.
pub(super) fn digest_of(headers: Headers<'_>) -> Option<(DigestAlgorithm, String)> {
    let told = |algorithm: DigestAlgorithm| Some((algorithm, headers.get(algorithm.header())?.to_owned()));
    DigestAlgorithm::ALL.into_iter().find_map(told)
}

/// Headers that concern neither the bytes nor this product and are handed through: grants, whose tags a copy has, traffic
/// limit, encryption with keys of the caller (`cos-api.md` 3.1, 3.13, 3.14). By lower-case name.
pub type PassedHeaders = BTreeMap<String, String>;

/// Whether a copy has the tags of its source (`cos-api.md` 3.6).
pub const TAGGING_DIRECTIVE: &str = "x-cos-tagging-directive";

/// The beginnings of the names of [`PassedHeaders`].
const PASSED: [&str; 5] = [
    "x-cos-grant-",
    TAGGING_DIRECTIVE,
    "x-cos-traffic-limit",
    "x-cos-server-side-encryption-c",
    "x-cos-copy-source-server-side-encryption",
];

pub(super) fn passed_headers(headers: Headers<'_>) -> PassedHeaders {
    let passed = headers.0.iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let known = PASSED.iter().any(|beginning| name.starts_with(beginning)) && name != KMS_KEY;
        (known && !value.trim().is_empty()).then(|| (name, value.trim().to_owned()))
    });
    passed.collect()
}

pub(super) fn push_passed(headers: &mut Vec<HeaderPair>, passed: &PassedHeaders) {
    headers.extend(passed.iter().map(|(name, value)| (Cow::Owned(name.clone()), header_value(value).into_owned())));
}

/// The `response-*` parameters of a GET, which replace headers of its answer (`cos-api.md` 3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseOverrides {
    /// `response-cache-control`.
    pub cache_control: Option<String>,
    /// `response-content-disposition`.
    pub content_disposition: Option<String>,
    /// `response-content-encoding`.
    pub content_encoding: Option<String>,
    /// `response-content-language`.
    pub content_language: Option<String>,
    /// `response-content-type`.
    pub content_type: Option<String>,
    /// `response-expires`.
    pub expires: Option<String>,
}

impl ResponseOverrides {
    pub(super) fn from_query(query: &[QueryPair]) -> ResponseOverrides {
        ResponseOverrides {
            cache_control: text(query, "response-cache-control"),
            content_disposition: text(query, "response-content-disposition"),
            content_encoding: text(query, "response-content-encoding"),
            content_language: text(query, "response-content-language"),
            content_type: text(query, "response-content-type"),
            expires: text(query, "response-expires"),
        }
    }

    pub(super) fn push(&self, query: &mut Vec<QueryPair>) {
        push_param(query, "response-cache-control", self.cache_control.as_deref());
        push_param(query, "response-content-disposition", self.content_disposition.as_deref());
        push_param(query, "response-content-encoding", self.content_encoding.as_deref());
        push_param(query, "response-content-language", self.content_language.as_deref());
        push_param(query, "response-content-type", self.content_type.as_deref());
        push_param(query, "response-expires", self.expires.as_deref());
    }

    /// The overrides as headers of the answer.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("cache-control", &self.cache_control),
            ("content-disposition", &self.content_disposition),
            ("content-encoding", &self.content_encoding),
            ("content-language", &self.content_language),
            ("content-type", &self.content_type),
            ("expires", &self.expires),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// Where the metadata of a copy comes from (`cos-api.md` 3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataDirective {
    /// From the source.
    #[default]
    Copy,
    /// From the request, all of it.
    Replaced,
}

impl MetadataDirective {
    pub(super) fn from_headers(headers: Headers<'_>) -> Result<MetadataDirective, RequestError> {
        let Some(value) = headers.get("x-cos-metadata-directive") else { return Ok(MetadataDirective::Copy) };
        match value.to_ascii_lowercase().as_str() {
            "copy" => Ok(MetadataDirective::Copy),
            // cosfs has it the way S3 spells it.
            "replaced" | "replace" => Ok(MetadataDirective::Replaced),
            _ => Err(invalid(format!("x-cos-metadata-directive: {value:?} is neither Copy nor Replaced"))),
        }
    }

    pub(super) fn header(self) -> &'static str {
        match self {
            MetadataDirective::Copy => "Copy",
            MetadataDirective::Replaced => "Replaced",
        }
    }
}

pub(super) fn key(text: &str) -> Result<ObjectKey, RequestError> {
    ObjectKey::new(text).map_err(|error| match error {
        KeyError::TooLong => RequestError::plain(Code::KeyTooLong),
        KeyError::Empty | KeyError::Forbidden => RequestError::new(Code::InvalidObjectName, error.to_string()),
    })
}

pub(super) fn upload_id(query: &[QueryPair]) -> Result<UploadId, RequestError> {
    match query_value(query, "uploadId") {
        Some(id) if !id.is_empty() => Ok(UploadId::new(id)),
        _ => Err(invalid("uploadId is missing")),
    }
}

pub(super) fn part_number(query: &[QueryPair]) -> Result<PartNumber, RequestError> {
    let number: Option<u64> = number(query, "partNumber")?;
    number.and_then(PartNumber::new).ok_or_else(|| invalid("partNumber must be between 1 and 10000"))
}

/// A parameter whose absence and emptiness mean the same.
pub(super) fn text(query: &[QueryPair], name: &str) -> Option<String> {
    query_value(query, name).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// A parameter that is a decimal number without a sign; `None` where it is absent or empty.
pub(super) fn number<N: std::str::FromStr>(query: &[QueryPair], name: &str) -> Result<Option<N>, RequestError> {
    let Some(value) = query_value(query, name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    number.map(Some).ok_or_else(|| invalid(format!("{name}: {value:?} is not a number that can be")))
}

/// Whether the keys of the answer are to be escaped (`cos-api.md` 5.2).
pub(super) fn url_encoding(query: &[QueryPair]) -> Result<bool, RequestError> {
    match text(query, "encoding-type").as_deref() {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(invalid(format!("encoding-type: {other:?} is not url"))),
    }
}

pub(super) fn push_url_encoding(query: &mut Vec<QueryPair>, encode: bool) {
    push_param(query, "encoding-type", encode.then_some("url"));
}

pub(super) fn push_param(query: &mut Vec<QueryPair>, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        query.push((name.into(), Some(value.to_owned())));
    }
}

pub(super) fn push_header(headers: &mut Vec<HeaderPair>, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        headers.push((name.into(), header_value(value).into_owned()));
    }
}

pub(super) fn invalid(message: impl Into<String>) -> RequestError {
    RequestError::new(Code::InvalidArgument, message)
}
