//! Files copied in: what they cost in requests, when their parts leave, and that they come back as they were.

use std::fs;
use std::process::Stdio;

use crate::bed::{Bed, MIB, PART_BYTES, assert_same, eventually, random_bytes, random_file};

/// Names that a URL, an XML body, a shell or a signature can get wrong.
const AWKWARD: [&str; 12] = [
    "中文 文件名",
    "with space",
    "a+b",
    "100%",
    "%2F%20",
    "it's \"quoted\"",
    "emoji 😀🎉",
    "a&b=c;d",
    "q?x#y",
    "back\\slash",
    "tab\there",
    "<xml> & ]]>",
];

#[test]
fn a_large_file_costs_its_parts_and_nothing_else() {
    let bytes = 256 * MIB + 4321;
    let mut bed = Bed::new();
    random_file(&bed.local("big"), bytes, 1);
    let mark = bed.mark();
    bed.sh("cp $W/big big");
    bed.since(mark).assert_are(&[
        ("ListObjects", 1),
        ("InitiateMultipartUpload", 1),
        ("UploadPart", bytes.div_ceil(PART_BYTES)),
        ("CompleteMultipartUpload", 1),
    ]);
    assert_same(&bed.bucket().get("big"), &fs::read(bed.local("big")).unwrap());
    bed.remount();
    bed.sh("cmp $W/big big");
}

#[test]
fn a_part_lands_before_the_last_byte_is_written() {
    let bed = Bed::new();
    let content = random_bytes(3 * PART_BYTES, 2);
    fs::write(bed.local("f"), &content).unwrap();
    let mark = bed.mark();
    let mut writer = bed
        .command(&bed.python_line(
            r"
import os, sys
f = open('stream', 'wb', buffering=0)
data = open(os.environ['W'] + '/f', 'rb').read()
f.write(data[:-1])
sys.stdin.read()
f.write(data[-1:])
",
        ))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("a part is in the bucket before the last byte is written", || bed.since(mark).count("UploadPart") >= 1);
    assert_eq!(bed.since(mark).count("CompleteMultipartUpload"), 0);
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    assert_same(&bed.bucket().get("stream"), &content);
}

#[test]
fn a_thousand_small_files_cost_one_request_each() {
    let mut bed = Bed::new();
    let tree = bed.local("tree");
    fs::create_dir(&tree).unwrap();
    for number in 0..1000 {
        random_file(&tree.join(format!("file-{number:04}")), 4096, number);
    }
    let mark = bed.mark();
    bed.sh("cp -r $W/tree new");
    let requests = bed.since(mark);
    assert!(requests.0.len() <= 1003, "{:?}", requests.summary());
    assert_eq!(requests.count("PutObject"), 1001, "one for each file and the directory");
    bed.remount();
    bed.sh("diff -r $W/tree new");
}

#[test]
fn awkward_names_cost_no_more_and_come_back() {
    let mut bed = Bed::new();
    let tree = bed.local("目录 with + and %");
    fs::create_dir(&tree).unwrap();
    for number in 0..200 {
        let name = format!("{} {number}", AWKWARD[number % AWKWARD.len()]);
        fs::write(tree.join(&name), &name).unwrap();
    }
    let mark = bed.mark();
    bed.sh("cp -r \"$W/目录 with + and %\" .");
    let requests = bed.since(mark);
    assert!(requests.0.len() <= 203, "{:?}", requests.summary());
    let key = "目录 with + and %/it's \"quoted\" 5";
    assert_eq!(bed.bucket().get(key), b"it's \"quoted\" 5", "the key is the path, byte by byte");
    bed.remount();
    bed.sh("diff -r \"$W/目录 with + and %\" \"目录 with + and %\"");
    let listed = bed.sh("ls -1 --quoting-style=literal */ | wc -l");
    assert_eq!(listed.trim(), "200");
}

#[test]
fn a_copy_inside_the_mount_is_the_same_file() {
    let bed = Bed::new();
    random_file(&bed.local("f"), 20 * MIB, 3);
    bed.sh("cp $W/f one && cp one two && cmp $W/f two && cp two one && cmp $W/f one");
}

#[test]
fn part_size_and_concurrency_are_what_was_asked_for() {
    let bed = Bed::with(&[], &["--part-size", "1MiB", "--upload-concurrency", "2"]);
    random_file(&bed.local("f"), 5 * MIB + 1, 4);
    let mark = bed.mark();
    bed.sh("cp $W/f f");
    let requests = bed.since(mark);
    assert_eq!(requests.count("UploadPart"), 6);
    assert!(requests.of("UploadPart").all(|part| part.bytes_in <= MIB as u64));
    bed.sh("cmp $W/f f");
}
