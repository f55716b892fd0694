//! The client and the file system over it, against a service that does wrong as a plan says: what was told to be well is
//! right in the bucket, which is looked at once the service has been started anew without a plan.
//!
//! `COSMOUNT_PLANNED_FLIPS` says how many bits flip (300 by default), `COSMOUNT_SEED` with which seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosmount::config::parse_fault_plan;
use cosmount::object::{BucketName, Crc64, ObjectAttributes, ObjectKey};
use cosmount::server::{self, FaultPlan, ServerOptions};
use cosmount::store::{
    Body, GetRequest, HttpOptions, HttpStore, ListRequest, ObjectStore, RetryOptions, StoreErrorKind,
};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use futures_util::TryStreamExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::mounted::Mounted;

const MIB: usize = 1 << 20;

/// A service on the disk that can be started anew.
struct Planned {
    home: TempDir,
    options: HttpOptions,
    latency: Duration,
    stop: Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

fn key() -> Credentials {
    Credentials { secret_id: "AKIDx".into(), secret_key: "s".into(), token: None }
}

impl Planned {
    async fn start(plan: &str) -> Planned {
        Planned::start_far_away(plan, Duration::ZERO).await
    }

    /// The same with a service that takes so long for each answer.
    async fn start_far_away(plan: &str, latency: Duration) -> Planned {
        let bucket = BucketName::new("photos-1250000000").unwrap();
        let endpoint = Endpoint::custom("http://127.0.0.1:1").unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut options = HttpOptions::new(endpoint, bucket, key());
        options.timeouts.idle = Duration::from_millis(700);
        let (pause_first, pause_max) = (Duration::from_millis(1), Duration::from_millis(20));
        options.retry = RetryOptions { deadline: Duration::from_secs(10), pause_first, pause_max };
        let mut planned = Planned { home, options, latency, stop: None };
        planned.serve(Some(parse_fault_plan(Path::new("plan"), plan).unwrap())).await;
        planned
    }

    async fn serve(&mut self, faults: Option<FaultPlan>) {
        let options = ServerOptions {
            directory: Some(self.home.path().join("data")),
            access_log: Some(self.home.path().join("access.log")),
            buckets: vec![self.options.bucket.clone()],
            credentials: Some(key()),
            faults,
            latency: self.latency,
            ..ServerOptions::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.options.endpoint = Endpoint::custom(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            // A test that has ended takes the directory along.
            let _ = server::run(listener, options, async { drop(stopped.await) }).await;
        });
        self.stop = Some((stop, task));
    }

    /// The bucket, at a service without a plan.
    async fn afterwards(&mut self) -> HttpStore {
        let (stop, task) = self.stop.take().unwrap();
        drop(stop);
        task.await.unwrap();
        self.serve(None).await;
        self.store()
    }

    fn store(&self) -> HttpStore {
        HttpStore::new(self.options.clone()).unwrap()
    }

    fn mount(&self) -> Mounted {
        Mounted::over(Arc::new(self.store()))
    }

    /// How often each fault has struck.
    fn struck(&self) -> BTreeMap<String, usize> {
        let mut struck = BTreeMap::new();
        // It is not there before the first request.
        let log = std::fs::read_to_string(self.home.path().join("access.log")).unwrap_or_default();
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(fault) = line["fault"].as_str() {
                *struck.entry(fault.to_owned()).or_default() += 1;
            }
        }
        struck
    }
}

async fn objects(store: &HttpStore) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    for listed in store.list(ListRequest::default()).await.unwrap().objects {
        let request = GetRequest { key: ObjectKey::new(&listed.key).unwrap(), range: None, if_match: None };
        let pieces: Vec<Bytes> = store.get(request).await.unwrap().body.try_collect().await.unwrap();
        objects.insert(listed.key, pieces.concat());
    }
    objects
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

async fn put(store: &HttpStore, key: &str, bytes: Vec<u8>) {
    let (key, bytes) = (ObjectKey::new(key).unwrap(), Bytes::from(bytes));
    let (body, crc64) = (Body::from(bytes.clone()), Crc64::of(&bytes));
    store.put(&key, body, crc64, &ObjectAttributes::default()).await.unwrap();
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// Bits of bodies and headers flip, up and down, in every other request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bit_that_flips_by_plan_is_taken_for_right() {
    let (flips, seed) = (number("COSMOUNT_PLANNED_FLIPS", 300), number("COSMOUNT_SEED", 1));
    let plan = format!(
        "seed = {seed}\n\
         [[rule]]\nop = ['PutObject', 'UploadPart', 'CompleteMultipartUpload']\nprobability = 0.2\nkind = 'flip'\nof = 'request'\n\
         [[rule]]\nop = ['GetObject', 'CompleteMultipartUpload', 'InitiateMultipartUpload']\nprobability = 0.2\nkind = 'flip'\nof = 'answer'\n\
         [[rule]]\nop = ['PutObject', 'UploadPart', 'GetObject']\nprobability = 0.15\nkind = 'flip_header'\nof = 'request'\n\
         [[rule]]\nop = ['PutObject', 'UploadPart', 'GetObject', 'CompleteMultipartUpload']\nprobability = 0.15\nkind = 'flip_header'\nof = 'answer'\n"
    );
    let mut bed = Planned::start(&plan).await;
    let mount = bed.mount();
    let (mut certain, mut told) = (BTreeMap::new(), 0);
    let has_flipped = |bed: &Planned| bed.struck().values().sum::<usize>() as u64;
    for round in 0.. {
        if round % 20 == 0 && has_flipped(&bed) >= flips {
            break;
        }
        let name = format!("{round}");
        let bytes = content(seed + round, if round % 10 == 0 { 2 * MIB + 17 } else { 5000 });
        match mount.make(&name, &bytes).await {
            Ok(()) => drop(certain.insert(name.clone(), bytes.clone())),
            Err(_) => {
                told += 1;
                continue;
            }
        }
        match mount.read(&name).await {
            Ok(read) => assert!(read == bytes, "seed {seed}: {name} was read otherwise and told to be well"),
            Err(_) => told += 1,
        }
    }
    println!("seed {seed}: {:?}, {told} failures told, {} written", bed.struck(), certain.len());
    let bucket = bed.afterwards().await;
    for (name, bytes) in certain {
        let request = GetRequest { key: ObjectKey::new(&name).unwrap(), range: None, if_match: None };
        let pieces: Vec<Bytes> = bucket.get(request).await.unwrap().body.try_collect().await.unwrap();
        assert!(pieces.concat() == bytes, "seed {seed}: {name} is another in the bucket and was told to be well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_answered_wrongly_ends_in_one_object_that_is_right() {
    let ways = ["kind = 'wrong_crc64'", "kind = 'error_inside'", "kind = 'lose_answer'", "kind = 'twice'"];
    for way in ways {
        let plan = format!("[[rule]]\nop = 'UploadPart'\npart = 37\nnth = 1\n{way}\n");
        let mut bed = Planned::start(&plan).await;
        let bytes = content(1, 40 * MIB + 5);
        bed.mount().make("file", &bytes).await.unwrap();
        assert_eq!(bed.struck().values().sum::<usize>(), 1, "{way}");
        let bucket = bed.afterwards().await;
        assert!(objects(&bucket).await == BTreeMap::from([("file".to_owned(), bytes)]), "{way}");
        assert!(bucket.list_uploads("").await.unwrap().is_empty(), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_that_is_lost_repeated_or_fails_inside_ends_in_one_object_that_is_right() {
    let ways = [
        "nth = 1\nkind = 'lose_answer'",
        "nth = 1\nkind = 'twice'",
        "limit = 2\nkind = 'error_inside'",
        "nth = 1\nkind = 'reset'\nat = 'during'",
        "nth = 1\nkind = 'truncate'\nof = 'answer'",
        "nth = 1\nkind = 'stall'\nat = 'before'\nseconds = 2",
    ];
    for way in ways {
        let plan = format!("[[rule]]\nop = 'CompleteMultipartUpload'\n{way}\n");
        let mut bed = Planned::start(&plan).await;
        let bytes = content(1, 3 * MIB + 5);
        bed.mount().make("file", &bytes).await.unwrap();
        assert!(!bed.struck().is_empty(), "{way}");
        let bucket = bed.afterwards().await;
        assert!(objects(&bucket).await == BTreeMap::from([("file".to_owned(), bytes)]), "{way}");
        assert!(bucket.list_uploads("").await.unwrap().is_empty(), "{way}");
    }
}

/// One machine behind the service has another clock: its refusal is mended, and so is what others signed by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_for_one_request_fails_none() {
    let rule = |nth: u32| format!("[[rule]]\nnth = {nth}\nkind = 'clock'\nseconds = 7200\n");
    let bed = Planned::start(&[1, 20, 50].map(rule).concat()).await;
    let store = Arc::new(bed.store());
    for round in 0..100 {
        put(&store, &format!("{round}"), content(round, 100)).await;
    }
    assert_eq!(bed.struck()["clock"], 3);
}

#[tokio::test]
async fn a_page_that_is_wrong_once_is_asked_for_again_and_one_that_repeats_is_an_error() {
    for page in ["repeat", "disorder", "duplicate"] {
        for (limit, is_error) in [("limit = 1\n", false), ("", page == "repeat")] {
            let plan = format!("[[rule]]\n{limit}kind = 'listing'\npage = '{page}'\n");
            let bed = Planned::start(&plan).await;
            let store = bed.store();
            for name in ["a", "b", "c", "d", "e"] {
                put(&store, name, vec![1]).await;
            }
            let (mut marker, mut names, mut pages) = (Some("a".to_owned()), Vec::new(), 0);
            let ended = loop {
                let wanted = ListRequest { marker, max_keys: Some(2), ..ListRequest::default() };
                match store.list(wanted).await {
                    Ok(listed) => {
                        names.extend(listed.objects.into_iter().map(|object| object.key));
                        marker = listed.next_marker;
                    }
                    Err(error) => break Err(error.kind),
                }
                pages += 1;
                assert!(pages < 10, "{page}: it goes on");
                if marker.is_none() {
                    break Ok(());
                }
            };
            match is_error {
                true => assert_eq!(ended, Err(StoreErrorKind::Protocol), "{page}"),
                false if limit.is_empty() => {}
                false => assert_eq!((ended, names.join("")), (Ok(()), "bcde".to_owned()), "{page}"),
            }
        }
    }
}

/// A peer that takes the first request on a connection and says nothing, and answers whoever comes on another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_stalls_is_sent_again_on_a_fresh_connection_and_its_own_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = tokio::spawn(async move {
        let (mut stalled, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 << 10];
        assert!(stalled.read(&mut bytes).await.unwrap() > 0);
        let (mut fresh, _) = listener.accept().await.unwrap();
        assert!(fresh.read(&mut bytes).await.unwrap() > 0);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: \"e\"\r\nx-cos-request-id: i\r\n\
                      last-modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n";
        fresh.write_all(answer.as_bytes()).await.unwrap();
        // The stalled one ends, and carries nothing more.
        let ended = tokio::time::timeout(Duration::from_secs(5), stalled.read(&mut bytes)).await;
        assert_eq!(ended.expect("the stalled connection is closed").unwrap_or(0), 0);
        fresh
    });
    let mut bed = Planned::start("").await;
    bed.options.endpoint = Endpoint::custom(&format!("http://{address}")).unwrap();
    let began = Instant::now();
    bed.store().head(&ObjectKey::new("k").unwrap()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    peer.await.unwrap();
}

/// Many requests at once, all of which go well in the end: one task for each key.
async fn put_many(store: &Arc<HttpStore>, keys: u64) {
    let mut puts = tokio::task::JoinSet::new();
    for key in 0..keys {
        let store = store.clone();
        puts.spawn(async move { put(&store, &format!("{key}"), content(key, 200)).await });
    }
    puts.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_throttles_is_asked_more_slowly() {
    let plan = "[[rule]]\nop = 'PutObject'\nkind = 'throttle'\nrequests_per_second = 100\n";
    let mut bed = Planned::start_far_away(plan, Duration::from_millis(40)).await;
    bed.options.retry.pause_first = Duration::from_millis(20);
    bed.options.retry.pause_max = Duration::from_millis(500);
    let store = Arc::new(bed.store());
    put_many(&store, 600).await;
    let slowed = bed.struck()["throttle"];
    println!("{slowed} of 600 requests and more were told to slow down");
    // 500 of those that come at once; those that came again would be as many without a change of pace.
    assert!(slowed < 500 + 250, "{slowed}");
}

/// A way to the service that can be closed: who comes meanwhile is turned away at once.
async fn closable(upstream: String) -> (String, Arc<AtomicBool>, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (is_closed, turned_away) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (closed, counter) = (is_closed.clone(), turned_away.clone());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if closed.load(Ordering::SeqCst) {
                counter.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let (upstream, closed) = (upstream.clone(), closed.clone());
            tokio::spawn(async move {
                let mut service = TcpStream::connect(&upstream).await.unwrap();
                let cut = async {
                    while !closed.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut service) => {}
                    () = cut => {}
                }
            });
        }
    });
    (address, is_closed, turned_away)
}

/// As long as it is gone it is asked now and then, and everything arrives when it is back, within the deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_gone_for_a_while_is_not_stormed_and_fails_nothing() {
    let mut bed = Planned::start("").await;
    let origin = bed.options.endpoint.route(&bed.options.bucket).origin;
    let (address, is_closed, turned_away) = closable(origin.strip_prefix("http://").unwrap().to_owned()).await;
    bed.options.endpoint = Endpoint::custom(&format!("http://{address}")).unwrap();
    bed.options.retry.pause_max = Duration::from_millis(200);
    let store = Arc::new(bed.store());
    put(&store, "before", vec![1]).await;
    is_closed.store(true, Ordering::SeqCst);
    let puts = tokio::spawn({
        let store = store.clone();
        async move { put_many(&store, 300).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = turned_away.load(Ordering::SeqCst);
    is_closed.store(false, Ordering::SeqCst);
    let back = Instant::now();
    puts.await.unwrap();
    println!("asked {asked} times in 5 s, all was well {:?} after the network was back", back.elapsed());
    // Each request once, what the budget has, and ten a second; a tenth of a second's pause for each would make thousands.
    assert!(asked < 300 + 100 + 60, "{asked}");
    assert!(back.elapsed() < Duration::from_secs(5));
}

/// In the middle of a large file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_gone_for_a_while_does_not_fail_a_file_that_goes_up() {
    let mut bed = Planned::start_far_away("", Duration::from_millis(100)).await;
    let origin = bed.options.endpoint.route(&bed.options.bucket).origin;
    let (address, is_closed, turned_away) = closable(origin.strip_prefix("http://").unwrap().to_owned()).await;
    bed.options.endpoint = Endpoint::custom(&format!("http://{address}")).unwrap();
    let (mount, bytes) = (bed.mount(), content(1, 40 * MIB));
    let making = tokio::spawn({
        let (mount, bytes) = (mount.clone(), bytes.clone());
        async move { mount.make("file", &bytes).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    is_closed.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(4)).await;
    is_closed.store(false, Ordering::SeqCst);
    making.await.unwrap().unwrap();
    assert!(turned_away.load(Ordering::SeqCst) > 0);
    let bucket = bed.afterwards().await;
    assert!(objects(&bucket).await == BTreeMap::from([("file".to_owned(), bytes)]));
    assert!(bucket.list_uploads("").await.unwrap().is_empty());
}

/// One part whose answer stands still is sent once more, unless the service has told to slow down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_stands_still_is_sent_over_another_connection_unless_the_service_throttles() {
    let stall = "[[rule]]\nop = 'UploadPart'\npart = 6\nnth = 1\nkind = 'stall'\nat = 'before'\nseconds = 4\n";
    let slow_down = "[[rule]]\nop = 'UploadPart'\npart = 2\nnth = 1\nkind = 'status'\ncode = 'SlowDown'\n";
    for (plan, is_hedged) in [(stall.to_owned(), true), (format!("{stall}{slow_down}"), false)] {
        let mut bed = Planned::start(&plan).await;
        bed.options.timeouts.idle = Duration::from_secs(30);
        let (bytes, began) = (content(1, 8 * MIB + 5), Instant::now());
        bed.mount().make("file", &bytes).await.unwrap();
        assert_eq!(began.elapsed() < Duration::from_secs(4), is_hedged, "{:?}", began.elapsed());
        let bucket = bed.afterwards().await;
        assert!(objects(&bucket).await == BTreeMap::from([("file".to_owned(), bytes)]));
    }
}
