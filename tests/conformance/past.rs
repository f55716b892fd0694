//! A bucket as it was at a moment.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cosmount::clock::Clock;
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
use cosmount::server::ServerOptions;
use cosmount::store::{AsOf, Body, GetRequest, HttpStore, ListPage, ListRequest, ObjectStore, StoreErrorKind};
use futures_util::TryStreamExt;

const SECONDS: Duration = Duration::from_secs(10);

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// A bucket that keeps versions, and the hands of its clock.
struct Past {
    store: Arc<HttpStore>,
    clock: Clock,
    _bed: super::Bed,
}

impl Past {
    async fn new() -> Past {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let clock = Clock::manual(now);
        let bed = super::served(ServerOptions { clock: clock.clone(), ..ServerOptions::default() }, ()).await;
        let store = Arc::new(HttpStore::new(bed.options.clone().unwrap()).unwrap());
        store.set_versioning(true).await.unwrap();
        Past { store, clock, _bed: bed }
    }

    async fn put(&self, name: &str, text: &'static str) {
        let body = Body::from(Bytes::from(text));
        let attributes = ObjectAttributes { user: [("said".to_owned(), text.to_owned())].into(), ..Default::default() };
        self.store.put(&key(name), body, Crc64::of(text.as_bytes()), &attributes).await.unwrap();
    }

    /// This moment; what comes next comes later.
    fn moment(&self) -> AsOf {
        let at = self.clock.now();
        self.clock.advance(SECONDS);
        AsOf::new(self.store.clone(), at)
    }
}

async fn read(store: &dyn ObjectStore, name: &str) -> Result<String, StoreErrorKind> {
    let request = GetRequest { key: key(name), range: None, if_match: None };
    let reading = store.get(request).await.map_err(|error| error.kind)?;
    let pieces: Vec<Bytes> = reading.body.try_collect().await.map_err(|error| error.kind)?;
    Ok(String::from_utf8(pieces.concat()).unwrap())
}

async fn names(store: &dyn ObjectStore, prefix: &str, delimited: bool) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut prefixes, mut marker) = (Vec::new(), Vec::new(), None);
    loop {
        let wanted = ListRequest { prefix: prefix.into(), delimited, marker, max_keys: Some(2) };
        let ListPage { objects, prefixes: more, next_marker } = store.list(wanted).await.unwrap();
        keys.extend(objects.into_iter().map(|object| object.key));
        prefixes.extend(more);
        marker = next_marker;
        if marker.is_none() {
            return (keys, prefixes);
        }
    }
}

#[tokio::test]
async fn each_moment_shows_what_was_there() {
    let past = Past::new().await;
    let nothing = past.moment();
    past.put("a", "one").await;
    past.put("d/x", "one").await;
    past.put("d/y", "one").await;
    let first = past.moment();
    past.put("a", "two").await;
    past.store.delete(&key("d/x")).await.unwrap();
    past.store.delete(&key("d/y")).await.unwrap();
    past.put("new/z", "two").await;
    let second = past.moment();
    past.store.delete(&key("a")).await.unwrap();
    past.put("later/w", "three").await;
    past.moment();

    let list = |keys: &[&str], prefixes: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        (own(keys), own(prefixes))
    };
    assert_eq!(names(&nothing, "", true).await, list(&[], &[]));
    assert_eq!(names(&first, "", true).await, list(&["a"], &["d/"]));
    assert_eq!(names(&first, "", false).await, list(&["a", "d/x", "d/y"], &[]));
    assert_eq!(names(&first, "d/", true).await, list(&["d/x", "d/y"], &[]));
    assert_eq!(names(&second, "", true).await, list(&["a"], &["new/"]));
    assert_eq!(names(&second, "", false).await, list(&["a", "new/z"], &[]));
    assert_eq!(read(&first, "a").await.as_deref(), Ok("one"));
    assert_eq!(read(&first, "d/x").await.as_deref(), Ok("one"));
    assert_eq!(read(&second, "a").await.as_deref(), Ok("two"));
    assert_eq!(read(&second, "d/x").await, Err(StoreErrorKind::NotFound));
    assert_eq!(read(&nothing, "a").await, Err(StoreErrorKind::NotFound));
    let head = second.head(&key("a")).await.unwrap();
    assert_eq!((head.size, head.attributes.user["said"].as_str()), (3, "two"));
    // Somebody who has not listed anything.
    let fresh = AsOf::new(past.store.clone(), past.clock.now() - 3 * SECONDS);
    assert_eq!(read(&fresh, "d/y").await.as_deref(), Ok("one"));
    assert_eq!(read(&fresh, "d").await, Err(StoreErrorKind::NotFound));
    let refused = first.delete(&key("a")).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Unsupported);
}

/// More versions than a page has, of one key and of many that came later.
#[tokio::test]
async fn what_came_later_by_the_page_hides_nothing() {
    let past = Past::new().await;
    past.put("b", "first").await;
    past.put("z", "first").await;
    let first = past.moment();
    for number in 0..1100 {
        if number % 2 == 0 {
            past.put("b", "later").await;
        } else {
            past.put(&format!("m{number:04}"), "later").await;
        }
    }
    for _ in 0..600 {
        past.put("b", "later").await;
    }
    let expected = (vec!["b".to_owned(), "z".to_owned()], Vec::new());
    assert_eq!(names(&first, "", true).await, expected);
    let fresh = AsOf::new(past.store.clone(), past.clock.now() - SECONDS);
    assert_eq!(read(&fresh, "b").await.as_deref(), Ok("first"));
}
