//! What the HTTP client makes of a service or network that misbehaves, byte by byte.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cosmount::clock::Clock;
use cosmount::object::{BucketName, ByteRange, Crc64, ETag, ObjectAttributes, ObjectKey, PartNumber, UploadId};
use cosmount::store::{
    Body, CopyRequest, GetRequest, HttpOptions, HttpStore, ListRequest, ObjectStore, Op, Published, RetryOptions,
    Source, StoreError, StoreErrorKind,
};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use futures_util::TryStreamExt;

use crate::scripted::{Reply, Scripted, answer, error, error_xml};

/// 2023-11-14 22:13:20, where the client's clock stands.
const NOW: u64 = 1_700_000_000;
const DATE_NOW: &str = "date: Tue, 14 Nov 2023 22:13:20 GMT\r\n";
/// Two hours later.
const DATE_LATER: &str = "date: Wed, 15 Nov 2023 00:13:20 GMT\r\n";
/// One hour earlier.
const DATE_EARLIER: &str = "date: Tue, 14 Nov 2023 21:13:20 GMT\r\n";
const SECRET: &str = "a-secret-that-nobody-may-see";

pub(crate) fn options(server: &Scripted) -> HttpOptions {
    let credentials = Credentials { secret_id: "AKIDx".into(), secret_key: SECRET.into(), token: None };
    let endpoint = Endpoint::custom(&format!("http://{}", server.address)).unwrap();
    let mut options = HttpOptions::new(endpoint, BucketName::new("b-1").unwrap(), credentials);
    let (pause_first, pause_max) = (Duration::from_millis(1), Duration::from_millis(5));
    options.retry = RetryOptions { deadline: Duration::from_secs(10), pause_first, pause_max };
    options.clock = Clock::manual(NOW);
    options
}

fn client(server: &Scripted) -> HttpStore {
    HttpStore::new(options(server)).unwrap()
}

pub(crate) fn key() -> ObjectKey {
    ObjectKey::new("dir/k").unwrap()
}

pub(crate) fn head_lines(etag: &str, crc64: Option<Crc64>) -> String {
    let crc64 = crc64.map_or_else(String::new, |crc64| format!("x-cos-hash-crc64ecma: {crc64}\r\n"));
    format!("etag: \"{etag}\"\r\nlast-modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n{crc64}")
}

/// An answer that promises `promised` bytes.
pub(crate) fn partial(status: u16, headers: &str, promised: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {promised}\r\n\r\n{body}").into_bytes()
}

/// The same answer to a request and its repeats.
fn always(answer: Vec<u8>) -> impl Iterator<Item = Reply> {
    std::iter::repeat_n(Reply::Answer(answer), 3)
}

async fn read(store: &HttpStore, range: Option<ByteRange>) -> Result<Vec<u8>, StoreError> {
    let reading = store.get(GetRequest { key: key(), range, if_match: None }).await?;
    let pieces: Vec<Bytes> = reading.body.try_collect().await?;
    Ok(pieces.concat())
}

async fn complete(store: &HttpStore, whole: &[u8]) -> Result<Published, StoreError> {
    let etags = [ETag::new("p1")];
    store.complete(&key(), &UploadId::new("u"), &etags, whole.len() as u64, Some(Crc64::of(whole))).await
}

async fn put(store: &HttpStore, pieces: &[&'static str]) -> Result<Published, StoreError> {
    let crc64 = Crc64::of(pieces.concat().as_bytes());
    let body: Body = pieces.iter().map(|&piece| Bytes::from(piece)).collect();
    store.put(&key(), body, crc64, &ObjectAttributes::default()).await
}

const COMPLETED: &str = "<CompleteMultipartUploadResult><Location>l</Location><Bucket>b-1</Bucket><Key>dir/k</Key>\
                         <ETag>\"e-1\"</ETag></CompleteMultipartUploadResult>";

fn completed(crc64: Option<Crc64>) -> Reply {
    let crc64 = crc64.map_or_else(String::new, |crc64| format!("x-cos-hash-crc64ecma: {crc64}\r\n"));
    Reply::Answer(answer(200, &crc64, format!("\n\n   \n<?xml version='1.0' encoding='utf-8' ?>{COMPLETED}")))
}

/// An answer to HEAD: the length of a body that does not follow.
fn head_reply(size: usize, etag: &str, crc64: Option<Crc64>) -> Reply {
    Reply::Answer(partial(200, &head_lines(etag, crc64), size, ""))
}

#[tokio::test]
async fn a_body_goes_out_with_its_length_and_the_bucket_in_host() {
    let stored = |body: &[u8]| Reply::Answer(answer(200, &head_lines("e", Some(Crc64::of(body))), ""));
    let server = Scripted::start([stored(b"abcdefgh"), stored(b"")]).await;
    let store = client(&server);
    put(&store, &["abc", "defg", "h"]).await.unwrap();
    put(&store, &[]).await.unwrap();
    let asked = server.requests();
    assert_eq!((asked[0].body.as_slice(), asked[0].header("content-length")), (b"abcdefgh".as_slice(), Some("8")));
    assert_eq!((asked[1].body.as_slice(), asked[1].header("content-length")), (b"".as_slice(), Some("0")));
    assert_eq!(asked[0].header("transfer-encoding"), None);
    assert!(asked[0].header("host").unwrap().starts_with("b-1."));
    assert_eq!(asked[0].target, "/dir/k");
}

#[tokio::test]
async fn a_read_that_breaks_is_taken_up_where_it_broke() {
    let lines = |range: &str| format!("{}content-range: bytes {range}/100\r\n", head_lines("e", None));
    let server = Scripted::start([
        Reply::AnswerAndClose(partial(206, &lines("10-19"), 10, "abcd")),
        Reply::Close,
        Reply::AnswerAndClose(partial(206, &lines("14-19"), 6, "")),
        Reply::Answer(answer(206, &lines("14-19"), "efghij")),
    ])
    .await;
    assert_eq!(read(&client(&server), ByteRange::new(10, 20)).await.unwrap(), b"abcdefghij");
    let ranges: Vec<_> = server.requests().iter().map(|asked| asked.header("range").unwrap().to_owned()).collect();
    assert_eq!(ranges, ["bytes=10-19", "bytes=14-19", "bytes=14-19", "bytes=14-19"]);
    let pins: Vec<_> = server.requests().iter().map(|asked| asked.header("if-match").map(str::to_owned)).collect();
    assert_eq!(pins, [None, Some("\"e\"".into()), Some("\"e\"".into()), Some("\"e\"".into())]);
}

#[tokio::test]
async fn a_read_never_mixes_two_versions() {
    let lines = |etag: &str| format!("{}content-range: bytes 0-9/10\r\n", head_lines(etag, None));
    let rest = format!("{}content-range: bytes 4-9/10\r\n", head_lines("other", None));
    // The second answer comes from a service that does not look at If-Match.
    for second in [error(412, "PreconditionFailed"), answer(206, &rest, "EFGHIJ")] {
        let first = Reply::AnswerAndClose(partial(206, &lines("e"), 10, "abcd"));
        let server = Scripted::start([first].into_iter().chain(always(second))).await;
        let error = read(&client(&server), ByteRange::new(0, 10)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Changed, "{error}");
    }
}

#[tokio::test]
async fn the_whole_object_in_answer_to_a_range_is_cut() {
    let server = Scripted::start([Reply::Answer(answer(200, &head_lines("e", None), "0123456789"))]).await;
    assert_eq!(read(&client(&server), ByteRange::new(3, 6)).await.unwrap(), b"345");
}

#[tokio::test]
async fn bytes_of_another_range_are_refused() {
    let table = ["bytes 1-3/10", "bytes 0-3/10", "bytes 3-6/10", "bytes */10", "3-5/10"];
    for range in table {
        let lines = format!("{}content-range: {range}\r\n", head_lines("e", None));
        let server = Scripted::start(always(answer(206, &lines, "345"))).await;
        let error = read(&client(&server), ByteRange::new(3, 6)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Protocol, "{range}: {error}");
    }
}

#[tokio::test]
async fn bytes_that_arrived_damaged_are_sent_again_and_then_given_up() {
    let reply = |crc64| Reply::Answer(answer(200, &head_lines("e", Some(crc64)), ""));
    let (right, wrong) = (Crc64::of(b"abcdef"), Crc64(1));
    let server = Scripted::start([reply(wrong), Reply::Answer(error(400, "BadDigest")), reply(right)]).await;
    assert_eq!(put(&client(&server), &["abc", "def"]).await.unwrap().crc64, Some(right));
    assert!(server.requests().iter().all(|asked| asked.body == b"abcdef"));

    let server = Scripted::start([reply(wrong), reply(wrong), reply(wrong), reply(right)]).await;
    let body = Body::from(Bytes::from("abcdef"));
    let part = client(&server).upload_part(&key(), &UploadId::new("u"), PartNumber::FIRST, body, right).await;
    assert_eq!(part.unwrap_err().kind, StoreErrorKind::Corrupted);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn what_the_service_cannot_do_now_is_asked_again() {
    let server = Scripted::start([
        Reply::Answer(error(503, "SlowDown")),
        Reply::Answer(error(500, "InternalError")),
        Reply::Answer(answer(502, "", "<html>proxy</html>")),
        Reply::Close,
        Reply::Answer(error(409, "PathConflict")),
        Reply::Answer(error(400, "RequestTimeout")),
        Reply::Answer(answer(200, &head_lines("e", Some(Crc64::of(b"abc"))), "")),
    ])
    .await;
    let options = options(&server);
    let stats = options.stats.clone();
    put(&HttpStore::new(options).unwrap(), &["abc"]).await.unwrap();
    assert_eq!((stats.requests.load(Ordering::Relaxed), stats.retries.load(Ordering::Relaxed)), (7, 6));
}

#[tokio::test]
async fn a_service_that_is_gone_is_an_error_within_the_deadline() {
    let server = Scripted::start((0..1000).map(|_| Reply::Close)).await;
    let mut options = options(&server);
    options.retry.deadline = Duration::from_millis(100);
    let error = put(&HttpStore::new(options).unwrap(), &["abc"]).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert!(server.requests().len() > 1);
}

#[tokio::test]
async fn silence_is_an_error_after_the_idle_time() {
    let lines = head_lines("e", None);
    for reply in [Reply::Silence, Reply::Answer(partial(200, &lines, 10, "abc"))] {
        let server = Scripted::start([reply, Reply::Silence]).await;
        let mut options = options(&server);
        options.timeouts.idle = Duration::from_millis(50);
        options.retry.deadline = Duration::from_millis(20);
        let error = read(&HttpStore::new(options).unwrap(), None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::TimedOut, "{error}");
    }
}

#[tokio::test]
async fn an_error_tells_everything_but_the_secret() {
    let server = Scripted::start([Reply::Answer(error(403, "SignatureDoesNotMatch"))]).await;
    let error = put(&client(&server), &["abc"]).await.unwrap_err();
    assert_eq!((error.kind, error.op, error.key.as_str()), (StoreErrorKind::Denied, Some(Op::PutObject), "dir/k"));
    assert_eq!((error.status, error.code.as_str()), (403, "SignatureDoesNotMatch"));
    assert_eq!((error.request_id.as_str(), error.message.as_str()), ("cmVx", "m"));
    let store = client(&server);
    for text in [format!("{error} {error:?}"), format!("{store:?}")] {
        assert!(!text.contains(SECRET) && !text.contains("q-signature"), "{text}");
    }
    // Nobody listens there any more, and the library's own message names the URL with its query.
    drop(server);
    let gone = Scripted::start([]).await;
    let mut options = options(&gone);
    options.retry.deadline = Duration::ZERO;
    drop(gone);
    let upload = UploadId::new("an-upload-id");
    let store = HttpStore::new(options).unwrap();
    let error = store.abort(&key(), &upload).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert!(!format!("{error} {error:?}").contains("an-upload-id"), "{error:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let moved = answer(307, "location: http://127.0.0.1:1/dir/k?sign=secret\r\n", "");
    let server = Scripted::start([Reply::Answer(moved)]).await;
    let error = put(&client(&server), &["abc"]).await.unwrap_err();
    assert_eq!((error.kind, error.status), (StoreErrorKind::Protocol, 307));
    assert!(error.message.contains("http://127.0.0.1:1/dir/k") && !error.message.contains("secret"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

/// Neither to another domain nor within the same.
#[tokio::test]
async fn no_redirect_takes_a_signature_anywhere() {
    let elsewhere = Scripted::start([]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: http://{}/dir/k\r\n", elsewhere.address);
        let server = Scripted::start((0..3).map(|_| Reply::Answer(partial(status, &location, 0, "")))).await;
        let store = client(&server);
        assert!(store.head(&key()).await.is_err() && read(&store, None).await.is_err());
        assert!(store.delete(&key()).await.is_err());
        assert_eq!(server.requests().len(), 3);
    }
    assert!(elsewhere.requests().is_empty());
}

/// The text of an error is read up to a bound, and the status alone says enough.
#[tokio::test]
async fn the_text_of_an_error_without_an_end_fills_no_memory() {
    let text = format!("<Error><Code>AccessDenied</Code><Message>{}", "m".repeat(1 << 20));
    let server = Scripted::start([Reply::AnswerAndClose(answer(403, "", text))]).await;
    let error = client(&server).delete(&key()).await.unwrap_err();
    assert_eq!((error.kind, error.status), (StoreErrorKind::Denied, 403));
    assert!(error.message.len() < 64 << 10, "{} bytes", error.message.len());
}

/// A policy that allows reading alone is not waited for.
#[tokio::test]
async fn a_write_that_is_not_allowed_is_denied_at_once() {
    let denied = || Reply::Answer(error(403, "AccessDenied"));
    let server = Scripted::start([denied(), denied()]).await;
    let began = std::time::Instant::now();
    assert_eq!(put(&client(&server), &["abc"]).await.unwrap_err().kind, StoreErrorKind::Denied);
    assert!(server.requests().len() == 1 && began.elapsed() < Duration::from_secs(2));
}

/// When the signature of a request begins to be valid.
fn signed_from(authorization: &str) -> u64 {
    let (_, time) = authorization.split_once("q-sign-time=").unwrap();
    time.split_once(';').unwrap().0.parse().unwrap()
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_by_the_date_of_the_answer() {
    for (date, there) in [(DATE_LATER, NOW + 7200), (DATE_EARLIER, NOW - 3600)] {
        let skewed = answer(403, date, error_xml("RequestTimeTooSkewed"));
        let head_skewed = partial(403, date, 0, "");
        for refused in [skewed, head_skewed] {
            let found = head_reply(3, "e", None);
            let server = Scripted::start([Reply::Answer(refused), found, head_reply(3, "e", None)]).await;
            let store = client(&server);
            store.head(&key()).await.unwrap();
            store.head(&key()).await.unwrap();
            let signed: Vec<u64> =
                server.requests().iter().map(|asked| signed_from(asked.header("authorization").unwrap())).collect();
            assert_eq!(signed, [NOW - 60, there - 60, there - 60]);
        }
    }
}

#[tokio::test]
async fn a_signature_is_made_anew_only_twice() {
    let expired = || {
        let body = error_xml("AccessDenied").replace("<Message>m<", "<Message>Request has expired<");
        Reply::Answer(answer(403, DATE_LATER, body))
    };
    let server = Scripted::start([expired(), expired(), expired(), expired()]).await;
    assert_eq!(put(&client(&server), &["abc"]).await.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(server.requests().len(), 3);

    let server = Scripted::start([Reply::Answer(partial(403, DATE_NOW, 0, ""))]).await;
    assert_eq!(client(&server).head(&key()).await.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_listing_that_is_garbage_or_leads_nowhere_is_a_protocol_error() {
    let page = |marker: &str| {
        format!(
            "<ListBucketResult><Name>b-1</Name><Prefix/><Marker/><MaxKeys>1</MaxKeys>\
             <IsTruncated>true</IsTruncated>{marker}</ListBucketResult>"
        )
    };
    let table = [
        "not XML".to_owned(),
        "<ListBucketResult><Contents>".to_owned(),
        "<Other/>".to_owned(),
        String::new(),
        page(""),
        page("<NextMarker>a</NextMarker>"),
    ];
    for body in table {
        let server = Scripted::start(always(answer(200, "", &body))).await;
        let request = ListRequest { marker: Some("b".into()), ..ListRequest::default() };
        let error = client(&server).list(request).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Protocol, "{body:?}: {error}");
    }
}

/// A service other than COS may hold them, and an escape that is none has been seen.
#[tokio::test]
async fn keys_that_cannot_be_read_do_not_make_a_listing_unreadable() {
    let entry = |key: &str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>\"e\"</ETag>\
             <Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    };
    let body = format!(
        "<ListBucketResult><Name>b-1</Name><EncodingType>url</EncodingType><Prefix/><Marker/><MaxKeys>1000</MaxKeys>\
         <IsTruncated>true</IsTruncated><NextMarker>c%FF</NextMarker>\
         <CommonPrefixes><Prefix>d%C3%28/</Prefix></CommonPrefixes>{}{}{}{}</ListBucketResult>",
        entry("a%20b"),
        entry("a%00"),
        entry("b%"),
        entry("c%FF"),
    );
    let server = Scripted::start([Reply::Answer(answer(200, "", &body))]).await;
    let page = client(&server).list(ListRequest::default()).await.unwrap();
    let keys: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["a b", "a\0", "b%", "c\0"], "what cannot be read is no name");
    assert_eq!(page.prefixes, ["d\0(/"]);
    assert_eq!(page.next_marker.as_deref(), Some("b%"), "the last key that can be named to the service");
}

#[tokio::test]
async fn blanks_before_the_answer_to_complete_are_skipped() {
    let crc64 = Crc64::of(b"whole");
    let server = Scripted::start([completed(Some(crc64))]).await;
    let published = complete(&client(&server), b"whole").await.unwrap();
    assert_eq!(published, Published { etag: ETag::new("e-1"), crc64: Some(crc64) });
}

#[tokio::test]
async fn a_200_with_an_error_inside_is_that_error() {
    let inside = |code| Reply::Answer(answer(200, "", format!(" \n{}", error_xml(code))));
    let server = Scripted::start([inside("InvalidPart")]).await;
    let error = complete(&client(&server), b"whole").await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (StoreErrorKind::Invalid, "InvalidPart"));

    let server = Scripted::start([inside("InternalError"), completed(Some(Crc64::of(b"whole")))]).await;
    complete(&client(&server), b"whole").await.unwrap();
    assert_eq!(server.requests().len(), 2);

    let copied =
        "<CopyObjectResult><ETag>\"c\"</ETag><LastModified>2023-11-14T22:13:20Z</LastModified></CopyObjectResult>";
    let newest = head_reply(5, "newest", None);
    let server = Scripted::start([inside("SlowDown"), Reply::Answer(answer(200, "", copied)), newest]).await;
    let source = Source { key: key(), if_match: None };
    let copy = CopyRequest::new(source, ObjectKey::new("to").unwrap());
    // What was perhaps carried out twice has the version that the object has.
    assert_eq!(client(&server).copy(copy).await.unwrap().etag, ETag::new("newest"));
}

#[tokio::test]
async fn a_lost_answer_to_complete_is_settled_by_checksum_and_size() {
    let (ours, other) = (Crc64::of(b"whole"), Crc64(7));
    let table = [
        (head_reply(5, "e-1", Some(ours)), Ok(ETag::new("e-1"))),
        (head_reply(5, "e-1", Some(other)), Err(StoreErrorKind::NoSuchUpload)),
        (head_reply(6, "e-1", Some(ours)), Err(StoreErrorKind::NoSuchUpload)),
        (head_reply(5, "e-1", None), Err(StoreErrorKind::NoSuchUpload)),
        (Reply::Answer(partial(404, "", 0, "")), Err(StoreErrorKind::NoSuchUpload)),
    ];
    for (index, (head, expected)) in table.into_iter().enumerate() {
        let server = Scripted::start([Reply::Close, Reply::Answer(error(404, "NoSuchUpload")), head]).await;
        let answer = complete(&client(&server), b"whole").await;
        assert_eq!(answer.map(|published| published.etag).map_err(|error| error.kind), expected, "row {index}");
        assert_eq!(server.lines()[2], "HEAD /dir/k");
    }
}

/// The object that was there before may be the same but for its metadata: only one whose upload is gone is the new one.
#[tokio::test]
async fn a_complete_that_fails_in_the_end_is_settled_too() {
    let parts = "<ListPartsResult><Bucket>b-1</Bucket><Key>dir/k</Key><UploadId>u</UploadId><MaxParts>1</MaxParts>\
                 <IsTruncated>false</IsTruncated></ListPartsResult>";
    for (asked, is_done) in [(error(404, "NoSuchUpload"), true), (answer(200, "", parts), false)] {
        let object = head_reply(5, "e-1", Some(Crc64::of(b"whole")));
        let refused = Reply::Answer(error(403, "AccessDenied"));
        let server = Scripted::start([Reply::Close, refused, object, Reply::Answer(asked)]).await;
        let completed = complete(&client(&server), b"whole").await;
        let asked = server.lines();
        assert_eq!(completed.is_ok(), is_done, "{completed:?} {asked:?}");
        assert!(asked.get(3).is_some_and(|asked| asked.starts_with("GET /dir/k?")), "{completed:?} {asked:?}");
    }
}

/// An answer that does not tell what was stored is not believed.
#[tokio::test]
async fn a_put_whose_answer_has_no_checksum_is_looked_at() {
    let (ours, other) = (Crc64::of(b"abc"), Crc64(7));
    let table = [
        ("", head_reply(3, "e", Some(ours)), Ok(())),
        ("x-cos-hash-crc64ecma: nonsense\r\n", head_reply(3, "e", Some(ours)), Ok(())),
        ("", head_reply(3, "e", Some(other)), Err(StoreErrorKind::Corrupted)),
        ("", head_reply(2, "e", None), Err(StoreErrorKind::Corrupted)),
    ];
    for (index, (lines, head, expected)) in table.into_iter().enumerate() {
        let stored = answer(200, &format!("{}{lines}", head_lines("e", None)), "");
        let server = Scripted::start([Reply::Answer(stored), head]).await;
        let published = put(&client(&server), &["abc"]).await;
        assert_eq!(published.map(|_| ()).map_err(|error| error.kind), expected, "row {index}");
    }
}

/// A Complete may be carried out twice on its way, and the answer to the second is all that comes back.
#[tokio::test]
async fn an_upload_that_is_gone_is_looked_for() {
    let gone = || Reply::Answer(error(404, "NoSuchUpload"));
    let server = Scripted::start([gone(), head_reply(5, "e-1", Some(Crc64::of(b"whole")))]).await;
    assert_eq!(complete(&client(&server), b"whole").await.unwrap().etag, ETag::new("e-1"));
    let server = Scripted::start([gone(), Reply::Answer(partial(404, "", 0, ""))]).await;
    assert_eq!(complete(&client(&server), b"whole").await.unwrap_err().kind, StoreErrorKind::NoSuchUpload);
    let server = Scripted::start([gone()]).await;
    client(&server).abort(&key(), &UploadId::new("u")).await.unwrap();
}

/// An answer that says nothing is one that was lost.
#[tokio::test]
async fn a_complete_whose_answer_is_empty_is_settled() {
    let (empty, ours) = (Reply::Answer(answer(200, "", "")), Some(Crc64::of(b"whole")));
    let gone = Reply::Answer(error(404, "NoSuchUpload"));
    let server = Scripted::start([empty, gone, head_reply(5, "e-1", ours)]).await;
    assert_eq!(complete(&client(&server), b"whole").await.unwrap().etag, ETag::new("e-1"));
}

/// A copy to another key, whose every answer is lost, is there if the bytes and the metadata are.
#[tokio::test]
async fn a_copy_whose_answer_is_empty_is_settled_by_the_two_objects() {
    let found = |etag: &str, size: usize, mode: &str| {
        let lines = format!("{}x-cos-meta-mode: {mode}\r\n", head_lines(etag, Some(Crc64::of(b"whole"))));
        Reply::Answer(partial(200, &lines, size, ""))
    };
    let table = [
        (found("new", 5, "1"), found("old", 5, "1"), true),
        (found("new", 5, "2"), found("old", 5, "1"), false),
        (found("new", 6, "1"), found("old", 5, "1"), false),
        (found("new", 5, "1"), found("older", 5, "1"), false),
        (Reply::Answer(partial(404, "", 0, "")), found("old", 5, "1"), false),
    ];
    for (index, (copy, original, is_done)) in table.into_iter().enumerate() {
        let replies = always(answer(200, "", "")).chain([copy, original]);
        let server = Scripted::start(replies).await;
        let source = Source { key: ObjectKey::new("from").unwrap(), if_match: Some(ETag::new("old")) };
        let copied = client(&server).copy(CopyRequest { bytes: Some(5), ..CopyRequest::new(source, key()) }).await;
        let copied = copied.map(|copied| copied.etag).map_err(|error| error.kind);
        let expected = if is_done { Ok(ETag::new("new")) } else { Err(StoreErrorKind::Protocol) };
        assert_eq!(copied, expected, "row {index}");
    }
}

/// Heads that contradict themselves were damaged on the way.
#[tokio::test]
async fn what_arrives_with_an_impossible_head_is_asked_for_again() {
    let right = format!("{}content-range: bytes 3-5/10\r\n", head_lines("e", None));
    let other_version = right.replace("\"e\"", "\"d\"");
    let table = [
        answer(206, &right.replace("3-5", "2-5"), "345"),
        answer(206, &right, "34"),
        answer(206, &right, "3456"),
        answer(206, &right.replace("etag", "etah"), "345"),
        answer(204, &right, ""),
        answer(206, &other_version, "345"),
        answer(400, "", ""),
    ];
    for (index, damaged) in table.into_iter().enumerate() {
        let server = Scripted::start([Reply::Answer(damaged), Reply::Answer(answer(206, &right, "345"))]).await;
        let (range, if_match) = (ByteRange::new(3, 6), Some(ETag::new("e")));
        let store = client(&server);
        let reading = store.get(GetRequest { key: key(), range, if_match }).await;
        // A refusal is one of ours only where something has worked before.
        if index == 6 {
            assert_eq!(reading.err().unwrap().kind, StoreErrorKind::Invalid);
            continue;
        }
        let pieces: Vec<Bytes> = reading.unwrap().body.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"345", "row {index}");
    }
}

/// A page of a listing that cannot be is asked for once more, and then it is what the service says.
#[tokio::test]
async fn a_page_in_disorder_is_asked_for_again() {
    let entry = |key: &str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>\"e\"</ETag>\
             <Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    };
    let page = |keys: [&str; 2]| {
        let entries: String = keys.into_iter().map(entry).collect();
        let xml = format!(
            "<ListBucketResult><Name>b-1</Name><Prefix/><Marker/><MaxKeys>1000</MaxKeys>\
             <IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        );
        Reply::Answer(answer(200, "", xml))
    };
    let keys = |page: cosmount::store::ListPage| -> Vec<String> {
        page.objects.into_iter().map(|object| object.key).collect()
    };
    let server = Scripted::start([page(["c", "b"]), page(["a", "b"])]).await;
    assert_eq!(keys(client(&server).list(ListRequest::default()).await.unwrap()), ["a", "b"]);
    let server = Scripted::start([page(["c", "b"]), page(["c", "b"])]).await;
    assert_eq!(keys(client(&server).list(ListRequest::default()).await.unwrap()), ["c", "b"]);
}

/// An ETag that may have been damaged is compared with the object's own, and in a bucket where it is something else only once.
#[tokio::test]
async fn the_etag_of_a_put_is_the_digest_of_its_bytes_or_is_asked_for() {
    let (right, wrong) = ("900150983cd24fb0d6963f7d28e17f72", "900150983cd24fb0d6963f7d28e17f73");
    let (crc64, stored) = (Some(Crc64::of(b"abc")), |etag| answer(200, &head_lines(etag, Some(Crc64::of(b"abc"))), ""));
    let server = Scripted::start([Reply::Answer(stored(wrong)), head_reply(3, right, crc64)]).await;
    assert_eq!(put(&client(&server), &["abc"]).await.unwrap().etag, ETag::new(right));
    let replies = [Reply::Answer(stored(wrong)), head_reply(3, wrong, crc64), Reply::Answer(stored(wrong))];
    let server = Scripted::start(replies).await;
    let store = client(&server);
    for _ in 0..2 {
        assert_eq!(put(&store, &["abc"]).await.unwrap().etag, ETag::new(wrong));
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn an_object_is_verified_before_it_counts_as_complete() {
    let (ours, other) = (Crc64::of(b"whole"), Crc64(7));
    let corrupted = Err(StoreErrorKind::Corrupted);
    let table = [
        (vec![completed(Some(other))], corrupted),
        (vec![completed(None), head_reply(5, "e-1", Some(ours))], Ok(())),
        (vec![completed(None), head_reply(5, "e-1", None)], Ok(())),
        (vec![completed(None), head_reply(5, "e-1", Some(other))], corrupted),
        (vec![completed(None), head_reply(4, "e-1", None)], corrupted),
        (vec![completed(None), Reply::Answer(partial(404, "", 0, ""))], Err(StoreErrorKind::NotFound)),
    ];
    for (index, (replies, expected)) in table.into_iter().enumerate() {
        let server = Scripted::start(replies).await;
        let answer = complete(&client(&server), b"whole").await;
        assert_eq!(answer.map(|_| ()).map_err(|error| error.kind), expected, "row {index}");
    }
}

#[tokio::test]
async fn a_repeated_copy_onto_itself_finds_its_own_work() {
    let ours = ObjectAttributes { user: [("mode".to_owned(), "1".to_owned())].into(), ..ObjectAttributes::default() };
    for (mode, expected) in [("1", Ok(ETag::new("new"))), ("2", Err(StoreErrorKind::Changed))] {
        let lines = format!("{}x-cos-meta-mode: {mode}\r\n", head_lines("new", None));
        let head = Reply::Answer(partial(200, &lines, 5, ""));
        let server = Scripted::start([Reply::Close, Reply::Answer(error(412, "PreconditionFailed")), head]).await;
        let source = Source { key: key(), if_match: Some(ETag::new("old")) };
        let copy = CopyRequest { replace: Some(ours.clone()), ..CopyRequest::new(source, key()) };
        let copied = client(&server).copy(copy).await;
        assert_eq!(copied.map(|copied| copied.etag).map_err(|error| error.kind), expected);
    }
}

#[tokio::test]
async fn what_could_not_be_removed_is_named() {
    let body = "<DeleteResult><Error><Key>dir/k</Key><Code>AccessDenied</Code><Message>no</Message></Error>\
                <Error><Key>never asked</Key><Code>x</Code><Message/></Error></DeleteResult>";
    let server = Scripted::start([Reply::Answer(answer(200, "", body))]).await;
    let failures = client(&server).delete_many(&[ObjectKey::new("a").unwrap(), key()]).await.unwrap();
    let [(failed, error)] = failures.as_slice() else { panic!("{failures:?}") };
    assert_eq!((failed, error.kind, error.code.as_str()), (&key(), StoreErrorKind::Denied, "AccessDenied"));
    let asked = &server.requests()[0];
    assert_eq!((asked.target.as_str(), asked.header("content-md5").is_some()), ("/?delete", true));
}
