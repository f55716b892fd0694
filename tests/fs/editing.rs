//! Writes that are not at the end, cuts, holes, and changes to files that are in the bucket already.

use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use futures_util::poll;

use crate::bed::{APPEND, Bed, Choices, File, KIB, MIB, PART, REPLACE, WRITE, assert_same, bytes};

/// Writes over a model as over the file.
async fn overwrite(file: &File, model: &mut Vec<u8>, offset: usize, data: &[u8]) {
    file.write(offset, data).await.unwrap();
    model.resize(model.len().max(offset + data.len()), 0);
    model[offset..offset + data.len()].copy_from_slice(data);
}

#[tokio::test]
async fn bytes_in_memory_are_overwritten_wherever_they_are() {
    let gate = Gate::new();
    let bed = Bed::with(Choices { concurrency: 2, ..Choices::default() });
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let file = bed.create("a").await;
    let mut model = bytes(1, 3 * PART + PART / 2);
    file.write(0, &model).await.unwrap();
    // Parts 1 and 2 are on their way, 3 waits, 4 is filling.
    gate.reached_by(2).await;
    for offset in [10, PART - 3, PART + 5, 2 * PART - 2, 3 * PART - 7, 3 * PART + 9] {
        overwrite(&file, &mut model, offset, b"overwritten").await;
    }
    gate.open();
    bed.settle().await;
    // Now all but the last are acknowledged, and still held.
    for offset in [0, 2 * PART + 1, 3 * PART + 100] {
        overwrite(&file, &mut model, offset, b"once more").await;
    }
    assert_same(&file.read_all().await.unwrap(), &model);
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &model)]);
    assert_eq!(bed.bucket.count(Op::InitiateMultipartUpload), 1);
    assert!(bed.parts_sent().iter().all(|number| *number <= 4), "the same numbers again");
}

/// The same number twice on its way would leave whichever comes in last.
#[tokio::test]
async fn a_part_is_not_sent_again_before_its_first_answer() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate).part(1)]);
    let file = bed.create("a").await;
    let mut model = bytes(1, 2 * PART);
    file.write(0, &model).await.unwrap();
    gate.reached_by(1).await;
    overwrite(&file, &mut model, 0, b"changed").await;
    bed.settle().await;
    assert_eq!(bed.parts_sent(), [2]);
    gate.open();
    file.close().await.unwrap();
    assert_eq!(bed.parts_sent(), [2, 1, 1]);
    bed.assert_bucket(&[("a", &model)]);
}

#[tokio::test]
async fn a_hole_reads_as_zeros() {
    for (before, offset) in [(0, 1), (5, 300 * KIB), (PART, PART + 1), (3, 3 * PART), (7, 20 * MIB + 3)] {
        let bed = Bed::new();
        let file = bed.create("a").await;
        let mut model = bytes(1, before);
        file.write(0, &model).await.unwrap();
        overwrite(&file, &mut model, offset, b"beyond").await;
        file.close().await.unwrap();
        bed.assert_bucket(&[("a", &model)]);
    }
}

/// They are only in parts, which nobody can read: the file is published as it is and goes on from there.
#[tokio::test]
async fn bytes_that_left_the_memory_are_overwritten_all_the_same() {
    let bed = Bed::with(Choices { memory_bytes: 16 * MIB, ..Choices::default() });
    let file = bed.create("a").await;
    let mut model = bytes(1, 12 * PART + 1);
    file.write(0, &model).await.unwrap();
    bed.settle().await;
    let end = model.len();
    for offset in [5 * PART, PART + 5, end, 4, 3 * PART - 2] {
        overwrite(&file, &mut model, offset, b"changed").await;
        assert_same(&file.read_all().await.unwrap(), &model);
    }
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &model)]);
    bed.assert_no_unfinished_uploads().await;
}

/// Every kind of place that a cut can go through, and what follows it.
#[tokio::test]
async fn a_file_that_is_being_written_can_be_cut_anywhere_and_goes_on() {
    let whole = bytes(1, 4 * PART + 100);
    for cut in [0, 1, PART - 1, PART, PART + 1, 2 * PART + 5, 4 * PART, 4 * PART + 99] {
        for tail in [0, 1, 2 * PART] {
            let bed = Bed::new();
            let file = bed.create("a").await;
            file.write(0, &whole).await.unwrap();
            file.truncate(cut).await.unwrap();
            assert_eq!(file.size().await, cut);
            let mut model = whole[..cut].to_vec();
            overwrite(&file, &mut model, cut, &bytes(2, tail)).await;
            bed.settle().await;
            file.truncate(cut).await.unwrap();
            model.truncate(cut);
            overwrite(&file, &mut model, cut, &bytes(3, tail)).await;
            file.close().await.unwrap();
            bed.assert_bucket(&[("a", &model)]);
            bed.assert_no_unfinished_uploads().await;
        }
    }
}

/// A cut through a part that is only at the service makes it an object first, which can be cut.
#[tokio::test]
async fn a_cut_through_what_left_the_memory_publishes_it_first() {
    let bed = Bed::with(Choices { memory_bytes: 16 * MIB, ..Choices::default() });
    let file = bed.create("a").await;
    let mut model = bytes(1, 10 * PART);
    file.write(0, &model).await.unwrap();
    bed.settle().await;
    model.truncate(5 * PART + 7);
    file.truncate(model.len()).await.unwrap();
    let end = model.len();
    overwrite(&file, &mut model, end, b"tail").await;
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &model)]);
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test]
async fn a_published_file_can_be_cut_and_stretched_by_path() {
    let whole = bytes(1, 3 * PART);
    for size in [0, 1, 100 * KIB, PART, 2 * PART + 1, 3 * PART, 3 * PART + 1, 5 * PART] {
        let bed = Bed::new();
        bed.bucket.insert("a", whole.clone());
        let reader = bed.open("a", crate::bed::READ).await.unwrap();
        let change = cosmount::fs::AttrChange { size: Some(size as u64), ..Default::default() };
        let attr = bed.fs.setattr(reader.ino, change).await.unwrap();
        assert_eq!(attr.size, size as u64);
        let mut model = whole.clone();
        model.resize(size, 0);
        bed.assert_bucket(&[("a", &model)]);
        assert_same(&reader.read_all().await.unwrap(), &model);
        reader.close().await.unwrap();
    }
}

/// (size before, bytes appended, requests, whether the old bytes may be read)
#[tokio::test]
async fn an_append_moves_only_what_is_new() {
    let table: [(usize, usize, &[Op]); 5] = [
        (0, 5, &[Op::PutObject]),
        (100, 5, &[Op::GetObject, Op::PutObject]),
        (100, PART, &[Op::GetObject, Op::InitiateMultipartUpload, Op::UploadPart, Op::UploadPart]),
        (PART, 5, &[Op::InitiateMultipartUpload, Op::UploadPart, Op::UploadPartCopy]),
        (9 * PART + 7, PART, &[Op::InitiateMultipartUpload, Op::UploadPart, Op::UploadPartCopy]),
    ];
    for (before, appended, requests) in table {
        let bed = Bed::new();
        let content = bytes(1, before + appended);
        bed.bucket.insert("a", content[..before].to_vec());
        let file = bed.open("a", APPEND).await.unwrap();
        bed.take_ops();
        // The kernel's idea of the end may be old; the file's own counts.
        file.write(0, &content[before..]).await.unwrap();
        file.close().await.unwrap();
        let sent: u64 = bed.bucket.requests().iter().map(|request| request.bytes_in).sum();
        let mut ops = bed.take_ops();
        if ops.last() == Some(&Op::CompleteMultipartUpload) {
            ops.pop();
        }
        ops.sort_by_key(|op| op.name());
        assert_eq!(ops, requests, "{before} + {appended}");
        bed.assert_bucket(&[("a", &content)]);
        if before >= PART {
            assert_eq!(sent, appended as u64, "nothing of the old object goes up");
        }
    }
}

#[tokio::test]
async fn appends_follow_one_another_over_many_rounds() {
    let bed = Bed::new();
    let mut model = Vec::new();
    for round in 0..8 {
        let file = match round {
            0 => bed.create("a").await,
            _ => bed.open("a", APPEND).await.unwrap(),
        };
        for piece in [bytes(round, 300 * KIB), bytes(round + 100, 90 * KIB)] {
            file.write(model.len(), &piece).await.unwrap();
            model.extend_from_slice(&piece);
            file.fsync().await.unwrap();
        }
        file.close().await.unwrap();
        bed.assert_bucket(&[("a", &model)]);
    }
}

#[tokio::test]
async fn a_small_published_file_can_be_edited_in_place() {
    for len in [10, 200 * KIB, PART] {
        let bed = Bed::new();
        let mut model = bytes(1, len);
        bed.bucket.insert("a", model.clone());
        let file = bed.open("a", WRITE).await.unwrap();
        overwrite(&file, &mut model, len / 2, b"edit").await;
        file.fsync().await.unwrap();
        bed.assert_bucket(&[("a", &model)]);
        overwrite(&file, &mut model, 1, b"again").await;
        file.close().await.unwrap();
        bed.assert_bucket(&[("a", &model)]);
    }
}

/// Only what is around an edit moves: at most a part down and a part up.
#[tokio::test]
async fn an_edit_in_a_large_file_moves_one_part() {
    for offset in [0, 5, 4 * PART - 3, 4 * PART, 6 * PART + 100, 10 * PART - 5] {
        let bed = Bed::new();
        let mut model = bytes(1, 10 * PART);
        bed.bucket.insert("a", model.clone());
        let file = bed.open("a", WRITE).await.unwrap();
        bed.take_ops();
        overwrite(&file, &mut model, offset, b"edit").await;
        assert_same(&file.read_all().await.unwrap(), &model);
        bed.bucket.forget_requests();
        file.close().await.unwrap();
        let requests = bed.bucket.requests();
        let bytes_in: u64 = requests.iter().map(|request| request.bytes_in).sum();
        assert!(requests.len() <= 6 && bytes_in <= 2 * PART as u64, "at {offset}: {requests:?}");
        bed.assert_bucket(&[("a", &model)]);
    }
}

#[tokio::test]
async fn a_file_that_is_emptied_at_open_starts_anew() {
    for before in [0, 10, 3 * PART] {
        let bed = Bed::new();
        bed.bucket.insert("a", bytes(1, before));
        let file = bed.open("a", REPLACE).await.unwrap();
        assert_eq!(file.size().await, 0);
        bed.assert_bucket(&[("a", &bytes(1, before))]);
        let content = bytes(2, 2 * PART);
        file.write(0, &content).await.unwrap();
        file.close().await.unwrap();
        bed.assert_bucket(&[("a", &content)]);
    }
}

/// Somebody empties the file by open while another one streams into it.
#[tokio::test]
async fn a_file_that_is_emptied_while_it_streams_leaves_no_upload() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate)]);
    let first = bed.create("a").await;
    first.write(0, &bytes(1, 3 * PART)).await.unwrap();
    gate.reached_by(1).await;
    let second = bed.open("a", REPLACE).await.unwrap();
    assert_eq!(first.size().await, 0);
    second.write(0, b"short").await.unwrap();
    second.close().await.unwrap();
    bed.assert_bucket(&[("a", b"short")]);
    gate.open();
    first.close().await.unwrap();
    bed.assert_bucket(&[("a", b"short")]);
    bed.assert_no_unfinished_uploads().await;
}

/// What was given up must not come back into the upload that follows it.
#[tokio::test]
async fn parts_of_an_upload_that_was_given_up_stay_out_of_the_next() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    // The parts' tasks have not run yet when the file is cut.
    let content = bytes(2, 3 * PART + 1);
    bed.fs.write(file.handle, 0, &bytes(1, 3 * PART + 1)).unwrap();
    file.truncate(0).await.unwrap();
    bed.fs.write(file.handle, 0, &content).unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
    bed.assert_no_unfinished_uploads().await;
}

/// The parts of the next upload wait for those of the one that was given up, and must not be forgotten over that.
#[tokio::test]
async fn parts_of_the_next_upload_follow_those_of_one_that_was_given_up() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate).times(4)]);
    let file = bed.create("a").await;
    file.write(0, &bytes(1, 6 * PART + 1)).await.unwrap();
    gate.reached_by(4).await;
    file.truncate(0).await.unwrap();
    let content = bytes(2, 12 * PART);
    let mut write = Box::pin(file.write(0, &content));
    assert!(poll!(&mut write).is_pending(), "as many parts as may be are waiting");
    gate.open();
    write.await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
    bed.assert_no_unfinished_uploads().await;
}
