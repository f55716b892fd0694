//! Mounts that somebody with more privilege has made: `cosmount mount BUCKET /dev/fd/N` by a user who may do nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::bed::{BUCKET, Done, Home, ID, KEY, Running, Service, eventually, has_ended, open_file};

/// Who serves the mount: nobody, as most systems number it.
const USER: u32 = 65534;

/// Opens the device, mounts, and runs what follows as a user without any privilege, with nothing but the descriptor.
const PRIVILEGED: &str = "set -e; exec 3<>/dev/fuse
    mount -i -t fuse.cosmount -o fd=3,rootmode=40000,user_id=65534,group_id=65534,default_permissions,allow_other \"$1\" \"$2\"
    shift 2
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --no-new-privs -- \"$@\"";

/// A home that the user may look into, with a directory of the user's own; `None` where nothing can be mounted for others.
fn home() -> Option<Home> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let home = Home::new();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(own(&home)).unwrap();
    fs::set_permissions(own(&home), fs::Permissions::from_mode(0o700)).unwrap();
    chown(own(&home), Some(USER), Some(USER)).unwrap();
    Some(home)
}

fn own(home: &Home) -> PathBuf {
    home.path().join("own")
}

/// What the user's programs have for an environment.
fn settle(home: &Home, command: &mut Command) {
    home.settle(command);
    command.env("HOME", own(home)).env("COSMOUNT_STATE_DIR", own(home).join("state"));
    command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
}

/// The privileged helper, about to run `cosmount mount` for a mount that it has made.
fn helper(home: &Home, service: &Service, before: &str, more: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{before}{PRIVILEGED}"), "bash", BUCKET]).arg(home.mount_point());
    command.arg(env!("CARGO_BIN_EXE_cosmount")).args(["mount", BUCKET, "/dev/fd/3", "--endpoint", &service.endpoint]);
    command.arg("--log-file").arg(own(home).join("log")).args(more);
    settle(home, &mut command);
    command
}

fn foreground(home: &Home, service: &Service, before: &str) -> Running {
    let mut command = helper(home, service, before, &["--foreground"]);
    let process = Running(command.stderr(Stdio::inherit()).spawn().unwrap());
    eventually("the mount answers", || log(home).contains("mounted").then_some(()));
    process
}

fn log(home: &Home) -> String {
    fs::read_to_string(own(home).join("log")).unwrap_or_default()
}

/// A command of the user who serves the mount.
fn as_user(home: &Home, arguments: &[&str]) -> Done {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", env!("CARGO_BIN_EXE_cosmount")]);
    command.args(arguments);
    settle(home, &mut command);
    Done::of(command.output().unwrap())
}

fn umount(home: &Home, flags: &[&str]) {
    assert!(Command::new("umount").args(flags).arg(home.mount_point()).status().unwrap().success());
}

#[test]
fn a_user_without_privileges_serves_a_mount_that_root_has_made() {
    let Some(home) = home() else { return };
    let service = Service::start(&home);
    let mut process = foreground(&home, &service, "");
    let status = fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    for line in ["Uid:\t65534\t65534", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}\n{status}");
    }
    let file = home.mount_point().join("a.txt");
    fs::write(&file, "of root\n").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "of root\n");
    assert_eq!(fs::metadata(home.mount_point()).unwrap().uid(), USER);
    // It is known by the directory that it is on, because that can be seen here.
    let mounted = home.mount_point().to_str().unwrap().to_owned();
    let shown = as_user(&home, &["status", &mounted]);
    assert!(shown.code == Some(0) && shown.stdout.contains(&mounted), "{shown:?}");
    as_user(&home, &["sync", &mounted]).succeeded();
    umount(&home, &[]);
    assert_eq!(process.ended(), Some(0), "{}", log(&home));
    assert!(service.requests().contains(&"PutObject a.txt".to_owned()), "{:?}", service.requests());
}

#[test]
fn what_is_open_is_published_before_the_process_ends_and_the_mount_is_left_to_who_made_it() {
    let Some(home) = home() else { return };
    let service = Service::start(&home);
    let mut process = foreground(&home, &service, "");
    let mut writer = open_file(&home, "open.bin");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0), "{}", log(&home));
    assert!(home.is_mounted(), "it is not this process's to unmount");
    assert!(log(&home).contains("open.bin: published as it is"), "{}", log(&home));
    assert!(fs::read_dir(home.mount_point()).is_err_and(|error| error.raw_os_error() == Some(107)), "ENOTCONN");
    writer.0.kill().unwrap();
    home.run(&["unmount", "--dead", "mnt"]);
    assert!(!home.is_mounted());
}

#[test]
fn a_daemon_keeps_the_descriptor() {
    let Some(home) = home() else { return };
    let service = Service::start(&home);
    Done::of(helper(&home, &service, "", &[]).output().unwrap()).succeeded();
    fs::write(home.mount_point().join("b.txt"), "x").unwrap();
    let daemon = eventually("a daemon", || {
        let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let has = |pid: &String| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("--daemon") && line.contains("/dev/fd/3") && line.contains(&service.endpoint)
        };
        entries.filter(has).find_map(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw)
    });
    umount(&home, &[]);
    eventually("the daemon ends", || has_ended(daemon).then_some(()));
    assert!(service.requests().contains(&"PutObject b.txt".to_owned()));
}

/// As in a container: the mount is in another one.
#[test]
fn a_mount_that_its_process_cannot_see_is_known_by_the_descriptor() {
    let Some(home) = home() else { return };
    let service = Service::start(&home);
    // What comes after `shift 2` runs where the mount is not.
    let mut command = helper(&home, &service, "", &["--foreground"]);
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let hidden = PRIVILEGED.replace("shift 2", "M=$2; shift 2").replace(
        "exec setpriv",
        "exec unshare --mount --propagation private sh -c 'umount -l \"$1\"; shift; exec \"$@\"' sh \"$M\" setpriv",
    );
    command = Command::new("bash");
    command.args(["-c", &hidden]).args(&arguments[2..]);
    settle(&home, &mut command);
    let mut process = Running(command.spawn().unwrap());
    eventually("the mount answers", || log(&home).contains("mounted").then_some(()));
    assert!(log(&home).contains("on /dev/fd/3"), "{}", log(&home));
    fs::write(home.mount_point().join("c.txt"), "x").unwrap();
    let shown = as_user(&home, &["status", "/dev/fd/3"]);
    assert!(shown.code == Some(0) && shown.stdout.contains("/dev/fd/3"), "{shown:?}");
    // Asked to unmount, it publishes and ends, which is all that it can do.
    as_user(&home, &["unmount", "/dev/fd/3"]).succeeded();
    assert_eq!(process.ended(), Some(0));
    umount(&home, &["-l"]);
}

#[test]
fn a_number_that_is_no_mount_is_refused() {
    let home = Home::new();
    let service = Service::start(&home);
    let refused = |number: &str, told: &str| {
        let mut command = home.program();
        command.args(["mount", BUCKET, number, "--foreground", "--log-file", "log", "--endpoint", &service.endpoint]);
        command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
        Done::of(command.output().unwrap()).failed(4, told);
    };
    refused("/dev/fd/0", "it is standard input, output or error");
    refused("/dev/fd/4711", "this process was started without such a descriptor; give the number of a descriptor");
    assert!(service.requests().is_empty(), "nobody was asked");
}

/// Without a container: what it would start.
fn container(home: &Home, service: &Service, directory: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_cosmount"));
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/container/entrypoint"));
    home.settle(&mut command);
    let search_path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    command.env("PATH", search_path).env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).env_remove("COSMOUNT_STATE_DIR");
    command.env("SOURCE", BUCKET).env("DIR", directory).env("STATE", own(home)).env("RUN_AS", USER.to_string());
    command.env("OPTIONS", format!("endpoint={},log_file={}", service.endpoint, own(home).join("log").display()));
    command
}

#[test]
fn a_container_serves_its_mount_without_privileges_and_takes_it_away_at_its_end() {
    let Some(home) = home() else { return };
    let service = Service::start(&home);
    fs::set_permissions(own(&home), fs::Permissions::from_mode(0o755)).unwrap();
    let directory = home.mount_point().to_str().unwrap().to_owned();
    for turn in ["first", "second"] {
        let mut entrypoint = Running(container(&home, &service, &directory).spawn().unwrap());
        eventually("the mount answers", || log(&home).contains(&format!("mounted {BUCKET} on")).then_some(()));
        let file = home.mount_point().join(turn);
        fs::write(&file, turn).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), turn);
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "of who made it");
        entrypoint.signal(Signal::TERM);
        assert_eq!(entrypoint.ended(), Some(0), "{}", log(&home));
        assert!(!home.is_mounted(), "it is taken away");
        assert!(service.requests().contains(&format!("PutObject {turn}")), "{:?}", service.requests());
        fs::remove_file(own(&home).join("log")).unwrap();
    }
    // Another command of the program, as `docker run cosmount doctor ...`.
    let mut command = container(&home, &service, "");
    let done = Done::of(command.arg("--version").output().unwrap());
    assert!(done.code == Some(0) && done.stdout.starts_with("cosmount "), "{done:?}");
    let done = Done::of(container(&home, &service, "").output().unwrap());
    assert!(done.code != Some(0) && done.stderr.contains("name where to mount it"), "{done:?}");
    let done = Done::of(container(&home, &service, "/dev/fd/9").output().unwrap());
    assert_eq!(done.code, Some(4), "{done:?}");
}
