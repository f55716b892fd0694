//! Faults on purpose: each kind, by the example that `docs/FAULTS.md` has of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use cosmount::config::parse_fault_plan;
use cosmount::server::FaultPlan;
use cosmount::wire::request::Method;

use crate::bed::{Bed, HOST, Reply, head, signed};

const DOCUMENT: &str = include_str!("../../docs/FAULTS.md");

/// The examples by the heading that they stand under.
fn examples() -> BTreeMap<&'static str, FaultPlan> {
    let mut examples = BTreeMap::new();
    for section in DOCUMENT.split("\n## ") {
        let title = section.lines().next().unwrap_or_default();
        let Some(block) = section.split("```toml\n").nth(1) else { continue };
        let text = block.split("```").next().unwrap();
        examples.insert(title, parse_fault_plan(Path::new(title), text).unwrap());
    }
    examples
}

/// A service that has the faults of an example.
fn bed(kind: &str) -> Bed {
    let plan = examples().remove(kind).unwrap_or_else(|| panic!("no example of {kind}"));
    assert!(plan.rules.iter().all(|rule| rule.fault.name() == kind), "{kind}");
    Bed::with(|options| options.faults = Some(plan))
}

impl Bed {
    /// Sends a request; `None` if its connection broke before the answer was whole.
    fn try_ask(&self, method: Method, path: &str, query: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
        let request = signed(&head(method, path, query, &[]), HOST, &self.credentials, body);
        let mut stream = self.connect();
        stream.write_all(&request).unwrap();
        Reply::try_read(&mut stream)
    }

    /// The faults that the access log has, in order, with the operations.
    fn struck(&self) -> Vec<(String, String)> {
        let lines = self.access_log().into_iter();
        let struck = lines.filter_map(|line| {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            Some((text("op")?, text("fault")?))
        });
        struck.collect()
    }

    /// Asserts that one request was struck.
    #[track_caller]
    fn assert_struck(&self, op: &str, fault: &str) {
        assert_eq!(self.struck(), [(op.to_owned(), fault.to_owned())]);
    }
}

#[test]
fn every_example_is_a_plan_and_every_kind_has_one() {
    let examples = examples();
    assert_eq!(examples.len(), 15 + 2, "{:?}", examples.keys());
    let everything: Vec<&str> = examples["All at once"].rules.iter().map(|rule| rule.fault.name()).collect();
    for (kind, plan) in &examples {
        assert!(!plan.rules.is_empty(), "{kind}");
    }
    assert!(everything.len() > 10);
}

#[test]
fn a_status_is_told_and_nothing_is_done() {
    let bed = bed("status");
    bed.ask(Method::Put, "/a", &[], &[], b"one").assert_refused(503, "SlowDown");
    bed.get("/a").assert_refused(404, "NoSuchKey");
    bed.put("/a", b"one");
    bed.assert_struck("PutObject", "status");
}

#[test]
fn an_answer_is_what_the_plan_says() {
    let bed = bed("answer");
    let moved = bed.ask(Method::Head, "/", &[], &[], b"");
    assert_eq!(moved.status, 301);
    assert_eq!(moved.header("location"), Some("https://photos-1250000000.cos.ap-beijing.myqcloud.com/"));
    let told = bed.ask(Method::Get, "/", &[("versioning", "")], &[], b"");
    assert!(String::from_utf8_lossy(&told.body).contains("<Status>Enabled</Status>"));
    let struck = ["HeadBucket", "GetBucketVersioning"].map(|op| (op.to_owned(), "answer".to_owned()));
    assert_eq!(bed.struck(), struck);
}

#[test]
fn a_reset_breaks_the_connection_in_the_middle() {
    let bed = bed("reset");
    bed.put("/a", &[7; 100_000]);
    assert!(bed.try_ask(Method::Get, "/a", &[], b"").is_none());
    assert_eq!(bed.get("/a").body.len(), 100_000);
    bed.assert_struck("GetObject", "reset");
}

#[test]
fn a_reset_before_does_nothing_and_one_after_has_done_it() {
    for (at, is_done) in [("before", false), ("after", true)] {
        let plan = format!("[[rule]]\nop = 'PutObject'\nkind = 'reset'\nat = '{at}'\n");
        let plan = parse_fault_plan(Path::new("plan"), &plan).unwrap();
        let bed = Bed::with(|options| options.faults = Some(plan));
        assert_eq!(bed.try_ask(Method::Put, "/a", &[], b"one").is_some(), is_done, "{at}");
        assert_eq!(bed.get("/a").status == 200, is_done, "{at}");
        bed.assert_struck("PutObject", "reset");
    }
}

#[test]
fn a_stalled_body_comes_late_and_whole() {
    let bed = bed("stall");
    bed.put("/a", &[7; 100_000]);
    let began = Instant::now();
    assert_eq!(bed.get("/a").body, [7; 100_000]);
    assert!(began.elapsed() >= Duration::from_millis(500));
    bed.assert_struck("GetObject", "stall");
}

#[test]
fn a_truncated_body_is_taken_for_whole() {
    let bed = bed("truncate");
    let cut = bed.put("/a", &[7; 100_000]);
    let got = bed.get("/a");
    assert!(got.body.len() < 100_000 && got.body.iter().all(|byte| *byte == 7));
    assert_eq!(cut.header("x-cos-hash-crc64ecma"), got.header("x-cos-hash-crc64ecma"), "of what was stored");
    bed.assert_struck("PutObject", "truncate");
}

#[test]
fn a_truncated_answer_has_a_length_that_fits() {
    let plan = "[[rule]]\nop = 'GetObject'\nkind = 'truncate'\nof = 'answer'\n";
    let plan = parse_fault_plan(Path::new("plan"), plan).unwrap();
    let bed = Bed::with(|options| options.faults = Some(plan));
    bed.put("/a", &[7; 100_000]);
    let got = bed.get("/a");
    assert!(got.body.len() < 100_000 && got.body.iter().all(|byte| *byte == 7));
    bed.assert_struck("GetObject", "truncate");
}

#[test]
fn one_bit_is_another_one() {
    let bed = bed("flip");
    bed.put("/a", &[0; 100_000]);
    let body = bed.get("/a").body;
    assert_eq!((body.len(), body.iter().map(|byte| byte.count_ones()).sum::<u32>()), (100_000, 1));
    bed.assert_struck("GetObject", "flip");
}

#[test]
fn a_header_has_another_bit() {
    let bed = bed("flip_header");
    let right = bed.put("/a", b"one").header("etag").unwrap().to_owned();
    let [wrong, again] =
        [(); 2].map(|()| bed.ask(Method::Head, "/a", &[], &[], b"").header("etag").unwrap().to_owned());
    assert_eq!((wrong.len(), &again), (right.len(), &right));
    assert_ne!(wrong, right);
    bed.assert_struck("HeadObject", "flip_header");
}

#[test]
fn a_flipped_header_of_a_request_is_refused_where_it_is_signed() {
    let plan = "[[rule]]\nop = 'PutObject'\nnth = 1\nkind = 'flip_header'\nof = 'request'\nheader = 'host'\n";
    let plan = parse_fault_plan(Path::new("plan"), plan).unwrap();
    let bed = Bed::with(|options| options.faults = Some(plan));
    assert_ne!(bed.ask(Method::Put, "/a", &[], &[], b"one").status, 200);
    bed.put("/a", b"one");
    bed.assert_struck("PutObject", "flip_header");
}

#[test]
fn another_etag_and_another_checksum_are_told_of_what_is_right() {
    for (kind, header) in [("wrong_etag", "etag"), ("wrong_crc64", "x-cos-hash-crc64ecma")] {
        let bed = bed(kind);
        let upload = bed.initiate("/a");
        let query = [("partNumber", "1"), ("uploadId", upload.as_str())];
        let [wrong, right] = [(); 2].map(|()| bed.ask(Method::Put, "/a", &query, &[], b"bytes"));
        assert_eq!((wrong.status, right.status), (200, 200));
        assert_ne!(wrong.header(header), right.header(header));
        let etag = right.header("etag").unwrap().trim_matches('"');
        assert_eq!(bed.complete("/a", &upload, &[(1, etag)]).status, 200);
        assert_eq!(bed.get("/a").body, b"bytes");
        bed.assert_struck("UploadPart", kind);
    }
}

#[test]
fn a_success_tells_an_error_inside_and_nothing_is_done() {
    let bed = bed("error_inside");
    let upload = bed.initiate("/a");
    let etag = bed.part("/a", &upload, 1, b"bytes");
    let told = bed.complete("/a", &upload, &[(1, &etag)]);
    assert_eq!((told.status, told.element("Code").as_str()), (200, "InternalError"));
    bed.get("/a").assert_refused(404, "NoSuchKey");
    bed.complete("/a", &upload, &[(1, &etag)]).element("ETag");
    bed.assert_struck("CompleteMultipartUpload", "error_inside");
}

#[test]
fn an_answer_is_lost_and_the_object_is_there() {
    let bed = bed("lose_answer");
    let upload = bed.initiate("/a");
    let etag = bed.part("/a", &upload, 1, b"bytes");
    let xml = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    assert!(bed.try_ask(Method::Post, "/a", &[("uploadId", &upload)], xml.as_bytes()).is_none());
    assert_eq!(bed.get("/a").body, b"bytes");
    bed.assert_struck("CompleteMultipartUpload", "lose_answer");
}

#[test]
fn what_is_done_twice_is_answered_as_the_second_time() {
    let bed = bed("twice");
    let upload = bed.initiate("/a");
    let etag = bed.part("/a", &upload, 1, b"bytes");
    bed.complete("/a", &upload, &[(1, &etag)]).assert_refused(404, "NoSuchUpload");
    assert_eq!(bed.get("/a").body, b"bytes");
    bed.assert_struck("CompleteMultipartUpload", "twice");
}

#[test]
fn a_clock_that_is_ahead_refuses_and_tells_its_time() {
    let bed = bed("clock");
    let refused = bed.get("/a");
    assert_eq!((refused.status, refused.element("Message").as_str()), (403, "Request has expired"));
    let date = httpdate_seconds(refused.header("date").unwrap());
    assert!(date.abs_diff(crate::bed::now() + 7200) < 60, "{date}");
    bed.assert_struck("GetObject", "clock");
    // Without a signature that is good for so long.
    let plan = "[[rule]]\nkind = 'clock'\nseconds = -3600\n";
    let plan = parse_fault_plan(Path::new("plan"), plan).unwrap();
    let bed = Bed::with(|options| options.faults = Some(plan));
    let refused = bed.get("/a");
    assert_eq!(refused.element("Code"), "RequestTimeTooSkewed");
    assert!(refused.text().contains("ServerTime"), "{}", refused.text());
}

fn httpdate_seconds(date: &str) -> u64 {
    let time = cosmount::wire::date::parse(date).unwrap();
    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn what_comes_too_fast_is_told_to_slow_down() {
    let bed = bed("throttle");
    let slowed = (0..20).filter(|_| bed.get("/a").status == 503).count();
    assert!((1..=15).contains(&slowed), "{slowed}");
    bed.ask(Method::Get, "/a", &[], &[], b"").assert_refused(503, "SlowDown");
    std::thread::sleep(Duration::from_millis(500));
    bed.get("/a").assert_refused(404, "NoSuchKey");
}

#[test]
fn pages_repeat_are_in_disorder_or_have_a_key_twice() {
    let bed = bed("listing");
    for directory in ["repeated", "disordered", "doubled"] {
        for name in ["a", "b", "c"] {
            bed.put(&format!("/{directory}/{name}"), b"");
        }
    }
    let list = |prefix: &str, marker: &str| {
        let query = [("prefix", prefix), ("marker", marker), ("max-keys", "3")];
        bed.ask(Method::Get, "/", &query, &[], b"").elements("Key").join(" ")
    };
    assert_eq!(list("repeated/", "repeated/b"), "repeated/a repeated/b repeated/c");
    assert_eq!(list("disordered/", ""), "disordered/c disordered/b disordered/a");
    assert_eq!(list("doubled/", ""), "doubled/a doubled/b doubled/c doubled/c");
    assert_eq!(list("doubled/", ""), "doubled/a doubled/b doubled/c");
    assert_eq!(bed.struck().len(), 3);
}
