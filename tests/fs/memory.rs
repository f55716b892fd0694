//! One budget for everything: at the bound writers and readers wait, nobody waits for ever, and nothing exceeds it.

use std::time::Duration;

use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::future::join_all;
use futures_util::poll;

use crate::bed::{APPEND, Bed, Choices, File, KIB, MIB, PART, READ, assert_same, bytes};

fn bed_with_memory(memory_bytes: usize) -> Bed {
    Bed::with(Choices { memory_bytes, ..Choices::default() })
}

/// Turns a wait without end into a failure.
async fn within_reason<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("somebody waits for ever")
}

async fn write_all(file: File, content: &[u8], piece: usize) {
    for (index, bytes) in content.chunks(piece).enumerate() {
        file.write(index * piece, bytes).await.unwrap();
    }
    file.close().await.unwrap();
}

async fn many_writers(bed: Bed, files: u64, len: usize) {
    let names: Vec<String> = (0..files).map(|index| format!("{index:03}")).collect();
    let mut tasks = Vec::new();
    for (seed, name) in names.iter().enumerate() {
        let (file, content) = (bed.create(name).await, bytes(seed as u64, len));
        tasks.push(tokio::spawn(async move { write_all(file, &content, 130_000).await }));
    }
    let memory = bed.memory.clone();
    let watch = tokio::spawn(async move {
        loop {
            assert!(memory.used_bytes() <= memory.limit_bytes());
            tokio::task::yield_now().await;
        }
    });
    within_reason(join_all(tasks)).await.into_iter().for_each(|joined| joined.unwrap());
    assert!(!watch.is_finished(), "the budget was exceeded");
    watch.abort();
    for (seed, name) in names.iter().enumerate() {
        assert_same(&bed.bucket.bytes(name).unwrap(), &bytes(seed as u64, len));
    }
    bed.settle().await;
    assert_eq!((bed.bucket.unfinished_uploads(), bed.memory.used_bytes()), (vec![], 0));
}

#[tokio::test]
async fn many_writers_finish_with_less_than_a_part_each() {
    many_writers(bed_with_memory(8 * MIB), 40, 3 * PART + 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_finish_side_by_side() {
    many_writers(bed_with_memory(8 * MIB), 40, 3 * PART + 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_small_files_finish_side_by_side() {
    many_writers(bed_with_memory(2 * MIB), 100, 300 * KIB).await;
}

/// One program holds more files open than there are blocks, and writes to each in turn.
#[tokio::test]
async fn one_program_writes_to_more_files_than_there_are_blocks() {
    for (files, rounds, piece) in [(40_u64, 3_u64, 10 * KIB), (30, 12, 100 * KIB), (5, 8, 700 * KIB)] {
        let bed = bed_with_memory(4 * MIB);
        let mut open = Vec::new();
        for index in 0..files {
            open.push((bed.create(&format!("{index:02}")).await, Vec::new()));
        }
        for round in 0..rounds {
            for (index, (file, model)) in open.iter_mut().enumerate() {
                let data = bytes(round * 1000 + index as u64, piece);
                within_reason(file.write(model.len(), &data)).await.unwrap();
                model.extend_from_slice(&data);
            }
        }
        for (index, (file, model)) in open.into_iter().enumerate() {
            assert_eq!(file.size().await, model.len());
            within_reason(file.close()).await.unwrap();
            assert_same(&bed.bucket.bytes(&format!("{index:02}")).unwrap(), &model);
        }
        bed.assert_no_unfinished_uploads().await;
    }
}

#[tokio::test]
async fn small_objects_are_loaded_for_appends_in_turn() {
    let bed = bed_with_memory(4 * MIB);
    for index in 0..20 {
        bed.bucket.insert(&format!("{index:02}"), bytes(index, 900 * KIB));
    }
    let mut files = Vec::new();
    for index in 0..20 {
        files.push(bed.open(&format!("{index:02}"), APPEND).await.unwrap());
    }
    let writes: Vec<_> = files.iter().map(|file| file.write(900 * KIB, b"tail")).collect();
    within_reason(join_all(writes)).await.into_iter().for_each(|result| result.unwrap());
    for (index, file) in files.into_iter().enumerate() {
        within_reason(file.close()).await.unwrap();
        let expected = [&bytes(index as u64, 900 * KIB), b"tail".as_slice()].concat();
        assert_same(&bed.bucket.bytes(&format!("{index:02}")).unwrap(), &expected);
    }
}

/// `cp` from the mount into the mount: what is read ahead must make way for what is written.
#[tokio::test]
async fn a_copy_inside_the_mount_needs_no_more_than_the_budget() {
    for memory_bytes in [2 * MIB, 4 * MIB, 8 * MIB] {
        let bed = bed_with_memory(memory_bytes);
        let content = bytes(1, 12 * MIB + 9);
        bed.bucket.insert("from", content.clone());
        let (from, to) = (bed.open("from", READ).await.unwrap(), bed.create("to").await);
        within_reason(async {
            let mut at = 0;
            while at < content.len() {
                let piece = from.read(at, 300 * KIB).await.unwrap();
                to.write(at, &piece).await.unwrap();
                at += piece.len();
            }
            to.close().await.unwrap();
        })
        .await;
        assert_same(&bed.bucket.bytes("to").unwrap(), &content);
    }
}

#[tokio::test]
async fn a_reader_waits_for_writers_whose_parts_are_on_their_way() {
    let gate = Gate::new();
    let bed = bed_with_memory(4 * MIB);
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let content = bytes(1, 3 * MIB);
    bed.bucket.insert("a", content.clone());
    let writer = bed.create("b").await;
    writer.write(0, &bytes(2, bed.memory.limit_bytes())).await.unwrap();
    assert_eq!(bed.memory.used_bytes(), bed.memory.limit_bytes());
    let reader = bed.open("a", READ).await.unwrap();
    let mut read = Box::pin(reader.read_all());
    assert!(poll!(&mut read).is_pending());
    bed.settle().await;
    assert!(poll!(&mut read).is_pending());
    gate.open();
    assert_same(&within_reason(read).await.unwrap(), &content);
    writer.close().await.unwrap();
}

#[tokio::test]
async fn many_readers_share_a_small_budget() {
    let bed = bed_with_memory(4 * MIB);
    let contents: Vec<Vec<u8>> = (0..16).map(|index| bytes(index, 3 * MIB + 7)).collect();
    for (index, content) in contents.iter().enumerate() {
        bed.bucket.insert(&format!("{index:02}"), content.clone());
    }
    let mut reads = Vec::new();
    for (index, content) in contents.into_iter().enumerate() {
        let name = format!("{index:02}");
        let file = bed.open(&name, READ).await.unwrap();
        reads.push(async move {
            // Half of them in order, half of them from behind.
            let starts: Vec<usize> = (0..content.len()).step_by(200 * KIB).collect();
            let starts: Vec<usize> = if index % 2 == 0 { starts } else { starts.into_iter().rev().collect() };
            for start in starts {
                let read = file.read(start, 200 * KIB).await.unwrap();
                assert_same(&read, &content[start..content.len().min(start + 200 * KIB)]);
            }
            file.close().await.unwrap();
        });
    }
    within_reason(join_all(reads)).await;
    bed.settle().await;
    assert_eq!(bed.memory.used_bytes(), 0);
}

/// A file that nobody goes on with is published as it is, so that others get its memory.
#[tokio::test]
async fn an_idle_file_makes_way_for_others() {
    let bed = bed_with_memory(2 * MIB);
    let idle = bed.create("idle").await;
    let head = bytes(1, 900 * KIB);
    idle.write(0, &head).await.unwrap();
    let busy = bed.create("busy").await;
    within_reason(busy.write(0, &bytes(2, 3 * MIB))).await.unwrap();
    within_reason(idle.write(head.len(), b"tail")).await.unwrap();
    within_reason(busy.close()).await.unwrap();
    within_reason(idle.close()).await.unwrap();
    bed.assert_bucket(&[("busy", &bytes(2, 3 * MIB)), ("idle", &[&head, b"tail".as_slice()].concat())]);
}

/// Without a shortage nothing is published before its time.
#[tokio::test]
async fn a_writer_alone_is_not_hurried() {
    let bed = bed_with_memory(4 * MIB);
    let file = bed.create("a").await;
    let content = bytes(1, 20 * PART);
    within_reason(write_all(file, &content, 128 * KIB)).await;
    bed.assert_bucket(&[("a", &content)]);
    assert_eq!(bed.bucket.count(Op::InitiateMultipartUpload), 1);
    assert_eq!(bed.bucket.count(Op::CompleteMultipartUpload), 1);
    assert_eq!(bed.bucket.count(Op::UploadPart), 20);
}

#[tokio::test]
async fn a_file_that_failed_does_not_hold_up_the_others() {
    let bed = bed_with_memory(4 * MIB);
    bed.faults.inject(Fault::every(Op::PutObject, StoreErrorKind::Denied).key("failed"));
    let failed = bed.create("failed").await;
    failed.write(0, &bytes(1, 900 * KIB)).await.unwrap();
    failed.fsync().await.unwrap_err();
    let others = (0..6).map(|index| {
        let bed = &bed;
        async move { bed.put(&format!("{index}"), &bytes(index, 900 * KIB)).await }
    });
    within_reason(join_all(others)).await.into_iter().for_each(|result| result.unwrap());
    failed.close().await.unwrap_err();
}

/// What has no name any more lives in the bucket where nobody sees it, if it does not fit the memory.
#[tokio::test]
async fn a_removed_file_may_be_larger_than_the_memory() {
    let bed = bed_with_memory(8 * MIB);
    let file = bed.create("a").await;
    bed.unlink("a").await.unwrap();
    let content = bytes(1, 20 * MIB);
    for (index, piece) in content.chunks(64 * KIB).enumerate() {
        within_reason(file.write(index * 64 * KIB, piece)).await.unwrap();
    }
    assert_same(&within_reason(file.read_all()).await.unwrap(), &content);
    assert_eq!(bed.list(cosmount::fs::ROOT).await, [] as [&str; 0]);
    within_reason(bed.put("b", &content)).await.unwrap();
    within_reason(file.write(5 * MIB, b"edit")).await.unwrap();
    assert_eq!(within_reason(file.read(5 * MIB, 4)).await.unwrap(), b"edit");
    within_reason(file.close()).await.unwrap();
    bed.assert_bucket(&[("b", &content)]);
    bed.assert_no_unfinished_uploads().await;
    assert_eq!(bed.memory.used_bytes(), 0);
}

/// A writer that waits for parts to land when its file is removed gets on without a name.
#[tokio::test]
async fn a_writer_that_waits_gets_on_when_its_file_is_removed() {
    let gate = Gate::new();
    let bed = bed_with_memory(8 * MIB);
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let file = bed.create("a").await;
    let content = bytes(1, 20 * PART);
    let mut write = Box::pin(file.write(0, &content));
    assert!(poll!(&mut write).is_pending());
    within_reason(bed.unlink("a")).await.unwrap();
    gate.open();
    within_reason(write).await.unwrap();
    assert_same(&within_reason(file.read_all()).await.unwrap(), &content);
    within_reason(file.truncate(PART / 2)).await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
    bed.assert_no_unfinished_uploads().await;
}
