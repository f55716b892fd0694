//! Whole trees of real files, through the tools that people move trees with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bed::{Bed, MIB, random_file};

/// A tree with directories, empty files, modes and times of all kinds.
fn make_tree(bed: &Bed) {
    let tree = bed.local("tree");
    for directory in ["", "a", "a/b", "a/b/c", "empty", "with space"] {
        fs::create_dir(tree.join(directory)).unwrap();
    }
    for number in 0..60 {
        let directory = ["", "a", "a/b", "a/b/c", "with space"][number % 5];
        random_file(&tree.join(directory).join(format!("f{number}")), number * 517, number as u64);
    }
    random_file(&tree.join("a/large"), 17 * MIB + 5, 99);
    random_file(&tree.join("a/medium"), 5 * MIB + 5, 98);
    bed.sh("cd $W/tree; chmod 600 f0; chmod 755 a/f1; chmod 444 a/b/f2; chmod 2775 a/b; chmod 700 'with space'
         touch -d '1999-12-31 23:59:59.123456789Z' f5; touch -d '2001-02-03Z' a/f6 a/large; touch -d 1965-01-01Z a/b/f7
         touch -d '2010-01-01Z' empty a/b");
}

/// Everything that rsync would still change, which should be nothing.
#[track_caller]
fn assert_rsync_is_content(bed: &Bed, target: &str) {
    let wanted = bed.sh(&format!("rsync -a -n -i $W/tree/ {target}/"));
    assert_eq!(wanted, "", "rsync would change these");
    bed.sh(&format!("diff -r $W/tree {target}"));
}

/// `changed` is the file that gets other content.
fn rsync_keeps_a_tree(options: &str, changed: &str) -> Bed {
    let mut bed = Bed::new();
    make_tree(&bed);
    let rsync = format!("rsync -a {options} $W/tree/ target/");
    bed.sh(&rsync);
    assert_rsync_is_content(&bed, "target");
    bed.remount();
    assert_rsync_is_content(&bed, "target");

    let bytes = fs::metadata(bed.local(changed)).unwrap().len() as usize + MIB;
    random_file(&bed.local(changed), bytes, 100);
    bed.sh("cd $W/tree; echo changed > f10; echo new > a/new; chmod 640 f15; touch -d 2020-02-02Z f20; : > a/b/c/f3");
    bed.sh(&rsync);
    assert_rsync_is_content(&bed, "target");
    bed.remount();
    assert_rsync_is_content(&bed, "target");

    let mark = bed.mark();
    bed.sh(&rsync);
    let requests = bed.since(mark);
    assert_eq!(requests.count("PutObject") + requests.count("CopyObject"), 0, "{:?}", requests.summary());
    bed.bucket().assert_no_unfinished_uploads();
    bed
}

#[test]
fn rsync_keeps_a_tree_with_its_modes_and_times() {
    rsync_keeps_a_tree("", "tree/a/large");
}

#[test]
fn rsync_in_place_keeps_a_tree_with_its_modes_and_times() {
    let bed = rsync_keeps_a_tree("--inplace", "tree/a/medium");
    random_file(&bed.local("tree/a/large"), 18 * MIB, 101);
    bed.sh("rsync -a --inplace $W/tree/ target/");
    bed.sh("cmp $W/tree/a/large target/a/large");
}

#[test]
fn rsync_deletes_what_is_gone() {
    let bed = Bed::new();
    make_tree(&bed);
    bed.sh("rsync -a $W/tree/ target/ && rm -r $W/tree/a/b $W/tree/f0 && rsync -a --delete $W/tree/ target/");
    assert_rsync_is_content(&bed, "target");
}

#[test]
fn header_files_come_back_from_rsync() {
    let mut bed = Bed::new();
    copy_subset(&PathBuf::from("/usr/include"), &bed.local("tree"), 2000);
    bed.sh("rsync -rt $W/tree/ include/");
    bed.remount();
    bed.sh("diff -r $W/tree include && rsync -rt include/ $W/back/ && diff -r $W/tree $W/back");
    assert_eq!(bed.sh("rsync -rt -n -i $W/tree/ include/"), "", "the times are the same too");
}

#[test]
fn a_python_library_comes_back_from_cp() {
    let mut bed = Bed::new();
    let library = bed.sh("python3 -c 'import os; print(os.path.dirname(os.__file__), end=\"\")'");
    copy_subset(&PathBuf::from(library), &bed.local("tree"), 1500);
    bed.sh("cp -r $W/tree python");
    bed.remount();
    bed.sh("diff -r $W/tree python && cp -r python $W/back && diff -r $W/tree $W/back");
}

/// Copies up to `count` files of a tree with their directories, following links.
fn copy_subset(from: &Path, to: &Path, count: usize) {
    let mut left = count;
    let mut open = vec![PathBuf::new()];
    fs::create_dir_all(to).unwrap();
    while let Some(directory) = open.pop() {
        let mut entries: Vec<_> = fs::read_dir(from.join(&directory)).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = directory.join(entry.file_name());
            // A link to a file counts as the file, one to a directory might lead in a circle.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if metadata.is_file() && left > 0 {
                left -= 1;
                fs::copy(entry.path(), to.join(&path)).unwrap();
            } else if entry.file_type().unwrap().is_dir() && left > 0 {
                fs::create_dir(to.join(&path)).unwrap();
                open.push(path);
            }
        }
    }
    assert!(left < count, "{} has no files", from.display());
    println!("{} files of {}", count - left, from.display());
}
