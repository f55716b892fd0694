//! Two mounts of one bucket on one machine, and clients that are no mounts.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{Bed, cosmount, eventually, signal};

/// A second mount of a bed's bucket, by the same user.
pub(crate) struct Second {
    pub(crate) at: PathBuf,
    process: Child,
}

impl Second {
    pub(crate) fn of(bed: &Bed, arguments: &[&str]) -> Second {
        let at = bed.local("second");
        fs::create_dir(&at).unwrap();
        let mut command = cosmount();
        command.args(["mount", "local-1250000000"]).arg(&at);
        command.args(["--foreground", "--endpoint", bed.service().endpoint()]).args(arguments);
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let is_mounted = || Command::new("mountpoint").arg("-q").arg(&at).status().unwrap().success();
        eventually("the second mount answers", is_mounted);
        Second { at, process }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        signal(self.process.id(), Signal::TERM);
        let _ = self.process.wait();
    }
}

#[test]
fn what_one_mount_has_closed_the_other_sees_at_its_open() {
    let bed = Bed::new();
    let second = Second::of(&bed, &[]);
    let (a, b) = (bed.at(""), second.at.clone());
    for round in 0..30 {
        let (here, there) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let content = format!("{}{round}", "x".repeat(round));
        fs::write(here.join("f"), &content).unwrap();
        assert_eq!(fs::read_to_string(there.join("f")).unwrap(), content, "round {round}");
        // The same size, which nothing but the version tells apart.
        let content = content.replace('x', "y");
        fs::write(here.join("f"), &content).unwrap();
        assert_eq!(fs::read_to_string(there.join("f")).unwrap(), content, "round {round}");
        fs::write(here.join(format!("new{round}")), "new").unwrap();
        assert_eq!(fs::metadata(there.join(format!("new{round}"))).unwrap().len(), 3);
        assert_eq!(fs::read_dir(there).unwrap().count(), 2);
        fs::remove_file(there.join(format!("new{round}"))).unwrap();
        assert!(!here.join(format!("new{round}")).exists());
    }
}

/// Sets or takes away a lock by `fcntl`, of ten bytes.
fn lock_range(file: &File, kind: i32) -> Result<(), nix::errno::Errno> {
    let (kind, whence) = (kind as i16, libc::SEEK_SET as i16);
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: 5, l_len: 10, l_pid: 0 };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETLK(&lock)).map(drop)
}

#[test]
fn locks_hold_between_two_mounts() {
    let bed = Bed::new();
    let second = Second::of(&bed, &[]);
    fs::write(bed.at("f"), "content").unwrap();
    let open = |path: PathBuf| File::options().read(true).write(true).open(path).unwrap();
    let (here, there, beside) = (open(bed.at("f")), open(second.at.join("f")), open(bed.at("f")));
    let is_busy = |file: &File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    here.lock().unwrap();
    assert!(is_busy(&there) && is_busy(&beside));
    lock_range(&there, libc::F_WRLCK).expect("flock and fcntl do not see each other");
    assert_eq!(lock_range(&here, libc::F_WRLCK), Err(nix::errno::Errno::EAGAIN));
    lock_range(&there, libc::F_UNLCK).unwrap();
    lock_range(&here, libc::F_WRLCK).expect("by the process that has the other kind");
    // A close of any descriptor of the file gives up what the process has locked by fcntl, and nothing else.
    drop(beside);
    lock_range(&there, libc::F_WRLCK).unwrap();
    assert!(is_busy(&there));
    // Who waits can be told to stop, and a signal is none to end by.
    let path = second.at.join("f");
    let waited = Command::new("timeout").args(["-s", "ALRM", "1", "flock"]).arg(&path).arg("true").status().unwrap();
    assert!(!waited.success());
    // Who is killed holds nothing.
    here.unlock().unwrap();
    let mut holder = Command::new("flock").args(["--no-fork"]).arg(&path).args(["sleep", "1000"]).spawn().unwrap();
    eventually("the child has the lock", || is_busy(&here) || here.unlock().is_err());
    holder.kill().unwrap();
    holder.wait().unwrap();
    here.lock().unwrap();
}

/// Nobody can refuse to unlock, and nobody keeps a lock because the service is gone.
#[test]
fn unlocking_waits_for_a_service_that_hangs_no_longer_than_a_call() {
    let bed = Bed::with(&[], &["--request-timeout", "1s"]);
    let second = Second::of(&bed, &["--request-timeout", "1s"]);
    fs::write(bed.at("f"), "content").unwrap();
    let open = |path: PathBuf| File::options().read(true).write(true).open(path).unwrap();
    let (mut here, there) = (open(bed.at("f")), open(second.at.join("f")));
    here.lock().unwrap();
    here.write_all(b"CONTENT").unwrap();
    bed.service().freeze();
    let began = Instant::now();
    here.unlock().unwrap();
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    bed.service().go_on();
    assert_eq!(here.sync_all().unwrap_err().raw_os_error(), Some(libc::ETIMEDOUT), "who asks is told");
    there.try_lock().unwrap();
    // A request that nobody has waited for any longer may have been carried out when the service went on.
    let content = fs::read_to_string(second.at.join("f")).unwrap();
    assert!(["content", "CONTENT"].contains(&content.as_str()), "{content}");
}

/// Two processes add rows to one data base, each by a mount of its own.
#[test]
fn sqlite_from_two_mounts_loses_nothing() {
    let bed = Bed::new();
    let second = Second::of(&bed, &[]);
    bed.python("import sqlite3; sqlite3.connect('z.db').execute('create table t(p, i)')");
    fs::write(bed.local("writer.py"), WRITER).unwrap();
    let writer = |directory: PathBuf, name: &str| {
        let mut command = Command::new("python3");
        command.arg(bed.local("writer.py")).arg(directory.join("z.db")).arg(name).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let writers = [writer(bed.at(""), "a"), writer(second.at.clone(), "b")];
    let acknowledged: Vec<u32> = writers
        .into_iter()
        .map(|writer| String::from_utf8(writer.wait_with_output().unwrap().stdout).unwrap().trim().parse().unwrap())
        .collect();
    let count = "import sqlite3; print(sqlite3.connect('z.db').execute('select count(*) from t').fetchone()[0])";
    let rows: u32 = bed.python(count).trim().parse().unwrap();
    assert_eq!(acknowledged, [20, 20]);
    assert_eq!(rows, 40);
}

/// Both connect before either writes: to connect, SQLite reads the head of the file without a lock, which is ESTALE if the
/// other one replaces it between that open and that read.
const WRITER: &str = "
import os, sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
ready = lambda name: os.path.join(os.path.dirname(sys.argv[0]), 'ready-' + name)
open(ready(sys.argv[2]), 'w').close()
until = time.monotonic() + 60
while not (os.path.exists(ready('a')) and os.path.exists(ready('b'))):
    assert time.monotonic() < until
    time.sleep(0.01)
done = 0
for i in range(20):
    try:
        connection.execute('begin immediate')
        connection.execute('insert into t values (?, ?)', (sys.argv[2], i))
        connection.execute('commit')
        done += 1
    except sqlite3.Error as error:
        print(i, error, file=sys.stderr)
print(done)
";
