//! The options that keep what is in the bucket, under the tools that remove, move, replace and rewrite.

use std::collections::BTreeMap;

use crate::bed::Bed;

/// What there is, and what tools do to it. Whether they succeed is not the question.
const TOOLS: &str = "
    export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    set +e; exec 2> /dev/null
    mkdir $W/from; echo only > $W/from/new; echo other > $W/from/f1
    sed -i s/1/one/ tree/f1; perl -pi -e 's/2/two/' tree/f2; mv tree/f3 tree/f4; mv tree/f5 moved; mv -f tree/sub away
    rsync -a --delete $W/from/ synced/; cp tree/f6 tree/f7; : > tree/f8; truncate -s 1 tree/f9; echo more >> tree/f10
    (cd repo && echo more > file && git commit -q -am more && git gc -q --prune=now && git reset -q --hard HEAD~1)
    rm -rf tree synced repo; true";

/// Objects before, by key, with their bytes.
fn before(bed: &mut Bed) -> BTreeMap<String, Vec<u8>> {
    bed.sh("
        export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        mkdir -p tree/sub synced; for n in $(seq 12); do echo $n > tree/f$n; echo sub $n > tree/sub/f$n; echo s $n > synced/f$n; done
        git init -q repo; cd repo; echo one > file; git add .; git commit -q -m first");
    let bucket = bed.bucket();
    let keys = bucket.keys().into_iter().filter(|key| !key.ends_with('/'));
    keys.map(|key| (key.clone(), bucket.get(&key))).collect()
}

fn now(bed: &Bed) -> BTreeMap<String, Vec<u8>> {
    let bucket = bed.bucket();
    bucket.keys().into_iter().map(|key| (key.clone(), bucket.get(&key))).collect()
}

#[test]
fn with_no_delete_every_object_is_still_there() {
    let mut bed = Bed::new();
    let before = before(&mut bed);
    bed.remount_with(&["--no-delete"]);
    bed.sh(TOOLS);
    assert!(bed.unmount());
    let now = now(&bed);
    let gone: Vec<_> = before.keys().filter(|key| !now.contains_key(*key)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    bed.mount(&[]);
    assert_eq!(bed.sh("cat tree/f12"), "12\n");
}

#[test]
fn with_no_overwrite_and_no_delete_every_object_is_what_it_was() {
    let mut bed = Bed::new();
    let before = before(&mut bed);
    bed.remount_with(&["--no-overwrite", "--no-delete"]);
    bed.sh(TOOLS);
    assert!(bed.unmount());
    let now = now(&bed);
    let changed: Vec<_> =
        before.iter().filter(|(key, bytes)| now.get(*key) != Some(*bytes)).map(|(key, _)| key).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn with_no_overwrite_no_object_is_another() {
    let mut bed = Bed::new();
    let before = before(&mut bed);
    bed.remount_with(&["--no-overwrite"]);
    bed.sh(&TOOLS.replace("rm -rf tree synced repo;", ""));
    bed.sh_fails("echo x > tree/f11", "Operation not permitted");
    assert!(bed.unmount());
    let now = now(&bed);
    // One that is gone was removed or renamed, which is another option's.
    let changed: Vec<_> = before
        .iter()
        .filter(|(key, bytes)| now.get(*key).is_some_and(|now| now != *bytes))
        .map(|(key, _)| key)
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn with_trash_nothing_that_was_there_is_gone() {
    let mut bed = Bed::new();
    let before = before(&mut bed);
    bed.remount_with(&["--trash", ".trash/"]);
    bed.sh(TOOLS);
    assert_eq!(bed.sh("cat .trash/tree/f12; cat .trash/tree/f1; cat away/f1"), "12\n1\nsub 1\n");
    bed.sh("! test -e tree; ! test -e synced; ! test -e repo; mv .trash/tree/f12 back; [ $(cat back) = 12 ]");
    assert!(bed.unmount());
    let now = now(&bed);
    // What something was appended to is there as its beginning.
    let bytes: Vec<&Vec<u8>> = now.values().collect();
    let gone: Vec<_> =
        before.iter().filter(|(_, one)| !bytes.iter().any(|now| now.starts_with(one))).map(|(key, _)| key).collect();
    assert!(gone.is_empty(), "{gone:?}\n{:?}", now.keys());
    bed.mount(&["--trash", ".trash"]);
    bed.sh("rm -rf .trash; ! test -e .trash");
}

#[test]
fn df_shows_the_size_that_somebody_has_said() {
    let mut bed = Bed::new();
    assert_eq!(bed.sh("df -B1 --output=size . | tail -1").trim(), (1_u64 << 50).to_string());
    bed.remount_with(&["--statfs-bytes", "10GiB"]);
    assert_eq!(
        bed.sh("df -B1 --output=size,avail . | tail -1").split_whitespace().collect::<Vec<_>>(),
        ["10737418240"; 2]
    );
    bed.sh_fails("fallocate -l 11GiB f", "No space left");
}

#[test]
fn the_kernel_asks_again_for_what_is_not_there_unless_somebody_has_said_otherwise() {
    for (options, asked) in [(&[][..], true), (&["--negative-ttl", "60s", "--metadata-ttl", "0s"][..], false)] {
        let mut bed = Bed::with(&[], options);
        bed.sh("! test -e none");
        // Made by somebody else.
        bed.bucket().put("none", b"1");
        let is_seen = bed.try_sh("test -e none").status.success();
        assert!(!is_seen || asked);
        bed.sh("echo 2 > none; [ $(cat none) = 2 ]");
        assert!(bed.unmount());
    }
}
