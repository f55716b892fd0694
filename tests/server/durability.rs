//! What survives an end of the service, in order or not.

use cosmount::server::{load_or_create_credentials, run};
use cosmount::wire::request::Method;

use crate::bed::{Bed, HOST, Reply, head, signed};

fn on_disk(directory: &std::path::Path) -> Bed {
    let directory = directory.to_owned();
    Bed::with(move |options| options.directory = Some(directory))
}

#[test]
fn a_restart_keeps_objects_and_uploads() {
    let home = tempfile::tempdir().unwrap();
    let mut bed = on_disk(home.path());
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7) as u8).collect();
    bed.put("/a", &bytes);
    let id = bed.initiate("/b");
    let etag = bed.part("/b", &id, 1, b"part");
    bed.stop();
    let bed = on_disk(home.path());
    assert_eq!(bed.get("/a").body, bytes);
    assert_eq!(bed.complete("/b", &id, &[(1, &etag)]).status, 200);
    assert_eq!(bed.get("/b").body, b"part");
}

#[test]
fn a_request_that_runs_when_the_service_stops_is_finished() {
    let mut bed = Bed::with(|options| options.latency = std::time::Duration::from_millis(300));
    let mut stream = bed.connect();
    let put = signed(&head(Method::Put, "/a", &[], &[]), HOST, &bed.credentials, b"x");
    std::io::Write::write_all(&mut stream, &put).unwrap();
    // A second, whole exchange shows that the first, older one has been taken up.
    bed.put("/b", b"x");
    bed.stop();
    assert_eq!(Reply::read(&mut stream, false).status, 200);
    assert!(std::net::TcpStream::connect(bed.address).is_err(), "nobody listens any more");
}

#[test]
fn a_service_without_a_given_key_keeps_its_own() {
    let home = tempfile::tempdir().unwrap();
    let kept = load_or_create_credentials(home.path()).unwrap();
    let directory = home.path().to_owned();
    let bed = Bed::with(move |options| {
        options.directory = Some(directory);
        options.credentials = None;
    });
    let list = head(Method::Get, "/", &[], &[]);
    assert_eq!(bed.exchange(&signed(&list, HOST, &kept, b""), false).status, 200);
    bed.exchange(&signed(&list, HOST, &bed.credentials, b""), false).assert_refused(403, "InvalidAccessKeyId");
}

#[test]
fn a_directory_serves_one_service_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let bed = on_disk(home.path());
    bed.put("/a", b"x");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let second = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = cosmount::server::ServerOptions { directory: Some(home.path().to_owned()), ..Default::default() };
        run(listener, options, std::future::pending()).await
    });
    assert!(second.is_err());
    assert_eq!(bed.get("/a").body, b"x");
}

/// The only file of a segment in the directory of a service.
fn only_segment(directory: &std::path::Path) -> std::path::PathBuf {
    let fans = std::fs::read_dir(directory.join("segments")).unwrap();
    let mut files =
        fans.flat_map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap()).map(|file| file.unwrap().path());
    let file = files.next().unwrap();
    assert!(files.next().is_none());
    file
}

#[test]
fn damaged_bytes_are_an_error_and_not_an_answer() {
    let home = tempfile::tempdir().unwrap();
    let bed = on_disk(home.path());
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7) as u8).collect();
    bed.put("/a", &bytes);
    let segment = only_segment(home.path());
    let mut damaged = bytes.clone();
    damaged[2_000_000] ^= 4;
    std::fs::write(&segment, damaged).unwrap();
    bed.get("/a").assert_refused(500, "DamagedObject");
    let range = |range: &str| bed.ask(Method::Get, "/a", &[], &[("range", range)], b"");
    range("bytes=2000000-2000000").assert_refused(500, "DamagedObject");
    assert_eq!(range("bytes=0-99").body, &bytes[..100], "the rest is served");
    std::fs::write(&segment, &bytes).unwrap();
    assert_eq!(bed.get("/a").body, bytes);
    std::fs::remove_file(&segment).unwrap();
    bed.get("/a").assert_refused(500, "DamagedObject");
}

#[test]
fn a_full_disk_is_told_by_name() {
    let home = tempfile::tempdir().unwrap();
    let bed = on_disk(home.path());
    bed.put("/a", b"bytes");
    let used: u64 = u64::from_str_radix(only_segment(home.path()).file_name().unwrap().to_str().unwrap(), 16).unwrap();
    // Whatever is stored next goes there.
    for id in used + 1..used + 8 {
        let path = home.path().join(format!("segments/{:02x}/{id:016x}", id & 0xFF));
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
    let put = |bytes: &[u8]| bed.ask(Method::Put, "/b", &[], &[], bytes);
    put(b"more").assert_refused(507, "InsufficientStorage");
    put(&vec![7; 3_000_000]).assert_refused(507, "InsufficientStorage");
    assert_eq!(bed.get("/a").body, b"bytes");
    bed.get("/b").assert_refused(404, "NoSuchKey");
    assert_eq!(bed.ask(Method::Delete, "/a", &[], &[], b"").status, 204, "what frees room works");
}
