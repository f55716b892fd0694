//! Who may ask, and how requests and answers look on the wire.

use std::io::{Read, Write};
use std::time::Duration;

use cosmount::clock::Clock;
use cosmount::server::TemporaryKeys;
use cosmount::wire::operation::{GetObject, Operation};
use cosmount::wire::request::Method;
use cosmount::wire::sign::{Credentials, KeyTime, SigningKey};

use crate::bed::{Bed, HOST, Reply, credentials, head, key, key_time, now, signed, unsigned};

#[test]
fn a_request_without_a_signature_is_denied() {
    let bed = Bed::start();
    bed.put("/a", b"x");
    bed.exchange(&unsigned("GET", "/a", HOST, &[]), false).assert_refused(403, "AccessDenied");
    let headers = [("authorization".into(), "q-sign-algorithm=sha1".to_owned())];
    bed.exchange(&unsigned("GET", "/a", HOST, &headers), false).assert_refused(403, "AccessDenied");
}

#[test]
fn a_wrong_key_and_an_unknown_one_are_told_apart() {
    let bed = Bed::start();
    let wrong = Credentials { secret_key: "another".into(), ..credentials() };
    let unknown = Credentials { secret_id: "AKIDnobody".into(), ..credentials() };
    let get = head(Method::Get, "/", &[], &[]);
    let reply = bed.exchange(&signed(&get, HOST, &wrong, b""), false);
    reply.assert_refused(403, "SignatureDoesNotMatch");
    assert_eq!(reply.element("Message"), "The Signature you specified is invalid.");
    bed.exchange(&signed(&get, HOST, &unknown, b""), false).assert_refused(403, "InvalidAccessKeyId");
}

/// The code table has ExpiredToken under 400.
#[test]
fn a_temporary_key_counts_with_its_token_until_its_end() {
    let (keys, clock) = (TemporaryKeys::default(), Clock::manual(now()));
    let bed = Bed::with(|options| {
        (options.temporary_keys, options.clock) = (keys.clone(), clock.clone());
    });
    let temporary = Credentials { secret_id: "AKIDtmp".into(), secret_key: "k".into(), token: Some("t".into()) };
    let get = head(Method::Get, "/", &[], &[]);
    let ask = |credentials: &Credentials| bed.exchange(&signed(&get, HOST, credentials, b""), false);
    ask(&temporary).assert_refused(403, "InvalidAccessKeyId");
    keys.issue(temporary.clone(), clock.now() + Duration::from_secs(60));
    assert_eq!(ask(&temporary).status, 200);
    ask(&Credentials { token: None, ..temporary.clone() }).assert_refused(403, "InvalidAccessKeyId");
    clock.advance(Duration::from_secs(60));
    ask(&temporary).assert_refused(400, "ExpiredToken");
    ask(&Credentials { secret_key: "another".into(), ..temporary }).assert_refused(403, "SignatureDoesNotMatch");
    assert_eq!(ask(&credentials()).status, 200, "the service's own key has no end");
    assert!(!format!("{keys:?}").contains("\"k\""), "{keys:?}");
}

#[test]
fn a_stranger_learns_nothing_of_what_is_there() {
    let bed = Bed::start();
    let wrong = Credentials { secret_key: "another".into(), ..credentials() };
    let table: [(&str, &[(&str, &str)]); 4] =
        [("/no-such-key", &[]), ("/k", &[("acl", "")]), ("/", &[("lifecycle", "")]), ("/k", &[("uploadId", "nope")])];
    for (path, query) in table {
        let request = signed(&head(Method::Get, path, query, &[]), HOST, &wrong, b"");
        bed.exchange(&request, false).assert_refused(403, "SignatureDoesNotMatch");
    }
}

#[test]
fn time_is_judged() {
    let bed = Bed::start();
    let sent = |start: u64, end: u64| {
        let get = head(Method::Get, "/", &[], &[]);
        let headers = SigningKey::new(&bed.credentials, KeyTime { start, end }).sign(&get, HOST);
        bed.exchange(&unsigned("GET", "/", HOST, &headers), false)
    };
    let expired = sent(now() - 100, now() - 10);
    expired.assert_refused(403, "AccessDenied");
    assert_eq!(expired.element("Message"), "Request has expired");
    let skewed = sent(now() + 1000, now() + 2000);
    skewed.assert_refused(403, "RequestTimeTooSkewed");
    assert!(skewed.text().contains("<ServerTime>"));
    assert_eq!(sent(now() + 800, now() + 2000).status, 200, "within 15 minutes");
    assert_eq!(sent(now() - 5000, now() + 32_557_623_403).status, 200);
}

#[test]
fn presigned_urls_open_and_expire() {
    let bed = Bed::start();
    bed.put("/dir/a b+c%.txt", b"signed in the URL");
    let get = Operation::GetObject(GetObject::new(key("dir/a b+c%.txt"), None)).encode();
    let good = SigningKey::new(&bed.credentials, key_time()).presign(&get, HOST);
    assert_eq!(bed.exchange(&unsigned("GET", &good, HOST, &[]), false).body, b"signed in the URL");
    bed.exchange(&unsigned("PUT", &good, HOST, &[("content-length".into(), "0".into())]), false)
        .assert_refused(403, "SignatureDoesNotMatch");
    let old = SigningKey::new(&bed.credentials, KeyTime { start: now() - 60, end: now() - 1 }).presign(&get, HOST);
    bed.exchange(&unsigned("GET", &old, HOST, &[]), false).assert_refused(403, "AccessDenied");
}

#[test]
fn a_plus_in_the_query_is_a_space_and_one_in_the_path_a_plus() {
    let bed = Bed::start();
    bed.put("/a b/1", b"");
    bed.put("/a+b", b"plus");
    let list = head(Method::Get, "/", &[("prefix", "a b/")], &[]);
    let headers = SigningKey::new(&bed.credentials, key_time()).sign(&list, HOST);
    let reply = bed.exchange(&unsigned("GET", "/?prefix=a+b%2F", HOST, &headers), false);
    assert_eq!(reply.elements("Key"), ["a b/1"]);
    let get = head(Method::Get, "/a+b", &[], &[]);
    let headers = SigningKey::new(&bed.credentials, key_time()).sign(&get, HOST);
    assert_eq!(bed.exchange(&unsigned("GET", "/a+b", HOST, &headers), false).body, b"plus");
}

#[test]
fn the_host_may_be_signed_with_and_without_its_port() {
    let bed = Bed::start();
    bed.put("/a", b"x");
    let get = head(Method::Get, "/a", &[], &[]);
    let with_port = bed.address.to_string();
    for signed_host in [with_port.as_str(), "127.0.0.1"] {
        let headers = SigningKey::new(&bed.credentials, key_time()).sign(&get, signed_host);
        assert_eq!(bed.exchange(&unsigned("GET", "/a", &with_port, &headers), false).body, b"x", "{signed_host}");
    }
    let headers = SigningKey::new(&bed.credentials, key_time()).sign(&get, "127.0.0.2");
    bed.exchange(&unsigned("GET", "/a", &with_port, &headers), false).assert_refused(403, "SignatureDoesNotMatch");
}

#[test]
fn every_host_form_reaches_the_bucket() {
    let bed = Bed::start();
    bed.put("/dir/a", b"x");
    let table = [
        ("local-1250000000.cos.ap-beijing.myqcloud.com", "/dir/a"),
        ("local-1250000000.cos.ap-beijing.tencentcos.cn", "/dir/a"),
        ("local-1250000000.sg.myqcloud.com", "/dir/a"),
        ("local-1250000000.localhost:9444", "/dir/a"),
        ("cos.ap-beijing.myqcloud.com", "/local-1250000000/dir/a"),
        ("127.0.0.1:9444", "/local-1250000000/dir/a"),
        ("127.0.0.1:9444", "/dir/a"),
    ];
    for (host, path) in table {
        let request = signed(&head(Method::Get, path, &[], &[]), host, &bed.credentials, b"");
        assert_eq!(bed.exchange(&request, false).body, b"x", "{host} {path}");
    }
    let elsewhere =
        signed(&head(Method::Get, "/dir/a", &[], &[]), "other-1.cos.ap-x.myqcloud.com", &bed.credentials, b"");
    bed.exchange(&elsewhere, false).assert_refused(404, "NoSuchBucket");
}

#[test]
fn absolute_targets_are_served() {
    let bed = Bed::start();
    bed.put("/a b", b"x");
    let get = head(Method::Get, "/a b", &[], &[]);
    let headers = SigningKey::new(&bed.credentials, key_time()).sign(&get, HOST);
    let target = format!("http://{HOST}/a%20b");
    assert_eq!(bed.exchange(&unsigned("GET", &target, HOST, &headers), false).body, b"x");
}

#[test]
fn keys_are_taken_as_they_are() {
    let bed = Bed::start();
    let keys = ["/a//b", "/./a/../b", "/腾讯云 😀", "/%25 '\"<>&", "/dir/", "/a%2Fb", "/ü\u{1}\n"];
    for (n, path) in keys.iter().enumerate() {
        bed.put(path, n.to_string().as_bytes());
    }
    for (n, path) in keys.iter().enumerate() {
        assert_eq!(bed.get(path).body, n.to_string().as_bytes(), "{path}");
    }
    let longest = format!("/{}", "k".repeat(850));
    bed.put(&longest, b"");
    bed.ask(Method::Put, &(longest + "k"), &[], &[], b"").assert_refused(400, "KeyTooLong");
    bed.ask(Method::Put, "//a", &[], &[], b"").assert_refused(400, "InvalidObjectName");
    bed.ask(Method::Put, "/a\u{1a}", &[], &[], b"").assert_refused(400, "InvalidObjectName");
    // An escaped slash is a slash.
    let get = head(Method::Get, "/dir/", &[], &[]);
    let headers = SigningKey::new(&bed.credentials, key_time()).sign(&get, HOST);
    assert_eq!(bed.exchange(&unsigned("GET", "/dir%2F", HOST, &headers), false).status, 200);
}

#[test]
fn every_answer_has_the_common_headers() {
    let bed = Bed::start();
    let good = bed.put("/a", b"x");
    let refused = bed.get("/missing");
    refused.assert_refused(404, "NoSuchKey");
    assert_eq!(refused.element("Resource"), format!("{HOST}/missing"));
    let stranger = bed.exchange(&unsigned("GET", "/a", HOST, &[]), false);
    for reply in [&good, &refused, &stranger] {
        assert_eq!(reply.header("server"), Some("tencent-cos"));
        assert!(reply.header("date").is_some_and(|date| date.ends_with(" GMT")));
        assert!(reply.header("x-cos-request-id").is_some_and(|id| id.len() > 20));
    }
    assert_ne!(good.header("x-cos-request-id"), refused.header("x-cos-request-id"));
    assert_eq!(good.header("x-cos-trace-id"), None);
}

/// The official Python SDK looks headers up in a plain dictionary.
#[test]
fn header_names_are_spelt_as_the_service_spells_them() {
    let bed = Bed::start();
    bed.ask(Method::Put, "/a", &[], &[("x-cos-meta-mode", "1"), ("cache-control", "no-store")], b"x");
    let spelt = bed.ask(Method::Get, "/a", &[], &[("range", "bytes=0-0")], b"").spelt;
    let expected = [
        "ETag",
        "Content-Length",
        "Content-Type",
        "Content-Range",
        "Last-Modified",
        "Accept-Ranges",
        "Cache-Control",
        "Date",
        "Server",
        "x-cos-request-id",
        "x-cos-hash-crc64ecma",
        "x-cos-meta-mode",
    ];
    for name in expected {
        assert!(spelt.iter().any(|spelt| spelt == name), "{name} in {spelt:?}");
    }
}

#[test]
fn a_refused_head_has_no_body() {
    let bed = Bed::start();
    let reply = bed.ask(Method::Head, "/missing", &[], &[], b"");
    assert_eq!((reply.status, reply.body.len()), (404, 0));
    assert!(reply.header("x-cos-trace-id").is_some() && reply.header("x-cos-request-id").is_some());
    assert_eq!(bed.exchange(&unsigned("HEAD", "/", HOST, &[]), true).status, 403);
}

#[test]
fn what_is_not_implemented_says_so() {
    let bed = Bed::start();
    for (method, path, name) in [
        (Method::Get, "/", "inventory"),
        (Method::Put, "/", "object-lock"),
        (Method::Get, "/", "list-type"),
        (Method::Put, "/a", "retention"),
        (Method::Put, "/a", "symlink"),
        (Method::Post, "/a", "select"),
        (Method::Put, "/a", "rename"),
    ] {
        bed.ask(method, path, &[(name, "")], &[], b"").assert_refused(501, "NotImplemented");
    }
    bed.exchange(&unsigned("PATCH", "/a", HOST, &[]), false).assert_refused(405, "MethodNotAllowed");
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on_or_refused_at_once() {
    let bed = Bed::start();
    let put = head(Method::Put, "/a", &[], &[]);
    let mut headers = SigningKey::new(&bed.credentials, key_time()).sign(&put, HOST);
    headers.extend([("expect".into(), "100-continue".to_owned()), ("content-length".into(), "5".to_owned())]);
    let mut stream = bed.connect();
    stream.write_all(&unsigned("PUT", "/a", HOST, &headers)).unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    assert_eq!(Reply::read(&mut stream, false).status, 200);
    headers.retain(|(name, _)| name != "authorization");
    let mut stream = bed.connect();
    stream.write_all(&unsigned("PUT", "/a", HOST, &headers)).unwrap();
    let refused = Reply::read(&mut stream, false);
    refused.assert_refused(403, "AccessDenied");
    assert_eq!(bed.get("/a").body, b"hello");
}

#[test]
fn a_connection_serves_many_requests() {
    let bed = Bed::start();
    let mut stream = bed.connect();
    for n in 0..3 {
        let put = signed(&head(Method::Put, &format!("/{n}"), &[], &[]), HOST, &bed.credentials, b"body");
        let keep_alive = String::from_utf8(put).unwrap().replace("connection: close\r\n", "");
        stream.write_all(keep_alive.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_body_that_is_refused_is_read_so_that_the_client_sees_why() {
    let bed = Bed::start();
    let wrong = Credentials { secret_key: "another".into(), ..credentials() };
    let body = vec![7; 8 << 20];
    let request = signed(&head(Method::Put, "/a", &[], &[]), HOST, &wrong, &body);
    bed.exchange(&request, false).assert_refused(403, "SignatureDoesNotMatch");
}

#[test]
fn latency_holds_every_answer_back() {
    let bed = Bed::with(|options| options.latency = std::time::Duration::from_millis(120));
    let begun = std::time::Instant::now();
    bed.put("/a", b"x");
    assert!(begun.elapsed() >= std::time::Duration::from_millis(120));
}

/// Whether the service has closed a connection.
fn is_closed(stream: &mut std::net::TcpStream) -> bool {
    use std::io::Read;
    let mut byte = [0];
    // A reset is an end too.
    !matches!(stream.read(&mut byte), Ok(1))
}

#[test]
fn connections_that_say_nothing_block_nobody() {
    let bed = Bed::with(|options| options.connections_max = Some(8));
    let mut silent: Vec<_> = (0..50).map(|_| bed.connect()).collect();
    for stream in &mut silent {
        std::io::Write::write_all(stream, b"GET /").unwrap();
    }
    bed.put("/a", b"bytes");
    assert_eq!(bed.get("/a").body, b"bytes");
    assert!(silent[..40].iter_mut().all(is_closed), "the oldest made room");
}

#[test]
fn who_does_not_ask_in_time_is_closed_whatever_it_sends() {
    let bed = Bed::with(|options| options.head_deadline = std::time::Duration::from_millis(200));
    let (mut silent, mut half) = (bed.connect(), bed.connect());
    std::io::Write::write_all(&mut half, b"PUT /a HTTP/1.1\r\nhost: x\r\n").unwrap();
    assert!(is_closed(&mut silent) && is_closed(&mut half));
    bed.put("/a", b"bytes");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let bed = Bed::start();
    let large = format!("x-cos-meta-a: {}\r\n", "a".repeat(200_000));
    let mut stream = bed.connect();
    let _ = std::io::Write::write_all(&mut stream, format!("GET /a HTTP/1.1\r\n{large}\r\n").as_bytes());
    let mut answer = Vec::new();
    // What was sent too much may come back as a reset instead of the answer.
    let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    bed.put("/a", b"bytes");
}
