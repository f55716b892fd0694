//! What a mount shows of itself: `cosmount status`, `sync` and `trace`, as people and programs see it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use cosmount::object::ObjectKey;
use cosmount::store::ObjectStore;
use serde_json::Value;

use crate::bed::{Home, KEY, Running, Service, eventually, on_terminal, open_file};

/// How one mount fares.
fn status(home: &Home) -> Value {
    let done = home.run(&["status", "mnt", "--json"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

/// What the service says of the parts of the one upload in the bucket: their numbers and their bytes.
fn listed_parts(service: &Service) -> Option<(Vec<u64>, u64)> {
    service.ask(async |store| {
        let uploads = store.list_uploads("").await.unwrap();
        let upload = uploads.first()?;
        let key = ObjectKey::new(&upload.key).unwrap();
        let parts = store.list_parts(&key, &upload.upload).await.ok()?;
        let numbers = parts.iter().map(|part| u64::from(part.number.get())).collect();
        Some((numbers, parts.iter().map(|part| part.size).sum()))
    })
}

/// The numbers of parts that have a letter of these.
fn numbers(map: &str, letters: &str) -> Vec<u64> {
    (1..).zip(map.chars()).filter(|(_, letter)| letters.contains(*letter)).map(|(number, _)| number).collect()
}

#[test]
fn status_and_list_parts_agree_while_a_file_is_written() {
    let home = Home::new();
    // Some are on their way for long, so that nobody takes what is sent for what has landed and gets away with it.
    let late = |part: u16| {
        format!("[[rule]]\nop = 'UploadPart'\npart = {part}\nlimit = 5\nkind = 'status'\ncode = 'InternalError'\n")
    };
    let plan = home.write("plan.toml", &[3, 20, 40].map(late).concat(), 0o644);
    let service = Service::with(&home, &["--latency-ms", "20", "--faults", plan.to_str().unwrap()]);
    home.mounted(&service, &["--part-size", "1MiB"]);
    let script = "import sys, time\n\
                  file = open(sys.argv[1], 'wb', buffering=0)\n\
                  for _ in range(64):\n\
                  \u{20}   file.write(b'\\x07' * (1 << 20))\n\
                  print('written', flush=True)\n\
                  sys.stdin.read()";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(home.mount_point().join("big"));
    let _writer = Running(python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let (mut looks, mut before) = (0, (0, 0));
    // Looked at on its way and, twenty times, until nothing of what is full is left to send.
    for _ in 0..10_000 {
        if looks == 20 {
            break;
        }
        let first = listed_parts(&service);
        let shown = status(&home);
        let second = listed_parts(&service);
        let (Some((first, _)), Some((second, second_bytes))) = (first, second) else { continue };
        let upload = &shown["files"][0]["upload"];
        let Some(map) = upload["map"].as_str() else { continue };
        let landed = numbers(map, "LC");
        assert!(landed.iter().all(|number| second.contains(number)), "{landed:?} of {second:?}");
        let known = numbers(map, "LCs");
        assert!(first.iter().all(|number| known.contains(number)), "{first:?} of {map}");
        let progress = (landed.len(), upload["landed_bytes"].as_u64().unwrap());
        assert!(progress.0 >= before.0 && progress.1 >= before.1, "{before:?}, then {progress:?}");
        assert!(progress.1 <= second_bytes);
        assert_eq!(upload["parts"]["landed"], landed.len());
        before = progress;
        looks += 1;
    }
    assert_eq!(looks, 20);
    let settled = || {
        let shown = status(&home);
        let upload = &shown["files"][0]["upload"];
        (upload["parts"]["sending"] == 0 && upload["parts"]["waiting"] == 0).then(|| upload.clone())
    };
    let upload = eventually("nothing is on its way", settled);
    let (parts, bytes) = listed_parts(&service).unwrap();
    assert_eq!(numbers(upload["map"].as_str().unwrap(), "L"), parts);
    assert_eq!(upload["landed_bytes"], bytes);
}

#[test]
fn sync_returns_when_the_object_is_there() {
    let home = Home::new();
    let service = Service::with(&home, &["--latency-ms", "50"]);
    home.mounted(&service, &[]);
    fs::create_dir(home.mount_point().join("d")).unwrap();
    let _open = open_file(&home, "d/open.bin");
    let put = |name: &str| service.requests().contains(&format!("PutObject {name}"));
    home.run(&["sync", "mnt/nothing"])
        .failed(4, "mnt/nothing does not exist; see what is mounted with `cosmount status`");
    // A temporary file waits for its final name.
    fs::write(home.mount_point().join(".waits.tmp"), "waits").unwrap();
    assert!(!put("d/open.bin") && !put(".waits.tmp"), "{:?}", service.requests());
    assert_eq!(status(&home)["unpublished_count"], 2);

    home.run(&["sync", "mnt/d"]).succeeded();
    assert!(put("d/open.bin") && !put(".waits.tmp"), "{:?}", service.requests());
    home.run(&["sync", "mnt"]).succeeded();
    assert!(put(".waits.tmp"), "{:?}", service.requests());
    assert_eq!(status(&home)["unpublished_count"], 0);
    home.run(&["sync", home.path().to_str().unwrap()]).failed(4, "is in no mount of cosmount");
}

#[test]
fn what_fails_is_shown_with_errno_code_and_request() {
    let home = Home::new();
    let plan =
        "seed = 1\n[[rule]]\nop = \"PutObject\"\nkey = \"denied*\"\nkind = \"status\"\ncode = \"AccessDenied\"\n";
    let plan = home.write("plan.toml", plan, 0o644);
    let service = Service::with(&home, &["--faults", plan.to_str().unwrap()]);
    home.mounted(&service, &[]);
    fs::write(home.mount_point().join("fine.txt"), "fine").unwrap();
    let copied = Command::new("cp").arg(&plan).arg(home.mount_point().join("denied.txt")).output().unwrap();
    assert!(!copied.status.success(), "{copied:?}");
    let shown = status(&home);
    let error = &shown["errors"][0];
    let told = ["path", "key", "errno", "code"].map(|field| error[field].as_str().unwrap());
    assert_eq!(told, ["/denied.txt", "denied.txt", "EACCES", "AccessDenied"]);
    let id = error["request_id"].as_str().unwrap();
    assert!(!id.is_empty() && error["message"].as_str().unwrap().contains(id), "{error}");
    let text = home.run(&["status", "mnt"]).stdout;
    assert!(text.contains("/denied.txt: EACCES: PutObject") && text.contains(id), "{text}");
    assert!(!text.contains(KEY) && !shown.to_string().contains(KEY), "a secret is shown");

    let _open = open_file(&home, "denied.bin");
    let done = home.run(&["sync", "mnt/denied.bin"]);
    assert!(done.stderr.ends_with("; it is kept: see to the cause, and sync again\n"), "{done:?}");
    done.failed(5, "denied.bin: PutObject \"denied.bin\": access denied (status 403, code AccessDenied");
}

#[test]
fn a_trace_has_exactly_the_requests_of_the_access_log() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let source = home.path().join("source");
    fs::create_dir(&source).unwrap();
    (0..100).for_each(|number| fs::write(source.join(format!("f{number}")), number.to_string()).unwrap());

    let mut trace = home.program();
    let mut trace =
        trace.args(["trace", "mnt", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (trace.stdout.take().unwrap(), trace.stderr.take().unwrap());
    let mut listening = String::new();
    BufReader::new(stderr).read_line(&mut listening).unwrap();
    assert!(listening.starts_with("cosmount: listening to the mount on "), "{listening}");
    let before = service.requests().len();
    let copied = Command::new("cp").arg("-r").arg(&source).arg(home.mount_point()).status().unwrap();
    assert!(copied.success());
    home.unmount().succeeded();
    let (mut requests, mut calls) = (Vec::new(), BTreeMap::<String, usize>::new());
    for line in BufReader::new(stdout).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        match event["what"].as_str() {
            Some("request") => requests.push(format!("{} {}", text("operation"), text("key"))),
            Some("call") => *calls.entry(text("call")).or_default() += 1,
            _ => panic!("{event}"),
        }
    }
    assert_eq!(trace.wait().unwrap().code(), Some(0), "the end of the mount is the end of the trace");
    let mut logged = service.requests().split_off(before);
    requests.sort();
    logged.sort();
    assert_eq!(requests, logged);
    // What `cp` asks of the kernel: each file is created, written, and closed by its one descriptor.
    for call in ["create", "write", "flush", "release"] {
        assert_eq!(calls[call], 100, "{call}: {calls:?}");
    }
    assert_eq!(calls["mkdir"], 1, "{calls:?}");
}

#[test]
fn a_trace_shows_what_is_asked_for_and_ends_with_who_reads() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let listen = |arguments: &[&str]| {
        let mut trace = home.program();
        trace.arg("trace").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut trace = Running(trace.spawn().unwrap());
        BufReader::new(trace.0.stderr.take().unwrap()).read_line(&mut String::new()).unwrap();
        trace
    };
    fs::create_dir(home.mount_point().join("d")).unwrap();
    let mut only_puts = listen(&["mnt/d", "--only", "requests", "--operation", "put*"]);
    let mut head = listen(&["mnt"]);
    let mut reader = BufReader::new(head.0.stdout.take().unwrap());
    fs::write(home.mount_point().join("other"), "x").unwrap();
    fs::write(home.mount_point().join("d/file"), "x").unwrap();
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    assert!(!first.is_empty());
    drop(reader);
    fs::write(home.mount_point().join("more"), "x").unwrap();
    assert_eq!(head.ended(), Some(0), "who has read enough ends it");
    only_puts.signal(rustix::process::Signal::INT);
    let mut shown = String::new();
    only_puts.0.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(shown.contains("> PutObject \"d/file\": ok (200"), "{shown}");
    assert_eq!(only_puts.ended(), Some(0), "Ctrl-C is no failure");
}

#[test]
fn many_who_ask_and_never_read_keep_nobody_from_an_answer() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let socket = fs::read_dir("/run/cosmount")
        .into_iter()
        .flatten()
        .chain(fs::read_dir(home.path().join(".local/state/cosmount")).into_iter().flatten())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .find(|path| {
            let Ok(mut client) = UnixStream::connect(path) else { return false };
            client.write_all(b"{\"version\":1,\"ask\":\"status\"}\n").unwrap();
            let mut told = String::new();
            let _ = client.read_to_string(&mut told);
            told.contains(home.mount_point().to_str().unwrap())
        })
        .expect("the mount has a socket");
    let silent: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut client = UnixStream::connect(&socket).unwrap();
            client.write_all(b"{\"version\":1,\"ask\":\"status\",\"every_ms\":100}\n").unwrap();
            client
        })
        .collect();
    fs::write(home.mount_point().join("file"), "x").unwrap();
    assert_eq!(status(&home)["transfer"]["published"], 1);
    drop(silent);
    home.unmount().succeeded();
}

#[test]
fn who_answers_goes_before_those_who_move_bytes() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let threads = fs::read_dir(format!("/proc/{}/task", home.daemon().as_raw_nonzero())).unwrap();
    let stats: Vec<String> =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).collect();
    // proc(5): what follows the name begins with field 3; `nice` is field 19.
    let niceness = |stat: &String| stat.rsplit_once(") ").unwrap().1.split(' ').nth(19 - 3).unwrap().to_owned();
    let (those_who_answer, others): (Vec<_>, Vec<_>) = stats.iter().partition(|stat| stat.contains("(control)"));
    assert_eq!(those_who_answer.into_iter().map(niceness).collect::<Vec<_>>(), ["-15"]);
    assert!(others.len() > 2 && others.into_iter().map(niceness).all(|nice| nice == "0"), "{stats:?}");
}

#[test]
fn a_status_fits_the_terminal_that_it_is_shown_on() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--part-size", "1MiB"]);
    let _open = open_file(&home, "相册.bin");
    let have_landed = || (status(&home)["files"][0]["upload"]["parts"]["landed"] == 3).then_some(());
    eventually("its parts have landed", have_landed);
    for columns in [80, 120] {
        let plain = on_terminal(&home, columns, &[("LC_ALL", "C"), ("NO_COLOR", "1")], "status mnt");
        assert!(plain.lines().all(|line| line.trim_end().chars().count() <= columns), "{plain}");
        assert!(plain.contains("相册.bin") && plain.contains('#') && !plain.contains('\u{1b}'), "{plain}");
        let shown = on_terminal(&home, columns, &[("LC_ALL", "C.UTF-8")], "status mnt");
        assert!(shown.contains('█') && shown.contains("\u{1b}["), "{shown}");
    }
    let piped = home.run(&["status", "mnt"]).stdout;
    assert!(piped.is_ascii() || piped.contains("相册"), "{piped}");
    assert!(!piped.contains('\u{1b}') && !piped.contains('█'), "what is piped is plain: {piped}");
}

#[test]
fn a_watch_draws_on_a_terminal_and_writes_lines_elsewhere() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    let mut watch = home.program();
    let mut watch = Running(watch.args(["status", "mnt", "--watch"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(" 0 unpublished, ") && !first.contains('\u{1b}'), "{first}");
    watch.signal(rustix::process::Signal::INT);
    assert_eq!(watch.ended(), Some(0), "Ctrl-C is how it ends");

    // The end of the mount is the end of the watch, too.
    let program = env!("CARGO_BIN_EXE_cosmount");
    let mut script = Command::new("script");
    home.settle(&mut script);
    script.args(["-qec", &format!("stty cols 80 rows 40; {program} status mnt --watch"), "/dev/null"]);
    script.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut script = Running(script.spawn().unwrap());
    let mut drawn = script.0.stdout.take().unwrap();
    let mut begun = [0; 16];
    drawn.read_exact(&mut begun).unwrap();
    home.unmount().succeeded();
    let mut rest = String::new();
    drawn.read_to_string(&mut rest).unwrap();
    assert_eq!(script.ended(), Some(0));
    assert!(rest.contains("unpublished"), "{rest:?}");
}

#[test]
fn without_a_mount_it_is_said_what_to_do() {
    let home = Home::new();
    home.run(&["status", "mnt"]).failed(4, "mnt is in no mount of cosmount");
    home.run(&["trace", "mnt"]).failed(4, "mnt is in no mount of cosmount");
    home.run(&["status", "none"]).failed(4, "none does not exist; see what is mounted with `cosmount status`");
}
