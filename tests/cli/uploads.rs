//! `cosmount uploads`: what is unfinished in a bucket, shown and aborted.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Stdio};

use bytes::Bytes;
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey, PartNumber};
use cosmount::store::{Body, ObjectStore};

use crate::bed::{BUCKET, Done, Home, ID, KEY, Running, Service, eventually};

/// Uploads of somebody else: each key with so many parts of five bytes.
fn begin(service: &Service, uploads: &[(&str, u64)]) {
    service.ask(async |store| {
        for (name, parts) in uploads {
            let key = ObjectKey::new(name).unwrap();
            let upload = store.initiate(&key, &ObjectAttributes::default()).await.unwrap().upload;
            for number in 1..=*parts {
                let (number, body) = (PartNumber::new(number).unwrap(), Body::from(Bytes::from("bytes")));
                store.upload_part(&key, &upload, number, body, Crc64::of(b"bytes")).await.unwrap();
            }
        }
    });
}

fn run(home: &Home, service: &Service, arguments: &[&str]) -> Done {
    let mut command = home.program();
    command.arg("uploads").args(arguments).args(["--endpoint", &service.endpoint]);
    Done::of(command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).output().unwrap())
}

/// The keys that are listed.
fn keys(home: &Home, service: &Service, arguments: &[&str]) -> Vec<String> {
    let done = run(home, service, &[&["list", "--json"], arguments].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&done.stdout).unwrap();
    rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn unfinished_uploads_are_shown_with_what_they_hold() {
    let (home, none) = (Home::new(), Vec::<String>::new());
    let service = Service::start(&home);
    assert_eq!(keys(&home, &service, &[BUCKET]), none);
    begin(&service, &[("a/one", 2), ("a/two\u{9b}31m", 0), ("b/one", 1)]);
    let done = run(&home, &service, &["list", BUCKET]);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{done:?}");
    assert!(lines[0].starts_with("a/one\t") && lines[0].contains("\t2 parts\t10\t-"), "{done:?}");
    assert!(!done.stdout.contains('\u{9b}'), "a terminal obeys no name");
    let done = run(&home, &service, &["list", BUCKET, "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&rows[0]["parts"], &rows[0]["bytes"], &rows[0]["mine"]),
        (&2.into(), &10.into(), &serde_json::Value::Null)
    );
    assert!(rows[0]["age_seconds"].as_u64().unwrap() < 60 && !rows[0]["upload_id"].as_str().unwrap().is_empty());
    assert_eq!(keys(&home, &service, &[BUCKET, "--key", "*/one"]), ["a/one", "b/one"]);
    assert_eq!(keys(&home, &service, &[BUCKET, "--older-than", "1h"]), none);
    assert_eq!(keys(&home, &service, &[BUCKET, "--mine"]), none);
    let done = run(&home, &service, &["list", "local-1250000000:/b", "--json"]);
    assert!(done.stdout.contains("b/one") && !done.stdout.contains("a/one"), "{done:?}");
    run(&home, &service, &["list", "gone-1250000000"]).failed(3, "gone-1250000000");
}

#[test]
fn what_is_chosen_is_aborted_and_nothing_else() {
    let home = Home::new();
    let service = Service::start(&home);
    begin(&service, &[("a/one", 1), ("a/two", 1), ("b/one", 0)]);
    let planned = run(&home, &service, &["abort", BUCKET, "--key", "a/*", "--dry-run"]);
    assert_eq!((planned.code, planned.stdout.lines().count()), (Some(0), 2), "{planned:?}");
    assert_eq!(keys(&home, &service, &[BUCKET]), ["a/one", "a/two", "b/one"]);
    run(&home, &service, &["abort", BUCKET, "--key", "a/*"]).succeeded();
    assert_eq!(keys(&home, &service, &[BUCKET]), ["b/one"]);
    run(&home, &service, &["abort", BUCKET, "--older-than", "1h"]).succeeded();
    assert_eq!(keys(&home, &service, &[BUCKET]), ["b/one"]);
    run(&home, &service, &["abort", BUCKET]).succeeded();
    assert_eq!(keys(&home, &service, &[BUCKET]), [""; 0]);
}

fn mounted(home: &Home, service: &Service) -> Running {
    let mut command = home.mount(service, &["--foreground", "--part-size", "1MiB"]);
    let process: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mount_point = home.mount_point();
    eventually("the mount is there", || {
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        table.contains(mount_point.to_str().unwrap()).then_some(())
    });
    Running(process)
}

#[test]
fn uploads_of_a_mount_that_lives_are_its_own_and_those_of_a_killed_one_are_mine() {
    let home = Home::new();
    let service = Service::start(&home);
    begin(&service, &[("strangers", 1)]);
    let mut mount = mounted(&home, &service);
    let mut file = File::create(home.mount_point().join("mine")).unwrap();
    file.write_all(&vec![7; 4 << 20]).unwrap();
    eventually("parts are there", || (service.parts().len() > 2).then_some(()));
    assert_eq!(keys(&home, &service, &[BUCKET, "--mine"]), ["mine"]);
    run(&home, &service, &["abort", BUCKET, "--mine"]).succeeded();
    assert_eq!(keys(&home, &service, &[BUCKET, "--mine"]), ["mine"], "its mount lives");
    mount.0.kill().unwrap();
    mount.ended();
    drop(file);
    let done = run(&home, &service, &["list", BUCKET, "--mine"]);
    assert!(done.stdout.contains("killed here"), "{done:?}");
    run(&home, &service, &["abort", BUCKET, "--mine"]).succeeded();
    assert_eq!(keys(&home, &service, &[BUCKET]), ["strangers"]);
}
