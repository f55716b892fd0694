//! Objects: put, get, head, delete, copy.

use base64::Engine as _;
use cosmount::object::{Crc64, Limits};
use cosmount::wire::request::Method;
use cosmount::wire::sign::SigningKey;

use crate::bed::{Bed, HOST, head, key_time, unsigned};

const CRC64: &str = "x-cos-hash-crc64ecma";
const SAMPLE: &[u8] = b"[Object Content]";
const SAMPLE_ETAG: &str = "\"ee8de918d05640145b18f70f4c3aa602\"";
const SAMPLE_CRC64: &str = "16749565679157681890";

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn put_head_and_get_agree_with_the_documented_sample() {
    let bed = Bed::start();
    let put = bed.put("/a", SAMPLE);
    assert_eq!((put.header("etag"), put.header(CRC64)), (Some(SAMPLE_ETAG), Some(SAMPLE_CRC64)));
    assert_eq!(put.body, b"");
    let get = bed.get("/a");
    let found = bed.ask(Method::Head, "/a", &[], &[], b"");
    for reply in [&get, &found] {
        assert_eq!(reply.status, 200);
        assert_eq!((reply.header("etag"), reply.header(CRC64)), (Some(SAMPLE_ETAG), Some(SAMPLE_CRC64)));
        assert_eq!((reply.header("content-length"), reply.header("accept-ranges")), (Some("16"), Some("bytes")));
        assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
        assert!(reply.header("last-modified").is_some_and(|date| date.ends_with("GMT")));
        assert_eq!(reply.header("x-cos-storage-class"), None);
    }
    assert_eq!(get.body, SAMPLE);
}

#[test]
fn metadata_comes_back() {
    let bed = Bed::start();
    let headers = [
        ("content-type", "text/plain"),
        ("cache-control", "max-age=5"),
        ("content-disposition", "attachment"),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("x-cos-server-side-encryption", "cos/kms"),
        ("x-cos-server-side-encryption-cos-kms-key-id", "k-1"),
        ("expires", "Thu, 16 May 2030 06:45:51 GMT"),
        ("x-cos-meta-Mtime", "1557989151.5"),
        ("x-cos-storage-class", "STANDARD_IA"),
        ("x-cos-tagging", "a=1&b=2"),
    ];
    assert_eq!(bed.ask(Method::Put, "/a", &[], &headers, b"x").status, 200);
    let found = bed.ask(Method::Head, "/a", &[], &[], b"");
    for (name, value) in headers.iter().filter(|(name, _)| *name != "x-cos-tagging") {
        assert_eq!(found.header(&name.to_ascii_lowercase()), Some(*value), "{name}");
    }
    assert_eq!((found.header("x-cos-tagging-count"), found.header("x-cos-tagging")), (Some("2"), None));
}

#[test]
fn metadata_beyond_the_rules_is_refused() {
    let bed = Bed::start();
    let long = "v".repeat(2049);
    let full = "v".repeat(2048);
    let put = |headers: &[(&str, &str)]| bed.ask(Method::Put, "/a", &[], headers, b"x");
    put(&[("x-cos-meta-a_b", "x")]).assert_refused(400, "InvalidArgument");
    put(&[("x-cos-meta-a", &long)]).assert_refused(400, "InvalidArgument");
    put(&[("x-cos-meta-a", &full), ("x-cos-meta-b", &full)]).assert_refused(400, "InvalidArgument");
    put(&[("x-cos-storage-class", "COLD")]).assert_refused(400, "NotSupportedStorageClass");
    put(&[("x-cos-tagging", "a=1&a=2")]).assert_refused(400, "InvalidTag");
    put(&[("x-cos-acl", "public-reed")]).assert_refused(400, "InvalidArgument");
    put(&[("x-cos-server-side-encryption", "ROT13")]).assert_refused(400, "InvalidArgument");
    put(&[("x-cos-grant-read", "id=\"1\"")]).assert_refused(501, "NotImplemented");
    assert_eq!(bed.get("/a").status, 404);
}

#[test]
fn digests_are_compared() {
    let bed = Bed::start();
    let put = |headers: &[(&str, &str)]| bed.ask(Method::Put, "/a", &[], headers, SAMPLE);
    let md5 = base64(&[0xee, 0x8d, 0xe9, 0x18, 0xd0, 0x56, 0x40, 0x14, 0x5b, 0x18, 0xf7, 0x0f, 0x4c, 0x3a, 0xa6, 0x02]);
    // What sha1sum prints for the sample.
    let sha1 = "28b7da9a7c5385e6e2669ed36e89af0053f7f58e";
    let other_sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    put(&[("content-md5", &base64(&[7; 16]))]).assert_refused(400, "BadDigest");
    put(&[("content-md5", "nonsense")]).assert_refused(400, "InvalidDigest");
    put(&[("x-cos-content-sha1", other_sha1)]).assert_refused(400, "InvalidSHA1Digest");
    put(&[("x-cos-content-sha1", "short")]).assert_refused(400, "InvalidSHA1Digest");
    assert_eq!(bed.get("/a").status, 404, "nothing of it is stored");
    assert_eq!(put(&[("content-md5", &md5)]).status, 200);
    assert_eq!(put(&[("x-cos-content-sha1", sha1)]).status, 200);
}

#[test]
fn a_length_is_demanded_but_chunks_are_taken_for_put_object() {
    let bed = Bed::start();
    let put = head(Method::Put, "/a", &[], &[]);
    let mut headers = SigningKey::new(&bed.credentials, key_time()).sign(&put, HOST);
    bed.exchange(&unsigned("PUT", "/a", HOST, &headers), false).assert_refused(411, "MissingContentLength");
    headers.push(("transfer-encoding".into(), "chunked".to_owned()));
    let mut request = unsigned("PUT", "/a", HOST, &headers);
    request.extend_from_slice(b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
    assert_eq!(bed.exchange(&request, false).status, 200);
    assert_eq!(bed.get("/a").body, b"hello!");
    let id = bed.initiate("/a");
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    let part = head(Method::Put, "/a", &query, &[]);
    let mut headers = SigningKey::new(&bed.credentials, key_time()).sign(&part, HOST);
    headers.push(("transfer-encoding".into(), "chunked".to_owned()));
    let mut request = unsigned("PUT", &part.target(), HOST, &headers);
    request.extend_from_slice(b"5\r\nhello\r\n0\r\n\r\n");
    bed.exchange(&request, false).assert_refused(411, "MissingContentLength");
}

#[test]
fn a_short_body_stores_nothing() {
    let bed = Bed::start();
    bed.put("/a", b"before");
    let put = head(Method::Put, "/a", &[], &[]);
    let mut headers = SigningKey::new(&bed.credentials, key_time()).sign(&put, HOST);
    headers.push(("content-length".into(), "100".to_owned()));
    let mut request = unsigned("PUT", "/a", HOST, &headers);
    request.extend_from_slice(b"not a hundred bytes");
    let mut stream = bed.connect();
    std::io::Write::write_all(&mut stream, &request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Whether an answer can still be sent is the connection's affair; the log tells when the request is over.
    let mut answer = Vec::new();
    drop(std::io::Read::read_to_end(&mut stream, &mut answer));
    let line = bed.access_log().into_iter().rfind(|line| line["op"] == "PutObject").unwrap();
    assert_eq!((&line["status"], &line["bytes_in"]), (&400.into(), &19.into()));
    assert_eq!(bed.get("/a").body, b"before");
}

#[test]
fn what_is_too_large_is_refused() {
    let bed = Bed::with(|options| options.limits = Limits { put_bytes_max: 10, part_bytes_max: 10, ..Limits::COS });
    bed.ask(Method::Put, "/a", &[], &[], &[0; 11]).assert_refused(400, "EntityTooLarge");
    bed.put("/a", &[0; 10]);
    let put = head(Method::Put, "/b", &[], &[]);
    let mut headers = SigningKey::new(&bed.credentials, key_time()).sign(&put, HOST);
    headers.push(("transfer-encoding".into(), "chunked".to_owned()));
    let mut request = unsigned("PUT", "/b", HOST, &headers);
    request.extend_from_slice(b"b\r\nhello world\r\n0\r\n\r\n");
    bed.exchange(&request, false).assert_refused(400, "EntityTooLarge");
    let id = bed.initiate("/c");
    let query = [("partNumber", "1"), ("uploadId", id.as_str())];
    bed.ask(Method::Put, "/c", &query, &[], &[0; 11]).assert_refused(400, "EntityTooLarge");
}

#[test]
fn ranges_are_cut_clipped_and_refused() {
    let bed = Bed::start();
    bed.put("/a", b"0123456789");
    bed.put("/empty", b"");
    let table: [(&str, u16, &[u8], Option<&str>); 8] = [
        ("bytes=0-3", 206, b"0123", Some("bytes 0-3/10")),
        ("bytes=8-", 206, b"89", Some("bytes 8-9/10")),
        ("bytes=-3", 206, b"789", Some("bytes 7-9/10")),
        ("bytes=5-99", 206, b"56789", Some("bytes 5-9/10")),
        ("bytes=0-9", 206, b"0123456789", Some("bytes 0-9/10")),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
    ];
    for (range, status, body, content_range) in table {
        let reply = bed.ask(Method::Get, "/a", &[], &[("range", range)], b"");
        assert_eq!((reply.status, &*reply.body), (status, body), "{range}");
        assert_eq!(reply.header("content-range"), content_range, "{range}");
        assert_eq!(reply.header(CRC64), Some(&*Crc64::of(b"0123456789").to_string()), "that of the whole object");
    }
    bed.ask(Method::Get, "/a", &[], &[("range", "bytes=10-")], b"").assert_refused(416, "InvalidRange");
    bed.ask(Method::Get, "/empty", &[], &[("range", "bytes=0-")], b"").assert_refused(416, "InvalidRange");
}

#[test]
fn conditions_are_judged_in_order() {
    let bed = Bed::start();
    bed.put("/a", SAMPLE);
    let (before, after) = ("Thu, 16 May 2019 06:45:51 GMT", "Thu, 01 Jan 2099 00:00:00 GMT");
    let table: [(&[(&str, &str)], u16); 10] = [
        (&[("if-match", SAMPLE_ETAG)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-none-match", SAMPLE_ETAG)], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", before)], 200),
        (&[("if-modified-since", after)], 304),
        (&[("if-unmodified-since", before)], 412),
        (&[("if-match", SAMPLE_ETAG), ("if-unmodified-since", before)], 200),
        (&[("if-none-match", "\"other\""), ("if-modified-since", after)], 200),
    ];
    for (headers, status) in table {
        for method in [Method::Get, Method::Head] {
            let reply = bed.ask(method, "/a", &[], headers, b"");
            assert_eq!(reply.status, status, "{method:?} {headers:?}");
            if status == 304 {
                assert_eq!((reply.header("etag"), reply.header(CRC64)), (Some(SAMPLE_ETAG), Some(SAMPLE_CRC64)));
            }
        }
        if status == 412 {
            bed.ask(Method::Get, "/a", &[], headers, b"").assert_refused(412, "PreconditionFailed");
        }
    }
}

#[test]
fn response_overrides_replace_headers() {
    let bed = Bed::start();
    bed.ask(Method::Put, "/a", &[], &[("content-type", "text/plain"), ("cache-control", "no-store")], b"x");
    let query = [("response-content-type", "image/png"), ("response-content-disposition", "inline; a\r\nevil: b")];
    let reply = bed.ask(Method::Get, "/a", &query, &[], b"");
    assert_eq!((reply.header("content-type"), reply.header("cache-control")), (Some("image/png"), Some("no-store")));
    assert_eq!(reply.headers.iter().filter(|(name, _)| name == "content-type").count(), 1);
    assert_eq!(reply.header("evil"), None);
}

#[test]
fn deleting_always_succeeds() {
    let bed = Bed::start();
    bed.put("/a", b"x");
    for _ in 0..2 {
        let reply = bed.ask(Method::Delete, "/a", &[], &[("content-length", "0")], b"");
        assert_eq!(reply.status, 204);
    }
    bed.get("/a").assert_refused(404, "NoSuchKey");
}

#[test]
fn forbidding_overwrite_is_a_409() {
    let bed = Bed::start();
    let forbid = [("x-cos-forbid-overwrite", "true")];
    assert_eq!(bed.ask(Method::Put, "/a", &[], &forbid, b"first").status, 200);
    bed.ask(Method::Put, "/a", &[], &forbid, b"second").assert_refused(409, "FileAlreadyExists");
    let copy = [("x-cos-copy-source", "local-1250000000/a"), forbid[0]];
    bed.put("/b", b"there");
    bed.ask(Method::Put, "/b", &[], &copy, b"").assert_refused(409, "FileAlreadyExists");
    bed.ask(Method::Post, "/a", &[("uploads", "")], &forbid, b"").assert_refused(409, "FileAlreadyExists");
    assert_eq!(bed.get("/a").body, b"first");
}

#[test]
fn copies_keep_or_replace_metadata() {
    let bed = Bed::start();
    let headers =
        [("content-type", "text/plain"), ("x-cos-meta-mode", "33188"), ("x-cos-storage-class", "STANDARD_IA")];
    bed.ask(Method::Put, "/src/旧 名", &[], &headers, SAMPLE);
    let source = format!("{HOST}/src/%E6%97%A7%20%E5%90%8D");
    let reply = bed.ask(Method::Put, "/copy", &[], &[("x-cos-copy-source", &source)], b"");
    assert_eq!((reply.status, reply.element("ETag").as_str()), (200, SAMPLE_ETAG));
    assert_eq!(reply.element("CRC64"), SAMPLE_CRC64);
    assert!(reply.element("LastModified").ends_with('Z') && reply.text().contains("<CopyObjectResult"));
    let copy = bed.get("/copy");
    assert_eq!((&*copy.body, copy.header("content-type")), (SAMPLE, Some("text/plain")));
    assert_eq!((copy.header("x-cos-meta-mode"), copy.header("x-cos-storage-class")), (Some("33188"), None));
    let replaced =
        [("x-cos-copy-source", source.as_str()), ("x-cos-metadata-directive", "Replaced"), ("x-cos-meta-new", "1")];
    assert_eq!(bed.ask(Method::Put, "/replaced", &[], &replaced, b"").status, 200);
    let copy = bed.get("/replaced");
    assert_eq!((copy.header("x-cos-meta-new"), copy.header("x-cos-meta-mode")), (Some("1"), None));
    assert_eq!(copy.header("content-type"), Some("application/octet-stream"));
}

#[test]
fn copies_judge_their_source() {
    let bed = Bed::start();
    bed.put("/a", SAMPLE);
    let copy = |source: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("x-cos-copy-source", source)];
        all.extend_from_slice(headers);
        bed.ask(Method::Put, "/b", &[], &all, b"")
    };
    let a = "local-1250000000.cos.local.myqcloud.com/a";
    copy(a, &[("x-cos-copy-source-if-match", "\"x\"")]).assert_refused(412, "PreconditionFailed");
    copy(a, &[("x-cos-copy-source-if-none-match", SAMPLE_ETAG)]).assert_refused(412, "PreconditionFailed");
    let future = "Thu, 01 Jan 2099 00:00:00 GMT";
    copy(a, &[("x-cos-copy-source-if-modified-since", future)]).assert_refused(412, "PreconditionFailed");
    copy("local-1250000000/missing", &[]).assert_refused(404, "NoSuchKey");
    copy("other-1/a", &[]).assert_refused(404, "NoSuchBucket");
    copy("nonsense", &[]).assert_refused(400, "InvalidCopySource");
    assert_eq!(copy(a, &[("x-cos-copy-source-if-match", SAMPLE_ETAG)]).status, 200);
    let onto_itself = [("x-cos-copy-source", a)];
    bed.ask(Method::Put, "/a", &[], &onto_itself, b"").assert_refused(400, "InvalidRequest");
    let changed = [onto_itself[0], ("x-cos-metadata-directive", "Replaced"), ("x-cos-meta-mode", "1")];
    assert_eq!(bed.ask(Method::Put, "/a", &[], &changed, b"").status, 200);
    assert_eq!(bed.get("/a").header("x-cos-meta-mode"), Some("1"));
}

#[test]
fn buckets_come_and_go() {
    let bed = Bed::start();
    let host = "photos-1250000000.cos.local.myqcloud.com";
    let ask = |method, path: &str| {
        let request = crate::bed::signed(&head(method, path, &[], &[]), host, &bed.credentials, b"");
        bed.exchange(&request, method == Method::Head)
    };
    assert_eq!(ask(Method::Head, "/").status, 404);
    assert_eq!(ask(Method::Put, "/").status, 200);
    ask(Method::Put, "/").assert_refused(409, "BucketAlreadyOwnedByYou");
    assert_eq!(ask(Method::Head, "/").header("x-cos-bucket-region"), Some("local"));
    let service = head(Method::Get, "/", &[], &[]);
    let service = crate::bed::signed(&service, "service.cos.myqcloud.com", &bed.credentials, b"");
    assert_eq!(bed.exchange(&service, false).elements("Name"), ["local-1250000000", "photos-1250000000"]);
    // The Python SDK is told the address of this machine for both calls.
    let local = |query: &[(&str, &str)]| {
        let request = head(Method::Get, "/", query, &[]);
        bed.exchange(&crate::bed::signed(&request, "127.0.0.1:9444", &bed.credentials, b""), false)
    };
    assert_eq!(local(&[("marker", ""), ("max-keys", "2000")]).elements("Name").len(), 2);
    assert_eq!(local(&[("prefix", ""), ("max-keys", "1000")]).elements("Name"), ["local-1250000000"]);
    assert_eq!(ask(Method::Put, "/a").status, 200);
    ask(Method::Delete, "/").assert_refused(409, "BucketNotEmpty");
    ask(Method::Delete, "/a");
    assert_eq!(ask(Method::Delete, "/").status, 204);
    ask(Method::Delete, "/").assert_refused(404, "NoSuchBucket");
    let location = bed.ask(Method::Get, "/", &[("location", "")], &[], b"");
    assert!(location.text().contains("local"), "{}", location.text());
    let versioning = bed.ask(Method::Get, "/", &[("versioning", "")], &[], b"");
    assert!(versioning.status == 200 && !versioning.text().contains("Status"));
}
