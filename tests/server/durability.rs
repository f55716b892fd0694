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
