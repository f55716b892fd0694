//! The end of a mount: what is open is published, what could not be is named, and nothing is left behind.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::bed::{
    AS_NOBODY, BUCKET, Done, Home, ID, KEY, Service, eventually, foreground, has_ended, on_terminal, open_file,
};

const BODY: &[u8] = &[7; 3 << 20];

#[test]
fn unmount_publishes_what_is_open_and_waits_for_the_daemon() {
    let home = Home::new();
    let service = Service::with(&home, &["--latency-ms", "300"]);
    home.mounted(&service, &[]);
    let daemon = home.daemon();
    let _open = open_file(&home, "open.bin");
    assert!(!service.requests().contains(&"PutObject open.bin".to_owned()), "nothing is published before");

    let told = home.unmount();
    assert_eq!(told.code, Some(0), "{told:?}");
    let told: Vec<&str> = told.stderr.lines().filter(|line| line.contains("open.bin")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("open.bin is published as it is, though a program still had it open"), "{told:?}");
    assert!(service.requests().contains(&"PutObject open.bin".to_owned()), "{:?}", service.requests());
    assert!(has_ended(daemon) && !home.is_mounted());
    home.mounted(&service, &[]);
    assert_eq!(fs::read(home.mount_point().join("open.bin")).unwrap(), BODY);
    home.unmount().succeeded();
}

#[test]
fn unmount_names_what_could_not_be_published() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--unmount-timeout", "1s", "--log-file", "log"]);
    let _open = open_file(&home, "lost.bin");
    drop(service);
    let began = Instant::now();
    home.unmount().failed(5, "mnt is unmounted, but this could not be published: lost.bin: ");
    assert!(began.elapsed() < Duration::from_secs(10), "the deadline is kept: {:?}", began.elapsed());
    assert!(!home.is_mounted());
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("not published: lost.bin: "), "{log}");
}

#[test]
fn signals_publish_what_is_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let service = Service::start(&home);
        let mut mount = foreground(&home, &service, &[]);
        let _open = open_file(&home, "open.bin");
        mount.signal(signal);
        assert_eq!(mount.ended(), Some(0), "{signal:?}");
        assert!(service.requests().contains(&"PutObject open.bin".to_owned()), "{:?}", service.requests());
        assert!(!home.is_mounted());
    }
}

#[test]
fn a_signal_ends_a_mount_that_cannot_publish_within_its_deadline() {
    let home = Home::new();
    let service = Service::start(&home);
    let mut mount = foreground(&home, &service, &["--unmount-timeout", "500ms"]);
    let _open = open_file(&home, "lost.bin");
    drop(service);
    mount.signal(Signal::TERM);
    assert_eq!(mount.ended(), Some(5));
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("not published: lost.bin: "), "{log}");
}

#[test]
fn a_mount_that_somebody_else_unmounts_ends_by_itself() {
    let home = Home::new();
    let service = Service::start(&home);
    let mut mount = foreground(&home, &service, &[]);
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    let unmounted = Command::new("fusermount3").arg("-u").arg(home.mount_point()).output().unwrap();
    Done::of(unmounted).succeeded();
    assert_eq!(mount.ended(), Some(0));
}

/// The first is publishing yet when the second is there.
#[test]
fn a_mount_that_somebody_else_unmounts_leaves_the_next_one_alone() {
    let home = Home::new();
    let (slow, service) = (Service::with(&home, &["--latency-ms", "3000"]), Service::start(&home));
    let mut first = foreground(&home, &slow, &[]);
    // Closed, and waits for its name.
    fs::write(home.mount_point().join("a.tmp"), "hello").unwrap();
    let unmounted = Command::new("fusermount3").arg("-u").arg(home.mount_point()).output().unwrap();
    Done::of(unmounted).succeeded();
    home.mounted(&service, &[]);
    assert_eq!(first.ended(), Some(0));
    assert!(home.is_mounted());
    fs::write(home.mount_point().join("b"), "hello").unwrap();
    home.unmount().succeeded();
}

#[test]
fn unmount_cleans_up_after_a_daemon_that_was_killed() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let daemon = home.daemon();
    kill_process(daemon, Signal::KILL).unwrap();
    // The kernel lets go of the connection when the last of its threads has ended.
    let is_dead = || rustix::fs::statfs(home.mount_point()).is_err_and(|error| error == rustix::io::Errno::NOTCONN);
    eventually("the mount is dead", || is_dead().then_some(()));
    assert!(home.is_mounted(), "a dead mount stays");
    Done::of(home.mount(&service, &[]).output().unwrap())
        .failed(4, "is a mount whose process has ended; clean it up with: cosmount unmount");

    let done = home.unmount();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert!(done.stdout.contains("whose process had ended"), "{done:?}");
    assert!(!home.is_mounted());
    home.mounted(&service, &[]);
    home.unmount().succeeded();
}

/// An ordinary user's mount goes by `fusermount3`, which may refuse; what was written is in the bucket all the same.
#[test]
fn a_mount_that_cannot_be_taken_away_is_a_failure_that_says_so() {
    if !rustix::process::geteuid().is_root() {
        // Without root nobody makes a device or becomes somebody else.
        return;
    }
    let home = Home::new();
    let service = Service::start(&home);
    // What it says of unmounting, and what it does of mounting.
    let helper = "#!/bin/sh\ncase $1 in -u) echo 'fusermount3: not today' >&2; exit 1;; esac\nexec /usr/bin/fusermount3 \"$@\"\n";
    home.write("helpers/fusermount3", helper, 0o755);
    let program = env!("CARGO_BIN_EXE_cosmount");
    let script = format!(
        "set -e\n{AS_NOBODY}\nchown root helpers/fusermount3; chmod 4755 helpers/fusermount3\nPATH=$PWD/helpers:$PATH\n\
         $AS {program} mount {BUCKET} mnt --endpoint {} --log-file log\n\
         $AS sh -c 'echo hello > mnt/note'\n\
         exec $AS {program} unmount mnt",
        service.endpoint
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    home.settle(&mut command);
    command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
    let shown = home.mount_point().display().to_string();
    let told = format!(
        "everything is published, but {shown} cannot be unmounted: fusermount3: not today; as root, umount -l {shown}"
    );
    Done::of(command.output().unwrap()).failed(4, &told);
    assert!(service.requests().contains(&"PutObject note".to_owned()), "{:?}", service.requests());
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("cannot be unmounted: fusermount3: not today"), "{log}");
}

#[test]
fn a_mount_with_another_one_below_it_is_busy() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    fs::create_dir(home.mount_point().join("in")).unwrap();
    let mut inner = home.program();
    inner.args(["mount", "--local", "data", "mnt/in"]);
    assert_eq!(inner.output().unwrap().status.code(), Some(0));
    let told = format!("is busy: unmount first what is mounted below it: {}/in", home.mount_point().display());
    home.unmount().failed(4, &told);
    assert!(home.is_mounted());
    home.run(&["unmount", "mnt/in"]).succeeded();
    home.unmount().succeeded();
}

#[test]
fn unmount_says_what_it_waits_for() {
    let home = Home::new();
    let service = Service::with(&home, &["--latency-ms", "3000"]);
    home.mounted(&service, &[]);
    let _open = open_file(&home, "open.bin");
    let done = home.unmount();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("waiting for 1 file with 3.00 MiB to be published"), "{done:?}");
}

#[test]
fn unmount_and_sync_draw_a_bar_on_a_terminal() {
    let home = Home::new();
    let service = Service::with(&home, &["--latency-ms", "1500"]);
    home.mounted(&service, &[]);
    let _open = open_file(&home, "open.bin");
    let shown = on_terminal(&home, 100, &[("LC_ALL", "C"), ("NO_COLOR", "1")], "sync mnt");
    assert!(shown.contains("publishing 1 file [") && shown.contains(" of 3.00 MiB"), "{shown:?}");
    assert!(service.requests().contains(&"PutObject open.bin".to_owned()));
    let _another = open_file(&home, "another.bin");
    let shown = on_terminal(&home, 80, &[("LC_ALL", "C.UTF-8")], "unmount mnt");
    assert!(shown.contains("publishing 1 file ["), "{shown:?}");
    assert!(!home.is_mounted());
}

/// The service is there and says nothing, in the middle of an upload and with a file that nobody has published.
#[test]
fn unmount_returns_within_its_deadline_while_the_service_is_silent() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--part-size", "1M", "--memory", "16M", "--unmount-timeout", "2s"]);
    let _open = open_file(&home, "lost.bin");
    eventually("a part is there", || (!service.parts().is_empty()).then_some(()));
    service.signal(Signal::STOP);
    let began = Instant::now();
    let done = home.unmount();
    let took = began.elapsed();
    service.signal(Signal::CONT);
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(took < Duration::from_secs(2 + 5), "{took:?}");
    assert!(!home.is_mounted());
}

#[test]
fn unmount_names_uploads_that_could_not_be_aborted() {
    let home = Home::new();
    let service = Service::start(&home);
    let small = ["--part-size", "1M", "--memory", "16M", "--unmount-timeout", "1s", "--request-timeout", "1s"];
    home.mounted(&service, &small);
    let _open = open_file(&home, "lost.bin");
    eventually("a part is there", || (!service.parts().is_empty()).then_some(()));
    drop(service);
    let done = home.unmount();
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(
        done.stderr
            .contains("could not be aborted and stay in the bucket until it is mounted again: lost.bin (upload "),
        "{done:?}"
    );
}
