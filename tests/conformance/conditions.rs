//! What a write may replace, over S3: how that is found out, and what is made of a refusal.

use std::sync::Arc;

use bytes::Bytes;
use cosmount::object::{BucketName, ETag, ObjectAttributes, UploadId};
use cosmount::store::{
    Body, HttpOptions, HttpStore, ObjectStore, Op, Overwrite, Published, StoreError, StoreErrorKind,
};
use cosmount::wire::address::Endpoint;

use crate::misbehaviour::{key, options, partial};
use crate::scripted::{Reply, Scripted, answer, error};

/// The MD5 of `text`.
const MD5: &str = "1cb251ec0d568de6a929b520c4aed8d1";

pub(crate) fn client(server: &Scripted) -> HttpStore {
    let endpoint = Endpoint::s3(Some(&format!("http://{}", server.address)), "us-east-1", true).unwrap();
    let limits = endpoint.dialect(&BucketName::of_s3("b-1").unwrap()).limits();
    HttpStore::new(HttpOptions { endpoint, limits, ..options(server) }).unwrap()
}

async fn put(store: &HttpStore, overwrite: &Overwrite) -> Result<Published, StoreError> {
    let mut attributes = ObjectAttributes::default();
    attributes.user.insert("mtime".into(), "17".into());
    let checksum = store.limits().checksum.of(b"text");
    store.put_over(&key(), Body::from(Bytes::from("text")), checksum, &attributes, overwrite).await
}

fn head(etag: &str, mtime: &str) -> Reply {
    let lines =
        format!("etag: \"{etag}\"\r\nlast-modified: Tue, 14 Nov 2023 22:13:20 GMT\r\nx-amz-meta-mtime: {mtime}\r\n");
    Reply::Answer(partial(200, &lines, 4, ""))
}

/// The first attempt was carried out and its answer is lost; the second meets with what the first has put.
#[tokio::test]
async fn an_answer_that_was_lost_is_no_conflict() {
    let refusal = || Reply::Answer(error(412, "PreconditionFailed"));
    for (there, is_ours) in [(head(MD5, "17"), true), (head(MD5, "18"), false), (head("another", "17"), false)] {
        let server = Scripted::start([Reply::Close, refusal(), there]).await;
        let told = put(&client(&server), &Overwrite::IfAbsent).await;
        let asked = server.requests();
        assert_eq!(asked[1].header("if-none-match"), Some("*"));
        assert_eq!(asked.len(), 3, "{told:?}");
        match told {
            Ok(published) => assert!(is_ours && published.etag == ETag::new(MD5)),
            Err(error) => assert!(!is_ours && error.kind == StoreErrorKind::Changed, "{error}"),
        }
    }
    // A refusal of the first attempt is one, whatever is there.
    let server = Scripted::start([refusal()]).await;
    let version = Overwrite::OnlyOf(ETag::new("before"));
    assert_eq!(put(&client(&server), &version).await.unwrap_err().kind, StoreErrorKind::Changed);
    assert_eq!(server.requests()[0].header("if-match"), Some("\"before\""));
}

/// Another request about the key was carried out at the same moment: S3 wants this one again.
#[tokio::test]
async fn a_conflict_between_requests_is_tried_again() {
    let done = answer(200, &format!("etag: \"{MD5}\"\r\n"), "");
    let server = Scripted::start([Reply::Answer(error(409, "ConditionalRequestConflict")), Reply::Answer(done)]).await;
    put(&client(&server), &Overwrite::IfAbsent).await.unwrap();
}

#[tokio::test]
async fn a_complete_whose_answer_was_lost_is_no_conflict() {
    let part = ETag::new(MD5);
    let whole = "2ff7b0b06fb9ad4ad0a6ac8fb8a7a0ef-1";
    for op in [true, false] {
        let of_parts = cosmount::wire::dialect::Dialect::s3("r", &BucketName::of_s3("b-1").unwrap(), true)
            .etag_of_parts(std::slice::from_ref(&part))
            .unwrap();
        let there = if op { of_parts.text().into_owned() } else { whole.to_owned() };
        let gone = Reply::Answer(error(404, "NoSuchUpload"));
        let replies = [Reply::Close, Reply::Answer(error(412, "PreconditionFailed")), head(&there, "1"), gone];
        let server = Scripted::start(replies).await;
        let store = client(&server);
        let (upload, overwrite) = (UploadId::new("u"), Overwrite::IfAbsent);
        let parts = std::slice::from_ref(&part);
        let told = store.complete_over(&key(), &upload, parts, 4, None, &overwrite).await;
        assert_eq!(told.is_ok(), op, "{told:?}");
    }
}

/// A service that knows one of the two conditions, or looks past both, or refuses everything with one.
#[tokio::test]
async fn a_service_that_looks_past_a_condition_is_found_out() {
    let done = || Reply::Answer(answer(200, "etag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n", ""));
    let refused = || Reply::Answer(error(412, "PreconditionFailed"));
    let removed = || Reply::Answer(answer(204, "", ""));
    let table = [
        (vec![done(), refused(), refused(), done(), removed()], true),
        (vec![done(), done(), removed()], false),
        (vec![done(), refused(), done(), removed()], false),
        (vec![done(), refused(), refused(), refused(), removed()], false),
        (vec![done(), Reply::Answer(error(501, "NotImplemented")), removed()], false),
    ];
    for (replies, expected) in table {
        let count = replies.len();
        let server = Scripted::start(replies).await;
        let store = Arc::new(client(&server));
        for _ in 0..2 {
            assert_eq!(store.keeps_conditions(Op::PutObject, &key()).await, expected);
        }
        assert_eq!(server.requests().len(), count, "once for the bucket: {:?}", server.lines());
    }
}

#[tokio::test]
async fn cos_is_never_asked_for_conditions() {
    let server = Scripted::start([]).await;
    let store = HttpStore::new(options(&server)).unwrap();
    assert!(!store.keeps_conditions(Op::PutObject, &key()).await);
    assert!(server.requests().is_empty());
}
