//! What objects are made with: class, tags, access list, encryption and headers, on whatever way an object comes to be.

use cosmount::fs::{FsOptions, Special};
use cosmount::object::{Encryption, ObjectAttributes, Protection, Tags};
use cosmount::store::{HeaderRule, ObjectHeader, ObjectOptions, Op};

use crate::bed::{Bed, Choices, PART, READ, REPLACE, WRITE, bytes};

const HIDDEN: &str = ".cosmount-unlinked/";

fn objects() -> ObjectOptions {
    let rule = |pattern: &str, header, value: &str| HeaderRule { pattern: pattern.into(), header, value: value.into() };
    ObjectOptions {
        storage_class: Some("STANDARD_IA".into()),
        protection: Protection {
            acl: Some("public-read".into()),
            encryption: Some(Encryption { algorithm: Encryption::OF_COS.into(), kms_key: None }),
        },
        tags: Tags::Are("team=a".into()),
        headers: vec![
            rule("*.html", ObjectHeader::CacheControl, "no-cache"),
            rule("*.html", ObjectHeader::ContentType, "text/html; charset=utf-8"),
            rule("*.txt", ObjectHeader::ContentLanguage, "de"),
        ],
    }
}

fn bed() -> Bed {
    Bed::with(choices())
}

fn choices() -> Choices {
    Choices { options: FsOptions { objects: objects(), ..FsOptions::default() }, ..Choices::default() }
}

fn made(bed: &Bed, key: &str) -> ObjectAttributes {
    bed.bucket.object_head(key).unwrap_or_else(|| panic!("{key} is in {:?}", bed.bucket.keys())).attributes
}

/// Class, tags, access list and encryption are the mount's, and nothing else.
#[track_caller]
fn assert_ours(bed: &Bed, key: &str) {
    let found = made(bed, key);
    let objects = objects();
    assert_eq!(
        (found.storage_class, found.tags, found.protection),
        (objects.storage_class, objects.tags, objects.protection),
        "{key}"
    );
}

#[tokio::test]
async fn a_new_file_has_all_of_it_and_keeps_it_through_everything() {
    for len in [100, 3 * PART] {
        let bed = bed();
        bed.put("a.html", &bytes(1, len)).await.unwrap();
        assert_ours(&bed, "a.html");
        assert_eq!(made(&bed, "a.html").cache_control.as_deref(), Some("no-cache"));
        bed.chmod("a.html", 0o600).await.unwrap();
        bed.publish_all().await;
        let file = bed.open("a.html", WRITE).await.unwrap();
        file.write(len / 2, b"new").await.unwrap();
        file.close().await.unwrap();
        assert_ours(&bed, "a.html");
        bed.link("a.html", "b.html").await.unwrap();
        bed.rename("a.html", "c.html").await.unwrap();
        bed.mkdir("d").await.unwrap();
        bed.rename("c.html", "d/e.html").await.unwrap();
        bed.rename("d", "f").await.unwrap();
        for key in ["b.html", "f/e.html"] {
            assert_ours(&bed, key);
            let found = made(&bed, key);
            assert_eq!(found.cache_control.as_deref(), Some("no-cache"), "{key}");
            assert_eq!(found.content_type.as_deref(), Some("text/html; charset=utf-8"), "{key}");
        }
        // Nobody had to ask which tags it has: the service's copies have them.
        assert_eq!(bed.bucket.count(Op::GetObjectTagging), 0);
    }
}

#[tokio::test]
async fn headers_are_those_of_the_name_that_a_file_gets() {
    let bed = bed();
    bed.put("x.tmp", b"x").await.unwrap();
    bed.rename("x.tmp", "x.html").await.unwrap();
    bed.publish_all().await;
    let html = made(&bed, "x.html");
    assert_eq!((html.cache_control.as_deref(), html.content_language.as_deref()), (Some("no-cache"), None));
    bed.rename("x.html", "x.txt").await.unwrap();
    let text = made(&bed, "x.txt");
    assert_eq!((text.cache_control.as_deref(), text.content_language.as_deref()), (None, Some("de")));
    assert_eq!(text.content_type.as_deref(), Some("text/plain"));
    // By a mount that knows what the bucket tells, and nothing else.
    let bed = bed.remount();
    bed.rename("x.txt", "y.html").await.unwrap();
    let html = made(&bed, "y.html");
    assert_eq!((html.cache_control.as_deref(), html.content_language.as_deref()), (Some("no-cache"), None));
}

#[tokio::test]
async fn what_is_no_file_is_encrypted_and_that_is_all() {
    let bed = bed();
    bed.mkdir("d").await.unwrap();
    bed.chmod("d", 0o700).await.unwrap();
    bed.symlink("l.html", "d").await.unwrap();
    bed.mknod("p", Special::Fifo, 0o644).await.unwrap();
    bed.publish_all().await;
    bed.rename("l.html", "m.html").await.unwrap();
    bed.publish_all().await;
    let file = bed.create("gone").await;
    file.write(0, &bytes(1, 2 * PART)).await.unwrap();
    file.fsync().await.unwrap();
    bed.unlink("gone").await.unwrap();
    let hidden: Vec<String> = bed.bucket.keys().into_iter().filter(|key| key.starts_with(HIDDEN)).collect();
    assert_eq!(hidden.len(), 1, "{hidden:?}");
    for key in ["d/", "m.html", "p", &hidden[0]] {
        let found = made(&bed, key);
        assert_eq!((found.storage_class, found.cache_control), (None, None), "{key}");
        assert_eq!(found.protection, Protection { acl: None, ..objects().protection }, "{key}");
        assert!(key == hidden[0] || found.tags == Tags::None, "{key}");
    }
    file.close().await.unwrap();
}

#[tokio::test]
async fn an_object_of_others_keeps_what_it_has() {
    let own = ObjectAttributes {
        cache_control: Some("private".into()),
        storage_class: Some("INTELLIGENT_TIERING".into()),
        tags: Tags::Are("own=1".into()),
        ..ObjectAttributes::default()
    };
    for how in ["edit", "large edit", "replace", "chmod", "rename", "rename directory", "link"] {
        let bed = bed();
        let len = if how == "large edit" { 3 * PART } else { 100 };
        bed.bucket.insert_with("d/a.html", bytes(1, len), &own);
        bed.bucket.insert("d/plain", "x");
        let mut key = "d/a.html";
        match how {
            "chmod" => drop(bed.chmod(key, 0o600).await.unwrap()),
            "replace" => bed.put(key, b"new").await.unwrap(),
            "rename" => {
                bed.rename(key, "d/b.html").await.unwrap();
                key = "d/b.html";
            }
            "rename directory" => {
                bed.rename("d", "e").await.unwrap();
                key = "e/a.html";
            }
            "link" => {
                bed.link(key, "d/c.html").await.unwrap();
                key = "d/c.html";
            }
            _ => {
                let file = bed.open(key, WRITE).await.unwrap();
                file.write(len / 2, b"new").await.unwrap();
                file.close().await.unwrap();
            }
        }
        bed.publish_all().await;
        let found = made(&bed, key);
        assert_eq!(
            (found.cache_control, found.storage_class, found.tags),
            (own.cache_control.clone(), own.storage_class.clone(), own.tags.clone()),
            "{how}"
        );
        assert_eq!(found.protection, objects().protection, "{how}: the service copies neither");
        let asks = matches!(how, "edit" | "large edit" | "replace");
        assert_eq!(bed.bucket.count(Op::GetObjectTagging), usize::from(asks), "{how}");
    }
}

/// `cp` inside the mount makes a new file, of content that stays at the service.
#[tokio::test]
async fn a_copy_inside_the_mount_is_a_new_file() {
    let bed = bed();
    let own = ObjectAttributes { tags: Tags::Are("own=1".into()), ..ObjectAttributes::default() };
    bed.bucket.insert_with("a", bytes(1, 3 * PART), &own);
    bed.bucket.insert_with("tagged", "x", &own);
    for target in ["b", "tagged"] {
        let source = bed.open("a", READ).await.unwrap();
        let file = match target {
            "b" => bed.create(target).await,
            _ => bed.open(target, REPLACE).await.unwrap(),
        };
        let copied = bed.fs.copy_range((source.handle, 0), (file.handle, 0), 3 * PART as u64).await.unwrap();
        assert_eq!(copied, 3 * PART as u64);
        file.close().await.unwrap();
        source.close().await.unwrap();
    }
    assert_ours(&bed, "b");
    assert_eq!(bed.bucket.count(Op::CopyObject), 2, "{:?}", bed.bucket.ops());
    assert_eq!(made(&bed, "tagged").tags, own.tags);
}

/// A file that is there is of the class that it is of, be it the one of every day.
#[tokio::test]
async fn an_edit_does_not_move_a_file_to_the_class_of_new_ones() {
    let bed = bed();
    bed.bucket.insert("a", bytes(1, 100));
    let file = bed.open("a", WRITE).await.unwrap();
    file.write(0, b"new").await.unwrap();
    file.close().await.unwrap();
    assert_eq!((made(&bed, "a").storage_class, made(&bed, "a").tags), (None, objects().tags));
}

#[tokio::test]
async fn options_cost_no_request() {
    let with = bed();
    let without = Bed::new();
    for bed in [&with, &without] {
        bed.put("a.html", &bytes(1, 3 * PART)).await.unwrap();
        bed.put("b", b"x").await.unwrap();
        bed.chmod("b", 0o600).await.unwrap();
        bed.publish_all().await;
        bed.mkdir("d").await.unwrap();
        bed.rename("b", "d/b").await.unwrap();
        bed.rename("d", "e").await.unwrap();
        let file = bed.open("a.html", WRITE).await.unwrap();
        file.write(PART, b"new").await.unwrap();
        file.close().await.unwrap();
    }
    assert_eq!(with.take_ops(), without.take_ops());
}
