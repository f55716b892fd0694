//! Multipart uploads.

use cosmount::object::{Crc64, Limits};
use cosmount::wire::request::Method;

use crate::bed::{Bed, bucket};

const CRC64: &str = "x-cos-hash-crc64ecma";

#[test]
fn parts_out_of_order_become_one_object() {
    let bed = Bed::start();
    let reply = bed.ask(Method::Post, "/dir/a b", &[("uploads", "")], &[("x-cos-meta-mode", "1")], b"");
    let id = reply.element("UploadId");
    assert_eq!((reply.element("Bucket").as_str(), reply.element("Key").as_str()), (bucket().as_str(), "dir/a b"));
    assert!(id.len() == 74 && id[..10].bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    let second = bed.part("/dir/a b", &id, 2, b"world");
    let first = bed.part("/dir/a b", &id, 1, b"hello ");
    assert_eq!(bed.get("/dir/a b").status, 404, "nothing is visible before Complete");
    let reply = bed.complete("/dir/a b", &id, &[(1, &first), (2, &second)]);
    assert_eq!(reply.status, 200);
    let crc64 = Crc64::of(b"hello world").to_string();
    assert_eq!((reply.header(CRC64), reply.header("content-type")), (Some(&*crc64), Some("application/xml")));
    assert!(reply.text().starts_with('\n') && reply.text().trim_start().starts_with("<Complete"), "{}", reply.text());
    let etag = reply.element("ETag");
    assert!(etag.ends_with("-2\"") && etag.len() == 36, "{etag}");
    let get = bed.get("/dir/a b");
    assert_eq!((&*get.body, get.header("etag")), (b"hello world".as_slice(), Some(&*etag)));
    assert_eq!((get.header(CRC64), get.header("x-cos-meta-mode")), (Some(&*crc64), Some("1")));
    bed.complete("/dir/a b", &id, &[(1, &first), (2, &second)]).assert_refused(404, "NoSuchUpload");
}

#[test]
fn a_part_has_its_md5_as_etag_and_its_crc64() {
    let bed = Bed::start();
    let id = bed.initiate("/a");
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    let reply = bed.ask(Method::Put, "/a", &query, &[], b"[Object Content]");
    assert_eq!(reply.header("etag"), Some("\"ee8de918d05640145b18f70f4c3aa602\""));
    assert_eq!(reply.header(CRC64), Some("16749565679157681890"));
}

#[test]
fn the_etag_of_the_object_is_not_made_of_its_parts() {
    let bed = Bed::start();
    let mut etags = Vec::new();
    for path in ["/a", "/b"] {
        let id = bed.initiate(path);
        let part = bed.part(path, &id, 1, b"same");
        etags.push(bed.complete(path, &id, &[(1, &part)]).element("ETag"));
    }
    assert_ne!(etags[0], etags[1]);
}

#[test]
fn complete_refuses_what_it_must() {
    let bed = Bed::start();
    let id = bed.initiate("/a");
    let one = bed.part("/a", &id, 1, b"1111");
    let two = bed.part("/a", &id, 2, b"22");
    let three = bed.part("/a", &id, 3, b"3333");
    let table: [(&[(u32, &str)], &str); 7] = [
        (&[(1, &one), (3, &three)], "InvalidPart"),
        (&[(2, &two)], "InvalidPart"),
        (&[(1, &two)], "InvalidPart"),
        (&[(0, &one)], "InvalidPart"),
        (&[(2, &two), (1, &one)], "InvalidPartOrder"),
        (&[(1, &one), (2, &two), (3, &three)], "EntityTooSmall"),
        (&[], "MalformedXML"),
    ];
    for (parts, code) in table {
        bed.complete("/a", &id, parts).assert_refused(400, code);
    }
    let forbid = [("x-cos-forbid-overwrite", "true")];
    bed.put("/a", b"there");
    let xml = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{one}</ETag></Part></CompleteMultipartUpload>"
    );
    let query = [("uploadId", id.as_str())];
    bed.ask(Method::Post, "/a", &query, &forbid, xml.as_bytes()).assert_refused(409, "FileAlreadyExists");
    assert_eq!(bed.complete("/a", &id, &[(1, &one), (2, &two)]).status, 200);
    assert_eq!(bed.get("/a").body, b"111122");
}

#[test]
fn part_numbers_and_uploads_are_checked() {
    let bed = Bed::with(|options| options.limits = Limits { part_count_max: 5, ..Limits::COS });
    let id = bed.initiate("/a");
    let put =
        |number: &str, id: &str| bed.ask(Method::Put, "/a", &[("partNumber", number), ("uploadId", id)], &[], b"x");
    for number in ["0", "6", "10001", "-1", "x", ""] {
        put(number, &id).assert_refused(400, "InvalidArgument");
    }
    assert_eq!(put("5", &id).status, 200);
    put("1", "unknown").assert_refused(404, "NoSuchUpload");
    bed.ask(Method::Put, "/other", &[("partNumber", "1"), ("uploadId", &id)], &[], b"x")
        .assert_refused(404, "NoSuchUpload");
    bed.ask(Method::Get, "/other", &[("uploadId", &id)], &[], b"").assert_refused(404, "NoSuchUpload");
    assert_eq!(bed.ask(Method::Delete, "/a", &[("uploadId", &id)], &[], b"").status, 204);
    bed.ask(Method::Delete, "/a", &[("uploadId", &id)], &[], b"").assert_refused(404, "NoSuchUpload");
    put("1", &id).assert_refused(404, "NoSuchUpload");
}

#[test]
fn the_same_number_overwrites() {
    let bed = Bed::start();
    let id = bed.initiate("/a");
    let old = bed.part("/a", &id, 1, b"old bytes");
    let new = bed.part("/a", &id, 1, b"new");
    bed.complete("/a", &id, &[(1, &old)]).assert_refused(400, "InvalidPart");
    bed.complete("/a", &id, &[(1, &new)]);
    assert_eq!(bed.get("/a").body, b"new");
}

#[test]
fn parts_are_copied_on_the_service() {
    let bed = Bed::start();
    bed.put("/src", b"0123456789");
    let id = bed.initiate("/dst");
    let copy = |number: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("x-cos-copy-source", "local-1250000000.cos.local.myqcloud.com/src")];
        all.extend_from_slice(headers);
        bed.ask(Method::Put, "/dst", &[("partNumber", number), ("uploadId", &id)], &all, b"")
    };
    let first = copy("1", &[("x-cos-copy-source-range", "bytes=2-6")]);
    assert_eq!((first.status, first.element("CRC64")), (200, Crc64::of(b"23456").to_string()));
    assert!(first.text().contains("<CopyPartResult") && first.text().contains("<LastModified>"));
    let second = copy("2", &[]);
    let (first, second) = (first.element("ETag"), second.element("ETag"));
    copy("3", &[("x-cos-copy-source-range", "bytes=5-10")]).assert_refused(416, "InvalidRange");
    copy("3", &[("x-cos-copy-source-range", "bytes=5-")]).assert_refused(400, "InvalidArgument");
    copy("3", &[("x-cos-copy-source-if-match", "\"x\"")]).assert_refused(412, "PreconditionFailed");
    bed.ask(Method::Delete, "/src", &[], &[], b"");
    let parts = [(1, first.trim_matches('"')), (2, second.trim_matches('"'))];
    assert_eq!(bed.complete("/dst", &id, &parts).header(CRC64), Some(&*Crc64::of(b"234560123456789").to_string()));
    assert_eq!(bed.get("/dst").body, b"234560123456789");
}

#[test]
fn parts_are_listed_in_pages() {
    let bed = Bed::start();
    let id = bed.initiate("/a b");
    for number in [4, 1, 3] {
        bed.part("/a b", &id, number, b"part");
    }
    let list = |query: &[(&str, &str)]| {
        let mut all = vec![("uploadId", id.as_str())];
        all.extend_from_slice(query);
        bed.ask(Method::Get, "/a b", &all, &[], b"")
    };
    let all = list(&[]);
    assert_eq!(all.elements("PartNumber"), ["1", "3", "4"]);
    assert_eq!((all.element("IsTruncated").as_str(), all.elements("NextPartNumberMarker").len()), ("false", 0));
    assert_eq!((all.elements("Size")[0].as_str(), all.element("Key").as_str()), ("4", "a b"));
    let first = list(&[("max-parts", "2"), ("encoding-type", "url")]);
    assert_eq!((first.elements("PartNumber"), first.element("Key")), (vec!["1".into(), "3".into()], "a%20b".into()));
    assert_eq!((first.element("IsTruncated"), first.element("NextPartNumberMarker")), ("true".into(), "3".into()));
    let second = list(&[("max-parts", "2"), ("part-number-marker", "3")]);
    assert_eq!((second.elements("PartNumber"), second.element("IsTruncated")), (vec!["4".into()], "false".into()));
    list(&[("max-parts", "x")]).assert_refused(400, "InvalidArgument");
}

#[test]
fn unfinished_uploads_are_listed_and_keep_the_bucket() {
    let bed = Bed::start();
    for path in ["/a", "/dir/1", "/dir/2", "/z", "/z"] {
        bed.initiate(path);
    }
    let list = |query: &[(&str, &str)]| {
        let mut all = vec![("uploads", "")];
        all.extend_from_slice(query);
        bed.ask(Method::Get, "/", &all, &[], b"")
    };
    assert_eq!(list(&[]).elements("Key"), ["a", "dir/1", "dir/2", "z", "z"]);
    let folded = list(&[("delimiter", "/")]);
    assert_eq!(folded.elements("Key"), ["a", "z", "z"]);
    assert!(folded.text().contains("<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>"));
    assert_eq!(list(&[("prefix", "dir/")]).elements("Key"), ["dir/1", "dir/2"]);
    let page = list(&[("max-uploads", "4")]);
    assert_eq!((page.element("IsTruncated").as_str(), page.elements("Key").len()), ("true", 4));
    let (key, id) = (page.element("NextKeyMarker"), page.element("NextUploadIdMarker"));
    let rest = list(&[("key-marker", &key), ("upload-id-marker", &id)]);
    assert_eq!((rest.elements("Key"), rest.element("IsTruncated")), (vec!["z".to_owned()], "false".into()));
    assert!(rest.elements("UploadId")[0] > id);
    bed.ask(Method::Delete, "/", &[], &[], b"").assert_refused(409, "BucketNotEmpty");
}

#[test]
fn ten_thousand_parts_complete_without_being_copied() {
    let bed = Bed::with(|options| options.limits = Limits { part_bytes_min: 1, ..Limits::COS });
    let id = bed.initiate("/big");
    let bed = &bed;
    // Four clients, so that the service commits parts together.
    let mut parts: Vec<(u32, String)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let id = id.as_str();
                scope.spawn(move || {
                    let numbers = (1..=10_000).filter(move |number| number % 4 == client);
                    numbers.map(|n| (n, bed.part("/big", id, n, &n.to_le_bytes()))).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    parts.sort_unstable();
    let parts: Vec<(u32, &str)> = parts.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    let begun = std::time::Instant::now();
    let reply = bed.complete("/big", &id, &parts);
    assert!(reply.element("ETag").ends_with("-10000\""));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let whole: Vec<u8> = (1..=10_000u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(bed.get("/big").body, whole);
    let tail = bed.ask(Method::Get, "/big", &[], &[("range", "bytes=-4")], b"");
    assert_eq!(tail.body, 10_000u32.to_le_bytes());
}
