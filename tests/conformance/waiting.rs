//! A peer that says nothing, or something now and then and never the end of it: no call waits for it for ever.

use std::time::{Duration, Instant};

use cosmount::object::{ByteRange, Crc64, ETag, ObjectAttributes, ObjectKey, PartNumber, UploadId};
use cosmount::store::{
    Body, CopyRequest, GetRequest, HttpStore, ListRequest, ObjectStore, Source, StoreError, StoreErrorKind,
};
use futures_util::TryStreamExt;

use crate::misbehaviour::{head_lines, key, options, partial};
use crate::scripted::{Reply, Scripted, answer};

/// A request may take this long.
const REQUEST: Duration = Duration::from_millis(300);

/// Silence is called silence after this.
const SILENCE: Duration = Duration::from_millis(100);

/// Four times what a request may take, and what a busy machine may make of it. Without a bound it would be for ever.
const NEVER_LONGER: Duration = Duration::from_secs(15);

fn impatient(server: &Scripted) -> HttpStore {
    let mut options = options(server);
    (options.timeouts.idle, options.retry.deadline) = (SILENCE, REQUEST);
    HttpStore::new(options).unwrap()
}

async fn all_of(store: &HttpStore, range: Option<ByteRange>) -> Result<Vec<u8>, StoreError> {
    let reading = store.get(GetRequest { key: key(), range, if_match: None }).await?;
    let pieces: Vec<bytes::Bytes> = reading.body.try_collect().await?;
    Ok(pieces.concat())
}

/// Every call of the store, one after the other; those that end otherwise than by running out of time are named.
async fn every_call(reply: impl Fn(&str) -> Reply) -> Vec<String> {
    let mut otherwise = Vec::new();
    let calls =
        ["head", "get", "range", "list", "put", "delete", "delete many", "copy", "part copy", "complete", "part"];
    for call in calls {
        let server = Scripted::start(std::iter::repeat_n(reply(call), 100)).await;
        let store = impatient(&server);
        let source = Source { key: ObjectKey::new("from").unwrap(), if_match: None };
        let (upload, number, some) = (UploadId::new("u"), PartNumber::FIRST, Crc64::of(b"abc"));
        let body = Body::from(bytes::Bytes::from("abc"));
        let range = ByteRange::new(0, 3).unwrap();
        let began = Instant::now();
        let result = match call {
            "head" => store.head(&key()).await.map(drop),
            "get" => all_of(&store, None).await.map(drop),
            "range" => all_of(&store, ByteRange::new(0, 3)).await.map(drop),
            "list" => store.list(ListRequest::default()).await.map(drop),
            "put" => store.put(&key(), body, some, &ObjectAttributes::default()).await.map(drop),
            "delete" => store.delete(&key()).await,
            "delete many" => store.delete_many(&[key()]).await.map(drop),
            "copy" => store.copy(CopyRequest { bytes: Some(3), ..CopyRequest::new(source, key()) }).await.map(drop),
            "part copy" => store.upload_part_copy(&key(), &upload, number, &source, range).await.map(drop),
            "complete" => store.complete(&key(), &upload, &[ETag::new("p")], 3, Some(some)).await.map(drop),
            _ => store.upload_part(&key(), &upload, number, body, some).await.map(drop),
        };
        assert!(began.elapsed() < NEVER_LONGER, "{call} took {:?}", began.elapsed());
        match result {
            Err(error) if error.kind == StoreErrorKind::TimedOut => {}
            other => otherwise.push(format!("{call}: {other:?}")),
        }
    }
    otherwise
}

#[tokio::test]
async fn no_call_waits_for_a_peer_that_is_connected_and_silent() {
    assert_eq!(every_call(|_| Reply::Silence).await, [""; 0]);
}

#[tokio::test]
async fn no_call_waits_for_the_head_of_an_answer_that_trickles() {
    assert_eq!(every_call(|_| Reply::Trickle(b"HTTP/1.1 200 OK\r\nx-cos-request-id: ".to_vec(), b'x')).await, [""; 0]);
}

#[tokio::test]
async fn no_call_waits_for_a_body_that_trickles() {
    let lines = format!("{}content-range: bytes 0-2/3000000\r\n", head_lines("e", None));
    let reply = |call: &str| match call {
        "range" => Reply::Trickle(partial(206, &lines, 3, ""), b'x'),
        _ => Reply::Trickle(partial(200, &head_lines("e", None), 3_000_000, ""), b' '),
    };
    let otherwise = every_call(reply).await;
    // A HEAD is answered by its head, and a trickle of three bytes comes to its end.
    assert!(
        otherwise.iter().all(|call| call.starts_with("head: Ok") || call.starts_with("range: Ok")),
        "{otherwise:?}"
    );
}

#[tokio::test]
async fn no_call_waits_for_the_text_of_an_error_that_trickles() {
    let lines = "content-type: application/xml\r\nx-cos-request-id: cmVx\r\n";
    let otherwise = every_call(|_| Reply::Trickle(partial(503, lines, 60_000, "<Error>"), b' ')).await;
    // An error whose text cannot be read is still the error that its status names.
    assert!(otherwise.iter().all(|call| call.contains("Throttled")) && otherwise.len() == 11, "{otherwise:?}");
}

/// Each connection gives one byte and breaks, so that none is ever silent.
#[tokio::test]
async fn a_read_that_gets_one_byte_of_each_answer_ends() {
    let reply = |at: usize| {
        let lines = format!("{}content-range: bytes {at}-2999999/3000000\r\n", head_lines("e", None));
        Reply::AnswerAndClose(partial(206, &lines, 3_000_000 - at, "x"))
    };
    let server = Scripted::start((0..20_000).map(reply)).await;
    let began = Instant::now();
    let error = all_of(&impatient(&server), ByteRange::new(0, 3_000_000)).await.unwrap_err();
    assert!(began.elapsed() < NEVER_LONGER && server.requests().len() < 20_000, "{error}");
}

fn page(entries: &str, next: &str) -> Reply {
    let entry = "<LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>\"e\"</ETag><Size>1</Size>\
                 <StorageClass>STANDARD</StorageClass>";
    Reply::Answer(answer(
        200,
        "",
        format!(
            "<ListBucketResult><Name>b-1</Name><Prefix/><Marker/><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>\
             <NextMarker>{next}</NextMarker><Contents><Key>{entries}</Key>{entry}</Contents></ListBucketResult>"
        ),
    ))
}

/// Asks for page after page, as a directory is read.
async fn list_all(store: &HttpStore) -> Result<usize, StoreError> {
    let (mut marker, mut pages) = (None, 0);
    loop {
        let page = store.list(ListRequest { marker, ..ListRequest::default() }).await?;
        pages += 1;
        if page.next_marker.is_none() {
            return Ok(pages);
        }
        marker = page.next_marker;
    }
}

#[tokio::test]
async fn a_listing_with_endless_fresh_names_is_an_error() {
    let server = Scripted::start((0..20_000).map(|n| page(&format!("{n:08}"), &format!("{n:08}")))).await;
    let error = list_all(&impatient(&server)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Protocol, "{error}");
    assert!(error.message.contains("without end") && server.requests().len() <= 1000, "{}", server.requests().len());
}

#[tokio::test]
async fn a_listing_that_stands_still_is_an_error() {
    let server = Scripted::start((0..100).map(|_| page("a", "a"))).await;
    let error = list_all(&impatient(&server)).await.unwrap_err();
    assert!(error.message.contains("leads nowhere") && server.requests().len() < 5, "{error}");
}
