//! The promises of the store, each on disk and in memory.

use std::future::poll_fn;

use bytes::Bytes;
use tempfile::TempDir;

use crate::wire::operation::CompletedPart;
use crate::wire::{ByteRange, Crc64, ETag, ObjectKey, PartNumber, UploadId};

use super::*;

const LIMITS: CompleteLimits = CompleteLimits { part_bytes_min: 4, object_bytes_max: 1 << 40, forbid_overwrite: false };

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
        let disk = Storage::on_disk(home.path()).unwrap();
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
        Write { bucket: bucket(), key: key(name), forbid_overwrite: false, now: 1_700_000_000 }
    }

    async fn receive_bytes(&self, bytes: &[u8]) -> Received {
        let mut writer = self.receive(false).unwrap();
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
        let (_, open) = self.open(&bucket(), &key(name)).unwrap();
        drain(open.read(start, end)).await
    }

    async fn begin(&self, name: &str) -> UploadRef {
        let id = self.initiate(self.write(name), Attributes::default()).await.unwrap();
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
        let fans = fs::read_dir(home.path().join(SEGMENTS_DIRECTORY)).unwrap();
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
    CopySource { bucket: bucket(), key: key(name), holds: anyway() }
}

fn as_it_is() -> Replacement {
    Replacement { attributes: None, storage_class: None, tagging: None }
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
        assert_eq!(refused(bed.object(&bucket(), &key("b"))), Rule::NoSuchKey);
        let nowhere = BucketName::new("other-1").unwrap();
        assert_eq!(refused(bed.object(&nowhere, &key("a"))), Rule::NoSuchBucket);
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
        let (_, open) = bed.open(&bucket(), &key("a")).unwrap();
        bed.put("a", b"new").await;
        assert_eq!(drain(open.read(0, 2_000_000)).await, bytes);
        assert_eq!(bed.segments_in_use(), 1);
        assert!(bed.segment_files() <= 1, "the old file goes with its last reader");
    }
}

#[tokio::test]
async fn forbidding_overwrite_keeps_the_older_object() {
    for bed in Bed::both().await {
        bed.put("a", b"old").await;
        let received = bed.receive_bytes(b"new").await;
        let write = Write { forbid_overwrite: true, ..bed.write("a") };
        assert_eq!(
            refused(bed.put_object(write.clone(), Attributes::default(), received).await),
            Rule::FileAlreadyExists
        );
        assert_eq!(bed.get("a", 0, 3).await, b"old");
        assert_eq!(refused(bed.initiate(write, Attributes::default()).await), Rule::FileAlreadyExists);
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
        assert_eq!(copy.etag, bed.object(&bucket(), &key("small")).unwrap().etag);
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
        let archived = Replacement { storage_class: Some("ARCHIVE".into()), ..as_it_is() };
        bed.copy_object(source("a"), bed.write("a"), archived, u64::MAX).await.unwrap();
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
async fn a_bucket_is_deleted_only_when_empty() {
    for bed in Bed::both().await {
        assert_eq!(refused(bed.create_bucket(&bucket(), 2).await), Rule::BucketExists);
        bed.put("a", b"").await;
        assert_eq!(refused(bed.delete_bucket(&bucket()).await), Rule::BucketNotEmpty);
        bed.delete_objects(&bucket(), vec![key("a")]).await.unwrap();
        let upload = bed.begin("b").await;
        assert_eq!(refused(bed.delete_bucket(&bucket()).await), Rule::BucketNotEmpty);
        bed.abort(upload).await.unwrap();
        bed.delete_bucket(&bucket()).await.unwrap();
        assert_eq!(refused(bed.delete_bucket(&bucket()).await), Rule::NoSuchBucket);
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
    assert!(home.path().join(CLEAN_FILE).exists());
    let bed = Bed { storage: Some(Storage::on_disk(home.path()).unwrap()), home: Some(home) };
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
    let torn = home.path().join(SEGMENTS_DIRECTORY).join("99/0000000000000099");
    fs::write(&torn, b"half").unwrap();
    let bed = Bed { storage: Some(Storage::on_disk(home.path()).unwrap()), home: Some(home) };
    assert!(!torn.exists());
    assert_eq!(bed.get("a", 0, 5).await, b"bytes");
    assert_eq!(bed.segment_files(), 1);
}

#[tokio::test]
async fn a_body_that_is_given_up_leaves_nothing() {
    for bed in Bed::both().await {
        let mut writer = bed.receive(false).unwrap();
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
