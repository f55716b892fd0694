//! `cosmount doctor` as people run it: what it writes, what it removes again, and how it looks.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{BUCKET, Done, Home, ID, KEY, Running, Service, eventually};

/// A rule that lets the service say that it ends unfinished uploads: then there is nothing to warn of.
pub(crate) const TIDY: &str = "[[rule]]\nop = 'GetBucketLifecycle'\nkind = 'answer'\nbody = '<LifecycleConfiguration><Rule>\
     <Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
     </AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>'\n";

/// A service that does wrong what the rules say, and nothing to warn of beside.
pub(crate) fn faulty(home: &Home, rules: &str, more: &[&str]) -> Service {
    let plan = home.write("plan.toml", &format!("{rules}{TIDY}"), 0o644);
    Service::with(home, &[&["--faults", plan.to_str().unwrap(), "--log-level", "error"], more].concat())
}

pub(crate) fn doctor(home: &Home, source: &str, service: &Service, more: &[&str]) -> Command {
    let mut command = home.program();
    command.args(["doctor", source, "--endpoint", &service.endpoint]).args(more);
    command.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
    command
}

#[test]
fn a_healthy_setup_is_well_and_nothing_stays_in_the_bucket() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let done = Done::of(doctor(&home, BUCKET, &service, &["mnt"]).output().unwrap());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.ends_with("no failure, no warning, 30 OK\n"), "{done:?}");
    let requests = service.requests();
    let made: Vec<&String> = requests.iter().filter(|line| line.starts_with("PutObject")).collect();
    assert_eq!(made.len(), 2, "a small object, and one to measure by: {made:?}");
    assert!(made.iter().all(|line| line.contains(" .cosmount-doctor-")), "{made:?}");
    home.mounted(&service, &[]);
    assert_eq!(fs::read_dir(home.mount_point()).unwrap().count(), 0);
    home.unmount().succeeded();
    let uploads = home.program().args(["uploads", "list", BUCKET, "--endpoint", &service.endpoint]).envs(KEYS).output();
    Done::of(uploads.unwrap()).succeeded();
}

/// Over S3, whose services differ in what they have.
#[test]
fn a_service_of_s3_is_checked_in_its_own_words() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let s3 = |source: &str, key: &str, more: &[&str]| {
        let mut command = home.program();
        command.args(["doctor", source, "--s3", "--endpoint", &service.endpoint]).args(more);
        Done::of(command.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", key).output().unwrap())
    };
    let done = s3(BUCKET, KEY, &["--region", "eu-west-1"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    for told in [
        "answers as S3 does: the bucket in the path (--path-style), signed for the region eu-west-1",
        "CRC-64/NVME, told and compared",
        "held to: --on-conflict=fail and keep-both are exact",
    ] {
        assert!(done.stdout.contains(told), "{told}: {done:?}");
    }
    home.mounted(&service, &[]);
    assert_eq!(fs::read_dir(home.mount_point()).unwrap().count(), 0);
    home.unmount().succeeded();
    let wrong = s3(BUCKET, "another", &[]);
    assert!(wrong.code == Some(3) && wrong.stdout.contains("the secret key is not the one of the id"), "{wrong:?}");
    let missing = s3("nowhere-at-all", KEY, &[]);
    assert!(missing.code == Some(3) && missing.stdout.contains("check the name"), "{missing:?}");
}

const KEYS: [(&str, &str); 2] = [("COS_SECRETID", ID), ("COS_SECRETKEY", KEY)];

#[test]
fn nothing_is_written_where_nothing_shall_be() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    for more in [&["--read-only"][..], &["-o", "ro"]] {
        let done = Done::of(doctor(&home, &format!("{BUCKET}:/new"), &service, more).output().unwrap());
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains("not tried, because nothing shall be written"), "{done:?}");
    }
    let reads = ["HeadBucket", "ListObjects", "HeadObject", "GetBucket", "ListMultipartUploads"];
    let written: Vec<String> =
        service.requests().into_iter().filter(|line| !reads.iter().any(|op| line.starts_with(op))).collect();
    assert!(written.is_empty(), "{written:?}");
}

/// Ctrl-C in the middle of an upload, whose parts the service holds.
#[test]
fn an_interrupted_check_leaves_nothing_behind() {
    let home = Home::new();
    let stalls = "[[rule]]\nop = 'UploadPart'\nkind = 'stall'\nat = 'before'\nseconds = 20\n";
    let service = faulty(&home, stalls, &[]);
    let mut command = doctor(&home, BUCKET, &service, &["--json"]);
    let mut process = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    eventually("an upload begins", || {
        service.requests().iter().any(|line| line.starts_with("InitiateMultipartUpload")).then_some(())
    });
    process.signal(Signal::INT);
    assert_eq!(process.ended(), Some(1));
    let mut told = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["left_behind"], &told["interrupted"]), (&serde_json::json!([]), &true.into()), "{told}");
    let requests = service.requests();
    let count = |op: &str| requests.iter().filter(|line| line.starts_with(op)).count();
    assert_eq!((count("PutObject"), count("AbortMultipartUpload")), (1, 1), "{requests:?}");
    let uploads = home.program().args(["uploads", "list", BUCKET, "--endpoint", &service.endpoint]).envs(KEYS).output();
    let uploads = Done::of(uploads.unwrap());
    assert_eq!((uploads.code, uploads.stdout.as_str()), (Some(0), ""), "{uploads:?}");
}

#[test]
fn what_cannot_be_removed_is_named() {
    let home = Home::new();
    let denied = "[[rule]]\nop = ['DeleteObject', 'DeleteMultipleObjects']\nkind = 'status'\ncode = 'AccessDenied'\n";
    let service = faulty(&home, denied, &[]);
    let done = Done::of(doctor(&home, BUCKET, &service, &[]).output().unwrap());
    assert_eq!(done.code, Some(3), "{done:?}");
    let left = done.stdout.lines().filter(|line| line.starts_with("left behind in the bucket")).count();
    assert_eq!(left, 3, "{done:?}");
}

/// A host that drops every packet would be waited for by each request; the check of the connection spares that.
#[test]
fn a_host_that_is_not_there_is_given_up_soon() {
    let home = Home::new();
    let began = Instant::now();
    let mut command = home.program();
    // An address for documents, which leads nowhere.
    command.args(["doctor", BUCKET, "--endpoint", "https://192.0.2.1:4433"]).envs(KEYS);
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stdout.contains("FAILURE tcp"), "{done:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn json_is_one_object_that_says_all() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let done = Done::of(doctor(&home, BUCKET, &service, &["--json"]).output().unwrap());
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((told["status"].as_str(), told["exit_code"].as_u64()), (Some("ok"), Some(0)));
    assert_eq!((told["source"].as_str(), told["origin"].as_str()), (Some(BUCKET), Some(service.endpoint.as_str())));
    let documented = include_str!("../../docs/DOCTOR.md");
    for check in told["checks"].as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        let is_row = |line: &str| line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{name}`")));
        assert!(documented.lines().any(is_row), "docs/DOCTOR.md says nothing of {name}");
        assert!(check["detail"].is_string() && check["fix"].is_null() && check["status"] == "ok", "{check}");
    }
}

/// The program's output on a terminal of that width, through a pseudo-terminal.
fn on_terminal(home: &Home, service: &Service, columns: u16, variables: &[(&str, &str)]) -> String {
    let script = "import os, pty, sys, fcntl, termios, struct\n\
        columns = int(sys.argv[1])\n\
        pid, master = pty.fork()\n\
        if pid == 0:\n\
        \x20   fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))\n\
        \x20   os.execv(sys.argv[2], sys.argv[2:])\n\
        out = b''\n\
        while True:\n\
        \x20   try:\n\
        \x20       piece = os.read(master, 65536)\n\
        \x20   except OSError:\n\
        \x20       break\n\
        \x20   if not piece:\n\
        \x20       break\n\
        \x20   out += piece\n\
        os.waitpid(pid, 0)\n\
        sys.stdout.buffer.write(out.replace(b'\\r\\n', b'\\n'))";
    let mut python = Command::new("python3");
    home.settle(&mut python);
    python.args(["-c", script, &columns.to_string(), env!("CARGO_BIN_EXE_cosmount")]);
    python.args(["doctor", BUCKET, "--endpoint", &service.endpoint]).envs(KEYS);
    python.env("TERM", "xterm").envs(variables.iter().copied());
    let done = Done::of(python.output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}

/// A text without what colours it.
fn uncoloured(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[test]
fn a_terminal_gets_signs_colours_and_lines_that_fit() {
    let home = Home::new();
    let denied = "[[rule]]\nop = 'CopyObject'\nkind = 'status'\ncode = 'AccessDenied'\n";
    let service = faulty(&home, denied, &[]);
    let shown = |columns: u16, variables: &[(&str, &str)]| {
        let told = on_terminal(&home, &service, columns, variables);
        for line in uncoloured(&told).lines() {
            // Words, as policies and URLs, are never broken.
            let is_word = !line.trim().contains(' ');
            assert!(line.chars().count() <= usize::from(columns) || is_word, "{columns}: {line}");
        }
        told
    };
    for columns in [80, 120] {
        let told = shown(columns, &[("LANG", "C.UTF-8")]);
        assert!(told.contains("\u{2713} \u{1b}[32mOK\u{1b}[0m") && told.contains("\u{2717} \u{1b}["), "{told}");
        assert!(told.contains("FAILURE") && told.contains("copy"), "{told}");
        let plain = shown(columns, &[("LANG", "C.UTF-8"), ("NO_COLOR", "1")]);
        assert!(plain.contains("\u{2717} FAILURE copy") && !plain.contains('\u{1b}'), "{plain}");
        let ascii = shown(columns, &[("LANG", "C.UTF-8"), ("LC_ALL", "C"), ("NO_COLOR", "1")]);
        assert!(ascii.is_ascii() && ascii.contains("\nFAILURE copy"), "{ascii}");
    }
}

#[test]
fn a_pipe_gets_plain_words_whatever_the_locale() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let mut command = doctor(&home, BUCKET, &service, &[]);
    let done = Done::of(command.env("LANG", "C.UTF-8").env("TERM", "xterm").output().unwrap());
    assert!(
        done.stdout.is_ascii() && !done.stdout.contains('\u{1b}') && done.stdout.contains("\nOK      bucket"),
        "{done:?}"
    );
    let mut command = doctor(&home, BUCKET, &service, &[]);
    let done = Done::of(command.env("CLICOLOR_FORCE", "1").output().unwrap());
    assert!(done.stdout.contains("\u{1b}[32mOK\u{1b}[0m"), "{done:?}");
}
