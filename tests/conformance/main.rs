//! One suite that every store passes: in memory, behind layers, and over HTTP against the local service.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod conditions;
mod damage;
mod deadlines;
mod flipping;
mod flips;
mod keys;
mod misbehaviour;
mod mounted;
mod obstructing;
mod past;
mod planned;
mod scripted;
mod suite;
mod vouching;
mod waiting;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use cosmount::journal::Journal;
use cosmount::object::{BucketName, Crc64, Limits, ObjectAttributes, ObjectKey, PartNumber, UploadId};
use cosmount::server::{self, ServerOptions};
use cosmount::store::testing::{FaultStore, MemoryStore};
use cosmount::store::{
    Body, ChangeNotifier, ChangeObserver, HttpOptions, HttpStore, JournaledStore, ObjectStore, ResumeWindow,
    StoreErrorKind,
};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// A store with an empty bucket, and what must live as long.
struct Bed {
    store: Arc<dyn ObjectStore>,
    /// How the store reaches its service, if it does.
    options: Option<HttpOptions>,
    _keep: Option<Box<dyn Any + Send + Sync>>,
}

async fn memory() -> Bed {
    Bed { store: Arc::new(MemoryStore::new()), options: None, _keep: None }
}

async fn fault_free() -> Bed {
    Bed { store: Arc::new(FaultStore::new(MemoryStore::new())), options: None, _keep: None }
}

/// A layer that passes on most calls as they are.
async fn notifying() -> Bed {
    struct Nobody;
    impl ChangeObserver for Nobody {
        fn object_changed(&self, _: &ObjectKey) {}
    }
    let store = ChangeNotifier::new(Arc::new(MemoryStore::new()), Arc::new(Nobody));
    Bed { store: Arc::new(store), options: None, _keep: None }
}

/// Without a disk, which changes nothing that a caller could see.
async fn journaled() -> Bed {
    let (memory, window) = (Arc::new(MemoryStore::new()), ResumeWindow::default());
    let store = JournaledStore::new(memory, Journal::none(), Vec::new(), window, Arc::default(), &Handle::current());
    Bed { store, options: None, _keep: None }
}

async fn http_in_memory() -> Bed {
    served(ServerOptions::default(), ()).await
}

async fn http_on_disk() -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let options = ServerOptions { directory: Some(directory.path().to_owned()), ..ServerOptions::default() };
    served(options, directory).await
}

/// The same service, spoken to in S3's words. Other limits than COS's hold for whoever asks.
async fn http_s3() -> Bed {
    let limits = Limits { part_count_max: Limits::COS.part_count_max - 1, ..Limits::COS };
    let bed = served(ServerOptions { limits, ..ServerOptions::default() }, ()).await;
    let options = bed.options.unwrap();
    let origin = options.endpoint.route(&options.bucket).origin;
    let endpoint = Endpoint::s3(Some(&origin), "us-east-1", true).unwrap();
    let limits = endpoint.dialect(&options.bucket).limits();
    let options = HttpOptions { endpoint, limits, ..options };
    let store = HttpStore::new(options.clone()).unwrap();
    Bed { store: Arc::new(store), options: Some(options), _keep: bed._keep }
}

/// A client of a service of its own, which ends with the test's runtime.
async fn served(options: ServerOptions, keep: impl Any + Send + Sync) -> Bed {
    let credentials = Credentials { secret_id: "AKIDx".into(), secret_key: "s".into(), token: None };
    let bucket = BucketName::new("photos-1250000000").unwrap();
    let options = ServerOptions { buckets: vec![bucket.clone()], credentials: Some(credentials.clone()), ..options };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::custom(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { server::run(listener, options, std::future::pending()).await.unwrap() });
    let options = HttpOptions::new(endpoint, bucket, credentials);
    let store = HttpStore::new(options.clone()).unwrap();
    Bed { store: Arc::new(store), options: Some(options), _keep: Some(Box::new(keep)) }
}

/// A test of each behaviour, on a store of its own.
macro_rules! tests {
    (($store:ident) $($behaviour:ident)+) => { mod $store { $(
        #[tokio::test]
        async fn $behaviour() {
            let bed = super::$store().await;
            super::suite::$behaviour(&bed.store).await;
        }
    )+ } };
}

suite::every_behaviour!(tests(memory));
suite::every_behaviour!(tests(fault_free));
suite::every_behaviour!(tests(notifying));
suite::every_behaviour!(tests(journaled));
suite::every_behaviour!(tests(http_in_memory));
suite::every_behaviour!(tests(http_on_disk));
suite::every_behaviour!(tests(http_s3));

/// The service refuses before it has read the body; the client must hear why and not a broken connection.
#[tokio::test]
async fn a_large_body_that_is_refused_early_is_refused_by_name() {
    let bed = http_in_memory().await;
    let bytes = bytes::Bytes::from(vec![7; 8 << 20]);
    let (body, crc64) = (Body::from(bytes.clone()), Crc64::of(&bytes));
    let (key, upload) = (ObjectKey::new("k").unwrap(), UploadId::new("17000000000123456789abcdef"));
    let late = bed.store.upload_part(&key, &upload, PartNumber::FIRST, body.clone(), crc64).await;
    assert_eq!(late.unwrap_err().kind, StoreErrorKind::NoSuchUpload);

    let mut options = bed.options.unwrap();
    options.credentials = Credentials { secret_id: "AKIDx".into(), secret_key: "another".into(), token: None }.into();
    let store = HttpStore::new(options).unwrap().with_deadline(Duration::from_secs(2));
    let denied = store.put(&key, body, crc64, &ObjectAttributes::default()).await;
    assert_eq!(denied.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.head_bucket().await.unwrap_err().kind, StoreErrorKind::Denied);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_as_such() {
    let mut options = http_in_memory().await.options.unwrap();
    options.bucket = BucketName::new("nobody-1").unwrap();
    let store = HttpStore::new(options).unwrap();
    let key = ObjectKey::new("k").unwrap();
    assert_eq!(store.head_bucket().await.unwrap_err().kind, StoreErrorKind::NoSuchBucket);
    let put = store.put(&key, Body::empty(), Crc64::EMPTY, &ObjectAttributes::default()).await;
    assert_eq!(put.unwrap_err().kind, StoreErrorKind::NoSuchBucket);
}
