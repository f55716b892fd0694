//! What close, fsync and the end of a process promise: the object is there, whole, when they return.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{Bed, MIB, assert_same, eventually, random_bytes, random_file, signal};

/// Writes the local file `f` to the one of the mount, says so, and keeps it open.
pub(crate) const WRITE_AND_WAIT: &str = r"
import os, time
f = open('f', 'wb', buffering=0)
data = open(os.environ['W'] + '/f', 'rb').read()
assert f.write(data) == len(data)
open(os.environ['W'] + '/ready', 'w').close()
time.sleep(1000)
";

#[test]
fn a_redirection_is_one_put() {
    let bed = Bed::new();
    bed.sh("ls");
    let table = [
        ("echo built-in > f", "built-in\n"),
        ("/bin/echo external > f1", "external\n"),
        ("(echo from a subshell) > f2", "from a subshell\n"),
        ("/bin/echo again > f", "again\n"),
        (": > empty", ""),
        ("printf %s no-newline > f3", "no-newline"),
        ("head -c 100000 /dev/zero | tr '\\0' x | cat > f4", &"x".repeat(100_000)),
    ];
    for (script, content) in table {
        let mark = bed.mark();
        bed.sh(script);
        let requests = bed.since(mark);
        assert_eq!(requests.count("PutObject"), 1, "{script}: {:?}", requests.summary());
        let file = script.rsplit(' ').next().unwrap();
        assert_eq!(String::from_utf8(bed.bucket().get(file)).unwrap(), content, "{script}");
    }
}

#[test]
fn a_group_of_commands_writes_one_file() {
    let bed = Bed::new();
    fs::write(bed.local("f"), "middle\n").unwrap();
    bed.sh("{ echo a; cat $W/f; echo b; } > g");
    assert_eq!(bed.bucket().get("g"), b"a\nmiddle\nb\n");
    bed.sh("for n in $(seq 300); do echo line $n; /bin/echo external $n; done > lines; [ $(wc -l < lines) = 600 ]");
    assert_eq!(bed.bucket().get("lines").iter().filter(|byte| **byte == b'\n').count(), 600);
}

#[test]
fn appending_keeps_what_is_there() {
    let mut bed = Bed::new();
    random_file(&bed.local("large"), 20 * MIB, 1);
    bed.sh("echo one > small; cp $W/large large");
    for _ in 0..2 {
        bed.remount();
        let mark = bed.mark();
        bed.sh("echo more >> small; cat $W/large >> large; echo more >> large; echo new >> new");
        let down: u64 = bed.since(mark).of("GetObject").map(|request| request.bytes_out).sum();
        assert!(down <= MIB as u64, "{down} bytes of the old object came down");
        bed.sh("cat $W/large > $W/next; cat $W/large >> $W/next; echo more >> $W/next; cmp $W/next large");
        fs::copy(bed.local("large"), bed.local("once")).unwrap();
        bed.sh("cp $W/once large; [ \"$(head -1 small)\" = one ]; [ \"$(tail -1 small)\" = more ]");
    }
    assert_eq!(bed.bucket().get("small"), b"one\nmore\nmore\n");
    assert_eq!(bed.bucket().get("new"), b"new\nnew\n");
}

#[test]
fn dd_and_touch_and_truncate_work_as_anywhere() {
    let bed = Bed::new();
    random_file(&bed.local("f"), 12 * MIB + 7, 2);
    let content = fs::read(bed.local("f")).unwrap();
    bed.sh("dd if=$W/f of=dd bs=1M conv=fsync status=none");
    assert_same(&bed.bucket().get("dd"), &content);
    bed.sh("dd if=$W/f of=small bs=10000 count=7 conv=fsync status=none");
    assert_same(&bed.bucket().get("small"), &content[..70_000]);
    bed.sh("dd if=$W/f of=small bs=999 count=1 oflag=append conv=notrunc status=none");
    assert_same(&bed.bucket().get("small"), &[&content[..70_000], &content[..999]].concat());

    let mark = bed.mark();
    bed.sh("touch t");
    bed.since(mark).assert_are(&[("PutObject", 1)]);
    assert_eq!(bed.bucket().get("t"), b"");

    let table = [("dd", 9 * MIB + 1), ("dd", 8 * MIB), ("dd", 10 * MIB), ("dd", 100), ("dd", 0), ("small", 80_000)];
    for (file, len) in table {
        let mut expected = bed.bucket().get(file);
        expected.resize(len, 0);
        bed.sh(&format!("truncate -s {len} {file}; [ $(stat -c %s {file}) = {len} ]"));
        assert_same(&bed.bucket().get(file), &expected);
        assert_same(&fs::read(bed.at(file)).unwrap(), &expected);
    }
}

#[test]
fn every_close_of_a_duplicate_tells_the_truth() {
    let bed = Bed::new();
    bed.python(
        r#"
import os, subprocess
def published(name, expected):
    # Another descriptor sees what this process wrote; the bucket is asked by the test.
    assert open(name, 'rb').read() == expected, (name, open(name, 'rb').read()[:100])

fd = os.open('dup', os.O_WRONLY | os.O_CREAT)
other = os.dup(fd)
os.write(fd, b'one ')
os.close(other)
published('dup', b'one ')
os.write(fd, b'two')
os.close(fd)
published('dup', b'one two')

fd = os.open('forked', os.O_WRONLY | os.O_CREAT)
os.write(fd, b'parent ')
if os.fork() == 0:
    os.write(fd, b'child ')
    os._exit(0)
os.wait()
os.write(fd, b'parent')
os.close(fd)
published('forked', b'parent child parent')

with open('popen', 'wb') as f:
    f.write(b'before\n'); f.flush()
    subprocess.Popen(['sh', '-c', 'echo child; echo again'], stdout=f).wait()
    f.write(b'after\n')
published('popen', b'before\nchild\nagain\nafter\n')

# Two openings of one file write into one content.
a = os.open('two', os.O_WRONLY | os.O_CREAT); b = os.open('two', os.O_WRONLY)
os.pwrite(a, b'aaaa', 0); os.pwrite(b, b'bb', 1); os.close(a); os.pwrite(b, b'c', 3); os.close(b)
published('two', b'abbc')

os.close(os.open('exclusive', os.O_WRONLY | os.O_CREAT | os.O_EXCL))
try:
    os.open('exclusive', os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    raise SystemExit('O_EXCL made a file that was there')
except FileExistsError:
    pass
"#,
    );
    let bucket = bed.bucket();
    let table = [
        ("dup", "one two"),
        ("forked", "parent child parent"),
        ("popen", "before\nchild\nagain\nafter\n"),
        ("two", "abbc"),
        ("exclusive", ""),
    ];
    for (key, content) in table {
        assert_eq!(String::from_utf8(bucket.get(key)).unwrap(), content, "{key}");
    }
}

/// Its start closes what is not to be handed on, and waits for the answers, while much of what `/proc` tells of the process
/// waits for the start to end.
#[test]
fn a_program_that_starts_another_closes_what_it_has_made() {
    let mut bed = Bed::new();
    bed.python(
        "import subprocess\n\
         with open('f', 'wb', 0) as f:\n    \
             subprocess.run(['true'], close_fds=False, timeout=60)\n    \
             f.write(b'written after it')\n",
    );
    bed.remount();
    bed.sh("[ \"$(cat f)\" = 'written after it' ]");
}

#[test]
fn bytes_may_be_written_anywhere_while_they_are_in_memory() {
    let bed = Bed::new();
    bed.python(
        r#"
import os, zipfile, mmap
with open('header', 'wb') as f:                 # a header that is known last
    f.write(b'????'); f.write(b'x' * 3_000_000); f.seek(0); f.write(b'HEAD')
with open('header', 'rb') as f:
    assert f.read() == b'HEAD' + b'x' * 3_000_000

with open('twice', 'w+b') as f:                 # read back what was just written
    f.write(b'0123456789'); f.seek(3); assert f.read(4) == b'3456'
    f.seek(0, 2); f.write(b'end'); f.seek(0); assert f.read() == b'0123456789end'

fd = os.open('positions', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'late', 1000); os.pwrite(fd, b'early', 0)
assert os.pread(fd, 10, 0) == b'early\0\0\0\0\0' and os.pread(fd, 10, 998) == b'\0\0late'
os.fsync(fd); os.pwrite(fd, b'E', 0); os.close(fd)
assert open('positions', 'rb').read() == b'Early' + b'\0' * 995 + b'late'

with open('again', 'wb') as f: f.write(b'some text')
with open('again', 'r+b') as f: f.seek(5); f.write(b'TEXT')   # an edit in place of a small file
assert open('again', 'rb').read() == b'some TEXT'

with zipfile.ZipFile('archive.zip', 'w') as z:
    for n in range(50): z.writestr(f'entry{n}', f'content {n}' * 100)
with zipfile.ZipFile('archive.zip') as z:
    assert z.testzip() is None and len(z.namelist()) == 50

fd = os.open('mapped', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 100_000)
m = mmap.mmap(fd, 100_000)
m[0:5] = b'first'; m[99_996:] = b'last'
m.flush(); os.fsync(fd)
m[50_000:50_003] = b'mid'
os.close(fd); m.close()                          # the rest arrives after the close
"#,
    );
    let mut mapped = vec![0; 100_000];
    mapped[..5].copy_from_slice(b"first");
    mapped[50_000..50_003].copy_from_slice(b"mid");
    mapped[99_996..].copy_from_slice(b"last");
    eventually("what came through the mapping is published", || bed.bucket().get("mapped") == mapped);
    assert_eq!(bed.bucket().get("again"), b"some TEXT");
    assert_eq!(bed.bucket().get("header").len(), 3_000_004);
}

/// At the end, in the middle of what left the memory long ago, and over the border of two parts.
#[test]
fn edits_in_place_work_wherever_they_are() {
    let bed = Bed::with(&[], &["--memory", "64MiB"]);
    random_file(&bed.local("f"), 60 * MIB, 3);
    bed.sh("cp $W/f f");
    let edit = r#"
import os, sys
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDWR)
    for offset in (30_000_000, 8 * 2**20 - 3, 60 * 2**20 - 2, 5):
        os.pwrite(fd, b'changed', offset)
        assert os.pread(fd, 7, offset) == b'changed'
    os.close(fd)
"#;
    let line = bed.python_line(edit);
    bed.sh(&format!("{line} f $W/f"));
    bed.sh("cmp $W/f f");
}

#[test]
fn a_killed_writer_leaves_what_it_wrote() {
    let bed = Bed::new();
    bed.python(
        r#"
import os, signal
if os.fork() == 0:
    fd = os.open('killed', os.O_WRONLY | os.O_CREAT)
    os.write(fd, b'as far as it came')
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
"#,
    );
    eventually("the bytes are in the bucket", || {
        bed.since_start().of("PutObject").any(|put| put.key == "killed" && put.status == 200)
    });
    assert_eq!(bed.bucket().get("killed"), b"as far as it came");
}

#[test]
fn a_waiting_writer_can_be_killed() {
    for kill in [Signal::INT, Signal::KILL, Signal::TERM] {
        let bed = Bed::with(&[], &["--memory", "64MiB"]);
        bed.sh("ls");
        bed.service().freeze();
        // What runs the tests in the background may ignore SIGINT, and all its children with it.
        let mut writer =
            bed.command("exec env --default-signal=INT cat /dev/zero > f").stderr(Stdio::null()).spawn().unwrap();
        // Memory is spent once the file stops growing.
        let mut before = 0;
        eventually("the writer waits", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = fs::metadata(bed.at("f")).map_or(0, |metadata| metadata.len());
            std::mem::replace(&mut before, now) == now && now > 30 * MIB as u64
        });
        signal(writer.id(), kill);
        let began = Instant::now();
        let status = writer.wait().unwrap();
        let took = began.elapsed();
        println!("{kill:?} of a waiting writer took {took:?}");
        assert!(!status.success() && took < Duration::from_secs(3), "{kill:?} took {took:?}");
        bed.service().go_on();
    }
}

/// It is not in any call when it is killed; what it has open goes up without it.
#[test]
fn a_killed_program_does_not_wait_for_what_it_has_open() {
    for kill in [Signal::TERM, Signal::KILL] {
        let bed = Bed::new();
        fs::write(bed.local("f"), "content").unwrap();
        let mut writer = bed.command(&bed.python_line(WRITE_AND_WAIT)).stderr(Stdio::null()).spawn().unwrap();
        eventually("the file is written", || bed.local("ready").exists());
        bed.service().freeze();
        signal(writer.id(), kill);
        let began = Instant::now();
        let status = writer.wait().unwrap();
        let took = began.elapsed();
        bed.service().go_on();
        assert!(!status.success() && took < Duration::from_secs(3), "{kill:?} took {took:?}");
        eventually("what it had written is in the bucket", || bed.bucket().keys() == ["f"]);
    }
}

/// What a program wanted to make or to empty, and never was told of, is as if it had not asked.
#[test]
fn an_open_that_is_interrupted_leaves_nothing_behind() {
    for is_there in [false, true] {
        // Every call asks the service, so that the open itself waits, and long enough to be interrupted.
        let mut bed = Bed::with(&["--latency-ms", "1200"], &["--metadata-ttl", "0s"]);
        if is_there {
            bed.bucket().put("f", b"before");
        }
        let mark = bed.mark();
        let mut writer = bed.command("exec > f").stderr(Stdio::null()).spawn().unwrap();
        eventually("it is looked for", || !bed.since(mark).0.is_empty());
        // Nobody outside can see that the open itself is waiting now; it does for much longer than this.
        std::thread::sleep(Duration::from_millis(400));
        signal(writer.id(), Signal::KILL);
        assert!(!writer.wait().unwrap().success());
        let before = bed.since(mark).0.len();
        eventually("the open has come to its end", || bed.since(mark).0.len() > before);
        bed.bucket().put("f", b"of somebody else");
        assert_eq!(bed.sh("cat f"), "of somebody else");
        assert!(bed.unmount());
        assert_eq!(bed.bucket().get("f"), b"of somebody else");
    }
}

/// Starting a program closes files in the middle of it, when the kernel holds back much of what it tells of a process.
#[test]
fn a_program_can_be_started_while_a_file_goes_up() {
    // Longer than a caller waits before it is looked at.
    let bed = Bed::with(&["--latency-ms", "1000"], &[]);
    bed.python(
        r#"
import os, subprocess
fd = os.open('f', os.O_WRONLY | os.O_CREAT)
os.write(fd, b'as far as it came')
subprocess.run(['true'], close_fds=False, check=True)
os.write(fd, b' and further')
os.close(fd)
"#,
    );
    assert_eq!(bed.bucket().get("f"), b"as far as it came and further");
}

#[test]
fn what_is_open_is_published_at_the_end_of_the_mount() {
    let mut bed = Bed::new();
    let content = random_bytes(10 * MIB, 4);
    fs::write(bed.local("f"), &content).unwrap();
    let mut writer = bed.command(&bed.python_line(WRITE_AND_WAIT)).spawn().unwrap();
    eventually("the file is written", || bed.local("ready").exists());
    let is_well = bed.unmount();
    let _ = writer.kill();
    let _ = writer.wait();
    assert!(is_well);
    assert_same(&bed.bucket().get("f"), &content);
    bed.bucket().assert_no_unfinished_uploads();
}
