//! One flipped bit anywhere on the way between a mount and its bucket, while programs read, write, edit, append, copy,
//! rename and list: every object is right afterwards and every byte that was read too, or the program was told.
//!
//! `COSMOUNT_FLIPS` says how many flips (a few by default), `COSMOUNT_SEED` with which seed they begin. What is found is
//! named by its seed, which is enough to find it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cosmount::fs::FsError;
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
use cosmount::store::{Body, GetRequest, HttpStore, ListRequest, ObjectStore, RetryOptions};
use cosmount::wire::address::Endpoint;
use futures_util::TryStreamExt;

use crate::flipping::Flipping;
use crate::mounted::{APPEND, Mounted, READ, REPLACE, WRITE};
use crate::{Bed, http_in_memory};

const SMALL: usize = 5000;
/// Five parts and a rest.
const LARGE: usize = (5 << 20) + 17;

/// Flips unless somebody wants more: each deed with a few, in a few seconds.
const FLIPS: u64 = 48;

/// Nothing takes as long, however often it is tried again.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    ReadSmall,
    ReadLarge,
    ReadPieces,
    WriteSmall,
    WriteLarge,
    ReplaceSmall,
    EditSmall,
    EditLarge,
    AppendSmall,
    AppendLarge,
    CopyLarge,
    Rename,
    List,
}

const DEEDS: [Deed; 13] = [
    Deed::ReadSmall,
    Deed::ReadLarge,
    Deed::ReadPieces,
    Deed::WriteSmall,
    Deed::WriteLarge,
    Deed::ReplaceSmall,
    Deed::EditSmall,
    Deed::EditLarge,
    Deed::AppendSmall,
    Deed::AppendLarge,
    Deed::CopyLarge,
    Deed::Rename,
    Deed::List,
];

type Objects = BTreeMap<String, Vec<u8>>;

/// What a program saw that is not in the bucket.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Bytes(Vec<u8>),
    Names(Vec<(String, u64)>),
}

impl Deed {
    /// Whether what a program sees of it has no checksum: pieces of an object, names and sizes.
    fn is_unverified(self) -> bool {
        matches!(self, Deed::ReadPieces | Deed::List)
    }

    async fn act(self, mount: &Mounted) -> Result<Seen, FsError> {
        let done = |done: Result<(), FsError>| done.map(|()| Seen::Nothing);
        match self {
            Deed::ReadSmall => mount.read("small").await.map(Seen::Bytes),
            Deed::ReadLarge => mount.read("large").await.map(Seen::Bytes),
            Deed::ReadPieces => {
                let file = mount.open("large", READ).await?;
                let mut read = Vec::new();
                for offset in PIECES {
                    read.extend(file.read(offset, 4096).await?);
                }
                file.close().await.map(|()| Seen::Bytes(read))
            }
            Deed::WriteSmall => done(mount.make("new", &content(3, SMALL)).await),
            Deed::WriteLarge => done(mount.make("new", &content(3, LARGE)).await),
            Deed::ReplaceSmall => done(mount.change("small", REPLACE, 0, &content(3, 700)).await),
            Deed::EditSmall => done(mount.change("small", WRITE, 2000, b"edited").await),
            Deed::EditLarge => done(mount.change("large", WRITE, 2_500_000, &content(4, 4096)).await),
            Deed::AppendSmall => done(mount.change("small", APPEND, SMALL, b"appended").await),
            Deed::AppendLarge => done(mount.change("large", APPEND, LARGE, b"appended").await),
            Deed::CopyLarge => done(mount.copy("large", "new").await),
            Deed::Rename => done(mount.rename("large", "new").await),
            Deed::List => mount.list().await.map(Seen::Names),
        }
    }

    /// What it makes of the bucket, and what it sees.
    fn rightly(self, before: &Objects) -> (Objects, Seen) {
        let mut after = before.clone();
        let mut seen = Seen::Nothing;
        let set = |after: &mut Objects, key: &str, bytes: Vec<u8>| drop(after.insert(key.to_owned(), bytes));
        match self {
            Deed::ReadSmall => seen = Seen::Bytes(before["small"].clone()),
            Deed::ReadLarge => seen = Seen::Bytes(before["large"].clone()),
            Deed::ReadPieces => {
                let pieces = PIECES.iter().map(|&offset| &before["large"][offset..offset + 4096]);
                seen = Seen::Bytes(pieces.collect::<Vec<_>>().concat());
            }
            Deed::WriteSmall => set(&mut after, "new", content(3, SMALL)),
            Deed::WriteLarge => set(&mut after, "new", content(3, LARGE)),
            Deed::ReplaceSmall => set(&mut after, "small", content(3, 700)),
            Deed::EditSmall => after.get_mut("small").unwrap()[2000..2006].copy_from_slice(b"edited"),
            Deed::EditLarge => {
                after.get_mut("large").unwrap()[2_500_000..2_504_096].copy_from_slice(&content(4, 4096));
            }
            Deed::AppendSmall => after.get_mut("small").unwrap().extend(b"appended"),
            Deed::AppendLarge => after.get_mut("large").unwrap().extend(b"appended"),
            Deed::CopyLarge => set(&mut after, "new", before["large"].clone()),
            Deed::Rename => {
                let moved = after.remove("large").unwrap();
                set(&mut after, "new", moved);
            }
            Deed::List => {
                let name = |(key, bytes): (&String, &Vec<u8>)| (key.clone(), bytes.len() as u64);
                seen = Seen::Names(before.iter().map(name).collect());
            }
        }
        (after, seen)
    }
}

const PIECES: [usize; 4] = [3_000_001, 17, 4_999_000, 1_048_570];

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// A mount whose way leads through a proxy, and the bucket as it is.
struct Way {
    proxy: Flipping,
    mount: Mounted,
    bucket: Arc<dyn ObjectStore>,
    before: Objects,
    _bed: Bed,
}

impl Way {
    async fn new() -> Way {
        let bed = http_in_memory().await;
        let mut options = bed.options.clone().unwrap();
        let route = options.endpoint.route(&options.bucket);
        let proxy = Flipping::before(route.origin.strip_prefix("http://").unwrap().to_owned()).await;
        options.endpoint = Endpoint::custom(&format!("http://{}", proxy.address)).unwrap();
        // A flipped length makes both ends wait for the other.
        options.timeouts.idle = Duration::from_millis(500);
        let (pause_first, pause_max) = (Duration::from_millis(1), Duration::from_millis(5));
        options.retry = RetryOptions { deadline: Duration::from_secs(5), pause_first, pause_max };
        let mount = Mounted::over(Arc::new(HttpStore::new(options).unwrap()));
        let before: Objects = [("large", content(1, LARGE)), ("other", content(5, 100)), ("small", content(2, SMALL))]
            .map(|(key, bytes)| (key.to_owned(), bytes))
            .into();
        let bucket = bed.store.clone();
        for (key, bytes) in &before {
            let bytes = Bytes::from(bytes.clone());
            let (body, crc64) = (Body::from(bytes.clone()), Crc64::of(&bytes));
            bucket.put(&ObjectKey::new(key).unwrap(), body, crc64, &ObjectAttributes::default()).await.unwrap();
        }
        Way { proxy, mount, bucket, before, _bed: bed }
    }

    async fn objects(&self) -> Objects {
        let mut objects = Objects::new();
        for listed in self.bucket.list(ListRequest::default()).await.unwrap().objects {
            let key = ObjectKey::new(&listed.key).unwrap();
            let request = GetRequest { key, range: None, if_match: None };
            let pieces: Vec<Bytes> = self.bucket.get(request).await.unwrap().body.try_collect().await.unwrap();
            objects.insert(listed.key, pieces.concat());
        }
        objects
    }
}

/// What came of one flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Right, and the program did not notice.
    Right,
    /// The program was told.
    Told,
    /// What has no checksum was taken for right.
    Unverified,
}

/// Bytes that a deed moves, up and down.
type Spans = BTreeMap<Deed, (u64, u64)>;

async fn spans() -> Spans {
    let mut spans = Spans::new();
    for deed in DEEDS {
        let way = Way::new().await;
        let (after, seen) = deed.rightly(&way.before);
        assert_eq!(deed.act(&way.mount).await.unwrap(), seen, "{deed:?} without a flip");
        assert!(way.objects().await == after, "{deed:?} without a flip");
        spans.insert(deed, (way.proxy.up.passed(), way.proxy.down.passed()));
    }
    spans
}

/// One deed with one flip; `Err` is what must not be.
async fn round(seed: u64, spans: &Spans) -> Result<(Deed, End), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let deed = DEEDS[(seed % DEEDS.len() as u64) as usize];
    let way = Way::new().await;
    let (up, down) = spans[&deed];
    // Heads and listings are a small part of the bytes and a large part of the trouble: every other flip is near the start.
    let span = |bytes: u64, random: &mut fastrand::Rng| if random.bool() { bytes } else { bytes.min(3000) };
    let is_up = random.bool();
    let (lane, span) =
        if is_up { (&way.proxy.up, span(up, &mut random)) } else { (&way.proxy.down, span(down, &mut random)) };
    let bit = random.u64(..span * 8);
    lane.flip(bit);
    let named =
        format!("seed {seed}: {deed:?}, {} at byte {} bit {}", if is_up { "up" } else { "down" }, bit / 8, bit % 8);
    let Ok(acted) = tokio::time::timeout(PATIENCE, deed.act(&way.mount)).await else {
        return Err(format!("{named}: it hangs"));
    };
    let (after, rightly_seen) = deed.rightly(&way.before);
    let objects = way.objects().await;
    match acted {
        Ok(_) if objects != after => {
            Err(format!("{named}: told success, but the bucket is {}", differences(&objects, &after)))
        }
        Ok(seen) if seen == rightly_seen => Ok((deed, End::Right)),
        Ok(_) if deed.is_unverified() && !is_up => Ok((deed, End::Unverified)),
        Ok(_) => Err(format!("{named}: told success, but saw something else")),
        Err(error) => {
            let is_known =
                |(key, bytes): (&String, &Vec<u8>)| way.before.get(key) == Some(bytes) || after.get(key) == Some(bytes);
            let lost = way.before.keys().filter(|key| after.contains_key(*key) && !objects.contains_key(*key)).count();
            let moved = deed != Deed::Rename || objects.contains_key("large") || objects.contains_key("new");
            match objects.iter().all(is_known) && lost == 0 && moved {
                true => Ok((deed, End::Told)),
                false => {
                    Err(format!("{named}: told {error}, and the bucket is {}", differences(&objects, &way.before)))
                }
            }
        }
    }
}

fn differences(is: &Objects, should: &Objects) -> String {
    let keys = is.keys().chain(should.keys()).collect::<std::collections::BTreeSet<_>>();
    let differs = keys.into_iter().filter(|key| is.get(*key) != should.get(*key));
    let named = differs.map(|key| {
        let at = is.get(key).zip(should.get(key)).and_then(|(a, b)| a.iter().zip(b).position(|(a, b)| a != b));
        format!(
            "{key}: {:?} bytes instead of {:?}, first at {at:?}",
            is.get(key).map(Vec::len),
            should.get(key).map(Vec::len)
        )
    });
    named.collect::<Vec<_>>().join("; ")
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_is_taken_for_right() {
    let (flips, first) = (number("COSMOUNT_FLIPS", FLIPS), number("COSMOUNT_SEED", 1));
    let spans = Arc::new(spans().await);
    let (mut ends, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut rounds = tokio::task::JoinSet::new();
    let mut seeds = first..first + flips;
    loop {
        // Some wait for the end of a deadline while others work.
        while rounds.len() < 8
            && let Some(seed) = seeds.next()
        {
            let spans = spans.clone();
            rounds.spawn(async move { round(seed, &spans).await });
        }
        match rounds.join_next().await {
            Some(Ok(Ok(end))) => *ends.entry(end).or_insert(0) += 1,
            Some(Ok(Err(what))) => wrong.push(what),
            Some(Err(panicked)) => wrong.push(panicked.to_string()),
            None => break,
        }
    }
    for ((deed, end), count) in &ends {
        println!("{deed:?} {end:?} {count}");
    }
    assert!(wrong.is_empty(), "{} of {flips}:\n{}", wrong.len(), wrong.join("\n"));
}
