//! Listings and deleting many.

use cosmount::wire::digest::content_md5;
use cosmount::wire::request::Method;

use crate::bed::{Bed, Reply};

fn list(bed: &Bed, query: &[(&str, &str)]) -> Reply {
    bed.ask(Method::Get, "/", query, &[], b"")
}

fn bed_with(keys: &[&str]) -> Bed {
    let bed = Bed::start();
    for key in keys {
        bed.put(&format!("/{key}"), b"x");
    }
    bed
}

#[test]
fn a_listing_says_what_is_there() {
    let bed = bed_with(&["b", "a b+%", "腾"]);
    let reply = list(&bed, &[]);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/xml")));
    assert_eq!(reply.elements("Key"), ["a b+%", "b", "腾"]);
    assert_eq!(reply.element("ETag"), "\"9dd4e461268c8034f5c8564e155c67a6\"");
    assert_eq!((reply.element("Size"), reply.element("StorageClass")), ("1".into(), "STANDARD".into()));
    assert_eq!((reply.element("MaxKeys"), reply.element("ID")), ("1000".into(), "1250000000".into()));
    assert!(reply.element("LastModified").ends_with(".000Z"));
    assert!(!reply.text().contains("EncodingType") && !reply.text().contains("Delimiter"));
    assert_eq!(reply.header("x-cos-bucket-region"), Some("local"));
}

#[test]
fn keys_are_escaped_when_asked() {
    let bed = bed_with(&["a b+%", "dir/腾/x"]);
    let reply = list(&bed, &[("encoding-type", "url"), ("delimiter", "/"), ("prefix", "dir/")]);
    assert_eq!(reply.element("EncodingType"), "url");
    assert_eq!(reply.elements("Prefix"), ["dir/", "dir/%E8%85%BE/"]);
    assert_eq!(list(&bed, &[("encoding-type", "url")]).elements("Key"), ["a%20b%2B%25", "dir/%E8%85%BE/x"]);
    list(&bed, &[("encoding-type", "base64")]).assert_refused(400, "InvalidArgument");
}

#[test]
fn pages_follow_one_another_by_next_marker() {
    let keys = ["a", "b/1", "b/2", "c", "d/1", "e"];
    let bed = bed_with(&keys);
    for delimiter in ["", "/"] {
        let mut seen = Vec::new();
        let mut marker = String::new();
        loop {
            let mut query = vec![("max-keys", "2"), ("marker", marker.as_str())];
            query.extend((!delimiter.is_empty()).then_some(("delimiter", delimiter)));
            let page = list(&bed, &query);
            let mut entries = page.elements("Key");
            entries.extend(page.elements("Prefix").into_iter().filter(|prefix| !prefix.is_empty()));
            entries.sort();
            assert!(entries.len() <= 2);
            let next = page.elements("NextMarker");
            assert_eq!(page.element("IsTruncated"), if next.is_empty() { "false" } else { "true" });
            assert_eq!(next.first().unwrap_or(entries.last().unwrap()), entries.last().unwrap());
            seen.extend(entries);
            let Some(next) = next.into_iter().next() else { break };
            marker = next;
        }
        let expected: &[&str] = if delimiter.is_empty() { &keys } else { &["a", "b/", "c", "d/", "e"] };
        assert_eq!(seen, expected);
    }
}

#[test]
fn arguments_are_checked() {
    let bed = bed_with(&["a"]);
    list(&bed, &[("max-keys", "x")]).assert_refused(400, "InvalidArgument");
    list(&bed, &[("max-keys", "-1")]).assert_refused(400, "InvalidArgument");
    list(&bed, &[("delimiter", "ab")]).assert_refused(400, "InvalidDelimiter");
    assert_eq!(list(&bed, &[("max-keys", "5000")]).element("MaxKeys"), "1000");
    assert_eq!(list(&bed, &[("max-keys", "0")]).elements("Key").len(), 0);
}

#[test]
fn many_are_deleted_at_once() {
    let bed = bed_with(&["a & b", "c", "d"]);
    let delete = |xml: &str, md5: Option<&str>| {
        let headers: Vec<(&str, &str)> = md5.map(|md5| ("content-md5", md5)).into_iter().collect();
        bed.ask(Method::Post, "/", &[("delete", "")], &headers, xml.as_bytes())
    };
    let xml = "<Delete><Object><Key>a &amp; b</Key></Object><Object><Key>missing</Key></Object><Object><Key>/no key</Key></Object></Delete>";
    delete(xml, None).assert_refused(400, "MissingContentMD5");
    delete(xml, Some(&content_md5(b"other"))).assert_refused(400, "BadDigest");
    delete("<Delete", Some(&content_md5(b"<Delete"))).assert_refused(400, "MalformedXML");
    assert_eq!(list(&bed, &[]).elements("Key"), ["a & b", "c", "d"]);
    let reply = delete(xml, Some(&content_md5(xml.as_bytes())));
    assert_eq!((reply.status, reply.elements("Key")), (200, vec!["a & b".into(), "missing".into(), "/no key".into()]));
    let quiet = "<Delete><Object><Key>c</Key></Object><Quiet>true</Quiet></Delete>";
    let reply = delete(quiet, Some(&content_md5(quiet.as_bytes())));
    assert_eq!((reply.status, reply.elements("Deleted").len()), (200, 0));
    assert_eq!(list(&bed, &[]).elements("Key"), ["d"]);
    let many: String = (0..1001).map(|n| format!("<Object><Key>{n}</Key></Object>")).collect();
    let many = format!("<Delete>{many}</Delete>");
    delete(&many, Some(&content_md5(many.as_bytes()))).assert_refused(400, "MalformedXML");
}
