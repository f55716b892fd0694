//! `--metrics-listen`: where it is, and what happens when it cannot be there.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::{fs, net::TcpStream};

use crate::bed::{Done, Home, Service, eventually, foreground};

fn asked(mut connection: impl Read + Write, path: &str) -> String {
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

#[test]
fn a_port_that_somebody_has_fails_before_anything_is_mounted() {
    let home = Home::new();
    let service = Service::start(&home);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = home.mount(&service, &["--metrics-listen", &address]).output().unwrap();
    Done::of(output).failed(2, "give --metrics-listen another port, or 0 for any that is free");
    assert!(!home.is_mounted() && service.requests().is_empty(), "nobody was asked");
    let output = home.mount(&service, &["--metrics-listen", "somewhere:80"]).output().unwrap();
    let done = Done::of(output);
    assert!(done.code == Some(2) && done.stderr.contains("as 9464"), "{done:?}");
}

#[test]
fn a_free_port_is_told_by_the_log_and_by_the_document() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &["--metrics-listen", "0", "--log-file", "log"]);
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    let url = log.split("metrics and page on ").nth(1).unwrap().lines().next().unwrap();
    let port = url.strip_prefix("http://127.0.0.1:").unwrap().trim_end_matches('/');
    let address = format!("127.0.0.1:{port}");
    let document = asked(TcpStream::connect(&address).unwrap(), "/status.json");
    assert!(document.contains(&format!("\"metrics\":\"{url}\"")), "{document}");
    home.unmount().succeeded();
    // The mount has gone when this command returns, and its process is about to.
    eventually("the page goes with the mount", || TcpStream::connect(&address).err());
}

#[test]
fn a_unix_socket_is_for_its_owner_and_goes_with_the_mount() {
    let home = Home::new();
    let service = Service::start(&home);
    let path = home.path().join("page.sock");
    let mut mount = foreground(&home, &service, &["--metrics-listen", "unix:page.sock"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(asked(UnixStream::connect(&path).unwrap(), "/metrics").contains("cosmount_build_info"));
    home.unmount().succeeded();
    assert_eq!(mount.ended(), Some(0));
    assert!(!path.exists());

    // One that a killed mount has left is no obstacle.
    let mut killed = foreground(&home, &service, &["--metrics-listen", "unix:page.sock"]);
    // Not while it asks its own mount for the first time: the kernel would wait for that answer for ever.
    eventually("the mount can be asked", || (home.run(&["status", "mnt"]).code == Some(0)).then_some(()));
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    let gone = std::process::Command::new("fusermount3").args(["-u", "-z"]).arg(home.mount_point()).status();
    assert!(gone.unwrap().success() && path.exists());
    let _mount = foreground(&home, &service, &["--metrics-listen", path.to_str().unwrap()]);
    // The page has its address before anything is mounted, and the mount its socket right after that.
    eventually("the mount can be asked", || (home.run(&["status", "mnt"]).code == Some(0)).then_some(()));
    assert!(UnixStream::connect(&path).is_ok());
    home.unmount().succeeded();
}

#[test]
fn prices_make_an_estimate_and_wrong_ones_are_refused() {
    let home = Home::new();
    let service = Service::start(&home);
    let prices = "[prices]\ncurrency = 'CNY'\nper_10000_read_requests = 100\n";
    home.write(".config/cosmount/config.toml", prices, 0o644);
    let _mount = foreground(&home, &service, &["--metrics-listen", "unix:page.sock"]);
    let metrics = asked(UnixStream::connect(home.path().join("page.sock")).unwrap(), "/metrics");
    let cost = metrics.lines().find_map(|line| line.strip_prefix("cosmount_estimated_cost_total{"));
    let (labels, amount) = cost.unwrap().split_once("} ").unwrap();
    assert_eq!(labels, "currency=\"CNY\",item=\"read_requests\"");
    let reads = service.requests().iter().filter(|request| !request.starts_with("Put")).count();
    assert_eq!(amount.parse::<f64>().unwrap(), reads as f64 / 100.0);
    eventually("the mount can be asked", || (home.run(&["status", "mnt"]).code == Some(0)).then_some(()));
    home.unmount().succeeded();
    home.write(".config/cosmount/config.toml", "[prices]\nper_gib_down = 1\n", 0o644);
    let output = home.mount(&service, &[]).output().unwrap();
    Done::of(output).failed(2, "there are prices without a currency");
}
