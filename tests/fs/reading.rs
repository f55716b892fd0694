//! Reading: in order and at random, what changes or breaks meanwhile, and files that are being written.

use bytes::Bytes;
use cosmount::fs::FsError;
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey, PartNumber};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Body, ObjectStore, Op, StoreErrorKind};
use futures_util::future::join_all;
use futures_util::poll;

use crate::bed::{APPEND, Bed, Choices, File, KIB, MIB, PART, READ, REPLACE, WRITE, assert_same, bytes};

/// The ranges that were read from the bucket, by start.
fn ranges_read(bed: &Bed) -> Vec<(u64, u64)> {
    let requests = bed.bucket.requests();
    let mut ranges: Vec<(u64, u64)> =
        requests.iter().filter_map(|request| request.range).map(|range| (range.start(), range.end())).collect();
    ranges.sort();
    ranges
}

#[tokio::test]
async fn a_file_read_in_order_is_fetched_once_in_large_pieces() {
    for (len, piece) in [(0, MIB), (1, MIB), (MIB, 128 * KIB), (40 * MIB + 5, MIB), (40 * MIB + 5, 100_000)] {
        let bed = Bed::new();
        let content = bytes(1, len);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        let mut read = Vec::new();
        while read.len() < len {
            read.extend_from_slice(&file.read(read.len(), piece).await.unwrap());
        }
        assert_same(&read, &content);
        assert_eq!(file.read(len, piece).await.unwrap(), b"");
        let ranges = ranges_read(&bed);
        let end = ranges.iter().fold(0, |end, range| {
            assert_eq!(range.0, end, "a gap or an overlap: {ranges:?}");
            range.1
        });
        assert_eq!(end, len as u64);
        assert!(ranges.iter().all(|(start, end)| end - start <= 8 << 20), "{ranges:?}");
        assert!(ranges.len() <= 5 + len / (4 * MIB), "{ranges:?}");
    }
}

#[tokio::test]
async fn several_requests_are_on_their_way_for_a_reader_in_order() {
    let gate = Gate::new();
    let bed = Bed::with(Choices { memory_bytes: 256 * MIB, ..Choices::default() });
    let content = bytes(1, 64 * MIB);
    bed.bucket.insert("a", content.clone());
    let file = bed.open("a", READ).await.unwrap();
    for index in 0..32 {
        file.read(index * MIB, MIB).await.unwrap();
    }
    bed.faults.inject(Fault::hold(Op::GetObject, &gate).forever());
    let mut reads = Box::pin(async {
        for index in 32..64 {
            assert_same(&file.read(index * MIB, MIB).await.unwrap(), &content[index * MIB..(index + 1) * MIB]);
        }
    });
    assert!(poll!(&mut reads).is_pending());
    bed.settle().await;
    assert!(poll!(&mut reads).is_pending(), "the window came to its end");
    bed.settle().await;
    gate.reached_by(2).await;
    gate.open();
    reads.await;
}

#[tokio::test]
async fn a_look_at_the_beginning_costs_little() {
    let bed = Bed::new();
    bed.bucket.insert("a", bytes(1, 40 * MIB));
    let file = bed.open("a", READ).await.unwrap();
    file.read(0, 4 * KIB).await.unwrap();
    bed.settle().await;
    let fetched: u64 = ranges_read(&bed).iter().map(|(start, end)| end - start).sum();
    assert!(fetched <= 2 << 20, "{fetched}");
}

#[tokio::test]
async fn a_reader_who_jumps_gets_what_it_asked_for() {
    let bed = Bed::new();
    let content = bytes(1, 32 * MIB + 77);
    bed.bucket.insert("a", content.clone());
    let file = bed.open("a", READ).await.unwrap();
    let (mut at, mut asked) = (12_345_678_usize, 0);
    for round in 0..200 {
        at = (at * 1_103_515_245 + 12_345) % content.len();
        let len = if round % 10 == 0 { 700 * KIB } else { 4 * KIB };
        let read = file.read(at, len).await.unwrap();
        assert_same(&read, &content[at..content.len().min(at + len)]);
        asked += len.max(64 * KIB) + 64 * KIB;
    }
    let ranges = ranges_read(&bed);
    assert!(ranges.iter().all(|(start, end)| end - start <= 4 << 20), "{ranges:?}");
    let fetched: u64 = ranges.iter().map(|(start, end)| end - start).sum();
    assert!(fetched <= (asked as u64).max(4 * content.len() as u64), "{fetched}");
}

#[tokio::test]
async fn many_readers_at_once_fetch_each_byte_once() {
    let bed = Bed::new();
    let content = bytes(1, 4 * MIB + 1);
    bed.bucket.insert("a", content.clone());
    let files = join_all((0..8).map(|_| bed.open("a", READ))).await;
    let reads = files.iter().map(|file| file.as_ref().unwrap().read_all());
    for read in join_all(reads).await {
        assert_same(&read.unwrap(), &content);
    }
    let fetched: u64 = ranges_read(&bed).iter().map(|(start, end)| end - start).sum();
    assert_eq!(fetched, content.len() as u64);
}

#[tokio::test]
async fn reads_end_where_the_file_ends() {
    let bed = Bed::new();
    bed.bucket.insert("a", "0123456789");
    let file = bed.open("a", READ).await.unwrap();
    let table = [(0, 100, "0123456789"), (5, 2, "56"), (9, 5, "9"), (10, 5, ""), (1 << 40, 5, ""), (3, 0, "")];
    for (offset, len, expected) in table {
        assert_eq!(file.read(offset, len).await.unwrap(), expected.as_bytes(), "{len} from {offset}");
    }
    assert_eq!(file.read(usize::MAX, usize::MAX).await.unwrap(), b"");
}

#[tokio::test]
async fn the_kernel_keeps_nothing_of_what_is_just_being_written() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let opened = bed.fs.open(ino, READ).await.unwrap();
    assert!(!opened.is_direct);
    let writer = bed.open("a", APPEND).await.unwrap();
    writer.write(7, b" and more").await.unwrap();
    assert!(bed.fs.open(ino, READ).await.unwrap().is_direct);
    writer.close().await.unwrap();
    assert!(!bed.fs.open(ino, READ).await.unwrap().is_direct);
}

#[tokio::test]
async fn an_object_that_changes_under_a_reader_is_stale_and_never_mixed() {
    for sequential in [true, false] {
        let bed = Bed::new();
        let content = bytes(1, 60 * MIB);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        file.read(if sequential { 0 } else { 50 * MIB }, MIB).await.unwrap();
        bed.settle().await;
        bed.bucket.insert("a", bytes(2, 60 * MIB));
        let mut result = Ok(());
        for index in 0..60 {
            match file.read(index * MIB, MIB).await {
                Ok(read) => assert_same(&read, &content[index * MIB..(index + 1) * MIB]),
                Err(error) => result = Err(error),
            }
        }
        assert_eq!(result, Err(FsError::Stale));
        bed.bucket.remove("a");
        assert_eq!(file.read(59 * MIB + 1, 10).await, Err(FsError::Stale), "gone is stale too for who has it open");
    }
}

/// As a copy that the network delivers twice makes it: the same bytes are there as another version.
#[tokio::test]
async fn an_object_that_is_stored_once_more_as_it_was_is_read_on() {
    for sequential in [true, false] {
        let bed = Bed::new();
        let content = bytes(1, 60 * MIB);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        file.read(if sequential { 0 } else { 50 * MIB }, MIB).await.unwrap();
        bed.settle().await;
        let (store, key) = (&bed.bucket, ObjectKey::new("a").unwrap());
        let (body, crc64) = (Body::from(Bytes::from(content.clone())), Crc64::of(&content));
        let upload = store.initiate(&key, &ObjectAttributes::default()).await.unwrap().upload;
        let part = store.upload_part(&key, &upload, PartNumber::new(1).unwrap(), body, crc64).await.unwrap();
        let known = store.head(&key).await.unwrap().etag;
        let anew = store.complete(&key, &upload, &[part.etag], content.len() as u64, Some(crc64)).await.unwrap();
        assert_ne!(known, anew.etag);
        for index in 0..60 {
            let read = file.read(index * MIB, MIB).await.unwrap();
            assert_same(&read, &content[index * MIB..(index + 1) * MIB]);
        }
    }
}

/// What is fetched whole before it is handed out: files of one block, and those that fit the window but for their first
/// MiB.
#[tokio::test]
async fn damaged_bytes_are_fetched_again_before_anybody_sees_them() {
    for (len, call) in [(1, 1), (10, 1), (300 * KIB, 1), (MIB, 1), (3 * MIB + 5, 2), (12 * MIB, 2), (12 * MIB, 3)] {
        for times in 1..=2 {
            let bed = Bed::with_faults([Fault::damage_read().from_call(call).times(times)]);
            let content = bytes(1, len);
            bed.bucket.insert("a", content.clone());
            let file = bed.open("a", READ).await.unwrap();
            assert_same(&file.read_all().await.unwrap(), &content);
            file.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn bytes_that_come_damaged_again_and_again_are_an_error() {
    for len in [10, 300 * KIB, MIB, 3 * MIB + 5, 12 * MIB] {
        let bed = Bed::with_faults([Fault::damage_read().forever()]);
        let content = bytes(1, len);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        assert_eq!(file.read_all().await, Err(FsError::Remote(StoreErrorKind::Corrupted)), "{len}");
        file.close().await.unwrap();
        bed.faults.heal();
        assert_same(&bed.read("a").await.unwrap(), &content);
    }
}

/// A whole file read in order is compared with its checksum: whichever piece is damaged, the end is not reached.
#[tokio::test]
async fn damaged_bytes_that_were_handed_out_are_an_error_before_the_end() {
    for (len, calls) in [(3 * MIB + 5, 1), (30 * MIB, 5)] {
        for call in 1..=calls {
            let bed = Bed::with_faults([Fault::damage_read().from_call(call)]);
            let content = bytes(1, len);
            bed.bucket.insert("a", content.clone());
            let file = bed.open("a", READ).await.unwrap();
            assert_eq!(file.read_all().await, Err(FsError::Remote(StoreErrorKind::Corrupted)), "{call} of {len}");
            assert!(file.read(0, 10).await.is_err(), "nothing more comes from this opening");
            let ino = file.ino;
            file.close().await.unwrap();
            let opened = bed.fs.open(ino, READ).await.unwrap();
            assert!(!opened.keep_cache, "the kernel has damaged pages");
            bed.fs.release(opened.handle).await;
            assert_same(&bed.read("a").await.unwrap(), &content);
        }
    }
}

/// The kernel asks ahead: all that is left may be asked for, or one read may be all that is left, when the damage shows.
#[tokio::test]
async fn the_last_read_tells_that_an_earlier_one_got_damaged_bytes() {
    let bed = Bed::with_faults([Fault::damage_read()]);
    let content = bytes(1, 3 * MIB + 5);
    bed.bucket.insert("a", content.clone());
    let file = bed.open("a", READ).await.unwrap();
    let first = file.read(0, 128 * KIB).await.unwrap();
    assert!(first != content[..128 * KIB], "the first bytes are handed out before the rest is there");
    let rest = file.read(128 * KIB, content.len()).await;
    assert_eq!(rest.err(), Some(FsError::Remote(StoreErrorKind::Corrupted)));
}

/// What the kernel reads ahead it asks for at once, and the threads that take the requests take them in any order: whichever
/// piece is damaged, somebody who reads all of the file is told.
#[tokio::test]
async fn requests_that_overtake_one_another_are_verified_as_those_in_order() {
    let len = 1500 * KIB;
    for piece in [128 * KIB, 256 * KIB, 512 * KIB] {
        let starts: Vec<usize> = (0..len).step_by(piece).collect();
        let mut swapped = starts.clone();
        swapped.swap(0, 1);
        let reversed: Vec<usize> = starts.iter().rev().copied().collect();
        for (order, damaged) in [starts, swapped, reversed].iter().flat_map(|order| [1, 2].map(|call| (order, call))) {
            let bed = Bed::with_faults([Fault::damage_read().from_call(damaged)]);
            let content = bytes(1, len);
            bed.bucket.insert("a", content.clone());
            let file = bed.open("a", READ).await.unwrap();
            let reads: Vec<_> = order.iter().map(|start| file.read(*start, piece)).collect();
            let read = join_all(reads).await;
            let is_right = |(start, read): (&usize, &Result<Vec<u8>, FsError>)| {
                read.as_ref().is_ok_and(|read| *read == content[*start..len.min(start + piece)])
            };
            let told = read.contains(&Err(FsError::Remote(StoreErrorKind::Corrupted)));
            assert!(told || order.iter().zip(&read).all(is_right), "piece {damaged} of {order:?}");
            assert!(
                bed.bucket.requests().iter().filter(|request| request.op == Op::GetObject).count() <= 6,
                "{order:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_look_into_a_small_file_is_verified() {
    for (len, at) in [(10, 5), (100 * KIB, 70 * KIB), (MIB, 900 * KIB), (MIB, 10)] {
        let bed = Bed::with_faults([Fault::damage_read().times(2)]);
        let content = bytes(1, len);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        assert_same(&file.read(at, 5).await.unwrap(), &content[at..at + 5]);
        assert_same(&file.read(0, 3).await.unwrap(), &content[..3]);
        assert_eq!(bed.bucket.requests().iter().filter(|request| request.op == Op::GetObject).count(), 3);
    }
}

/// What was learned when all of it was read lasts as long as the version, under whatever name and attributes.
#[tokio::test]
async fn a_look_into_a_large_file_that_was_read_before_is_verified() {
    let bed = Bed::new();
    let content = bytes(1, 30 * MIB + 77);
    bed.put("a", &content).await.unwrap();
    assert_same(&bed.read("a").await.unwrap(), &content);
    bed.rename("a", "b").await.unwrap();
    bed.chmod("b", 0o600).await.unwrap();
    bed.publish_all().await;
    let file = bed.open("b", READ).await.unwrap();
    for at in [17 * MIB + 5, 3 * MIB, 30 * MIB + 70] {
        bed.faults.inject(Fault::damage_read().times(2));
        assert_same(&file.read(at, 7).await.unwrap(), &content[at..at + 7]);
    }
    bed.faults.inject(Fault::damage_read().times(3));
    assert_eq!(file.read(9 * MIB, 7).await, Err(FsError::Remote(StoreErrorKind::Corrupted)));
    assert_same(&file.read(9 * MIB, 7).await.unwrap(), &content[9 * MIB..9 * MIB + 7]);
}

/// Bytes that were handed out unverified and turn out to be damaged.
#[tokio::test]
async fn who_got_damaged_bytes_is_told_when_the_whole_is_known() {
    let bed = Bed::with_faults([Fault::damage_read()]);
    let content = bytes(1, 10 * MIB);
    bed.bucket.insert("a", content.clone());
    let file = bed.open("a", READ).await.unwrap();
    assert_ne!(file.read(5 * MIB, 10).await.unwrap(), &content[5 * MIB..5 * MIB + 10], "nobody can know");
    let other = bed.open("a", READ).await.unwrap();
    let mut result = Ok(());
    for index in 0..10 {
        result = result.and(other.read(index * MIB, MIB).await.map(|_| ()));
    }
    assert_eq!(result, Err(FsError::Remote(StoreErrorKind::Corrupted)));
    assert_eq!(file.read(0, 10).await, Err(FsError::Remote(StoreErrorKind::Corrupted)));
    drop((file.close().await, other.close().await));
    assert_same(&bed.read("a").await.unwrap(), &content);
}

/// Somebody looks at the beginning of a file and goes. The kernel keeps what it got for the next one, who begins behind it.
#[tokio::test]
async fn what_the_kernel_has_kept_of_a_damaged_look_is_not_taken_for_the_file() {
    for (len, kept) in [(3 * MIB + 5, 128 * KIB), (3 * MIB + 5, 600 * KIB), (12 * MIB, 128 * KIB)] {
        let bed = Bed::with_faults([Fault::damage_read()]);
        let content = bytes(1, len);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        let ino = file.ino;
        let looked = file.read(0, kept).await;
        assert!(looked.unwrap() != content[..kept], "the first bytes are handed out before the rest is there");
        file.close().await.unwrap();
        let opened = bed.fs.open(ino, READ).await.unwrap();
        let file = File { fs: bed.fs.clone(), ino, handle: opened.handle, backing: None };
        let rest = file.read(kept, len).await;
        assert!(!opened.keep_cache || rest == Err(FsError::Remote(StoreErrorKind::Corrupted)), "{len}, {kept}");
        file.close().await.unwrap();
        assert_same(&bed.read("a").await.unwrap(), &content);
    }
}

/// The kernel drops a page here and there of what it has kept of a look; who reads on behind it is in order.
#[tokio::test]
async fn a_page_that_the_kernel_has_dropped_of_a_look_is_fetched_alone() {
    let bed = Bed::new();
    let content = bytes(1, 40 * MIB);
    bed.bucket.insert("a", content.clone());
    let file = bed.open("a", READ).await.unwrap();
    for index in 0..20 {
        file.read(index * MIB, MIB).await.unwrap();
    }
    file.close().await.unwrap();
    bed.settle().await;
    bed.bucket.forget_requests();
    let file = bed.open("a", READ).await.unwrap();
    for at in [7 * MIB + 4 * KIB, 2 * MIB, 11 * MIB] {
        assert_same(&file.read(at, 4 * KIB).await.unwrap(), &content[at..at + 4 * KIB]);
    }
    bed.settle().await;
    assert!(ranges_read(&bed).iter().all(|(start, end)| end - start == 64 << 10), "{:?}", ranges_read(&bed));
    bed.bucket.forget_requests();
    file.read(20 * MIB, 128 * KIB).await.unwrap();
    bed.settle().await;
    let ranges = ranges_read(&bed);
    assert_eq!((ranges.len(), ranges[0].0), (1, 20 << 20));
    assert!(ranges[0].1 > 21 << 20, "he is expected to go on: {ranges:?}");
}

/// A reader in order lets go of what is behind it. Whoever reads that once more gets it from another request, which may
/// be the damaged one, and what is learned of the whole must not be that.
#[tokio::test]
async fn what_comes_once_more_is_compared_with_what_came_before() {
    for (times, expected) in [(1, Ok(())), (2, Ok(())), (usize::MAX, Err(FsError::Remote(StoreErrorKind::Corrupted)))] {
        let bed = Bed::new();
        let content = bytes(1, 40 * MIB);
        bed.bucket.insert("a", content.clone());
        let first = bed.open("a", READ).await.unwrap();
        for index in 0..20 {
            first.read(index * MIB, MIB).await.unwrap();
        }
        bed.settle().await;
        bed.faults.inject(Fault::damage_read().times(times));
        let second = bed.open("a", READ).await.unwrap();
        let read = second.read_all().await;
        assert_eq!(read.as_ref().map(|_| ()).map_err(Clone::clone), expected, "{times}");
        if let Ok(read) = read {
            assert_same(&read, &content);
        }
        bed.faults.heal();
        drop((first.close().await, second.close().await));
        assert_same(&bed.read("a").await.unwrap(), &content);
        let third = bed.open("a", READ).await.unwrap();
        assert_same(&third.read(MIB / 2, 10).await.unwrap(), &content[MIB / 2..MIB / 2 + 10]);
    }
}

/// The same of a look here and there, whose bytes have made way for others'.
#[tokio::test]
async fn what_is_looked_at_once_more_is_what_it_was() {
    for (times, expected) in [(1, Ok(())), (usize::MAX, Err(FsError::Remote(StoreErrorKind::Corrupted)))] {
        let bed = Bed::new();
        let content = bytes(1, 40 * MIB);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        assert_same(&file.read(20 * MIB, 10).await.unwrap(), &content[20 * MIB..20 * MIB + 10]);
        let mut taken = Vec::new();
        while bed.memory.used_bytes() < bed.memory.limit_bytes() {
            taken.push(bed.memory.take(MIB.min(bed.memory.limit_bytes() - bed.memory.used_bytes())).await);
        }
        taken.push(bed.memory.take(64 * KIB).await);
        drop(taken);
        bed.faults.inject(Fault::damage_read().times(times));
        let read = file.read(20 * MIB, 10).await;
        assert_eq!(read, expected.map(|()| content[20 * MIB..20 * MIB + 10].to_vec()), "{times}");
        bed.faults.heal();
        drop(file.close().await);
        assert_same(&bed.read("a").await.unwrap(), &content);
    }
}

/// The checksum itself may be what is damaged.
#[tokio::test]
async fn a_damaged_checksum_does_not_make_a_file_unreadable() {
    for call in 1..=2 {
        let bed = Bed::with_faults([Fault::damage_answer(Op::GetObject).from_call(call)]);
        let content = bytes(1, 3 * MIB);
        bed.bucket.insert("a", content.clone());
        assert_same(&bed.read("a").await.unwrap(), &content);
        assert_same(&bed.read("a").await.unwrap(), &content);
    }
}

#[tokio::test]
async fn a_request_that_breaks_is_an_error_for_those_who_need_it_and_the_next_read_asks_again() {
    for after_bytes in [0, 1, MIB as u64 - 1, MIB as u64] {
        let bed = Bed::with_faults([Fault::break_read(after_bytes, StoreErrorKind::Unreachable)]);
        let content = bytes(1, 2 * MIB);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        let first = file.read_all().await;
        if after_bytes < MIB as u64 {
            assert_eq!(first.map(|read| read.len()), Err(FsError::Remote(StoreErrorKind::Unreachable)));
        } else if let Ok(read) = first {
            // What broke was only fetched ahead.
            assert_same(&read, &content);
        }
        assert_same(&file.read_all().await.unwrap(), &content);
    }
}

#[tokio::test]
async fn pages_that_the_kernel_cached_stay_right_while_the_version_is_the_same() {
    let bed = Bed::new();
    bed.put("a", b"one").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let keep = async || {
        let opened = bed.fs.open(ino, READ).await.unwrap();
        bed.fs.release(opened.handle).await;
        opened.keep_cache
    };
    assert_eq!((keep().await, keep().await), (false, true));
    bed.chmod("a", 0o600).await.unwrap();
    assert!(keep().await, "other metadata, the same bytes");
    let file = bed.open("a", WRITE).await.unwrap();
    assert!(!keep().await);
    file.write(0, b"two").await.unwrap();
    file.close().await.unwrap();
    assert_eq!((keep().await, keep().await), (false, true));
    bed.bucket.insert("a", "three");
    bed.advance(6000);
    assert_eq!((keep().await, keep().await), (false, true));
}

/// What is in memory, what is in the published part, and what is only in parts, from a writer and from a reader.
#[tokio::test]
async fn a_file_that_is_being_written_reads_as_it_is_from_every_handle() {
    let bed = Bed::with(Choices { memory_bytes: 16 * MIB, ..Choices::default() });
    let mut model = bytes(1, 3 * PART);
    bed.bucket.insert("a", model.clone());
    let before = bed.open("a", READ).await.unwrap();
    let writer = bed.open("a", APPEND).await.unwrap();
    let after = bed.open("a", READ).await.unwrap();
    for round in 0..12 {
        let piece = bytes(round + 2, PART + 3);
        writer.write(0, &piece).await.unwrap();
        model.extend_from_slice(&piece);
        bed.settle().await;
        for file in [&before, &writer, &after] {
            let start = model.len() - PART - 100;
            assert_same(&file.read(start, PART).await.unwrap(), &model[start..start + PART]);
            assert_same(&file.read(10, 100).await.unwrap(), &model[10..110]);
        }
    }
    for file in [&before, &writer, &after] {
        assert_same(&file.read_all().await.unwrap(), &model);
    }
    writer.close().await.unwrap();
    for file in [before, after] {
        assert_same(&file.read_all().await.unwrap(), &model);
        file.close().await.unwrap();
    }
    bed.assert_bucket(&[("a", &model)]);
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test]
async fn a_file_that_was_emptied_reads_as_empty_at_once() {
    let bed = Bed::new();
    bed.bucket.insert("a", "before");
    let reader = bed.open("a", READ).await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"before");
    let writer = bed.open("a", REPLACE).await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"");
    writer.write(0, b"after").await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"after");
    writer.close().await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"after");
}

/// The version that a read is pinned to is replaced by a publishing of this very mount.
#[tokio::test]
async fn a_read_that_meets_a_publishing_reads_the_new_version() {
    let gate = Gate::new();
    let bed = Bed::new();
    let model = bytes(1, 4 * PART);
    bed.bucket.insert("a", model[..3 * PART].to_vec());
    let writer = bed.open("a", APPEND).await.unwrap();
    let reader = bed.open("a", READ).await.unwrap();
    writer.write(0, &model[3 * PART..]).await.unwrap();
    bed.faults.inject(Fault::hold(Op::GetObject, &gate));
    let mut read = Box::pin(reader.read(5, 100));
    assert!(poll!(&mut read).is_pending());
    gate.reached_by(1).await;
    writer.close().await.unwrap();
    gate.open();
    assert_same(&read.await.unwrap(), &model[5..105]);
}

/// The request that is on its way names the old key.
#[tokio::test]
async fn a_reader_goes_on_when_this_mount_renames_its_file() {
    let bed = Bed::new();
    let content = bytes(1, 3 * MIB);
    bed.put("a", &content).await.unwrap();
    let file = bed.open("a", READ).await.unwrap();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::GetObject, &gate));
    let rename = async {
        gate.reached_by(1).await;
        bed.rename("a", "b").await.unwrap();
        gate.open();
    };
    let (read, ()) = tokio::join!(file.read_all(), rename);
    assert_same(&read.unwrap(), &content);
    file.close().await.unwrap();
}
