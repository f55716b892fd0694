//! Programs that people run in a directory without thinking of where it is.

use std::process::Command;

use crate::bed::{Bed, MIB, random_file};

/// Whether a program is installed; says so if it is not. `scripts/setup` installs all of them.
pub(crate) fn has(program: &str) -> bool {
    let is_there = Command::new("which").arg(program).output().unwrap().status.success();
    if !is_there {
        println!("skipped: {program} is not installed");
    }
    is_there
}

#[test]
fn git_keeps_a_repository() {
    let mut bed = Bed::new();
    bed.sh(
        "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
         git init -q repo; cd repo; mkdir src; echo one > src/f; head -c 100000 /dev/urandom > blob
         git add .; git commit -q -m first; echo two >> src/f; git commit -q -a -m second; git mv src/f src/g
         git commit -q -m third; git status --porcelain; git fsck --strict; git gc -q; git fsck --strict
         cd ..; git clone -q repo clone; diff -r --exclude=.git repo clone; git -C clone log --oneline | wc -l",
    );
    bed.remount();
    let log = bed.sh(
        "git -C clone fsck --strict; git -C clone -c core.pager=cat log --format=%s; git -C repo status --porcelain",
    );
    assert_eq!(log, "third\nsecond\nfirst\n");
}

#[test]
fn editors_save_in_place_and_by_renaming() {
    let mut bed = Bed::new();
    bed.sh("seq 1000 > f; sed -i s/^500$/changed/ f; [ \"$(sed -n 500p f)\" = changed ]; [ $(wc -l < f) = 1000 ]");
    bed.sh("perl -pi -e 's/^600$/perl/' f 2> /dev/null || sed -i s/^600$/perl/ f; [ \"$(sed -n 600p f)\" = perl ]");
    if has("vim") {
        bed.sh("vim -es -u NONE -c 'set backup writebackup swapfile' -c '%s/^700$/vim/' -c wq f; [ \"$(sed -n 700p f)\" = vim ]");
        bed.sh("vim -es -u NONE -c 'set backupcopy=yes' -c '%s/^701$/copy/' -c wq f; [ \"$(sed -n 701p f)\" = copy ]");
        bed.sh("vim -es -u NONE -c 'normal inew file' -c wq made; [ \"$(cat made)\" = 'new file' ]");
    }
    bed.remount();
    assert_eq!(bed.sh("sed -n '500p;600p' f"), "changed\nperl\n");
    assert_eq!(bed.sh("ls -A | grep -v -e ^f$ -e ^made$ -e '~$' || true"), "", "nothing temporary is left");
}

#[test]
fn archives_are_written_and_unpacked() {
    let mut bed = Bed::new();
    bed.sh("mkdir -p $W/tree/d/e; for n in $(seq 100); do head -c $((n * 300)) /dev/urandom > $W/tree/d/f$n; done");
    random_file(&bed.local("tree/d/e/large"), 12 * MIB, 1);
    bed.sh(
        "touch -d 2001-01-01Z $W/tree/d/f1; chmod 600 $W/tree/d/f2
         tar cf a.tar -C $W tree; tar czf a.tgz -C $W tree; tar tf a.tar > /dev/null
         mkdir from-tar; tar xf a.tar -C from-tar; diff -r $W/tree from-tar/tree
         [ $(stat -c %Y from-tar/tree/d/f1) = $(stat -c %Y $W/tree/d/f1) ]; [ $(stat -c %a from-tar/tree/d/f2) = 600 ]",
    );
    if has("zip") && has("unzip") {
        bed.sh("(cd $W; zip -q -r out.zip tree); cp $W/out.zip a.zip; mkdir from-zip; unzip -q a.zip -d from-zip; diff -r $W/tree from-zip/tree");
        bed.sh("cd from-tar; zip -q -r ../b.zip tree/d/f1 tree/d/f50; unzip -q -t ../b.zip");
    }
    bed.remount();
    bed.sh("diff -r $W/tree from-tar/tree; mkdir $W/again; tar xzf a.tgz -C $W/again; diff -r $W/tree $W/again/tree");
}

#[test]
fn sqlite_keeps_a_small_database() {
    if !has("sqlite3") {
        return;
    }
    let mut bed = Bed::new();
    bed.sh(
        "sqlite3 db 'create table t (id integer primary key, text); insert into t (text) values (1);'
         for n in $(seq 5); do sqlite3 db \"insert into t (text) values ('row $n'); update t set text = 'first' where id = 1;\"; done
         sqlite3 db 'with recursive n(x) as (select 1 union all select x + 1 from n where x < 5000) insert into t (text) select x from n;'",
    );
    bed.remount();
    assert_eq!(
        bed.sh("sqlite3 db 'pragma integrity_check; select count(*) from t; select text from t where id = 1;'"),
        "ok\n5006\nfirst\n"
    );
    assert_eq!(bed.sh("ls"), "db\n", "no journal is left");
}

#[test]
fn a_compiler_builds_in_the_mount() {
    if !has("cc") {
        return;
    }
    let bed = Bed::new();
    bed.sh(
        "printf '#include <stdio.h>\\nint twice(int);\\nint main(void) { printf(\"%%d\\\\n\", twice(21)); }\\n' > main.c
         echo 'int twice(int x) { return 2 * x; }' > twice.c
         cc -c main.c twice.c; ar rcs libtwice.a twice.o; cc -o program main.o -L. -ltwice; [ \"$(./program)\" = 42 ]",
    );
}

#[test]
fn text_tools_write_what_they_write_anywhere() {
    let mut bed = Bed::new();
    bed.sh(
        "seq 200000 > numbers; sort -rn numbers > sorted; head -1 sorted | grep -qx 200000; sort -n -o sorted sorted; cmp numbers sorted
         awk '{ print $1 * 2 }' numbers > doubled; tail -1 doubled | grep -qx 400000
         split -l 50000 numbers part-; cat part-* | cmp - numbers
         gzip -k numbers; gunzip -c numbers.gz | cmp - numbers; gunzip -f numbers.gz; cmp numbers sorted
         tee copy < numbers > /dev/null; cmp copy numbers; install -m 751 numbers installed; [ $(stat -c %a installed) = 751 ]
         sha256sum numbers sorted > sums",
    );
    bed.remount();
    bed.sh("sha256sum -c --quiet sums; cmp copy installed");
}
