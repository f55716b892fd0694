//! What is made of bytes that somebody else has written: each body takes any bytes, and panics where a promise is broken.
//!
//! For fuzzers (`fuzz/`) and for the bounded test that runs the same bodies (`tests/fuzzing.rs`); behind the feature
//! `testing`, so that nothing of it is in a release.

use crate::fs::FileName;
use crate::object::ObjectKey;
use crate::wire::address::Addressed;
use crate::wire::answer::{
    AnswerError, CompleteMultipartUploadResult, CopyObjectResult, CopyPartResult, DeleteResult, ErrorBody,
    InitiateMultipartUploadResult, Lifecycle, ListAllMyBucketsResult, ListBucketResult, ListMultipartUploadsResult,
    ListPartsResult, Location, Versioning,
};
use crate::wire::escape::{self, parse_query};
use crate::wire::operation::{HeadObject, Operation};
use crate::wire::request::{Headers, Method};
use crate::wire::sign::{Credentials, Signable, verify};

/// One body.
pub type Body = fn(&[u8]);

/// All of them by name.
pub const BODIES: [(&str, Body); 9] = [
    ("answers", answers),
    ("authorization", authorization),
    ("listing_pages", listing_pages),
    ("mount_options", mount_options),
    ("credentials_files", credentials_files),
    ("names", names),
    ("journal", journal),
    ("part_plan", part_plan),
    ("fault_plan", fault_plan),
];

/// XML answers of the service.
pub fn answers(bytes: &[u8]) {
    same_again(bytes, InitiateMultipartUploadResult::decode, InitiateMultipartUploadResult::encode);
    same_again(bytes, CompleteMultipartUploadResult::decode, CompleteMultipartUploadResult::encode);
    let _ = (CopyPartResult::decode(bytes), CopyObjectResult::decode(bytes), DeleteResult::decode(bytes));
    let _ = (ListAllMyBucketsResult::decode(bytes), Location::decode(bytes), Versioning::decode(bytes));
    let _ = Lifecycle::decode(bytes).map(|lifecycle| lifecycle.abort_days("a/"));
    if let Ok(told) = ErrorBody::decode(bytes) {
        for status in [200, 403, 404, 503] {
            let _ = told.classify(status);
        }
    }
}

/// Pages of listings: of objects, uploads and parts.
pub fn listing_pages(bytes: &[u8]) {
    crate::store::judge_page(bytes);
    same_again(bytes, ListMultipartUploadsResult::decode, ListMultipartUploadsResult::encode);
    same_again(bytes, ListPartsResult::decode, ListPartsResult::encode);
    let _ = ListBucketResult::decode(bytes);
}

/// What was understood is understood again as it was written down. What was only in the fractions of a second may go.
fn same_again<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, AnswerError>,
    encode: impl Fn(&T) -> String,
) {
    let Ok(first) = decode(bytes) else { return };
    // Written once, because an answer may have said the same in another form.
    let Ok(second) = decode(encode(&first).as_bytes()) else { return };
    let third = decode(encode(&second).as_bytes()).expect("what we write we can read");
    assert_eq!(second, third);
}

/// A request as it arrives, with its signature: a line with the method and the target, then headers.
pub fn authorization(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (Ok(path), Ok(query)) = (escape::unescape(path), parse_query(query)) else { return };
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let request = Signable { method, path: &path, query: &query, headers: &headers };
    let key_of = |id: &str| Some(Credentials { secret_id: id.to_owned(), secret_key: "key".into(), token: None });
    let _ = verify(&request, key_of, 1_557_989_753);
    let host = Headers(&headers).get("host").unwrap_or("127.0.0.1");
    if let (Some(method), Ok(addressed)) = (Method::parse(method), Addressed::parse(host, &path, |_| true, None))
        && let Ok(mut operation) = Operation::decode(method, &addressed, &query, Headers(&headers))
    {
        let _ = operation.read_body(bytes);
        let _ = operation.encode().target();
    }
}

/// What follows `-o`.
pub fn mount_options(bytes: &[u8]) {
    crate::config::read_options(&String::from_utf8_lossy(bytes));
}

/// Files with credentials and configuration, of whatever tool.
pub fn credentials_files(bytes: &[u8]) {
    crate::config::read_anything(&String::from_utf8_lossy(bytes));
}

/// Names of files, keys, and their way over the wire.
pub fn names(bytes: &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    if let Ok(name) = FileName::from_os(std::ffi::OsStr::from_bytes(bytes)) {
        assert_eq!(name.as_str().as_bytes(), bytes);
        assert_eq!(FileName::new(name.as_str()), Some(name));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert_eq!(escape::unescape(&escape::escape(text)).as_deref(), Ok(text));
    let Ok(key) = ObjectKey::new(text) else { return };
    let head = Operation::HeadObject(HeadObject::new(key.clone())).encode();
    let target = head.target();
    let path = escape::unescape(target.split('?').next().unwrap_or_default()).expect("we have escaped it");
    let addressed = Addressed::parse("photos-1250000000.cos.ap-x.myqcloud.com", &path, |_| true, None);
    assert_eq!(addressed.map(|addressed| addressed.key).ok().as_deref(), Some(key.as_str()));
}

/// The journal of a mount that died.
pub fn journal(bytes: &[u8]) {
    let whole = crate::journal::replay(bytes);
    // What was torn off its end was not yet there.
    let lines_end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert_eq!(crate::journal::replay(&bytes[..lines_end]), whole);
}

/// The plan of an upload: pairs of bytes say what the file is made of.
pub fn part_plan(bytes: &[u8]) {
    crate::upload::plan_anything(bytes);
}

/// What `serve --faults` reads.
pub fn fault_plan(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = crate::config::parse_fault_plan(std::path::Path::new("plan.toml"), &text) {
        assert!(!error.to_string().is_empty());
    }
}
