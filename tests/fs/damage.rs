//! Bytes that are damaged on the way down are not published: what is fetched for an edit, and what is copied beside it,
//! is compared with the object before anything replaces it.

use cosmount::fs::FsError;
use cosmount::object::Limits;
use cosmount::store::testing::Fault;
use cosmount::store::{Op, StoreErrorKind};

use crate::bed::{APPEND, Bed, Choices, File, KIB, MIB, PART, READ, WRITE, bytes};

const CORRUPTED: FsError = FsError::Remote(StoreErrorKind::Corrupted);

/// A change of the object `a`, of which something has to be fetched.
struct Edit {
    name: &'static str,
    before: usize,
    writes: &'static [(usize, usize)],
    cut: Option<usize>,
    /// (from, to, length) of what is copied out of the object `b`.
    copied: Option<(usize, usize, usize)>,
    /// Requests of the publishing.
    requests: usize,
}

/// No change: nothing is written, cut or copied.
const NONE: Edit = Edit { name: "", before: 0, writes: &[], cut: None, copied: None, requests: 0 };

/// The size of `b`, of which nobody wants to fetch all, in bytes.
const OTHER: usize = 20 * PART;

const EDITS: [Edit; 12] = [
    Edit { name: "in the middle", before: 20 * PART, writes: &[(9 * PART + 500 * KIB, 4 * KIB)], requests: 6, ..NONE },
    Edit { name: "at the beginning", before: 20 * PART, writes: &[(0, 4 * KIB)], requests: 5, ..NONE },
    Edit { name: "at the end", before: 20 * PART, writes: &[(20 * PART - 400 * KIB, 4 * KIB)], requests: 5, ..NONE },
    Edit {
        name: "two near",
        before: 20 * PART,
        writes: &[(5 * PART, 9), (5 * PART + 300 * KIB, 9)],
        requests: 6,
        ..NONE
    },
    Edit { name: "two far", before: 20 * PART, writes: &[(5 * PART, 9), (9 * PART, 9)], requests: 9, ..NONE },
    Edit { name: "of a small file", before: 200 * KIB, writes: &[(100 * KIB, 9)], requests: 2, ..NONE },
    Edit { name: "nearly all of it", before: 200 * KIB, writes: &[(10, 200 * KIB - 10)], requests: 2, ..NONE },
    Edit { name: "appended to", before: 100 * KIB, writes: &[(100 * KIB, 3 * PART)], requests: 7, ..NONE },
    Edit { name: "cut", before: 300 * KIB, writes: &[(9, 9)], cut: Some(200 * KIB), requests: 2, ..NONE },
    // Nobody could fetch what it would take to compare all of the object: one request more tells the checksum.
    Edit { name: "cut far", before: 20 * PART, writes: &[(5 * PART, 9)], cut: Some(10 * PART), requests: 7, ..NONE },
    Edit {
        name: "beside much that is new",
        before: 20 * PART,
        writes: &[(3 * PART, 9), (10 * PART, 5 * PART)],
        requests: 13,
        ..NONE
    },
    Edit {
        name: "with a piece of another object",
        before: 100 * KIB,
        writes: &[(100 * KIB, 9)],
        copied: Some((3 * PART, 50 * KIB, 20 * KIB)),
        requests: 6,
        ..NONE
    },
];

impl Edit {
    async fn make(&self, bed: &Bed) -> (File, Vec<u8>) {
        let mut model = bytes(1, self.before);
        bed.bucket.insert("a", model.clone());
        bed.bucket.insert("b", bytes(2, OTHER));
        let file = bed.open("a", WRITE).await.unwrap();
        for (index, (offset, len)) in self.writes.iter().enumerate() {
            let data = bytes(3 + index as u64, *len);
            file.write(*offset, &data).await.unwrap();
            model.resize(model.len().max(offset + len), 0);
            model[*offset..offset + len].copy_from_slice(&data);
        }
        if let Some(size) = self.cut {
            file.truncate(size).await.unwrap();
            model.truncate(size);
        }
        if let Some((from, to, len)) = self.copied {
            let other = bed.open("b", READ).await.unwrap();
            let copied = bed.fs.copy_range((other.handle, from as u64), (file.handle, to as u64), len as u64).await;
            assert_eq!(copied, Ok(len as u64));
            other.close().await.unwrap();
            model[to..to + len].copy_from_slice(&bytes(2, OTHER)[from..from + len]);
        }
        bed.settle().await;
        (file, model)
    }
}

#[tokio::test]
async fn what_is_fetched_for_an_edit_costs_no_more_for_being_verified() {
    for edit in &EDITS {
        let bed = Bed::new();
        let (file, model) = edit.make(&bed).await;
        file.close().await.unwrap();
        let writes = |op: &Op| !matches!(op, Op::HeadObject | Op::ListObjects);
        let requests = bed.bucket.ops().iter().filter(|op| writes(op)).count();
        assert_eq!(requests, edit.requests, "{}: {:?}", edit.name, bed.bucket.requests());
        bed.assert_bucket(&[("a", &model), ("b", &bytes(2, OTHER))]);
    }
}

#[tokio::test]
async fn what_was_damaged_on_the_way_down_is_fetched_again() {
    for edit in &EDITS {
        for call in 1..=2 {
            let bed = Bed::new();
            let (file, model) = edit.make(&bed).await;
            bed.faults.inject(Fault::damage_read().from_call(call).times(2));
            assert_eq!(file.close().await, Ok(()), "{} {call}", edit.name);
            bed.assert_bucket(&[("a", &model), ("b", &bytes(2, OTHER))]);
            bed.assert_no_unfinished_uploads().await;
        }
    }
}

#[tokio::test]
async fn what_is_damaged_whenever_it_is_fetched_is_never_published() {
    for edit in &EDITS {
        let bed = Bed::new();
        let (file, _) = edit.make(&bed).await;
        bed.faults.inject(Fault::damage_read().forever());
        assert_eq!(file.close().await, Err(CORRUPTED), "{}", edit.name);
        bed.assert_bucket(&[("a", &bytes(1, edit.before)), ("b", &bytes(2, OTHER))]);
        bed.assert_no_unfinished_uploads().await;
    }
}

/// A copy on the service moves no bytes that could be damaged here, but it tells what it has copied.
#[tokio::test]
async fn a_copied_part_that_is_not_what_the_object_has_is_not_published() {
    for (times, closed) in [(1, Ok(())), (usize::MAX, Err(CORRUPTED))] {
        let bed = Bed::new();
        let before = bytes(1, 3 * PART);
        bed.bucket.insert("a", before.clone());
        let file = bed.open("a", APPEND).await.unwrap();
        bed.faults.inject(Fault::damage_answer(Op::UploadPartCopy).times(times));
        file.write(0, b"tail").await.unwrap();
        assert_eq!(file.close().await, closed);
        let after = if closed.is_ok() { [&before, b"tail".as_slice()].concat() } else { before };
        bed.assert_bucket(&[("a", &after)]);
        bed.assert_no_unfinished_uploads().await;
    }
}

#[tokio::test]
async fn a_copy_in_parts_is_compared_before_it_is_an_object() {
    let limits = Limits { part_bytes_max: 2 * PART as u64, put_bytes_max: 2 * PART as u64, ..Limits::COS };
    for (times, renamed) in [(1, Ok(())), (usize::MAX, Err(CORRUPTED))] {
        let bed = Bed::with(Choices { limits, ..Choices::default() });
        let content = bytes(1, 5 * PART);
        bed.put("a", &content).await.unwrap();
        bed.bucket.insert("b", "before");
        bed.faults.inject(Fault::damage_answer(Op::UploadPartCopy).times(times));
        assert_eq!(bed.rename("a", "b").await, renamed);
        match renamed {
            Ok(()) => bed.assert_bucket(&[("b", &content)]),
            Err(_) => bed.assert_bucket(&[("a", &content), ("b", b"before")]),
        }
        bed.assert_no_unfinished_uploads().await;
    }
}

/// Ten thousand changes make parts that are fetched nearly whole; what lies between them is not damaged in silence either.
#[tokio::test]
async fn scattered_edits_are_verified_together() {
    for (faults, closed) in [(1, Ok(())), (usize::MAX, Err(CORRUPTED))] {
        let bed = Bed::with(Choices { memory_bytes: 64 * MIB, ..Choices::default() });
        let mut model = bytes(1, 30 * PART);
        bed.bucket.insert("a", model.clone());
        let file = bed.open("a", WRITE).await.unwrap();
        for offset in (5 * PART + 7..25 * PART).step_by(300 * KIB) {
            file.write(offset, b"changed").await.unwrap();
            model[offset..offset + 7].copy_from_slice(b"changed");
        }
        bed.faults.inject(Fault::damage_read().from_call(3).times(faults));
        assert_eq!(file.close().await, closed);
        let expected = if closed.is_ok() { model } else { bytes(1, 30 * PART) };
        bed.assert_bucket(&[("a", &expected)]);
    }
}

/// As a mapped file is changed: the kernel reads, and writes all of a page back of which one byte was changed.
#[tokio::test]
async fn what_is_written_back_beside_a_change_is_what_the_object_has() {
    for len in [MIB, 8 * MIB, 40 * MIB] {
        for (times, at) in [(1, 0), (1, len - 64 * KIB), (2, len / 2), (0, len / 2)] {
            let bed = Bed::new();
            let mut model = bytes(1, len);
            bed.bucket.insert("a", model.clone());
            let file = bed.open("a", WRITE).await.unwrap();
            bed.faults.inject(Fault::damage_read().times(times));
            let mut page = file.read(at, 4 * KIB).await.unwrap();
            let is_damaged = page != model[at..at + 4 * KIB];
            assert_eq!(is_damaged, times > 0 && len > MIB, "{times} at {at} of {len}");
            (page[10], model[at + 10]) = (7, 7);
            file.write(at, &page).await.unwrap();
            bed.faults.heal();
            let before = bytes(1, len);
            assert_eq!(
                file.close().await,
                if is_damaged { Err(CORRUPTED) } else { Ok(()) },
                "{times} at {at} of {len}"
            );
            bed.assert_bucket(&[("a", if is_damaged { &before } else { &model })]);
            bed.assert_no_unfinished_uploads().await;
        }
    }
}

/// A page may be read long before it is written back, and what it is compared with may come damaged, too.
#[tokio::test]
async fn what_was_read_is_compared_however_late_it_is_written_back() {
    for (is_read_damaged, expected) in [(true, Err(CORRUPTED)), (false, Ok(()))] {
        let bed = Bed::new();
        let mut model = bytes(1, 8 * MIB);
        bed.bucket.insert("a", model.clone());
        let file = bed.open("a", WRITE).await.unwrap();
        bed.faults.inject(Fault::damage_read().times(usize::from(is_read_damaged)));
        let mut page = file.read(5 * MIB, 4 * KIB).await.unwrap();
        bed.faults.heal();
        file.write(5 * MIB + 8 * KIB, b"beside it").await.unwrap();
        model[5 * MIB + 8 * KIB..][..9].copy_from_slice(b"beside it");
        assert_eq!(file.fsync().await, Ok(()), "that is not made of what was read");
        let before = model.clone();
        (page[10], model[5 * MIB + 10]) = (7, 7);
        file.write(5 * MIB, &page).await.unwrap();
        bed.faults.inject(Fault::damage_read().times(2 * usize::from(!is_read_damaged)));
        assert_eq!(file.close().await, expected);
        bed.assert_bucket(&[("a", if expected.is_ok() { &model } else { &before })]);
    }
}

#[tokio::test]
async fn what_is_read_of_a_range_copied_from_another_file_is_compared_at_once() {
    for (times, is_read) in [(0, true), (1, false)] {
        let bed = Bed::new();
        bed.bucket.insert("a", bytes(1, 100 * KIB));
        bed.bucket.insert("b", bytes(2, OTHER));
        let (file, other) = (bed.open("a", WRITE).await.unwrap(), bed.open("b", READ).await.unwrap());
        let copied = bed.fs.copy_range((other.handle, 3 * PART as u64), (file.handle, 0), 50 << 10).await;
        assert_eq!(copied, Ok(50 << 10));
        bed.faults.inject(Fault::damage_read().times(times));
        let read = file.read(0, 4 * KIB).await;
        assert_eq!(read, if is_read { Ok(bytes(2, OTHER)[3 * PART..][..4 * KIB].to_vec()) } else { Err(CORRUPTED) });
        file.close().await.unwrap();
    }
}

/// Only what is written over is fetched once more, and nothing of what has turned out to be right.
#[tokio::test]
async fn what_is_read_and_not_written_over_is_not_fetched_again() {
    let requests = async |reads: &[(usize, usize)], len: usize| {
        let bed = Bed::new();
        bed.bucket.insert("a", bytes(1, len));
        let file = bed.open("a", WRITE).await.unwrap();
        for (at, len) in reads {
            file.read(*at, *len).await.unwrap();
        }
        bed.settle().await;
        bed.take_ops();
        file.write(len / 2, b"changed").await.unwrap();
        file.close().await.unwrap();
        bed.take_ops().len()
    };
    for len in [8 * MIB, 40 * MIB] {
        let without = requests(&[], len).await;
        assert_eq!(requests(&[(0, 4 * KIB), (len / 4, 4 * KIB)], len).await, without);
        assert_eq!(requests(&[(len / 2, 4 * KIB), (len / 2 + 4 * KIB, 4 * KIB)], len).await, without + 1);
        let in_order: Vec<(usize, usize)> = (0..len / MIB).map(|index| (index * MIB, MIB)).collect();
        assert_eq!(requests(&in_order, len).await, without, "all of it was read and was right");
    }
}
