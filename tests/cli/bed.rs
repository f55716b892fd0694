//! A home of its own for each test, the program as people run it, and guards that leave no mount and no process behind.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cosmount::object::BucketName;
use cosmount::store::{HttpOptions, HttpStore};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const BUCKET: &str = "local-1250000000";
pub(crate) const ID: &str = "AKIDtest";
pub(crate) const KEY: &str = "the-key-of-the-tests";

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A home directory with a mount point in it. Nothing of the machine's own configuration reaches the program.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Home {
        let home = Home { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(home.mount_point()).unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn mount_point(&self) -> PathBuf {
        self.path().join("mnt")
    }

    /// Writes a file of the given mode, and its directories.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// The program, with this home and no other environment.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
        self.settle(&mut command);
        command
    }

    /// Gives a command this home and no other environment.
    pub(crate) fn settle(&self, command: &mut Command) {
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", search_path).env("HOME", self.path()).current_dir(self.path());
        command.env("COSMOUNT_STATE_DIR", self.path().join("state"));
    }

    /// Runs the program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        Done::of(self.program().args(arguments).output().unwrap())
    }

    /// The arguments that mount a service's bucket here, with its key in the environment.
    pub(crate) fn mount(&self, service: &Service, more: &[&str]) -> Command {
        let mut command = self.program();
        command.args(["mount", BUCKET, "mnt", "--endpoint", &service.endpoint]).args(more);
        command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
        command
    }

    /// Mounts in the background, as people do.
    pub(crate) fn mounted(&self, service: &Service, more: &[&str]) {
        Done::of(self.mount(service, more).output().unwrap()).succeeded();
    }

    pub(crate) fn unmount(&self) -> Done {
        self.run(&["unmount", "mnt"])
    }

    pub(crate) fn is_mounted(&self) -> bool {
        is_mounted(&self.mount_point())
    }

    /// The process that serves the mount.
    pub(crate) fn daemon(&self) -> Pid {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        // Nothing else of such a process can be read by its user.
        let mount_point = self.mount_point().into_os_string().into_encoded_bytes();
        let ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let has = |wanted: &[u8]| line.split(|byte| *byte == 0).any(|word| word == wanted);
            has(b"--daemon") && has(&mount_point)
        };
        let daemon = processes.filter_map(|name| name.parse::<i32>().ok()).find(ours);
        Pid::from_raw(daemon.expect("a daemon runs")).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Lazily, so that a test that failed with files open is not held up by its own mount.
        let mount_point = self.mount_point();
        while is_mounted(&mount_point) {
            let detached = Command::new("fusermount3").args(["-u", "-z"]).arg(&mount_point).status();
            if !detached.is_ok_and(|status| status.success()) {
                break;
            }
        }
    }
}

fn is_mounted(mount_point: &Path) -> bool {
    let mount_point = mount_point.to_str().unwrap();
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().any(|line| line.split(' ').nth(1) == Some(mount_point))
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Done {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn succeeded(self) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stderr, "", "a success is silent");
    }

    /// Succeeded with one sentence of warning that holds `told`.
    #[track_caller]
    pub(crate) fn warned(self, told: &str) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert!(self.stderr.starts_with("cosmount: warning: ") && self.stderr.contains(told), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
    }

    /// Failed with this code and one sentence that holds `told`.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, told: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("cosmount: ") && self.stderr.contains(told), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
    }
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for its end and gives its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        eventually("the process ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `cosmount serve` in a process of its own, in memory.
pub(crate) struct Service {
    process: Running,
    pub(crate) endpoint: String,
    access_log: PathBuf,
}

impl Service {
    pub(crate) fn start(home: &Home) -> Service {
        Service::with(home, &[])
    }

    pub(crate) fn with(home: &Home, more: &[&str]) -> Service {
        Service::serving(home, "127.0.0.1:0", KEY, more)
    }

    /// A service at an address where another one has just ended.
    pub(crate) fn at(home: &Home, address: &str, key: &str) -> Service {
        Service::serving(home, address, key, &[])
    }

    fn serving(home: &Home, address: &str, key: &str, more: &[&str]) -> Service {
        let access_log = home.path().join("access.log");
        let mut command = home.program();
        command.args(["serve", "--in-memory", "--listen", address, "--access-log"]).arg(&access_log).args(more);
        command.env("COS_SECRETID", ID).env("COS_SECRETKEY", key);
        let (process, welcome) = serve(command);
        let endpoint = welcome.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Service { process, endpoint, access_log }
    }

    /// Asks it for something as another client, with the key of the tests.
    pub(crate) fn ask<T>(&self, ask: impl AsyncFnOnce(HttpStore) -> T) -> T {
        let credentials = Credentials { secret_id: ID.into(), secret_key: KEY.into(), token: None };
        let endpoint = Endpoint::custom(&self.endpoint).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = HttpOptions::new(endpoint, BucketName::new(BUCKET).unwrap(), credentials);
            ask(HttpStore::new(options).unwrap()).await
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The access log so far. There is no file before the first request.
    fn log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.access_log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Operations and keys of all requests so far, as `PutObject a.txt`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let lines = self.log().into_iter();
        lines.map(|line| format!("{} {}", line["op"].as_str().unwrap(), line["key"].as_str().unwrap())).collect()
    }

    /// The parts so far, as (number, bytes), in the order of the log.
    pub(crate) fn parts(&self) -> Vec<(u64, u64)> {
        self.log()
            .iter()
            .filter(|line| line["op"] == "UploadPart")
            .map(|line| (line["part"].as_u64().unwrap(), line["bytes_in"].as_u64().unwrap()))
            .collect()
    }
}

/// Mounts in the foreground.
pub(crate) fn foreground(home: &Home, service: &Service, more: &[&str]) -> Running {
    let mut command = home.mount(service, &[&["--foreground", "--log-file", "log"], more].concat());
    let process = Running(command.stderr(Stdio::null()).spawn().unwrap());
    eventually("the mount answers", || home.is_mounted().then_some(()));
    process
}

/// A device that everybody may open, as on the machines of most people, and another user than root.
pub(crate) const AS_NOBODY: &str =
    "rm -rf fuse; mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse; chown -R 65534:65534 .; chmod 755 .
    AS='setpriv --reuid=65534 --regid=65534 --clear-groups'";

/// A process that has written a file and keeps it open. Not this one: every command that it starts would close its copy
/// of the file, and each close publishes.
pub(crate) fn open_file(home: &Home, name: &str) -> Running {
    let script = "import sys\n\
                  file = open(sys.argv[1], 'wb', buffering=0)\n\
                  file.write(b'\\x07' * (3 << 20))\n\
                  print('written', flush=True)\n\
                  sys.stdin.read()";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(home.mount_point().join(name));
    let mut process = Running(python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut written = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut written).unwrap();
    assert_eq!(written, "written\n");
    process
}

/// Starts `cosmount serve` and returns what it prints at its start.
pub(crate) fn serve(mut command: Command) -> (Running, String) {
    let mut process = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut welcome = String::new();
    for line in BufReader::new(process.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap() + "\n";
        welcome.push_str(&line);
        if line.contains(" mount ") && line.contains("--endpoint") {
            return (process, welcome);
        }
    }
    panic!("serve said {welcome:?} and ended");
}

/// Whether a process has ended; one that nobody has waited for counts.
pub(crate) fn has_ended(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
}

/// Polls something that another process brings about.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What somebody sees on a terminal of so many columns.
pub(crate) fn on_terminal(home: &Home, columns: usize, variables: &[(&str, &str)], arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_cosmount");
    let mut script = Command::new("script");
    home.settle(&mut script);
    script.args(["-qec", &format!("stty cols {columns} rows 40; {program} {arguments}"), "/dev/null"]);
    script.env("TERM", "xterm-256color").envs(variables.iter().copied()).stdin(Stdio::null());
    let done = Done::of(script.output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}
