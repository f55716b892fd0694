//! What directories show that are open while they change, and keys that no directory can show.

use cosmount::fs::{AttributeSource, DirEntry, FileName, FsError, FsOptions, HandleId, Kind, ROOT};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};

use futures_util::poll;

use crate::bed::{Bed, Choices};

/// Everything from the beginning of an open directory on, as after `rewinddir`.
async fn read_again(bed: &Bed, handle: HandleId) -> Vec<DirEntry> {
    let mut entries = Vec::new();
    loop {
        let more = bed.fs.readdir(handle, entries.len() as u64, 300).await.unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

fn names(entries: &[DirEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[tokio::test]
async fn who_reads_a_directory_from_its_beginning_again_sees_what_there_is_now() {
    let bed = Bed::new();
    let handle = bed.fs.opendir(ROOT).await.unwrap();
    bed.put("a", b"1").await.unwrap();
    assert_eq!(names(&read_again(&bed, handle).await), [".", "..", "a"], "also if it was not read before");
    bed.put("b", b"1").await.unwrap();
    bed.unlink("a").await.unwrap();
    assert_eq!(names(&read_again(&bed, handle).await), [".", "..", "b"]);
    bed.publish_all().await;
    bed.bucket.insert("by others", "1");
    bed.advance(6000);
    assert_eq!(names(&read_again(&bed, handle).await), [".", "..", "b", "by others"]);
}

#[tokio::test]
async fn who_goes_on_reading_a_directory_sees_what_there_was_at_its_beginning() {
    let bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.put(name, b"1").await.unwrap();
    }
    let handle = bed.fs.opendir(ROOT).await.unwrap();
    let begun = bed.fs.readdir(handle, 0, 3).await.unwrap();
    assert_eq!(names(&begun), [".", "..", "a"]);
    bed.unlink("a").await.unwrap();
    bed.put("d", b"1").await.unwrap();
    assert_eq!(names(&bed.fs.readdir(handle, 3, 9).await.unwrap()), ["b", "c"]);
}

/// It has been there all the time, and the service's answer is older than its object.
#[tokio::test]
async fn what_is_published_while_its_directory_is_listed_is_shown() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"1").await.unwrap();
    bed.advance(100_000);
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).answer_lost());
    let close = async {
        gate.reached_by(1).await;
        bed.advance(1);
        file.close().await.unwrap();
        gate.open();
    };
    let (shown, ()) = tokio::join!(bed.list(ROOT), close);
    assert_eq!(shown, ["a"]);
}

/// `d` and `d/x` are a thousand keys apart: what begins with `d!` comes in between.
#[tokio::test]
async fn a_name_that_is_an_object_on_one_page_and_a_prefix_on_another_is_shown_once() {
    let bed = Bed::new();
    bed.bucket.insert("d", "hidden");
    bed.bucket.insert("d/x", "seen");
    for index in 0..1500 {
        bed.bucket.insert(&format!("d!{index:04}"), "1");
    }
    for _ in 0..2 {
        let handle = bed.fs.opendir(ROOT).await.unwrap();
        let entries = read_again(&bed, handle).await;
        let shown: Vec<&DirEntry> = entries.iter().filter(|entry| entry.name.as_str() == "d").collect();
        assert_eq!(shown.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [Kind::Directory]);
        assert_eq!(entries.len(), 2 + 1 + 1500);
        assert_eq!(bed.stat("d").await.unwrap().ino, shown[0].ino);
        assert_eq!(bed.stat("d").await.unwrap().kind, Kind::Directory);
        bed.fs.releasedir(handle);
        bed.advance(6000);
    }
    assert_eq!(bed.read("d/x").await.unwrap(), b"seen");
}

#[tokio::test]
async fn an_open_directory_that_is_removed_has_no_link_and_is_empty() {
    for by_others in [false, true] {
        let bed = Bed::new();
        bed.mkdir("d").await.unwrap();
        bed.chmod("d", 0o750).await.unwrap();
        bed.publish_all().await;
        let ino = bed.stat("d").await.unwrap().ino;
        let handle = bed.fs.opendir(ino).await.unwrap();
        assert_eq!(names(&read_again(&bed, handle).await), [".", ".."]);
        match by_others {
            true => {
                bed.bucket.remove("d/");
                bed.advance(6000);
            }
            false => bed.rmdir("d").await.unwrap(),
        }
        assert_eq!(bed.stat("d").await, Err(FsError::NotFound));
        let attr = bed.fs.getattr(ino).await.unwrap();
        assert_eq!((attr.kind, attr.links, attr.permissions), (Kind::Directory, 0, 0o750));
        assert_eq!(names(&read_again(&bed, handle).await), [".", ".."]);
        let again = bed.fs.opendir(ino).await.unwrap();
        assert_eq!(names(&read_again(&bed, again).await), [".", ".."]);
        bed.mkdir("d").await.unwrap();
        assert_eq!(bed.fs.getattr(ino).await.unwrap().links, 0, "another one has the name");
        assert_eq!(bed.stat("d").await.unwrap().links, 1);
    }
}

/// `O_PATH`, a working directory, or a bound socket: the kernel knows of it, and no handle does.
#[tokio::test]
async fn what_loses_its_name_has_no_link_although_nobody_has_opened_it() {
    let bed = Bed::new();
    for name in ["removed", "replaced", "new"] {
        bed.put(name, b"content").await.unwrap();
    }
    bed.symlink("link", "target").await.unwrap();
    bed.mkdir("directory").await.unwrap();
    bed.mkdir("new directory").await.unwrap();
    let all = ["removed", "replaced", "link", "directory"];
    let mut inos = Vec::new();
    for name in all {
        inos.push(bed.stat(name).await.unwrap().ino);
    }
    bed.unlink("removed").await.unwrap();
    bed.rename("new", "replaced").await.unwrap();
    bed.unlink("link").await.unwrap();
    bed.rename("new directory", "directory").await.unwrap();
    for (name, ino) in all.into_iter().zip(inos) {
        let links = bed.fs.getattr(ino).await.map(|attr| attr.links);
        assert_eq!(links, Ok(0), "{name}");
    }
    assert_eq!(bed.stat("replaced").await.unwrap().links, 1);
    assert_eq!(bed.stat("directory").await.unwrap().links, 1);
}

/// As `rm -rf` does it, which can only remove what it sees.
#[tokio::test]
async fn keys_that_cannot_be_names_go_along_with_their_directory() {
    let bed = Bed::new();
    let too_long = format!("a/b/{}", "n".repeat(256));
    for key in ["a/ok", "a//b", "a/./c", "a/../d", "a/b//c/d", &too_long] {
        bed.bucket.insert(key, "x");
    }
    bed.unlink("a/ok").await.unwrap();
    assert_eq!(bed.rmdir("a").await, Err(FsError::NotEmpty), "a/b is left");
    assert_eq!(bed.bucket.keys().len(), 5, "nothing else is gone");
    bed.rmdir("a/b").await.unwrap();
    bed.rmdir("a").await.unwrap();
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn keys_that_cannot_be_names_keep_their_directory_where_that_is_chosen() {
    let options = FsOptions { remove_unnameable: false, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    bed.bucket.insert("a//b", "x");
    assert_eq!(bed.rmdir("a").await, Err(FsError::NotEmpty));
    bed.assert_bucket(&[("a//b", b"x")]);
}

#[tokio::test]
async fn keys_that_cannot_be_removed_keep_their_directory() {
    let bed = Bed::with_faults([Fault::every(Op::DeleteMultipleObjects, StoreErrorKind::Denied)]);
    bed.bucket.insert("a//b", "x");
    assert_eq!(bed.rmdir("a").await, Err(FsError::Remote(StoreErrorKind::Denied)));
    bed.assert_bucket(&[("a//b", b"x")]);
    assert_eq!(bed.stat("a").await.unwrap().kind, Kind::Directory);
}

/// Samba and other programs that remember a place in a directory.
#[tokio::test]
async fn each_place_of_a_large_directory_is_one_page_away() {
    let bed = Bed::new();
    for index in 0..3_500 {
        bed.bucket.insert(&format!("d/{index:04}"), "");
    }
    let ino = bed.stat("d").await.unwrap().ino;
    let handle = bed.fs.opendir(ino).await.unwrap();
    let all = read_again(&bed, handle).await;
    assert_eq!(all.len(), 3_502);
    bed.take_ops();
    for place in [3_501, 1, 2_500, 1_200, 3_000, 1_002] {
        let shown = bed.fs.readdir(handle, place, 1).await.unwrap();
        assert_eq!(shown, all[place as usize..=place as usize], "{place}");
        let listings = bed.take_ops().into_iter().filter(|op| *op == Op::ListObjects).count();
        assert!(listings <= 1, "{listings} for {place}");
    }
    // A page that ends elsewhere by now moves what is behind it.
    bed.bucket.remove("d/0100");
    let mut shown = bed.fs.readdir(handle, 5, 3_000).await.unwrap();
    shown.extend(bed.fs.readdir(handle, 5 + shown.len() as u64, 3_000).await.unwrap());
    let expected = all[5..].iter().filter(|entry| entry.name.as_str() != "0100").take(shown.len());
    assert!(shown.len() > 1_000 && shown.iter().eq(expected), "each once");
}

/// Its program was killed while it looked a name up, so that nothing keeps the directory for the answer.
#[tokio::test]
async fn what_was_published_before_its_directory_was_forgotten_is_there_when_a_late_listing_comes() {
    let bed = Bed::new();
    bed.bucket.insert("d/a", "1");
    let directory = bed.stat("d").await.unwrap().ino;
    let file = bed.create("d/new").await;
    let new = file.ino;
    bed.advance(100_000);
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).key("d/").answer_lost());
    let none = FileName::new("none").unwrap();
    let mut looking = Box::pin(bed.fs.lookup(directory, &none));
    assert!(poll!(&mut looking).is_pending());
    gate.reached_by(1).await;
    bed.advance(1);
    file.close().await.unwrap();
    bed.fs.forget(new, 1000);
    bed.fs.forget(directory, 1000);
    assert_eq!(bed.stat("d").await.unwrap().ino, directory);
    gate.open();
    assert!(looking.await.is_err());
    assert!(bed.stat("d/new").await.is_ok());
}

/// So much else is listed meanwhile that its name is forgotten.
#[tokio::test]
async fn what_was_published_before_its_name_was_evicted_is_there_when_a_late_listing_comes() {
    let options = FsOptions { metadata_bytes: 64 << 10, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    (0..1_000).for_each(|index| bed.bucket.insert(&format!("many/{index}"), "1"));
    bed.bucket.insert("d/a", "1");
    let (directory, many) = (bed.stat("d").await.unwrap().ino, bed.stat("many").await.unwrap().ino);
    let file = bed.create("d/new").await;
    let new = file.ino;
    bed.advance(100_000);
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).key("d/").answer_lost());
    let none = FileName::new("none").unwrap();
    let mut looking = Box::pin(bed.fs.lookup(directory, &none));
    assert!(poll!(&mut looking).is_pending());
    gate.reached_by(1).await;
    bed.advance(1);
    file.close().await.unwrap();
    bed.fs.forget(new, 1000);
    bed.list(many).await;
    gate.open();
    assert!(looking.await.is_err());
    assert!(bed.stat("d/new").await.is_ok());
}

/// Each name costs two requests until the directory is listed, page by page.
#[tokio::test]
async fn a_large_directory_is_listed_for_who_wants_its_names_in_no_order() {
    let bed = Bed::new();
    for index in 0..10_000 {
        bed.bucket.insert(&format!("{index:05}"), "1");
    }
    let _ = bed.take_ops();
    let mut random = fastrand::Rng::with_seed(7);
    for index in (0..3_000).map(|_| random.u32(0..10_000)) {
        assert_eq!(bed.stat(&format!("{index:05}")).await.unwrap().size, 1);
        bed.advance(1);
        // What goes on in the background has its turn between two calls.
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.stat("none").await, Err(FsError::NotFound));
    let listed = bed.take_ops().into_iter().filter(|op| *op == Op::ListObjects).count();
    assert!((10..200).contains(&listed), "{listed} listings");
}

/// `d` and `e` are the same directory, whose keys are others.
#[tokio::test]
async fn a_directory_that_is_renamed_while_it_is_listed_keeps_its_names() {
    let bed = Bed::new();
    for index in 0..2_500 {
        bed.bucket.insert(&format!("d/{index:04}"), "1");
    }
    let handle = bed.fs.opendir(bed.stat("d").await.unwrap().ino).await.unwrap();
    let mut shown = bed.fs.readdir(handle, 0, 1_500).await.unwrap();
    bed.rename("d", "e").await.unwrap();
    while let more @ [_, ..] = &bed.fs.readdir(handle, shown.len() as u64, 1_500).await.unwrap()[..] {
        shown.extend_from_slice(more);
    }
    assert_eq!(shown.len(), 2 + 2_500);
    let mut random = fastrand::Rng::with_seed(7);
    for index in (0..400).map(|_| random.u32(0..2_500)) {
        assert_eq!(bed.stat(&format!("e/{index:04}")).await.unwrap().size, 1);
    }
}

#[tokio::test]
async fn a_large_directory_that_is_renamed_while_names_are_looked_up_in_no_order_keeps_them() {
    let bed = Bed::new();
    for index in 0..10_000 {
        bed.bucket.insert(&format!("a/{index:05}"), "1");
    }
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20 {
        let (before, after) = (["a", "b"][round % 2], ["b", "a"][round % 2]);
        for index in (0..25).map(|_| random.u32(0..10_000)) {
            assert_eq!(bed.stat(&format!("{before}/{index:05}")).await.unwrap().size, 1, "{round}");
            tokio::task::yield_now().await;
        }
        bed.rename(before, after).await.unwrap();
    }
    assert_eq!(bed.list(bed.stat("a").await.unwrap().ino).await.len(), 10_000);
}

/// Only the next page tells whether there is a directory of the same name.
#[tokio::test]
async fn a_file_at_the_end_of_a_page_that_is_written_before_the_next_page_comes_is_what_was_written() {
    let options = FsOptions { attributes: AttributeSource::Listing, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    for index in 0..1_500 {
        bed.bucket.insert(&format!("{index:04}"), "1");
    }
    let handle = bed.fs.opendir(ROOT).await.unwrap();
    let shown = bed.fs.readdir(handle, 0, 900).await.unwrap();
    bed.advance(1);
    bed.put("0999", b"longer").await.unwrap();
    bed.advance(1);
    let mut shown = shown.len() as u64;
    while let more @ 1.. = bed.fs.readdir(handle, shown, 900).await.unwrap().len() {
        shown += more as u64;
    }
    assert_eq!(shown, 2 + 1_500);
    assert_eq!(bed.stat("0999").await.unwrap().size, 6);
    assert_eq!(bed.read("0999").await.unwrap(), b"longer");
}
