//! By what bodies are vouched for over S3, and what its checksums are good for.

use bytes::Bytes;
use cosmount::object::{ETag, ObjectAttributes, PartNumber, UploadId};
use cosmount::store::{Body, HttpStore, ObjectStore, Published, StoreError, StoreErrorKind};

use crate::conditions::client;
use crate::misbehaviour::{key, partial};
use crate::scripted::{Reply, Scripted, answer, error};

const DIGITS: &str = "123456789";
/// The documented CRC-64/NVME of nine digits, and another one.
const NVME: &str = "rosUhgp5mIg=";
const OTHER: &str = "AAAAAAAAAAE=";
/// Their MD5.
const MD5: &str = "25f9e794323b453885f5181f1b624d0b";

async fn put(store: &HttpStore) -> Result<Published, StoreError> {
    let checksum = store.limits().checksum.of(DIGITS.as_bytes());
    store.put(&key(), Body::from(Bytes::from(DIGITS)), checksum, &ObjectAttributes::default()).await
}

async fn part(store: &HttpStore) -> Result<(), StoreError> {
    let checksum = store.limits().checksum.of(DIGITS.as_bytes());
    let (upload, body) = (UploadId::new("u"), Body::from(Bytes::from(DIGITS)));
    store.upload_part(&key(), &upload, PartNumber::FIRST, body, checksum).await.map(drop)
}

fn stored(digest: &str) -> Reply {
    let told = if digest.is_empty() { String::new() } else { format!("x-amz-checksum-crc64nvme: {digest}\r\n") };
    Reply::Answer(answer(200, &format!("etag: \"{MD5}\"\r\n{told}"), ""))
}

/// Which of MD5 and checksum the requests had.
fn had(server: &Scripted) -> Vec<(bool, bool)> {
    let asked = server.requests();
    let digest = |asked: &crate::scripted::Asked| match asked.header("x-amz-checksum-crc64nvme") {
        Some(digest) => {
            assert_eq!(digest, NVME);
            true
        }
        None => false,
    };
    asked.iter().map(|asked| (asked.header("content-md5").is_some(), digest(asked))).collect()
}

#[tokio::test]
async fn a_checksum_that_the_service_tells_takes_the_place_of_md5() {
    let server = Scripted::start([stored(NVME), stored(NVME), stored(NVME)]).await;
    let store = client(&server);
    let published = put(&store).await.unwrap();
    assert_eq!(published.crc64, Some(store.limits().checksum.of(DIGITS.as_bytes())));
    put(&store).await.unwrap();
    part(&store).await.unwrap();
    assert_eq!(had(&server), [(true, true), (false, true), (false, true)]);
    assert_eq!(store.tells_checksums(), Some(true));
}

#[tokio::test]
async fn a_service_without_checksums_is_told_md5_alone() {
    let refused = Reply::Answer(error(400, "InvalidRequest"));
    let table = [
        (vec![stored(""), stored(""), stored("")], vec![(true, true), (true, false), (true, false)]),
        // One that does not take the header says so.
        (
            vec![refused, stored(""), stored(""), stored("")],
            vec![(true, true), (true, false), (true, false), (true, false)],
        ),
    ];
    for (replies, expected) in table {
        let server = Scripted::start(replies).await;
        let store = client(&server);
        put(&store).await.unwrap();
        put(&store).await.unwrap();
        part(&store).await.unwrap();
        assert_eq!(had(&server), expected);
        assert_eq!(store.tells_checksums(), Some(false));
    }
}

/// Bytes that came otherwise are sent again.
#[tokio::test]
async fn another_checksum_is_damage() {
    let server = Scripted::start([stored(OTHER), stored(NVME)]).await;
    put(&client(&server)).await.unwrap();
    let server = Scripted::start([stored(OTHER), stored(OTHER), stored(OTHER)]).await;
    assert_eq!(part(&client(&server)).await.unwrap_err().kind, StoreErrorKind::Corrupted);
}

#[tokio::test]
async fn an_upload_is_begun_and_completed_with_the_checksum_of_the_whole() {
    let begun = answer(
        200,
        "",
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    );
    let completed = |digest: &str| {
        let body = format!(
            "<CompleteMultipartUploadResult><ETag>\"e-1\"</ETag><ChecksumCRC64NVME>{digest}</ChecksumCRC64NVME>\
             <ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>"
        );
        Reply::Answer(answer(200, "", body))
    };
    for (told, is_right) in [(NVME, true), (OTHER, false)] {
        let server = Scripted::start([Reply::Answer(begun.clone()), stored(NVME), completed(told)]).await;
        let store = client(&server);
        let upload = store.initiate(&key(), &ObjectAttributes::default()).await.unwrap().upload;
        part(&store).await.unwrap();
        let whole = store.limits().checksum.of(DIGITS.as_bytes());
        let done = store.complete(&key(), &upload, &[ETag::new(MD5)], 9, Some(whole)).await;
        match done {
            Ok(published) => assert!(is_right && published.crc64 == Some(whole)),
            Err(error) => assert!(!is_right && error.kind == StoreErrorKind::Corrupted, "{error}"),
        }
        let asked = server.requests();
        assert_eq!(asked[0].header("x-amz-checksum-algorithm"), Some("CRC64NVME"));
        assert_eq!(asked[0].header("x-amz-checksum-type"), Some("FULL_OBJECT"));
        assert_eq!(asked[2].header("x-amz-checksum-crc64nvme"), Some(NVME));
    }
}

#[tokio::test]
async fn an_upload_is_begun_without_a_checksum_where_that_is_refused() {
    let begun = answer(
        200,
        "",
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    );
    let server = Scripted::start([Reply::Answer(error(400, "InvalidRequest")), Reply::Answer(begun), stored("")]).await;
    let store = client(&server);
    store.initiate(&key(), &ObjectAttributes::default()).await.unwrap();
    part(&store).await.unwrap();
    assert_eq!(server.requests()[1].header("x-amz-checksum-algorithm"), None);
    assert_eq!(had(&server)[2], (true, false));
}

/// What is read is compared with what HEAD tells.
#[tokio::test]
async fn head_asks_for_the_checksum_of_the_whole() {
    let lines = format!(
        "etag: \"{MD5}\"\r\nlast-modified: Tue, 14 Nov 2023 22:13:20 GMT\r\nx-amz-checksum-crc64nvme: {NVME}\r\n\
         x-amz-checksum-type: FULL_OBJECT\r\n"
    );
    let server = Scripted::start([Reply::Answer(partial(200, &lines, 9, ""))]).await;
    let store = client(&server);
    let head = store.head(&key()).await.unwrap();
    assert_eq!(head.crc64, Some(store.limits().checksum.of(DIGITS.as_bytes())));
    assert_eq!(server.requests()[0].header("x-amz-checksum-mode"), Some("ENABLED"));
}
