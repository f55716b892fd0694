//! What every store must do, as one function for each behaviour.
//!
//! Each takes a bucket that others may be using too and keeps to keys that begin with its own name, or one that is its
//! own where it lists everything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cosmount::object::{
    ByteRange, ChecksumAlgorithm, Crc64, ETag, Encryption, ObjectAttributes, ObjectHead, ObjectKey, PartNumber,
    Protection, Tags, UploadId, UploadedPart,
};
use cosmount::store::{
    Body, CopyRequest, GetRequest, ListPage, ListRequest, ObjectStore, Published, Source, StoreError, StoreErrorKind,
};
use futures_util::TryStreamExt;

/// Hands the names of all behaviours to the macro `$then`, behind what else it is given.
macro_rules! every_behaviour {
    ($then:ident $given:tt) => {
        $then! { $given
            a_bucket_that_is_there_answers
            what_was_put_is_what_is_read
            the_checksum_of_an_object_is_told
            an_empty_object_is_an_object
            ranges_are_exact_and_clipped_at_the_end
            what_is_not_there_is_not_found
            another_version_than_the_pinned_one_is_changed
            bytes_that_arrive_otherwise_are_corrupted
            an_object_of_parts_with_another_checksum_is_corrupted
            awkward_keys_are_keys
            keys_may_be_long
            keys_may_end_in_a_slash
            keys_may_have_dots_for_directories
            keys_may_have_empty_names
            keys_may_have_backslashes
            keys_may_have_control_characters
            listings_are_in_byte_order
            listings_come_in_pages
            delimited_listings_gather_common_prefixes
            names_and_prefixes_of_a_page_count_together
            a_page_tells_all_names_up_to_its_marker
            a_listing_says_what_head_says
            a_copy_has_the_bytes_and_the_metadata_or_new_ones
            tags_are_kept
            class_and_encryption_are_kept
            an_upload_makes_one_object_of_its_parts
            a_small_part_may_be_the_only_one
            complete_refuses_parts_that_are_not_there
            an_aborted_upload_is_gone
            who_goes_on_with_an_upload_that_is_over_is_told_so
            unfinished_uploads_are_listed
            parts_of_an_unfinished_upload_are_listed
            an_unfinished_upload_says_when_it_was_begun
            a_part_can_be_a_range_of_an_object
            a_range_beyond_the_end_is_refused
            parts_may_go_up_side_by_side
            many_objects_are_removed_at_once
        }
    };
}
pub(crate) use every_behaviour;

type Store<'a> = &'a Arc<dyn ObjectStore>;

/// Keys that stumble over escaping, normalising or XML somewhere.
const AWKWARD: [&str; 12] = [
    "plain",
    "with space",
    "a+b",
    "100%",
    "%2B%20",
    "quote'\"<&>",
    "ques?tion#hash",
    "semi;colon=a&b",
    "腾讯云/对象.txt",
    "emoji😀",
    "tilde~_-.(!*)",
    " both sides ",
];

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

pub(crate) fn number(number: u64) -> PartNumber {
    PartNumber::new(number).unwrap()
}

/// Bytes that differ from those of every other seed.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ (i >> 8) as u8 ^ seed).collect()
}

/// The bytes in pieces of odd sizes.
fn pieces(bytes: &[u8]) -> Body {
    bytes.chunks(77_777).map(Bytes::copy_from_slice).collect()
}

/// The smallest part that is not the last, in bytes.
fn part_bytes(store: Store<'_>) -> usize {
    store.limits().part_bytes_min as usize
}

/// The checksum that the service tells of these bytes, or would.
pub(crate) fn sum(store: Store<'_>, bytes: &[u8]) -> Crc64 {
    store.limits().checksum.of(bytes)
}

pub(crate) async fn put(store: Store<'_>, name: &str, bytes: &[u8]) -> Published {
    let attributes = ObjectAttributes::default();
    store.put(&key(name), pieces(bytes), sum(store, bytes), &attributes).await.unwrap()
}

async fn read(store: Store<'_>, request: GetRequest) -> Result<(ObjectHead, Vec<u8>), StoreError> {
    let reading = store.get(request).await?;
    let bytes = reading.body.try_fold(Vec::new(), |mut bytes, piece| async move {
        bytes.extend_from_slice(&piece);
        Ok(bytes)
    });
    Ok((reading.head, bytes.await?))
}

fn whole(name: &str) -> GetRequest {
    GetRequest { key: key(name), range: None, if_match: None }
}

fn range_of(name: &str, start: u64, end: u64) -> GetRequest {
    GetRequest { range: ByteRange::new(start, end), ..whole(name) }
}

pub(crate) async fn bytes_of(store: Store<'_>, name: &str) -> Vec<u8> {
    read(store, whole(name)).await.unwrap().1
}

pub(crate) fn kind<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> StoreErrorKind {
    answer.unwrap_err().kind
}

pub(crate) async fn send(store: Store<'_>, name: &str, upload: &UploadId, part: u64, bytes: &[u8]) -> UploadedPart {
    store.upload_part(&key(name), upload, number(part), pieces(bytes), sum(store, bytes)).await.unwrap()
}

pub(crate) async fn begin(store: Store<'_>, name: &str) -> UploadId {
    store.initiate(&key(name), &ObjectAttributes::default()).await.unwrap().upload
}

fn attributes(mode: &str) -> ObjectAttributes {
    ObjectAttributes {
        content_type: Some("text/x-test".into()),
        user: [("mode".to_owned(), mode.to_owned()), ("mtime".to_owned(), "1700000000.25".to_owned())].into(),
        ..ObjectAttributes::default()
    }
}

pub(crate) async fn a_bucket_that_is_there_answers(store: Store<'_>) {
    store.head_bucket().await.unwrap();
}

pub(crate) async fn what_was_put_is_what_is_read(store: Store<'_>) {
    let size = part_bytes(store);
    let bytes = pattern(1, 3 * size + 17);
    let before = SystemTime::now();
    let crc64 = sum(store, &bytes);
    let published = store.put(&key("put/a"), pieces(&bytes), crc64, &attributes("33188")).await.unwrap();
    assert!(published.crc64.is_none_or(|told| told == crc64));

    let head = store.head(&key("put/a")).await.unwrap();
    assert_eq!((head.size, &head.etag), (bytes.len() as u64, &published.etag));
    assert!(head.crc64.is_none_or(|told| told == crc64));
    assert_eq!(head.attributes, attributes("33188"));
    let slack = Duration::from_secs(2);
    assert!(head.last_modified > before - slack && head.last_modified < SystemTime::now() + slack);

    let (read_head, read_bytes) = read(store, whole("put/a")).await.unwrap();
    assert!(head.told_at.is_some_and(|told_at| told_at >= head.last_modified));
    assert_eq!(ObjectHead { told_at: head.told_at, ..read_head }, head);
    assert!(read_bytes == bytes, "other bytes came back");

    put(store, "put/a", b"new").await;
    assert_eq!(bytes_of(store, "put/a").await, b"new");
}

pub(crate) async fn the_checksum_of_an_object_is_told(store: Store<'_>) {
    let bytes = pattern(20, 70_000);
    put(store, "told/put", &bytes).await;
    let upload = begin(store, "told/parts").await;
    let part = send(store, "told/parts", &upload, 1, &bytes).await;
    assert_eq!(part.crc64, Some(sum(store, &bytes)));
    let size = bytes.len() as u64;
    store.complete(&key("told/parts"), &upload, &[part.etag], size, Some(sum(store, &bytes))).await.unwrap();
    for name in ["told/put", "told/parts"] {
        assert_eq!(store.head(&key(name)).await.unwrap().crc64, Some(sum(store, &bytes)), "{name}");
    }
}

pub(crate) async fn an_empty_object_is_an_object(store: Store<'_>) {
    let published = put(store, "empty", b"").await;
    let (head, bytes) = read(store, whole("empty")).await.unwrap();
    assert_eq!((head.size, head.etag, bytes.len()), (0, published.etag, 0));
}

pub(crate) async fn ranges_are_exact_and_clipped_at_the_end(store: Store<'_>) {
    let bytes = pattern(2, 200_000);
    put(store, "range", &bytes).await;
    // S3 tells it with all of an object, and with nothing less.
    let told = Some(sum(store, &bytes)).filter(|_| store.limits().checksum == ChecksumAlgorithm::Crc64Xz);
    for (start, end) in [(0, 1), (0, 200_000), (65_535, 131_073), (199_999, 200_000), (150_000, u64::MAX / 2)] {
        let (head, part) = read(store, range_of("range", start, end)).await.unwrap();
        let expected = &bytes[start as usize..(end as usize).min(bytes.len())];
        assert!(part == expected, "{start}..{end} gave {} bytes", part.len());
        assert_eq!((head.size, head.crc64), (200_000, told), "of the whole object");
    }
    for start in [200_000, 300_000] {
        assert_eq!(kind(read(store, range_of("range", start, start + 1)).await), StoreErrorKind::InvalidRange);
    }
}

pub(crate) async fn what_is_not_there_is_not_found(store: Store<'_>) {
    assert_eq!(kind(store.head(&key("missing")).await), StoreErrorKind::NotFound);
    assert_eq!(kind(read(store, whole("missing")).await), StoreErrorKind::NotFound);
    let source = Source { key: key("missing"), if_match: None };
    let copy = CopyRequest::new(source.clone(), key("missing/copy"));
    assert_eq!(kind(store.copy(copy).await), StoreErrorKind::NotFound);
    let upload = begin(store, "missing/parts").await;
    let range = ByteRange::new(0, 1).unwrap();
    let part = store.upload_part_copy(&key("missing/parts"), &upload, number(1), &source, range).await;
    assert_eq!(kind(part), StoreErrorKind::NotFound);
    store.abort(&key("missing/parts"), &upload).await.unwrap();
    store.delete(&key("missing")).await.unwrap();
}

pub(crate) async fn another_version_than_the_pinned_one_is_changed(store: Store<'_>) {
    let old = put(store, "pinned", &pattern(3, 5000)).await.etag;
    let source = |if_match: &ETag| Source { key: key("pinned"), if_match: Some(if_match.clone()) };
    let get = |if_match: &ETag| GetRequest { if_match: Some(if_match.clone()), ..range_of("pinned", 10, 20) };
    let copy = |if_match: &ETag| CopyRequest::new(source(if_match), key("pinned-copy"));
    assert!(read(store, get(&old)).await.is_ok());
    assert!(store.copy(copy(&old)).await.is_ok());

    let new = put(store, "pinned", &pattern(4, 5000)).await.etag;
    assert_ne!(old, new);
    assert_eq!(kind(read(store, get(&old)).await), StoreErrorKind::Changed);
    assert_eq!(kind(store.copy(copy(&old)).await), StoreErrorKind::Changed);
    let upload = begin(store, "pinned-parts").await;
    let range = ByteRange::new(0, 10).unwrap();
    let part = store.upload_part_copy(&key("pinned-parts"), &upload, number(1), &source(&old), range).await;
    assert_eq!(kind(part), StoreErrorKind::Changed);
    store.abort(&key("pinned-parts"), &upload).await.unwrap();
    assert!(read(store, get(&new)).await.is_ok());
}

pub(crate) async fn bytes_that_arrive_otherwise_are_corrupted(store: Store<'_>) {
    let wrong = Crc64(sum(store, b"bytes").0 ^ 1);
    let body = Body::from(Bytes::from("bytes"));
    let answer = store.put(&key("corrupted"), body.clone(), wrong, &ObjectAttributes::default()).await;
    assert_eq!(kind(answer), StoreErrorKind::Corrupted);
    assert_eq!(kind(store.head(&key("corrupted")).await), StoreErrorKind::NotFound, "damaged bytes are stored");
    let upload = begin(store, "corrupted").await;
    let answer = store.upload_part(&key("corrupted"), &upload, number(1), body.clone(), wrong).await;
    assert_eq!(kind(answer), StoreErrorKind::Corrupted);
    store.abort(&key("corrupted"), &upload).await.unwrap();
}

pub(crate) async fn an_object_of_parts_with_another_checksum_is_corrupted(store: Store<'_>) {
    let wrong = Crc64(sum(store, b"bytes").0 ^ 1);
    let upload = begin(store, "mismatched").await;
    let part = send(store, "mismatched", &upload, 1, b"bytes").await;
    let answer = store.complete(&key("mismatched"), &upload, &[part.etag], 5, Some(wrong)).await;
    assert_eq!(kind(answer), StoreErrorKind::Corrupted);
}

pub(crate) async fn awkward_keys_are_keys(store: Store<'_>) {
    are_keys(store, "awkward", AWKWARD).await;
}

pub(crate) async fn keys_may_be_long(store: Store<'_>) {
    are_keys(store, "long", ["长".repeat((850 - 5) / 3).as_str()]).await;
}

pub(crate) async fn keys_may_end_in_a_slash(store: Store<'_>) {
    are_keys(store, "slashed", ["trailing/"]).await;
}

pub(crate) async fn keys_may_have_dots_for_directories(store: Store<'_>) {
    are_keys(store, "dots", ["dir/./x", "dir/../x", "ends/.."]).await;
}

pub(crate) async fn keys_may_have_empty_names(store: Store<'_>) {
    are_keys(store, "empty", ["a//b", "/x"]).await;
}

pub(crate) async fn keys_may_have_backslashes(store: Store<'_>) {
    are_keys(store, "back", ["back\\slash"]).await;
}

pub(crate) async fn keys_may_have_control_characters(store: Store<'_>) {
    are_keys(store, "control", ["new\nline\ttab", "control\u{1}\u{7f}"]).await;
}

/// Does with objects of these names, below `place`, what is done with others.
async fn are_keys<'a>(store: Store<'_>, place: &str, names: impl IntoIterator<Item = &'a str>) {
    let names: Vec<String> = names.into_iter().map(|name| format!("{place}/{name}")).collect();
    for (index, name) in names.iter().enumerate() {
        put(store, name, &pattern(index as u8, 100 + index)).await;
    }
    let page = list(store, &format!("{place}/"), false, None, None).await;
    let (mut listed, mut sorted) = (keys(&page), names.clone());
    listed.sort();
    sorted.sort();
    assert_eq!(listed, sorted);
    for (index, name) in names.iter().enumerate() {
        let bytes = pattern(index as u8, 100 + index);
        assert_eq!(bytes_of(store, name).await, bytes, "{name:?}");
        assert_eq!(store.head(&key(name)).await.unwrap().size, bytes.len() as u64, "{name:?}");
        let copied = format!("{place}2/{}", name.get(..name.len().min(800)).unwrap_or("long"));
        let source = Source { key: key(name), if_match: None };
        store.copy(CopyRequest::new(source, key(&copied))).await.unwrap();
        assert_eq!(bytes_of(store, &copied).await, bytes, "{name:?}");
        let upload = begin(store, name).await;
        store.abort(&key(name), &upload).await.unwrap();
    }
    let (single, many) = names.split_at(names.len().min(5));
    for name in single {
        store.delete(&key(name)).await.unwrap();
    }
    let many: Vec<ObjectKey> = many.iter().map(|name| key(name)).collect();
    assert_eq!(store.delete_many(&many).await.unwrap().len(), 0);
    assert_eq!(keys(&list(store, &format!("{place}/"), false, None, None).await), Vec::<String>::new());
}

async fn list(
    store: Store<'_>,
    prefix: &str,
    delimited: bool,
    marker: Option<&str>,
    max_keys: Option<u16>,
) -> ListPage {
    let marker = marker.map(str::to_owned);
    store.list(ListRequest { prefix: prefix.to_owned(), delimited, marker, max_keys }).await.unwrap()
}

fn keys(page: &ListPage) -> Vec<String> {
    page.objects.iter().map(|object| object.key.clone()).collect()
}

/// All keys of a listing in pages of `size`, and all prefixes.
pub(crate) async fn in_pages(
    store: Store<'_>,
    prefix: &str,
    delimited: bool,
    size: u16,
) -> (Vec<String>, Vec<ListPage>) {
    let (mut seen, mut pages, mut marker) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let page = list(store, prefix, delimited, marker.as_deref(), Some(size)).await;
        seen.extend(keys(&page));
        seen.extend(page.prefixes.iter().cloned());
        marker.clone_from(&page.next_marker);
        pages.push(page);
        if marker.is_none() {
            return (seen, pages);
        }
    }
}

pub(crate) async fn listings_are_in_byte_order(store: Store<'_>) {
    for name in ["b", "a", "a/1", "a/2", "a.txt", "é", "c/x/y", "B"] {
        put(store, &format!("list/{name}"), name.as_bytes()).await;
    }
    let all = ["B", "a", "a.txt", "a/1", "a/2", "b", "c/x/y", "é"].map(|name| format!("list/{name}"));
    assert_eq!(keys(&list(store, "list/", false, None, None).await), all);
    assert_eq!(keys(&list(store, "list/a", false, Some("list/a.txt"), None).await), ["list/a/1", "list/a/2"]);
}

pub(crate) async fn listings_come_in_pages(store: Store<'_>) {
    let names = ["B", "a", "a/1", "a/2", "b", "c/x/y", "é"].map(|name| format!("pages/{name}"));
    for name in &names {
        put(store, name, name.as_bytes()).await;
    }
    for size in 1..=8 {
        let (seen, pages) = in_pages(store, "pages/", false, size).await;
        assert!(pages.iter().all(|page| page.objects.len() <= usize::from(size)), "{pages:?}");
        assert_eq!(seen, names, "in pages of {size}");
    }
    assert_eq!(keys(&list(store, "pages/a/", false, None, None).await), ["pages/a/1", "pages/a/2"]);
    assert_eq!(keys(&list(store, "pages/b", false, None, None).await), ["pages/b"]);
    assert_eq!(list(store, "pages/nothing", true, None, None).await, ListPage::default());
}

/// Makes a few objects, of which `b/` stands for a directory.
async fn put_tree(store: Store<'_>, place: &str) {
    for name in ["a", "a/1", "a/2", "a0", "b/", "b/c", "d/e/f"] {
        put(store, &format!("{place}/{name}"), if name.ends_with('/') { b"" } else { name.as_bytes() }).await;
    }
}

pub(crate) async fn delimited_listings_gather_common_prefixes(store: Store<'_>) {
    put_tree(store, "tree").await;
    let page = list(store, "tree/", true, None, None).await;
    assert_eq!(keys(&page), ["tree/a", "tree/a0"]);
    assert_eq!(page.prefixes, ["tree/a/", "tree/b/", "tree/d/"]);
    assert_eq!(page.next_marker, None);
    let page = list(store, "tree/b/", true, None, None).await;
    assert_eq!((keys(&page), page.prefixes), (vec!["tree/b/".to_owned(), "tree/b/c".to_owned()], vec![]));
}

pub(crate) async fn names_and_prefixes_of_a_page_count_together(store: Store<'_>) {
    put_tree(store, "count").await;
    for size in 1..=6 {
        let (mut seen, pages) = in_pages(store, "count/", true, size).await;
        assert!(pages.iter().all(|page| page.objects.len() + page.prefixes.len() <= usize::from(size)), "{pages:?}");
        seen.sort();
        assert_eq!(seen, ["a", "a/", "a0", "b/", "d/"].map(|name| format!("count/{name}")), "in pages of {size}");
    }
}

/// Whoever looks a name up takes it for gone where a page would have told of it.
pub(crate) async fn a_page_tells_all_names_up_to_its_marker(store: Store<'_>) {
    for name in ["a", "a-b/1", "a.txt", "a/1", "b", "c.d", "c/1", "c0"] {
        put(store, &format!("upto/{name}"), b"x").await;
    }
    let all = ["a", "a-b/", "a.txt", "a/", "b", "c.d", "c/", "c0"].map(|name| format!("upto/{name}"));
    for size in 1..=8 {
        let (mut seen, pages) = in_pages(store, "upto/", true, size).await;
        let mut told: Vec<&String> = Vec::new();
        for page in &pages {
            told.extend(page.objects.iter().map(|object| &object.key).chain(&page.prefixes));
            let marker = page.next_marker.as_ref();
            let lacks = all.iter().find(|name| marker.is_none_or(|marker| *name <= marker) && !told.contains(name));
            assert_eq!(lacks, None, "in pages of {size}: {page:?}");
        }
        seen.sort();
        assert_eq!(seen, all, "each once, in pages of {size}");
    }
}

pub(crate) async fn a_listing_says_what_head_says(store: Store<'_>) {
    put(store, "listed/one", &pattern(5, 1234)).await;
    let page = list(store, "listed/", true, None, None).await;
    let head = store.head(&key("listed/one")).await.unwrap();
    let [object] = page.objects.as_slice() else { panic!("{page:?}") };
    assert_eq!((object.size, &object.etag), (head.size, &head.etag));
    assert_eq!(object.storage_class, "STANDARD");
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(seconds(object.last_modified), seconds(head.last_modified));
}

pub(crate) async fn a_copy_has_the_bytes_and_the_metadata_or_new_ones(store: Store<'_>) {
    let bytes = pattern(6, 10_000);
    store.put(&key("copy/from"), pieces(&bytes), sum(store, &bytes), &attributes("1")).await.unwrap();
    let source = Source { key: key("copy/from"), if_match: None };
    let copy = |to: &str, replace| CopyRequest { replace, ..CopyRequest::new(source.clone(), key(to)) };

    let copied = store.copy(copy("copy/kept", None)).await.unwrap();
    let head = store.head(&key("copy/kept")).await.unwrap();
    assert_eq!((&head.etag, &head.attributes), (&copied.etag, &attributes("1")));
    assert!(copied.crc64.is_none_or(|told| told == sum(store, &bytes)));
    assert_eq!(bytes_of(store, "copy/kept").await, bytes);

    let storage_class = Some("STANDARD_IA".to_owned());
    let rare = CopyRequest { storage_class: storage_class.clone(), ..copy("copy/rare", None) };
    store.copy(rare).await.unwrap();
    let told = store.head(&key("copy/rare")).await.unwrap().attributes;
    assert_eq!(told, ObjectAttributes { storage_class, ..attributes("1") });

    store.copy(copy("copy/replaced", Some(attributes("2")))).await.unwrap();
    assert_eq!(store.head(&key("copy/replaced")).await.unwrap().attributes, attributes("2"));

    assert_eq!(kind(store.copy(copy("copy/from", None)).await), StoreErrorKind::Invalid);
    store.copy(copy("copy/from", Some(attributes("3")))).await.unwrap();
    assert_eq!(store.head(&key("copy/from")).await.unwrap().attributes, attributes("3"));
    assert_eq!(bytes_of(store, "copy/from").await, bytes);
}

/// Of which a HEAD tells little: their owner may be another than who reads.
pub(crate) async fn tags_are_kept(store: Store<'_>) {
    let given = ObjectAttributes { tags: Tags::Are("a=1&b=x%20y".into()), ..attributes("1") };
    store.put(&key("tags/put"), pieces(b"x"), sum(store, b"x"), &given).await.unwrap();
    let upload = store.initiate(&key("tags/parts"), &given).await.unwrap().upload;
    let part = send(store, "tags/parts", &upload, 1, b"x").await;
    store.complete(&key("tags/parts"), &upload, &[part.etag], 1, Some(sum(store, b"x"))).await.unwrap();
    for name in ["tags/put", "tags/parts"] {
        assert_eq!(store.tags(&key(name)).await.unwrap(), given.tags, "{name}");
    }
    // A copy has the tags of its source, whatever of its metadata is replaced.
    let source = Source { key: key("tags/put"), if_match: None };
    let copy = |to: &str, replace| CopyRequest { replace, ..CopyRequest::new(source.clone(), key(to)) };
    store.copy(copy("tags/copy", None)).await.unwrap();
    assert_eq!(store.tags(&key("tags/copy")).await.unwrap(), given.tags);
    let unread = ObjectAttributes { tags: Tags::Unread, ..given };
    store.copy(copy("tags/again", Some(unread.clone()))).await.unwrap();
    assert_eq!(store.tags(&key("tags/again")).await.unwrap(), Tags::Are("a=1&b=x%20y".into()));
    let other = ObjectAttributes { tags: Tags::Are("c=3".into()), ..unread };
    store.copy(copy("tags/other", Some(other.clone()))).await.unwrap();
    assert_eq!(store.tags(&key("tags/other")).await.unwrap(), other.tags);
    put(store, "tags/plain", b"x").await;
    assert_eq!(store.tags(&key("tags/plain")).await.unwrap(), Tags::None);
    assert_eq!(kind(store.tags(&key("tags/none")).await), StoreErrorKind::NotFound);
}

/// And an access list, which no HEAD tells.
pub(crate) async fn class_and_encryption_are_kept(store: Store<'_>) {
    let encryption = |algorithm: &str| Some(Encryption { algorithm: algorithm.into(), kms_key: None });
    let given = ObjectAttributes {
        content_language: Some("de".into()),
        storage_class: Some("STANDARD_IA".into()),
        protection: Protection { acl: Some("private".into()), encryption: encryption(Encryption::OF_COS) },
        tags: Tags::Are("a=1".into()),
        ..attributes("1")
    };
    let told = ObjectAttributes {
        protection: Protection { acl: None, ..given.protection.clone() },
        tags: Tags::Unread,
        ..given.clone()
    };
    store.put(&key("kept/put"), pieces(b"x"), sum(store, b"x"), &given).await.unwrap();
    let upload = store.initiate(&key("kept/parts"), &given).await.unwrap().upload;
    let part = send(store, "kept/parts", &upload, 1, b"x").await;
    store.complete(&key("kept/parts"), &upload, &[part.etag], 1, Some(sum(store, b"x"))).await.unwrap();
    for name in ["kept/put", "kept/parts"] {
        assert_eq!(store.head(&key(name)).await.unwrap().attributes, told, "{name}");
    }
    // A copy has of all this what it is given.
    let source = Source { key: key("kept/put"), if_match: None };
    let copy = |to: &str, replace| CopyRequest { replace, ..CopyRequest::new(source.clone(), key(to)) };
    store.copy(copy("kept/copy", None)).await.unwrap();
    let plain = ObjectAttributes { storage_class: None, protection: Protection::default(), ..told.clone() };
    assert_eq!(store.head(&key("kept/copy")).await.unwrap().attributes, plain);
    store.copy(copy("kept/again", Some(told.clone()))).await.unwrap();
    assert_eq!(store.head(&key("kept/again")).await.unwrap().attributes, told);
    let kms = ObjectAttributes {
        protection: Protection { acl: None, encryption: encryption(Encryption::OF_KMS) },
        ..ObjectAttributes::default()
    };
    store.put(&key("kept/kms"), pieces(b"x"), sum(store, b"x"), &kms).await.unwrap();
    assert_eq!(store.head(&key("kept/kms")).await.unwrap().attributes.protection, kms.protection);
}

pub(crate) async fn an_upload_makes_one_object_of_its_parts(store: Store<'_>) {
    let size = part_bytes(store);
    let name = "multi/object";
    let (one, two, three) = (pattern(7, size), pattern(8, size + 1), pattern(9, 5));
    let upload = store.initiate(&key(name), &attributes("33188")).await.unwrap().upload;
    let last = send(store, name, &upload, 3, &three).await;
    let overwritten = send(store, name, &upload, 2, &one).await;
    let first = send(store, name, &upload, 1, &one).await;
    let second = send(store, name, &upload, 2, &two).await;
    assert_ne!(overwritten.etag, second.etag);
    assert_eq!(second.size, two.len() as u64);
    assert!(second.crc64.is_none_or(|told| told == sum(store, &two)));
    assert_eq!(kind(store.head(&key(name)).await), StoreErrorKind::NotFound);

    let bytes = [one, two, three].concat();
    let crc64 = sum(store, &bytes);
    let etags = [first.etag, second.etag, last.etag];
    let published = store.complete(&key(name), &upload, &etags, bytes.len() as u64, Some(crc64)).await.unwrap();
    let (head, read_bytes) = read(store, whole(name)).await.unwrap();
    assert_eq!((head.etag, head.attributes), (published.etag, attributes("33188")));
    assert!(head.crc64.is_none_or(|told| told == crc64));
    assert!(read_bytes == bytes, "other bytes came back");
}

pub(crate) async fn a_small_part_may_be_the_only_one(store: Store<'_>) {
    let upload = begin(store, "small").await;
    let part = send(store, "small", &upload, 1, b"tiny").await;
    store.complete(&key("small"), &upload, &[part.etag], 4, Some(sum(store, b"tiny"))).await.unwrap();
    assert_eq!(bytes_of(store, "small").await, b"tiny");
}

pub(crate) async fn complete_refuses_parts_that_are_not_there(store: Store<'_>) {
    let size = part_bytes(store);
    let name = "incomplete";
    let upload = begin(store, name).await;
    let first = send(store, name, &upload, 1, &pattern(10, 100)).await.etag;
    let third = send(store, name, &upload, 3, &pattern(11, 100)).await.etag;
    let refused = [
        ("a gap", vec![first.clone(), third.clone(), third.clone()]),
        ("another ETag", vec![ETag::new("00000000000000000000000000000000")]),
        ("no parts", vec![]),
    ];
    for (why, etags) in refused {
        assert_eq!(kind(store.complete(&key(name), &upload, &etags, 1, None).await), StoreErrorKind::Invalid, "{why}");
    }
    let second = send(store, name, &upload, 2, &pattern(12, size)).await.etag;
    let too_small = store.complete(&key(name), &upload, &[first, second], 1, None).await;
    assert_eq!(kind(too_small), StoreErrorKind::Invalid);
    assert_eq!(kind(store.head(&key(name)).await), StoreErrorKind::NotFound);
    store.abort(&key(name), &upload).await.unwrap();
}

pub(crate) async fn an_aborted_upload_is_gone(store: Store<'_>) {
    let name = "aborted";
    let upload = begin(store, name).await;
    let part = send(store, name, &upload, 1, b"bytes").await.etag;
    store.abort(&key(name), &upload).await.unwrap();
    store.abort(&key(name), &upload).await.unwrap();
    assert!(store.complete(&key(name), &upload, &[part], 5, Some(sum(store, b"bytes"))).await.is_err());
    assert_eq!(kind(store.head(&key(name)).await), StoreErrorKind::NotFound);
}

pub(crate) async fn who_goes_on_with_an_upload_that_is_over_is_told_so(store: Store<'_>) {
    for ends_well in [true, false] {
        let name = format!("over/{ends_well}");
        let upload = begin(store, &name).await;
        let part = [send(store, &name, &upload, 1, b"bytes").await.etag];
        let sum_of_all = Some(sum(store, b"bytes"));
        if ends_well {
            store.complete(&key(&name), &upload, &part, 5, sum_of_all).await.unwrap();
        } else {
            store.abort(&key(&name), &upload).await.unwrap();
            let complete = store.complete(&key(&name), &upload, &part, 5, sum_of_all).await;
            assert_eq!(kind(complete), StoreErrorKind::NoSuchUpload);
        }
        let late = store.upload_part(&key(&name), &upload, number(2), pieces(b"late"), sum(store, b"late")).await;
        assert_eq!(kind(late), StoreErrorKind::NoSuchUpload, "it ended well: {ends_well}");
    }
}

pub(crate) async fn unfinished_uploads_are_listed(store: Store<'_>) {
    let mut begun = Vec::new();
    for name in ["uploads/b", "uploads/a", "uploads/a", "uploads2/x", "an odd/+%?#&=name"] {
        begun.push((key(name), begin(store, name).await));
    }
    let listed = store.list_uploads("uploads/").await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|upload| upload.key.as_str()).collect();
    assert_eq!(keys, ["uploads/a", "uploads/a", "uploads/b"]);
    let all = store.list_uploads("").await.unwrap();
    for (key, id) in &begun {
        assert!(all.iter().any(|upload| upload.key == key.as_str() && upload.upload == *id), "{key} {id}");
        store.abort(key, id).await.unwrap();
    }
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

pub(crate) async fn parts_of_an_unfinished_upload_are_listed(store: Store<'_>) {
    let (parts, upload) = (key("parts"), begin(store, "parts").await);
    assert!(store.list_parts(&parts, &upload).await.unwrap().is_empty());
    let [second, tenth] = [(2, "two"), (10, "tenth")];
    let sent = [
        send(store, "parts", &upload, tenth.0, tenth.1.as_bytes()).await,
        send(store, "parts", &upload, second.0, second.1.as_bytes()).await,
    ];
    let listed = store.list_parts(&parts, &upload).await.unwrap();
    let told: Vec<_> = listed.iter().map(|part| (part.number, part.size, &part.etag)).collect();
    assert_eq!(told, [(number(2), 3, &sent[1].etag), (number(10), 5, &sent[0].etag)]);
    store.abort(&parts, &upload).await.unwrap();
    assert_eq!(kind(store.list_parts(&parts, &upload).await), StoreErrorKind::NoSuchUpload);
}

pub(crate) async fn an_unfinished_upload_says_when_it_was_begun(store: Store<'_>) {
    let before = store.service_time();
    let upload = begin(store, "begun").await;
    let listed = store.list_uploads("begun").await.unwrap();
    let slack = Duration::from_secs(2);
    let during = before - slack..=store.service_time() + slack;
    assert!(listed.len() == 1 && during.contains(&listed[0].initiated), "{listed:?}");
    store.abort(&key("begun"), &upload).await.unwrap();
}

pub(crate) async fn a_part_can_be_a_range_of_an_object(store: Store<'_>) {
    let size = part_bytes(store);
    let bytes = pattern(13, 2 * size);
    let etag = put(store, "partcopy/from", &bytes).await.etag;
    let source = Source { key: key("partcopy/from"), if_match: Some(etag) };
    let to = key("partcopy/to");
    let upload = begin(store, "partcopy/to").await;
    let range = ByteRange::new(100, 100 + size as u64).unwrap();
    let copied = store.upload_part_copy(&to, &upload, number(1), &source, range).await.unwrap();
    assert_eq!(copied.size, size as u64);
    assert!(copied.crc64.is_none_or(|told| told == sum(store, &bytes[100..100 + size])));
    let tail = send(store, "partcopy/to", &upload, 2, b"tail").await;

    let expected = [&bytes[100..100 + size], b"tail"].concat();
    let etags = [copied.etag, tail.etag];
    let crc64 = sum(store, &expected);
    store.complete(&to, &upload, &etags, expected.len() as u64, Some(crc64)).await.unwrap();
    assert!(bytes_of(store, "partcopy/to").await == expected, "other bytes came back");
}

pub(crate) async fn a_range_beyond_the_end_is_refused(store: Store<'_>) {
    put(store, "beyond-from", b"bytes").await;
    let source = Source { key: key("beyond-from"), if_match: None };
    let upload = begin(store, "beyond").await;
    let beyond = ByteRange::new(1, 6).unwrap();
    let answer = store.upload_part_copy(&key("beyond"), &upload, number(1), &source, beyond).await;
    assert_eq!(kind(answer), StoreErrorKind::InvalidRange);
    store.abort(&key("beyond"), &upload).await.unwrap();
}

pub(crate) async fn parts_may_go_up_side_by_side(store: Store<'_>) {
    let size = part_bytes(store);
    let name = "parallel";
    let upload = begin(store, name).await;
    let bytes = pattern(14, 8 * size);
    let sends = bytes.chunks(size).enumerate().map(|(index, part)| {
        let (store, upload, body, crc64) = (store.clone(), upload.clone(), pieces(part), sum(store, part));
        tokio::spawn(async move {
            store.upload_part(&key(name), &upload, number(index as u64 + 1), body, crc64).await.unwrap().etag
        })
    });
    let sends: Vec<_> = sends.collect();
    let mut etags = Vec::new();
    for send in sends {
        etags.push(send.await.unwrap());
    }
    store.complete(&key(name), &upload, &etags, bytes.len() as u64, Some(sum(store, &bytes))).await.unwrap();
    assert!(bytes_of(store, name).await == bytes, "other bytes came back");
}

pub(crate) async fn many_objects_are_removed_at_once(store: Store<'_>) {
    let mut keys = Vec::new();
    for index in 0..30 {
        let name = format!("many/{index}");
        put(store, &name, b"x").await;
        keys.push(key(&name));
    }
    keys.push(key("many/never-was"));
    assert!(store.delete_many(&keys).await.unwrap().is_empty());
    assert!(store.delete_many(&[]).await.unwrap().is_empty());
    assert_eq!(list(store, "many/", false, None, None).await, ListPage::default());
}
