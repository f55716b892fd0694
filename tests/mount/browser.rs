//! Chromium with nobody in front of it, and what a plain request gets.
//!
//! `scripts/setup` installs both the browser and what drives it (`tests/page`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::bed::Bed;

/// What Debian, Ubuntu and others call it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    /// Closed to end it.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    pub(crate) fn start() -> Browser {
        let modules = project().join("target/page/node_modules");
        assert!(modules.exists(), "{} is missing: run scripts/setup", modules.display());
        let chromium = NAMES.iter().find_map(|name| in_search_path(name));
        let mut command = Command::new("node");
        command.arg(project().join("tests/page/browser.mjs")).env("NODE_MODULES", modules);
        command.env("CHROMIUM", chromium.expect("Chromium is missing: run scripts/setup"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, answers) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Browser { process, commands, answers }
    }

    /// Opens an address in a window of this width.
    pub(crate) fn open(&mut self, url: &str, width: u32, more: Value) -> u64 {
        let mut command = json!({ "command": "open", "url": url, "width": width });
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.tell(&command)["status"].as_u64().unwrap()
    }

    /// Does one of the commands of `tests/page/browser.mjs` that take nothing.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> Value {
        self.tell(&json!({ "command": command }))
    }

    /// Does a command; it must work.
    #[track_caller]
    pub(crate) fn tell(&mut self, command: &Value) -> Value {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).expect("the browser is alive");
        assert!(answer.get("error").is_none(), "{command}: {}", answer["error"]);
        answer["answer"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It closes the browser when there is nothing more to do, and then ends.
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program that is installed, by the system or by `scripts/setup`.
pub(crate) fn installed(name: &str) -> PathBuf {
    let own = project().join("target/page").join(name);
    let found = in_search_path(name).or_else(|| own.exists().then_some(own));
    found.unwrap_or_else(|| panic!("{name} is missing: run scripts/setup"))
}

fn in_search_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.exists())
}

/// Where the mount shows how it fares, with a slash at the end.
pub(crate) fn page_of(bed: &Bed) -> String {
    let log = bed.log();
    let line = log.lines().rfind(|line| line.contains("metrics and page on ")).expect("the log says where");
    line.rsplit(' ').next().unwrap().to_owned()
}

/// The body of what is at an address; it must be there.
#[track_caller]
pub(crate) fn got(page: &str, path: &str) -> String {
    let host = page.trim_start_matches("http://").trim_end_matches('/');
    let mut connection = TcpStream::connect(host).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The document that tells how the mount fares.
#[track_caller]
pub(crate) fn status(page: &str) -> Value {
    serde_json::from_str(&got(page, "/status.json")).unwrap()
}
