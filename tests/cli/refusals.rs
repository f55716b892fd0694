//! Everything that keeps a bucket from being mounted is one sentence and an exit code, and leaves no mount.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::bed::{BUCKET, Done, Home, ID, KEY, Service};

/// Runs `mount` with these arguments and variables, and checks that it fails so and mounts nothing.
#[track_caller]
fn refused(home: &Home, arguments: &[&str], variables: &[(&str, &str)], code: i32, told: &str) {
    let mut command = home.program();
    command.arg("mount").args(arguments).envs(variables.iter().copied());
    Done::of(command.output().unwrap()).failed(code, told);
    assert!(!home.is_mounted(), "nothing is mounted");
}

/// The same, told while whoever mounts still looks.
#[track_caller]
fn refused_soon(home: &Home, arguments: &[&str], variables: &[(&str, &str)], code: i32, told: &str) {
    let began = Instant::now();
    refused(home, arguments, variables, code, told);
    assert!(began.elapsed() < Duration::from_secs(2), "told after {:?}", began.elapsed());
}

pub(crate) const KEYS: [(&str, &str); 2] = [("COS_SECRETID", ID), ("COS_SECRETKEY", KEY)];

#[test]
fn the_service_refuses_in_one_sentence_each() {
    let home = Home::new();
    let service = Service::start(&home);
    let mount = |bucket: &'static str| [bucket, "mnt", "--endpoint", service.endpoint.as_str()];
    let unknown = [("COS_SECRETID", "AKIDother"), ("COS_SECRETKEY", KEY)];
    refused_soon(&home, &mount(BUCKET), &unknown, 3, "does not know the secret id AKIDother: check the credentials");
    let wrong = [("COS_SECRETID", ID), ("COS_SECRETKEY", "hunter2")];
    refused_soon(&home, &mount(BUCKET), &wrong, 3, "the secret key is not the one of the id AKIDtest");
    refused_soon(
        &home,
        &mount("other-1250000000"),
        &KEYS,
        3,
        "there is no bucket other-1250000000 at http://127.0.0.1:",
    );
}

/// Those who issue keys refuse too, or are not there.
#[test]
fn a_key_that_cannot_be_had_is_one_sentence() {
    let home = Home::new();
    let service = Service::start(&home);
    let mount = [BUCKET, "mnt", "--endpoint", service.endpoint.as_str()];
    let role = [&mount[..], &["--cam-role", "reader"]].concat();
    let answers_404 = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://127.0.0.1:{answers_404}/");
    let metadata = [("COSMOUNT_METADATA_URL", url.as_str())];
    let told = "there is no key from this machine's role reader: this machine does not have the role reader";
    refused_soon(&home, &role, &metadata, 3, told);
    let nobody = [("COSMOUNT_METADATA_URL", "http://127.0.0.1:1/")];
    refused_soon(&home, &role, &nobody, 3, "there is no key from this machine's role reader: ");
    let sts = answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 76\r\n\r\n\
          {\"Response\":{\"Error\":{\"Code\":\"AuthFailure.SecretIdNotFound\",\"Message\":\"m\"}}}",
    );
    let url = format!("http://127.0.0.1:{sts}");
    let assumed = [&KEYS[..], &[("TENCENTCLOUD_ROLE_ARN", "arn"), ("COSMOUNT_STS_URL", &url)]].concat();
    refused_soon(&home, &mount, &assumed, 3, "STS refuses: AuthFailure.SecretIdNotFound: m");
    home.write(
        ".config/cosmount/config.toml",
        "credential_process = 'echo hunter2; echo no luck >&2; exit 1'\n",
        0o600,
    );
    refused_soon(&home, &mount, &[], 3, "it ended with exit status: 1: no luck");
    refused_soon(&home, &[BUCKET, "mnt", "--endpoint", "http://192.0.2.7"], &KEYS, 2, "or give --allow-http");
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_named() {
    let home = Home::new();
    // A port that was free a moment ago; nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    refused(&home, &[BUCKET, "mnt", "--endpoint", &endpoint], &KEYS, 3, &format!("{endpoint} cannot be reached"));
}

/// Answers every connection with these bytes, whatever it says, and closes it. Gives the port.
pub(crate) fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(bytes);
        }
    });
    port
}

#[test]
fn what_stands_in_the_way_is_named() {
    let home = Home::new();
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let endpoint = format!("https://127.0.0.1:{plain}");
    refused(&home, &[BUCKET, "mnt", "--endpoint", &endpoint], &KEYS, 3, "does not speak TLS: check the port");
    // A TLS alert, as it comes in answer to plain text.
    let tls = answering(b"\x15\x03\x01\x00\x02\x02\x46");
    let endpoint = format!("http://127.0.0.1:{tls}");
    refused(&home, &[BUCKET, "mnt", "--endpoint", &endpoint], &KEYS, 3, "does not speak plain HTTP: check the port");
    let s3 = answering(b"HTTP/1.1 403 Forbidden\r\nx-amz-request-id: 1\r\ncontent-length: 0\r\n\r\n");
    let endpoint = format!("http://127.0.0.1:{s3}");
    refused(&home, &[BUCKET, "mnt", "--endpoint", &endpoint], &KEYS, 3, "is an S3 service and not COS");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proxy = format!("http://me:hunter2@127.0.0.1:{dead}");
    let told = format!("the proxy 127.0.0.1:{dead} cannot be reached");
    for endpoint in ["http://localhost:9444", "https://cos.corp"] {
        refused(&home, &[BUCKET, "mnt", "--endpoint", endpoint, "--proxy", &proxy], &KEYS, 3, &told);
    }
    refused_soon(&home, &[BUCKET, "mnt", "--region", "ap-guangzou"], &KEYS, 3, "did you mean --region ap-guangzhou?");
}

#[test]
fn the_mount_point_must_be_a_free_directory() {
    let home = Home::new();
    let service = Service::start(&home);
    home.write("file", "", 0o644);
    let mount = |place: &'static str| [BUCKET, place, "--endpoint", service.endpoint.as_str()];
    refused(&home, &mount("none"), &KEYS, 4, "none does not exist; make it with: mkdir -p");
    refused(&home, &mount("file"), &KEYS, 4, "file is not a directory");
    home.mounted(&service, &[]);
    let again = Done::of(home.mount(&service, &[]).output().unwrap());
    again.failed(4, &format!("is busy: {BUCKET} is already mounted there"));
    assert!(home.is_mounted(), "the first mount is left alone");
    home.unmount().succeeded();
}

#[test]
fn the_configuration_must_be_whole() {
    let home = Home::new();
    let region = ["--region", "ap-guangzhou"];
    let mount = |more: &[&'static str]| [&[BUCKET, "mnt"], more].concat();
    refused(&home, &mount(&[]), &KEYS, 2, "which region is the bucket in? Give --region");
    refused(&home, &mount(&region), &[], 2, "no credentials found: set COS_SECRETID and COS_SECRETKEY");
    refused(&home, &mount(&region), &KEYS[..1], 2, "a secret id is given but its key is not");
    refused(&home, &["photos", "mnt"], &KEYS, 2, "\"photos\" is not a bucket's full name: it is NAME-APPID");
    refused(&home, &["mnt"], &KEYS, 2, "which bucket? Give BUCKET-APPID[:/PREFIX] before the mount point");
    refused(&home, &mount(&["-o", "secret_key=hunter2"]), &KEYS, 2, "would be seen by everybody in the process list");
    refused(&home, &mount(&["-o", "alow_other"]), &KEYS, 2, "there is no option \"alow_other\"");
}

#[test]
fn files_with_secrets_that_others_can_read_are_refused() {
    let home = Home::new();
    let mount = [BUCKET, "mnt", "--region", "ap-guangzhou"];
    let config = home.write(".config/cosmount/config.toml", "secret_id = 'a'\nsecret_key = 'hunter2'\n", 0o644);
    let told =
        format!("config.toml holds secrets but others can read it (mode 0644); run: chmod 600 {}", config.display());
    refused(&home, &mount, &KEYS, 2, &told);
    fs::remove_file(config).unwrap();
    home.write(".passwd-cosfs", "id:hunter2\n", 0o640);
    refused(&home, &mount, &[], 2, ".passwd-cosfs holds secrets but others can read it (mode 0640)");
}

/// Any web server answers 200 to something.
#[test]
fn a_server_that_is_not_cos_is_refused() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let mount = [BUCKET, "mnt", "--endpoint", &endpoint];
    refused(&home, &mount, &KEYS, 3, "does not answer as COS does: check the endpoint");
}

#[test]
fn what_was_named_must_be_there_and_a_secret_is_no_flag() {
    let home = Home::new();
    let region = [BUCKET, "mnt", "--region", "ap-guangzhou"];
    let told = format!("{}/none.toml is missing: it was named as the configuration file", home.path().display());
    refused(&home, &[&region[..], &["--config", "none.toml"]].concat(), &KEYS, 2, &told);
    let variable = [KEYS[0], KEYS[1], ("COSMOUNT_CONFIG", "none.toml")];
    refused(&home, &region, &variable, 2, &told);
    let flag = [&region[..], &["--secret-key", "hunter2"]].concat();
    refused(&home, &flag, &[], 2, "--secret-key would be seen by everybody in the process list; set COS_SECRETKEY");
}

#[test]
fn what_is_not_a_mount_cannot_be_unmounted() {
    let home = Home::new();
    home.run(&["unmount", "mnt"]).failed(4, "mnt is not a mount point");
    home.run(&["unmount", "/proc"]).failed(4, "/proc is a mount of type proc, not one of cosmount");
    home.run(&["unmount", "none/none"]).failed(4, "none/none does not exist");
}
