//! The access log.

use std::io::{Read, Write};

use cosmount::wire::request::Method;

use crate::bed::{Bed, HOST, head, signed, unsigned};

#[test]
fn every_request_has_a_line_when_its_answer_is_there() {
    let bed = Bed::start();
    bed.put("/dir/a", b"hello");
    let mut expected = vec![("PutObject", "dir/a", 200, 5, 0)];
    let check = |expected: &[(&str, &str, u16, u64, u64)]| {
        let lines = bed.access_log();
        let seen: Vec<_> = lines
            .iter()
            .map(|line| {
                let number = |name: &str| line[name].as_u64().unwrap();
                let status = u16::try_from(number("status")).unwrap();
                (
                    line["op"].as_str().unwrap(),
                    line["key"].as_str().unwrap(),
                    status,
                    number("bytes_in"),
                    number("bytes_out"),
                )
            })
            .collect();
        assert_eq!(seen, expected);
    };
    check(&expected);
    bed.get("/dir/a");
    expected.push(("GetObject", "dir/a", 200, 0, 5));
    check(&expected);
    bed.ask(Method::Get, "/dir/a", &[], &[("range", "bytes=1-2")], b"");
    expected.push(("GetObject", "dir/a", 206, 0, 2));
    check(&expected);
    bed.ask(Method::Delete, "/dir/a", &[], &[], b"");
    expected.push(("DeleteObject", "dir/a", 204, 0, 0));
    check(&expected);
    let refused = bed.exchange(&unsigned("GET", "/x", HOST, &[]), false);
    expected.push(("GetObject", "x", 403, 0, refused.body.len() as u64));
    check(&expected);
    let unknown = bed.ask(Method::Post, "/x", &[("select", "")], &[], b"");
    expected.push(("Unknown", "x", 501, 0, unknown.body.len() as u64));
    check(&expected);
    assert!(bed.access_log().iter().all(|line| line["bucket"] == "local-1250000000" && line["ms"].is_number()));
}

#[test]
fn lines_of_uploads_name_upload_and_part() {
    let bed = Bed::start();
    let id = bed.initiate("/a");
    let etag = bed.part("/a", &id, 1, b"part");
    bed.complete("/a", &id, &[(1, &etag)]);
    let lines = bed.access_log();
    let ops: Vec<_> = lines.iter().map(|line| line["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]);
    assert_eq!((&lines[1]["upload_id"], &lines[1]["part"]), (&id.as_str().into(), &1.into()));
    assert_eq!((&lines[2]["upload_id"], lines[2].get("part")), (&id.as_str().into(), None));
    assert!(lines[2]["bytes_out"].as_u64().unwrap() > 0);
    assert_eq!(lines[0].get("upload_id"), None);
    let secret = &bed.credentials.secret_key;
    assert!(!std::fs::read_to_string(bed.log_path()).unwrap().contains(secret.as_str()));
}

#[test]
fn a_reader_that_hangs_up_is_logged_with_what_it_got() {
    let bed = Bed::start();
    bed.put("/big", &vec![7; 64 << 20]);
    let mut stream = bed.connect();
    stream.write_all(&signed(&head(Method::Get, "/big", &[], &[]), HOST, &bed.credentials, b"")).unwrap();
    let mut some = [0; 1000];
    stream.read_exact(&mut some).unwrap();
    drop(stream);
    // The service notices when it writes on; the next request does not wait for that.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let line = loop {
        if let Some(line) = bed.access_log().into_iter().find(|line| line["op"] == "GetObject") {
            break line;
        }
        assert!(std::time::Instant::now() < deadline, "no line for the broken GET");
        std::thread::yield_now();
    };
    assert!(line["bytes_out"].as_u64().unwrap() < 64 << 20, "{line}");
}
