//! A service in one process, a mount of its bucket in another, and directories to work in; all of it gone at the end.
//!
//! Nothing here waits without a bound: a mount that keeps a test waiting for too long is killed, which fails every call
//! that waits for it, and its log is printed with every failure.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use cosmount::object::{BucketName, ObjectKey};
use cosmount::server::DEFAULT_BUCKET;
use cosmount::store::{GetRequest, HttpOptions, HttpStore, ObjectStore};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use futures_util::TryStreamExt;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const SECRET_ID: &str = "AKIDtest";
const SECRET_KEY: &str = "key-of-the-tests";
/// The key as a shell takes it before a command.
pub(crate) const KEY_VARIABLES: &str = "COS_SECRETID=AKIDtest COS_SECRETKEY=key-of-the-tests";

/// How long a start, an end or a condition may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a mount may last before it is taken from its test, unless the test asks for more.
const TEST_DURATION_MAX: Duration = Duration::from_secs(300);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;
/// The size of the first parts, in bytes, unless a mount says otherwise.
pub(crate) const PART_BYTES: usize = 8 * MIB;

/// A service, a mount and a place for other files.
pub(crate) struct Bed {
    // In the order in which they go: nobody's files before the process that has them open.
    mount: Option<Mount>,
    service: Service,
    home: TempDir,
    /// How long a mount is left alone.
    time_max: Duration,
}

/// One line of the access log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) op: String,
    pub(crate) key: String,
    pub(crate) status: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// What the service did wrong on purpose.
    pub(crate) fault: Option<String>,
}

/// The requests between two moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(pub(crate) Vec<Request>);

/// A moment in the access log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

impl Bed {
    /// A mount with the options of every day.
    pub(crate) fn new() -> Bed {
        Bed::with(&[], &[])
    }

    /// A mount with more arguments for `cosmount serve` and `cosmount mount`.
    pub(crate) fn with(serve: &[&str], mount: &[&str]) -> Bed {
        let mut bed = Bed::unmounted(serve);
        bed.mount(mount);
        bed
    }

    /// A service that nobody has mounted yet.
    pub(crate) fn unmounted(serve: &[&str]) -> Bed {
        Bed::unmounted_of(&["--in-memory"], serve)
    }

    /// The same with a service that keeps its objects on the disk, for [`Bed::serve_again`].
    pub(crate) fn unmounted_on_disk(serve: &[&str]) -> Bed {
        Bed::unmounted_of(&["data"], serve)
    }

    fn unmounted_of(place: &'static [&'static str], serve: &[&str]) -> Bed {
        let home = tempfile::Builder::new().prefix("cosmount-test.").tempdir().unwrap();
        for directory in ["mnt", "work", "home"] {
            fs::create_dir(home.path().join(directory)).unwrap();
        }
        let service = Service::start(home.path(), place, "127.0.0.1:0", serve);
        Bed { mount: None, service, home, time_max: TEST_DURATION_MAX }
    }

    /// The same with more time until the mounts to come are taken from a test that hangs.
    pub(crate) fn lasting(mut self, time_max: Duration) -> Bed {
        self.time_max = time_max;
        self
    }

    /// Ends the service, whose mount has ended, and starts it anew at its address, with other arguments.
    pub(crate) fn serve_again(&mut self, serve: &[&str]) {
        assert!(self.mount.is_none(), "nobody uses it");
        signal(self.service.process.id(), Signal::TERM);
        assert!(self.service.process.wait().unwrap().success(), "the service ends in order");
        let address = self.service.endpoint.trim_start_matches("http://").to_owned();
        self.service = Service::start(self.home.path(), self.service.place, &address, serve);
    }

    /// Mounts the bucket.
    pub(crate) fn mount(&mut self, arguments: &[&str]) {
        assert!(self.mount.is_none(), "one mount at a time");
        self.mount = Some(Mount::start(self.home.path(), &self.service.endpoint, arguments, self.time_max));
    }

    /// Ends the mount as SIGTERM does, and returns what its process said.
    pub(crate) fn unmount(&mut self) -> bool {
        self.mount.take().expect("a mount").end()
    }

    /// Kills the mount's process and takes away what the kernel has of it. Programs that were in it hear of an error.
    pub(crate) fn kill_mount(&mut self) {
        let mut mount = self.mount.take().expect("a mount");
        mount.process.kill().unwrap();
        mount.process.wait().unwrap();
        let _ = Command::new("umount").arg("-l").arg(&mount.directory).status();
    }

    /// Where its mounts write down what they leave.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// A fresh mount, which knows and caches nothing.
    pub(crate) fn remount(&mut self) {
        self.remount_with(&[]);
    }

    pub(crate) fn remount_with(&mut self, arguments: &[&str]) {
        assert!(self.unmount(), "everything was published");
        self.mount(arguments);
    }

    /// A place in the mount.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("mnt").join(path)
    }

    /// A place beside the mount, on the local disk.
    pub(crate) fn local(&self, path: &str) -> PathBuf {
        self.home.path().join("work").join(path)
    }

    /// Lets other users in, who get nowhere without the mount's leave.
    pub(crate) fn open_to_everybody(&self) {
        for directory in ["", "work"] {
            fs::set_permissions(self.home.path().join(directory), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// The process of the mount.
    pub(crate) fn mount_pid(&self) -> u32 {
        self.mount.as_ref().expect("a mount").process.id()
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    pub(crate) fn service_mut(&mut self) -> &mut Service {
        &mut self.service
    }

    /// What the mounts have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("mount.log")).unwrap_or_default()
    }

    /// A script for bash, in the mount's directory, with the local one in `$W`, which must succeed. Returns what it
    /// printed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.status.success(), "{script}\nended with {}\n{}", output.status, told(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same for one that may fail.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }

    /// The same for one that must fail, with this in its complaint.
    #[track_caller]
    pub(crate) fn sh_fails(&self, script: &str, complaint: &str) {
        let output = self.try_sh(script);
        assert!(!output.status.success(), "{script}\nsucceeded\n{}", told(&output));
        assert!(told(&output).contains(complaint), "{script}\nfailed for another reason\n{}", told(&output));
    }

    /// A script for bash, ready to be run.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("set -euo pipefail; {script}"));
        command.current_dir(self.at("")).env("W", self.local("")).env("HOME", self.home.path().join("home"));
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }

    /// A program for Python, in the mount's directory, which must succeed.
    #[track_caller]
    pub(crate) fn python(&self, program: &str) -> String {
        self.sh(&self.python_line(program))
    }

    /// The line of a script that runs a program for Python.
    pub(crate) fn python_line(&self, program: &str) -> String {
        let file = self.local(&format!("program-{}.py", fastrand::u64(..)));
        fs::write(&file, program).unwrap();
        format!("exec python3 {}", file.display())
    }

    /// This moment.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.service.requests().0.len())
    }

    /// What was asked for since then.
    pub(crate) fn since(&self, mark: Mark) -> Requests {
        Requests(self.service.requests().0.split_off(mark.0))
    }

    /// Everything that was asked for.
    pub(crate) fn since_start(&self) -> Requests {
        self.since(Mark(0))
    }

    /// A command of this program, for the user who has mounted.
    pub(crate) fn cli(&self) -> Command {
        let mut command = cosmount();
        command.env("HOME", self.home.path().join("home")).env("XDG_RUNTIME_DIR", self.home.path());
        command
    }

    /// The bucket, over a client that has nothing to do with the mount.
    pub(crate) fn bucket(&self) -> Bucket {
        self.service.bucket()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the mount's log\n{}", self.log());
        }
    }
}

impl Requests {
    pub(crate) fn count(&self, op: &str) -> usize {
        self.of(op).count()
    }

    pub(crate) fn of<'a>(&'a self, op: &'a str) -> impl Iterator<Item = &'a Request> {
        self.0.iter().filter(move |request| request.op == op)
    }

    /// Asserts how many there are of each operation, and that there are no others.
    #[track_caller]
    pub(crate) fn assert_are(&self, expected: &[(&str, usize)]) {
        let total: usize = expected.iter().map(|(_, count)| count).sum();
        let counts: Vec<_> = expected.iter().map(|(op, _)| (*op, self.count(op))).collect();
        assert!(counts == expected && self.0.len() == total, "{expected:?} expected, there were {:?}", self.summary());
    }

    /// How many there are of each operation.
    pub(crate) fn summary(&self) -> std::collections::BTreeMap<&str, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for request in &self.0 {
            *counts.entry(request.op.as_str()).or_default() += 1;
        }
        counts
    }
}

/// `cosmount serve` in a process of its own.
pub(crate) struct Service {
    process: Child,
    /// Where it keeps its objects, as its first arguments say.
    place: &'static [&'static str],
    endpoint: String,
    access_log: PathBuf,
}

impl Service {
    fn start(home: &Path, place: &'static [&'static str], address: &str, arguments: &[&str]) -> Service {
        let access_log = home.join("access.log");
        let mut command = cosmount();
        command.current_dir(home).arg("serve").args(place);
        command.args(["--listen", address, "--access-log"]).arg(&access_log);
        let mut process = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut greeting = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        let endpoint = greeting.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(endpoint.starts_with("http://127.0.0.1:"), "the service greets with its address: {greeting}");
        Service { process, place, endpoint, access_log }
    }

    pub(crate) fn requests(&self) -> Requests {
        let text = fs::read_to_string(&self.access_log).unwrap();
        // A line that is just being written is a line of the next look.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Requests(whole.lines().map(request_of).collect())
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Freezes it in the middle of whatever it does, until [`Service::go_on`].
    pub(crate) fn freeze(&self) {
        signal(self.process.id(), Signal::STOP);
        // Its threads go on for a moment, and may answer yet.
        let tasks = format!("/proc/{}/task", self.process.id());
        let is_stopped = |task: std::io::Result<fs::DirEntry>| {
            let status = fs::read_to_string(task.unwrap().path().join("status"));
            status.is_ok_and(|status| status.contains("State:\tT"))
        };
        eventually("the service stands still", || fs::read_dir(&tasks).unwrap().all(is_stopped));
    }

    pub(crate) fn go_on(&self) {
        signal(self.process.id(), Signal::CONT);
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn bucket(&self) -> Bucket {
        let endpoint = Endpoint::custom(&self.endpoint).unwrap();
        let credentials = Credentials { secret_id: SECRET_ID.into(), secret_key: SECRET_KEY.into(), token: None };
        let options = HttpOptions::new(endpoint, BucketName::new(DEFAULT_BUCKET).unwrap(), credentials);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Bucket { store: HttpStore::new(options).unwrap(), runtime }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn request_of(line: &str) -> Request {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    let number = |name: &str| line[name].as_u64().unwrap();
    Request {
        op: text("op"),
        key: text("key"),
        status: number("status"),
        bytes_in: number("bytes_in"),
        bytes_out: number("bytes_out"),
        fault: line["fault"].as_str().map(str::to_owned),
    }
}

/// The bucket by its own interface.
pub(crate) struct Bucket {
    store: HttpStore,
    runtime: tokio::runtime::Runtime,
}

impl Bucket {
    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        let request = GetRequest { key: ObjectKey::new(key).unwrap(), range: None, if_match: None };
        self.runtime.block_on(async {
            let reading = self.store.get(request).await.unwrap();
            let pieces: Vec<_> = reading.body.try_collect().await.unwrap();
            pieces.concat()
        })
    }

    /// Puts an object there, without any metadata.
    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        self.put_with(key, content, &cosmount::object::ObjectAttributes::default());
    }

    pub(crate) fn put_with(&self, key: &str, content: &[u8], attributes: &cosmount::object::ObjectAttributes) {
        let (key, crc64) = (ObjectKey::new(key).unwrap(), cosmount::object::Crc64::of(content));
        let put = self.run(|store| store.put(&key, content.to_vec().into(), crc64, attributes));
        put.unwrap();
    }

    /// Runs something on the client.
    pub(crate) fn run<'a, T, F: Future<Output = T>>(&'a self, call: impl FnOnce(&'a HttpStore) -> F) -> T {
        self.runtime.block_on(call(&self.store))
    }

    /// The keys, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let page = self.run(|store| store.list(cosmount::store::ListRequest::default())).unwrap();
        assert_eq!(page.next_marker, None, "a test with more keys than a page");
        page.objects.into_iter().map(|object| object.key).collect()
    }

    #[track_caller]
    pub(crate) fn assert_no_unfinished_uploads(&self) {
        let unfinished = || self.run(|store| store.list_uploads("")).unwrap();
        // Giving up goes on after the call that led to it has returned.
        eventually("no upload is unfinished", || unfinished().is_empty());
    }
}

/// `cosmount mount --foreground`.
struct Mount {
    process: Child,
    directory: PathBuf,
    log_file: PathBuf,
    /// Dropped when the mount has ended in time.
    watchdog: Option<mpsc::Sender<()>>,
}

impl Mount {
    fn start(home: &Path, endpoint: &str, arguments: &[&str], time_max: Duration) -> Mount {
        let (directory, log_file) = (home.join("mnt"), home.join("mount.log"));
        let mut command = cosmount();
        command.env("HOME", home.join("home")).env("XDG_RUNTIME_DIR", home);
        command.env("COSMOUNT_STATE_DIR", home.join("state"));
        command.args(["mount", DEFAULT_BUCKET]).arg(&directory).args(["--foreground", "--endpoint", endpoint]);
        command.arg("--log-file").arg(&log_file).args(arguments).stdout(Stdio::null());
        let lines_before = fs::read_to_string(&log_file).map_or(0, |log| log.len());
        let process = command.spawn().unwrap();
        let watchdog = Some(watch(process.id(), time_max));
        let mut mount = Mount { process, directory, log_file, watchdog };
        eventually("the mount answers", || {
            if let Some(status) = mount.process.try_wait().unwrap() {
                panic!("the mount ended with {status}\n{}", mount.log());
            }
            mount.log()[lines_before..].contains(" mounted ")
        });
        mount
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    /// Whether it ended by itself and well.
    fn end(mut self) -> bool {
        signal(self.process.id(), Signal::TERM);
        self.ends_by_itself()
    }

    fn ends_by_itself(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                self.watchdog = None;
                return status.success();
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.process.try_wait().ok().flatten().is_none() {
            // A test that fails has no time for what may never be published.
            let ended = !std::thread::panicking() && {
                signal(self.process.id(), Signal::TERM);
                self.ends_by_itself()
            };
            if !ended {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
        }
        if is_mounted(&self.directory) {
            let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
        }
    }
}

/// Kills the process after that time, unless the sender goes first.
fn watch(process: u32, time_max: Duration) -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(time_max) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test takes too long: its mount is killed");
            signal(process, Signal::KILL);
        }
    });
    alive
}

fn is_mounted(directory: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == directory.to_str())
}

/// The built binary, knowing the key and nothing else of this environment.
pub(crate) fn cosmount() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("COS_SECRETID", SECRET_ID).env("COS_SECRETKEY", SECRET_KEY).stdin(Stdio::null());
    command
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(process: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal);
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it did not come true: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Writes random bytes, the same for the same seed.
pub(crate) fn random_file(path: &Path, bytes: usize, seed: u64) {
    fs::write(path, random_bytes(bytes, seed)).unwrap();
}

pub(crate) fn random_bytes(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut content = vec![0; bytes];
    random.fill(&mut content);
    content
}

/// Asserts that two files hold the same, without printing them.
#[track_caller]
pub(crate) fn assert_same(one: &[u8], other: &[u8]) {
    // Most are the same, and are compared at once, which is quick in a debug build, too.
    if one == other {
        return;
    }
    let differs = one.iter().zip(other).position(|(a, b)| a != b);
    panic!("{} and {} bytes, the first difference at {differs:?}", one.len(), other.len());
}

/// What a program printed, both ways.
fn told(output: &Output) -> String {
    let signal = output.status.signal().map(|signal| format!("signal {signal}\n")).unwrap_or_default();
    format!("{signal}{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
