//! Whole ranges: copies on the service, holes, room.

use cosmount::fs::{Allocation, FsError, SeekTo};
use cosmount::object::Limits;
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::poll;

use crate::bed::{Bed, Choices, File, KIB, PART, READ, WRITE, assert_same, bytes};

/// What takes longer waits for ever.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

async fn copy(bed: &Bed, from: (&File, usize), to: (&File, usize), len: usize) -> Result<usize, FsError> {
    let (from, to) = ((from.0.handle, from.1 as u64), (to.0.handle, to.1 as u64));
    bed.fs.copy_range(from, to, len as u64).await.map(|copied| copied as usize)
}

fn bytes_moved(bed: &Bed) -> u64 {
    bed.bucket.requests().iter().map(|request| request.bytes_in).sum::<u64>()
        + if bed.bucket.count(Op::GetObject) > 0 { u64::MAX / 2 } else { 0 }
}

#[tokio::test]
async fn a_copy_inside_the_mount_moves_no_data() {
    for len in [1, 100 * KIB, PART, 5 * PART + 3] {
        let bed = Bed::new();
        let content = bytes(1, len);
        bed.bucket.insert("a", content.clone());
        let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
        bed.bucket.forget_requests();
        assert_eq!(copy(&bed, (&from, 0), (&to, 0), 9 * PART).await, Ok(len));
        assert_eq!(to.size().await, len);
        to.close().await.unwrap();
        assert_eq!((bytes_moved(&bed), bed.take_ops().as_slice()), (0, [Op::CopyObject].as_slice()));
        bed.assert_bucket(&[("a", &content), ("b", &content)]);
    }
}

#[tokio::test]
async fn an_object_larger_than_one_copy_is_copied_in_parts() {
    let limits = Limits { part_bytes_max: 2 * PART as u64, put_bytes_max: 2 * PART as u64, ..Limits::COS };
    let bed = Bed::with(Choices { limits, ..Choices::default() });
    let content = bytes(1, 5 * PART);
    bed.put("a", &content).await.unwrap();
    let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
    bed.bucket.forget_requests();
    assert_eq!(copy(&bed, (&from, 0), (&to, 0), content.len()).await, Ok(content.len()));
    to.close().await.unwrap();
    assert_eq!((bytes_moved(&bed), bed.bucket.count(Op::UploadPartCopy)), (0, 3));
    bed.assert_bucket(&[("a", &content), ("b", &content)]);
}

/// What was copied can be read, written over and copied again before it is at the service.
#[tokio::test]
async fn a_copied_range_is_content_like_any_other() {
    let bed = Bed::new();
    let source = bytes(1, 4 * PART);
    bed.bucket.insert("a", source.clone());
    let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
    to.write(0, b"head").await.unwrap();
    assert_eq!(copy(&bed, (&from, 1000), (&to, 10), 3 * PART).await, Ok(3 * PART));
    let mut model = b"head\0\0\0\0\0\0".to_vec();
    model.extend_from_slice(&source[1000..1000 + 3 * PART]);
    to.write(2 * PART, b"over it").await.unwrap();
    model[2 * PART..2 * PART + 7].copy_from_slice(b"over it");
    assert_eq!(copy(&bed, (&to, PART), (&to, 3 * PART), PART).await, Ok(PART));
    model.resize(4 * PART, 0);
    model.copy_within(PART..2 * PART, 3 * PART);
    assert_same(&to.read_all().await.unwrap(), &model);
    to.close().await.unwrap();
    bed.assert_bucket(&[("a", &source), ("b", &model)]);
}

#[tokio::test]
async fn a_source_with_unpublished_changes_is_published_first() {
    let bed = Bed::new();
    let (from, to) = (bed.create("a").await, bed.create("b").await);
    let content = bytes(1, 2 * PART + 5);
    from.write(0, &content).await.unwrap();
    assert_eq!(copy(&bed, (&from, 0), (&to, 0), content.len()).await, Ok(content.len()));
    from.write(0, b"later").await.unwrap();
    to.close().await.unwrap();
    assert_same(&bed.bucket.bytes("b").unwrap(), &content);
    from.close().await.unwrap();
    let later = [b"later", &content[5..]].concat();
    bed.assert_bucket(&[("a", &later), ("b", &content)]);
}

/// Whatever this mount does to the source, the copy is what the source was.
#[tokio::test]
async fn a_copy_outlives_its_source() {
    for change in ["remove", "replace", "rename", "rename over", "chmod", "edit"] {
        let bed = Bed::new();
        let source = bytes(1, 3 * PART);
        bed.put("a", &source).await.unwrap();
        bed.put("other", b"other").await.unwrap();
        let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
        copy(&bed, (&from, 0), (&to, 0), source.len()).await.unwrap();
        from.close().await.unwrap();
        match change {
            "remove" => bed.unlink("a").await.unwrap(),
            "replace" => bed.put("a", b"new").await.unwrap(),
            "rename" => bed.rename("a", "c").await.unwrap(),
            "rename over" => bed.rename("other", "a").await.unwrap(),
            "chmod" => drop(bed.chmod("a", 0o600).await.unwrap()),
            _ => {
                let file = bed.open("a", WRITE).await.unwrap();
                file.write(PART, b"edit").await.unwrap();
                file.close().await.unwrap();
            }
        }
        assert_same(&to.read_all().await.unwrap(), &source);
        to.close().await.unwrap();
        assert_same(&bed.bucket.bytes("b").unwrap(), &source);
        bed.assert_no_unfinished_uploads().await;
    }
}

/// The source is replaced as soon as the copy has what it needs, before it is an object itself.
#[tokio::test]
async fn a_copy_is_readable_while_it_is_published_for_its_source() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::PutObject, &gate).key("b")]);
    let (from, to) = (bed.create("a").await, bed.create("b").await);
    from.write(0, b"0123456789").await.unwrap();
    copy(&bed, (&from, 0), (&to, 0), 10).await.unwrap();
    to.write(10, b" and more").await.unwrap();
    from.write(0, b"replaced").await.unwrap();
    from.close().await.unwrap();
    gate.reached_by(1).await;
    assert_eq!(bed.bucket.bytes("a").unwrap()[..], *b"replaced89");
    let mut read = Box::pin(to.read_all());
    let _ = poll!(&mut read);
    gate.open();
    assert_eq!(read.await.unwrap(), b"0123456789 and more");
    to.close().await.unwrap();
    bed.assert_bucket(&[("a", b"replaced89"), ("b", b"0123456789 and more")]);
}

/// The source is removed as soon as the copy's parts are at the service, which nobody can read there yet.
#[tokio::test]
async fn a_copy_is_readable_while_its_source_is_removed() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::CompleteMultipartUpload, &gate)]);
    let content = bytes(1, PART);
    bed.put("a", b"!").await.unwrap();
    let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
    to.write(0, &content).await.unwrap();
    copy(&bed, (&from, 0), (&to, PART), 1).await.unwrap();
    from.close().await.unwrap();
    bed.unlink("a").await.unwrap();
    gate.reached_by(1).await;
    assert_eq!(bed.bucket.keys(), [""; 0]);
    let mut read = Box::pin(to.read_all());
    for _ in 0..50 {
        assert!(poll!(&mut read).is_pending());
        tokio::task::yield_now().await;
    }
    gate.open();
    assert_same(&read.await.unwrap(), &[&content, b"!".as_slice()].concat());
    to.close().await.unwrap();
}

/// A part that was copied on the service is taken back when something changes, and then needs its source again.
#[tokio::test]
async fn a_change_after_a_part_was_copied_finds_its_source() {
    for change in ["write", "cut", "lose the name"] {
        let bed = Bed::new();
        let (source, tail) = (bytes(1, 2 * PART), bytes(2, 6 * PART));
        bed.put("a", &source).await.unwrap();
        let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
        copy(&bed, (&from, 0), (&to, 0), source.len()).await.unwrap();
        for (index, piece) in tail.chunks(PART).enumerate() {
            to.write(source.len() + index * PART, piece).await.unwrap();
        }
        bed.settle().await;
        assert!(bed.bucket.count(Op::UploadPartCopy) > 0 && bed.bucket.count(Op::UploadPart) > 3, "parts have left");
        from.close().await.unwrap();
        bed.unlink("a").await.unwrap();
        let mut expected = [source.as_slice(), &tail].concat();
        match change {
            "write" => {
                to.write(10, b"changed").await.unwrap();
                expected[10..17].copy_from_slice(b"changed");
            }
            "cut" => {
                to.truncate(PART + 5).await.unwrap();
                expected.truncate(PART + 5);
            }
            _ => bed.unlink("b").await.unwrap(),
        }
        assert_same(&to.read_all().await.unwrap(), &expected);
        to.close().await.unwrap();
        if change != "lose the name" {
            bed.assert_bucket(&[("b", &expected)]);
        }
        bed.assert_no_unfinished_uploads().await;
    }
}

/// Each needs what the other is about to replace.
#[tokio::test]
async fn two_files_may_be_copied_into_one_another() {
    for unit in [100, PART] {
        let bed = Bed::new();
        let (one, two) = (bytes(1, 2 * unit), bytes(2, 3 * unit));
        bed.bucket.insert("a", one.clone());
        bed.bucket.insert("b", two.clone());
        let (a, b) = (bed.open("a", WRITE).await.unwrap(), bed.open("b", WRITE).await.unwrap());
        let both = copy(&bed, (&a, 0), (&b, unit), unit).await.and(copy(&bed, (&b, 0), (&a, unit), unit).await);
        assert_eq!(both, Ok(unit));
        let (first, second) = tokio::join!(a.close(), b.close());
        first.and(second).unwrap();
        let new_b = [&two[..unit], &one[..unit], &two[2 * unit..]].concat();
        let new_a = [&one[..unit], &two[..unit]].concat();
        bed.assert_bucket(&[("a", &new_a), ("b", &new_b)]);
        bed.assert_no_unfinished_uploads().await;
    }
}

/// The same with whole files, each of which one copy would do.
#[tokio::test]
async fn two_files_may_change_places() {
    let bed = Bed::new();
    let (one, two) = (bytes(1, 100), bytes(2, 200));
    bed.bucket.insert("a", one.clone());
    bed.bucket.insert("b", two.clone());
    let (a, b) = (bed.open("a", WRITE).await.unwrap(), bed.open("b", WRITE).await.unwrap());
    copy(&bed, (&a, 0), (&b, 0), 100).await.unwrap();
    b.truncate(100).await.unwrap();
    let (first, second) = (bed.open("a", READ).await.unwrap(), bed.create("c").await);
    copy(&bed, (&first, 0), (&second, 0), 100).await.unwrap();
    copy(&bed, (&second, 0), (&a, 0), 100).await.unwrap();
    let closed = tokio::join!(a.close(), b.close(), second.close());
    closed.0.and(closed.1).and(closed.2).unwrap();
    bed.assert_bucket(&[("a", &one), ("b", &one), ("c", &one)]);
}

#[tokio::test]
async fn a_source_that_others_replaced_is_not_mixed_with_what_it_was() {
    let bed = Bed::new();
    bed.bucket.insert("a", bytes(1, 3 * PART));
    let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
    copy(&bed, (&from, PART), (&to, 0), PART).await.unwrap();
    bed.bucket.insert("a", bytes(2, 3 * PART));
    to.write(PART, b"tail").await.unwrap();
    assert_eq!(to.close().await, Err(FsError::Stale));
    assert_eq!(bed.bucket.keys(), ["a"]);
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test]
async fn a_copy_needs_handles_that_are_open_for_it() {
    let bed = Bed::new();
    bed.bucket.insert("a", "content");
    let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
    assert_eq!(copy(&bed, (&to, 0), (&from, 0), 1).await, Err(FsError::BadHandle));
    assert_eq!(copy(&bed, (&from, 7), (&to, 0), 1).await, Ok(0), "nothing is behind the end");
    assert_eq!(copy(&bed, (&from, 0), (&to, usize::MAX), 2).await, Err(FsError::TooLarge));
}

#[tokio::test]
async fn holes_are_found_while_the_file_is_open() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(100, b"data").await.unwrap();
    file.truncate(200).await.unwrap();
    let seek = |offset, to| bed.fs.seek(file.handle, offset, to);
    assert_eq!([0, 100, 103].map(|at| seek(at, SeekTo::Data)), [Ok(100), Ok(100), Ok(103)]);
    assert_eq!([0, 100, 104, 150].map(|at| seek(at, SeekTo::Hole)), [Ok(0), Ok(104), Ok(104), Ok(150)]);
    assert_eq!([104, 199, 200].map(|at| seek(at, SeekTo::Data)), [const { Err(FsError::NoSuchOffset) }; 3]);
    assert_eq!(seek(200, SeekTo::Hole), Err(FsError::NoSuchOffset));
    file.close().await.unwrap();
    let reader = bed.open("a", READ).await.unwrap();
    assert_eq!(bed.fs.seek(reader.handle, 7, SeekTo::Data), Ok(7));
    assert_eq!(bed.fs.seek(reader.handle, 7, SeekTo::Hole), Ok(200));
}

/// A hole is sent as zeros, but never lies in memory.
#[tokio::test]
async fn a_large_hole_takes_no_memory() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.truncate(200 * PART).await.unwrap();
    file.write(150 * PART, b"island").await.unwrap();
    assert!(bed.memory.used_bytes() <= 8 * KIB, "{}", bed.memory.used_bytes());
    file.close().await.unwrap();
    let mut model = vec![0; 200 * PART];
    model[150 * PART..150 * PART + 6].copy_from_slice(b"island");
    bed.assert_bucket(&[("a", &model)]);
}

#[tokio::test]
async fn room_is_made_and_ranges_become_zeros() {
    let whole = bytes(1, 3 * PART);
    let reserve = |grows| Allocation::Reserve { grows };
    let zero = |grows| Allocation::Zero { grows };
    let table = [
        (reserve(true), 2 * PART, 2 * PART, 4 * PART),
        (reserve(true), 0, PART, 3 * PART),
        (reserve(false), 2 * PART, 2 * PART, 3 * PART),
        (zero(false), PART - 7, PART, 3 * PART),
        (zero(false), 2 * PART, 2 * PART, 3 * PART),
        (zero(false), 5 * PART, PART, 3 * PART),
        (zero(true), 2 * PART, 2 * PART, 4 * PART),
    ];
    for published in [false, true] {
        for (how, offset, len, size) in table {
            let bed = Bed::new();
            let file = bed.create("a").await;
            file.write(0, &whole).await.unwrap();
            if published {
                file.fsync().await.unwrap();
            }
            bed.fs.allocate(file.handle, offset as u64, len as u64, how).await.unwrap();
            let mut model = whole.clone();
            model.resize(size, 0);
            if let Allocation::Zero { .. } = how {
                let (start, end) = (offset.min(size), (offset + len).min(size));
                model[start..end].fill(0);
            }
            assert_same(&file.read_all().await.unwrap(), &model);
            file.close().await.unwrap();
            bed.assert_bucket(&[("a", &model)]);
        }
    }
    let bed = Bed::new();
    let file = bed.create("a").await;
    assert_eq!(bed.fs.allocate(file.handle, 0, 0, reserve(true)).await, Err(FsError::Invalid));
    assert_eq!(bed.fs.allocate(file.handle, u64::MAX, 2, reserve(true)).await, Err(FsError::TooLarge));
    assert_eq!(bed.fs.allocate(file.handle, 0, u64::MAX, reserve(true)).await, Err(FsError::TooLarge));
}

/// A service that takes fewer parts than it is known for says so with a refusal.
#[tokio::test]
async fn a_service_with_few_part_numbers_gets_the_file_in_steps() {
    let limits = Limits { part_count_max: 4, ..Limits::COS };
    let bed = Bed::with(Choices { limits, ..Choices::default() });
    let mut model = bytes(1, 15 * PART + 9);
    bed.put("a", &model).await.unwrap();
    bed.assert_bucket(&[("a", &model)]);
    let file = bed.open("a", WRITE).await.unwrap();
    for index in 0..7 {
        let at = index * 2 * PART + PART / 2;
        file.write(at, b"scattered").await.unwrap();
        model[at..at + 9].copy_from_slice(b"scattered");
    }
    assert_same(&file.read_all().await.unwrap(), &model);
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &model)]);
    bed.assert_no_unfinished_uploads().await;
}

/// The refusal comes when parts are on their way already.
#[tokio::test]
async fn a_refused_part_number_is_learned_from() {
    let gate = Gate::new();
    let bed = Bed::new();
    for number in 6..=40 {
        bed.faults.inject(Fault::every(Op::UploadPart, StoreErrorKind::TooManyParts).part(number));
    }
    let content = bytes(1, 23 * PART + 1);
    let file = bed.create("a").await;
    let mut write = Box::pin(file.write(0, &content));
    let _ = poll!(&mut write);
    gate.open();
    write.await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
    bed.assert_no_unfinished_uploads().await;
}

/// Nobody may wait for a file that is about to lose its name.
#[tokio::test]
async fn a_file_that_is_replaced_by_what_it_was_copied_from_does_not_wait_for_itself() {
    for is_lost in [false, true] {
        let bed = Bed::new();
        let content = bytes(1, 2 * PART);
        bed.bucket.insert("a", content.clone());
        let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
        copy(&bed, (&from, 7), (&to, 0), PART).await.unwrap();
        if is_lost {
            bed.faults.inject(Fault::every(Op::UploadPartCopy, StoreErrorKind::Denied));
        }
        let renamed = tokio::time::timeout(PATIENCE, bed.rename("a", "b")).await;
        renamed.expect("the rename ends").unwrap();
        let read = to.read_all().await;
        assert_eq!(read.is_err(), is_lost);
        if let Ok(read) = read {
            assert_same(&read, &content[7..7 + PART]);
        }
        let _ = to.close().await;
        from.close().await.unwrap();
        bed.assert_bucket(&[("b", &content)]);
        bed.assert_no_unfinished_uploads().await;
    }
}

/// Each asks the others whether they copy from it, on threads of its own.
#[test]
fn many_copies_are_closed_by_many_threads_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let closed = runtime.block_on(async {
        let bed = Bed::new();
        let mut closing = Vec::new();
        (0..300).for_each(|n| bed.bucket.insert(&format!("from{n}"), bytes(n, 100)));
        for n in 0..300 {
            let (from, to) = (bed.open(&format!("from{n}"), READ).await.unwrap(), bed.create(&format!("to{n}")).await);
            copy(&bed, (&from, 0), (&to, 0), 100).await.unwrap();
            closing.push(to);
        }
        let closing: Vec<_> = closing.into_iter().map(|file| tokio::spawn(file.close())).collect();
        tokio::time::timeout(PATIENCE, futures_util::future::join_all(closing)).await
    });
    runtime.shutdown_background();
    let closed = closed.expect("no two wait for one another");
    assert!(closed.into_iter().all(|closed| closed.unwrap().is_ok()));
}

/// One waits for the other before it is sent, and the other for the room that the first has.
#[tokio::test]
async fn a_source_and_its_copy_share_the_room_for_what_is_fetched() {
    let bed = Bed::with(Choices { part_bytes: 8 * PART as u64, memory_bytes: 64 * PART, ..Choices::default() });
    let content = bytes(1, 6 * PART);
    bed.bucket.insert("a", content.clone());
    let (a, b) = (bed.open("a", WRITE).await.unwrap(), bed.create("b").await);
    b.write(0, b"own").await.unwrap();
    copy(&bed, (&a, 0), (&b, 3), 5 * PART).await.unwrap();
    a.write(PART, b"changed").await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, async { tokio::join!(a.close(), b.close()) }).await;
    let (first, second) = closed.expect("neither waits for the other");
    first.and(second).unwrap();
    let new_a = [&content[..PART], b"changed", &content[PART + 7..]].concat();
    let new_b = [b"own", &content[..5 * PART]].concat();
    bed.assert_bucket(&[("a", &new_a), ("b", &new_b)]);
}

/// The same in a ring, where nobody can be first.
#[tokio::test]
async fn three_files_are_copied_in_a_ring() {
    let bed = Bed::with(Choices { part_bytes: 8 * PART as u64, memory_bytes: 64 * PART, ..Choices::default() });
    let contents = [1, 2, 3].map(|seed| bytes(seed, 6 * PART));
    let names = ["a", "b", "c"];
    for (name, content) in names.iter().zip(&contents) {
        bed.bucket.insert(name, content.clone());
    }
    let [a, b, c] = [bed.open("a", WRITE), bed.open("b", WRITE), bed.open("c", WRITE)];
    let (a, b, c) = tokio::join!(a, b, c);
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    for (from, to) in [(&a, &b), (&b, &c), (&c, &a)] {
        // At the place where it was, so that each has bytes of its own around it.
        copy(&bed, (from, 100), (to, 100), 5 * PART).await.unwrap();
    }
    let closing = Box::pin(async { tokio::join!(a.close(), b.close(), c.close()) });
    let closed = tokio::time::timeout(PATIENCE, closing).await;
    let (first, second, third) = closed.expect("nobody waits for ever");
    first.and(second).and(third).unwrap();
    // A copy reads what its source has at that time: `a` last, from `c`, which has it from `b`, which has it from `a`.
    let middle = &contents[0][100..100 + 5 * PART];
    let expected = contents.each_ref().map(|own| [&own[..100], middle, &own[100 + 5 * PART..]].concat());
    bed.assert_bucket(&[("a", &expected[0]), ("b", &expected[1]), ("c", &expected[2])]);
}

/// Nobody wants the parts of an upload that was given up while they waited for it to begin.
#[tokio::test]
async fn parts_of_an_upload_that_was_given_up_are_not_sent() {
    let bed = Bed::new();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::InitiateMultipartUpload, &gate));
    let file = bed.create("a").await;
    file.write(0, &bytes(1, PART)).await.unwrap();
    file.write(PART, &bytes(2, PART)).await.unwrap();
    file.write(2 * PART, &bytes(3, PART)).await.unwrap();
    gate.reached_by(1).await;
    file.truncate(0).await.unwrap();
    gate.open();
    file.close().await.unwrap();
    bed.settle().await;
    let ops = bed.bucket.ops();
    assert!(!ops.contains(&Op::UploadPart), "{ops:?}");
    bed.assert_bucket(&[("a", b"")]);
    bed.assert_no_unfinished_uploads().await;
}

/// The target is published and cannot take the copy yet, while its source is replaced or removed.
#[tokio::test]
async fn a_copy_has_what_its_source_was_although_that_changes_before_it_is_noted() {
    for is_removed in [false, true] {
        let bed = Bed::new();
        bed.put("a", b"source").await.unwrap();
        let (from, to) = (bed.open("a", WRITE).await.unwrap(), bed.create("b").await);
        to.write(0, b"target").await.unwrap();
        let gate = Gate::new();
        bed.faults.inject(Fault::hold(Op::PutObject, &gate).key("b"));
        let change = async {
            match is_removed {
                true => bed.unlink("a").await.unwrap(),
                false => {
                    from.write(0, b"SOURCE").await.unwrap();
                    from.fsync().await.unwrap();
                }
            }
        };
        let others = async {
            gate.reached_by(1).await;
            let mut copying = Box::pin(bed.fs.copy_range((from.handle, 0), (to.handle, 6), 6));
            assert!(poll!(&mut copying).is_pending());
            let mut changing = Box::pin(change);
            let changed = poll!(&mut changing).is_ready();
            bed.settle().await;
            gate.open();
            assert_eq!(copying.await, Ok(6));
            if !changed {
                changing.await;
            }
        };
        let (synced, ()) = tokio::join!(to.fsync(), others);
        synced.unwrap();
        to.close().await.unwrap();
        let content = bed.bucket.bytes("b").unwrap();
        assert!(content == b"targetsource"[..] || content == b"targetSOURCE"[..], "{content:?}");
        from.close().await.unwrap();
    }
}

/// As on a local disk.
#[tokio::test]
async fn there_is_nothing_to_be_found_behind_the_end() {
    use cosmount::fs::SeekTo;
    let bed = Bed::new();
    let writer = bed.create("a").await;
    let reader = bed.open("a", crate::bed::READ).await.unwrap();
    writer.write(0, b"content").await.unwrap();
    let seek = |file: &crate::bed::File, offset, to| bed.fs.seek(file.handle, offset, to);
    for file in [&writer, &reader] {
        assert_eq!(seek(file, 6, SeekTo::Data), Ok(6));
        assert_eq!(seek(file, 0, SeekTo::Hole), Ok(7));
        for (offset, to) in [(7, SeekTo::Data), (7, SeekTo::Hole), (1 << 40, SeekTo::Hole), (u64::MAX, SeekTo::Data)] {
            assert_eq!(seek(file, offset, to), Err(cosmount::fs::FsError::NoSuchOffset), "{offset}");
        }
    }
    writer.close().await.unwrap();
    assert_eq!(seek(&reader, 0, SeekTo::Hole), Ok(7), "although nobody writes any more");
    reader.close().await.unwrap();
}
