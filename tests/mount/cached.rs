//! Copies on this machine's disk, as programs see them: what they spare, and that a disk that does not work harms nobody.

use std::path::Path;
use std::process::Command;

use crate::bed::{Bed, MIB, is_root, random_file};

/// A tree with a large file and many small ones, in the bucket, mounted with copies in `$W/cache`.
fn mounted(more: &[&str]) -> Bed {
    let mut bed = Bed::new();
    random_file(&bed.local("big"), 24 * MIB + 5, 1);
    bed.sh("mkdir $W/small && for i in $(seq 100); do head -c $((i * 300)) $W/big > $W/small/$i; done");
    bed.sh("cp $W/big big && cp -r $W/small small");
    let cache = bed.local("cache");
    bed.remount_with(&[&["--cache", cache.to_str().unwrap()], more].concat());
    bed
}

fn read_all(bed: &Bed) {
    bed.sh("cmp $W/big big && diff -r $W/small small");
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_next_mount_reads_what_this_one_has_read_without_a_request() {
    let mut bed = mounted(&[]);
    read_all(&bed);
    let cache = bed.local("cache");
    bed.remount_with(&["--cache", cache.to_str().unwrap()]);
    let mark = bed.mark();
    read_all(&bed);
    // Here and there, past the page cache, by several at once.
    bed.sh("fio --name=random --filename=big --readonly --direct=1 --rw=randread --bs=4k --numjobs=4 --size=24m \
            --number_ios=500 --minimal");
    assert_eq!(bed.since(mark).count("GetObject"), 0);
}

#[test]
fn what_was_fetched_ahead_is_there_for_the_next_mount() {
    let mut bed = mounted(&[]);
    let output = bed.cli().arg("warm").arg(bed.at("small")).arg(bed.at("big")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.starts_with("101 files in the cache"), "{told}");
    let size = 24 * MIB + 5;
    assert_eq!(bed.sh("getfattr --only-values -n user.cosmount.cached big"), format!("{size}/{size}"));
    let cache = bed.local("cache");
    bed.remount_with(&["--cache", cache.to_str().unwrap()]);
    let mark = bed.mark();
    read_all(&bed);
    assert_eq!(bed.since(mark).count("GetObject"), 0);
    bed.remount();
    let without = bed.cli().arg("warm").arg(bed.at("small")).output().unwrap();
    assert!(String::from_utf8_lossy(&without.stderr).contains("mount with --cache"), "{without:?}");
    assert_eq!(without.status.code(), Some(1));
}

#[test]
fn copies_are_shown_verified_and_removed() {
    let mut bed = mounted(&[]);
    read_all(&bed);
    assert!(bed.unmount());
    let cache = bed.local("cache");
    let run = |action: &str| {
        let output = bed.cli().args(["cache", action]).arg(&cache).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, shown, _) = run("status");
    assert!(code == Some(0) && shown.starts_with("101 copies: "), "{shown}");
    assert_eq!(run("verify").0, Some(0));
    let find = format!("find {} -name '*.data' -size +10M", cache.display());
    damage(Path::new(bed.sh(&find).trim()));
    let (code, _, told) = run("verify");
    assert!(code == Some(1) && told.contains("1 piece"), "{told}");
    assert_eq!(run("verify").0, Some(0), "it is forgotten");
    assert!(run("clear").1.starts_with("removed 101 copies"));
    assert!(run("status").1.starts_with("0 copies"));
    let nothing = bed.cli().args(["cache", "status", "/nowhere"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn a_disk_that_is_full_or_gone_or_cannot_be_written_fails_no_read() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new();
    random_file(&bed.local("big"), 24 * MIB + 5, 1);
    bed.sh("mkdir $W/small && for i in $(seq 100); do head -c $((i * 300)) $W/big > $W/small/$i; done");
    bed.sh("cp $W/big big && cp -r $W/small small");
    let disk = bed.local("disk");
    std::fs::create_dir(&disk).unwrap();
    let run = |line: String| assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    let shown = disk.display();
    let cache = disk.join("cache");
    // Full: there is room for a third of the file.
    run(format!("mount -t tmpfs -o size=8m cosmount-test {shown}"));
    bed.remount_with(&["--cache", cache.to_str().unwrap()]);
    read_all(&bed);
    bed.sh("echo 3 > /proc/sys/vm/drop_caches");
    read_all(&bed);
    // Cannot be written.
    run(format!("mount -o remount,size=64m {shown} && rm -rf {shown}/cache"));
    bed.remount_with(&["--cache", cache.to_str().unwrap()]);
    bed.sh("cmp $W/small/50 small/50");
    run(format!("mount -o remount,ro {shown}"));
    read_all(&bed);
    bed.sh("echo 3 > /proc/sys/vm/drop_caches");
    read_all(&bed);
    // Gone, and what is open of it with it.
    run(format!("mount -o remount,rw {shown}"));
    bed.remount_with(&["--cache", cache.to_str().unwrap()]);
    bed.sh("cmp $W/small/50 small/50");
    run(format!("rm -rf {shown}/cache"));
    read_all(&bed);
    run(format!("umount -l {shown}"));
    bed.sh("echo 3 > /proc/sys/vm/drop_caches");
    read_all(&bed);
    assert!(bed.unmount());
}
