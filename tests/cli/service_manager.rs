//! What the unit of systemd that packages have lets a mount do, with a socket in systemd's place.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{BUCKET, Home, ID, KEY, Running, Service, eventually};

const UNIT: &str = include_str!("../../packaging/systemd/cosmount@.service");

/// Where messages of a mount arrive.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Manager { socket, heard: Vec::new() }
    }

    /// Waits for a message with this line, and gives it.
    #[track_caller]
    fn hear(&mut self, line: &str) -> String {
        let began = Instant::now();
        let mut buffer = [0; 4096];
        while began.elapsed() < Duration::from_secs(30) {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if let Some(message) = self.heard.last().filter(|message| message.lines().any(|told| told == line)) {
                return message.clone();
            }
        }
        panic!("{line} was not heard, but {:?}", self.heard);
    }

    /// Whether nothing more comes for a while.
    fn hears_nothing_of(&mut self, line: &str, within: Duration) -> bool {
        let began = Instant::now();
        let mut buffer = [0; 4096];
        while began.elapsed() < within {
            if let Ok(length) = self.socket.recv(&mut buffer)
                && String::from_utf8_lossy(&buffer[..length]).lines().any(|told| told == line)
            {
                return false;
            }
        }
        true
    }
}

/// The command of the unit, with the variables of an instance's file.
fn exec_start(home: &Home, service: &Service) -> Command {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/cosmount ")).unwrap();
    let options = format!("_netdev,endpoint={}", service.endpoint);
    let directory = home.mount_point();
    let mut command = home.program();
    for word in line.split(' ') {
        let word = word.replace("${SOURCE}", BUCKET).replace("${OPTIONS}", &options);
        command.arg(word.replace("${DIR}", directory.to_str().unwrap()));
    }
    command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).stderr(Stdio::null());
    command
}

#[test]
fn the_unit_is_told_when_the_mount_answers_reads_again_and_ends() {
    let home = Home::new();
    let service = Service::with(&home, &["--latency-ms", "200"]);
    let socket = home.path().join("notify");
    let mut manager = Manager::at(&socket);
    let mut command = exec_start(&home, &service);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let mut mount = Running(command.spawn().unwrap());
    let ready = manager.hear("READY=1");
    assert!(home.is_mounted() && fs::read_dir(home.mount_point()).is_ok(), "it answers");
    assert!(ready.contains(&format!("STATUS={BUCKET} on {}", home.mount_point().display())), "{ready}");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    mount.signal(Signal::HUP);
    let reloading = manager.hear("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hear("READY=1");
    mount.signal(Signal::TERM);
    manager.hear("STOPPING=1");
    assert_eq!(mount.ended(), Some(0));
}

/// The watchdog is for a mount that has stopped answering the kernel: nothing is told for it.
#[test]
fn the_watchdog_is_not_told_of_a_mount_that_does_not_answer() {
    let home = Home::new();
    let service = Service::start(&home);
    let socket = home.path().join("notify");
    let mut manager = Manager::at(&socket);
    let mut command = exec_start(&home, &service);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut mount = Running(command.spawn().unwrap());
    manager.hear("WATCHDOG=1");
    // The kernel breaks the connection off, and whoever asks is told so.
    let device = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = device.lines().find(|line| line.contains(home.mount_point().to_str().unwrap())).unwrap().to_owned();
    let minor = line.split(' ').nth(2).unwrap().trim_start_matches("0:").to_owned();
    let abort = format!("/sys/fs/fuse/connections/{minor}/abort");
    if fs::write(&abort, "1").is_err() {
        return; // no fusectl here
    }
    manager.hear("STOPPING=1");
    assert_eq!(mount.ended(), Some(0));
    assert!(manager.hears_nothing_of("WATCHDOG=1", Duration::from_millis(600)));
}

#[test]
fn a_daemon_says_nothing_to_the_manager_of_whoever_started_it() {
    let home = Home::new();
    let service = Service::start(&home);
    let socket = home.path().join("notify");
    let mut manager = Manager::at(&socket);
    let mut command = home.mount(&service, &["--log-file", "log"]);
    assert!(command.env("NOTIFY_SOCKET", &socket).status().unwrap().success());
    home.unmount().succeeded();
    assert!(manager.hears_nothing_of("READY=1", Duration::from_millis(10)));
}

/// What a mount that was killed has left is cleaned up by the unit, and nothing else is.
#[test]
fn a_mount_is_cleaned_up_only_if_it_is_dead() {
    let home = Home::new();
    let service = Service::start(&home);
    let clean_up = UNIT.lines().find_map(|line| line.strip_prefix("ExecStartPre=/usr/bin/cosmount ")).unwrap();
    let clean_up = || {
        let words: Vec<String> = clean_up.split(' ').map(|word| word.replace("${DIR}", "mnt")).collect();
        home.run(&words)
    };
    clean_up().succeeded();
    let mut mount = Running(exec_start(&home, &service).spawn().unwrap());
    eventually("the mount answers", || home.is_mounted().then_some(()));
    clean_up().succeeded();
    assert!(home.is_mounted(), "it lives");
    mount.0.kill().unwrap();
    mount.0.wait().unwrap();
    assert!(home.is_mounted());
    let done = clean_up();
    assert!(done.code == Some(0) && done.stdout.contains("it is cleaned up"), "{done:?}");
    assert!(!home.is_mounted());
}

/// Where systemd's tools are.
#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_that_it_may_do() {
    let analyze = |arguments: &[&str], unit: &Path| {
        Command::new("systemd-analyze").args(arguments).arg(unit).env("SYSTEMD_LOG_LEVEL", "warning").output()
    };
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("cosmount@test.service");
    // It asks for the program to be there, and for nothing that it is.
    let program = env!("CARGO_BIN_EXE_cosmount");
    fs::write(&unit, UNIT.replace("/usr/bin/cosmount", program)).unwrap();
    let Ok(verified) = analyze(&["verify", "--man=no"], &unit) else { return };
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    let about_ours: Vec<&str> = told.lines().filter(|line| line.contains("cosmount@")).collect();
    assert!(verified.status.success() && about_ours.is_empty(), "{told}");
    let exposed = analyze(&["security", "--offline=true", "--threshold=39", "--no-pager"], &unit).unwrap();
    let told = String::from_utf8_lossy(&exposed.stdout).into_owned();
    assert!(exposed.status.success(), "{}", told.lines().last().unwrap_or_default());
}
