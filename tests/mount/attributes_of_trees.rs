//! What modes, times, links and renames cost over whole trees, counted at the service.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::bed::{Bed, Requests};

/// `directories` directories in `$W/tree`, each with `files` files of 16 KiB, with modes and times of their own.
fn make_tree(bed: &Bed, directories: usize, files: usize) {
    bed.sh(&format!(
        r"cd $W; mkdir tree; for d in $(seq -w {directories}); do mkdir tree/d$d; for f in $(seq -w {files}); do
          head -c 16384 /dev/urandom > tree/d$d/f$f; done; chmod 640 tree/d$d/f*1; chmod 750 tree/d$d;
          touch -d '2020-01-02T03:04:05.5' tree/d$d/*; touch -d 2021-01-01 tree/d$d; done"
    ));
}

/// Waits until the attributes that were gathered have been published.
fn until_saved(bed: &Bed, mark: crate::bed::Mark, op: &str, count: usize) -> Requests {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let requests = bed.since(mark);
        let of_files = requests.of(op).filter(|request| !request.key.ends_with('/')).count();
        if of_files >= count || Instant::now() > deadline {
            return requests;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_tree_by_rsync_is_one_put_a_file() {
    let mut bed = Bed::new();
    make_tree(&bed, 20, 50);
    fs::create_dir(bed.at("target")).unwrap();
    let rsync = "rsync -a -i $W/tree/ target/";
    let mark = bed.mark();
    bed.sh(rsync);
    bed.remount();
    let requests = bed.since(mark);
    let files = requests.of("PutObject").filter(|request| request.key.rsplit('/').next().unwrap().starts_with('f'));
    assert_eq!(files.count(), 1000);
    assert_eq!(requests.count("PutObject"), 1020, "{:?}", requests.summary());
    assert!(requests.count("CopyObject") <= 21, "{:?}", requests.summary());
    assert!(requests.of("CopyObject").all(|request| request.key.ends_with('/')));
    assert_eq!(requests.count("DeleteObject"), 0);
    let others = requests.0.len() - requests.count("PutObject") - requests.count("CopyObject");
    assert!(others <= 25, "{:?}", requests.summary());

    let mark = bed.mark();
    assert_eq!(bed.sh(rsync), "", "modes and times are there after the remount");
    let requests = bed.since(mark);
    assert_eq!(requests.count("PutObject") + requests.count("CopyObject"), 0, "{:?}", requests.summary());
    let mark = bed.mark();
    assert_eq!(bed.sh(rsync), "");
    let requests = bed.since(mark);
    assert_eq!(requests.0.len(), requests.count("ListObjects"), "{:?}", requests.summary());
}

#[test]
fn a_tree_that_is_unchanged_is_compared_in_parallel() {
    let mut bed = Bed::with(&["--latency-ms", "20"], &[]);
    make_tree(&bed, 20, 50);
    bed.sh("cp -a $W/tree target");
    bed.remount();
    let began = Instant::now();
    assert_eq!(bed.sh("rsync -a -i $W/tree/ target/"), "");
    let took = began.elapsed();
    println!("1,000 files at 20 ms a request: {took:?}");
    // One after the other they would take 20 s.
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn an_archive_is_unpacked_with_one_request_a_file() {
    // What stands for a link until tar makes it in the end waits for that, also on a slow machine.
    let mut bed = Bed::with(&[], &["--hold-seconds", "60"]);
    make_tree(&bed, 100, 10);
    bed.sh(
        r"cd $W/tree; for d in $(seq -w 100); do ln -s f01 d$d/link; ln -s ../nowhere d$d/dangling; done; ln -s /etc/hosts absolute;
          tar cf ../tree.tar .",
    );
    fs::create_dir(bed.at("target")).unwrap();
    let mark = bed.mark();
    bed.sh("cd target; tar xf $W/tree.tar");
    bed.remount();
    let requests = bed.since(mark);
    let (files, links, directories) = (1000, 201, 101);
    println!("{:?}", requests.summary());
    let of_files = requests.0.iter().filter(|request| {
        matches!(&*request.op, "PutObject" | "CopyObject" | "DeleteObject") && !request.key.ends_with('/')
    });
    assert_eq!(of_files.count(), files + links);
    assert!(requests.0.len() <= files + links + 2 * directories + 25, "{:?}", requests.summary());
    bed.sh("tar df $W/tree.tar -C target; diff -r --no-dereference $W/tree target");
    assert_eq!(
        bed.sh("readlink target/d001/link target/d001/dangling target/absolute"),
        "f01\n../nowhere\n/etc/hosts\n"
    );
    assert_eq!(bed.sh("find target -type l | wc -l").trim(), "201");
}

#[test]
fn modes_owners_and_times_of_a_tree_are_a_copy_a_file() {
    let bed = Bed::with(&["--latency-ms", "20"], &[]);
    make_tree(&bed, 10, 100);
    bed.sh("cp -a $W/tree target");
    let mark = bed.mark();
    bed.sh("python3 -c \"import os; os.setxattr('target/d01/f001', 'user.colour', b'red')\"");
    // One of its own, unless a change comes before it begins.
    until_saved(&bed, mark, "CopyObject", 1);
    let before = bed.sh("cd target; find . -type f -printf '%p %T@ %s\\n' | sort");
    let changes = [
        "chmod -R u=rwX,g=,o= target",
        "chown -R 12:34 target",
        "find target -type f | xargs touch -d 2022-02-02T02:02:02",
    ];
    for change in changes {
        let mark = bed.mark();
        let began = Instant::now();
        bed.sh(change);
        let requests = until_saved(&bed, mark, "CopyObject", 1000);
        let took = began.elapsed();
        println!("{change}: {took:?}, {:?}", requests.summary());
        let copies = requests.of("CopyObject").filter(|request| !request.key.ends_with('/')).count();
        assert_eq!(copies, 1000, "{:?}", requests.summary());
        assert!(took < Duration::from_secs(8), "{took:?}");
        if !change.contains("touch") {
            assert_eq!(bed.sh("cd target; find . -type f -printf '%p %T@ %s\\n' | sort"), before);
        }
    }
    let metadata = fs::metadata(bed.at("target/d01/f001")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o600, 12, 34));
    let colour = "python3 -c \"import os; print(os.getxattr('target/d01/f001', 'user.colour').decode())\"";
    assert_eq!(bed.sh(colour), "red\n");
}

#[test]
fn a_tree_that_is_listed_again_is_listings_alone() {
    let mut bed = Bed::new();
    for directory in 0..50 {
        for file in 0..40 {
            bed.bucket().put(&format!("p{directory:02}/f{file:02}"), &vec![b'x'; 1 + file * 500]);
        }
    }
    for (program, lines) in [("find .", 2051), ("ls -lR", 2152)] {
        bed.remount();
        for (round, heads_max, listings_max) in [(0, 2000, 50), (1, 0, 50)] {
            let mark = bed.mark();
            assert_eq!(bed.sh(program).lines().filter(|line| !line.is_empty()).count(), lines);
            let requests = bed.since(mark);
            println!("{program}, round {round}: {:?}", requests.summary());
            assert!(requests.count("HeadObject") <= heads_max, "{program} {round}: {:?}", requests.summary());
            assert!(requests.count("ListObjects") <= listings_max, "{program} {round}: {:?}", requests.summary());
        }
    }
    bed.remount_with(&["--attributes=listing"]);
    let mark = bed.mark();
    bed.sh("find . -ls; ls -lR");
    assert_eq!(bed.since(mark).count("HeadObject"), 0);
}

#[test]
fn a_file_edited_by_a_program_costs_what_the_semantics_say() {
    let bed = Bed::new();
    bed.sh("printf 'one\\ntwo\\n' > f");
    let table = [
        ("sed -i s/one/ONE/ f", "PutObject: 1"),
        ("t=$(mktemp .f.XXXXXX); echo new > $t; chmod 640 $t; mv $t f", "PutObject: 1"),
        (
            "python3 -c \"import os,tempfile; fd,p=tempfile.mkstemp(dir='.'); os.write(fd,b'x'); os.close(fd); os.replace(p,'f')\"",
            "PutObject: 1",
        ),
    ];
    for (program, expected) in table {
        bed.sh("ls > /dev/null");
        let mark = bed.mark();
        bed.sh(program);
        let requests = bed.since(mark);
        let summary = format!("PutObject: {}", requests.count("PutObject"));
        assert_eq!(summary, expected, "{program}: {:?}", requests.summary());
        assert_eq!(
            requests.count("CopyObject") + requests.count("DeleteObject"),
            0,
            "{program}: {:?}",
            requests.summary()
        );
    }
    assert_eq!(bed.bucket().get("f"), b"x");
    assert_eq!(bed.bucket().keys(), ["f"]);
}
