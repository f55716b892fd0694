//! Every request and answer of the protocol, written by one end and read by the other.
//!
//! Requests travel as a server sees them: as a target to split, unescape and take apart, with header lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cosmount::wire::answer::{
    AnswerError, BucketEntry, CompleteMultipartUploadResult, ContentRange, Contents, CopyObjectResult, CopyPartResult,
    DeleteFailure, DeleteResult, Deleted, ErrorBody, InitiateMultipartUploadResult, ListAllMyBucketsResult,
    ListBucketResult, ListMultipartUploadsResult, ListPartsResult, ListedPart, Location, Upload, Versioning,
    decode_head, encode_head,
};
use cosmount::wire::condition::{Conditions, ETagMatch};
use cosmount::wire::escape::{parse_query, unescape};
use cosmount::wire::key::KEY_BYTES_MAX;
use cosmount::wire::operation::*;
use cosmount::wire::request::{Headers, Method, split_target};
use cosmount::wire::{
    Addressed, BucketName, ByteRange, Code, CopySource, Crc64, ETag, ObjectAttributes, ObjectHead, ObjectKey,
    PartNumber, RangeSpec, UploadId,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

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

/// Texts with everything that escapes and XML trip over.
fn awkward(bytes_max: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9/._~-]",
        2 => "[ +%&?#=;:\"'<>\\[\\]*()!@,\\\\]",
        1 => Just("腾".to_owned()),
        1 => Just("😀".to_owned()),
        1 => Just("//".to_owned()),
        1 => Just("%2F".to_owned()),
        1 => Just("../".to_owned()),
        1 => "[\u{1}-\u{8}\t\n\r]",
    ];
    vec(piece, 0..30).prop_map(move |pieces| {
        let mut text = String::new();
        for piece in pieces.into_iter().filter(|piece| piece.len() <= bytes_max) {
            if text.len() + piece.len() <= bytes_max {
                text.push_str(&piece);
            }
        }
        text
    })
}

fn key() -> impl Strategy<Value = ObjectKey> {
    let longest = Just("k腾+".repeat(KEY_BYTES_MAX / 5));
    prop_oneof![9 => awkward(KEY_BYTES_MAX), 1 => longest].prop_filter_map("no key", |text| ObjectKey::new(text).ok())
}

fn etag() -> impl Strategy<Value = ETag> {
    prop_oneof!["[0-9a-f]{32}(-[0-9]{1,5})?", "[0-9a-f]{40}"].prop_map(ETag::new)
}

fn upload() -> impl Strategy<Value = UploadId> {
    prop_oneof!["[0-9]{10}[0-9a-f]{64}", "[!-~]{1,40}"].prop_map(UploadId::new)
}

fn number() -> impl Strategy<Value = PartNumber> {
    (1u64..=10_000).prop_map(|number| PartNumber::new(number).unwrap())
}

/// Whole seconds up to the year 9999.
fn date() -> impl Strategy<Value = SystemTime> {
    (0u64..253_402_300_800).prop_map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn precise_date() -> impl Strategy<Value = SystemTime> {
    (date(), 0u64..1000).prop_map(|(date, milliseconds)| date + Duration::from_millis(milliseconds))
}

fn header_value() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,30}[!-~])?"
}

fn attributes() -> impl Strategy<Value = ObjectAttributes> {
    let standard = (of(header_value()), of(header_value()), of(header_value()), of(header_value()), of(header_value()));
    let class = of(prop_oneof![Just("STANDARD_IA"), Just("ARCHIVE"), Just("MAZ_INTELLIGENT_TIERING")]);
    (standard, class, btree_map("[a-z0-9-]{1,20}", header_value(), 0..4)).prop_map(|(standard, class, user)| {
        let (content_type, cache_control, content_disposition, content_encoding, expires) = standard;
        ObjectAttributes {
            content_type,
            cache_control,
            content_disposition,
            content_encoding,
            expires,
            storage_class: class.map(str::to_owned),
            user,
        }
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let tags = || of(prop_oneof![Just(ETagMatch::Any), vec(etag(), 1..3).prop_map(ETagMatch::OneOf)]);
    (tags(), tags(), of(date()), of(date())).prop_map(
        |(if_match, if_none_match, if_modified_since, if_unmodified_since)| Conditions {
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
        },
    )
}

fn passed() -> impl Strategy<Value = PassedHeaders> {
    const NAMES: [&str; 5] =
        ["x-cos-acl", "x-cos-grant-read", "x-cos-tagging", "x-cos-traffic-limit", "x-cos-server-side-encryption"];
    let pair = (proptest::sample::select(&NAMES[..]), header_value());
    vec(pair, 0..3).prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn checks() -> impl Strategy<Value = BodyChecks> {
    (of("[A-Za-z0-9+/]{22}=="), of("[0-9a-f]{40}"))
        .prop_map(|(content_md5, content_sha1)| BodyChecks { content_md5, content_sha1 })
}

fn range() -> impl Strategy<Value = ByteRange> {
    (0u64..1 << 50, 1u64..1 << 40).prop_map(|(start, len)| ByteRange::new(start, start + len).unwrap())
}

fn source() -> impl Strategy<Value = CopySource> {
    let domain = prop_oneof![Just(""), Just("cos.ap-beijing.myqcloud.com"), Just("127.0.0.1:9000")];
    (domain, key(), of("[!-~]{1,20}")).prop_map(|(domain, key, version)| CopySource {
        bucket: BucketName::new("photos-1250000000").unwrap(),
        domain: domain.to_owned(),
        key,
        version,
    })
}

fn object_operation() -> impl Strategy<Value = Operation> {
    let version = || of("[!-~]{1,30}");
    let range = of(prop_oneof![
        range().prop_map(RangeSpec::from),
        any::<u64>().prop_map(|first| RangeSpec::From { first }),
        any::<u64>().prop_map(|count| RangeSpec::Last { count }),
    ]);
    let overrides = (of(header_value()), of(awkward(40).prop_filter("empty", |text| !text.is_empty()))).prop_map(
        |(content_type, content_disposition)| ResponseOverrides {
            content_type,
            content_disposition,
            ..ResponseOverrides::default()
        },
    );
    prop_oneof![
        (key(), attributes(), checks(), any::<bool>(), passed()).prop_map(
            |(key, attributes, checks, forbid_overwrite, passed)| {
                Operation::PutObject(PutObject { key, attributes, checks, forbid_overwrite, passed })
            }
        ),
        (key(), version(), conditions()).prop_map(|(key, version, conditions)| Operation::HeadObject(HeadObject {
            key,
            version,
            conditions
        })),
        (key(), version(), range, conditions(), overrides).prop_map(|(key, version, range, conditions, overrides)| {
            Operation::GetObject(GetObject { key, version, range, conditions, overrides })
        }),
        (key(), version()).prop_map(|(key, version)| Operation::DeleteObject(DeleteObject { key, version })),
        (key(), source(), conditions(), any::<bool>(), attributes(), any::<bool>(), passed()).prop_map(
            |(key, source, conditions, replaced, attributes, forbid_overwrite, passed)| {
                let directive = if replaced { MetadataDirective::Replaced } else { MetadataDirective::Copy };
                Operation::CopyObject(CopyObject {
                    key,
                    source,
                    conditions,
                    directive,
                    attributes,
                    forbid_overwrite,
                    passed,
                })
            }
        ),
    ]
}

fn multipart_operation() -> impl Strategy<Value = Operation> {
    let parts = vec((number(), etag()).prop_map(|(number, etag)| CompletedPart { number, etag }), 1..20);
    prop_oneof![
        (key(), attributes(), any::<bool>(), passed()).prop_map(|(key, attributes, forbid_overwrite, passed)| {
            Operation::InitiateMultipartUpload(InitiateMultipartUpload { key, attributes, forbid_overwrite, passed })
        }),
        (key(), upload(), number(), checks(), passed()).prop_map(|(key, upload, number, checks, passed)| {
            Operation::UploadPart(UploadPart { key, upload, number, checks, passed })
        }),
        (key(), upload(), number(), source(), of(range()), conditions(), passed()).prop_map(
            |(key, upload, number, source, range, conditions, passed)| {
                Operation::UploadPartCopy(UploadPartCopy { key, upload, number, source, range, conditions, passed })
            }
        ),
        (key(), upload(), parts, any::<bool>()).prop_map(|(key, upload, parts, forbid_overwrite)| {
            Operation::CompleteMultipartUpload(CompleteMultipartUpload { key, upload, parts, forbid_overwrite })
        }),
        (key(), upload())
            .prop_map(|(key, upload)| Operation::AbortMultipartUpload(AbortMultipartUpload { key, upload })),
        (key(), upload(), of(any::<u32>()), of(any::<u32>()), any::<bool>()).prop_map(
            |(key, upload, max_parts, part_number_marker, url_encoded)| {
                Operation::ListParts(ListParts { key, upload, max_parts, part_number_marker, url_encoded })
            }
        ),
    ]
}

fn bucket_operation() -> impl Strategy<Value = Operation> {
    let object = (awkward(60), of("[!-~]{1,20}")).prop_map(|(key, version)| ObjectVersion { key, version });
    let versioning = prop_oneof![Just(Versioning::Enabled), Just(Versioning::Suspended)];
    prop_oneof![
        Just(Operation::GetService),
        Just(Operation::PutBucket),
        Just(Operation::HeadBucket),
        Just(Operation::DeleteBucket),
        Just(Operation::GetBucketLocation),
        Just(Operation::GetBucketVersioning),
        versioning.prop_map(|versioning| Operation::PutBucketVersioning(PutBucketVersioning { versioning })),
        (awkward(60), awkward(3), awkward(60), of(any::<u32>()), any::<bool>()).prop_map(
            |(prefix, delimiter, marker, max_keys, url_encoded)| {
                Operation::ListObjects(ListObjects { prefix, delimiter, marker, max_keys, url_encoded })
            }
        ),
        (awkward(60), awkward(3), awkward(60), awkward(20), of(any::<u32>()), any::<bool>()).prop_map(
            |(prefix, delimiter, key_marker, upload_id_marker, max_uploads, url_encoded)| {
                Operation::ListMultipartUploads(ListMultipartUploads {
                    prefix,
                    delimiter,
                    key_marker,
                    upload_id_marker,
                    max_uploads,
                    url_encoded,
                })
            }
        ),
        (any::<bool>(), vec(object, 1..10)).prop_map(|(quiet, objects)| {
            Operation::DeleteMultipleObjects(DeleteMultipleObjects { quiet, objects })
        }),
    ]
}

fn contents() -> impl Strategy<Value = Contents> {
    (awkward(80), precise_date(), etag(), any::<u64>()).prop_map(|(key, last_modified, etag, size)| Contents {
        key,
        last_modified,
        etag,
        size,
        owner: "1250000000".into(),
        storage_class: "STANDARD".into(),
    })
}

/// Keys that an XML body can hold as they are.
fn xml_text(text: String) -> String {
    text.replace(|character: char| character.is_control(), "")
}

proptest! {
    #[test]
    fn requests_about_objects_arrive_as_they_were_meant(operation in object_operation()) {
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
    fn listings_arrive_as_they_were_meant(
        contents in vec(contents(), 0..5), prefixes in vec(awkward(40), 0..4), prefix in awkward(30),
        marker in awkward(30), next in awkward(30), url_encoded in any::<bool>(), max_keys in 0u32..=1000,
    ) {
        let next_marker = (!next.is_empty()).then_some(next);
        let result = ListBucketResult {
            bucket: "photos-1250000000".into(), prefix, marker, max_keys, delimiter: "/".into(), url_encoded,
            is_truncated: next_marker.is_some(), next_marker, common_prefixes: prefixes, contents,
        };
        prop_assert_eq!(ListBucketResult::decode(result.encode().as_bytes()), Ok(result));
    }

    #[test]
    fn listings_of_uploads_arrive_as_they_were_meant(
        uploads in vec((awkward(60), upload(), precise_date()), 0..5), prefix in awkward(30), next in awkward(30),
        url_encoded in any::<bool>(),
    ) {
        let result = ListMultipartUploadsResult {
            bucket: "b-1".into(), prefix: prefix.clone(), delimiter: String::new(), key_marker: prefix.clone(),
            upload_id_marker: "id".into(), max_uploads: 7, url_encoded, is_truncated: !next.is_empty(),
            next_key_marker: (!next.is_empty()).then_some(next), next_upload_id_marker: Some("x".into()),
            uploads: uploads.into_iter().map(|(key, upload, initiated)| Upload {
                key, upload, storage_class: "STANDARD".into(), owner: "1250000000".into(), initiated,
            }).collect(),
            common_prefixes: vec![prefix],
        };
        prop_assert_eq!(ListMultipartUploadsResult::decode(result.encode().as_bytes()), Ok(result));
    }

    #[test]
    fn answers_of_uploads_arrive_as_they_were_meant(
        key in key(), upload in upload(), etag in etag(), crc in of(any::<u64>()), date in date(),
        parts in vec((number(), etag(), any::<u64>(), precise_date()), 0..5), url_encoded in any::<bool>(),
    ) {
        let name = xml_text(key.to_string());
        let upload_text = UploadId::new(upload.as_str());
        let initiated = InitiateMultipartUploadResult { bucket: "b-1".into(), key: name.clone(), upload };
        prop_assert_eq!(InitiateMultipartUploadResult::decode(initiated.encode().as_bytes()), Ok(initiated));
        let completed = CompleteMultipartUploadResult {
            location: format!("http://b-1.cos.x.myqcloud.com/{name}"), bucket: "b-1".into(), key: name.clone(),
            etag: etag.clone(),
        };
        let body = format!(" \n\r\n {}", completed.encode());
        prop_assert_eq!(CompleteMultipartUploadResult::decode(body.as_bytes()), Ok(completed));
        let copied = CopyPartResult { etag: etag.clone(), crc64: crc.map(Crc64), last_modified: date };
        prop_assert_eq!(CopyPartResult::decode(copied.encode().as_bytes()), Ok(copied));
        let copied = CopyObjectResult { etag, crc64: crc.map(Crc64), last_modified: date, version: None };
        prop_assert_eq!(CopyObjectResult::decode(copied.encode().as_bytes()), Ok(copied));
        let listed = ListPartsResult {
            bucket: "b-1".into(), key: key.to_string(), upload: upload_text, url_encoded, owner: "1".into(),
            part_number_marker: 3, next_part_number_marker: Some(9), max_parts: 6, is_truncated: true,
            storage_class: "STANDARD_IA".into(),
            parts: parts.into_iter().map(|(number, etag, size, last_modified)| ListedPart {
                number, last_modified, etag, size,
            }).collect(),
        };
        prop_assert_eq!(ListPartsResult::decode(listed.encode().as_bytes()), Ok(listed));
    }

    #[test]
    fn heads_of_objects_arrive_as_they_were_meant(
        size in any::<u64>(), etag in etag(), last_modified in date(), crc in of(any::<u64>()), attributes in attributes(),
    ) {
        let head = ObjectHead { size, etag, last_modified, crc64: crc.map(Crc64), attributes };
        let encoded = encode_head(&head);
        let mut lines: Vec<(&str, &str)> = encoded.iter().map(|(name, value)| (&**name, value.as_str())).collect();
        let length = size.to_string();
        lines.push(("Content-Length", &length));
        prop_assert_eq!(decode_head(Headers(&lines)), Ok(head));
    }

    #[test]
    fn hostile_bodies_are_errors_and_not_panics(body in vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let good = ListBucketResult { contents: Vec::new(), ..ListBucketResult::default() }.encode();
        let mut damaged = good.into_bytes();
        let at = cut.index(damaged.len());
        damaged.splice(at..at, body.iter().copied());
        for xml in [&body, &damaged] {
            let _ = ListBucketResult::decode(xml);
            let _ = ListMultipartUploadsResult::decode(xml);
            let _ = ListPartsResult::decode(xml);
            let _ = CompleteMultipartUploadResult::decode(xml);
            let _ = DeleteResult::decode(xml);
            let _ = ErrorBody::decode(xml);
            let mut delete = Operation::DeleteMultipleObjects(DeleteMultipleObjects::default());
            let _ = delete.read_body(xml);
        }
        prop_assert!(CopyObjectResult::decode(&body).is_err());
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
                    prop_assert!(!operation.name().is_empty());
                }
            }
        }
    }
}

#[test]
fn small_answers_arrive_as_they_were_meant() {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let deleted = DeleteResult {
        deleted: vec![Deleted { key: "a <&> 腾 ".into(), version: None }],
        errors: vec![DeleteFailure {
            key: "b".into(),
            version: Some("v".into()),
            code: "AccessDenied".into(),
            message: "Access Denied.".into(),
        }],
    };
    assert_eq!(DeleteResult::decode(deleted.encode().as_bytes()), Ok(deleted));
    let buckets = ListAllMyBucketsResult {
        owner: "qcs::cam::uin/1:uin/1".into(),
        buckets: vec![BucketEntry { name: "b-1".into(), location: "ap-beijing".into(), created: date }],
    };
    assert_eq!(ListAllMyBucketsResult::decode(buckets.encode().as_bytes()), Ok(buckets));
    for versioning in [Versioning::Never, Versioning::Enabled, Versioning::Suspended] {
        assert_eq!(Versioning::decode(versioning.encode().as_bytes()), Ok(versioning));
    }
    for text in ["ap-beijing", "cos.ap-beijing"] {
        let location = Location::decode(format!("<LocationConstraint>{text}</LocationConstraint>").as_bytes());
        assert_eq!(location, Ok(Location("ap-beijing".into())));
    }
    let error = ErrorBody {
        code: "RequestTimeTooSkewed".into(),
        message: "The clock is <off>".into(),
        resource: "b-1.cos.x.myqcloud.com/k".into(),
        request_id: "NTg3".into(),
        trace_id: "OGVm".into(),
        server_time: Some(date),
    };
    assert_eq!(ErrorBody::decode(error.encode().as_bytes()), Ok(error));
}

/// Copy, Part Copy and Complete may answer 200 and fail all the same (`cos-api.md` 3.6, 4.4).
#[test]
fn an_error_in_a_body_is_a_refusal_whatever_the_status() {
    let body =
        b"\n\n <?xml version='1.0' encoding='utf-8' ?><Error><Code>SlowDown</Code><Message>later</Message></Error>";
    let refusals = [
        CopyObjectResult::decode(body).unwrap_err(),
        CopyPartResult::decode(body).unwrap_err(),
        CompleteMultipartUploadResult::decode(body).unwrap_err(),
    ];
    for refusal in refusals {
        let AnswerError::Refused(error) = refusal else { panic!("{refusal:?}") };
        assert_eq!((&*error.code, &*error.message), ("SlowDown", "later"));
        assert_eq!(error.classify(200).code, Some(Code::SlowDown));
    }
    let no_etag = b"<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>";
    assert!(CompleteMultipartUploadResult::decode(no_etag).is_err(), "a success has an ETag");
    assert!(CompleteMultipartUploadResult::decode(b"   \n").is_err(), "an answer that broke off");
}

/// What the documentation prints (`cos-api.md` 4.3, 4.7, 4.8).
#[test]
fn older_answers_are_read() {
    let copied = CopyPartResult::decode(
        b"<CopyPartResult><ETag>\"a\"</ETag><LastModified>2017-09-04T04:45:45</LastModified></CopyPartResult>",
    );
    assert_eq!(copied.unwrap().crc64, None);
    let uploads = ListMultipartUploadsResult::decode(
        b"<ListMultipartUploadsResult><Bucket>b-1</Bucket><Encoding-Type>url</Encoding-Type><KeyMarker/>\
          <MaxUploads>1000</MaxUploads><Prefix/><IsTruncated>false</IsTruncated><Upload><Key>a%2Fb%2B</Key>\
          <UploadId>1</UploadId><StorageClass>Standard</StorageClass><Initiated>Wed Jan 18 16:04:17 2017</Initiated>\
          </Upload></ListMultipartUploadsResult>",
    );
    let upload = uploads.unwrap().uploads.remove(0);
    assert_eq!((&*upload.key, &*upload.storage_class), ("a/b+", "STANDARD"));
}

#[test]
fn listed_keys_are_escaped_so_that_every_client_agrees() {
    let entry = Contents {
        key: "dir/a b+c%d 腾".into(),
        last_modified: SystemTime::UNIX_EPOCH,
        etag: ETag::new("e"),
        size: 0,
        owner: "1".into(),
        storage_class: "STANDARD".into(),
    };
    let listing = ListBucketResult { url_encoded: true, contents: vec![entry], ..ListBucketResult::default() };
    let xml = listing.encode();
    assert!(xml.contains("<Key>dir/a%20b%2Bc%25d%20%E8%85%BE</Key>"), "{xml}");
    assert!(xml.contains("<EncodingType>url</EncodingType>") && xml.contains("<ETag>&quot;e&quot;</ETag>"), "{xml}");
}

#[test]
fn a_range_tells_the_size_of_the_whole_and_a_forced_download_is_no_metadata() {
    let lines = [
        ("Content-Range", "bytes 5-9/100"),
        ("Content-Length", "5"),
        ("ETag", "\"e\""),
        ("Last-Modified", "Thu, 16 May 2019 06:45:51 GMT"),
        ("Content-Disposition", "attachment"),
        ("x-cos-force-download", "true"),
        ("x-cos-storage-class", "ARCHIVE"),
    ];
    let head = decode_head(Headers(&lines)).unwrap();
    assert_eq!((head.size, head.attributes.content_disposition), (100, None));
    assert_eq!(head.attributes.storage_class.as_deref(), Some("ARCHIVE"));
    assert!(decode_head(Headers(&lines[1..3])).is_err(), "no Last-Modified");
    for bad in ["", "bytes */100", "bytes 9-5/100", "bytes 5-100/100", "bytes 0-18446744073709551615/1"] {
        assert_eq!(ContentRange::parse(bad), None, "{bad}");
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
    let table: [Row<'_>; 22] = [
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
        (Method::Post, "/k", "append&position=0", &[], Code::NotImplemented),
        (Method::Get, "/", "max-keys=-1", &[], Code::InvalidArgument),
        (Method::Get, "/", "max-keys=x", &[], Code::InvalidArgument),
        (Method::Get, "/", "encoding-type=base64", &[], Code::InvalidArgument),
        (Method::Get, "/", "list-type=2", &[], Code::NotImplemented),
        (Method::Get, "/", "acl", &[], Code::NotImplemented),
        (Method::Post, "/", "", &[], Code::NotImplemented),
    ];
    for (method, path, query, lines, code) in table {
        assert_eq!(decode(method, path, query, lines), Err(code), "{method:?} {path:.20} {query}");
    }
}

#[test]
fn spellings_of_real_clients_are_understood() {
    for query in ["uploads", "uploads="] {
        assert_eq!(decode(Method::Post, "/k", query, &[]).unwrap().name(), "InitiateMultipartUpload");
    }
    assert_eq!(decode(Method::Post, "/", "delete=", &[]).unwrap().name(), "DeleteMultipleObjects");
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
        assert_eq!(operation.encode().target(), target, "{}", operation.name());
    }
}
