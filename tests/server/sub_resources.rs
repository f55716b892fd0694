//! What a bucket is told and an object has beside its bytes: kept, given back, and refused where it cannot be.

use cosmount::wire::request::Method;

use crate::bed::{Bed, HOST, credentials, head, signed, unsigned};

#[test]
fn what_a_bucket_is_told_is_kept_until_it_is_told_otherwise() {
    let bed = Bed::start();
    let documents = [
        ("lifecycle", "LifecycleConfiguration", Some("NoSuchLifecycleConfiguration")),
        ("cors", "CORSConfiguration", Some("NoSuchCORSConfiguration")),
        ("tagging", "Tagging", Some("NoSuchTagSet")),
        ("encryption", "ServerSideEncryptionConfiguration", Some("NoSuchEncryptionConfiguration")),
        ("website", "WebsiteConfiguration", Some("NoSuchWebsiteConfiguration")),
        ("logging", "BucketLoggingStatus", None),
        ("accelerate", "AccelerateConfiguration", None),
    ];
    for (name, root, absent) in documents {
        let ask = |method, body: &str| bed.ask(method, "/", &[(name, "")], &[], body.as_bytes());
        let before = || ask(Method::Get, "");
        match absent {
            Some(code) => before().assert_refused(404, code),
            None => assert_eq!(before().text(), format!("<{root}/>")),
        }
        let document = format!("<{root}><Some>thing</Some></{root}>");
        ask(Method::Put, "<Another/>").assert_refused(400, "MalformedXML");
        assert_eq!(ask(Method::Put, &document).status, 200, "{name}");
        assert_eq!(ask(Method::Get, "").text(), document);
        assert_eq!(ask(Method::Delete, "").status, 204);
        match absent {
            Some(code) => before().assert_refused(404, code),
            None => assert_eq!(before().text(), format!("<{root}/>")),
        }
    }
    let policy = |method, body: &str| bed.ask(method, "/", &[("policy", "")], &[], body.as_bytes());
    policy(Method::Get, "").assert_refused(404, "NoSuchBucketPolicy");
    assert_eq!(policy(Method::Put, "{\"Statement\":[]}").status, 204);
    assert_eq!(policy(Method::Get, "").text(), "{\"Statement\":[]}");
}

#[test]
fn tags_and_access_lists_of_an_object_change_without_its_bytes() {
    let bed = Bed::start();
    bed.put("/a", b"bytes");
    let before = bed.get("/a").header("last-modified").unwrap().to_owned();
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>";
    let ask = |method, name: &str, headers: &[(&'static str, &str)], body: &str| {
        bed.ask(method, "/a", &[(name, "")], headers, body.as_bytes())
    };
    assert_eq!(ask(Method::Put, "tagging", &[], tags).status, 200);
    assert!(ask(Method::Get, "tagging", &[], "").text().contains("<Key>k</Key><Value>v w</Value>"));
    assert_eq!(bed.get("/a").header("x-cos-tagging-count"), Some("1"));
    let twice = tags.replace("</TagSet>", "<Tag><Key>k</Key><Value/></Tag></TagSet>");
    ask(Method::Put, "tagging", &[], &twice).assert_refused(400, "InvalidTag");
    assert_eq!(ask(Method::Delete, "tagging", &[], "").status, 204);
    assert!(!ask(Method::Get, "tagging", &[], "").text().contains("<Key>"));
    assert_eq!(ask(Method::Put, "acl", &[("x-cos-acl", "public-read")], "").status, 200);
    assert!(ask(Method::Get, "acl", &[], "").text().contains("AllUsers"));
    ask(Method::Put, "acl", &[("x-cos-acl", "for-friends")], "").assert_refused(400, "InvalidArgument");
    let own = "<AccessControlPolicy><Owner><ID>7</ID></Owner></AccessControlPolicy>";
    assert_eq!(ask(Method::Put, "acl", &[], own).status, 200);
    assert_eq!(ask(Method::Get, "acl", &[], "").text(), own);
    let bucket = bed.ask(Method::Put, "/", &[("acl", "")], &[("x-cos-acl", "public-read-write")], b"");
    assert_eq!(bucket.status, 200);
    assert!(bed.ask(Method::Get, "/", &[("acl", "")], &[], b"").text().contains("<Permission>WRITE</Permission>"));
    assert_eq!((bed.get("/a").body.as_slice(), bed.get("/a").header("last-modified")), (&b"bytes"[..], Some(&*before)));
    bed.ask(Method::Put, "/none", &[("tagging", "")], &[], tags.as_bytes()).assert_refused(404, "NoSuchKey");
}

/// `cos-api.md` 3.7.
#[test]
fn an_object_grows_where_it_ends_and_nowhere_else() {
    let bed = Bed::start();
    let append = |position: &str, body: &[u8]| {
        bed.ask(
            Method::Post,
            "/log",
            &[("append", ""), ("position", position)],
            &[("content-type", "text/plain")],
            body,
        )
    };
    append("5", b"too far").assert_refused(409, "AppendPositionErr");
    let pieces: [&[u8]; 7] = [b"one ", b"two ", b"three ", b"four ", b"five ", b"", b"six"];
    let mut whole = Vec::new();
    for piece in pieces {
        let reply = append(&whole.len().to_string(), piece);
        whole.extend_from_slice(piece);
        assert_eq!((reply.status, reply.header("x-cos-next-append-position")), (200, Some(&*whole.len().to_string())));
        let got = bed.get("/log");
        assert_eq!(got.body, whole);
        assert_eq!(got.header("x-cos-hash-crc64ecma"), reply.header("x-cos-hash-crc64ecma"));
        assert_eq!(got.header("x-cos-object-type"), Some("appendable"));
    }
    append("3", b"inside").assert_refused(409, "AppendPositionErr");
    bed.ask(Method::Post, "/log", &[("append", "")], &[], b"x").assert_refused(400, "InvalidArgument");
    // A PUT makes it an object like others.
    bed.put("/log", b"whole");
    append("5", b"more").assert_refused(409, "ObjectNotAppendable");
    assert_eq!(bed.get("/log").body, b"whole");
}

#[test]
fn a_page_of_another_origin_may_what_the_bucket_says() {
    let bed = Bed::start();
    bed.put("/a", b"bytes");
    let page = [("origin".into(), "https://example.com".to_owned())];
    let asks = [page[0].clone(), ("access-control-request-method".into(), "PUT".to_owned())];
    let preflight = || bed.exchange(&unsigned("OPTIONS", "/a", HOST, &asks), false);
    preflight().assert_refused(403, "AccessForbidden");
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>https://example.com</AllowedOrigin>\
        <AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    assert_eq!(bed.ask(Method::Put, "/", &[("cors", "")], &[], rules.as_bytes()).status, 200);
    let allowed = preflight();
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some("https://example.com")));
    let got = bed.ask(Method::Get, "/a", &[], &[("origin", "https://example.com")], b"");
    assert_eq!((got.body.as_slice(), got.header("access-control-allow-methods")), (&b"bytes"[..], Some("PUT,GET")));
    let other = bed.ask(Method::Get, "/a", &[], &[("origin", "https://example.org")], b"");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
}

/// As the service sets it (`cos-api.md` 3.2), and where its host says that it is.
#[test]
fn who_names_no_type_gets_that_of_the_extension_and_the_region_is_that_of_the_host() {
    let bed = Bed::start();
    for (path, expected) in
        [("/a.zip", "application/zip"), ("/a.txt", "text/plain"), ("/a", "application/octet-stream")]
    {
        bed.ask(Method::Put, path, &[], &[], b"x");
        assert_eq!(bed.get(path).header("content-type"), Some(expected));
    }
    let host = HOST.replace("cos.local", "cos.ap-beijing");
    let request = signed(&head(Method::Get, "/", &[("location", "")], &[]), &host, &credentials(), b"");
    assert_eq!(bed.exchange(&request, false).element("LocationConstraint"), "ap-beijing");
}
