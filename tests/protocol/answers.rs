//! Answers travel as bytes, and come in the spellings that the service has had over the years.

use std::time::{Duration, SystemTime};

use cosmount::object::{Crc64, ETag, ObjectHead, UploadId};
use cosmount::wire::Code;
use cosmount::wire::answer::{
    AnswerError, BucketEntry, CompleteMultipartUploadResult, ContentRange, Contents, CopyObjectResult, CopyPartResult,
    DeleteFailure, DeleteResult, Deleted, ErrorBody, InitiateMultipartUploadResult, ListAllMyBucketsResult,
    ListBucketResult, ListMultipartUploadsResult, ListPartsResult, ListedPart, Location, Upload, Versioning,
    decode_head, encode_head,
};
use cosmount::wire::operation::{DeleteMultipleObjects, Operation};
use cosmount::wire::request::Headers;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::arbitrary::*;

proptest! {
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
            etag: etag.clone(), digest: None,
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
        let head = ObjectHead { size, etag, last_modified, crc64: crc.map(Crc64), attributes, told_at: None };
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
}

#[test]
fn small_answers_arrive_as_they_were_meant() {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let deleted = DeleteResult {
        deleted: vec![Deleted { key: "a <&> 腾 ".into(), version: None, marker: Some("m".into()) }],
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
