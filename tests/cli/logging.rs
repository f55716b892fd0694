//! The log: every call that fails is in it, and it says where it is where nobody would look.

use std::fs;
use std::io;

use crate::bed::{BUCKET, Done, Home, ID, KEY, Service, eventually};

fn log(home: &Home) -> String {
    fs::read_to_string(home.path().join("log")).unwrap_or_default()
}

type Attempt<'a> = Box<dyn FnOnce() -> io::Result<()> + Send + 'a>;

/// Calls of all sorts, side by side because each waits for its deadline. Gives their names and what became of them.
fn calls(home: &Home) -> Vec<(&'static str, io::Error)> {
    let path = |name: &str| home.mount_point().join(name);
    std::thread::scope(|scope| {
        let calls: [(&str, Attempt<'_>); 5] = [
            ("lookup /missing", Box::new(|| Err(failed_lookup(&path("missing"))))),
            ("unlink /kept", Box::new(|| fs::remove_file(path("kept")))),
            ("mkdir /new", Box::new(|| fs::create_dir(path("new")))),
            ("rename /moved to /d/moved", Box::new(|| fs::rename(path("moved"), path("d/moved")))),
            ("read /read", Box::new(|| fs::read(path("read")).map(drop))),
        ];
        let running: Vec<_> = calls.into_iter().map(|(name, call)| (name, scope.spawn(call))).collect();
        running.into_iter().map(|(name, call)| (name, call.join().unwrap().expect_err(name))).collect()
    })
}

/// The failure of a lookup. That there is nothing is known for a while without asking.
fn failed_lookup(path: &std::path::Path) -> io::Error {
    eventually("the service is asked", || {
        fs::metadata(path).err().filter(|error| error.kind() != io::ErrorKind::NotFound)
    })
}

/// A mount with a few files, that has forgotten what it knew.
fn mounted(home: &Home, service: &Service) {
    home.mounted(service, &["--log-file", "log", "--request-timeout", "1s", "--metadata-ttl", "100ms"]);
    fs::create_dir(home.mount_point().join("d")).unwrap();
    for name in ["kept", "moved", "read"] {
        fs::write(home.mount_point().join(name), "x").unwrap();
    }
    for name in ["kept", "moved", "read", "d"] {
        // The kernel knows the names from now on and asks for what is to be done with them.
        fs::metadata(home.mount_point().join(name)).unwrap();
    }
}

#[test]
fn every_call_that_fails_is_in_the_log_with_what_the_service_said() {
    let home = Home::new();
    let service = Service::start(&home);
    mounted(&home, &service);
    let address = service.endpoint.strip_prefix("http://").unwrap().to_owned();
    drop(service);
    // The same service, whose key is another one: every request is refused.
    let refusing = Service::at(&home, &address, "another-key");
    for (call, error) in calls(&home) {
        let line = eventually(call, || {
            log(&home).lines().find(|line| line.contains(call) || by_parent(line, call)).map(str::to_owned)
        });
        assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{call}: {line}");
        for told in ["EACCES: ", "status 403", "request "] {
            assert!(line.contains(told), "{told} of {call}: {line}");
        }
    }
    assert!(!log(&home).contains(KEY) && !log(&home).contains("another-key"));
    drop(refusing);
    let _ = home.unmount();
}

/// The kernel may have to look a name up anew before it asks for the rest.
fn by_parent(line: &str, call: &str) -> bool {
    let mut names = call.split(' ').filter(|word| word.starts_with('/'));
    line.contains("lookup /d:") || names.any(|name| line.contains(&format!("lookup {name}:")))
}

#[test]
fn calls_of_a_dead_service_are_in_the_log_and_ordinary_answers_are_not() {
    let home = Home::new();
    let service = Service::start(&home);
    mounted(&home, &service);
    assert!(fs::metadata(home.mount_point().join("none")).is_err());
    assert!(fs::create_dir(home.mount_point().join("d")).is_err());
    assert!(!log(&home).contains("ENOENT") && !log(&home).contains("EEXIST"), "{}", log(&home));
    drop(service);
    for (call, _) in calls(&home) {
        let told = |line: &&str| (line.contains(call) || by_parent(line, call)) && line.contains("EHOSTUNREACH: ");
        eventually(call, || log(&home).lines().find(told).map(drop));
    }
    let _ = home.unmount();
}

#[test]
fn a_level_that_does_not_exist_is_refused_with_those_that_do() {
    let home = Home::new();
    let done = home.run(&["mount", BUCKET, "mnt", "--region", "ap-guangzhou", "--log-level", "loud"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    for word in ["\"loud\" is not a log level", "off, error, warn, info, debug or trace"] {
        assert!(done.stderr.contains(word), "{done:?}");
    }
}

#[test]
fn a_machine_without_syslog_has_its_log_in_a_file_that_is_named() {
    if std::path::Path::new("/dev/log").exists() {
        return;
    }
    let home = Home::new();
    let service = Service::start(&home);
    let runtime = home.path().join("runtime");
    fs::create_dir(&runtime).unwrap();
    let done = Done::of(home.mount(&service, &[]).env("XDG_RUNTIME_DIR", &runtime).output().unwrap());
    let file =
        done.stdout.trim().strip_prefix("there is no syslog here: the log is ").unwrap_or_else(|| panic!("{done:?}"));
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(&format!("mounted {BUCKET} on ")), "{text}");
    home.program().args(["unmount", "mnt"]).env("XDG_RUNTIME_DIR", &runtime).status().unwrap();
    assert!(fs::read_to_string(file).unwrap().contains("unmounted "));
    // As mount(8) calls it.
    let options = format!("endpoint={}", service.endpoint);
    let mut helper = home.program();
    helper.args([BUCKET, "mnt", "-o", &options]).env("XDG_RUNTIME_DIR", &runtime);
    let done = Done::of(helper.env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY).output().unwrap());
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), "", ""), "{done:?}");
    home.program().args(["unmount", "mnt"]).env("XDG_RUNTIME_DIR", &runtime).status().unwrap();
    let _ = fs::remove_file(file);
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let home = Home::new();
    let service = Service::start(&home);
    let proxied = ["--proxy", "http://user:hunter2@127.0.0.1:1", "--endpoint", "http://127.0.0.1:1"];
    let mut command = home.program();
    command.args(["mount", BUCKET, "mnt"]).args(proxied).env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
    let done = Done::of(command.output().unwrap());
    assert!(done.code != Some(0) && !done.stderr.contains("hunter2"), "{done:?}");
    let typed = ["mount", BUCKET, "mnt", "--endpoint", "ftp://user:hunter2@h"];
    let done = home.run(&typed);
    assert!(done.code == Some(2) && !done.stderr.contains("hunter2"), "{done:?}");

    // What a list of processes shows of a daemon.
    home.mounted(&service, &["--log-file", "log", "-o", "x-note=http://user:hunter2@h"]);
    let line = fs::read(format!("/proc/{}/cmdline", home.daemon().as_raw_nonzero())).unwrap();
    let line = String::from_utf8(line).unwrap().replace('\0', " ");
    home.unmount().succeeded();
    let expected = format!("cosmount mount --daemon {BUCKET} {} ", home.mount_point().display());
    assert!(line.starts_with(&expected), "{line}");
    assert!(!line.contains("hunter2") && !log(&home).contains("hunter2"), "{line}");
}

#[test]
fn a_log_of_json_has_one_object_on_each_line() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--log-file", "log", "--log-format", "json"]);
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    home.unmount().succeeded();
    let text = log(&home);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let says = |what: &str| lines.iter().any(|line| line["message"].as_str().unwrap().starts_with(what));
    assert!(says("mounted ") && says("published a: 5 bytes") && says("unmounted "), "{text}");
    assert!(
        lines.iter().all(|line| line["level"] == "info" && line["time"].as_str().unwrap().ends_with('Z')),
        "{text}"
    );
    let done = home.run(&["mount", BUCKET, "mnt", "--log-format", "jsno"]);
    assert!(done.code == Some(2) && done.stderr.contains("\"jsno\" is not text or json"), "{done:?}");
}

#[test]
fn the_level_of_a_log_is_changed_while_the_mount_lives_on() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--log-file", "log"]);
    home.run(&["log", "mnt", "debug"]).succeeded();
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    assert!(log(&home).contains("PutObject \"a\": status 200"), "{}", log(&home));
    home.run(&["log", "mnt", "error"]).succeeded();
    fs::write(home.mount_point().join("b"), "hello").unwrap();
    assert!(!log(&home).contains("PutObject \"b\"") && !log(&home).contains("published b"), "{}", log(&home));
    let done = home.run(&["log", "mnt", "loud"]);
    assert!(done.code == Some(2) && done.stderr.contains("\"loud\" is not a log level"), "{done:?}");
    home.run(&["log", ".", "info"]).failed(4, "is in no mount of cosmount");
    home.unmount().succeeded();
}

/// A proxy is for other hosts than those that need none.
#[test]
fn a_host_of_no_proxy_is_reached_without_the_proxy() {
    let home = Home::new();
    let service = Service::start(&home);
    let mount = || home.mount(&service, &["--proxy", "http://127.0.0.1:1", "--request-timeout", "1s"]);
    for (excepted, code) in [("", Some(3)), ("example.com,127.0.0.0/8", Some(0))] {
        let done = Done::of(mount().env("NO_PROXY", excepted).output().unwrap());
        assert_eq!(done.code, code, "{excepted}: {done:?}");
    }
    home.unmount().succeeded();
}
