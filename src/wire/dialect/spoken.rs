//! What a request that came in speaks, for a service that answers both protocols on one port.
//!
//! The reverse of what a client does: a request of S3 gets COS's words on its first step in, and its answer those of S3 on its last
//! step out. In between nobody knows which it was.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::s3::{AMZ, own_value, their_name, their_value};
use super::v2;
use super::v4::{self, SignedBody};
use crate::object::{BucketName, ETag, Limits};
use crate::wire::address::Addressed;
use crate::wire::answer::{AccessControlPolicy, ListBucketResult};
use crate::wire::code::Code;
use crate::wire::digest::DigestAlgorithm;
use crate::wire::escape::QueryPair;
use crate::wire::operation::{Operation, RequestError};
use crate::wire::request::{Headers, Method, query_value};
use crate::wire::sign::{Credentials, Signable, SignatureError, verify};

/// What S3's documents say that they are.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Everybody, as S3's access lists name them.
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
/// The encoding of a body that comes in chunks, which is none of the object.
const CHUNKED: &str = "aws-chunked";
/// How many bytes a body in chunks has without what is around them.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
/// The headers that come after the chunks.
const TRAILER: &str = "x-amz-trailer";

/// What a request speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Spoken {
    /// COS's own protocol.
    #[default]
    Cos,
    /// S3.
    S3(Asked),
}

/// What a request of S3 asks that COS has no words for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A listing of version 2, as it was asked for.
    list: Option<SecondList>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SecondList {
    token: Option<String>,
    start_after: Option<String>,
    with_owner: bool,
}

/// By which rules a request is served.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What the service takes.
    pub limits: Limits,
    /// The region of its buckets where the host names none; `None` leaves that to the service.
    pub unnamed_region: Option<&'static str>,
    /// The content type of an object of that key whose writer has named none.
    pub type_of: fn(&str) -> &'static str,
    /// Whether parts may be left out.
    pub allows_gaps: bool,
    /// Whether unfinished uploads keep a bucket from being deleted.
    pub uploads_keep_buckets: bool,
    /// The version of an object of parts with these versions, where that follows from them.
    pub etag_of_parts: fn(&[ETag]) -> Option<ETag>,
    /// The digest of an object or part whose writer names none; `None` if there is none then.
    pub digest: Option<DigestAlgorithm>,
}

impl Spoken {
    /// What a request speaks: S3 if its signature is of that, or the names of its headers are.
    pub fn of(request: &Signable<'_>) -> Spoken {
        let headers = Headers(request.headers);
        let of_s3 = v4::is_used(request) || v2::is_used(request) || headers.with_prefix(AMZ).next().is_some();
        if !of_s3 {
            return Spoken::Cos;
        }
        let text = |name| query_value(request.query, name).filter(|value| !value.is_empty()).map(str::to_owned);
        let is_second = query_value(request.query, "list-type") == Some("2");
        let list = is_second.then(|| SecondList {
            token: text("continuation-token"),
            start_after: text("start-after"),
            with_owner: text("fetch-owner").is_some_and(|value| value == "true"),
        });
        Spoken::S3(Asked { list })
    }

    /// The query of a request in COS's words; `None` where those are what it has.
    pub fn query_in_own_words(&self, query: &[QueryPair]) -> Option<Vec<QueryPair>> {
        let Spoken::S3(Asked { list: Some(list) }) = self else { return None };
        const OF_SECOND_LIST: [&str; 5] = ["list-type", "continuation-token", "start-after", "fetch-owner", "marker"];
        let mut own: Vec<QueryPair> =
            query.iter().filter(|(name, _)| !OF_SECOND_LIST.contains(&&**name)).cloned().collect();
        let marker = match &list.token {
            Some(token) => Some(marker_of(token).unwrap_or_else(|| token.clone())),
            None => list.start_after.clone(),
        };
        own.extend(marker.map(|marker| (Cow::Borrowed("marker"), Some(marker))));
        Some(own)
    }

    /// The headers of a request in COS's words; `None` where those are what it has.
    pub fn headers_in_own_words(
        &self,
        method: Option<Method>,
        headers: &[(String, String)],
    ) -> Option<Vec<(String, String)>> {
        if *self == Spoken::Cos {
            return None;
        }
        Some(headers.iter().filter_map(|(name, value)| own_header(method, name, value)).collect())
    }

    /// The bucket and key that a request tells. `exists` says of a bucket whether it does, `default` is the one of requests of COS that
    /// tell none.
    ///
    /// # Errors
    /// As [`Addressed::parse`].
    pub fn addressed(
        &self,
        host: &str,
        path: &str,
        exists: impl Fn(&BucketName) -> bool,
        default: Option<&BucketName>,
    ) -> Result<Addressed, RequestError> {
        match self {
            Spoken::Cos => Addressed::parse(host, path, exists, default),
            Spoken::S3(_) => Addressed::of_s3(host, path, exists),
        }
    }

    /// Reads a request that is in COS's words, by the rules of what it speaks.
    ///
    /// # Errors
    /// As [`Operation::decode`].
    pub fn decode(
        &self,
        method: Method,
        addressed: &Addressed,
        query: &[QueryPair],
        headers: Headers<'_>,
    ) -> Result<Operation, RequestError> {
        match self {
            Spoken::Cos => Operation::decode(method, addressed, query, headers),
            Spoken::S3(_) => {
                let operation = Operation::read(method, addressed, query, headers)?;
                let user = operation.attributes().map(|attributes| &attributes.user);
                match user.is_none_or(|user| Limits::S3.hold_metadata(user)) {
                    true => Ok(operation),
                    false => Err(RequestError::plain(Code::MetadataTooLarge)),
                }
            }
        }
    }

    /// Checks the signature of a request as it was received, and tells what it says of the body.
    ///
    /// # Errors
    /// Why the signature does not count.
    pub fn verify(
        &self,
        request: &Signable<'_>,
        key_of: impl FnOnce(&str) -> Option<Credentials>,
        now: u64,
    ) -> Result<SignedBody, SignatureError> {
        match self {
            Spoken::Cos => verify(request, key_of, now).map(|()| SignedBody::Unsigned),
            Spoken::S3(_) if v4::is_used(request) => v4::verify(request, key_of, now),
            Spoken::S3(_) if v2::is_used(request) => v2::verify(request, key_of, now).map(|()| SignedBody::Unsigned),
            Spoken::S3(_) => Err(SignatureError::Missing),
        }
    }

    /// The rules by which requests are served, in a service of the limits `usual`.
    pub fn rules(&self, usual: Limits) -> Rules {
        match self {
            Spoken::Cos => Rules {
                limits: usual,
                unnamed_region: None,
                type_of: type_by_name,
                allows_gaps: false,
                uploads_keep_buckets: true,
                etag_of_parts: |_| None,
                digest: None,
            },
            Spoken::S3(_) => Rules {
                // Limits that were made for a test hold for all.
                limits: if usual == Limits::COS { Limits::S3 } else { usual },
                // The one that clients of S3 mean where they name none.
                unnamed_region: Some("us-east-1"),
                type_of: |_| "binary/octet-stream",
                allows_gaps: true,
                uploads_keep_buckets: false,
                etag_of_parts: super::s3::etag_of_parts,
                digest: Some(DigestAlgorithm::Crc64Nvme),
            },
        }
    }

    /// The headers of an answer as who has asked calls them.
    pub fn headers_of_answer(&self, headers: &mut Vec<(Cow<'static, str>, String)>) {
        if *self == Spoken::Cos {
            return;
        }
        headers.retain(|(name, _)| !OF_COS_ALONE.contains(&&**name));
        for (name, value) in headers {
            if let Some(theirs) = their_name(name) {
                if theirs == "x-amz-storage-class" && value == "ARCHIVE" {
                    "GLACIER".clone_into(value);
                }
                if let Some(other) = their_value(name, value) {
                    other.clone_into(value);
                }
                *name = Cow::Owned(theirs);
            }
        }
    }

    /// The status and the name of a failure.
    pub fn failure(&self, code: Code) -> (u16, &'static str) {
        match (self, code) {
            (Spoken::S3(_), Code::FileAlreadyExists) => {
                (Code::PreconditionFailed.status(), Code::PreconditionFailed.name())
            }
            (Spoken::S3(_), Code::KeyTooLong) => (400, "KeyTooLongError"),
            (Spoken::S3(_), Code::InvalidSHA1Digest) => (400, "BadDigest"),
            (Spoken::S3(_), Code::InvalidObjectName) => (400, "InvalidURI"),
            (Spoken::S3(_), Code::NotSupportedStorageClass) => (400, "InvalidStorageClass"),
            (Spoken::S3(_), Code::NoSuchEncryptionConfiguration) => {
                (404, "ServerSideEncryptionConfigurationNotFoundError")
            }
            (Spoken::S3(_), Code::RestoreNonArchiveObject) => (403, "InvalidObjectState"),
            (_, code) => (code.status(), code.name()),
        }
    }

    /// A document as who has asked expects it.
    pub fn document(&self, mut xml: String) -> String {
        if *self == Spoken::Cos {
            return xml;
        }
        if xml.contains(AccessControlPolicy::ALL_USERS) {
            xml = xml.replace(AccessControlPolicy::ALL_USERS, ALL_USERS);
        }
        // After the declaration, the first element that begins is the root.
        let from = xml.find("?>").map_or(0, |end| end + 2);
        let Some(root) = xml[from..].find('<').map(|at| from + at) else { return xml };
        let Some(end) = xml[root..].find(['>', '/', ' ']).map(|at| root + at) else { return xml };
        // What a client has sent says already what it is.
        if &xml[root..end] == "<Error" || xml.as_bytes()[end] == b' ' {
            return xml;
        }
        format!("{} xmlns=\"{NAMESPACE}\"{}", &xml[..end], &xml[end..])
    }

    /// A listing as it was asked for.
    pub fn listing(&self, listing: ListBucketResult) -> String {
        match self {
            Spoken::Cos => listing.encode(),
            Spoken::S3(Asked { list: None }) => {
                // Without a delimiter the last key says where to go on.
                let next_marker = listing.next_marker.filter(|_| !listing.delimiter.is_empty());
                ListBucketResult { next_marker, ..listing }.encode()
            }
            Spoken::S3(Asked { list: Some(SecondList { token, start_after, with_owner }) }) => {
                let next = listing.next_marker.as_deref().map(token_of);
                listing.encode_second(token.as_deref(), next.as_deref(), start_after.as_deref(), *with_owner)
            }
        }
    }
}

/// The content type that COS gives an object by its key's extension.
fn type_by_name(key: &str) -> &'static str {
    mime_guess::from_path(key).first_raw().unwrap_or("application/octet-stream")
}

/// How long a body in chunks is without what is around them, and the names of the headers that come after it.
pub fn chunked_body(headers: Headers<'_>) -> (Option<u64>, Vec<String>) {
    let length = headers.get(DECODED_LENGTH).and_then(|length| length.parse().ok());
    let trailers = headers.get(TRAILER).unwrap_or("").split(',').map(|name| name.trim().to_ascii_lowercase());
    (length, trailers.filter(|name| !name.is_empty()).collect())
}

/// COS's name of a header that came after a body.
pub fn own_trailer(name: &str) -> Option<String> {
    super::s3::own_name(name)
}

/// Headers that mean something to COS alone.
const OF_COS_ALONE: [&str; 4] = ["x-cos-hash-crc64ecma", "x-cos-object-type", "x-cos-trace-id", "x-cos-storage-tier"];

/// A header of a request in COS's words; `None` for one that is of no use any more.
fn own_header(method: Option<Method>, name: &str, value: &str) -> Option<(String, String)> {
    let is_chunked = |coding: &str| coding.trim().eq_ignore_ascii_case(CHUNKED);
    if name.eq_ignore_ascii_case("content-encoding") && value.split(',').any(is_chunked) {
        let codings = value.split(',').map(str::trim).filter(|coding| !is_chunked(coding));
        let rest = codings.collect::<Vec<_>>().join(", ");
        return (!rest.is_empty()).then(|| (name.to_owned(), rest));
    }
    // What a reader has already concerns HEAD and GET.
    let writes = matches!(method, Some(Method::Put | Method::Post));
    let Some(own) = super::s3::own_name(name) else {
        let is_void = writes && name.eq_ignore_ascii_case("if-none-match") && value.trim() != "*";
        return (!is_void).then(|| (name.to_owned(), value.to_owned()));
    };
    let own = own.to_ascii_lowercase();
    let value = match (own.as_str(), value.trim()) {
        ("x-cos-storage-class", "GLACIER") => "ARCHIVE",
        (own, trimmed) => own_value(own, trimmed).unwrap_or(value),
    };
    Some((own, value.to_owned()))
}

/// Where a listing goes on, in a form that nobody takes for a key.
fn token_of(marker: &str) -> String {
    BASE64.encode(marker)
}

fn marker_of(token: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::escape::parse_query;

    fn of<'a>(query: &'a [QueryPair], headers: &'a [(&'a str, &'a str)]) -> Spoken {
        Spoken::of(&Signable { method: "GET", path: "/", query, headers })
    }

    #[test]
    fn who_signs_like_s3_or_names_its_headers_speaks_it() {
        let presigned = parse_query("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=a").unwrap();
        assert_ne!(of(&presigned, &[]), Spoken::Cos);
        assert_ne!(of(&[], &[("Authorization", "AWS4-HMAC-SHA256 Credential=a")]), Spoken::Cos);
        assert_ne!(of(&[], &[("X-Amz-Acl", "private")]), Spoken::Cos);
        for headers in [&[][..], &[("authorization", "q-sign-algorithm=sha1")], &[("x-cos-acl", "private")]] {
            assert_eq!(of(&[], headers), Spoken::Cos);
        }
    }

    #[test]
    fn headers_have_their_own_names_on_the_way_in_and_those_of_s3_on_the_way_out() {
        let table = [
            ("X-Amz-Meta-Mode", "33188", Some(("x-cos-meta-mode", "33188"))),
            ("x-amz-storage-class", "GLACIER", Some(("x-cos-storage-class", "ARCHIVE"))),
            ("x-amz-server-side-encryption", "aws:kms", Some(("x-cos-server-side-encryption", "cos/kms"))),
            ("content-encoding", "aws-chunked,gzip", Some(("content-encoding", "gzip"))),
            ("content-encoding", "aws-chunked", None),
            ("if-none-match", "*", Some(("if-none-match", "*"))),
            ("if-none-match", "\"a\"", None),
            ("content-type", "text/plain", Some(("content-type", "text/plain"))),
        ];
        for (name, value, expected) in table {
            let own = own_header(Some(Method::Put), name, value);
            let own = own.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            assert_eq!(own, expected, "{name}: {value}");
        }
        let mut answer = vec![
            ("etag".into(), "\"a\"".to_owned()),
            ("x-cos-hash-crc64ecma".into(), "1".to_owned()),
            ("x-cos-storage-class".into(), "ARCHIVE".to_owned()),
            ("x-cos-request-id".into(), "r".to_owned()),
        ];
        Spoken::S3(Asked::default()).headers_of_answer(&mut answer);
        let names: Vec<(&str, &str)> = answer.iter().map(|(name, value)| (&**name, value.as_str())).collect();
        assert_eq!(names, [("etag", "\"a\""), ("x-amz-storage-class", "GLACIER"), ("x-amz-request-id", "r")]);
    }

    #[test]
    fn a_second_listing_goes_on_where_its_token_says() {
        let asked = |query: &str| {
            let query = parse_query(query).unwrap();
            let own = of(&query, &[("x-amz-date", "1")]).query_in_own_words(&query);
            own.map(|own| query_value(&own, "marker").map(str::to_owned))
        };
        assert_eq!(asked("list-type=2&start-after=a%20b"), Some(Some("a b".to_owned())));
        assert_eq!(asked(&format!("list-type=2&start-after=a&continuation-token={}", token_of("c/"))), {
            Some(Some("c/".to_owned()))
        });
        assert_eq!(asked("list-type=2"), Some(None));
        assert_eq!(asked("marker=a"), None);
    }

    #[test]
    fn documents_say_what_they_are() {
        let spoken = Spoken::S3(Asked::default());
        let table = [
            (
                "<?xml version=\"1.0\"?>\n<a><b/></a>",
                "<?xml version=\"1.0\"?>\n<a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><b/></a>",
            ),
            ("<a xmlns=\"x\"/>", "<a xmlns=\"x\"/>"),
            ("<a/>", "<a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"),
            ("<Error><Code>a</Code></Error>", "<Error><Code>a</Code></Error>"),
            ("", ""),
        ];
        for (xml, expected) in table {
            assert_eq!(spoken.document(xml.to_owned()), expected);
            assert_eq!(Spoken::Cos.document(xml.to_owned()), xml);
        }
    }
}
