//! What goes wrong at the service ends in an error that is told, and leaves nothing behind.

use cosmount::fs::FsError;
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::poll;

use crate::bed::{APPEND, Bed, File, PART, REPLACE, WRITE, bytes};

const DENIED: FsError = FsError::Remote(StoreErrorKind::Denied);

/// Writes as far as it goes and closes: what a program is told that looks at every result.
async fn write_and_close(file: File, content: &[u8]) -> Result<(), FsError> {
    let mut result = Ok(());
    for (index, piece) in content.chunks(PART).enumerate() {
        result = result.and(file.write(index * PART, piece).await);
    }
    let closed = file.close().await;
    assert!(closed.is_err() || result.is_ok(), "a write failed and the close did not tell");
    closed
}

/// Whatever request fails, the file is not there, an object that was there is as before, and no upload stays behind.
#[tokio::test]
async fn a_failed_request_is_told_at_close_and_leaves_nothing() {
    let table: [(Fault, usize); 7] = [
        (Fault::every(Op::PutObject, StoreErrorKind::Denied), PART / 2),
        (Fault::every(Op::InitiateMultipartUpload, StoreErrorKind::Denied), 5 * PART),
        (Fault::nth(Op::UploadPart, 1, StoreErrorKind::Denied), 5 * PART),
        (Fault::nth(Op::UploadPart, 3, StoreErrorKind::Denied), 5 * PART),
        (Fault::nth(Op::UploadPart, 1, StoreErrorKind::Denied).part(6), 5 * PART + 1),
        (Fault::every(Op::UploadPart, StoreErrorKind::Denied), 30 * PART),
        (Fault::every(Op::CompleteMultipartUpload, StoreErrorKind::Denied), 2 * PART),
    ];
    for (fault, len) in table {
        for before in [None, Some(b"what was there".as_slice())] {
            let bed = Bed::with_faults([fault.clone()]);
            let file = match before {
                None => bed.create("a").await,
                Some(content) => {
                    bed.bucket.insert("a", content);
                    bed.open("a", REPLACE).await.unwrap()
                }
            };
            assert_eq!(write_and_close(file, &bytes(1, len)).await, Err(DENIED), "{fault:?}");
            bed.assert_no_unfinished_uploads().await;
            bed.assert_bucket(&before.map(|content| ("a", content)).into_iter().collect::<Vec<_>>());
            assert_eq!(bed.stat("a").await.map(|attr| attr.size).ok(), before.map(|content| content.len() as u64));
        }
    }
}

#[tokio::test]
async fn a_begin_that_failed_is_not_tried_again_for_every_part() {
    let bed = Bed::with_faults([Fault::every(Op::InitiateMultipartUpload, StoreErrorKind::Denied)]);
    let gate = Gate::new();
    bed.faults.heal();
    bed.faults.inject(Fault::nth(Op::InitiateMultipartUpload, 1, StoreErrorKind::Denied).held_by(&gate));
    let file = bed.create("a").await;
    file.write(0, &bytes(1, 4 * PART + 1)).await.unwrap();
    bed.settle().await;
    gate.open();
    assert_eq!(file.close().await, Err(DENIED));
    assert_eq!(bed.bucket.count(Op::InitiateMultipartUpload), 0, "only the first reached the service's door");
}

#[tokio::test]
async fn an_error_stays_with_the_file_for_every_handle() {
    let bed = Bed::with_faults([Fault::nth(Op::UploadPart, 2, StoreErrorKind::Denied)]);
    let first = bed.create("a").await;
    let second = bed.open("a", WRITE).await.unwrap();
    first.write(0, &bytes(1, 3 * PART)).await.unwrap();
    assert_eq!(first.fsync().await, Err(DENIED));
    for file in [&first, &second] {
        assert_eq!(file.write(0, b"x").await, Err(DENIED));
        assert_eq!(file.write(3 * PART, b"x").await, Err(DENIED));
        assert_eq!(file.truncate(1).await, Err(DENIED));
        assert_eq!(file.flush().await, Err(DENIED));
        assert_eq!(file.flush_duplicate().await, Err(DENIED));
        assert_eq!(file.fsync().await, Err(DENIED));
    }
    assert_eq!(first.close().await, Err(DENIED));
    assert_eq!(second.close().await, Err(DENIED));
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn a_file_that_failed_can_be_written_anew_once_it_is_closed() {
    for before in [None, Some("what was there")] {
        let bed = Bed::new();
        before.into_iter().for_each(|content| bed.bucket.insert("a", content));
        bed.faults.inject(Fault::nth(Op::PutObject, 1, StoreErrorKind::Denied));
        assert_eq!(bed.put("a", b"first").await, Err(DENIED));
        bed.put("a", b"second").await.unwrap();
        bed.assert_bucket(&[("a", b"second")]);
    }
}

/// The kernel sends the release of a closed file late: the next open overtakes it.
#[tokio::test]
async fn a_file_that_failed_can_be_written_anew_before_its_release() {
    let bed = Bed::with_faults([Fault::nth(Op::PutObject, 1, StoreErrorKind::Denied)]);
    let failed = bed.create("a").await;
    failed.write(0, b"first").await.unwrap();
    assert_eq!(failed.flush().await, Err(DENIED));
    assert!(bed.open("a", APPEND).await.is_err(), "there is nothing to append to");
    let again = bed.open("a", REPLACE).await.unwrap();
    failed.release().await;
    again.write(0, b"second").await.unwrap();
    again.close().await.unwrap();
    bed.assert_bucket(&[("a", b"second")]);
    assert_eq!(bed.read("a").await.unwrap(), b"second");
}

/// The store settles a lost answer where it can; where it could not, the close says so, although the object is there.
#[tokio::test]
async fn a_complete_whose_outcome_nobody_knows_is_an_error() {
    let lost = Fault::nth(Op::CompleteMultipartUpload, 1, StoreErrorKind::TimedOut).answer_lost();
    let bed = Bed::with_faults([lost]);
    let content = bytes(1, 2 * PART);
    assert_eq!(bed.put("a", &content).await, Err(FsError::Remote(StoreErrorKind::TimedOut)));
    bed.assert_no_unfinished_uploads().await;
    bed.assert_bucket(&[("a", &content)]);
}

#[tokio::test]
async fn bytes_damaged_on_the_way_up_are_never_a_success() {
    let corrupted = FsError::Remote(StoreErrorKind::Corrupted);
    let table = [
        (Fault::damage_sent(Op::PutObject), PART),
        (Fault::damage_answer(Op::PutObject), PART),
        (Fault::damage_sent(Op::UploadPart).from_call(2), 3 * PART),
        (Fault::damage_answer(Op::UploadPart), 3 * PART),
        (Fault::damage_answer(Op::CompleteMultipartUpload), 3 * PART),
    ];
    for (fault, len) in table {
        let bed = Bed::with_faults([fault.clone()]);
        let file = bed.create("a").await;
        assert_eq!(write_and_close(file, &bytes(1, len)).await, Err(corrupted.clone()), "{fault:?}");
        bed.assert_no_unfinished_uploads().await;
    }
}

/// An abort that overtakes a part may leave the part behind.
#[tokio::test]
async fn an_abort_waits_for_the_parts_that_are_on_their_way() {
    let (failing, gate) = (Gate::new(), Gate::new());
    let bed = Bed::with_faults([
        Fault::hold(Op::UploadPart, &failing).part(1),
        Fault::nth(Op::UploadPart, 1, StoreErrorKind::Denied).part(1),
        Fault::hold(Op::UploadPart, &gate).part(2),
    ]);
    let file = bed.create("a").await;
    file.write(0, &bytes(1, 2 * PART + 1)).await.unwrap();
    gate.reached_by(1).await;
    failing.open();
    assert_eq!(file.close().await, Err(DENIED));
    bed.settle().await;
    assert_eq!(bed.bucket.count(Op::AbortMultipartUpload), 0);
    gate.open();
    bed.assert_no_unfinished_uploads().await;
    assert_eq!(bed.bucket.ops().last(), Some(&Op::AbortMultipartUpload));
}

#[tokio::test]
async fn an_upload_is_aborted_too_when_it_is_given_up_while_it_begins() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::InitiateMultipartUpload, &gate).answer_lost()]);
    let file = bed.create("a").await;
    file.write(0, &bytes(1, PART + 1)).await.unwrap();
    gate.reached_by(1).await;
    bed.unlink("a").await.unwrap();
    assert_eq!(bed.bucket.unfinished_uploads().len(), 1);
    gate.open();
    bed.assert_no_unfinished_uploads().await;
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn a_copied_prefix_that_fails_leaves_the_object_as_it_was() {
    let bed = Bed::with_faults([Fault::every(Op::UploadPartCopy, StoreErrorKind::Internal)]);
    let before = bytes(1, 3 * PART);
    bed.bucket.insert("a", before.clone());
    let file = bed.open("a", APPEND).await.unwrap();
    file.write(before.len(), &bytes(2, 2 * PART)).await.unwrap();
    assert_eq!(file.close().await, Err(FsError::Remote(StoreErrorKind::Internal)));
    bed.assert_no_unfinished_uploads().await;
    bed.assert_bucket(&[("a", &before)]);
}

#[tokio::test]
async fn an_object_that_others_replaced_is_not_mixed_with_what_is_appended() {
    let bed = Bed::new();
    bed.bucket.insert("a", bytes(1, 3 * PART));
    let file = bed.open("a", APPEND).await.unwrap();
    let theirs = bytes(9, 3 * PART);
    bed.bucket.insert("a", theirs.clone());
    file.write(3 * PART, b"tail").await.unwrap();
    assert_eq!(file.close().await, Err(FsError::Stale));
    bed.assert_no_unfinished_uploads().await;
    bed.assert_bucket(&[("a", &theirs)]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_for_an_append_fails_the_close() {
    let bed = Bed::with_faults([Fault::nth(Op::GetObject, 1, StoreErrorKind::Unreachable)]);
    bed.bucket.insert("a", "0123456789");
    let file = bed.open("a", APPEND).await.unwrap();
    file.write(10, b"tail").await.unwrap();
    assert_eq!(file.close().await, Err(FsError::Remote(StoreErrorKind::Unreachable)));
    bed.assert_bucket(&[("a", b"0123456789")]);
}

#[tokio::test]
async fn writers_that_wait_are_told_of_the_failure() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::every(Op::UploadPart, StoreErrorKind::Denied).held_by(&gate)]);
    let file = bed.create("a").await;
    let content = bytes(1, 20 * PART);
    let mut write = Box::pin(file.write(0, &content));
    assert!(poll!(&mut write).is_pending());
    bed.settle().await;
    gate.open();
    assert_eq!(write.await, Err(DENIED));
    assert_eq!(file.close().await, Err(DENIED));
}

/// One connection stands still while all other parts have landed: its part goes over another one.
#[tokio::test]
async fn the_slowest_part_is_sent_once_more_and_the_first_answer_counts() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate).part(3)]);
    let content = bytes(1, 7 * PART + 5);
    let began = std::time::Instant::now();
    bed.put("a", &content).await.unwrap();
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "nothing is slow before a second is over");
    bed.assert_bucket(&[("a", &content)]);
    // The other one arrives when all is over, and does no harm.
    gate.open();
    bed.settle().await;
    bed.assert_bucket(&[("a", &content)]);
    bed.assert_no_unfinished_uploads().await;
}

/// A request that lost has the bytes of its time: its number stands for no others before it has ended.
#[tokio::test]
async fn a_part_that_was_sent_twice_is_not_sent_anew_before_both_have_ended() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate).part(2)]);
    let mut content = bytes(1, 6 * PART + 5);
    let file = bed.create("a").await;
    file.write(0, &content).await.unwrap();
    gate.reached_by(1).await;
    let has_landed = async {
        while bed.parts_sent().iter().filter(|number| **number == 2).count() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), has_landed).await.expect("it is sent once more");
    let edited = bytes(2, 4096);
    content[PART + 100..PART + 100 + edited.len()].copy_from_slice(&edited);
    file.write(PART + 100, &edited).await.unwrap();
    let mut closing = std::pin::pin!(file.close());
    let early = tokio::time::timeout(std::time::Duration::from_millis(500), &mut closing).await;
    assert!(early.is_err(), "the part waits for the request that lost");
    gate.open();
    closing.await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test]
async fn a_failure_after_a_part_was_sent_twice_leaves_nothing_behind() {
    let gate = Gate::new();
    let faults = [
        Fault::hold(Op::UploadPart, &gate).part(3),
        Fault::nth(Op::CompleteMultipartUpload, 1, StoreErrorKind::Denied),
    ];
    let bed = Bed::with_faults(faults);
    assert!(bed.put("a", &bytes(1, 7 * PART + 5)).await.is_err());
    gate.open();
    bed.settle().await;
    bed.assert_bucket(&[]);
    bed.assert_no_unfinished_uploads().await;
}
