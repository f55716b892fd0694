//! `cosmount mount`: the daemon, where options come from, and the mount that brings its own service.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::bed::{BUCKET, Done, Home, ID, KEY, Service, eventually};

#[test]
fn mount_returns_once_the_mount_answers() {
    let home = Home::new();
    // Every answer of the service takes its time, so that returning too early would be seen.
    let service = Service::with(&home, &["--latency-ms", "300"]);
    home.mounted(&service, &[]);
    assert!(home.is_mounted());
    assert_eq!(fs::read_dir(home.mount_point()).unwrap().count(), 0);
    assert_eq!(service.requests(), ["HeadBucket ", "HeadObject .cosmount-root", "ListObjects "]);
    home.unmount().succeeded();
    assert!(!home.is_mounted());
}

/// A lock that a script holds is free when the script has ended, and a pipe comes to its end.
#[test]
fn the_daemon_keeps_nothing_that_its_caller_has_open() {
    let home = Home::new();
    let service = Service::start(&home);
    let mount = home.mount(&service, &[]);
    let mut shell = Command::new("bash");
    shell.args(["-c", "exec 9> lock; \"$@\"", "bash"]).arg(mount.get_program()).args(mount.get_args());
    home.settle(&mut shell);
    shell.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
    Done::of(shell.output().unwrap()).succeeded();
    let open = fs::read_dir(format!("/proc/{}/fd", home.daemon().as_raw_nonzero())).unwrap();
    let paths: Vec<_> = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
    home.unmount().succeeded();
    assert!(!paths.is_empty() && !paths.contains(&home.path().join("lock")), "{paths:?}");
}

#[test]
fn no_secret_is_in_the_command_line_or_the_log() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--log-file", "log", "--log-level", "trace"]);
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    let line = fs::read_to_string(format!("/proc/{}/cmdline", home.daemon().as_raw_nonzero())).unwrap();
    home.unmount().succeeded();
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("using the id AKIDtest from environment (COS_SECRETID)"), "{log}");
    assert!(log.contains("published"), "{log}");
    assert!(!line.contains(KEY) && !log.contains(KEY));
}

#[test]
fn each_source_of_options_goes_over_the_one_below() {
    let home = Home::new();
    let service = Service::start(&home);
    let first_part_bytes = |variables: &[(&str, &str)], more: &[&str]| {
        let before = service.parts().len();
        let mut command = home.mount(&service, more);
        Done::of(command.envs(variables.iter().copied()).output().unwrap()).succeeded();
        fs::write(home.mount_point().join("f"), vec![7; 9 << 20]).unwrap();
        home.unmount().succeeded();
        // A line of the access log may come after the answer.
        let first = || service.parts().split_off(before).into_iter().find(|(number, _)| *number == 1);
        eventually("the first part is in the access log", first).1 >> 20
    };
    assert_eq!(first_part_bytes(&[], &[]), 8);
    home.write(".config/cosmount/config.toml", "part_size = '2MiB'\n", 0o644);
    assert_eq!(first_part_bytes(&[], &[]), 2);
    let variable = [("COSMOUNT_PART_SIZE", "3M")];
    assert_eq!(first_part_bytes(&variable, &[]), 3);
    assert_eq!(first_part_bytes(&variable, &["-o", "noatime,part_size=4M,_netdev"]), 4);
    assert_eq!(first_part_bytes(&variable, &["-o", "part_size=4M", "--part-size", "5MiB"]), 5);
}

#[test]
fn credentials_come_from_the_files_of_other_tools() {
    let home = Home::new();
    let service = Service::start(&home);
    let mounts = |arguments: &[&str]| {
        home.run(&[&["mount"], arguments].concat()).succeeded();
        home.unmount().succeeded();
    };
    let host = service.endpoint.strip_prefix("http://").unwrap();
    let coscmd = format!(
        "[common]\nsecret_id = {ID}\nsecret_key = {KEY}\nbucket = {BUCKET}\nendpoint = {host}\nschema = http\n"
    );
    let file = home.write(".cos.conf", &coscmd, 0o644);
    mounts(&["mnt"]);
    home.run(&["mount", ":/some/where", "mnt"]).warned("there is nothing below some/where/ in local-1250000000 yet");
    home.unmount().succeeded();
    fs::remove_file(file).unwrap();

    let named = ["--endpoint", &service.endpoint];
    let file = home.write(".passwd-cosfs", &format!("{BUCKET}:{ID}:{KEY}\n"), 0o600);
    mounts(&[&[BUCKET, "mnt"], &named[..]].concat());
    fs::remove_file(file).unwrap();

    home.write("key", &format!("COSAccessKeyId={ID}\nCOSSecretKey={KEY}\n"), 0o600);
    mounts(&[&[BUCKET, "mnt", "--passwd-file", "key"], &named[..]].concat());
    // As mount(8) calls for a line in fstab.
    let options = format!("rw,_netdev,noatime,uid=7,endpoint={},credentials_file=key", service.endpoint);
    home.run(&[BUCKET, "mnt", "-o", &options]).succeeded();
    assert_eq!(fs::metadata(home.mount_point()).unwrap().uid(), 7);
    home.unmount().succeeded();
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["-o", "ro"]);
    let error = fs::write(home.mount_point().join("a"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    home.unmount().succeeded();
}

#[test]
fn a_local_mount_brings_its_service_and_keeps_the_data() {
    let home = Home::new();
    let local = ["mount", "--local", "data", "mnt"];
    home.run(&local).succeeded();
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    home.unmount().succeeded();
    assert!(!home.mount_point().join("a").exists());
    home.run(&local).succeeded();
    assert_eq!(fs::read_to_string(home.mount_point().join("a")).unwrap(), "hello");
    home.unmount().succeeded();
}

/// Root's `/dev/fuse` may be closed to others, so the user gets one of their own in a namespace that ends with the test.
#[test]
fn an_ordinary_user_mounts_and_unmounts() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_cosmount");
    let as_user = format!(
        "set -e
         {program} mount --local data mnt
         echo hello > mnt/a; cat mnt/a; ls -ln mnt
         stat -c \"memory of %u\" /proc/$(pgrep -f \"mount --daemon $PWD/mnt\")/mem
         {program} unmount mnt
         ! mountpoint -q mnt"
    );
    let become_user = format!(
        "set -e
         mknod -m 666 fuse c 10 229 && mount --bind fuse /dev/fuse
         chown -R 65534:65534 . && chmod 755 .
         exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '{as_user}'"
    );
    let user_id = rustix::process::geteuid();
    let (mut command, script, shown) = match user_id.is_root() {
        true => (Command::new("unshare"), become_user, 65534),
        false => (Command::new("env"), as_user, user_id.as_raw()),
    };
    if user_id.is_root() {
        command.arg("--mount");
    }
    command.args(["sh", "-c", &script]);
    home.settle(&mut command);
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    // What the kernel makes root's own it writes no core of, and lets nobody else look at.
    assert!(done.stdout.contains("memory of 0\n"), "{done:?}");
    assert!(done.stdout.contains("hello\n") && done.stdout.contains(&format!(" {shown} ")), "{done:?}");
}

#[test]
fn what_is_asked_for_and_not_done_is_said_on_the_terminal() {
    let home = Home::new();
    let service = Service::start(&home);
    home.write("mnt/hidden", "x", 0o644);
    let mounts = |more: &[&str], told: &str| {
        Done::of(home.mount(&service, more).output().unwrap()).warned(told);
        home.unmount().succeeded();
    };
    mounts(&[], "mnt is not empty: what is in it is hidden while the bucket is mounted");
    fs::remove_file(home.mount_point().join("hidden")).unwrap();
    mounts(&["--part-size", "64M", "--memory", "64M"], "part_size 64MiB is above an eighth of the memory, 64MiB");
}

#[test]
fn a_prefix_that_is_a_file_is_not_mounted() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    fs::write(home.mount_point().join("file"), "x").unwrap();
    home.unmount().succeeded();
    let mut command = home.program();
    command.args(["mount", &format!("{BUCKET}:/file"), "mnt", "--endpoint", &service.endpoint]);
    command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
    Done::of(command.output().unwrap()).failed(2, "file is a file of local-1250000000, and only a bucket or a prefix");
}

/// `findmnt`, `mount` and systemd find a mount by its type, whoever has made it, and may change whether it can be written.
#[test]
fn a_mount_has_the_type_of_this_program_and_can_be_made_read_only() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let mount_point = home.mount_point();
    let found = Command::new("findmnt").args(["-n", "-t", "fuse.cosmount", "-o", "SOURCE"]).arg(&mount_point).output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap().trim(), BUCKET);
    if rustix::process::geteuid().is_root() {
        // As mount(8) calls this program for `mount -o remount,ro`.
        let remount = |options: &str| home.run(&[BUCKET, "mnt", "-o", options]).succeeded();
        remount("remount,ro,nosuid,nodev");
        let error = fs::write(mount_point.join("a"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        remount("remount,rw");
        fs::write(mount_point.join("a"), "x").unwrap();
    }
    home.unmount().succeeded();
}

/// mount(8) lets an ordinary user's mount be made without HOME and PATH, which it takes away.
#[test]
fn an_ordinary_user_mounts_without_the_variables_that_mount_8_takes_away() {
    // tests/packaging/debian does the same with a device that others may open.
    let is_for_others = fs::metadata("/dev/fuse").is_ok_and(|device| device.mode() & 0o006 == 0o006);
    if !rustix::process::geteuid().is_root() || !is_for_others {
        return;
    }
    let home = Home::new();
    let service = Service::start(&home);
    let user = "65534";
    for directory in [home.path(), &home.mount_point()] {
        std::os::unix::fs::chown(directory, Some(65534), Some(65534)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
        env!("CARGO_BIN_EXE_cosmount"),
        BUCKET,
        "mnt",
        "-o",
    ]);
    command
        .arg(format!("rw,noexec,nosuid,nodev,user=nobody,log_file=log,state_dir=state,endpoint={}", service.endpoint));
    command.env_clear().env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).current_dir(home.path());
    Done::of(command.output().unwrap()).succeeded();
    assert!(home.is_mounted());
    assert!(Command::new("umount").arg(home.mount_point()).status().unwrap().success());
}
