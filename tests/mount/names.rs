//! Names: made, moved, listed and removed by the tools that people use, and refused with the errno that says why.

use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
use cosmount::store::{Body, ObjectStore};
use futures_util::{StreamExt, stream};

use crate::bed::{Bed, MIB, is_root, random_file};

#[test]
fn directories_are_made_moved_and_removed() {
    let mut bed = Bed::new();
    bed.sh("mkdir -p a/b/c; mkdir -p a/b/c; echo 1 > a/b/c/f; cp a/b/c/f a/g
         ! mkdir a 2> /dev/null; ! rmdir a/b/c 2> /dev/null
         mv a/b/c/f a/b/f; rmdir a/b/c; ! test -e a/b/c
         mkdir empty; mv empty renamed; test -d renamed; ! test -e empty; rmdir renamed");
    bed.sh_fails("rmdir a", "Directory not empty");
    bed.sh_fails("rmdir nothing", "No such file");
    bed.sh_fails("rmdir a/g", "Not a directory");
    bed.sh_fails("cat a", "Is a directory");
    bed.sh_fails("cat a/g/x", "Not a directory");
    bed.sh_fails("mkdir x/y", "No such file");
    bed.remount();
    assert_eq!(bed.sh("find . -mindepth 1 | sort"), "./a\n./a/b\n./a/b/f\n./a/g\n");
    bed.sh("rm -r a; ! test -e a");
    assert_eq!(bed.bucket().keys(), [""; 0]);
}

#[test]
fn files_are_moved_and_replaced() {
    let mut bed = Bed::new();
    random_file(&bed.local("large"), 20 * MIB, 1);
    bed.sh("mkdir d; echo one > one; echo two > two; cp $W/large large
         mv one d/; [ \"$(cat d/one)\" = one ]; ! test -e one
         mv -n two d/one; [ \"$(cat d/one)\" = one ]; test -e two
         mv two d/one; [ \"$(cat d/one)\" = two ]; ! test -e two
         mv large d/large; cmp $W/large d/large; mv d/large 'd/with space +'");
    bed.remount();
    bed.sh("cmp $W/large 'd/with space +'; [ \"$(cat d/one)\" = two ]");
    assert_eq!(bed.bucket().keys(), ["d/", "d/one", "d/with space +"]);
}

#[test]
fn a_full_directory_is_moved_by_copies_on_the_service() {
    let mut bed = Bed::new();
    bed.sh(
        "mkdir -p full/sub; for n in $(seq 30); do echo $n > full/f$n; echo $n > full/sub/g$n; done; cp -r full $W/",
    );
    let mark = bed.mark();
    bed.sh("mv full moved; ! test -e full; diff -r $W/full moved");
    let requests = bed.since(mark);
    assert_eq!((requests.count("CopyObject"), requests.count("PutObject")), (62, 0), "{:?}", requests.summary());
    assert_eq!((requests.count("DeleteMultipleObjects"), requests.count("DeleteObject")), (1, 0));
    bed.remount();
    bed.sh("diff -r $W/full moved; ! test -e full");
}

#[test]
fn ten_thousand_entries_are_listed_and_found() {
    const COUNT: usize = 10_000;
    let mut bed = Bed::unmounted(&[]);
    bed.bucket().run(|store| async move {
        let put = |number: usize| async move {
            let key = ObjectKey::new(format!("big/entry-{number:05}")).unwrap();
            let attributes = ObjectAttributes::default();
            store.put(&key, Body::from(b"x".to_vec()), Crc64::of(b"x"), &attributes).await.unwrap();
        };
        stream::iter((0..COUNT).map(put)).buffer_unordered(32).collect::<Vec<_>>().await;
    });
    bed.mount(&[]);
    let mark = bed.mark();
    assert_eq!(bed.sh("stat -c %s big/entry-09999").trim(), "1");
    let requests = bed.since(mark);
    assert!(requests.0.len() <= 6, "one name of many costs few requests: {:?}", requests.summary());

    let mark = bed.mark();
    assert_eq!(bed.sh("ls big | wc -l").trim(), COUNT.to_string());
    assert_eq!(bed.since(mark).count("ListObjects"), COUNT / 1000);
    assert_eq!(bed.sh("find big -type f -name 'entry-0123*' | sort | head -2"), "big/entry-01230\nbig/entry-01231\n");
    bed.sh("! test -e big/entry-10000; echo new > big/entry-10000; cat big/entry-10000; rm big/entry-05000");
    assert_eq!(bed.sh("ls big | wc -l").trim(), COUNT.to_string());
    bed.sh("! test -e big/entry-05000");
}

#[test]
fn what_cannot_be_a_name_is_refused() {
    let bed = Bed::new();
    bed.python(
        r#"
import errno, os
def refused(expected, call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == expected, (call, args, error)
    else:
        raise SystemExit(f'{call} {args} was done')
make = lambda name: os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
refused(errno.ENAMETOOLONG, make, 'n' * 256)
refused(errno.EILSEQ, make, b'\xff\xfe')
refused(errno.EILSEQ, make, 'control\x19')
refused(errno.EILSEQ, os.mkdir, b'caf\xe9')
refused(errno.ENOENT, os.stat, b'\xff\xfe')
make('n' * 255); make('中' * 85)
# The whole key, not the name, has 850 bytes.
os.makedirs('d' * 250 + '/' + 'd' * 250 + '/' + 'd' * 250)
refused(errno.ENAMETOOLONG, make, '/'.join(['d' * 250] * 3 + ['n' * 98]))
make('/'.join(['d' * 250] * 3 + ['n' * 97]))

make('f')
refused(errno.EPERM, os.link, 'd' * 250, 'hard')
refused(errno.EINVAL, os.rename, 'd' * 250, 'd' * 250 + '/below')
"#,
    );
}

/// The kernel does what is done with them, also while this program publishes them.
#[test]
fn pipes_and_sockets_are_used_archived_and_found() {
    let mut bed = Bed::new();
    bed.sh("mkfifo p; { read line < p; echo $line > got; } & echo through > p; wait; [ $(cat got) = through ]");
    bed.python(
        r#"
import os, socket, stat, time
server = socket.socket(socket.AF_UNIX); server.bind('s'); server.listen()
for wait in (0, 1.5):
    time.sleep(wait) # published in between
    client = socket.socket(socket.AF_UNIX); client.connect('s'); accepted = server.accept()[0]
    client.sendall(b'hello'); assert accepted.recv(5) == b'hello'
os.mknod('f', 0o600 | stat.S_IFREG); assert os.stat('f').st_size == 0
"#,
    );
    bed.sh(
        "mkdir t; mkfifo -m 640 t/p; touch -d 2001-01-01Z t/p; tar cf t.tar t; mkdir x; tar xf t.tar -C x; cp -a t y",
    );
    bed.remount();
    assert_eq!(bed.sh("find . -type p | sort"), "./p\n./t/p\n./x/t/p\n./y/p\n");
    assert_eq!(bed.sh("stat -c '%F %a %Y' t/p x/t/p y/p"), "fifo 640 978307200\n".repeat(3));
    assert_eq!(bed.sh("stat -c %F s; rm s p; ls"), "socket\nf\ngot\nt\nt.tar\nx\ny\n");
}

#[test]
fn devices_are_kept_and_cannot_be_opened() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new();
    bed.sh("mknod null c 1 3; mknod -m 600 disk b 8 1; mkdir t; cp -a null disk t; ls -l > /dev/null");
    bed.remount();
    assert_eq!(bed.sh("stat -c '%F %t %T' null t/disk"), "character special file 1 3\nblock special file 8 1\n");
    bed.sh_fails("echo > null", "Permission denied");
}

/// dpkg, tar with members that are links, and whoever puts a file under its name at once.
#[test]
fn programs_that_make_hard_links_go_on() {
    let mut bed = Bed::new();
    bed.sh("echo one > a; ln a b; ln -s a l; ln l m; mkfifo p; ln p q; [ $(stat -c %h b) = 1 ]; cmp a b; cp -al a c");
    bed.sh_fails("ln a b", "File exists");
    bed.sh("mkdir $W/t; echo two > $W/t/x; ln $W/t/x $W/t/y; tar cf $W/t.tar -C $W t; tar xf $W/t.tar; cmp t/x t/y");
    bed.sh("rsync -aH $W/t/ r; cmp r/x r/y");
    bed.remount();
    assert_eq!(
        bed.sh("cat a b c t/x t/y r/x r/y; readlink m; stat -c %F q"),
        "one\none\none\ntwo\ntwo\ntwo\ntwo\na\nfifo\n"
    );
}

#[test]
fn trees_with_keys_that_cannot_be_names_are_read_and_removed() {
    let bed = Bed::new();
    for key in ["a/ok", "a//b", "a/./c", "a/b//c"] {
        bed.bucket().put(key, b"x");
    }
    assert_eq!(bed.sh("ls a"), "b\nok\n");
    bed.sh("rm -rf a; [ ! -e a ]");
    assert_eq!(bed.bucket().keys(), [] as [&str; 0]);
    assert!(bed.log().contains("2 keys that cannot be file names (\"a/./\", \"a//\")"), "{}", bed.log());
}

#[test]
fn df_shows_room() {
    let bed = Bed::new();
    let free: u64 = bed.sh("df --output=avail -B1 . | tail -1").trim().parse().unwrap();
    assert!(free > 1 << 40, "{free}");
    assert_eq!(bed.sh("df --output=source . | tail -1").trim(), "local-1250000000");
    assert!(bed.sh("stat -f -c %l .").trim() == "255");
}

#[test]
fn keys_that_others_made_are_files_and_directories() {
    let mut bed = Bed::unmounted(&[]);
    let keys = ["plain", "only/as/a/prefix", "both", "both/inside", "odd//name", "中文/文件"];
    bed.bucket().run(|store| async move {
        for key in keys {
            let (name, body) = (ObjectKey::new(key).unwrap(), Body::from(key.as_bytes().to_vec()));
            store.put(&name, body, Crc64::of(key.as_bytes()), &ObjectAttributes::default()).await.unwrap();
        }
    });
    bed.mount(&[]);
    assert_eq!(
        bed.sh("find . -type f | LC_ALL=C sort"),
        "./both/inside\n./only/as/a/prefix\n./plain\n./中文/文件\n",
        "a name that is both is a directory, an empty name is none"
    );
    bed.sh("rm only/as/a/prefix; test -d only/as/a; rmdir only/as/a only/as only; ! test -e only");
}
