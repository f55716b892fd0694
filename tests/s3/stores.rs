//! The suite that every store passes (`tests/conformance`), over S3 on services that were not written here.

#[path = "../conformance/suite.rs"]
mod suite;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cosmount::object::{BucketName, ByteRange, Crc64, Encryption, ObjectAttributes, Protection};
use cosmount::store::{Body, HttpOptions, HttpStore, ListRequest, ObjectStore, Source, StoreErrorKind};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use futures_util::StreamExt;
use futures_util::stream;

use crate::{Bed, ID, KEY};

/// The longest that a call may try.
const DEADLINE: Duration = Duration::from_secs(10);

/// So many behaviours are looked at side by side.
const SIDE_BY_SIDE: usize = 4;

type Store = Arc<dyn ObjectStore>;
type Run = fn(Store) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a service does otherwise than S3, and what its client makes of that: an error, or what is right all the same.
struct Deviation {
    service: &'static str,
    behaviour: &'static str,
    why: &'static str,
    honestly: Run,
}

macro_rules! run {
    ($behaviour:path) => {
        |store| Box::pin(async move { $behaviour(&store).await })
    };
}

macro_rules! deviations {
    ($($service:literal $behaviour:ident: $why:literal, $honestly:ident;)+) => {
        [$(Deviation {
            service: $service,
            behaviour: stringify!($behaviour),
            why: $why,
            honestly: run!($honestly),
        }),+]
    };
}

fn deviations() -> Vec<Deviation> {
    deviations! {
        "moto" the_checksum_of_an_object_is_told: "it has no CRC-64/NVME", no_checksum_is_told;
        "moto" an_object_of_parts_with_another_checksum_is_corrupted: "the same", parts_are_what_was_sent;
        "moto" keys_may_have_control_characters: "it finds no way to a path with a line break", is_refused_with_a_line_break;
        "moto" listings_come_in_pages: "the marker of its next page is no key, so that nobody knows what a page covers",
            a_second_page_is_an_error;
        "moto" names_and_prefixes_of_a_page_count_together: "the same, and each page has all prefixes",
            a_second_page_is_an_error;
        "moto" a_page_tells_all_names_up_to_its_marker: "the same", a_second_page_is_an_error;
        "moto" who_goes_on_with_an_upload_that_is_over_is_told_so: "it fails with a fault of its own",
            an_upload_that_is_over_takes_nothing;
        "moto" a_range_beyond_the_end_is_refused: "it copies what there is", a_part_that_is_too_short_is_corrupted;
        "SeaweedFS" keys_may_end_in_a_slash: "such a key is a directory and has no bytes", bytes_are_refused_under_a_slash;
        "moto" parts_of_an_unfinished_upload_are_listed: "the answer has a name that S3 does not have",
            an_answer_of_another_name_is_an_error;
        "moto" an_unfinished_upload_says_when_it_was_begun: "each was begun in 2010", another_time_is_told;
        "SeaweedFS" keys_may_be_long: "a name between two slashes has 255 bytes at most", a_name_that_is_too_long_is_refused;
        "SeaweedFS" keys_may_have_empty_names: "two slashes are one", two_names_are_one_object;
        "SeaweedFS" keys_may_have_backslashes: "they are slashes", two_names_are_one_object;
        "SeaweedFS" keys_may_have_dots_for_directories: "it takes none that is no path", a_name_of_dots_is_refused;
        "SeaweedFS" keys_may_have_control_characters: "its listings tell U+FFFD for what XML cannot hold",
            a_name_is_unreadable_and_nobodys;
        "SeaweedFS" names_and_prefixes_of_a_page_count_together: "an object and the prefix of its name count once",
            every_key_is_listed_once;
        "SeaweedFS" listings_are_in_byte_order: "they go by directories: `a/1` comes before `a.txt`", every_key_is_listed_once;
        "SeaweedFS" class_and_encryption_are_kept: "it encrypts nothing where nobody has given it a key",
            nothing_is_stored_without_its_encryption;
    }
    .into()
}

async fn no_checksum_is_told(store: &Store) {
    suite::put(store, "honest", b"bytes").await;
    assert_eq!(store.head(&suite::key("honest")).await.unwrap().crc64, None);
}

/// Each part was compared, and the object is made of their digests; how long it is is looked at.
async fn parts_are_what_was_sent(store: &Store) {
    let key = suite::key("honest");
    for (size, expected) in [(5, None), (6, Some(StoreErrorKind::Corrupted))] {
        let upload = suite::begin(store, "honest").await;
        let part = suite::send(store, "honest", &upload, 1, b"bytes").await;
        let wrong = Crc64(suite::sum(store, b"bytes").0 ^ 1);
        let completed = store.complete(&key, &upload, &[part.etag], size, Some(wrong)).await;
        assert_eq!(completed.err().map(|error| error.kind), expected);
    }
    assert_eq!(suite::bytes_of(store, "honest").await, b"bytes");
}

async fn is_refused_with_a_line_break(store: &Store) {
    let (key, sum) = (suite::key("honest\nbreak"), suite::sum(store, b"x"));
    let put = store.put(&key, Body::from(b"x".to_vec()), sum, &ObjectAttributes::default()).await;
    assert_eq!(suite::kind(put), StoreErrorKind::NotFound);
    suite::put(store, "honest\u{1}", b"x").await;
    assert_eq!(suite::bytes_of(store, "honest\u{1}").await, b"x", "another one is a key");
}

async fn a_second_page_is_an_error(store: &Store) {
    for name in ["honest/a", "honest/b", "honest/c/d"] {
        suite::put(store, name, b"x").await;
    }
    for delimited in [false, true] {
        let all = ListRequest { prefix: "honest/".into(), delimited, ..ListRequest::default() };
        let page = store.list(all.clone()).await.unwrap();
        assert_eq!(page.objects.len() + page.prefixes.len(), 3);
        let first = store.list(ListRequest { max_keys: Some(1), ..all }).await;
        assert_eq!(suite::kind(first), StoreErrorKind::Protocol);
    }
}

async fn an_upload_that_is_over_takes_nothing(store: &Store) {
    let upload = suite::begin(store, "honest").await;
    store.abort(&suite::key("honest"), &upload).await.unwrap();
    let (body, sum) = (Body::from(b"late".to_vec()), suite::sum(store, b"late"));
    let late = store.upload_part(&suite::key("honest"), &upload, suite::number(1), body, sum).await;
    assert_eq!(suite::kind(late), StoreErrorKind::Internal);
}

async fn a_part_that_is_too_short_is_corrupted(store: &Store) {
    suite::put(store, "honest-from", b"bytes").await;
    let source = Source { key: suite::key("honest-from"), if_match: None };
    let (key, upload) = (suite::key("honest"), suite::begin(store, "honest").await);
    let beyond = ByteRange::new(1, 6).unwrap();
    let part = store.upload_part_copy(&key, &upload, suite::number(1), &source, beyond).await.unwrap();
    let completed = store.complete(&key, &upload, &[part.etag], 5, None).await;
    assert_eq!(suite::kind(completed), StoreErrorKind::Corrupted);
}

async fn bytes_are_refused_under_a_slash(store: &Store) {
    let (key, sum) = (suite::key("honest/"), suite::sum(store, b"x"));
    let put = store.put(&key, Body::from(b"x".to_vec()), sum, &ObjectAttributes::default()).await;
    assert_eq!(suite::kind(put), StoreErrorKind::Corrupted);
}

/// Whoever goes by it takes the upload for an old one.
async fn another_time_is_told(store: &Store) {
    let upload = suite::begin(store, "honest").await;
    let listed = store.list_uploads("honest").await.unwrap();
    assert!(listed.len() == 1 && listed[0].upload == upload, "{listed:?}");
}

async fn an_answer_of_another_name_is_an_error(store: &Store) {
    let upload = suite::begin(store, "honest").await;
    suite::send(store, "honest", &upload, 1, b"bytes").await;
    let parts = store.list_parts(&suite::key("honest"), &upload).await;
    assert_eq!(suite::kind(parts), StoreErrorKind::Protocol);
}

async fn a_name_that_is_too_long_is_refused(store: &Store) {
    for (bytes, expected) in [(255, None), (256, Some(StoreErrorKind::Invalid))] {
        let key = suite::key(&"x".repeat(bytes));
        let put = store.put(&key, Body::empty(), Crc64::EMPTY, &ObjectAttributes::default()).await;
        assert_eq!(put.err().map(|error| error.kind), expected, "{bytes}");
    }
}

/// Nobody can tell this from the answers: what is written under one name is there under both, and listed under the other.
async fn two_names_are_one_object(store: &Store) {
    for name in ["honest//a", "honest\\b"] {
        suite::put(store, name, name.as_bytes()).await;
        assert_eq!(suite::bytes_of(store, name).await, name.as_bytes());
        let other = name.replace("//", "/").replace('\\', "/");
        assert_eq!(suite::bytes_of(store, &other).await, name.as_bytes());
    }
    let page = store.list(ListRequest { prefix: "honest".into(), ..ListRequest::default() }).await.unwrap();
    let listed: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, ["honest/a", "honest/b"]);
}

async fn a_name_of_dots_is_refused(store: &Store) {
    for name in ["honest/./x", "honest/../x", "honest/.."] {
        let put = store.put(&suite::key(name), Body::empty(), Crc64::EMPTY, &ObjectAttributes::default()).await;
        assert_eq!(suite::kind(put), StoreErrorKind::Invalid, "{name}");
    }
    assert!(
        store.list(ListRequest::default()).await.unwrap().objects.iter().all(|object| object.key.starts_with("dots"))
    );
}

async fn a_name_is_unreadable_and_nobodys(store: &Store) {
    suite::put(store, "honest\u{1}", b"x").await;
    assert_eq!(suite::bytes_of(store, "honest\u{1}").await, b"x");
    let page = store.list(ListRequest { prefix: "honest".into(), ..ListRequest::default() }).await.unwrap();
    assert_eq!(page.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["honest\u{FFFD}"]);
}

async fn every_key_is_listed_once(store: &Store) {
    let names = ["honest/a", "honest/a.txt", "honest/a/1", "honest/a/2", "honest/b"];
    for name in names {
        suite::put(store, name, b"x").await;
    }
    for size in 1..=6 {
        let (mut seen, _) = suite::in_pages(store, "honest/", false, size).await;
        seen.sort();
        assert_eq!(seen, names, "in pages of {size}");
        let (mut seen, _) = suite::in_pages(store, "honest/", true, size).await;
        seen.sort();
        assert_eq!(seen, ["honest/a", "honest/a.txt", "honest/a/", "honest/b"], "in pages of {size}");
    }
}

async fn nothing_is_stored_without_its_encryption(store: &Store) {
    let encryption = Some(Encryption { algorithm: Encryption::OF_COS.into(), kms_key: None });
    let attributes = ObjectAttributes {
        protection: Protection { encryption, ..Protection::default() },
        ..ObjectAttributes::default()
    };
    let (key, sum) = (suite::key("honest"), suite::sum(store, b"x"));
    let put = store.put(&key, Body::from(b"x".to_vec()), sum, &attributes).await;
    assert_eq!(suite::kind(put), StoreErrorKind::Internal);
    assert_eq!(suite::kind(store.head(&key).await), StoreErrorKind::NotFound);
    // A class alone is kept.
    let attributes = ObjectAttributes { storage_class: Some("STANDARD_IA".into()), ..ObjectAttributes::default() };
    store.put(&key, Body::from(b"x".to_vec()), sum, &attributes).await.unwrap();
    assert_eq!(store.head(&key).await.unwrap().attributes.storage_class, attributes.storage_class);
}

/// All behaviours by their names.
fn behaviours() -> Vec<(&'static str, Run)> {
    macro_rules! by_name {
        (() $($behaviour:ident)+) => { [$((stringify!($behaviour), run!(suite::$behaviour) as Run)),+] };
    }
    suite::every_behaviour!(by_name()).into()
}

/// Makes buckets.
const MAKE: &str = "
import boto3, sys
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1')
for bucket in sys.argv[2:]: s3.create_bucket(Bucket=bucket)";

impl Bed {
    /// A client of a bucket.
    fn store(&self, bucket: &str) -> Store {
        let endpoint = Endpoint::s3(Some(&self.endpoint), "us-east-1", true).unwrap();
        let credentials = Credentials { secret_id: ID.into(), secret_key: KEY.into(), token: None };
        let mut options = HttpOptions::new(endpoint, BucketName::of_s3(bucket).unwrap(), credentials);
        options.retry.deadline = DEADLINE;
        Arc::new(HttpStore::new(options).unwrap())
    }
}

/// Why it has failed, in the words of its panic, if it has.
async fn failure_of(run: Run, store: Store) -> Option<String> {
    let error = tokio::spawn(run(store)).await.err()?;
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// Each behaviour on a bucket of its own. What fails and is none of the deviations, and what is one of them and goes well.
async fn wrong_on(service: &str, bed: &Bed) -> Vec<String> {
    let (behaviours, deviations) = (behaviours(), deviations());
    let names: Vec<&str> = behaviours.iter().map(|(name, _)| *name).collect();
    assert!(deviations.iter().all(|deviation| names.contains(&deviation.behaviour)), "of behaviours that there are");
    let buckets: Vec<String> = (0..behaviours.len()).map(|index| format!("suite-{index}")).collect();
    let arguments = ["-c", MAKE, &bed.endpoint].into_iter().chain(buckets.iter().map(String::as_str));
    bed.told("python3", &arguments.collect::<Vec<_>>());
    let looked = behaviours.into_iter().zip(buckets).map(|((name, run), bucket)| {
        let of_it = |deviation: &&Deviation| (deviation.service, deviation.behaviour) == (service, name);
        let (store, deviation) = (bed.store(&bucket), deviations.iter().find(of_it));
        async move {
            let failed = failure_of(run, store.clone()).await;
            let Some(Deviation { why, honestly, .. }) = deviation else {
                return failed.map(|failed| format!("{name}: {failed}"));
            };
            if failed.is_none() {
                return Some(format!("{name} is as it should be, and was not: {why}"));
            }
            failure_of(*honestly, store).await.map(|failed| format!("{name}, which is not to be ({why}): {failed}"))
        }
    });
    stream::iter(looked).buffer_unordered(SIDE_BY_SIDE).filter_map(|wrong| async { wrong }).collect().await
}

#[tokio::test]
async fn moto_is_a_store_but_for_what_is_known() {
    let wrong = wrong_on("moto", &Bed::moto()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn seaweedfs_is_a_store_but_for_what_is_known() {
    let wrong = wrong_on("SeaweedFS", &Bed::seaweedfs()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
