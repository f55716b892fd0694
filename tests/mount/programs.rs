//! Programs that write wherever they like: data bases, version control, archives, compilers, and the small tools.
//!
//! What they leave must still be there on a fresh mount. Where a script says all there is to say, it runs on the local
//! disk as well, and the two must look the same.

use std::fs::{self, File};
use std::io::Write;

use crate::bed::{Bed, MIB, Mark, assert_same, eventually, random_file};
use crate::tools::has;

/// Every file below, with its size.
const LIST: &str = "find . -type f -printf '%p %s\\n' | sort";

/// Runs the script on the mount and in a local directory, with `$W` for what both start from, and compares what they
/// printed and left, before and after the mount is a fresh one.
#[track_caller]
fn does_as_a_disk_does(bed: &mut Bed, script: &str) {
    fs::create_dir(bed.local("disk")).unwrap();
    let on_disk = bed.sh(&format!("cd $W/disk; {script}; {LIST}"));
    assert!(on_disk.lines().count() > 0, "it leaves something: {script}");
    assert_eq!(bed.sh(&format!("{script}; {LIST}")), on_disk, "{script}");
    bed.sh("diff -r $W/disk .");
    bed.remount();
    bed.sh("diff -r $W/disk .");
    bed.bucket().assert_no_unfinished_uploads();
}

/// How often something became an object.
fn publications(bed: &Bed, mark: Mark) -> usize {
    let requests = bed.since(mark);
    ["PutObject", "CompleteMultipartUpload", "CopyObject"].iter().map(|op| requests.count(op)).sum()
}

/// A data base of 10,000 rows, written in 100 transactions while another program reads it.
fn sqlite_takes_ten_thousand_rows(journal_mode: &str) {
    if !has("sqlite3") {
        return;
    }
    let mut bed = Bed::new();
    let mut script = format!("pragma journal_mode = {journal_mode};\n");
    script += "create table t (id integer primary key, n integer, text);\ncreate index of_n on t (n);\n";
    for transaction in 0..100 {
        script += "begin;\n";
        for row in transaction * 100..(transaction + 1) * 100 {
            let n = row * 7919 % 10_000;
            script += &format!("insert into t (n, text) values ({n}, 'row {row} ' || hex(zeroblob({})));\n", row % 50);
        }
        script += "commit;\n";
        if transaction % 10 == 9 {
            // Another process, which sees what is committed by now.
            script += &format!(".shell test $(sqlite3 db 'select count(*) from t') = {}\n", (transaction + 1) * 100);
        }
    }
    script += "update t set text = 'changed' where id % 100 = 1;\ndelete from t where id % 1000 = 2;\n";
    fs::write(bed.local("script"), script).unwrap();
    // What the shell within it found is told on standard error only.
    let told = bed.sh("sqlite3 -bail db < $W/script 2> $W/errors; [ ! -s $W/errors ] || { cat $W/errors; exit 1; }");
    assert_eq!(told, format!("{journal_mode}\n"));
    let check = "pragma integrity_check; pragma journal_mode; select count(*), sum(n) from t;
                 select count(*) from t where text = 'changed'; select text from t where n = 3757;";
    fs::write(bed.local("check"), check).unwrap();
    // The row that is deleted in each thousand is the second one.
    let deleted: u32 = (0..10).map(|thousand| (thousand * 1000 + 1) * 7919 % 10_000).sum();
    let expected = format!("ok\n{journal_mode}\n9990|{}\n100\nrow 3 000000\n", (0..10_000).sum::<u32>() - deleted);
    assert_eq!(bed.sh("sqlite3 db < $W/check"), expected);
    assert_eq!(bed.sh("ls"), "db\n", "nothing is left beside it");
    bed.remount();
    assert_eq!(bed.sh("sqlite3 db < $W/check"), expected);
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn sqlite_takes_ten_thousand_rows_with_a_rollback_journal() {
    sqlite_takes_ten_thousand_rows("delete");
}

#[test]
fn sqlite_takes_ten_thousand_rows_with_a_write_ahead_log() {
    sqlite_takes_ten_thousand_rows("wal");
}

#[test]
fn git_works_in_a_clone_of_three_hundred_files() {
    if !has("git") {
        return;
    }
    let mut bed = Bed::new();
    let identity = "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b \
                    GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b";
    bed.sh(&format!(
        "{identity}; git init -q -b main $W/origin; cd $W/origin
         for n in $(seq 300); do mkdir -p d$((n % 7)); seq $n $((n * 3)) > d$((n % 7))/f$n; done
         head -c 3000000 /dev/urandom > blob; git add .; git commit -q -m first"
    ));
    bed.sh(&format!(
        "{identity}; git clone -q $W/origin repo; cd repo; [ -z \"$(git status --porcelain)\" ]; git fsck --strict
         for n in $(seq 1 30 300); do echo more >> d$((n % 7))/f$n; done; rm d3/f3; git mv d4/f4 moved
         git add -A; git commit -q -m second; git gc -q; git fsck --strict
         git checkout -q -b side HEAD~1; echo side > side; git add side; git commit -q -m side
         git checkout -q main; git merge -q --no-edit side > /dev/null; git stash list
         git repack -q -a -d -f; git pack-refs --all; git fsck --strict; [ -z \"$(git status --porcelain)\" ]"
    ));
    bed.sh(&format!("{identity}; git clone -q --no-hardlinks repo $W/copy; cp -r repo/.git $W/dot-git"));
    bed.remount();
    // Asked for its status, git writes its index anew: inode numbers and fractions of times are others by now.
    bed.sh("diff -r $W/dot-git repo/.git; diff -r --exclude=.git $W/copy repo
         git -C repo fsck --strict; [ -z \"$(git -C repo status --porcelain)\" ]");
    assert_eq!(bed.sh("git -C repo log --format=%s --no-merges | sort"), "first\nsecond\nside\n");
    assert_eq!(bed.sh("find . -name '*.lock' -o -name 'tmp_*'"), "", "nothing temporary is left");
}

#[test]
fn zip_makes_and_changes_an_archive() {
    if !has("zip") || !has("unzip") {
        return;
    }
    let mut bed = Bed::new();
    bed.sh("mkdir -p $W/tree/d; for n in $(seq 60); do head -c $((n * 999)) /dev/urandom > $W/tree/d/f$n; done");
    random_file(&bed.local("tree/large"), 9 * MIB + 1, 1);
    bed.sh(
        "cp -r $W/tree .; zip -q -r a.zip tree; unzip -q -t a.zip
         echo changed > tree/d/f1; echo new > tree/new; zip -q -r a.zip tree; zip -q -d a.zip tree/d/f2; unzip -q -t a.zip
         zip -q -r -0 - tree | cat > streamed.zip; unzip -q -t streamed.zip; rm tree/d/f2",
    );
    bed.remount();
    bed.sh(
        "unzip -q -t a.zip; unzip -q -t streamed.zip; mkdir $W/out; unzip -q a.zip -d $W/out; diff -r tree $W/out/tree",
    );
    assert_eq!(bed.sh("ls"), "a.zip\nstreamed.zip\ntree\n");
}

#[test]
fn python_makes_and_changes_an_archive() {
    let mut bed = Bed::new();
    bed.sh("mkdir -p $W/tree/d; for n in $(seq 40); do head -c $((n * 999)) /dev/urandom > $W/tree/d/f$n; done");
    random_file(&bed.local("tree/large"), 9 * MIB + 1, 2);
    bed.sh("cp -r $W/tree .; python3 -m zipfile -c a.zip tree; python3 -m zipfile -t a.zip");
    bed.python(
        r"
import zipfile
with zipfile.ZipFile('a.zip', 'a', zipfile.ZIP_DEFLATED) as z:
    z.writestr('more', 'x' * 3_000_000)
    with z.open('entry of unknown size', 'w') as f:
        for n in range(1000): f.write(b'%d' % n * 1000)
",
    );
    bed.remount();
    bed.sh("python3 -m zipfile -t a.zip; python3 -m zipfile -e a.zip $W/out; diff -r tree $W/out/tree; [ $(stat -c %s $W/out/more) = 3000000 ]");
}

#[test]
fn a_program_of_twenty_files_is_built_in_the_mount() {
    if !has("cc") || !has("make") {
        return;
    }
    let mut bed = Bed::new();
    fs::write(
        bed.at("Makefile"),
        "OBJECTS = main.o $(shell seq -f 'f%g.o' 19)\n\
         CFLAGS = -g -O1\n\
         program: $(OBJECTS) libextra.a\n\tcc -g -o $@ $^\n\
         libextra.a: extra.o\n\tar rcs $@ $^\n",
    )
    .unwrap();
    bed.sh(
        "for n in $(seq 19); do echo \"int f$n(int x) { return x + $n; }\" > f$n.c; done
         echo 'int extra(int x) { return 2 * x; }' > extra.c
         { echo '#include <stdio.h>'; for n in $(seq 19); do echo \"int f$n(int);\"; done; echo 'int extra(int);'
           echo 'int main(void) { int x = 0;'; for n in $(seq 19); do echo \"x = f$n(x);\"; done
           echo 'printf(\"%d\\n\", extra(x)); }'; } > main.c
         make -s -j2; [ \"$(./program)\" = 380 ]; make -q
         echo 'int f7(int x) { return x + 107; }' > f7.c; make -s -W f7.c; [ \"$(./program)\" = 580 ]
         cp program stripped; strip stripped; [ \"$(./stripped)\" = 580 ]; ar d libextra.a extra.o; ar rcs libextra.a extra.o
         gcc -g -O1 -flto -o whole *.c; [ \"$(./whole)\" = 580 ]",
    );
    bed.remount();
    bed.sh("[ \"$(./program)\" = 580 ]; [ \"$(./stripped)\" = 580 ]; [ \"$(./whole)\" = 580 ]; ar t libextra.a | grep -qx extra.o
            rm *.o program; make -s; [ \"$(./program)\" = 580 ]");
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn fio_finds_what_it_wrote_at_random() {
    if !has("fio") {
        return;
    }
    let memory = ["--part-size", "1MiB", "--memory", "64MiB"];
    let mut bed = Bed::with(&[], &memory);
    let fio = "fio --name=verify --ioengine=psync --rw=randwrite --verify=crc32c --verify_fatal=1 --randseed=7 \
               --verify_state_save=0 --minimal";
    let jobs = ["--filename=small --size=16M --bs=4k --fsync=500", "--filename=large --size=128M --bsrange=4k-300k"];
    for job in jobs {
        bed.sh(&format!("{fio} {job} --do_verify=1"));
    }
    bed.remount_with(&memory);
    for job in jobs {
        bed.sh(&format!("{fio} {job} --verify_only=1"));
    }
    // And once more over what is there.
    bed.sh(&format!(
        "{} --filename=large --size=128M --bsrange=4k-300k --do_verify=1",
        fio.replace("seed=7", "seed=8")
    ));
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn dd_edits_in_place() {
    let mut bed = Bed::new();
    random_file(&bed.local("large"), 20 * MIB + 77, 3);
    random_file(&bed.local("small"), 50_000, 4);
    does_as_a_disk_does(
        &mut bed,
        "cp $W/large large; cp $W/small small; dd=\"dd status=none conv=notrunc\"
         $dd if=$W/small of=large bs=1000 seek=9000; $dd if=$W/small of=large bs=4096 seek=1; $dd if=$W/small of=small bs=1 count=7 seek=49999
         $dd if=$W/small of=large bs=1000 seek=30000 count=3; $dd if=$W/large of=small bs=1M seek=3 count=2
         dd status=none if=$W/large of=cut bs=1M seek=2 count=1; dd status=none if=$W/small of=large bs=1M seek=5
         $dd if=$W/large of=synced bs=1M oflag=sync; $dd if=$W/small of=synced bs=512 seek=70 oflag=dsync conv=notrunc",
    );
}

#[test]
fn dd_writes_around_the_page_cache() {
    let mut bed = Bed::new();
    random_file(&bed.local("f"), 12 * MIB, 5);
    does_as_a_disk_does(
        &mut bed,
        "dd status=none if=$W/f of=direct bs=1M oflag=direct; dd status=none if=direct of=again bs=512k iflag=direct
         dd status=none if=$W/f of=direct bs=4096 seek=700 count=99 oflag=direct conv=notrunc
         dd status=none if=$W/f of=small bs=512 count=3 oflag=direct",
    );
}

#[test]
fn files_with_holes_are_made_and_copied() {
    let mut bed = Bed::new();
    random_file(&bed.local("f"), 3 * MIB + 5, 6);
    does_as_a_disk_does(
        &mut bed,
        "truncate -s 30M holes; dd status=none if=$W/f of=holes bs=1M seek=4 conv=notrunc; dd status=none if=$W/f of=holes bs=1000 seek=20000 conv=notrunc
         cp --sparse=always holes one; cp --sparse=never holes two; cp one three; cmp holes one; cmp holes two
         truncate -s 0 empty; truncate -s +5 empty; truncate -s 33M two; truncate -s -1 three; cp --sparse=always empty four
         cat holes | dd status=none of=sparse bs=64k conv=sparse; truncate -s 30M sparse; tar cSf - holes one | tar xOf - one | cmp - one",
    );
}

#[test]
fn space_is_allocated_punched_and_zeroed() {
    let mut bed = Bed::new();
    random_file(&bed.local("f"), 9 * MIB + 5, 7);
    does_as_a_disk_does(
        &mut bed,
        "fallocate -l 5M new; fallocate -l 5M -o 3M new; fallocate -n -l 50M new; stat -c %s new
         cp $W/f f; fallocate -p -o 1000 -l 2M f; fallocate -p -o 8M -l 20M f; stat -c %s f; fallocate -n -l 20M f; stat -c %s f
         cp $W/f g; fallocate -x -o 5M -l 3M g; stat -c %s g
         printf 'abc' > small; fallocate -l 10 small; fallocate -p -o 1 -l 1 small; od -c small",
    );
    // A local disk zeroes ranges and moves them away only on some file systems.
    bed.sh("cp $W/f zeroed; fallocate -z -o 9M -l 1M zeroed; [ $(stat -c %s zeroed) = 10485760 ]; fallocate -z -n -o 4096 -l 8192 zeroed
            cmp -n 4096 $W/f zeroed; cmp -n 8192 -i 4096:0 zeroed /dev/zero; cmp -n 9424896 -i 12288 $W/f zeroed
            cmp -i 9437184:0 -n 1048576 zeroed /dev/zero");
    bed.sh_fails("fallocate -c -o 4096 -l 4096 zeroed", "not supported");
    bed.sh_fails("fallocate -i -o 4096 -l 4096 zeroed", "not supported");
}

/// xfstests ask for twice of what `df` shows, and expect that there is not so much. A disk that has not even files of that
/// size says so instead; who asks for less, but for more than an object can be, is told that here, too.
#[test]
fn more_room_than_there_is_cannot_be_reserved() {
    let bed = Bed::new();
    for how in ["-l", "-n -l", "-z -l", "-o 1M -l"] {
        bed.sh_fails(&format!("fallocate {how} 2PiB f"), "No space left on device");
        bed.sh("[ $(stat -c %s f) = 0 ]");
    }
    bed.sh_fails("fallocate -l 100TiB f", "File too large");
}

#[test]
fn what_python_writes_through_a_mapping_is_there() {
    let mut bed = Bed::new();
    let program = bed.python_line(
        r"
import mmap, os
fd = os.open('new', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 3_000_000)
m = mmap.mmap(fd, 3_000_000)
m[:5] = b'first'; m[2_999_996:] = b'last'
m.flush()
assert os.pread(fd, 5, 0) == b'first' and open('new', 'rb').read()[-4:] == b'last'
os.pwrite(fd, b'written', 1_000_000)
assert m[1_000_000:1_000_007] == b'written', m[1_000_000:1_000_007]
m.flush(); m.close(); os.close(fd)

with open('old', 'wb') as f: f.write(bytes(range(256)) * 40_000)
fd = os.open('old', os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)                                     # the mapping goes on
assert m[256:260] == b'\0\1\2\3'
m[5_000_000:5_000_003] = b'mid'
m.flush()
m[0:3] = b'end'
m.close()
",
    );
    does_as_a_disk_does_in_time(&mut bed, &program.replace("exec ", ""), &["new", "old"]);
}

/// The same, for what is published only after the last close.
fn does_as_a_disk_does_in_time(bed: &mut Bed, script: &str, files: &[&str]) {
    fs::create_dir_all(bed.local("disk")).unwrap();
    bed.sh(&format!("cd $W/disk; {script}; cd -; {script}; diff -r $W/disk ."));
    for file in files {
        let expected = fs::read(bed.local("disk").join(file)).unwrap();
        eventually("what came through the mapping is published", || bed.bucket().get(file) == expected);
    }
    bed.remount();
    bed.sh("diff -r $W/disk .");
}

#[test]
fn tail_follows_a_log_of_which_every_line_is_synced() {
    const LINES: usize = 100;
    let bed = Bed::new();
    bed.sh("ls");
    let mut log = File::options().create(true).append(true).open(bed.at("log")).unwrap();
    let mut tail = bed.command("exec tail -n +1 -f log > $W/seen").spawn().unwrap();
    let mark = bed.mark();
    let mut expected = String::new();
    for number in 0..LINES {
        let line = format!("line {number} {}\n", "x".repeat(number));
        log.write_all(line.as_bytes()).unwrap();
        log.sync_all().unwrap();
        expected += &line;
        assert_eq!(bed.bucket().get("log").len(), expected.len(), "line {number} is in the bucket");
    }
    let requests = bed.since(mark);
    eventually("tail has seen every line", || {
        fs::read(bed.local("seen")).is_ok_and(|seen| seen == expected.as_bytes())
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
    drop(log);
    assert_eq!(bed.bucket().get("log"), expected.as_bytes());
    assert_eq!(requests.count("PutObject"), LINES, "one for each line: {:?}", requests.summary());
}

#[test]
fn a_loop_with_its_output_in_a_file_publishes_it_once_or_twice() {
    let bed = Bed::new();
    bed.sh("ls");
    let table = [
        "for i in $(seq 100); do date; done > f",
        "for i in $(seq 100); do /bin/echo line $i; done > f",
        "{ /bin/echo first; for i in $(seq 100); do (echo $i; sh -c 'echo nested'); done; } > f",
        "for i in $(seq 100); do /bin/echo line $i; echo built in; done >> f",
        "exec > f; for i in $(seq 100); do /bin/echo line $i; done",
        "seq 100 | while read n; do /bin/echo line $n; done > f",
    ];
    for script in table {
        let mark = bed.mark();
        bed.sh(script);
        let published = publications(&bed, mark);
        assert!((1..=2).contains(&published), "{script}: published {published} times");
        let lines = bed.bucket().get("f").iter().filter(|byte| **byte == b'\n').count();
        assert!(lines >= 100, "{script}: {lines} lines");
        bed.sh("[ $(wc -l < f) -ge 100 ]");
    }
}

#[test]
fn children_that_write_to_their_parents_file_publish_it_once_or_twice() {
    let bed = Bed::new();
    bed.sh("ls");
    let mark = bed.mark();
    bed.python(
        r"
import subprocess
with open('f', 'wb') as f:
    for n in range(50):
        subprocess.Popen(['sh', '-c', f'echo line {n}'], stdout=f).wait()
",
    );
    let published = publications(&bed, mark);
    let expected: String = (0..50).map(|n| format!("line {n}\n")).collect();
    assert_same(&bed.bucket().get("f"), expected.as_bytes());
    assert!((1..=2).contains(&published), "published {published} times");
}

#[test]
fn a_child_that_outlives_its_parents_descriptor_publishes() {
    let bed = Bed::new();
    // Whoever waits for the child finds all of its output published.
    bed.python(
        r"
import subprocess
with open('popen', 'wb') as f:
    child = subprocess.Popen(['sh', '-c', 'read line; echo $line; /bin/echo end'], stdin=subprocess.PIPE, stdout=f)
child.communicate(b'after the parent closed it')
",
    );
    assert_eq!(bed.bucket().get("popen"), b"after the parent closed it\nend\n");
    bed.sh("mkfifo $W/go; { read line < $W/go; /bin/echo $line; } > background & echo late > $W/go; wait $!");
    assert_eq!(bed.bucket().get("background"), b"late\n");
    // The opener becomes another program, which keeps the descriptor.
    bed.sh("(exec 3> replaced; exec sh -c '/bin/echo one >&3; /bin/echo two >&3')");
    assert_eq!(bed.bucket().get("replaced"), b"one\ntwo\n");
}

/// Every write is in the bucket when it returns; the kernel sends no fsync after it.
#[test]
fn a_write_by_a_synchronous_handle_is_published_when_it_returns() {
    let bed = Bed::new();
    bed.python(
        r#"
import os, subprocess
fd = os.open('f', os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
for line in (b'one', b'two', b'three'):
    os.write(fd, line)
os.close(fd)
"#,
    );
    assert_eq!(bed.since_start().count("PutObject"), 3);
    assert_eq!(bed.bucket().get("f"), b"onetwothree");
    let mark = bed.mark();
    bed.sh("dd if=/dev/zero of=g bs=1000 count=4 oflag=sync status=none");
    assert_eq!(bed.since(mark).count("PutObject"), 4);
    let mark = bed.mark();
    bed.sh("dd if=/dev/zero of=h bs=1M count=10 oflag=sync status=none; cmp h <(head -c 10M /dev/zero)");
    let requests = bed.since(mark);
    assert_eq!(requests.count("PutObject") + requests.count("CompleteMultipartUpload"), 10);
}
