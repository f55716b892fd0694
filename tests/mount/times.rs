//! Times and attributes as real programs depend on them, through the kernel.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::bed::{Bed, is_root};

fn mtime(bed: &Bed, path: &str) -> (i64, i64) {
    let metadata = fs::metadata(bed.at(path)).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

/// vim compares the time of the file with the one that it saw, and does not write a second time if it has moved.
#[test]
fn an_editor_saves_as_often_as_it_is_told_to() {
    let bed = Bed::new();
    bed.sh(
        "echo start > f; for i in $(seq 20); do vim -es -u NONE -c \"normal Go$i\" -c w -c \"normal Go$i again\" -c w -c q f; done;
         [ \"$(wc -l < f)\" = 41 ] && [ \"$(tail -n 1 f)\" = '20 again' ]",
    );
}

/// What was made a moment ago is up to date, and what was edited a moment ago is made again.
#[test]
fn make_builds_what_was_edited_and_nothing_else() {
    let bed = Bed::new();
    let makefile =
        "all: sum large\\nsum: a b\\n\\tcat a b > sum\\nlarge: sum\\n\\thead -c 12000000 /dev/zero > large\\n";
    bed.sh(&format!(
        "printf '{makefile}' > Makefile; echo b > b
         for i in $(seq 20); do
           echo $i > a; make -s; [ \"$(head -n 1 sum)\" = $i ] || {{ echo $i was not built; exit 1; }}
           make -q || {{ echo $i is built again; exit 1; }}
         done"
    ));
}

/// The time right after the close is the time for ever: small, large, edited, renamed, copied, appended.
#[test]
fn a_time_is_what_it_was_after_the_close_for_every_mount() {
    let mut bed = Bed::new();
    bed.sh("echo x > small; head -c 20000000 /dev/urandom > large; cp large edited; cp large appended
         printf x | dd of=edited bs=1 seek=5000000 conv=notrunc status=none; echo x >> appended; cp small copied
         echo x > .renamed.Ab3dEf; mv .renamed.Ab3dEf renamed; : > empty; cp -p small preserved; ln -s small link");
    let names = ["small", "large", "edited", "appended", "copied", "renamed", "empty", "preserved"];
    let before = names.map(|name| mtime(&bed, name));
    assert!(before.iter().filter(|(_, nanoseconds)| *nanoseconds != 0).count() >= 6, "to the nanosecond: {before:?}");
    assert_eq!(before[0], before[7], "cp -p");
    // Long enough for everything that waits, and for listings to be asked for anew.
    std::thread::sleep(std::time::Duration::from_millis(6_500));
    assert_eq!(names.map(|name| mtime(&bed, name)), before);
    bed.sh("ls -l > /dev/null");
    assert_eq!(names.map(|name| mtime(&bed, name)), before);
    bed.remount();
    assert_eq!(names.map(|name| mtime(&bed, name)), before);
}

/// The kernel must not drop pages because a file was published. It drops all of them then; a few of them are dropped every
/// other second where the machine takes back memory that is not in use.
#[test]
fn a_file_that_was_read_is_not_fetched_again_because_of_its_time() {
    const BYTES: u64 = 30_000_000;
    let mut bed = Bed::new();
    bed.sh(&format!("head -c {BYTES} /dev/urandom > f"));
    bed.remount();
    bed.sh("cat f > /dev/null; chmod 640 f; cat f > /dev/null; sleep 1.5; ls -l > /dev/null");
    let mark = bed.mark();
    bed.sh("cat f > /dev/null; sleep 5.5; ls -l > /dev/null; cat f > /dev/null");
    let fetched: u64 = bed.since(mark).of("GetObject").map(|request| request.bytes_out).sum();
    assert!(fetched < BYTES / 4, "{fetched} bytes");
}

/// Python looks for a new module only where the directory's time has moved.
#[test]
fn a_module_that_is_written_while_a_program_runs_is_found() {
    let bed = Bed::new();
    bed.python(
        "import os, sys, mailbox
sys.path.insert(0, os.getcwd())
os.mkdir('pm'); open('pm/__init__.py', 'w').close(); open('pm/a.py', 'w').write('v = 1')
import pm.a
open('pm/b.py', 'w').write('v = 2')
import pm.b
before = os.stat('pm').st_mtime_ns
os.unlink('pm/b.py')
assert os.stat('pm').st_mtime_ns > before
",
    );
}

#[test]
fn times_before_1970_and_those_that_are_left_out_are_as_they_are_set() {
    let mut bed = Bed::new();
    bed.python(
        "import os
open('f', 'w').close()
for ns in (-1_500_000_000, -1, -1_000_000_000, 0, 1, 1_700_000_000_123_456_789):
    os.utime('f', ns=(ns, ns))
    s = os.stat('f')
    assert (s.st_atime_ns, s.st_mtime_ns) == (ns, ns), (ns, s)
os.utime('f', ns=(5, -1_500_000_000))
",
    );
    bed.sh("touch -a -d @7 f; [ \"$(stat -c '%X %Y' f)\" = '7 -2' ]; touch -m -d @9.5 f; [ \"$(stat -c '%.1Y' f)\" = 9.5 ]; touch -m -d @-1.5 f");
    bed.remount();
    assert_eq!(bed.python("import os; print(os.stat('f').st_mtime_ns)").trim(), "-1500000000");
    let told = bed.bucket().run(|store| async move {
        use cosmount::store::ObjectStore;
        store.head(&cosmount::object::ObjectKey::new("f").unwrap()).await
    });
    assert_eq!(told.unwrap().attributes.user["mtime"], "-1.500000000");
}

/// Every way to change a file or its owner, by everybody, gives the mode that the local disk gives.
#[test]
fn privileges_are_taken_and_kept_as_on_a_disk() {
    if !is_root() {
        return;
    }
    let bed = Bed::with(&[], &["--allow-other"]);
    bed.open_to_everybody();
    let program = "import os, sys
os.chdir(sys.argv[1]); os.mkdir('d'); os.chmod('d', 0o777); os.chdir('d'); W = os.O_WRONLY
open('source', 'w').write('x' * 5000); os.chmod('source', 0o644)
ways = {
    'write': lambda p: os.write(os.open(p, W), b'y'),
    'truncate': lambda p: os.truncate(p, 9),
    'ftruncate': lambda p: os.ftruncate(os.open(p, W), 9),
    'O_TRUNC': lambda p: os.open(p, W | os.O_TRUNC),
    'fallocate': lambda p: os.posix_fallocate(os.open(p, W), 0, 9000),
    'copy_file_range': lambda p: os.copy_file_range(os.open('source', 0), os.open(p, W), 99),
    'chown -1 -1': lambda p: os.chown(p, -1, -1),
    'chown as it is': lambda p: os.chown(p, os.stat(p).st_uid, os.stat(p).st_gid),
    'chmod as it is': lambda p: os.chmod(p, os.stat(p).st_mode & 0o7777),
    'utime': lambda p: os.utime(p),
}
for mode in (0o6777, 0o4666, 0o666):
    for who, uid, gid, owner in (('root', 0, 0, (0, 0)), ('owner', 1000, 1000, (1000, 1000)), ('no member', 1000, 1000, (1000, 7)), ('stranger', 1000, 1000, (0, 0))):
        for way, change in ways.items():
            open('f', 'w').write('x' * 5000); os.chown('f', *owner); os.chmod('f', mode)
            child = os.fork()
            if child == 0:
                os.setgroups([]); os.setgid(gid); os.setuid(uid)
                try: change('f')
                except OSError as error: os._exit(error.errno)
                os._exit(0)
            errno = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]); os_stat = os.stat('f')
            print(who, way, oct(mode), '->', oct(os_stat.st_mode & 0o7777), errno, os_stat.st_uid, os_stat.st_gid)
            os.unlink('f')
";
    fs::write(bed.local("ways.py"), program).unwrap();
    let here = bed.sh("python3 $W/ways.py $PWD");
    let there = bed.sh("python3 $W/ways.py $W");
    assert!(here.lines().count() == 120 && here == there, "the mount:\n{here}\nthe disk:\n{there}");
}

/// `cp -a x/. mnt/`, `rsync -a x/ mnt/` and `tar x` set the attributes of the top, and are content with it.
#[test]
fn attributes_of_the_top_are_set_as_those_of_any_directory() {
    let mut bed = Bed::new();
    bed.sh("mkdir $W/tree; echo x > $W/tree/f; chmod 750 $W/tree; touch -d 2020-01-02T03:04:05.5Z $W/tree; tar --format=posix -cf $W/tree.tar -C $W/tree .");
    let shown = "stat -c '%a %.1Y' .";
    for program in ["cp -a $W/tree/. .", "rsync -a $W/tree/ ./", "tar xf $W/tree.tar"] {
        bed.sh("rm -f f; chmod 700 .; touch .");
        bed.sh(program);
        assert_eq!(bed.sh(shown).trim(), "750 1577934245.5", "{program}");
    }
    bed.remount();
    assert_eq!(bed.sh(shown).trim(), "750 1577934245.5");
    assert_eq!(bed.sh("ls -A").trim(), "f");
    bed.sh("chown 7:8 . 2> /dev/null || [ $(id -u) != 0 ]");
}

/// A descriptor that is truncated tells that the file has changed, whatever its length was.
#[test]
fn a_length_that_is_set_to_what_it_is_moves_the_times_that_it_moves_on_a_disk() {
    let bed = Bed::new();
    let program = "import os, sys, time
os.chdir(sys.argv[1])
ways = {
    'ftruncate': lambda p, fd: os.ftruncate(fd, 100),
    'ftruncate to less': lambda p, fd: os.ftruncate(fd, 99),
    'truncate to more': lambda p, fd: os.truncate(p, 101),
    'O_TRUNC': lambda p, fd: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)),
}
for way, change in ways.items():
    for holds in (True, False):
        name = way.replace(' ', '-') + str(holds)
        open(name, 'wb').write(b'x' * 100)
        fd = os.open(name, os.O_RDWR)
        before = os.stat(name)
        time.sleep(0.05)
        if not holds and way == 'truncate to more': os.close(fd)
        change(name, fd)
        after = os.stat(name)
        print(way, holds, after.st_size, after.st_mtime_ns != before.st_mtime_ns, after.st_ctime_ns != before.st_ctime_ns)
";
    fs::write(bed.local("ways.py"), program).unwrap();
    let here = bed.sh("python3 $W/ways.py $PWD");
    let there = bed.sh("python3 $W/ways.py $W");
    assert!(here.lines().count() == 8 && here == there, "the mount:\n{here}\nthe disk:\n{there}");
    // Disks differ in these: ext4 counts any truncate(2) as a change, XFS and tmpfs those that change the length; room that
    // is there already changes mtime on the first two.
    bed.python(
        "import os, time
open('f', 'wb').write(b'x' * 100)
def moved(change):
    before = os.stat('f'); time.sleep(0.05); change(); after = os.stat('f')
    return after.st_mtime_ns != before.st_mtime_ns, after.st_ctime_ns != before.st_ctime_ns
fd = os.open('f', os.O_RDWR)
assert moved(lambda: os.posix_fallocate(fd, 0, 100)) == (True, True)
assert moved(lambda: os.truncate('f', 100)) == (False, False)
os.close(fd)
assert moved(lambda: os.truncate('f', 100)) == (False, False)
",
    );
}

/// As backup programs see it, who have looked just before.
#[test]
fn a_link_changes_its_source_at_once() {
    let bed = Bed::new();
    bed.python(
        "import os, time
open('a', 'w').write('x')
before = os.stat('a'); time.sleep(0.05)
os.link('a', 'b')
source, copy = os.stat('a'), os.stat('b')
assert source.st_ctime_ns > before.st_ctime_ns and source.st_mtime_ns == before.st_mtime_ns, (before, source)
assert (copy.st_mtime_ns, copy.st_ctime_ns) == (source.st_mtime_ns, source.st_ctime_ns), (copy, source)
",
    );
}
