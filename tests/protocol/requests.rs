//! Requests travel as a server sees them: as a target to split, unescape and take apart, with header lines.

use std::collections::BTreeMap;

use cosmount::object::{BucketName, Limits, ObjectAttributes, ObjectKey, PartNumber, UploadId};
use cosmount::wire::condition::Overwrite;
use cosmount::wire::dialect::{Dialect, Spoken};
use cosmount::wire::escape::{parse_query, unescape};
use cosmount::wire::operation::*;
use cosmount::wire::request::{Headers, Method, split_target};
use cosmount::wire::sign::Signable;
use cosmount::wire::{Addressed, Code};
use proptest::prelude::*;

use crate::arbitrary::*;

/// What a server makes of an encoded request.
fn received(operation: &Operation) -> Result<Operation, RequestError> {
    let head = operation.encode();
    let target = head.target();
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
    let (_, path, query) = split_target(&target);
    let host = match operation {
        Operation::GetService => "service.cos.myqcloud.com",
        _ => "photos-1250000000.cos.ap-beijing.myqcloud.com",
    };
    let addressed = Addressed::parse(host, &unescape(path).unwrap(), |_| false, None)?;
    let lines: Vec<(&str, &str)> = head.headers.iter().map(|(name, value)| (&**name, value.as_str())).collect();
    for (name, value) in &lines {
        assert!(
            http::HeaderName::try_from(*name).is_ok() && http::HeaderValue::from_str(value).is_ok(),
            "{name}: {value}"
        );
    }
    let mut read = Operation::decode(head.method, &addressed, &parse_query(query).unwrap(), Headers(&lines))?;
    assert_eq!(read.has_xml_body(), head.body.is_some());
    read.read_body(head.body.unwrap_or_default().as_bytes())?;
    Ok(read)
}

/// What a service makes of a request that was put into S3's words, with the bucket in the path.
fn received_by_s3(operation: &Operation) -> Result<Operation, RequestError> {
    let bucket = BucketName::of_s3("photos.of-2024").unwrap();
    let head = Dialect::s3("eu-west-1", &bucket, true).outgoing(&operation.encode()).into_owned();
    let target = head.target();
    let (_, path, query) = split_target(&target);
    let (path, query) = (unescape(path).unwrap(), parse_query(query).unwrap());
    let headers: Vec<(String, String)> =
        head.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let signed = [("authorization", "AWS4-HMAC-SHA256 Credential=a")];
    let spoken = Spoken::of(&Signable { method: head.method.as_str(), path: &path, query: &query, headers: &signed });
    let own = spoken.headers_in_own_words(Some(head.method), &headers).unwrap();
    let lines: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let addressed = spoken.addressed("127.0.0.1:1", &path, |_| false, None)?;
    assert_eq!(addressed.bucket.as_ref(), Some(&bucket));
    let mut read = spoken.decode(head.method, &addressed, &query, Headers(&lines))?;
    read.read_body(head.body.unwrap_or_default().as_bytes())?;
    Ok(read)
}

/// The operation without what S3 has no words for, and with what it says instead.
fn in_s3(mut operation: Operation) -> Operation {
    let of_cos_alone = |passed: &mut PassedHeaders| {
        passed.remove("x-cos-traffic-limit");
        if let Some(directive) = passed.get_mut(TAGGING_DIRECTIVE) {
            *directive = if directive.eq_ignore_ascii_case("copy") { "COPY".into() } else { "REPLACE".into() };
        }
    };
    let overwrite = |overwrite: &mut Overwrite| {
        if *overwrite == Overwrite::Forbidden {
            *overwrite = Overwrite::IfAbsent;
        }
    };
    match &mut operation {
        Operation::PutObject(put) => {
            put.checks.content_sha1 = None;
            overwrite(&mut put.overwrite);
            of_cos_alone(&mut put.passed);
        }
        Operation::CopyObject(copy) => {
            overwrite(&mut copy.overwrite);
            of_cos_alone(&mut copy.passed);
        }
        Operation::InitiateMultipartUpload(initiate) => {
            overwrite(&mut initiate.overwrite);
            of_cos_alone(&mut initiate.passed);
        }
        Operation::UploadPart(part) => {
            part.checks.content_sha1 = None;
            of_cos_alone(&mut part.passed);
        }
        Operation::UploadPartCopy(part) => of_cos_alone(&mut part.passed),
        Operation::CompleteMultipartUpload(complete) => overwrite(&mut complete.overwrite),
        Operation::ListParts(list) => list.url_encoded = false,
        Operation::AppendObject(append) => {
            append.checks.content_sha1 = None;
            of_cos_alone(&mut append.passed);
        }
        _ => {}
    }
    operation
}

proptest! {
    #[test]
    fn requests_of_s3_arrive_as_they_were_meant(
        operation in prop_oneof![object_operation().boxed(), sub_resource_operation().boxed(), multipart_operation().boxed()],
    ) {
        let holds = |attributes: &ObjectAttributes| Limits::S3.hold_metadata(&attributes.user);
        prop_assume!(!matches!(&operation, Operation::PutObject(put) if !holds(&put.attributes)));
        prop_assert_eq!(received_by_s3(&operation), Ok(in_s3(operation)));
    }

    #[test]
    fn requests_about_objects_arrive_as_they_were_meant(operation in object_operation()) {
        prop_assert_eq!(received(&operation), Ok(operation));
    }

    #[test]
    fn requests_about_what_an_object_has_beside_arrive_as_they_were_meant(operation in sub_resource_operation()) {
        prop_assert_eq!(received(&operation), Ok(operation));
    }

    #[test]
    fn requests_of_uploads_arrive_as_they_were_meant(operation in multipart_operation()) {
        prop_assert_eq!(received(&operation), Ok(operation));
    }

    #[test]
    fn requests_about_buckets_arrive_as_they_were_meant(operation in bucket_operation()) {
        prop_assert_eq!(received(&operation), Ok(operation));
    }

    #[test]
    fn hostile_requests_are_errors_and_not_panics(
        path in "/[ -~]{0,30}", query in "[ -~]{0,40}", source in "\\PC{0,40}", range in "\\PC{0,20}",
    ) {
        let Ok(query) = parse_query(&query) else { return Ok(()) };
        let lines = [("x-cos-copy-source", &*source), ("range", &*range), ("x-cos-copy-source-range", &*range)];
        for host in ["b-1.cos.x.myqcloud.com", "127.0.0.1:1"] {
            let Ok(addressed) = Addressed::parse(host, &path, |_| false, None) else { continue };
            for method in [Method::Get, Method::Head, Method::Put, Method::Post, Method::Delete] {
                if let Ok(operation) = Operation::decode(method, &addressed, &query, Headers(&lines)) {
                    prop_assert!(!operation.op().name().is_empty());
                }
            }
        }
    }
}

fn decode(method: Method, path: &str, query: &str, lines: &[(&str, &str)]) -> Result<Operation, Code> {
    let host = "b-1.cos.ap-x.myqcloud.com";
    let addressed = Addressed::parse(host, path, |_| false, None).map_err(|error| error.code)?;
    Operation::decode(method, &addressed, &parse_query(query).unwrap(), Headers(lines)).map_err(|error| error.code)
}

#[test]
fn requests_that_cannot_be_are_refused_by_name() {
    let long = format!("/{}", "k".repeat(851));
    let source = [("x-cos-copy-source", "nonsense")];
    let range = [("x-cos-copy-source", "/b-1/k"), ("x-cos-copy-source-range", "bytes=5-")];
    let directive = [("x-cos-copy-source", "/b-1/k"), ("x-cos-metadata-directive", "Move")];
    let meta = [("x-cos-meta-a_b", "1")];
    let class = [("x-cos-storage-class", "COLD")];
    type Row<'a> = (Method, &'a str, &'a str, &'a [(&'a str, &'a str)], Code);
    let table: [Row<'_>; 23] = [
        (Method::Get, &long, "", &[], Code::KeyTooLong),
        (Method::Put, "//a", "", &[], Code::InvalidObjectName),
        (Method::Put, "/a\u{18}", "", &[], Code::InvalidObjectName),
        (Method::Put, "/k", "partNumber=0&uploadId=x", &[], Code::InvalidArgument),
        (Method::Put, "/k", "partNumber=10001&uploadId=x", &[], Code::InvalidArgument),
        (Method::Put, "/k", "partNumber=+1&uploadId=x", &[], Code::InvalidArgument),
        (Method::Put, "/k", "uploadId=x", &[], Code::InvalidArgument),
        (Method::Put, "/k", "partNumber=1", &[], Code::InvalidArgument),
        (Method::Put, "/k", "partNumber=1&uploadId=", &[], Code::InvalidArgument),
        (Method::Put, "/k", "", &source, Code::InvalidCopySource),
        (Method::Put, "/k", "partNumber=1&uploadId=x", &range, Code::InvalidArgument),
        (Method::Put, "/k", "", &directive, Code::InvalidArgument),
        (Method::Put, "/k", "", &meta, Code::InvalidArgument),
        (Method::Post, "/k", "uploads", &class, Code::NotSupportedStorageClass),
        (Method::Post, "/k", "", &[], Code::MethodNotAllowed),
        (Method::Post, "/k", "append", &[], Code::InvalidArgument),
        (Method::Get, "/", "max-keys=-1", &[], Code::InvalidArgument),
        (Method::Get, "/", "max-keys=x", &[], Code::InvalidArgument),
        (Method::Get, "/", "encoding-type=base64", &[], Code::InvalidArgument),
        (Method::Get, "/", "list-type=2", &[], Code::NotImplemented),
        (Method::Get, "/", "inventory", &[], Code::NotImplemented),
        (Method::Get, "/", "delimiter=ab", &[], Code::InvalidDelimiter),
        (Method::Post, "/", "", &[], Code::NotImplemented),
    ];
    for (method, path, query, lines, code) in table {
        assert_eq!(decode(method, path, query, lines), Err(code), "{method:?} {path:.20} {query}");
    }
}

#[test]
fn spellings_of_real_clients_are_understood() {
    for query in ["uploads", "uploads="] {
        assert_eq!(decode(Method::Post, "/k", query, &[]).unwrap().op(), Op::InitiateMultipartUpload);
    }
    assert_eq!(decode(Method::Post, "/", "delete=", &[]).unwrap().op(), Op::DeleteMultipleObjects);
    for word in ["Replaced", "REPLACE", "replaced"] {
        let lines = [("x-cos-copy-source", "/b-1/k"), ("X-Cos-Metadata-Directive", word), ("Content-Type", "")];
        let Ok(Operation::CopyObject(copy)) = decode(Method::Put, "/k", "", &lines) else { panic!("{word}") };
        assert_eq!((copy.directive, copy.attributes.content_type), (MetadataDirective::Replaced, None));
    }
    let lines = [("X-COS-META-Mode", " 33188 "), ("x-cos-meta-uid", "0")];
    let Ok(Operation::PutObject(put)) = decode(Method::Put, "/k", "", &lines) else { panic!() };
    assert_eq!(put.attributes.user, BTreeMap::from([("mode".into(), "33188".into()), ("uid".into(), "0".into())]));
    let Ok(Operation::GetObject(get)) = decode(Method::Get, "/k", "", &[("Range", "bytes=0-1,5-6")]) else { panic!() };
    assert_eq!(get.range, None, "several ranges are none");
}

/// The sub-resource comes first, because the service routes by the first parameter (`cos-api.md` 1.6).
#[test]
fn targets_begin_with_what_they_are_about() {
    let key = ObjectKey::new("a b").unwrap();
    let table = [
        (
            Operation::InitiateMultipartUpload(InitiateMultipartUpload::new(key.clone(), ObjectAttributes::default())),
            "/a%20b?uploads",
        ),
        (
            Operation::UploadPart(UploadPart::new(key.clone(), UploadId::new("i&d"), PartNumber::FIRST)),
            "/a%20b?partNumber=1&uploadId=i%26d",
        ),
        (Operation::ListMultipartUploads(ListMultipartUploads::default()), "/?uploads&encoding-type=url"),
        (Operation::DeleteMultipleObjects(DeleteMultipleObjects::default()), "/?delete"),
        (
            Operation::ListObjects(ListObjects { delimiter: "/".into(), ..ListObjects::default() }),
            "/?delimiter=%2F&encoding-type=url",
        ),
    ];
    for (operation, target) in table {
        assert_eq!(operation.encode().target(), target, "{}", operation.op());
    }
}
