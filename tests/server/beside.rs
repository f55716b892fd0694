//! What an object has beside bytes and metadata: tags, an access list, encryption, and a place in an archive.

use cosmount::clock::Clock;
use cosmount::wire::request::Method;
use std::time::Duration;

use crate::bed::{Bed, Reply};

const RESTORE: &[u8] =
    b"<RestoreRequest><Days>2</Days><CASJobParameters><Tier>Bulk</Tier></CASJobParameters></RestoreRequest>";

#[test]
fn tags_and_access_lists_are_told_to_who_asks() {
    let bed = Bed::start();
    let headers = [("x-cos-tagging", "team=a%20b&c="), ("x-cos-acl", "public-read")];
    assert_eq!(bed.ask(Method::Put, "/a", &[], &headers, b"x").status, 200);
    let tags = bed.ask(Method::Get, "/a", &[("tagging", "")], &[], b"");
    assert_eq!(
        (tags.elements("Key"), tags.elements("Value")),
        (vec!["team".into(), "c".into()], vec!["a b".into(), String::new()])
    );
    let list = bed.ask(Method::Get, "/a", &[("acl", "")], &[], b"");
    assert_eq!(list.elements("Permission"), ["FULL_CONTROL", "READ"]);
    // A copy has the tags and not the access list.
    let source = [("x-cos-copy-source", "/local-1250000000/a")];
    assert_eq!(bed.ask(Method::Put, "/b", &[], &source, b"").status, 200);
    assert_eq!(bed.ask(Method::Get, "/b", &[("tagging", "")], &[], b"").elements("Key"), ["team", "c"]);
    assert_eq!(bed.ask(Method::Get, "/b", &[("acl", "")], &[], b"").elements("Permission"), ["FULL_CONTROL"]);
    let replaced = [source[0], ("x-cos-tagging-directive", "Replaced"), ("x-cos-tagging", "d=1")];
    assert_eq!(bed.ask(Method::Put, "/b", &[], &replaced, b"").status, 200);
    assert_eq!(bed.ask(Method::Get, "/b", &[("tagging", "")], &[], b"").elements("Key"), ["d"]);
    bed.ask(Method::Get, "/none", &[("tagging", "")], &[], b"").assert_refused(404, "NoSuchKey");
}

#[test]
fn encryption_is_answered_and_not_copied() {
    let bed = Bed::start();
    let kms = [("x-cos-server-side-encryption", "cos/kms"), ("x-cos-server-side-encryption-cos-kms-key-id", "k")];
    let put = bed.ask(Method::Put, "/a", &[], &kms, b"x");
    // Of "x".
    assert_ne!(put.header("etag"), Some("\"9dd4e461268c8034f5c8564e155c67a6\""));
    let plain = bed.put("/b", b"x");
    assert_eq!(plain.header("etag"), Some("\"9dd4e461268c8034f5c8564e155c67a6\""));
    let head = bed.ask(Method::Head, "/a", &[], &[], b"");
    for (name, value) in kms {
        assert_eq!((put.header(name), head.header(name)), (Some(value), Some(value)));
    }
    let source = ("x-cos-copy-source", "/local-1250000000/a");
    let copy = |to: &str, headers: &[(&str, &str)]| bed.ask(Method::Put, to, &[], headers, b"");
    assert_eq!(copy("/c", &[source]).status, 200);
    assert_eq!(bed.ask(Method::Head, "/c", &[], &[], b"").header(kms[0].0), None);
    // Onto itself for that alone.
    assert_eq!(copy("/a", &[source, ("x-cos-server-side-encryption", "AES256")]).status, 200);
    assert_eq!(bed.ask(Method::Head, "/a", &[], &[], b"").header(kms[0].0), Some("AES256"));
}

#[test]
fn an_archived_object_is_read_once_it_is_restored() {
    let clock = Clock::manual(crate::bed::now());
    let turned = clock.clone();
    let bed = Bed::with(|options| {
        options.clock = turned;
        options.restore_delay = Duration::from_secs(60);
    });
    let restore = |path: &str| bed.ask(Method::Post, path, &[("restore", "")], &[], RESTORE);
    let told = || bed.ask(Method::Head, "/a", &[], &[], b"").header("x-cos-restore").map(str::to_owned);
    assert_eq!(bed.ask(Method::Put, "/a", &[], &[("x-cos-storage-class", "ARCHIVE")], b"frozen").status, 200);
    let copy = |to: &str| bed.ask(Method::Put, to, &[], &[("x-cos-copy-source", "/local-1250000000/a")], b"");
    let id = bed.initiate("/parts");
    let query = [("partNumber", "1"), ("uploadId", &*id)];
    let part = || bed.ask(Method::Put, "/parts", &query, &[("x-cos-copy-source", "/local-1250000000/a")], b"");
    let assert_away =
        |replies: &[Reply]| replies.iter().for_each(|reply| reply.assert_refused(403, "InvalidObjectState"));

    assert_eq!(bed.ask(Method::Head, "/a", &[], &[], b"").header("x-cos-storage-class"), Some("ARCHIVE"));
    assert_eq!(told(), None);
    assert_away(&[bed.get("/a"), copy("/b"), part()]);
    bed.put("/often", b"x");
    restore("/often").assert_refused(405, "RestoreNonArchiveObject");
    restore("/none").assert_refused(404, "NoSuchKey");
    assert_eq!(restore("/a").status, 202);
    assert_eq!(told().as_deref(), Some("ongoing-request=\"true\""));
    restore("/a").assert_refused(409, "RestoreAlreadyInProgress");
    assert_away(&[bed.get("/a"), copy("/b"), part()]);

    clock.advance(Duration::from_secs(60));
    assert!(told().unwrap().starts_with("ongoing-request=\"false\", expiry-date=\""));
    assert_eq!(bed.get("/a").body, b"frozen");
    assert_eq!((copy("/b").status, part().status), (200, 200));
    assert_eq!(restore("/a").status, 200, "it is there already");
}
