//! `cosmount serve`: what it prints works when it is pasted, and its key stays where it belongs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::bed::{BUCKET, Done, Home, ID, KEY, Service, eventually, serve};

/// The lines that are to be pasted, as a shell gets them.
fn pasted(welcome: &str) -> String {
    let lines: Vec<&str> = welcome.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(lines.len(), 2, "{welcome}");
    lines.join(" &&\n")
}

#[test]
fn the_printed_command_mounts_when_it_is_pasted() {
    let home = Home::new();
    let data = home.path().join("my data");
    let mut command = home.program();
    command.arg("serve").arg(&data).args(["--listen", "127.0.0.1:0"]);
    let (mut service, welcome) = serve(command);
    let mode = fs::metadata(data.join("credentials")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = fs::read_to_string(data.join("credentials")).unwrap();
    let secret = kept.trim().split_once(':').unwrap().1;
    assert!(!welcome.contains(secret), "the secret is not printed");

    // The mount point that the command names is put where the guard looks.
    fs::create_dir(home.path().join("cos")).unwrap();
    std::os::unix::fs::symlink(home.mount_point(), home.path().join("cos").join(BUCKET)).unwrap();
    let mut shell = Command::new("sh");
    home.settle(&mut shell);
    Done::of(shell.arg("-c").arg(pasted(&welcome)).output().unwrap()).succeeded();
    fs::write(home.mount_point().join("a"), "hello").unwrap();
    home.unmount().succeeded();

    service.signal(Signal::TERM);
    assert_eq!(service.ended(), Some(0), "a service ends in order");
}

#[test]
fn a_key_in_the_environment_is_used_and_not_kept() {
    let home = Home::new();
    let mut command = home.program();
    command.args(["serve", "data", "--listen", "127.0.0.1:0"]).env("COS_SECRETID", ID).env("COS_SECRETKEY", KEY);
    let (_service, welcome) = serve(command);
    assert!(welcome.contains("COS_SECRETID and COS_SECRETKEY") && !welcome.contains(KEY), "{welcome}");
    assert!(!welcome.contains("--credentials-file"), "{welcome}");
    assert!(!home.path().join("data/credentials").exists());
}

#[test]
fn a_service_in_memory_tells_where_its_key_is_and_takes_it_along() {
    let home = Home::new();
    let mut command = home.program();
    command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--bucket", "photos-125"]);
    let (mut service, welcome) = serve(command);
    assert!(welcome.contains(" mount photos-125 "), "{welcome}");
    let file = welcome.split("--credentials-file ").nth(1).unwrap().trim();
    assert!(fs::metadata(file).unwrap().is_file());
    service.signal(Signal::INT);
    assert_eq!(service.ended(), Some(0));
    assert!(fs::metadata(file).is_err(), "the key is gone with the service");
}

#[test]
fn a_mistake_in_a_plan_of_faults_is_refused_with_its_line() {
    let home = Home::new();
    let plan = home.path().join("plan.toml");
    let serve_with_plan = || {
        let mut command = home.program();
        command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--faults"]).arg(&plan);
        command
    };
    for (text, told) in [
        (
            "[[rule]]\nop = \"PutObjct\"\nkind = \"twice\"\n",
            "line 2: there is no operation \"PutObjct\"; did you mean \"PutObject\"?",
        ),
        ("[[rule]]\nkind = \"rest\"\n", "line 2: there is no kind \"rest\"; did you mean \"reset\"?"),
    ] {
        fs::write(&plan, text).unwrap();
        let refused = Done::of(serve_with_plan().output().unwrap());
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    fs::write(&plan, "[[rule]]\nop = \"PutObject\"\nkind = \"twice\"\n").unwrap();
    let (mut service, _) = serve(serve_with_plan());
    service.signal(Signal::TERM);
    assert_eq!(service.ended(), Some(0));
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    fs::write(home.mount_point().join("a.txt"), "hello").unwrap();
    home.unmount().succeeded();
    let requests = service.requests();
    assert_eq!(requests.first().unwrap(), "HeadBucket ");
    assert_eq!(requests.iter().filter(|request| *request == "PutObject a.txt").count(), 1, "{requests:?}");
}

#[test]
fn a_directory_serves_once() {
    let home = Home::new();
    home.run(&["mount", "--local", "data", "mnt"]).succeeded();
    let second = home.run(&["serve", "data", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.stdout, "", "nothing is promised");
    second.failed(1, "data is used by another cosmount serve");
    fs::create_dir(home.path().join("other")).unwrap();
    home.run(&["mount", "--local", "data", "other"]).failed(3, "data is used by another cosmount serve");
    home.unmount().succeeded();
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    home.run(&["serve", "data", "--listen", &address]).failed(1, &format!("cannot listen on {address}"));
}

/// A service in `data` that was closed in order, with one object.
fn served_once(home: &Home) {
    home.run(&["mount", "--local", "data", "mnt"]).succeeded();
    fs::write(home.mount_point().join("a.txt"), "hello").unwrap();
    home.unmount().succeeded();
}

#[test]
fn a_service_without_its_index_refuses_and_makes_it_anew_when_told() {
    let home = Home::new();
    served_once(&home);
    fs::remove_file(home.path().join("data/index.redb")).unwrap();
    let told = "index.redb is missing, although objects were stored there: put it back, or make it anew with: \
                cosmount serve --rebuild";
    home.run(&["serve", "data", "--listen", "127.0.0.1:0"]).failed(1, told);
    home.run(&["mount", "--local", "data", "mnt"]).failed(3, told);
    let mut command = home.program();
    command.args(["serve", "--rebuild", "data", "--listen", "127.0.0.1:0"]);
    let (mut service, _) = serve(command);
    service.signal(Signal::TERM);
    assert_eq!(service.ended(), Some(0));
    home.run(&["mount", "--local", "data", "mnt"]).succeeded();
    assert_eq!(fs::read_to_string(home.mount_point().join("a.txt")).unwrap(), "hello");
    home.unmount().succeeded();
}

#[test]
fn a_place_that_is_not_for_a_service_is_refused_in_one_sentence() {
    let home = Home::new();
    home.write("file", "", 0o644);
    home.write("photos/1.jpg", "mine", 0o644);
    let table = [
        ("file", "file is not a directory: name one, new or empty"),
        ("file/below", "file/below is not a directory: name one, new or empty"),
        ("photos", "photos is not empty and holds no objects of cosmount (\"1.jpg\" is there)"),
    ];
    for (place, told) in table {
        home.run(&["serve", place, "--listen", "127.0.0.1:0"]).failed(1, &format!("the service cannot run: {told}"));
    }
    assert_eq!(fs::read_dir(home.path().join("photos")).unwrap().count(), 1, "nothing was put there");
}

#[test]
fn names_and_addresses_to_listen_on_are_understood_or_refused_in_one_sentence() {
    let home = Home::new();
    let table = [
        ("localhost", 2, "--listen localhost: give HOST:PORT"),
        (":80", 2, "--listen :80: give HOST:PORT"),
        ("http://localhost:1", 2, "--listen http://localhost:1: give HOST:PORT"),
        ("127.0.0.1:99999", 2, "--listen 127.0.0.1:99999: give HOST:PORT"),
        ("nobody.invalid:0", 1, "cannot listen on nobody.invalid:0: nobody.invalid has no address"),
        ("192.0.2.7:0", 1, "cannot listen on 192.0.2.7:0: this machine has no such address"),
    ];
    for (listen, code, told) in table {
        home.run(&["serve", "data", "--listen", listen]).failed(code, told);
    }
    let mut command = home.program();
    command.args(["serve", "data", "--listen", "localhost:0"]);
    let (_service, welcome) = serve(command);
    assert!(welcome.contains("serves COS on http://"), "{welcome}");
}

#[test]
fn a_service_keeps_its_logs_where_it_is_told_and_opens_them_anew() {
    let home = Home::new();
    let mut command = home.program();
    command.args(["serve", "data", "--listen", "127.0.0.1:0", "--log-file", "serve.log", "--log-level", "debug"]);
    command.args(["--access-log", "access.log"]);
    let (mut service, _) = serve(command);
    let (log, access) = (home.path().join("serve.log"), home.path().join("access.log"));
    fs::rename(&log, home.path().join("serve.1")).unwrap();
    fs::rename(&access, home.path().join("access.1")).unwrap();
    service.signal(Signal::HUP);
    eventually("both logs are there again", || (log.exists() && access.exists()).then_some(()));
    service.signal(Signal::USR1);
    eventually("it goes on, and says so", || fs::read_to_string(&log).unwrap().contains("SIGUSR1").then_some(()));
    service.signal(Signal::QUIT);
    assert_eq!(service.ended(), Some(0), "as SIGTERM does");
    assert!(home.path().join("data/closed-clean").exists());
}
