//! How much work writing and publishing are, counted in extents looked at: what a write costs must not depend on how
//! scattered the file is, and publishing must cost no more than in proportion to it.

use std::cell::Cell;
use std::sync::Arc;

use super::content::{Content, PartRules};
use super::extents::Extents;
use super::piece::Piece;
use super::{Ladder, OpenFile, Taken, UploadOptions, Uploader};
use crate::clock::Clock;
use crate::memory::Memory;
use crate::object::limits::{GIB, MIB};
use crate::object::{ByteRange, Checksum, ETag, Limits, ObjectAttributes, ObjectKey, Version};
use crate::stats::Stats;
use crate::store::testing::MemoryStore;

thread_local! {
    static EXTENTS: Cell<u64> = const { Cell::new(0) };
}

/// Counts one extent that is looked at.
pub(super) fn count() {
    EXTENTS.set(EXTENTS.get() + 1);
}

/// The extents that `work` looks at.
fn extents_in(work: impl FnOnce()) -> u64 {
    let before = EXTENTS.get();
    work();
    EXTENTS.get() - before
}

const PAGE: u64 = 4096;

fn uploader() -> Arc<Uploader> {
    let options = UploadOptions { part_bytes: MIB, ..UploadOptions::default() };
    let (store, memory, runtime) =
        (Arc::new(MemoryStore::new()), Memory::new(1 << 30), tokio::runtime::Handle::current());
    Uploader::new(store, memory, options, Clock::System, Arc::new(Stats::default()), runtime)
}

fn published(size: u64) -> Version {
    Version { etag: ETag::new("e"), size, checksum: Some(Checksum(1)) }
}

/// A file that is all of an object, and one that is one hole, of a GiB each.
fn files(uploader: &Arc<Uploader>) -> [Arc<OpenFile>; 2] {
    let key = |name: &str| ObjectKey::new(name).unwrap();
    let object = published(GIB).under(key("published"));
    let existing = OpenFile::existing(uploader, object, ObjectAttributes::default());
    let sparse = OpenFile::empty(uploader, key("sparse"), ObjectAttributes::default(), None);
    futures_util::FutureExt::now_or_never(sparse.truncate(GIB)).expect("a hole waits for nothing").unwrap();
    [existing, sparse]
}

/// Writes a page at each place, which takes no waiting.
fn write(file: &Arc<OpenFile>, places: impl Iterator<Item = u64>) {
    for place in places {
        assert_eq!(file.try_write(place, &[1; PAGE as usize]).unwrap(), Taken::All);
    }
}

/// Places all over a GiB, each once.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    // An odd factor permutes the pages.
    (0..count).map(|index| index * 40_503 % (GIB / PAGE) * PAGE)
}

#[tokio::test]
async fn a_write_costs_the_same_however_many_came_before() {
    let uploader = uploader();
    for file in files(&uploader) {
        let mut places = scattered(24_000);
        write(&file, places.by_ref().take(1000));
        let first = extents_in(|| write(&file, places.by_ref().take(3000)));
        write(&file, places.by_ref().take(17_000));
        let last = extents_in(|| write(&file, places.by_ref().take(3000)));
        assert!(last <= 2 * first, "{last} extents looked at after {first}");
    }
}

/// Whoever writes in order behind changes that cannot be sent yet would have all of them planned at every write.
#[tokio::test]
async fn writing_in_order_behind_scattered_changes_costs_the_same() {
    let uploader = uploader();
    let [file, _] = files(&uploader);
    write(&file, scattered(20_000).filter(|place| *place < GIB / 2));
    let in_order = (0..2048).map(|index| GIB / 2 + 5 + index * PAGE);
    let looked_at = extents_in(|| write(&file, in_order));
    // One plan of twenty thousand extents, and not two thousand of them.
    assert!(looked_at < 2048 * 100, "{looked_at} extents looked at for 2,048 writes");
}

/// What publishing makes of a file with so many scattered changes, but for the requests.
fn plan_and_seal(changes: u64) -> u64 {
    let memory = Memory::new(1 << 30);
    let mut content = Content::of(Some(published(GIB)));
    for place in scattered(changes) {
        let mut take = |bytes| Some(Piece::new(memory.try_take(bytes)?, Limits::COS.checksum));
        content.write(place, &[1; PAGE as usize], &mut take).unwrap();
    }
    let rules = PartRules {
        limits: Limits::COS,
        ladder: Ladder::new(MIB, MIB, Limits::COS),
        mixed_bytes: MIB,
        hole_bytes_min: None,
    };
    extents_in(|| {
        let actions = content.plan(&rules).unwrap();
        content.seal(&actions);
        content.plan_fetches(&rules);
        while let Some(outgoing) = content.parts.next_outgoing(|_| false) {
            let sent = crate::object::UploadedPart { etag: ETag::new("p"), size: 0, crc64: None };
            content.parts.acknowledge(outgoing.index, outgoing.version, sent, &[]);
        }
        content.parts.release_acknowledged(0);
        content.doubt(rules.limits.checksum);
        content.rest_on(published(GIB), false);
    })
}

#[test]
fn publishing_costs_in_proportion_to_the_changes() {
    let (few, many) = (plan_and_seal(4000), plan_and_seal(16_000));
    assert!(many <= 6 * few, "{many} extents looked at for four times the changes of {few}");
}

#[test]
fn taking_parts_off_costs_what_they_have() {
    let memory = Memory::new(64 << 20);
    let mut extents = Extents::new(0);
    for index in 0..10_000 {
        extents.push(PAGE, super::extents::ExtentSource::Zero);
        let mut take = |bytes| Some(Piece::new(memory.try_take(bytes)?, Limits::COS.checksum));
        assert_eq!(extents.write(extents.end(), &[index as u8; 16], &mut take), 16);
    }
    let count = extents.count() as u64;
    let end = extents.end();
    let looked_at = extents_in(|| {
        for part in 1..=1000 {
            extents.take_front(end * part / 1000);
        }
    });
    assert!(looked_at <= 3 * count, "{looked_at} extents looked at to part {count}");
    assert!(ByteRange::new(extents.start(), extents.end()).is_none());
}
