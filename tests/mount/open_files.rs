//! Files that lose, change or share their name while somebody has them open.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::{Bed, MIB, PART_BYTES, assert_same, eventually, random_bytes, random_file};

#[test]
fn a_file_can_be_renamed_while_it_is_written() {
    let bed = Bed::new();
    let content = random_bytes(3 * PART_BYTES + 5, 1);
    for split in [10, PART_BYTES, 2 * PART_BYTES + 7] {
        let mut file = File::create(bed.at("before")).unwrap();
        file.write_all(&content[..split]).unwrap();
        bed.sh("mkdir -p elsewhere; mv before elsewhere/after");
        file.write_all(&content[split..]).unwrap();
        drop(file);
        assert_same(&bed.bucket().get("elsewhere/after"), &content);
        assert_same(&fs::read(bed.at("elsewhere/after")).unwrap(), &content);
        assert!(!bed.bucket().keys().contains(&"before".to_owned()));
    }
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn a_file_that_is_removed_while_it_is_written_leaves_nothing() {
    let bed = Bed::new();
    for bytes in [10, 2 * PART_BYTES + 7] {
        let mut file = File::create(bed.at("f")).unwrap();
        file.write_all(&random_bytes(bytes, 2)).unwrap();
        bed.sh("rm f; ! test -e f");
        // A program that does not know goes on.
        file.write_all(b"more").unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert_eq!(bed.sh("ls -A"), "");
    }
    assert_eq!(bed.bucket().keys(), [""; 0]);
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn a_reader_keeps_its_version_or_is_told() {
    let mut bed = Bed::new();
    random_file(&bed.local("one"), 30 * MIB, 3);
    random_file(&bed.local("two"), 30 * MIB, 4);
    bed.sh("cp $W/one f");
    bed.remount();
    let mut file = File::open(bed.at("f")).unwrap();
    let mut read = vec![0; MIB];
    file.read_exact(&mut read).unwrap();
    bed.sh("cp $W/two other && mv other f && cmp $W/two f");
    let mut rest = Vec::new();
    match file.read_to_end(&mut rest) {
        // What was read ahead is the old version's; beyond that there is no old version any more.
        Ok(_) => assert_same(&[read, rest].concat(), &fs::read(bed.local("one")).unwrap()),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}");
            assert_same(&[read, rest.clone()].concat(), &fs::read(bed.local("one")).unwrap()[..MIB + rest.len()]);
        }
    }
}

#[test]
fn a_file_can_be_read_while_it_is_written() {
    let bed = Bed::new();
    let content = random_bytes(2 * PART_BYTES + 5, 5);
    let mut file = File::create(bed.at("f")).unwrap();
    for piece in content.chunks(5 * MIB) {
        file.write_all(piece).unwrap();
        let so_far = fs::read(bed.at("f")).unwrap();
        assert_same(&so_far, &content[..so_far.len()]);
        assert_eq!(so_far.len() as u64, fs::metadata(bed.at("f")).unwrap().len());
    }
    drop(file);
    assert_same(&bed.bucket().get("f"), &content);
}

#[test]
fn tail_follows_a_log() {
    let bed = Bed::new();
    let mut log = File::options().create(true).append(true).open(bed.at("log")).unwrap();
    writeln!(log, "first").unwrap();
    let mut tail = bed.command("exec tail -n +1 -f log > $W/seen").spawn().unwrap();
    let seen = || fs::read_to_string(bed.local("seen")).unwrap_or_default();
    eventually("tail has seen the first line", || seen() == "first\n");
    writeln!(log, "second").unwrap();
    log.sync_all().unwrap();
    eventually("tail has seen the second line", || seen() == "first\nsecond\n");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn emptying_a_file_that_somebody_writes_starts_it_over() {
    let bed = Bed::new();
    let mut file = File::options().create(true).append(true).open(bed.at("f")).unwrap();
    file.write_all(&random_bytes(PART_BYTES * 2, 6)).unwrap();
    bed.sh(": > f; [ $(stat -c %s f) = 0 ]");
    file.write_all(b"after").unwrap();
    drop(file);
    assert_eq!(bed.bucket().get("f"), b"after");
    bed.bucket().assert_no_unfinished_uploads();
}

/// A program replaces a file again and again, as `mv tmp f` does, while others open it: they get what it was or what it is.
#[test]
fn a_file_that_is_replaced_all_the_time_can_always_be_opened() {
    let bed = Bed::new();
    let replace = |round: usize| {
        fs::write(bed.at("tmp"), format!("{round}")).unwrap();
        fs::rename(bed.at("tmp"), bed.at("f")).unwrap();
    };
    replace(0);
    let is_over = AtomicBool::new(false);
    let read_on = || {
        let mut last = 0;
        while !is_over.load(Ordering::Relaxed) {
            let round = fs::read_to_string(bed.at("f")).unwrap().parse().unwrap();
            assert!(round >= last, "{round} after {last}");
            last = round;
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(read_on), scope.spawn(read_on)];
        // Readers that have failed are enough.
        (1..500).take_while(|_| !readers.iter().any(|reader| reader.is_finished())).for_each(replace);
        is_over.store(true, Ordering::Relaxed);
    });
}

/// As a rotation of logs does it whose program is interrupted, and does it again.
#[test]
fn what_is_written_after_an_interrupted_rename_is_under_the_new_name() {
    let bed = Bed::with(&["--latency-ms", "400"], &[]);
    bed.sh("echo one > log; exec 7>>log; timeout -s INT 0.6 mv log log.1 || true; mv log log.1 2>/dev/null || true; echo two >&7; exec 7>&-");
    eventually("the rename has come to its end", || bed.bucket().keys() == ["log.1"]);
    assert_eq!(bed.bucket().get("log.1"), b"one\ntwo\n");
}

#[test]
fn the_state_of_a_file_is_an_attribute_that_cp_does_not_carry() {
    let bed = Bed::new();
    let show = |name: &str, file: &str| {
        bed.sh(&format!("python3 -c \"import os; print(os.getxattr('{file}', 'user.cosmount.{name}').decode())\""))
    };
    fs::write(bed.at("a"), random_bytes(2 * PART_BYTES + 7, 3)).unwrap();
    assert_eq!((show("state", "a").trim(), show("parts", "a").trim()), ("clean", "3/3"));
    let mut open = File::create(bed.at("b")).unwrap();
    open.write_all(b"new").unwrap();
    assert_eq!(show("state", "b").trim(), "dirty");
    drop(open);
    assert_eq!(show("state", "b").trim(), "clean");
    bed.sh("python3 -c \"import os; os.setxattr('a', 'user.mine', b'1')\"; cp -a a c");
    assert_eq!(bed.sh("python3 -c \"import os; print(os.listxattr('c'))\"").trim(), "['user.mine']");
}
