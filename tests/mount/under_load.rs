//! Many writers at once: memory stays in its bounds, and names do not queue behind data.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Bed, MIB, random_file};

/// What a process with this budget may take beyond it, in bytes.
pub(crate) const RSS_BESIDE_BUDGET_MAX: usize = 96 * MIB;

/// The most memory that a process has ever had, in bytes.
pub(crate) fn peak_rss(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn fifty_files_at_once_fit_a_small_memory() {
    let mut bed = Bed::with(&[], &["--memory", "64MiB"]);
    for number in 0..10 {
        random_file(&bed.local(&format!("source-{number}")), 16 * MIB + number as usize, number);
    }
    bed.sh("for n in $(seq 50); do cp $W/source-$((n % 10)) file-$n & copies+=($!); done
         for copy in ${copies[@]}; do wait $copy; done");
    let peak = peak_rss(bed.mount_pid());
    println!("50 files of 16 MiB at once with 64 MiB: peak RSS {} MiB", peak / MIB);
    bed.remount_with(&["--memory", "64MiB"]);
    bed.sh("for n in $(seq 50); do cmp $W/source-$((n % 10)) file-$n; done");
    let reading = peak_rss(bed.mount_pid());
    println!("reading them one after the other: peak RSS {} MiB", reading / MIB);
    let bound = 64 * MIB + RSS_BESIDE_BUDGET_MAX;
    assert!(peak < bound && reading < bound, "{} and {} MiB", peak / MIB, reading / MIB);
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn many_readers_at_once_fit_a_small_memory() {
    let mut bed = Bed::new();
    random_file(&bed.local("f"), 24 * MIB, 1);
    bed.sh("for n in $(seq 12); do cp $W/f file-$n; done");
    bed.remount_with(&["--memory", "64MiB"]);
    bed.sh("for n in $(seq 12); do cmp $W/f file-$n & readers+=($!); done
         for reader in ${readers[@]}; do wait $reader; done");
    let peak = peak_rss(bed.mount_pid());
    println!("12 readers at once with 64 MiB: peak RSS {} MiB", peak / MIB);
    assert!(peak < 64 * MIB + RSS_BESIDE_BUDGET_MAX, "{} MiB", peak / MIB);
}

#[test]
fn names_do_not_queue_behind_data() {
    let bed = Bed::with(&[], &["--memory", "128MiB"]);
    bed.sh("mkdir known && echo x > known/f");
    let mut writers = bed
        .command(
            "for n in 1 2 3 4; do
                 while [ ! -e $W/enough ]; do dd if=/dev/zero of=bulk-$n bs=1M count=64 conv=fsync status=none; done &
                 writers+=($!)
             done
             for writer in ${writers[@]}; do wait $writer; done",
        )
        .spawn()
        .unwrap();
    let mut worst = [Duration::ZERO; 3];
    for round in 0..40 {
        let calls: [&dyn Fn() -> bool; 3] = [
            &|| fs::read_dir(bed.at("known")).is_ok_and(|entries| entries.count() == round + 1),
            &|| fs::metadata(bed.at("known/f")).is_ok_and(|metadata| metadata.is_file()),
            &|| fs::create_dir(bed.at(&format!("known/d{round}"))).is_ok(),
        ];
        for (call, worst) in calls.into_iter().zip(&mut worst) {
            let began = Instant::now();
            assert!(call(), "round {round}");
            *worst = began.elapsed().max(*worst);
        }
        // The writers get on meanwhile.
        thread::sleep(Duration::from_millis(50));
    }
    fs::write(bed.local("enough"), "").unwrap();
    assert!(writers.wait().unwrap().success());
    println!("while four files were written: worst of ls {:?}, stat {:?}, mkdir {:?}", worst[0], worst[1], worst[2]);
    assert!(worst.iter().all(|worst| *worst < Duration::from_secs(2)), "{worst:?}");
}
