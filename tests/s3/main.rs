//! S3 with what was not written here: mounts of moto and SeaweedFS with the tools that people use, and the local service with
//! clients of others.
//!
//! `scripts/setup` installs them. Each test has a service of its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod conventions;
mod model;
mod racing;
mod reading;
mod serving;
mod stores;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest that a service may take to begin.
const BEGINNING_MAX: Duration = Duration::from_secs(90);

const ID: &str = "AKIDofTheS3Tests";
const KEY: &str = "the-key-of-the-s3-tests";
const BUCKET: &str = "photos.of-2024";

/// What the steps of the model measure in.
mod bed {
    pub(crate) const KIB: usize = 1 << 10;
    pub(crate) const MIB: usize = 1 << 20;
}

/// A program that `scripts/setup` has installed.
fn installed(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/s3/bin").join(name);
    assert!(program.exists(), "{} is missing: run scripts/setup", program.display());
    program
}

/// A service, a bucket in it, and a place to mount that on.
struct Bed {
    service: Child,
    endpoint: String,
    home: tempfile::TempDir,
    /// What it leaves in `/tmp`, wherever its own files are.
    sockets: Vec<PathBuf>,
    /// Held by those whose service is many servers, which take long to find each other where several of them begin at once.
    #[allow(dead_code, reason = "it is held")]
    alone: Option<MutexGuard<'static, ()>>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.mount_point()).stderr(Stdio::null()).status();
        let _ = self.service.kill();
        let _ = self.service.wait();
        self.sockets.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Bed {
    fn moto() -> Bed {
        let port = free_port();
        let mut command = Command::new(installed("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Bed::of(command, port, tempfile::tempdir().unwrap(), Vec::new())
    }

    fn seaweedfs() -> Bed {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("s3.json");
        let identities = serde_json::json!({"identities": [{
            "name": "tests",
            "credentials": [{"accessKey": ID, "secretKey": KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        std::fs::write(&config, identities.to_string()).unwrap();
        std::fs::create_dir(home.path().join("data")).unwrap();
        // A bucket takes one volume and not seven.
        std::fs::write(home.path().join("master.toml"), "[master.volume_growth]\ncopy_1 = 1\n").unwrap();
        let port = free_port();
        let mut command = Command::new(installed("weed"));
        command
            .args([
                "-logtostderr",
                "server",
                "-dir=data",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                "-s3.config=s3.json",
            ])
            .args(["-master.telemetry=false", "-volume.max=100", "-master.volumeSizeLimitMB=1024", "-s3.iam=false"])
            // It would listen on one port, whoever has that.
            .arg("-s3.port.iceberg=0")
            .arg(format!("-s3.port={port}"))
            .current_dir(home.path())
            .env("TMPDIR", home.path());
        // Each of its servers speaks gRPC, too, 10,000 above, where nobody says.
        let mut sockets = vec![format!("/tmp/seaweedfs-s3-{port}.sock")];
        for server in ["master", "volume", "filer", "s3"] {
            let (own, grpc) = (free_port(), free_port());
            if server != "s3" {
                command.arg(format!("-{server}.port={own}"));
            }
            command.arg(format!("-{server}.port.grpc={grpc}"));
            sockets.push(format!("/tmp/seaweedfs-{server}-{own}.sock"));
            sockets.push(format!("/tmp/seaweedfs-{server}-grpc-{grpc}.sock"));
        }
        let sockets = sockets.into_iter().map(PathBuf::from).collect();
        // Whoever has failed with it has ended his own.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bed = Bed::of(command, port, home, sockets);
        bed.alone = Some(alone);
        bed
    }

    /// The local service.
    fn own(arguments: &[&str]) -> Bed {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
        command.args(["serve", "--in-memory", "--listen", &format!("127.0.0.1:{port}")]).args(arguments);
        command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
        Bed::of(command, port, tempfile::tempdir().unwrap(), Vec::new())
    }

    fn of(mut command: Command, port: u16, home: tempfile::TempDir, sockets: Vec<PathBuf>) -> Bed {
        let log = File::create(home.path().join("service.log")).unwrap();
        let service = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let bed = Bed { service, endpoint: format!("http://127.0.0.1:{port}"), home, sockets, alone: None };
        std::fs::create_dir(bed.mount_point()).unwrap();
        let until = Instant::now() + BEGINNING_MAX;
        // It listens before it answers.
        while TcpStream::connect(("127.0.0.1", port)).is_err() || !bed.python("make", "").status.success() {
            assert!(Instant::now() < until, "the service does not begin: {}", bed.log("service.log"));
            std::thread::sleep(Duration::from_millis(300));
        }
        bed
    }

    fn mount_point(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    fn with_keys<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", KEY).env("HOME", self.home.path())
    }

    fn python(&self, what: &str, directory: &str) -> std::process::Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/check.py");
        let mut command = Command::new(installed("python3"));
        command.args([script, what, &self.endpoint, BUCKET, directory]);
        self.with_keys(&mut command).output().unwrap()
    }

    fn program(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
        let output = self.with_keys(command.args(arguments).current_dir(self.home.path())).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn mount(&self) {
        let options = ["--s3", "--endpoint", &self.endpoint, "--part-size", "5MiB", "--log-file", "log"];
        self.program(&[&["mount", BUCKET, "mnt"], &options[..]].concat());
    }

    fn unmount(&self) {
        self.program(&["unmount", "mnt"]);
    }

    /// Runs a script in the mount.
    fn sh(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.mount_point()).env("W", self.home.path());
        let output = command.env("HOME", self.home.path()).output().unwrap();
        let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{told}\n{error}\n--- log\n{}", self.log("log"));
        told.into_owned()
    }
}

/// What people do, and what another client makes of it.
fn tools_work_on(bed: &Bed) {
    bed.mount();
    assert_eq!(
        bed.sh("cd others; ls; stat -c '%a %u %g %Y' 's3fs file'; cat plain '+%25?'"),
        "+%25?\nplain\ns3fs file\n640 7 8 1700000000\nplainstrange"
    );
    bed.sh("
        head -c 30000000 /dev/urandom > $W/large; mkdir -p $W/tree/d/e 'sub dir'
        for n in $(seq 40); do head -c $((n * 3000)) /dev/urandom > $W/tree/d/f$n; done; ln -s d/f1 $W/tree/link
        cp $W/large large; cmp $W/large large; cp $W/large 'sub dir/ä+b?c'; mv 'sub dir/ä+b?c' moved; cmp $W/large moved
        rsync -a $W/tree/ synced/; rsync -ain $W/tree/ synced/ > $W/again; ! [ -s $W/again ]
        tar cf a.tar -C $W tree; mkdir untarred; tar xf a.tar -C untarred; diff -r $W/tree untarred/tree
        mv synced away; diff -r $W/tree away; [ $(readlink away/link) = d/f1 ]; chmod 640 away/d/f2; rm away/d/f3
        sed -i s/^/x/ others/plain; [ $(cat others/plain) = xplain ]
        printf changed | dd of=large bs=1 seek=12345678 conv=notrunc status=none
        printf changed | dd of=$W/large bs=1 seek=12345678 conv=notrunc status=none
        printf more >> large; printf more >> $W/large; cmp $W/large large
        truncate -s 20000000 moved; [ $(stat -c %s moved) = 20000000 ]
        rm -r untarred; ! test -e untarred; mkdir empty; rmdir empty; touch none
    ");
    bed.sh("
        export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q repo; cd repo; for n in $(seq 20); do echo $n > f$n; done; git add .; git commit -q -m first
        git mv f1 g1; git commit -q -a -m second; git gc -q; git fsck --strict; [ $(git log --oneline | wc -l) = 2 ]
        if command -v sqlite3 > /dev/null; then
            sqlite3 ../db 'create table t (x); insert into t values (1), (2); pragma integrity_check;'; [ $(sqlite3 ../db 'select sum(x) from t') = 3 ]
        fi");
    bed.unmount();
    bed.mount();
    bed.sh("cmp $W/large large; diff -r --exclude=f3 $W/tree away; git -C repo fsck --strict; [ $(stat -c %a away/d/f2) = 640 ]");
    let checked = bed.python("check", bed.mount_point().to_str().unwrap());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    bed.sh("rm -rf away repo large moved a.tar db none 'sub dir' others; ls -A; [ -z \"$(ls -A)\" ]");
    bed.unmount();
    let log = bed.log("log");
    assert!(!log.contains(KEY) && !log.contains("ERROR"), "{log}");
}

#[test]
fn tools_work_on_the_local_service() {
    tools_work_on(&Bed::own(&[]));
}

#[test]
fn tools_work_on_moto() {
    tools_work_on(&Bed::moto());
}

#[test]
fn tools_work_on_seaweedfs() {
    tools_work_on(&Bed::seaweedfs());
}
