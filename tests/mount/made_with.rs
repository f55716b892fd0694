//! What objects are made with, by the programs that make them, and files that are in an archive.

use cosmount::object::{Encryption, ObjectAttributes, ObjectKey, Tags};
use cosmount::store::{ListRequest, ObjectStore};

use crate::bed::{Bed, MIB, cosmount, eventually, random_file};

const OPTIONS: [&str; 12] = [
    "--storage-class",
    "standard_ia",
    "--sse",
    "cos",
    "--acl",
    "public-read",
    "--tag",
    "team=a b",
    "--header",
    "*.txt: Cache-Control: public, max-age=60",
    "--header",
    "*: X-Cos-Meta-Made: here",
];

/// Every object of the bucket with what HEAD says of it.
fn objects(bed: &Bed) -> Vec<(String, ObjectAttributes)> {
    bed.bucket().run(|store| async move {
        let mut found = Vec::new();
        for object in store.list(ListRequest::default()).await.unwrap().objects {
            let head = store.head(&ObjectKey::new(&object.key).unwrap()).await.unwrap();
            found.push((object.key, head.attributes));
        }
        found
    })
}

fn tags(bed: &Bed, key: &'static str) -> Tags {
    bed.bucket().run(|store| async move { store.tags(&ObjectKey::new(key).unwrap()).await.unwrap() })
}

#[test]
fn every_object_is_made_with_what_was_asked_for_whatever_program_made_it() {
    let mut bed = Bed::with(&[], &OPTIONS);
    random_file(&bed.local("large"), 20 * MIB, 1);
    bed.sh("mkdir -p $W/tree/sub d; echo a > $W/tree/a.txt; echo b > $W/tree/sub/b.txt; ln -s a.txt $W/tree/link
         cp -rp $W/tree copied; rsync -a $W/tree/ synced; tar -C $W -cf - tree | tar -xf -
         cp $W/large large.txt; printf new | dd of=large.txt bs=1 seek=9000000 conv=notrunc status=none
         echo one > edited.txt; sed -i s/one/two/ edited.txt; echo more >> edited.txt; chmod 600 edited.txt
         echo x > old.bin; mv old.bin moved.txt; ln moved.txt linked.txt; mv copied renamed; mkfifo pipe; touch -d 2020-01-01Z d");
    assert!(bed.unmount());
    let found = objects(&bed);
    assert!(found.len() >= 18, "{found:?}");
    for (key, attributes) in &found {
        let encryption = attributes.protection.encryption.as_ref().map(|encryption| &*encryption.algorithm);
        assert_eq!(encryption, Some(Encryption::OF_COS), "{key}");
        let is_file = !key.ends_with('/') && !key.ends_with("link") && key != "pipe";
        let class = is_file.then_some("STANDARD_IA");
        assert_eq!(attributes.storage_class.as_deref(), class, "{key}");
        assert_eq!(attributes.tags != Tags::None, is_file, "{key}");
        assert_eq!(attributes.user.get("made").map(String::as_str), is_file.then_some("here"), "{key}");
        let is_text = is_file && key.ends_with(".txt");
        assert_eq!(attributes.cache_control.as_deref(), is_text.then_some("public, max-age=60"), "{key}");
    }
    assert_eq!(tags(&bed, "renamed/sub/b.txt"), Tags::Are("team=a%20b".into()));

    // Who mounts it without any option leaves them as they are.
    bed.mount(&[]);
    bed.sh("echo again >> edited.txt; chmod 644 moved.txt; mv large.txt larger.txt");
    assert!(bed.unmount());
    for (key, attributes) in objects(&bed) {
        if ["edited.txt", "moved.txt", "larger.txt"].contains(&&*key) {
            assert_eq!(attributes.storage_class.as_deref(), Some("STANDARD_IA"), "{key}");
            assert_eq!((attributes.tags, attributes.user["made"].as_str()), (Tags::Unread, "here"), "{key}");
        }
    }
}

#[test]
fn an_option_that_makes_no_sense_is_refused_before_anything_is_mounted() {
    let bed = Bed::unmounted(&[]);
    for (option, value, expected) in [
        ("--storage-class", "archve", "did you mean archive?"),
        ("--acl", "public-reed", "did you mean public-read?"),
        ("--sse", "aes", "cos, kms"),
        ("--tag", "a", "NAME=VALUE"),
        ("--header", "*: Cache-Controll: x", "did you mean cache-control?"),
    ] {
        let output = cosmount().args(["mount", "b-1", "/nonexistent", option, value]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(expected), "{option} {value}: {told}");
    }
    drop(bed);
}

#[test]
fn an_archived_file_is_read_once_it_was_restored() {
    let bed = Bed::with(&["--restore-delay", "2s"], &[]);
    let archived = ObjectAttributes { storage_class: Some("ARCHIVE".into()), ..ObjectAttributes::default() };
    bed.bucket().put_with("d/cold", b"frozen", &archived);
    bed.bucket().put_with("d/sub/colder", b"frozen", &archived);
    bed.bucket().put("d/warm", b"warm");
    bed.sh_fails("cat d/cold", "Device or resource busy");
    bed.sh_fails("mv d/cold d/moved", "Device or resource busy");
    let error = bed.sh("getfattr --only-values -n user.cosmount.error d/cold");
    assert!(error.contains("EBUSY") && error.contains("cosmount restore PATH"), "{error}");
    assert!(bed.log().contains("cosmount restore PATH"), "{}", bed.log());
    assert_eq!(bed.sh("cat d/warm"), "warm");

    let restore = |arguments: &[&str]| {
        let output = bed.cli().arg("restore").args(arguments).output().unwrap();
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), told(&output.stdout), told(&output.stderr))
    };
    let path = |path: &str| bed.at(path).display().to_string();
    let first = restore(&[&path("d/cold")]);
    assert_eq!(first.1, "d/cold\tasked for\n", "{}", first.2);
    let (code, told, summary) = restore(&[&path("d"), "--days", "3", "--tier", "bulk", "--wait"]);
    assert_eq!(code, Some(0), "{summary}");
    assert!(told.contains("d/sub/colder\tasked for\n"), "{told}");
    assert!(told.contains("d/cold\tthere") && told.contains("d/sub/colder\tthere until "), "{told}");
    assert_eq!(bed.sh("cat d/cold d/sub/colder"), "frozenfrozen");
    let endpoint = bed.service().endpoint().to_owned();
    let by_key = restore(&["local-1250000000:/d/warm", "--endpoint", &endpoint]);
    assert_eq!((by_key.0, by_key.1.as_str()), (Some(0), "d/warm\tnot archived\n"));
}

#[test]
fn a_bucket_is_mounted_as_it_was() {
    let mut bed = Bed::unmounted(&[]);
    bed.bucket().run(|store| async move { store.set_versioning(true).await.unwrap() });
    bed.mount(&[]);
    bed.sh("mkdir d; echo one > d/a; echo stays > b");
    assert!(bed.unmount());
    let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let written = second();
    eventually("the next second begins", || second() > written);
    bed.mount(&[]);
    bed.sh("echo two > d/a; rm b; mkdir later; echo new > later/c");
    let versions = |arguments: &[&str]| {
        let output = bed.cli().arg("versions").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let path = |path: &str| bed.at(path).display().to_string();
    let listed = versions(&[&path("d/a")]);
    let states: Vec<_> = listed.lines().map(|line| line.split('\t').nth(4).unwrap()).collect();
    assert_eq!(states, ["current", "older"], "{listed}");
    let removed: serde_json::Value = serde_json::from_str(&versions(&[&path("b"), "--json"])).unwrap();
    assert_eq!((&removed[0]["is_deleted"], &removed[1]["size"]), (&true.into(), &6.into()));
    let endpoint = bed.service().endpoint().to_owned();
    let by_key = versions(&["local-1250000000:/b", "--endpoint", &endpoint]);
    assert_eq!(by_key.lines().count(), 2, "{by_key}");

    let at = format!("@{written}");
    let at = bed.sh(&format!("date -u -d {at} +%Y-%m-%dT%H:%M:%SZ"));
    bed.remount_with(&["--as-of", at.trim()]);
    assert_eq!(bed.sh("find . -mindepth 1 | sort; cat d/a b"), "./b\n./d\n./d/a\none\nstays\n");
    bed.sh_fails("touch new", "Read-only file system");
    bed.remount_with(&["--as-of", "0s ago"]);
    assert_eq!(bed.sh("find . -type f | sort; cat d/a later/c"), "./d/a\n./later/c\ntwo\nnew\n");
}
