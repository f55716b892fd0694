//! What it costs to change a little of a lot, counted at the service: what stays as it is is copied there.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use crate::bed::{Bed, KIB, MIB, Mark, PART_BYTES, Requests, assert_same, random_bytes, random_file};
use crate::under_load::{RSS_BESIDE_BUDGET_MAX, peak_rss};

const FILE_BYTES: usize = 256 * MIB;

/// Bytes of content, without the XML of requests and answers.
#[derive(Debug)]
struct Moved {
    down: u64,
    up: u64,
    requests: usize,
}

impl Moved {
    fn of(requests: &Requests) -> Moved {
        let down = requests.of("GetObject").map(|request| request.bytes_out).sum();
        let up = requests.of("UploadPart").chain(requests.of("PutObject")).map(|request| request.bytes_in).sum();
        Moved { down, up, requests: requests.0.len() }
    }

    /// Asserts that it is not more than this.
    #[track_caller]
    fn assert_at_most(bed: &Bed, mark: Mark, down: usize, up: usize, requests: usize) {
        let all = bed.since(mark);
        let moved = Moved::of(&all);
        println!("{moved:?}: {:?}", all.summary());
        assert!(moved.down <= down as u64, "{moved:?}, {:?}", all.summary());
        assert!(moved.up <= up as u64, "{moved:?}, {:?}", all.summary());
        assert!(moved.requests <= requests, "{moved:?}, {:?}", all.summary());
    }
}

/// A mount that has looked at a large object `f`, and knows nothing of its bytes, which it returns.
fn bed_with_a_large_file() -> (Bed, Vec<u8>) {
    let mut bed = Bed::new();
    let content = random_bytes(FILE_BYTES, 1);
    fs::write(bed.local("f"), &content).unwrap();
    bed.sh("cp $W/f f");
    remount_and_look(&mut bed, FILE_BYTES);
    (bed, content)
}

/// Makes the mount forget every byte, and know the file's size.
fn remount_and_look(bed: &mut Bed, size: usize) {
    bed.remount();
    assert_eq!(fs::metadata(bed.at("f")).unwrap().len(), size as u64);
}

/// Closes it, and fails if the file could not be published.
fn close(file: File) {
    nix::unistd::close(OwnedFd::from(file)).unwrap();
}

#[test]
fn an_append_to_a_large_file_moves_what_is_appended() {
    let (bed, mut content) = bed_with_a_large_file();
    let more = random_bytes(MIB, 2);
    let mark = bed.mark();
    let mut file = File::options().append(true).open(bed.at("f")).unwrap();
    file.write_all(&more).unwrap();
    close(file);
    Moved::assert_at_most(&bed, mark, 0, 2 * MIB, 5);
    content.extend(more);
    assert_same(&bed.bucket().get("f"), &content);
    assert_same(&fs::read(bed.at("f")).unwrap(), &content);
}

#[test]
fn a_change_in_the_middle_of_a_large_file_moves_a_part() {
    let (mut bed, mut content) = bed_with_a_large_file();
    // The beginning, the middle, across two parts of the upload, and the end.
    for offset in [1000, FILE_BYTES / 2 + 1000, 7 * PART_BYTES - 2000, FILE_BYTES - 4 * KIB] {
        let change = random_bytes(4 * KIB, offset as u64);
        let mark = bed.mark();
        let file = File::options().write(true).open(bed.at("f")).unwrap();
        file.write_all_at(&change, offset as u64).unwrap();
        close(file);
        Moved::assert_at_most(&bed, mark, PART_BYTES, PART_BYTES, 6);
        content[offset..offset + change.len()].copy_from_slice(&change);
        assert_same(&bed.bucket().get("f"), &content);
        assert_same(&fs::read(bed.at("f")).unwrap(), &content);
        remount_and_look(&mut bed, FILE_BYTES);
    }
}

#[test]
fn cutting_a_large_file_moves_nothing() {
    let (mut bed, content) = bed_with_a_large_file();
    for (size, by_path) in [(100 * MIB, false), (50 * MIB + 1, true)] {
        let mark = bed.mark();
        match by_path {
            true => nix::unistd::truncate(&bed.at("f"), size as i64).unwrap(),
            false => {
                let file = File::options().write(true).open(bed.at("f")).unwrap();
                file.set_len(size as u64).unwrap();
                close(file);
            }
        }
        Moved::assert_at_most(&bed, mark, 0, 0, 4);
        assert_same(&bed.bucket().get("f"), &content[..size]);
        assert_same(&fs::read(bed.at("f")).unwrap(), &content[..size]);
        remount_and_look(&mut bed, size);
    }
}

#[test]
fn a_copy_inside_the_mount_moves_nothing() {
    let (mut bed, content) = bed_with_a_large_file();
    bed.sh("ls; head -c 100 $W/f > small");
    let mark = bed.mark();
    bed.sh("cp f copy; cp small copy-of-small");
    // A small object is one request either way, and one less if it is not copied on the service.
    Moved::assert_at_most(&bed, mark, 100, 100, 8);
    assert_same(&bed.bucket().get("copy"), &content);
    assert_same(&bed.bucket().get("f"), &content);
    bed.remount();
    bed.sh("cmp $W/f copy; cmp small copy-of-small; head -c 100 $W/f | cmp - small");
}

#[test]
fn rsync_in_place_uploads_the_parts_that_differ() {
    const CHANGES: usize = 20;
    let (bed, mut content) = bed_with_a_large_file();
    let change_bytes = FILE_BYTES / 100 / CHANGES;
    for number in 0..CHANGES {
        let offset = number * (FILE_BYTES / CHANGES) + 12_345 * (number + 1);
        content[offset..offset + change_bytes].copy_from_slice(&random_bytes(change_bytes, 100 + number as u64));
    }
    fs::write(bed.local("f"), &content).unwrap();
    let mark = bed.mark();
    bed.sh("rsync --inplace --no-whole-file --ignore-times $W/f f");
    // It reads all of the old file twice: to find what differs, and to make sure that the new one is right.
    Moved::assert_at_most(&bed, mark, 2 * FILE_BYTES + CHANGES * PART_BYTES, 25 * PART_BYTES, 200);
    assert_same(&bed.bucket().get("f"), &content);
    bed.sh("cmp $W/f f");
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn a_file_whose_part_numbers_run_out_is_written_in_steps() {
    let options = ["--part-size", "1MiB", "--memory", "128MiB"];
    let mut bed = Bed::with(&["--max-parts", "10"], &options);
    let bytes = 400 * MIB;
    random_file(&bed.local("f"), bytes, 4);
    bed.sh("cp $W/f f; cmp $W/f f");
    assert_same(&bed.bucket().get("f"), &fs::read(bed.local("f")).unwrap());
    bed.remount_with(&options);
    bed.sh("cmp $W/f f; tail -c 1000 $W/f >> f; cp $W/f g; tail -c 1000 $W/f >> g; cmp f g");
    bed.bucket().assert_no_unfinished_uploads();
}

/// `MIB_PER_WRITER=8` is what a release must pass; a debug build takes its time for 4 GiB.
#[test]
fn five_hundred_writers_in_turns_fit_a_small_memory() {
    let mib_per_writer = std::env::var("MIB_PER_WRITER").unwrap_or("2".into());
    let memory = ["--memory", "128MiB"];
    let mut bed = Bed::with(&[], &memory);
    let program = format!(
        r"
import os, random, sys
WRITERS, TURN = 500, 64 << 10
TURNS = ({mib_per_writer} << 20) // TURN
block = random.Random(1).randbytes(TURN - 8)

def turn(writer, number):
    return writer.to_bytes(4, 'little') + number.to_bytes(4, 'little') + block

if sys.argv[1] == 'write':
    files = [os.open(f'file-{{n}}', os.O_WRONLY | os.O_CREAT) for n in range(WRITERS)]
    for number in range(TURNS):
        for writer, fd in enumerate(files):
            assert os.write(fd, turn(writer, number)) == TURN
    for fd in files:
        os.close(fd)
else:
    for writer in range(WRITERS):
        with open(f'file-{{writer}}', 'rb') as f:
            for number in range(TURNS):
                assert f.read(TURN) == turn(writer, number), (writer, number)
            assert f.read() == b''
"
    );
    let line = bed.python_line(&program);
    bed.sh(&format!("ulimit -n 1000; {line} write"));
    let peak = peak_rss(bed.mount_pid());
    println!("500 writers of {mib_per_writer} MiB with 128 MiB: peak RSS {} MiB", peak / MIB);
    bed.remount_with(&memory);
    bed.sh(&format!("{line} read"));
    bed.bucket().assert_no_unfinished_uploads();
    assert!(peak <= 128 * MIB + RSS_BESIDE_BUDGET_MAX, "{} MiB", peak / MIB);
}
