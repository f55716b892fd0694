//! Files read: no more bytes than are needed, and none twice.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use crate::bed::{Bed, MIB, random_file};

#[test]
fn a_random_reader_asks_for_little_more_than_the_file() {
    const BYTES: usize = 256 * MIB;
    let mut bed = Bed::new();
    random_file(&bed.local("big"), BYTES, 1);
    bed.sh("cp $W/big big");
    bed.remount();
    let mark = bed.mark();
    bed.sh("fio --name=random --filename=big --readonly --rw=randread --bs=4k --numjobs=4 --size=256m \
            --time_based --runtime=5 --group_reporting --minimal");
    // Bodies are counted when they end, which those that nobody reads on do with the mount.
    assert!(bed.unmount());
    let requests = bed.since(mark);
    let bytes: u64 = requests.of("GetObject").map(|request| request.bytes_out).sum();
    let largest = requests.of("GetObject").map(|request| request.bytes_out).max().unwrap();
    println!(
        "random reads of 256 MiB: {} requests, {} MiB, the largest {} KiB",
        requests.count("GetObject"),
        bytes / MIB as u64,
        largest / 1024
    );
    assert!(bytes <= 3 * BYTES as u64, "{} MiB", bytes / MIB as u64);
    assert!(largest <= 4 * MIB as u64, "{largest} bytes at once");
}

/// Bytes that a process has written, to the kernel's side of FUSE among others.
fn bytes_written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_second_read_makes_no_request_and_comes_from_the_page_cache() {
    const BYTES: usize = 32 * MIB;
    let mut bed = Bed::new();
    random_file(&bed.local("f"), BYTES, 2);
    bed.sh("cp $W/f f");
    bed.remount();
    let mark = bed.mark();
    bed.sh("cmp $W/f f");
    let first = bed.since(mark);
    let bytes: u64 = first.of("GetObject").map(|request| request.bytes_out).sum();
    assert_eq!(bytes, BYTES as u64, "every byte once: {:?}", first.summary());

    let (mark, written) = (bed.mark(), bytes_written(bed.mount_pid()));
    bed.sh("cmp $W/f f");
    bed.since(mark).assert_are(&[]);
    let answered = bytes_written(bed.mount_pid()) - written;
    assert!(answered < MIB as u64, "the mount handed over {answered} bytes again");
}

#[test]
fn a_read_that_took_long_is_as_good_as_a_fresh_look() {
    const BYTES: usize = 96 * MIB;
    let mut bed = Bed::new();
    random_file(&bed.local("f"), BYTES, 3);
    bed.sh("cp $W/f f");
    bed.remount_with(&["--metadata-ttl", "3s", "--memory", "64MiB"]);
    let mut file = fs::File::open(bed.at("f")).unwrap();
    let mut half = vec![0; BYTES / 2];
    file.read_exact(&mut half).unwrap();
    // Only the clock makes what the open learned too old to be believed.
    thread::sleep(Duration::from_millis(3100));
    let mark = bed.mark();
    file.read_exact(&mut half).unwrap();
    drop(file);
    let asked = bed.since(mark);
    assert!(asked.count("GetObject") > 0, "the second half was not all fetched ahead");
    let mark = bed.mark();
    bed.sh("cat f | cmp - $W/f");
    // The kernel may drop pages whenever it likes; names and attributes are not its to drop.
    let asked = bed.since(mark);
    assert_eq!(asked.0.len(), asked.count("GetObject"), "{:?}", asked.summary());
}

#[test]
fn a_sequential_reader_asks_for_every_byte_once() {
    const BYTES: usize = 200 * MIB + 17;
    let mut bed = Bed::new();
    random_file(&bed.local("f"), BYTES, 4);
    bed.sh("cp $W/f f");
    bed.remount();
    let mark = bed.mark();
    bed.sh("dd if=f bs=64k status=none | cmp - $W/f");
    let requests = bed.since(mark);
    let bytes: u64 = requests.of("GetObject").map(|request| request.bytes_out).sum();
    assert_eq!(bytes, BYTES as u64, "{:?}", requests.summary());
}

#[test]
fn parts_of_a_file_are_read_from_where_they_are() {
    let mut bed = Bed::new();
    random_file(&bed.local("f"), 40 * MIB + 333, 5);
    bed.sh("cp $W/f f");
    bed.remount();
    for (from, len) in [(0, 1), (40 * MIB, 333), (8 * MIB - 1, 2), (39 * MIB, 5 * MIB), (12_345_678, 3_456_789)] {
        bed.sh(&format!(
            "cmp <(dd if=f bs=1M iflag=skip_bytes,count_bytes skip={from} count={len} status=none) \
                 <(dd if=$W/f bs=1M iflag=skip_bytes,count_bytes skip={from} count={len} status=none)"
        ));
    }
}

const LOOK_AROUND: &str = "
import os, random
random.seed(1)
wanted = 0
with open('f', 'rb') as f:
    for _ in range(100):
        f.seek(random.randrange(64 << 20))
        wanted += len(f.read(4096))
with open('g', 'w') as g:
    print(wanted, os.stat('f').st_blksize, os.fstat(g.fileno()).st_blksize)
";

/// Python reads through a buffer of the size that `stat` recommends.
#[test]
fn a_reader_through_a_buffer_who_jumps_does_not_fetch_a_mib_each_time() {
    let mut bed = Bed::new();
    random_file(&bed.local("f"), 64 * MIB, 3);
    bed.sh("cp $W/f f");
    bed.remount();
    let mark = bed.mark();
    let told = bed.python(LOOK_AROUND);
    // Bodies are counted when they end, which those that nobody reads on do with the mount.
    assert!(bed.unmount());
    let requests = bed.since(mark);
    let fetched: u64 = requests.of("GetObject").map(|request| request.bytes_out).sum();
    println!("wanted and recommended: {told}, fetched {fetched}");
    assert!(told.ends_with(" 131072 1048576\n"), "{told}");
    // Two buffers of 64 KiB lie around most places, and the kernel reads a little ahead.
    assert!(fetched <= 100 * 320 * 1024, "{fetched} bytes");
}

/// A copy of an object that was uploaded in parts has another ETag, and the same bytes.
#[test]
fn what_was_read_is_not_fetched_again_when_it_or_its_directory_is_renamed() {
    let bed = Bed::new();
    random_file(&bed.local("f"), 20 * MIB, 4);
    bed.sh("mkdir d; cp $W/f f; cp $W/f d/f; cmp $W/f f; cmp $W/f d/f");
    let mark = bed.mark();
    bed.sh("mv f g; mv d e; cmp $W/f g; cmp $W/f e/f; mv g e/g; cmp $W/f e/g; mv e d; cmp $W/f d/g; cmp $W/f d/f");
    // Of 120 MiB that are read; the kernel may drop a page whenever it likes.
    let fetched: u64 = bed.since(mark).of("GetObject").map(|request| request.bytes_out).sum();
    assert!(fetched < 10 * MIB as u64, "{fetched} bytes");
}
