//! The promises of the store, each on disk and in memory.

use std::future::poll_fn;

use bytes::Bytes;
use tempfile::TempDir;

use crate::object::{ByteRange, Crc64, ETag, ObjectKey, PartNumber, UploadId};
use crate::wire::condition::Overwrite;
use crate::wire::operation::CompletedPart;

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const LIMITS: CompleteLimits = CompleteLimits {
    part_bytes_min: 4,
    object_bytes_max: 1 << 40,
    overwrite: Overwrite::Allowed,
    allows_gaps: false,
    etag_of_parts: |_| None,
    digest: None,
};

/// A store with one bucket, and the directory that it may live in.
struct Bed {
    storage: Option<Storage>,
    home: Option<TempDir>,
}

fn bucket() -> BucketName {
    BucketName::new("local-1250000000").unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn number(number: u64) -> PartNumber {
    PartNumber::new(number).unwrap()
}

impl Bed {
    async fn both() -> [Bed; 2] {
        let home = tempfile::tempdir().unwrap();
        let disk = Storage::on_disk(home.path(), false, &[]).unwrap();
        let beds = [
            Bed { storage: Some(disk), home: Some(home) },
            Bed { storage: Some(Storage::in_memory().unwrap()), home: None },
        ];
        for bed in &beds {
            bed.create_bucket(&bucket(), 1).await.unwrap();
        }
        beds
    }

    fn write(&self, name: &str) -> Write {
        Write { bucket: bucket(), key: key(name), overwrite: Overwrite::Allowed, now: 1_700_000_000 }
    }

    async fn receive_bytes(&self, bytes: &[u8]) -> Received {
        let mut writer = self.receive(Wanted::default()).unwrap();
        for piece in bytes.chunks(100_000) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(writer.bytes(), bytes.len() as u64);
        writer.finish().await.unwrap()
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> ObjectRecord {
        let received = self.receive_bytes(bytes).await;
        self.put_object(self.write(name), Attributes::default(), received).await.unwrap()
    }

    async fn get(&self, name: &str, start: u64, end: u64) -> Vec<u8> {
        let (_, open) = self.open(&bucket(), &key(name), None).unwrap();
        drain(open.read(start..end).await.unwrap()).await
    }

    async fn begin(&self, name: &str) -> UploadRef {
        let id = self.initiate(self.write(name), Attributes::default(), None).await.unwrap();
        UploadRef { bucket: bucket(), key: key(name), id }
    }

    async fn put_part_bytes(&self, upload: &UploadRef, n: u64, bytes: &[u8]) -> CompletedPart {
        let received = self.receive_bytes(bytes).await;
        let part = self.put_part(upload.clone(), number(n), received, 1).await.unwrap();
        CompletedPart { number: number(n), etag: ETag::new(part.etag) }
    }

    async fn complete_now(&self, upload: &UploadRef, parts: &[CompletedPart]) -> Result<ObjectRecord, StorageError> {
        let plan = self.plan_complete(upload.clone(), parts.to_vec(), LIMITS)?;
        self.complete(plan, 2).await
    }

    /// Files of segments on disk; of a store in memory, 0.
    fn segment_files(&self) -> usize {
        let Some(home) = &self.home else { return 0 };
        let fans = fs::read_dir(home.path().join(directory::SEGMENTS_DIRECTORY)).unwrap();
        fans.map(|fan| fs::read_dir(fan.unwrap().path()).unwrap().count()).sum()
    }

    fn segments_in_use(&self) -> u64 {
        use redb::ReadableTableMetadata;
        self.index.snapshot().unwrap().segment_users().unwrap().len().unwrap()
    }
}

impl std::ops::Deref for Bed {
    type Target = Storage;
    fn deref(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }
}

async fn drain(mut reading: Reading) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(block) = poll_fn(|context| reading.poll_next(context)).await {
        bytes.extend_from_slice(&block.unwrap());
    }
    bytes
}

fn pattern(bytes: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, StorageError>) -> Rule {
    match result {
        Err(StorageError::Refused(rule)) => rule,
        other => panic!("not refused: {other:?}"),
    }
}

fn anyway() -> Box<dyn Fn(&ObjectRecord) -> bool + Send + Sync> {
    Box::new(|_| true)
}

fn source(name: &str) -> CopySource {
    CopySource { bucket: bucket(), key: key(name), version: None, holds: anyway(), now: 0 }
}

fn as_it_is() -> Replacement {
    Replacement { attributes: None, storage_class: None, encryption: None, acl: None, tagging: None }
}

impl Bed {
    /// Deletes the objects under some keys.
    async fn delete_objects(&self, bucket: &BucketName, keys: Vec<ObjectKey>) -> Result<(), StorageError> {
        self.delete(bucket, keys.into_iter().map(|key| (key, None)).collect(), 0).await.map(drop)
    }
}

#[tokio::test]
async fn objects_read_back_whole_and_in_ranges() {
    for bed in Bed::both().await {
        let bytes = pattern(3_000_000, 1);
        let record = bed.put("a", &bytes).await;
        assert_eq!((record.size, record.crc64), (3_000_000, Crc64::of(&bytes).0));
        assert_eq!(record.etag, crate::server::digest::hex(&cosmount_digests::md5_of(&bytes)));
        assert_eq!(bed.get("a", 0, 3_000_000).await, bytes);
        for (start, end) in [(0, 1), (99_999, 100_001), (1_048_575, 2_500_000), (2_999_999, 3_000_000), (5, 5)] {
            assert_eq!(bed.get("a", start, end).await, &bytes[start as usize..end as usize], "{start}..{end}");
        }
        assert_eq!(refused(bed.object(&bucket(), &key("b"), None)), Rule::NoSuchKey);
        let nowhere = BucketName::new("other-1").unwrap();
        assert_eq!(refused(bed.object(&nowhere, &key("a"), None)), Rule::NoSuchBucket);
    }
}

#[tokio::test]
async fn an_empty_object_has_no_segment() {
    for bed in Bed::both().await {
        let record = bed.put("empty", b"").await;
        assert_eq!((record.size, record.crc64, record.etag.as_str()), (0, 0, "d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(bed.get("empty", 0, 0).await, b"");
        assert_eq!((bed.segments_in_use(), bed.segment_files()), (0, 0));
    }
}

#[tokio::test]
async fn overwriting_and_deleting_free_the_bytes() {
    for bed in Bed::both().await {
        bed.put("a", b"first").await;
        bed.put("a", b"second").await;
        assert_eq!(bed.get("a", 0, 6).await, b"second");
        assert_eq!(bed.segments_in_use(), 1);
        bed.delete_objects(&bucket(), vec![key("a"), key("never there")]).await.unwrap();
        assert_eq!((bed.segments_in_use(), bed.segment_files()), (0, 0));
    }
}

#[tokio::test]
async fn a_reader_finishes_what_it_opened_although_the_object_is_replaced() {
    for bed in Bed::both().await {
        let bytes = pattern(2_000_000, 2);
        bed.put("a", &bytes).await;
        let (_, open) = bed.open(&bucket(), &key("a"), None).unwrap();
        bed.put("a", b"new").await;
        assert_eq!(drain(open.read(0..2_000_000).await.unwrap()).await, bytes);
        assert_eq!(bed.segments_in_use(), 1);
        assert!(bed.segment_files() <= 1, "the old file goes with its last reader");
    }
}

#[tokio::test]
async fn forbidding_overwrite_keeps_the_older_object() {
    for bed in Bed::both().await {
        bed.put("a", b"old").await;
        let received = bed.receive_bytes(b"new").await;
        let write = Write { overwrite: Overwrite::Forbidden, ..bed.write("a") };
        assert_eq!(
            refused(bed.put_object(write.clone(), Attributes::default(), received).await),
            Rule::FileAlreadyExists
        );
        assert_eq!(bed.get("a", 0, 3).await, b"old");
        assert_eq!(refused(bed.initiate(write, Attributes::default(), None).await), Rule::FileAlreadyExists);
        assert_eq!((bed.segments_in_use(), bed.segment_files().max(1)), (1, 1), "the refused bytes are gone");
    }
}

#[tokio::test]
async fn parts_in_any_order_become_one_object_without_being_copied() {
    for bed in Bed::both().await {
        let upload = bed.begin("big").await;
        let parts: Vec<Vec<u8>> = (0..9).map(|n| pattern(5_000, n)).collect();
        let mut named = Vec::new();
        for n in [8, 0, 4, 2, 6, 1, 7, 3, 5] {
            named.push(bed.put_part_bytes(&upload, n as u64 + 1, &parts[n]).await);
        }
        named.sort_by_key(|part| part.number);
        let files = bed.segment_files();
        let record = bed.complete_now(&upload, &named).await.unwrap();
        let whole = parts.concat();
        assert_eq!((record.size, record.crc64), (45_000, Crc64::of(&whole).0));
        assert!(record.etag.ends_with("-9") && record.etag.len() == 34, "{}", record.etag);
        assert_eq!(bed.get("big", 0, 45_000).await, whole);
        assert_eq!(bed.get("big", 4_999, 10_001).await, &whole[4_999..10_001]);
        assert_eq!((bed.segment_files(), bed.segments_in_use()), (files, 9));
        assert_eq!(refused(bed.complete_now(&upload, &named).await), Rule::NoSuchUpload);
        bed.delete_objects(&bucket(), vec![key("big")]).await.unwrap();
        assert_eq!((bed.segment_files(), bed.segments_in_use()), (0, 0));
    }
}

#[tokio::test]
async fn equal_parts_of_two_uploads_give_different_etags() {
    for bed in Bed::both().await {
        let mut etags = Vec::new();
        for _ in 0..2 {
            let upload = bed.begin("x").await;
            let part = bed.put_part_bytes(&upload, 1, b"equal").await;
            etags.push(bed.complete_now(&upload, &[part]).await.unwrap().etag);
        }
        assert_ne!(etags[0], etags[1]);
    }
}

#[tokio::test]
async fn complete_refuses_what_the_service_refuses() {
    for bed in Bed::both().await {
        let upload = bed.begin("x").await;
        let first = bed.put_part_bytes(&upload, 1, b"aaaa").await;
        let second = bed.put_part_bytes(&upload, 2, b"bbb").await;
        let third = bed.put_part_bytes(&upload, 3, b"cccc").await;
        let renamed = CompletedPart { etag: ETag::new("0123"), ..first.clone() };
        let unknown = CompletedPart { number: number(4), ..first.clone() };
        let table: [(&[&CompletedPart], Rule); 8] = [
            (&[], Rule::InvalidPart),
            (&[&second], Rule::InvalidPart),
            (&[&first, &third], Rule::InvalidPart),
            (&[&renamed], Rule::InvalidPart),
            (&[&first, &second, &third, &unknown], Rule::EntityTooSmall),
            (&[&second, &first], Rule::InvalidPartOrder),
            (&[&first, &first], Rule::InvalidPartOrder),
            (&[&first, &second, &third], Rule::EntityTooSmall),
        ];
        for (parts, rule) in table {
            let parts: Vec<CompletedPart> = parts.iter().map(|part| (*part).clone()).collect();
            assert_eq!(refused(bed.complete_now(&upload, &parts).await), rule, "{parts:?}");
        }
        bed.complete_now(&upload, &[first, second]).await.unwrap();
        assert_eq!(bed.get("x", 0, 7).await, b"aaaabbb");
        assert_eq!(bed.segments_in_use(), 2, "the part that was not named is gone");
    }
}

#[tokio::test]
async fn a_part_of_the_same_number_overwrites() {
    for bed in Bed::both().await {
        let upload = bed.begin("x").await;
        let old = bed.put_part_bytes(&upload, 1, b"old").await;
        let new = bed.put_part_bytes(&upload, 1, b"new").await;
        assert_eq!(refused(bed.complete_now(&upload, &[old]).await), Rule::InvalidPart);
        bed.complete_now(&upload, &[new]).await.unwrap();
        assert_eq!(bed.get("x", 0, 3).await, b"new");
        assert_eq!(bed.segments_in_use(), 1);
    }
}

#[tokio::test]
async fn an_upload_is_known_by_key_and_id_together() {
    for bed in Bed::both().await {
        let upload = bed.begin("x").await;
        let other = UploadRef { key: key("y"), ..upload.clone() };
        let unknown = UploadRef { id: UploadId::new("0"), ..upload.clone() };
        for wrong in [other, unknown] {
            assert_eq!(refused(bed.upload(&wrong)), Rule::NoSuchUpload);
            assert_eq!(refused(bed.abort(wrong.clone()).await), Rule::NoSuchUpload);
            let received = bed.receive_bytes(b"bytes").await;
            assert_eq!(refused(bed.put_part(wrong, number(1), received, 1).await), Rule::NoSuchUpload);
        }
        bed.put_part_bytes(&upload, 1, b"bytes").await;
        bed.abort(upload.clone()).await.unwrap();
        assert_eq!((bed.segments_in_use(), bed.segment_files()), (0, 0));
        assert_eq!(refused(bed.parts(&upload, 0, 10).map(|_| ())), Rule::NoSuchUpload);
    }
}

#[tokio::test]
async fn copies_share_bytes_and_outlive_their_source() {
    for bed in Bed::both().await {
        let upload = bed.begin("big").await;
        let mut named = Vec::new();
        for n in 1..=6 {
            named.push(bed.put_part_bytes(&upload, n, &pattern(1_000, n)).await);
        }
        let original = bed.complete_now(&upload, &named).await.unwrap();
        bed.put("small", b"small").await;
        let copy = bed.copy_object(source("big"), bed.write("big copy"), as_it_is(), u64::MAX).await.unwrap();
        assert_ne!(copy.etag, original.etag);
        assert_eq!(copy.crc64, original.crc64);
        let copy = bed.copy_object(source("small"), bed.write("small copy"), as_it_is(), u64::MAX).await.unwrap();
        assert_eq!(copy.etag, bed.object(&bucket(), &key("small"), None).unwrap().etag);
        assert_eq!(bed.segments_in_use(), 7);
        bed.delete_objects(&bucket(), vec![key("big"), key("small")]).await.unwrap();
        assert_eq!(bed.segments_in_use(), 7);
        assert_eq!(Crc64::of(&bed.get("big copy", 0, 6_000).await).0, original.crc64);
        assert_eq!(bed.get("small copy", 0, 5).await, b"small");
        bed.delete_objects(&bucket(), vec![key("big copy"), key("small copy")]).await.unwrap();
        assert_eq!((bed.segments_in_use(), bed.segment_files()), (0, 0));
    }
}

#[tokio::test]
async fn a_copy_onto_itself_must_change_something() {
    for bed in Bed::both().await {
        bed.put("a", b"bytes").await;
        let same = bed.copy_object(source("a"), bed.write("a"), as_it_is(), u64::MAX).await;
        assert_eq!(refused(same), Rule::CopyChangesNothing);
        let attributes = Attributes { tagging: None, ..Attributes::default() };
        let replaced = Replacement { attributes: Some(attributes), ..as_it_is() };
        bed.copy_object(source("a"), bed.write("a"), replaced, u64::MAX).await.unwrap();
        let rare = Replacement { storage_class: Some("STANDARD_IA".into()), ..as_it_is() };
        bed.copy_object(source("a"), bed.write("a"), rare, u64::MAX).await.unwrap();
        assert_eq!(bed.get("a", 0, 5).await, b"bytes");
        assert_eq!(bed.segments_in_use(), 1);
        let never = CopySource { holds: Box::new(|_| false), ..source("a") };
        assert_eq!(
            refused(bed.copy_object(never, bed.write("b"), as_it_is(), u64::MAX).await),
            Rule::PreconditionFailed
        );
        assert_eq!(refused(bed.copy_object(source("a"), bed.write("b"), as_it_is(), 4).await), Rule::EntityTooLarge);
    }
}

#[tokio::test]
async fn a_part_copy_has_the_checksum_of_its_range() {
    for bed in Bed::both().await {
        let upload = bed.begin("source").await;
        let parts: Vec<Vec<u8>> = (0..3).map(|n| pattern(700_000, n)).collect();
        let mut named = Vec::new();
        for (n, part) in (1..).zip(&parts) {
            named.push(bed.put_part_bytes(&upload, n, part).await);
        }
        bed.complete_now(&upload, &named).await.unwrap();
        let whole = parts.concat();
        let limits = CopyLimits { bytes_max: 2_000_000, now: 5 };
        let upload = bed.begin("copy").await;
        let range = ByteRange::new(600_001, 1_500_000);
        let part = bed.copy_part(upload.clone(), number(1), source("source"), range, limits).await.unwrap();
        assert_eq!((part.size, part.crc64), (899_999, Crc64::of(&whole[600_001..1_500_000]).0));
        // At the ends of blocks with checksums and beside them.
        for (start, end) in [(100, 650_000), (131_072, 655_360), (131_071, 655_361), (0, 131_073), (1, 700_000)] {
            let part = bed.copy_part(upload.clone(), number(2), source("source"), ByteRange::new(start, end), limits);
            let expected = Crc64::of(&whole[start as usize..end as usize]).0;
            assert_eq!(part.await.unwrap().crc64, expected, "{start}..{end}");
        }
        let too_far = ByteRange::new(0, 2_100_001);
        for (range, rule) in [(too_far, Rule::InvalidRange), (None, Rule::EntityTooLarge)] {
            let copied = bed.copy_part(upload.clone(), number(2), source("source"), range, limits).await;
            assert_eq!(refused(copied), rule);
        }
        bed.delete_objects(&bucket(), vec![key("source")]).await.unwrap();
        let named = CompletedPart { number: number(1), etag: ETag::new(part.etag) };
        bed.complete_now(&upload, &[named]).await.unwrap();
        assert_eq!(bed.get("copy", 0, 899_999).await, &whole[600_001..1_500_000]);
        assert_eq!(bed.segments_in_use(), 3);
    }
}

#[tokio::test]
async fn the_list_of_an_object_of_many_slices_is_read_once() {
    for bed in Bed::both().await {
        let upload = bed.begin("many").await;
        let mut named = Vec::new();
        for n in 1..=9 {
            named.push(bed.put_part_bytes(&upload, n, &pattern(600_000, n)).await);
        }
        let record = bed.complete_now(&upload, &named).await.unwrap();
        assert!(matches!(record.content, records::Content::Listed(_)));
        let snapshot = bed.index.snapshot().unwrap();
        let slices = || bed.layouts.slices_of(&snapshot, &record.content).unwrap();
        assert_eq!(slices().len(), 9);
        assert!(Arc::ptr_eq(&slices(), &slices()));
    }
}

#[tokio::test]
async fn a_bucket_is_deleted_only_when_empty() {
    for bed in Bed::both().await {
        assert_eq!(refused(bed.create_bucket(&bucket(), 2).await), Rule::BucketExists);
        bed.put("a", b"").await;
        assert_eq!(refused(bed.delete_bucket(&bucket(), true).await), Rule::BucketNotEmpty);
        bed.delete_objects(&bucket(), vec![key("a")]).await.unwrap();
        let upload = bed.begin("b").await;
        assert_eq!(refused(bed.delete_bucket(&bucket(), true).await), Rule::BucketNotEmpty);
        bed.abort(upload).await.unwrap();
        bed.delete_bucket(&bucket(), true).await.unwrap();
        assert_eq!(refused(bed.delete_bucket(&bucket(), true).await), Rule::NoSuchBucket);
        assert_eq!(bed.buckets().unwrap(), []);
    }
}

#[tokio::test]
async fn parts_are_listed_in_pages_by_number() {
    for bed in Bed::both().await {
        let upload = bed.begin("x").await;
        for n in [5, 1, 10_000, 3] {
            bed.put_part_bytes(&upload, n, b"p").await;
        }
        let numbers = |after, count_max| {
            let page = bed.parts(&upload, after, count_max).unwrap();
            (page.parts.iter().map(|(number, _)| number.get()).collect::<Vec<_>>(), page.truncated)
        };
        assert_eq!(numbers(0, 1000), (vec![1, 3, 5, 10_000], false));
        assert_eq!(numbers(0, 2), (vec![1, 3], true));
        assert_eq!(numbers(3, 2), (vec![5, 10_000], false));
        assert_eq!(numbers(10_000, 2), (vec![], false));
    }
}

fn listed(bed: &Bed, prefix: &str, delimiter: &str, marker: &str, count_max: usize) -> (Vec<String>, Option<String>) {
    let (prefix, delimiter, marker) = (prefix.to_owned(), delimiter.to_owned(), marker.to_owned());
    let page = bed.list(&bucket(), &ListQuery { prefix, delimiter, marker, count_max }).unwrap();
    let keys = page.objects.into_iter().map(|(key, _)| key);
    let folded = page.common_prefixes.into_iter().map(|prefix| format!("[{prefix}]"));
    (folded.chain(keys).collect(), page.next_marker)
}

#[tokio::test]
async fn listings_fold_skip_and_page() {
    for bed in Bed::both().await {
        for name in ["a", "b/1", "b/2", "b/c/3", "b0", "c/", "c/x", "d", "腾/讯"] {
            bed.put(name, b"").await;
        }
        type Row<'r> = ((&'r str, &'r str, &'r str, usize), &'r [&'r str], Option<&'r str>);
        let table: [Row<'_>; 12] = [
            (("", "", "", 1000), &["a", "b/1", "b/2", "b/c/3", "b0", "c/", "c/x", "d", "腾/讯"], None),
            (("", "/", "", 1000), &["[b/]", "[c/]", "[腾/]", "a", "b0", "d"], None),
            (("b/", "/", "", 1000), &["[b/c/]", "b/1", "b/2"], None),
            (("c/", "/", "", 1000), &["c/", "c/x"], None),
            (("", "/", "", 2), &["[b/]", "a"], Some("b/")),
            (("", "/", "b/", 2), &["[c/]", "b0"], Some("c/")),
            (("", "/", "c/", 2), &["[腾/]", "d"], None),
            (("", "", "b/2", 2), &["b/c/3", "b0"], Some("b0")),
            (("", "", "b/1\u{10FFFF}", 1), &["b/2"], Some("b/2")),
            (("b", "", "a", 1), &["b/1"], Some("b/1")),
            (("b", "", "c", 10), &[], None),
            (("", "", "", 0), &[], None),
        ];
        for ((prefix, delimiter, marker, count_max), expected, next) in table {
            let (keys, marker_next) = listed(&bed, prefix, delimiter, marker, count_max);
            assert_eq!(keys, expected, "{prefix:?} {delimiter:?} {marker:?} {count_max}");
            assert_eq!(marker_next.as_deref(), next, "{prefix:?} {delimiter:?} {marker:?} {count_max}");
        }
    }
}

#[tokio::test]
async fn uploads_are_listed_by_key_and_id() {
    for bed in Bed::both().await {
        let mut begun = Vec::new();
        for name in ["a", "b/1", "b/2", "c", "c"] {
            begun.push(bed.begin(name).await);
        }
        let mut of_c: Vec<&str> = begun[3..].iter().map(|upload| upload.id.as_str()).collect();
        of_c.sort_unstable();
        let page = |prefix: &str, delimiter: &str, key_marker: &str, upload_id_marker: &str, count_max| {
            let query = UploadQuery {
                prefix: prefix.into(),
                delimiter: delimiter.into(),
                key_marker: key_marker.into(),
                upload_id_marker: upload_id_marker.into(),
                count_max,
            };
            let page = bed.list_uploads(&bucket(), &query).unwrap();
            let keys: Vec<String> = page.uploads.iter().map(|upload| upload.key.clone()).collect();
            (page.common_prefixes, keys, page.next)
        };
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
        assert_eq!(page("", "", "", "", 10), (vec![], named(&["a", "b/1", "b/2", "c", "c"]), None));
        assert_eq!(page("", "/", "", "", 10), (named(&["b/"]), named(&["a", "c", "c"]), None));
        assert_eq!(page("", "/", "b/", "", 10), (vec![], named(&["c", "c"]), None));
        assert_eq!(page("b", "", "b/1", "", 10), (vec![], named(&["b/2"]), None));
        assert_eq!(page("", "", "c", "", 10), (vec![], vec![], None));
        let next = Some(("c".to_owned(), of_c[0].to_owned()));
        assert_eq!(page("", "", "b/2", "", 1), (vec![], named(&["c"]), next));
        assert_eq!(page("", "", "c", of_c[0], 10), (vec![], named(&["c"]), None));
        assert_eq!(page("", "", "c", of_c[1], 10), (vec![], vec![], None));
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let [mut bed, _] = Bed::both().await;
    let home = bed.home.take().unwrap();
    bed.put("a", b"bytes").await;
    let upload = bed.begin("x").await;
    let part = bed.put_part_bytes(&upload, 1, b"part").await;
    bed.storage.take().unwrap().close().unwrap();
    assert!(home.path().join(directory::CLEAN_FILE).exists());
    let bed = Bed { storage: Some(Storage::on_disk(home.path(), false, &[]).unwrap()), home: Some(home) };
    assert_eq!(bed.get("a", 0, 5).await, b"bytes");
    bed.put("b", b"new").await;
    bed.complete_now(&upload, &[part]).await.unwrap();
    assert_eq!(bed.get("x", 0, 4).await, b"part");
    assert_eq!(bed.get("a", 0, 5).await, b"bytes");
}

#[tokio::test]
async fn what_no_row_names_is_swept_after_a_crash() {
    let [mut bed, _] = Bed::both().await;
    let home = bed.home.take().unwrap();
    bed.put("a", b"bytes").await;
    // Dropped without `close`: no mark of an orderly end.
    drop(bed.storage.take());
    let torn = home.path().join(directory::SEGMENTS_DIRECTORY).join("99/0000000000000099");
    fs::write(&torn, b"half").unwrap();
    let bed = Bed { storage: Some(Storage::on_disk(home.path(), false, &[]).unwrap()), home: Some(home) };
    assert!(!torn.exists());
    assert_eq!(bed.get("a", 0, 5).await, b"bytes");
    assert_eq!(bed.segment_files(), 1);
}

#[tokio::test]
async fn a_body_that_is_given_up_leaves_nothing() {
    for bed in Bed::both().await {
        let mut writer = bed.receive(Wanted::default()).unwrap();
        writer.write(Bytes::from(vec![7; 3 << 20])).await.unwrap();
        drop(writer);
        drop(bed.receive_bytes(b"whole but unwanted").await);
        assert_eq!((bed.segment_files(), bed.segments_in_use()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_are_all_kept() {
    for bed in Bed::both().await {
        let bed = std::sync::Arc::new(bed);
        let puts = (0..300).map(|n| {
            let bed = std::sync::Arc::clone(&bed);
            tokio::spawn(async move { bed.put(&format!("{n:03}"), format!("{n}").as_bytes()).await.size })
        });
        for put in puts.collect::<Vec<_>>() {
            put.await.unwrap();
        }
        assert_eq!(listed(&bed, "", "", "", 1000).0.len(), 300);
        assert_eq!(bed.get("123", 0, 3).await, b"123");
    }
}

#[tokio::test]
async fn what_is_not_committed_leaves_no_bytes() {
    for bed in Bed::both().await {
        let segment = bed.receive_bytes(&[1; 1000]).await.segment.unwrap();
        let id = segment.id();
        let is_there = || match bed.segments.path(id) {
            Some(path) => path.exists(),
            None => bed.segments.in_memory_segment(id).is_ok(),
        };
        assert!(is_there());
        let change = bed.index.change(move |tables| {
            tables.fresh.push(segment);
            Err::<(), _>(StorageError::failed("test", "as if the disk were full"))
        });
        assert!(change.await.is_err());
        assert!(!is_there());
    }
}

/// What a store says of itself, and the bytes of all its objects.
async fn told(bed: &Bed) -> Vec<(String, ObjectRecord, Vec<u8>)> {
    let page = bed.list(&bucket(), &ListQuery { count_max: 1000, ..ListQuery::default() }).unwrap();
    let mut told = Vec::new();
    for (name, record) in page.objects {
        let bytes = bed.get(&name, 0, record.size).await;
        told.push((name, record, bytes));
    }
    told
}

/// A store on disk with everything that an index can name, closed in order.
async fn filled() -> (TempDir, Vec<(String, ObjectRecord, Vec<u8>)>, UploadRef) {
    let [mut bed, _] = Bed::both().await;
    bed.put("empty", b"").await;
    bed.put("small", b"small").await;
    bed.put("gone", b"gone").await;
    bed.put("large", &pattern(3_000_000, 1)).await;
    let upload = bed.begin("of many parts").await;
    let mut parts = Vec::new();
    for n in 1..=6 {
        parts.push(bed.put_part_bytes(&upload, n, &pattern(5000, n)).await);
    }
    bed.complete_now(&upload, &parts).await.unwrap();
    bed.copy_object(source("of many parts"), bed.write("its copy"), as_it_is(), u64::MAX).await.unwrap();
    bed.copy_object(source("gone"), bed.write("renamed"), as_it_is(), u64::MAX).await.unwrap();
    bed.delete_objects(&bucket(), vec![key("gone"), key("of many parts")]).await.unwrap();
    let upload = bed.begin("unfinished").await;
    bed.put_part_bytes(&upload, 1, b"first").await;
    let limits = CopyLimits { bytes_max: u64::MAX, now: 1 };
    let range = ByteRange::new(1_000_001, 1_400_000);
    bed.copy_part(upload.clone(), number(2), source("large"), range, limits).await.unwrap();
    let told = told(&bed).await;
    assert_eq!(told.len(), 5);
    let home = bed.home.take().unwrap();
    bed.storage.take().unwrap().close().unwrap();
    (home, told, upload)
}

fn reopened(home: &TempDir, rebuild: bool) -> Result<Bed, StorageError> {
    Storage::on_disk(home.path(), rebuild, &[]).map(|storage| Bed { storage: Some(storage), home: None })
}

fn unusable(opened: Result<Bed, StorageError>) -> Unusable {
    match opened {
        Err(StorageError::Unusable(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

fn files_below(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.metadata().unwrap() {
            found if found.is_dir() => files.extend(files_below(&entry.path())),
            found => files.push((entry.path(), found.len())),
        }
    }
    files.sort();
    files
}

/// A way to lose an index.
type Loss = fn(&Path);

const LOSSES: [(&str, Loss); 6] = [
    ("missing", |index| fs::remove_file(index).unwrap()),
    ("empty", |index| fs::write(index, "").unwrap()),
    ("cut", |index| cut(index, 2)),
    ("cut by a page", |index| {
        let file = fs::OpenOptions::new().write(true).open(index).unwrap();
        file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    }),
    ("something else", |index| fs::write(index, pattern(100_000, 3)).unwrap()),
    ("overwritten", |index| {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(index).unwrap();
        for at in (8192..file.metadata().unwrap().len()).step_by(4096) {
            file.write_all_at(&[0xA5; 512], at).unwrap();
        }
    }),
];

fn cut(index: &Path, by: u64) {
    let file = fs::OpenOptions::new().write(true).open(index).unwrap();
    file.set_len(file.metadata().unwrap().len() / by).unwrap();
}

#[tokio::test]
async fn a_lost_index_is_refused_with_nothing_touched_and_is_made_anew() {
    for (what, lose) in LOSSES {
        let (home, before, upload) = filled().await;
        lose(&home.path().join("index.redb"));
        let files = files_below(&home.path().join("segments"));
        for _ in 0..2 {
            let why = unusable(reopened(&home, false));
            let journal = match why {
                Unusable::IndexGone { journal, .. } | Unusable::IndexDamaged { journal, .. } => journal,
                other => panic!("{what}: {other}"),
            };
            assert!(journal, "{what}");
            assert_eq!(files_below(&home.path().join("segments")), files, "{what}");
        }
        let bed = reopened(&home, true).unwrap();
        assert_eq!(told(&bed).await, before, "{what}");
        let parts = bed.parts(&upload, 0, 10).unwrap().parts;
        assert_eq!(parts.len(), 2, "{what}");
        let named = parts.iter().map(|(number, part)| CompletedPart { number: *number, etag: ETag::new(&part.etag) });
        bed.complete_now(&upload, &named.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(bed.get("unfinished", 0, 5).await, b"first");
        // Users were counted: what goes takes its bytes along, what stays keeps them.
        bed.delete_objects(&bucket(), vec![key("large"), key("unfinished"), key("its copy")]).await.unwrap();
        assert_eq!(files_below(&home.path().join("segments")).len(), 2, "{what}");
        drop(bed);
        assert_eq!(told(&reopened(&home, false).unwrap()).await.len(), 3, "{what}");
    }
}

#[tokio::test]
async fn an_index_of_before_there_were_journals_is_served_and_gets_one() {
    let (home, before, _) = filled().await;
    fs::remove_file(home.path().join("journal")).unwrap();
    let unnamed = home.path().join("segments/99/0000000000000099");
    fs::write(&unnamed, b"perhaps the only copy").unwrap();
    drop(reopened(&home, false).unwrap());
    let aside = home.path().join("unnamed-segments/0000000000000099");
    assert!(!unnamed.exists() && aside.exists(), "set aside, because nobody knows whether it is garbage");
    fs::remove_file(home.path().join("index.redb")).unwrap();
    assert_eq!(told(&reopened(&home, true).unwrap()).await, before);
    fs::remove_file(home.path().join("index.redb")).unwrap();
    fs::remove_file(home.path().join("journal")).unwrap();
    assert!(matches!(unusable(reopened(&home, false)), Unusable::IndexGone { journal: false, .. }));
    assert!(matches!(unusable(reopened(&home, true)), Unusable::NoJournal));
}

#[tokio::test]
async fn an_index_that_is_older_than_the_journal_is_refused() {
    let (home, _, _) = filled().await;
    let old = fs::read(home.path().join("index.redb")).unwrap();
    let bed = reopened(&home, false).unwrap();
    for name in ["new", "newer", "newest"] {
        bed.put(name, b"new").await;
    }
    let before = told(&bed).await;
    drop(bed);
    fs::write(home.path().join("index.redb"), old).unwrap();
    let files = files_below(&home.path().join("segments"));
    assert!(matches!(unusable(reopened(&home, false)), Unusable::IndexOld { .. }));
    assert_eq!(files_below(&home.path().join("segments")), files);
    assert_eq!(told(&reopened(&home, true).unwrap()).await, before);
    let (other, _, _) = filled().await;
    fs::copy(other.path().join("index.redb"), home.path().join("index.redb")).unwrap();
    assert!(matches!(unusable(reopened(&home, false)), Unusable::IndexOld { .. }));
}

#[tokio::test]
async fn a_directory_that_is_not_a_services_own_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("photo.jpg"), b"mine").unwrap();
    assert!(matches!(unusable(reopened(&home, false)), Unusable::Foreign { entry } if entry == "photo.jpg"));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing was put there");
    let file = Storage::on_disk(&home.path().join("photo.jpg"), false, &[]);
    assert!(matches!(file, Err(StorageError::Unusable(Unusable::NotDirectory))));
    let log = home.path().join("photo.jpg");
    drop(Storage::on_disk(home.path(), false, &[log]).unwrap());

    let (home, _, _) = filled().await;
    let first = reopened(&home, false).unwrap();
    assert!(matches!(unusable(reopened(&home, false)), Unusable::Used));
    drop(first);
    fs::remove_dir_all(home.path().join("segments")).unwrap();
    assert!(matches!(unusable(reopened(&home, false)), Unusable::SegmentsGone { .. }));
    assert!(matches!(unusable(reopened(&home, true)), Unusable::SegmentsGone { .. }));
}

#[tokio::test]
async fn nobody_else_can_look_into_what_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("parent/data");
    let storage = Storage::on_disk(&place, false, &[]).unwrap();
    let bed = Bed { storage: Some(storage), home: None };
    bed.create_bucket(&bucket(), 1).await.unwrap();
    bed.put("a", b"bytes").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&place), 0o700);
    for (file, _) in files_below(&place) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(bed);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    drop(Storage::on_disk(&place, false, &[]).unwrap());
    assert_eq!(mode(&place), 0o700, "one that was open is closed");
}

/// The bytes of a range, or whether it is damaged.
async fn try_get(bed: &Bed, name: &str, start: u64, end: u64) -> Result<Vec<u8>, bool> {
    let (_, open) = bed.open(&bucket(), &key(name), None).unwrap();
    match open.read(start..end).await {
        Ok(reading) => Ok(drain(reading).await),
        Err(error) => Err(matches!(error, StorageError::Damaged { .. })),
    }
}

#[tokio::test]
async fn damaged_segments_are_refused_before_the_first_byte() {
    use std::os::unix::fs::FileExt;
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |path| {
            let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 1_234_567).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], 1_234_567).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
        |path| cut(path, 2),
        |path| fs::write(path, pattern(3_000_001, 1)).unwrap(),
    ];
    for (which, damage) in damages.into_iter().enumerate() {
        for restart in [false, true] {
            let [mut bed, _] = Bed::both().await;
            bed.put("large", &pattern(3_000_000, 1)).await;
            bed.put("small", b"small").await;
            let home = bed.home.take().unwrap();
            let (large, _) = files_below(&home.path().join("segments")).into_iter().max_by_key(|file| file.1).unwrap();
            if restart {
                drop(bed.storage.take());
                bed.storage = Some(Storage::on_disk(home.path(), false, &[]).unwrap());
            }
            damage(&large);
            assert_eq!(try_get(&bed, "large", 0, 3_000_000).await, Err(true), "damage {which}, restart {restart}");
            // The last damage is a byte too many at the end.
            assert_eq!(try_get(&bed, "large", 1_200_000, 1_300_000).await.is_err(), which < 3, "damage {which}");
            if which == 0 {
                let far = try_get(&bed, "large", 2_900_000, 2_900_100).await.unwrap();
                assert_eq!(far, &pattern(3_000_000, 1)[2_900_000..2_900_100], "what is whole is served");
                let copied = bed.begin("copy").await;
                let limits = CopyLimits { bytes_max: u64::MAX, now: 1 };
                let cut = bed.copy_part(copied, number(1), source("large"), ByteRange::new(1, 2_000_000), limits).await;
                let stored = Crc64::of(&pattern(3_000_000, 1)[1..2_000_000]).0;
                assert_eq!(cut.unwrap().crc64, stored, "damaged bytes get no checksum of their own");
            }
            assert_eq!(try_get(&bed, "small", 0, 5).await.unwrap(), b"small");
        }
    }
}

#[tokio::test]
async fn a_damaged_small_object_is_refused_in_every_range() {
    let [mut bed, _] = Bed::both().await;
    bed.put("a", &pattern(5000, 1)).await;
    let home = bed.home.take().unwrap();
    let (file, _) = files_below(&home.path().join("segments")).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[17] ^= 1;
    fs::write(&file, bytes).unwrap();
    for (start, end) in [(0, 5000), (0, 1), (4000, 5000), (17, 18)] {
        assert_eq!(try_get(&bed, "a", start, end).await, Err(true), "{start}..{end}");
    }
}

#[tokio::test]
async fn zeros_are_holes() {
    use std::os::unix::fs::MetadataExt;
    let [mut bed, _] = Bed::both().await;
    let home = bed.home.take().unwrap();
    let mut bytes = vec![0; 5_000_000];
    bytes[1_700_000..1_700_100].copy_from_slice(&pattern(100, 1));
    bed.put("sparse", &bytes).await;
    bed.put("zeros", &bytes[..1_000_003]).await;
    bed.put("few zeros", &[0; 10]).await;
    assert_eq!(bed.get("sparse", 0, 5_000_000).await, bytes);
    assert_eq!(bed.get("zeros", 0, 1_000_003).await, &bytes[..1_000_003]);
    assert_eq!(bed.get("few zeros", 0, 10).await, [0; 10]);
    let on_disk = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let taken: u64 = files_below(&home.path().join("segments")).iter().map(|(path, _)| on_disk(path)).sum();
    assert!(taken <= 64 << 10, "{taken} bytes of the disk");
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_leaves_nothing() {
    let [mut bed, _] = Bed::both().await;
    let home = bed.home.take().unwrap();
    bed.put("a", b"bytes").await;
    let next = bed.segments.fresh_id() + 1;
    let path = bed.segments.path(next).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let mut writer = bed.receive(Wanted::default()).unwrap();
    writer.write(Bytes::from(pattern(100, 1))).await.unwrap();
    let finished = writer.finish().await;
    assert!(matches!(finished, Err(StorageError::Full)));
    assert!(fs::symlink_metadata(&path).is_err());
    assert_eq!(bed.get("a", 0, 5).await, b"bytes");
    drop(home);
}
