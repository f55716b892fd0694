//! Where a page runs: a machine of its own, as far as a page can tell.
//!
//! A mount namespace with a copy of `/etc`, empty directories where the guide puts something, and the program of this build
//! among the programs of everybody; a process namespace with which everything ends that the page has started. Nothing of the
//! machine changes. The service of the page is a process beside it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::{fmt, fs};

use cosmount::object::BucketName;
use cosmount::store::{HttpOptions, HttpStore};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use tempfile::TempDir;

/// The buckets that the guide is about.
pub(crate) const BUCKET: &str = "photos-1250000000";
/// One that keeps versions.
const VERSIONED_BUCKET: &str = "backup-1250000000";

/// The longest that a page may take, in seconds. Each takes less than ten where nothing else runs.
const PAGE_SECONDS_MAX: &str = "120";

/// Makes the machine of a page in the directory $1, and becomes the script $2 there.
const MACHINE: &str = r#"
set -e
stage=$1
mount -t tmpfs stage "$stage"
mkdir "$stage/etc" "$stage/home"
cp -a /etc/. "$stage/etc/"
mount --bind "$stage/etc" /etc
for programs in /usr/bin /usr/sbin; do
    upper=$stage/upper$programs; work=$stage/work$programs
    mkdir -p "$upper" "$work"
    mount -t overlay -o "lowerdir=$programs,upperdir=$upper,workdir=$work" stage "$programs"
done
# As the packages have it.
ln -sf "$COSMOUNT_PROGRAM" /usr/bin/cosmount
ln -sf "$COSMOUNT_PROGRAM" /usr/sbin/mount.cosmount
ln -sf "$COSMOUNT_PROGRAM" /usr/sbin/mount.fuse.cosmount
for directory in /mnt /srv /run /media /var/lib /var/log /var/cache; do
    [ -d "$directory" ] && mount -t tmpfs stage "$directory"
done
export HOME=$stage/home PATH=/usr/bin:$PATH
cd "$HOME"
unset COSMOUNT_PROGRAM XDG_RUNTIME_DIR XDG_STATE_HOME XDG_CONFIG_HOME
exec bash "$2" "$stage"
"#;

/// A line of the service's access log.
#[derive(Clone)]
pub(crate) struct Request {
    /// As COS calls it.
    pub(crate) operation: String,
    /// Empty where it is about the bucket.
    pub(crate) key: String,
    /// 0 where nothing was answered.
    pub(crate) status: u64,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.operation, self.key, self.status)
    }
}

/// A service and a directory for one page.
pub(crate) struct Stage {
    service: Service,
    directory: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let directory = tempfile::Builder::new().prefix("cosmount-guide.").tempdir().unwrap();
        fs::create_dir(directory.path().join("stage")).unwrap();
        Stage { service: Service::start(directory.path()), directory }
    }

    /// What there is to read and write for the script and for who has started it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The requests so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let text = fs::read_to_string(&self.service.access_log).unwrap_or_default();
        let request = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let [operation, key] = ["op", "key"].map(|field| line[field].as_str().unwrap().to_owned());
            Request { operation, key, status: line["status"].as_u64().unwrap() }
        };
        text.lines().map(request).collect()
    }

    /// Runs a script to its end, on the machine of the page.
    pub(crate) fn run(&self, script: &str) -> Output {
        let files = self.path();
        fs::write(files.join("script"), script).unwrap();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", PAGE_SECONDS_MAX, "unshare"]);
        command.args([
            "--mount",
            "--propagation=private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
        ]);
        command.arg(MACHINE).arg("stage").arg(files.join("stage")).arg(files.join("script"));
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", search_path).env("LC_ALL", "C.UTF-8").env("USER", "root");
        command
            .env("COSMOUNT_PROGRAM", env!("CARGO_BIN_EXE_cosmount"))
            .env("COSMOUNT_ENDPOINT", &self.service.endpoint);
        command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).env("ACCESS_LOG", &self.service.access_log);
        // A machine without syslog would say at each mount where its log is.
        command.env("COSMOUNT_LOG_FILE", files.join("log"));
        // git asks who somebody is, and does not like to be told by a file that is not there.
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Guide").env(format!("GIT_{role}_EMAIL"), "guide@example.com");
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The end of the log of its mounts, for who wants to know why something failed.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Whether pages can run here, with a word where they cannot.
pub(crate) fn is_possible() -> bool {
    let has_fuse = fs::metadata("/dev/fuse").is_ok_and(|device| device.file_type().is_char_device());
    let is_root = rustix::process::geteuid().is_root();
    let is_possible = has_fuse
        && is_root
        && Command::new("unshare").arg("--mount").arg("true").output().is_ok_and(|done| done.status.success());
    if !is_possible {
        say("skipped: pages of the guide run as root, with /dev/fuse and namespaces of their own");
    }
    is_possible
}

/// Writes a line to where tests show it.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

const ID: &str = "AKIDguide";
const KEY: &str = "the-key-of-the-guide";

/// `cosmount serve` for one page.
struct Service {
    process: Child,
    endpoint: String,
    access_log: PathBuf,
}

impl Service {
    fn start(directory: &Path) -> Service {
        let access_log = directory.join("access.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
        command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--access-log"]).arg(&access_log);
        command.args(["--bucket", BUCKET, "--bucket", VERSIONED_BUCKET, "--restore-delay", "1s"]);
        command.env_clear().env("HOME", directory).env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let welcome = BufReader::new(process.stdout.take().unwrap()).lines();
        // To its last line: who is not listened to any more could not write the rest.
        let last = welcome.map_while(Result::ok).find(|line| line.contains(" mount ") && line.contains("--endpoint"));
        let last = last.expect("the service says how to mount it");
        let endpoint = last.split_whitespace().find(|word| word.starts_with("http://"));
        let endpoint = endpoint.expect("the service says where it is").to_owned();
        keep_versions(&endpoint);
        Service { endpoint, process, access_log }
    }
}

/// Switches versions on, which the owner of a bucket does in the console.
fn keep_versions(endpoint: &str) {
    let credentials = Credentials { secret_id: ID.into(), secret_key: KEY.into(), token: None };
    let bucket = BucketName::new(VERSIONED_BUCKET).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = HttpStore::new(HttpOptions::new(Endpoint::custom(endpoint).unwrap(), bucket, credentials)).unwrap();
        store.set_versioning(true).await.unwrap();
    });
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
