//! One flipped bit anywhere on the way, in heads and bodies, up and down: nothing damaged is stored, and nothing damaged is
//! taken for right where the service gave a checksum.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cosmount::object::{ByteRange, Crc64, ObjectAttributes, ObjectKey};
use cosmount::store::{Body, GetRequest, HttpStore, ObjectStore, Published, RetryOptions, StoreError, StoreErrorKind};
use cosmount::wire::address::Endpoint;
use futures_util::TryStreamExt;

use super::{Bed, http_in_memory};
use crate::flipping::{Flipping, Lane};

/// A store whose way leads through a proxy, and the service behind it as it is.
struct Damaged {
    proxy: Flipping,
    store: Arc<HttpStore>,
    service: Arc<dyn ObjectStore>,
    random: fastrand::Rng,
    _bed: Bed,
}

impl Damaged {
    async fn new(seed: u64) -> Damaged {
        let bed = http_in_memory().await;
        let mut options = bed.options.clone().unwrap();
        let route = options.endpoint.route(&options.bucket);
        let proxy = Flipping::before(route.origin.strip_prefix("http://").unwrap().to_owned()).await;
        options.endpoint = Endpoint::custom(&format!("http://{}", proxy.address)).unwrap();
        // A flipped length makes both ends wait for the other.
        options.timeouts.idle = Duration::from_millis(100);
        let (pause_first, pause_max) = (Duration::from_millis(1), Duration::from_millis(5));
        options.retry = RetryOptions { deadline: Duration::from_secs(20), pause_first, pause_max };
        let (store, service) = (Arc::new(HttpStore::new(options).unwrap()), bed.store.clone());
        Damaged { proxy, store, service, random: fastrand::Rng::with_seed(seed), _bed: bed }
    }

    fn bytes(&mut self, len: usize) -> Bytes {
        std::iter::repeat_with(|| self.random.u8(..)).take(len).collect()
    }

    /// Flips a bit among the next `span` bytes of a direction.
    fn flip(&mut self, lane: impl Fn(&Flipping) -> &Lane, span: u64) {
        let bit = self.random.u64(..span * 8);
        lane(&self.proxy).flip(bit);
    }

    async fn put(&self, bytes: &Bytes) -> Result<Published, StoreError> {
        let (body, crc64) = (Body::from(bytes.clone()), Crc64::of(bytes));
        self.store.put(&key(), body, crc64, &ObjectAttributes::default()).await
    }

    /// What the service has, asked without the proxy.
    async fn stored(&self) -> Bytes {
        let request = GetRequest { key: key(), range: None, if_match: None };
        let pieces: Vec<Bytes> = self.service.get(request).await.unwrap().body.try_collect().await.unwrap();
        pieces.concat().into()
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("dir/k").unwrap()
}

/// Bytes that are damaged each time they are sent are given up, and what was there is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_always_arrives_damaged_leaves_the_old_object() {
    let bed = Damaged::new(2).await;
    let (old, new) = (Bytes::from(vec![b'o'; 500_000]), Bytes::from(vec![b'n'; 500_000]));
    bed.put(&old).await.unwrap();
    bed.proxy.up.spoil(true);
    assert_eq!(bed.put(&new).await.unwrap_err().kind, StoreErrorKind::Corrupted);
    assert!(bed.stored().await == old, "damaged bytes have replaced the object");
    bed.proxy.up.spoil(false);
    bed.put(&new).await.unwrap();
    assert!(bed.stored().await == new);
}

/// One PUT of 1 KiB is about 1.5 KiB up and 0.3 KiB down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_put_never_replaces_what_was_there() {
    let mut bed = Damaged::new(1).await;
    let mut old = bed.bytes(1000);
    bed.put(&old).await.unwrap();
    for round in 0..200 {
        let new = bed.bytes(1000);
        bed.flip(|proxy| &proxy.up, 1400);
        let answer = bed.put(&new).await;
        let flipped = bed.proxy.up.has_flipped();
        let stored = bed.stored().await;
        match answer {
            Ok(published) => {
                assert!(stored == new, "round {round}: a success, and other bytes (flipped: {flipped})");
                assert_eq!(published.etag, bed.service.head(&key()).await.unwrap().etag, "round {round}");
                old = new;
            }
            // Of an error after a flip in the answer nobody knows; in the request only one of the two can be.
            Err(error) => assert!(stored == old || stored == new, "round {round}: damaged bytes are stored: {error}"),
        }
    }
}

/// Whoever compares what was read with the checksum in its head notices every flip, up or down, or gets an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_read_never_looks_like_the_object() {
    let mut bed = Damaged::new(3).await;
    let object = bed.bytes(3000);
    bed.put(&object).await.unwrap();
    let etag = bed.service.head(&key()).await.unwrap().etag;
    let mut noticed = 0;
    for round in 0..300 {
        let (is_up, pinned) = (bed.random.bool(), bed.random.bool());
        if is_up {
            bed.flip(|proxy| &proxy.up, 400)
        } else {
            bed.flip(|proxy| &proxy.down, 3300)
        }
        let request = GetRequest { key: key(), range: None, if_match: pinned.then(|| etag.clone()) };
        let read = async {
            let reading = bed.store.get(request).await?;
            let pieces: Vec<Bytes> = reading.body.try_collect().await?;
            Ok::<_, StoreError>((reading.head, pieces.concat()))
        };
        match read.await {
            Ok((head, bytes)) if Some(Crc64::of(&bytes)) == head.crc64 => {
                assert!(bytes == object, "round {round}: damaged bytes pass for the object");
                assert!(!pinned || head.etag == etag, "round {round}: another version than the pinned one");
            }
            Ok(_) | Err(_) => noticed += 1,
        }
        for lane in [&bed.proxy.up, &bed.proxy.down] {
            lane.has_flipped();
        }
    }
    assert!(noticed > 100, "most flips hit the body: {noticed}");
}

/// What an answer's head says twice, or what was asked for, is never believed when it is damaged: a range is the range.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_head_never_moves_a_range() {
    let mut bed = Damaged::new(4).await;
    let object = bed.bytes(3000);
    bed.put(&object).await.unwrap();
    let etag = bed.service.head(&key()).await.unwrap().etag;
    for round in 0..300 {
        // The heads alone: of the bytes of a range the service gives no checksum.
        if bed.random.bool() {
            bed.flip(|proxy| &proxy.up, 400)
        } else {
            bed.flip(|proxy| &proxy.down, 300)
        }
        let range = ByteRange::new(1000, 2000);
        let request = GetRequest { key: key(), range, if_match: Some(etag.clone()) };
        let read = async {
            let pieces: Vec<Bytes> = bed.store.get(request).await?.body.try_collect().await?;
            Ok::<_, StoreError>(pieces.concat())
        };
        if let Ok(bytes) = read.await {
            assert!(bytes == object[1000..2000], "round {round}: other bytes than those of the range");
        }
        for lane in [&bed.proxy.up, &bed.proxy.down] {
            lane.has_flipped();
        }
    }
}
