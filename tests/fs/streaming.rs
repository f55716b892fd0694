//! A file that is written from beginning to end leaves part by part, with the fewest requests.

use std::future::ready;
use std::sync::atomic::AtomicUsize;

use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use futures_util::poll;

use crate::bed::{Bed, Choices, PART, WRITE, assert_same, bytes};

#[tokio::test]
async fn a_file_of_one_part_or_less_is_one_put() {
    for len in [0, 1, PART - 1, PART] {
        let bed = Bed::new();
        let file = bed.create("a").await;
        bed.take_ops();
        let content = bytes(1, len);
        file.write(0, &content).await.unwrap();
        bed.settle().await;
        assert_eq!(bed.take_ops(), [], "{len} bytes may still become more");
        file.close().await.unwrap();
        assert_eq!(bed.take_ops(), [Op::PutObject], "{len} bytes");
        bed.assert_bucket(&[("a", &content)]);
    }
}

#[tokio::test]
async fn the_first_part_is_on_its_way_while_the_second_fills() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate)]);
    let file = bed.create("a").await;
    let content = bytes(1, PART + 20);
    file.write(0, &content[..PART + 1]).await.unwrap();
    gate.reached_by(1).await;
    file.write(PART + 1, &content[PART + 1..]).await.unwrap();
    assert_eq!(bed.bucket.count(Op::InitiateMultipartUpload), 1);
    gate.open();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
}

#[tokio::test]
async fn a_long_file_is_an_initiate_its_parts_and_a_complete() {
    for (len, parts) in [(PART + 1, 2), (3 * PART, 3), (5 * PART + PART / 2, 6)] {
        let bed = Bed::new();
        let content = bytes(2, len);
        bed.stat("a").await.unwrap_err();
        bed.take_ops();
        let file = bed.create("a").await;
        for (index, piece) in content.chunks(100_000).enumerate() {
            file.write(index * 100_000, piece).await.unwrap();
        }
        file.close().await.unwrap();
        let mut numbers = bed.parts_sent();
        numbers.sort();
        assert_eq!(numbers, (1..=parts).collect::<Vec<u16>>());
        let ops = bed.take_ops();
        assert_eq!(ops.len(), usize::from(parts) + 2, "{ops:?}");
        assert_eq!((ops[0], ops[ops.len() - 1]), (Op::InitiateMultipartUpload, Op::CompleteMultipartUpload));
        bed.assert_bucket(&[("a", &content)]);
    }
}

#[tokio::test]
async fn parts_may_land_in_any_order() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate).part(1)]);
    let file = bed.create("a").await;
    let content = bytes(3, 4 * PART);
    file.write(0, &content).await.unwrap();
    let mut close = Box::pin(file.close());
    assert!(poll!(&mut close).is_pending());
    bed.settle().await;
    assert_eq!(bed.parts_sent(), [2, 3, 4]);
    assert!(poll!(&mut close).is_pending());
    gate.open();
    close.await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
}

/// Past twice the concurrency a writer waits, however much memory there is.
#[tokio::test]
async fn no_more_parts_are_on_their_way_than_the_options_say() {
    let gate = Gate::new();
    let bed = Bed::with(Choices { concurrency: 3, ..Choices::default() });
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let file = bed.create("a").await;
    let content = bytes(4, 10 * PART);
    let mut writing = Box::pin(file.write(0, &content));
    assert!(poll!(&mut writing).is_pending());
    bed.settle().await;
    gate.reached_by(3).await;
    assert!(poll!(Box::pin(gate.reached_by(4))).is_pending());
    assert!(poll!(&mut writing).is_pending());
    gate.open();
    writing.await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
}

#[tokio::test]
async fn two_handles_write_one_file() {
    let bed = Bed::new();
    let first = bed.create("a").await;
    let second = bed.open("a", WRITE).await.unwrap();
    let content = bytes(5, 3 * PART);
    first.write(0, &content[..PART]).await.unwrap();
    second.write(PART, &content[PART..2 * PART + 7]).await.unwrap();
    first.write(2 * PART + 7, &content[2 * PART + 7..]).await.unwrap();
    assert_same(&second.read_all().await.unwrap(), &content);
    first.close().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
    bed.take_ops();
    second.close().await.unwrap();
    assert_eq!(bed.take_ops(), []);
}

#[tokio::test]
async fn every_call_can_run_as_a_task() {
    let bed = Bed::new();
    let fs = bed.fs.clone();
    let file = bed.create("a").await;
    let (ino, handle) = (file.ino, file.handle);
    let content = bytes(6, 2 * PART);
    let task = tokio::spawn(async move {
        fs.write_rest(handle, 0, &content, &AtomicUsize::new(0)).await.unwrap();
        fs.fsync(handle).await.unwrap();
        fs.read(handle, 0, 10).await.unwrap();
        fs.getattr(ino).await.unwrap();
        fs.flush(handle, |_| ready(false)).await.unwrap();
        fs.release(handle).await;
        fs.publish_below("").await
    });
    assert!(task.await.unwrap().is_empty());
}
