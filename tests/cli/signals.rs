//! Signals: none of those that can be caught loses what is open, and some of them let the operator see and change things.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{BUCKET, Done, Home, ID, KEY, Service, eventually, foreground, open_file};

/// Those that ask for nothing, by the names and numbers that `kill` knows.
const IGNORED: [&str; 17] = [
    "HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "XFSZ", "STKFLT", "PIPE", "URG", "WINCH", "CHLD", "CONT",
    "34", "50", "64",
];

/// Those that end the mount, after everything is published. SIGTERM and SIGINT are in `unmounting`.
const ENDING: [&str; 10] = ["QUIT", "ABRT", "SEGV", "BUS", "ILL", "FPE", "TRAP", "SYS", "PWR", "XCPU"];

fn kill(signal: &str, process: rustix::process::Pid) {
    let done = Command::new("bash").args(["-c", &format!("kill -{signal} {}", process.as_raw_nonzero())]).output();
    Done::of(done.unwrap()).succeeded();
}

#[test]
fn signals_that_ask_for_nothing_leave_the_mount_as_it_is() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--log-file", "log"]);
    let _open = open_file(&home, "open.bin");
    let daemon = home.daemon();
    for signal in IGNORED {
        kill(signal, daemon);
        // Answered by the process that got the signal.
        assert!(rustix::fs::statfs(home.mount_point()).is_ok(), "SIG{signal}");
        assert_eq!(fs::metadata(home.mount_point().join("open.bin")).unwrap().len(), 3 << 20, "SIG{signal}");
    }
    // A daemon has no terminal that could stop it.
    for signal in ["TSTP", "TTIN", "TTOU"] {
        kill(signal, daemon);
        assert!(rustix::fs::statfs(home.mount_point()).is_ok(), "SIG{signal}");
    }
    assert!(!service.requests().contains(&"PutObject open.bin".to_owned()), "nothing is published before its time");
    assert_eq!(home.unmount().code, Some(0));
    assert!(service.requests().contains(&"PutObject open.bin".to_owned()));
}

#[test]
fn signals_that_end_a_mount_publish_what_is_open_first() {
    for signal in ENDING {
        let home = Home::new();
        let service = Service::start(&home);
        let mut mount = foreground(&home, &service, &[]);
        let _open = open_file(&home, "open.bin");
        kill(signal, rustix::process::Pid::from_child(&mount.0));
        assert_eq!(mount.ended(), Some(0), "SIG{signal}");
        assert!(service.requests().contains(&"PutObject open.bin".to_owned()), "SIG{signal}: {:?}", service.requests());
        assert!(!home.is_mounted(), "SIG{signal}");
    }
}

#[test]
fn hup_opens_the_log_anew_and_reads_the_configuration_again() {
    let home = Home::new();
    let service = Service::start(&home);
    let config = home.write("config.toml", "part_size = '2M'\nrequests_per_second = 1\n", 0o600);
    home.mounted(&service, &["--log-file", "log", "--config", "config.toml"]);
    let daemon = home.daemon();
    fs::rename(home.path().join("log"), home.path().join("log.old")).unwrap();
    fs::write(&config, "part_size = '4M'\nlog_level = 'debug'\n").unwrap();
    kill("HUP", daemon);
    let log = || fs::read_to_string(home.path().join("log")).unwrap_or_default();
    eventually("the new log says so", || log().contains("the log is open anew").then_some(()));
    eventually("what is changed is named", || {
        log().contains("changed, and followed by the next mount alone: part_size").then_some(())
    });
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    assert!(log().contains("PutObject \"a\": status 200, 5 bytes up"), "{}", log());
    // With one request in a second this would take 30 s.
    let began = Instant::now();
    for name in 0..30 {
        fs::write(home.mount_point().join(name.to_string()), "hello").unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());

    fs::write(&config, "part_size = 'lots'\n").unwrap();
    kill("HUP", daemon);
    eventually("a wrong configuration is refused", || log().contains("the configuration is as it was").then_some(()));
    home.unmount().succeeded();
}

/// Keys are changed while mounts live on, and temporary ones run out.
#[test]
fn hup_reads_new_credentials() {
    let home = Home::new();
    let service = Service::start(&home);
    let file = home.write("key", &format!("{ID}:{KEY}\n"), 0o600);
    let mut mount = home.program();
    mount.args(["mount", BUCKET, "mnt", "--endpoint", &service.endpoint, "--credentials-file", "key"]);
    Done::of(mount.args(["--log-file", "log"]).output().unwrap()).succeeded();
    let address = service.endpoint.strip_prefix("http://").unwrap().to_owned();
    drop(service);
    let _service = Service::at(&home, &address, "the-next-key");
    assert!(fs::write(home.mount_point().join("a"), "hello").is_err(), "the old key is refused");
    fs::write(&file, format!("{ID}:the-next-key\n")).unwrap();
    kill("HUP", home.daemon());
    eventually("the new key is used", || fs::write(home.mount_point().join("b"), "hello").ok());
    home.unmount().succeeded();
}

#[test]
fn usr1_writes_what_is_open_and_what_is_not_published() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--log-file", "log", "--log-level", "error"]);
    let _open = open_file(&home, "open.bin");
    kill("USR1", home.daemon());
    let log = || fs::read_to_string(home.path().join("log")).unwrap_or_default();
    eventually("the state is written", || log().contains("keys left out").then_some(()));
    for told in [
        "state: 1 open files by 1 handles, 0 open directories",
        "state: open: /open.bin by 1 handles, 1 of them for writing",
        "state: unpublished: open.bin, 3145728 bytes in memory",
        " bytes of memory in use",
        " requests, 0 of them repeats",
    ] {
        assert!(log().contains(told), "{told}: {}", log());
    }
    assert_eq!(home.unmount().code, Some(0));
}

#[test]
fn usr2_makes_the_log_tell_each_request_for_a_while() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--log-file", "log"]);
    let log = || fs::read_to_string(home.path().join("log")).unwrap_or_default();
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    assert!(!log().contains("PutObject \"a\""), "{}", log());
    kill("USR2", home.daemon());
    eventually("it is announced", || log().contains("the log has level debug for 300 s").then_some(()));
    fs::write(home.mount_point().join("b"), "hello").unwrap();
    let lines = log().lines().filter(|line| line.contains("PutObject \"b\"")).count();
    assert_eq!(lines, 1, "one line for each request: {}", log());
    assert!(!log().contains("hyper") && !log().contains("fuser"), "{}", log());
    home.unmount().succeeded();
}

/// Somebody who has had enough of waiting for a service that does not answer.
#[test]
fn a_mount_that_waits_for_its_service_can_be_told_to_end() {
    let home = Home::new();
    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut command = home.program();
    command.args(["mount", "-f", crate::bed::BUCKET, "mnt", "--endpoint", &endpoint]);
    command.env("COS_SECRETID", "i").env("COS_SECRETKEY", "k");
    let mut mount = crate::bed::Running(command.stderr(std::process::Stdio::piped()).spawn().unwrap());
    let _asked = silent.accept().unwrap();
    mount.signal(Signal::INT);
    assert_eq!(mount.ended(), Some(1));
    assert!(!home.is_mounted());
}
