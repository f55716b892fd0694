//! How many requests and bytes there may be in a second: never more than was said, however much there is to do.

use std::time::Instant;

use crate::bed::{Bed, MIB, random_file};

#[test]
fn requests_begin_no_faster_than_was_said() {
    let mut bed = Bed::new();
    bed.sh("mkdir d; for n in $(seq 150); do echo $n > d/$n; done");
    bed.remount_with(&["--requests-per-second", "50"]);
    let (mark, began) = (bed.mark(), Instant::now());
    bed.sh("ls -l d > $W/list; for n in $(seq 20); do echo $n > d/new$n; done; cp -r d e; wc -l < $W/list");
    let (count, seconds) = (bed.since(mark).0.len(), began.elapsed().as_secs_f64());
    assert!(count > 300 && count as f64 <= 50.0 * seconds + 2.0, "{count} requests in {seconds:.2} s");
    bed.remount();
    assert_eq!(bed.sh("ls d | wc -l; ls e | wc -l"), "170\n170\n");
}

#[test]
fn bytes_go_no_faster_than_was_said() {
    let mut bed = Bed::unmounted(&[]);
    bed.mount(&["--bandwidth-up", "8MiB", "--bandwidth-down", "16MiB", "--part-size", "1MiB"]);
    random_file(&bed.local("file"), 16 * MIB, 1);
    let began = Instant::now();
    bed.sh("cp $W/file a");
    let up = began.elapsed().as_secs_f64();
    assert!(up > 1.8, "{up:.2} s for 16 MiB at 8 MiB/s");
    let began = Instant::now();
    bed.sh("cmp $W/file a");
    let down = began.elapsed().as_secs_f64();
    assert!(down > 0.9, "{down:.2} s for 16 MiB at 16 MiB/s");
}
