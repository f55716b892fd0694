//! Clients that we did not write: the official Python and Node SDKs and coscmd use the local service.
//!
//! What they do and what they must see stands in the scripts of `tests/sdk`; here is the service that they talk to.
//! `scripts/setup` installs them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cosmount::server::{ServerOptions, run};
use cosmount::wire::sign::Credentials;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const SECRET_ID: &str = "AKIDofTheSdkTests";
// The Node SDK checks that it has the form of a real one.
const SECRET_KEY: &str = "ofTheSdkTests0123456789ABCDEFabc";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program that `scripts/setup` has installed below `target`.
fn installed(path: &str) -> PathBuf {
    let program = project().join("target").join(path);
    assert!(program.exists(), "{} is missing: run scripts/setup", program.display());
    program
}

/// Runs `command` beside a service in memory. It finds port and key in its environment, and a directory of its own as
/// its working directory; it fails by its exit code, and what it prints says why.
#[track_caller]
fn run_beside_a_service(mut command: Command) {
    let home = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let credentials = Credentials { secret_id: SECRET_ID.into(), secret_key: SECRET_KEY.into(), token: None };
    let options = ServerOptions { credentials: Some(credentials), ..ServerOptions::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let service = runtime.spawn(run(listener, options, async { drop(stopped.await) }));
    let output = command
        .current_dir(home.path())
        .env("PORT", port.to_string())
        .env("COS_SECRETID", SECRET_ID)
        .env("COS_SECRETKEY", SECRET_KEY)
        .env("HOME", home.path())
        // A proxy of this machine is not for its own loopback.
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    drop(stop);
    runtime.block_on(service).unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
}

#[test]
fn the_official_python_sdk_works() {
    let mut command = Command::new(installed("sdk-python/bin/python"));
    command.arg(project().join("tests/sdk/python_sdk.py"));
    run_beside_a_service(command);
}

#[test]
fn the_official_node_sdk_works() {
    let modules = installed("sdk-node/node_modules");
    let mut command = Command::new("node");
    command.arg(project().join("tests/sdk/node_sdk.js")).env("NODE_PATH", modules);
    run_beside_a_service(command);
}

#[test]
fn coscmd_works() {
    let mut command = Command::new("bash");
    command.arg(project().join("tests/sdk/coscmd.sh")).env("COSCMD", installed("sdk-python/bin/coscmd"));
    run_beside_a_service(command);
}
