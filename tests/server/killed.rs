//! What a killed service leaves: all that it acknowledged, nothing half-written, no garbage.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cosmount::wire::request::Method;

use crate::bed::{HOST, Reply, credentials, head, signed};

/// `cosmount serve` as a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(directory: &Path) -> Process {
        let key = credentials();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cosmount"))
            .args(["serve", "--listen", "127.0.0.1:0", "--min-part-bytes", "4"])
            .arg(directory)
            .env("COS_SECRETID", key.secret_id)
            .env("COS_SECRETKEY", key.secret_key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().rsplit('/').next().and_then(|address| address.parse().ok());
        Process { child, address: address.unwrap_or_else(|| panic!("no address in {first:?}")) }
    }

    /// Sends a request; `None` if the service died before it had answered.
    fn ask(&self, method: Method, path: &str, query: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let request = signed(&head(method, path, query, &[]), HOST, &credentials(), body);
        std::io::Write::write_all(&mut stream, &request).ok()?;
        Reply::try_read(&mut stream)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The body of the `n`th object: its bytes tell which it is.
fn body(n: usize) -> Vec<u8> {
    // Most fit one block of the service, some do not.
    let bytes = if n.is_multiple_of(5) { 2_500_000 + n } else { n };
    (0..bytes).map(|at| (at * 31 + n * 7) as u8).collect()
}

/// Writes objects and parts until the service is killed, and returns which were acknowledged.
fn write_until_killed(process: &mut Process, round: usize) -> (Vec<usize>, String, Vec<(usize, String)>) {
    let begun = process.ask(Method::Post, &format!("/upload-{round}"), &[("uploads", "")], b"").unwrap();
    let upload = begun.element("UploadId");
    let (next, killed, acknowledged) = (AtomicUsize::new(1), AtomicBool::new(false), AtomicUsize::new(0));
    let (objects, parts) = std::thread::scope(|scope| {
        let shared: &Process = process;
        let (next, killed, acknowledged, upload) = (&next, &killed, &acknowledged, &upload);
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let (mut objects, mut parts) = (Vec::new(), Vec::new());
                    while !killed.load(Ordering::SeqCst) {
                        let n = next.fetch_add(1, Ordering::SeqCst);
                        let bytes = body(n);
                        let (path, query) = (format!("/object-{round}-{n}"), [("partNumber", n.to_string())]);
                        let of_upload = [("partNumber", query[0].1.as_str()), ("uploadId", upload)];
                        let put = shared.ask(Method::Put, &path, &[], &bytes);
                        objects.extend(put.filter(|reply| reply.status == 200).map(|_| n));
                        let put = shared.ask(Method::Put, &format!("/upload-{round}"), &of_upload, &bytes);
                        let etag = |reply: Reply| reply.header("etag").unwrap().to_owned();
                        parts.extend(put.filter(|reply| reply.status == 200).map(|reply| (n, etag(reply))));
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                    (objects, parts)
                })
            })
            .collect();
        // Killed while the writers are in the middle of something, each round at another point.
        while acknowledged.load(Ordering::SeqCst) < 20 + round * 7 {
            std::thread::yield_now();
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&shared.child), rustix::process::Signal::KILL)
            .unwrap();
        killed.store(true, Ordering::SeqCst);
        let wrote: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let (objects, parts): (Vec<_>, Vec<_>) = wrote.into_iter().unzip();
        (objects.concat(), parts.concat())
    });
    process.child.wait().unwrap();
    (objects, upload, parts)
}

fn segment_files(directory: &Path) -> usize {
    let fans = std::fs::read_dir(directory.join("segments")).unwrap();
    fans.map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn what_was_acknowledged_survives_kill_9_whole() {
    let home = tempfile::tempdir().unwrap();
    let mut process = Process::start(home.path());
    for round in 0..3 {
        let (objects, upload, parts) = write_until_killed(&mut process, round);
        assert!(objects.len() > 10 && parts.len() > 10, "{} {}", objects.len(), parts.len());
        process = Process::start(home.path());
        for &n in &objects {
            let reply = process.ask(Method::Get, &format!("/object-{round}-{n}"), &[], b"").unwrap();
            assert_eq!((reply.status, reply.body == body(n)), (200, true), "object {n} of round {round}");
        }
        let prefix = format!("object-{round}-");
        let listed = process.ask(Method::Get, "/", &[("prefix", &prefix)], b"").unwrap().elements("Key");
        for key in &listed {
            // Also what was stored although nobody was told is whole.
            let n = key[prefix.len()..].parse().unwrap();
            let reply = process.ask(Method::Get, &format!("/{key}"), &[], b"").unwrap();
            assert!(reply.body == body(n), "{key}");
        }
        let found = process.ask(Method::Get, &format!("/upload-{round}"), &[("uploadId", &upload)], b"").unwrap();
        let (numbers, etags) = (found.elements("PartNumber"), found.elements("ETag"));
        for (n, etag) in &parts {
            let at = numbers.iter().position(|number| *number == n.to_string());
            assert_eq!(at.map(|at| &etags[at]), Some(etag), "part {n} of round {round}");
        }
        let path = format!("/upload-{round}");
        assert_eq!(process.ask(Method::Delete, &path, &[("uploadId", &upload)], b"").unwrap().status, 204);
        let all = process.ask(Method::Get, "/", &[], b"").unwrap().elements("Key");
        assert_eq!(segment_files(home.path()), all.len(), "one file for each object, and nothing else");
    }
}
