//! A service that fails: whoever wrote is told, in time, and never that all is well.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cosmount::store::{ListRequest, ObjectStore};

use rustix::process::Signal;

use crate::bed::{Bed, MIB, eventually, random_file, signal};
use crate::closing::WRITE_AND_WAIT;

/// Long enough for a healthy request, short enough for a test.
const IMPATIENT: [&str; 2] = ["--request-timeout", "3s"];
/// A failing copy must have ended by then: its deadline, and what a busy machine adds.
const FAILURE_DURATION_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_service_that_dies_in_the_middle_fails_the_copy() {
    let mut bed = Bed::with(&[], &IMPATIENT);
    random_file(&bed.local("f"), 200 * MIB, 1);
    let mark = bed.mark();
    // Slowly, so that it is certainly still going on.
    let mut cp = bed
        .command(
            "set -o pipefail; { head -c 40M $W/f; read _; tail -c +40000001 $W/f; } | dd of=f bs=1M iflag=fullblock",
        )
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("a part is there", || bed.since(mark).count("UploadPart") > 0);
    bed.service_mut().kill();
    drop(cp.stdin.take());
    let began = Instant::now();
    let output = cp.wait_with_output().unwrap();
    let took = began.elapsed();
    println!("a dead service failed the copy after {took:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success());
    assert!(took < FAILURE_DURATION_MAX, "{took:?}");
}

#[test]
fn a_small_file_that_cannot_be_put_fails_at_close() {
    let mut bed = Bed::with(&[], &IMPATIENT);
    fs::write(bed.local("small"), "x").unwrap();
    bed.sh("ls");
    bed.service_mut().kill();
    bed.sh_fails("cp $W/small f", "f");
    bed.python(
        r#"
import os
fd = os.open('g', os.O_WRONLY | os.O_CREAT)
os.write(fd, b'x')
other = os.dup(fd)
for one in (fd, other):
    try:
        os.close(one)
        raise SystemExit('a close said that all is well')
    except OSError as error:
        print('close:', error)
"#,
    );
    bed.sh_fails("dd if=$W/small of=h conv=fsync status=none", "h");
    bed.sh_fails("mkdir d", "d");
}

#[test]
fn a_service_that_hangs_fails_the_copy_too() {
    let bed = Bed::with(&[], &IMPATIENT);
    random_file(&bed.local("f"), 40 * MIB, 2);
    bed.sh("ls");
    bed.service().freeze();
    let began = Instant::now();
    bed.sh_fails("cp $W/f f", "Connection timed out");
    let took = began.elapsed();
    println!("a frozen service failed the copy after {took:?}");
    bed.service().go_on();
    assert!(took < FAILURE_DURATION_MAX, "{took:?}");
    // And once it is back, so is the file.
    bed.sh("cp $W/f f; cmp $W/f f");
}

#[test]
fn who_waits_for_what_another_asks_shares_its_failure() {
    const CALLERS: usize = 24;
    let bed = Bed::with(&[], &["--request-timeout", "2s", "--metadata-ttl", "1s"]);
    bed.bucket().put("d/theirs", b"");
    bed.sh("ls d; sleep 1.1; ls");
    bed.service().freeze();
    let began = Instant::now();
    let calls: Vec<_> =
        (0..CALLERS).map(|n| bed.command(&format!("stat d/{n}")).stderr(Stdio::piped()).spawn().unwrap()).collect();
    for call in calls {
        let told = call.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&told.stderr).contains("Connection timed out"), "{told:?}");
    }
    let took = began.elapsed();
    bed.service().go_on();
    println!("{CALLERS} callers of a frozen service took {took:?}");
    // One request takes up to twice the timeout; one after the other they would take 24 times as long.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_short_pause_of_the_service_is_not_noticed() {
    let bed = Bed::new();
    random_file(&bed.local("f"), 60 * MIB, 3);
    let mark = bed.mark();
    let mut cp = bed.command("cp $W/f f").spawn().unwrap();
    eventually("a part is there", || bed.since(mark).count("UploadPart") > 0);
    bed.service().freeze();
    std::thread::sleep(Duration::from_millis(500));
    bed.service().go_on();
    assert!(cp.wait().unwrap().success());
    bed.sh("cmp $W/f f");
}

#[test]
fn a_reader_of_a_dead_service_is_told() {
    let mut bed = Bed::with(&[], &IMPATIENT);
    random_file(&bed.local("f"), 100 * MIB, 4);
    bed.sh("cp $W/f f");
    bed.remount_with(&IMPATIENT);
    bed.sh("head -c 1M f | cmp - <(head -c 1M $W/f)");
    bed.service_mut().kill();
    let began = Instant::now();
    bed.sh_fails("cat f > /dev/null", "f");
    let took = began.elapsed();
    assert!(took < FAILURE_DURATION_MAX, "{took:?}");
}

#[test]
fn a_mount_that_cannot_publish_says_so_at_its_end() {
    let mut bed = Bed::with(&[], &["--request-timeout", "1s", "--unmount-timeout", "3s"]);
    bed.sh("ls; echo bytes > $W/f");
    let mut writer = bed.command(&bed.python_line(WRITE_AND_WAIT)).spawn().unwrap();
    eventually("the file is written", || bed.local("ready").exists());
    bed.service_mut().kill();
    let is_well = bed.unmount();
    let _ = writer.kill();
    let _ = writer.wait();
    assert!(!is_well, "what could not be published is no success");
    assert!(bed.log().contains("not published: f"), "{}", bed.log());
}

#[test]
fn a_directory_is_renamed_as_a_whole_or_not_at_all() {
    let bed = Bed::with(&["--latency-ms", "20"], &IMPATIENT);
    bed.python("import os\nos.mkdir('old')\nfor n in range(1000): open(f'old/{n:04}', 'w').write(str(n))");
    let old_keys = |prefix: &str| -> Vec<String> {
        std::iter::once(format!("{prefix}/")).chain((0..1000).map(|n| format!("{prefix}/{n:04}"))).collect()
    };
    let keys = || {
        let all =
            |marker| bed.bucket().run(|store| store.list(ListRequest { marker, ..ListRequest::default() })).unwrap();
        let first = all(None);
        let rest = first.next_marker.map(|marker| all(Some(marker)).objects).unwrap_or_default();
        first.objects.into_iter().chain(rest).map(|object| object.key).collect::<Vec<_>>()
    };
    let mark = bed.mark();
    let mv = bed.command("mv -T old new").stderr(Stdio::piped()).spawn().unwrap();
    eventually("copies are made", || bed.since(mark).count("CopyObject") > 200);
    bed.service().freeze();
    let output = mv.wait_with_output().unwrap();
    assert!(!output.status.success(), "mv was told that all is well");
    bed.service().go_on();
    eventually("everything has its old name", || keys() == old_keys("old"));
    assert_eq!(bed.sh("ls old | wc -l; ls -d new 2> /dev/null || echo none"), "1000\nnone\n");
    bed.sh("mv -T old new; test $(ls new | wc -l) = 1000");
    assert_eq!(keys(), old_keys("new"));
}

/// Half of the time that a request is tried again; whoever writes is not told, and waits.
#[test]
fn a_service_that_is_silent_for_a_while_does_not_fail_a_copy() {
    let bed = Bed::with(&[], &["--request-timeout", "12s"]);
    random_file(&bed.local("f"), 200 * MIB, 5);
    let mark = bed.mark();
    let mut cp = bed.command("cp $W/f f").spawn().unwrap();
    eventually("a part is there", || bed.since(mark).count("UploadPart") > 0);
    bed.service().freeze();
    std::thread::sleep(Duration::from_secs(6));
    assert!(cp.try_wait().unwrap().is_none(), "it waits");
    bed.service().go_on();
    assert!(cp.wait().unwrap().success());
    bed.sh("cmp $W/f f");
    bed.bucket().assert_no_unfinished_uploads();
}

/// Whatever a program waits for, its user is not kept waiting.
#[test]
fn a_program_that_waits_for_a_silent_service_ends_at_once_when_it_is_interrupted() {
    let bed = Bed::with(&[], &["--metadata-ttl", "0s"]);
    random_file(&bed.local("f"), 20 * MIB, 6);
    bed.sh("mkdir d; echo a > d/a; echo b > d/b; echo c > d/c");
    bed.service().freeze();
    for script in ["cp $W/f f", "cat d/a", "ls -l d", "mv d/b d/new", "rm d/c", "mkdir e"] {
        // What runs the tests in the background may ignore SIGINT, and all its children with it.
        let script = format!("exec env --default-signal=INT {script}");
        let mut program = bed.command(&script).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        assert!(program.try_wait().unwrap().is_none(), "{script} waits");
        signal(program.id(), Signal::INT);
        let began = Instant::now();
        let status = program.wait().unwrap();
        let took = began.elapsed();
        println!("{script}: interrupted after {took:?}");
        assert!(!status.success() && took < Duration::from_secs(1), "{script} took {took:?}");
    }
    bed.service().go_on();
}
