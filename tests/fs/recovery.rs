//! What the next mount makes of what one that died has left.

use std::time::Duration;

use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};

use super::bed::{APPEND, Bed, Choices, MIB, PART, bytes};

/// A mount with a journal, and where those of the next two are.
struct Home {
    bed: Bed,
    states: [tempfile::TempDir; 3],
}

impl Home {
    fn new() -> Home {
        let states = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let state = Some(states[0].path().to_owned());
        Home { bed: Bed::with(Choices { state, ..Choices::default() }), states }
    }

    /// Lets `step` go on until it has reached the gate that `fault` has, and the mount die there.
    async fn die_in(&self, step: impl Future<Output = ()>, fault: Fault) -> Bed {
        let gate = Gate::new();
        self.bed.faults.inject(fault.held_by(&gate));
        tokio::select! {
            () = step => panic!("it came to its end"),
            () = gate.reached_by(1) => {}
        }
        self.bed.die(self.states[1].path()).await
    }
}

async fn with_directory(home: &Home) {
    home.bed.mkdir("from").await.unwrap();
    for name in ["a", "b", "c"] {
        home.bed.put(&format!("from/{name}"), name.as_bytes()).await.unwrap();
    }
}

/// The fault does nothing itself: it only has a gate.
fn at(op: Op, n: usize) -> Fault {
    Fault::hold(op, &Gate::new()).from_call(n)
}

#[tokio::test]
async fn a_rename_that_was_cut_off_among_its_copies_is_taken_back() {
    let home = Home::new();
    with_directory(&home).await;
    let next = home.die_in(async { home.bed.rename("from", "to").await.unwrap() }, at(Op::CopyObject, 3)).await;
    assert_eq!(next.bucket.keys(), ["from/", "from/a", "from/b", "from/c"]);
}

#[tokio::test]
async fn a_rename_that_was_cut_off_among_its_removals_is_ended() {
    let home = Home::new();
    with_directory(&home).await;
    let rename = async { home.bed.rename("from", "to").await.unwrap() };
    let next = home.die_in(rename, at(Op::DeleteMultipleObjects, 1)).await;
    assert_eq!(next.bucket.keys(), ["to/", "to/a", "to/b", "to/c"]);
    // And that is the end of it: what is made there later is nobody's business.
    next.mkdir("from").await.unwrap();
    next.put("from/a", b"a").await.unwrap();
    let third = next.die(home.states[2].path()).await;
    assert_eq!(third.read("from/a").await.unwrap(), b"a");
}

#[tokio::test]
async fn nothing_that_has_no_equal_is_removed_after_a_rename_that_was_cut_off() {
    for (op, n) in [(Op::CopyObject, 4), (Op::DeleteMultipleObjects, 1)] {
        let home = Home::new();
        with_directory(&home).await;
        let gate = Gate::new();
        home.bed.faults.inject(at(op, n).held_by(&gate));
        tokio::select! {
            renamed = home.bed.rename("from", "to") => panic!("{renamed:?}"),
            () = gate.reached_by(1) => {}
        }
        // Somebody goes on with either before the next mount is there.
        for side in ["from", "to"] {
            home.bed.bucket.insert(&format!("{side}/a"), format!("changed in {side}"));
            home.bed.bucket.insert(&format!("{side}/new in {side}"), "new");
        }
        let next = home.bed.die(home.states[1].path()).await;
        for side in ["from", "to"] {
            assert_eq!(next.read(&format!("{side}/a")).await.unwrap(), format!("changed in {side}").as_bytes());
            assert_eq!(next.read(&format!("{side}/new in {side}")).await.unwrap(), b"new");
        }
        let left: Vec<String> = next.bucket.keys();
        for name in ["b", "c"] {
            let copies = left.iter().filter(|key| key.ends_with(&format!("/{name}"))).count();
            assert_eq!(copies, 1, "{op:?}: {left:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_directory_that_was_to_be_replaced_stays_when_the_rename_is_taken_back() {
    for replaces in [false, true] {
        let home = Home::new();
        with_directory(&home).await;
        if replaces {
            home.bed.mkdir("to").await.unwrap();
        }
        let next = home.die_in(async { home.bed.rename("from", "to").await.unwrap() }, at(Op::CopyObject, 4)).await;
        let has_marker = next.bucket.keys().contains(&"to/".to_owned());
        assert_eq!(has_marker, replaces, "{:?}", next.bucket.keys());
        assert_eq!(next.bucket.keys().len(), 4 + usize::from(replaces));
    }
}

#[tokio::test]
async fn what_a_mount_that_died_had_hidden_is_removed_and_nobody_elses() {
    let home = Home::new();
    home.bed.put("a", &vec![1; 3 * PART]).await.unwrap();
    let file = home.bed.open("a", APPEND).await.unwrap();
    file.write(0, b"more").await.unwrap();
    home.bed.unlink("a").await.unwrap();
    let hidden = home.bed.bucket.keys();
    assert!(matches!(&hidden[..], [key] if key.starts_with(".cosmount-unlinked/")), "{hidden:?}");
    home.bed.bucket.insert(".cosmount-unlinked/0123456789abcdef-1", "of a mount that lives elsewhere");
    let next = home.bed.die(home.states[1].path()).await;
    assert_eq!(next.bucket.keys(), [".cosmount-unlinked/0123456789abcdef-1"]);
}

/// Writes `content` into `a` until `parts` parts have landed and the next one is held, and dies.
async fn die_with_parts(home: &Home, content: &[u8], parts: u64) -> Bed {
    let fault = Fault::hold(Op::UploadPart, &Gate::new()).part(parts + 1).forever();
    let write = async {
        let file = home.bed.create("a").await;
        for (index, piece) in content.chunks(MIB).take(parts as usize + 1).enumerate() {
            file.write(index * MIB, piece).await.unwrap();
            home.bed.settle().await;
        }
        std::future::pending().await
    };
    home.die_in(write, fault).await
}

#[tokio::test]
async fn a_file_that_is_written_again_sends_what_is_not_at_the_service() {
    let home = Home::new();
    let content = bytes(1, 8 * PART + 17);
    let next = die_with_parts(&home, &content, 6).await;
    next.bucket.forget_requests();
    next.advance(60_000);
    next.put("a", &content).await.unwrap();
    assert_eq!(next.bucket.bytes("a").unwrap(), content);
    assert_eq!(next.bucket.count(Op::UploadPart), 3, "the seventh, the eighth and the rest");
    assert_eq!(next.bucket.count(Op::InitiateMultipartUpload), 0);
    let now = next.stat("a").await.unwrap().mtime;
    assert!(now >= next.clock.now() - Duration::from_secs(1), "the time of the write, and not of the one that died");
    assert!(next.bucket.unfinished_uploads().is_empty());
}

#[tokio::test]
async fn a_file_that_is_written_otherwise_is_what_is_written() {
    let home = Home::new();
    let before = bytes(1, 8 * PART);
    let next = die_with_parts(&home, &before, 6).await;
    next.bucket.forget_requests();
    let mut now = before.clone();
    now[2 * PART + 5] ^= 1;
    now.truncate(4 * PART + 9);
    next.put("a", &now).await.unwrap();
    assert_eq!(next.bucket.bytes("a").unwrap(), now);
    assert_eq!(next.bucket.count(Op::UploadPart), 2, "the third and the rest");
    assert!(next.bucket.unfinished_uploads().is_empty());
}

#[tokio::test]
async fn a_part_that_is_changed_and_changed_back_is_at_the_service_as_it_was_last() {
    let home = Home::new();
    let content = bytes(1, 5 * PART);
    let next = die_with_parts(&home, &content, 4).await;
    let file = next.create("a").await;
    for (index, piece) in content.chunks(MIB).enumerate() {
        file.write(index * MIB, piece).await.unwrap();
    }
    for byte in [content[0] ^ 1, content[0]] {
        file.write(0, &[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    file.close().await.unwrap();
    assert_eq!(next.bucket.bytes("a").unwrap(), content);
}

/// Nothing is worse than before where the parts are not there any more, or the service does not say.
#[tokio::test]
async fn an_upload_that_cannot_be_gone_on_with_is_begun_anew() {
    for failure in [None, Some(StoreErrorKind::Internal), Some(StoreErrorKind::NoSuchUpload)] {
        let home = Home::new();
        let content = bytes(1, 5 * PART);
        let next = die_with_parts(&home, &content, 4).await;
        match failure {
            Some(kind) => next.faults.inject(Fault::every(Op::ListParts, kind)),
            None => {
                let upload = next.bucket.unfinished_uploads().remove(0);
                let key = cosmount::object::ObjectKey::new(upload.key).unwrap();
                cosmount::store::ObjectStore::abort(&next.bucket, &key, &upload.upload).await.unwrap();
            }
        }
        next.put("a", &content).await.unwrap();
        assert_eq!(next.bucket.bytes("a").unwrap(), content);
    }
}

/// What a mount that lives has begun is not touched by one that begins.
#[tokio::test]
async fn a_mount_that_lives_keeps_what_it_has_begun() {
    let home = Home::new();
    let file = home.bed.create("a").await;
    file.write(0, &bytes(1, 3 * PART)).await.unwrap();
    home.bed.settle().await;
    assert_eq!(home.bed.bucket.unfinished_uploads().len(), 1);
    let neighbour = home.bed.die(home.states[0].path()).await;
    assert!(neighbour.bucket.unfinished_uploads().len() == 1);
    file.write(3 * PART, b"more").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(neighbour.read("a").await.unwrap(), [bytes(1, 3 * PART), b"more".to_vec()].concat());
}
