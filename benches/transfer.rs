//! What moving a file up and down costs the client alone, without a file system on top.
//!
//! `cargo bench --bench transfer -- --endpoint http://127.0.0.1:9444 --bucket local-1250000000 [--mib 1024]
//! [--part-mib 8] [--range-mib 8] [--concurrency 8] [--key NAME]`, with the key in COS_SECRETID and COS_SECRETKEY. It starts no
//! service. Prints one line of JSON with CPU and wall seconds of three transfers, all verified by CRC-64 as a mount does:
//!
//! * `up`: the parts of a multipart upload, sent side by side;
//! * `down`: ranges fetched side by side, hashed and dropped: the ceiling of the store client, which nobody reaches who
//!   wants to have the bytes;
//! * `read`: what a mount does for a program that reads a file, without the kernel: its bytes in order, through the
//!   mount's own window and blocks, copied into the buffer of a caller who asks for the next when it has these.
//!
//! With `--objects N [--object-kib 4]` it puts small objects instead, and with `--reads N [--read-kib 4]` it fetches ranges at
//! random places of an object of `--mib`, `--concurrency` of them at a time: one line of JSON with `cpu_s` and `wall_s`. That is
//! what copying small files, and reading at random, costs the client alone.
//!
//! Without `--endpoint` it does nothing, so that `cargo test --all-targets` may run it.

#![allow(clippy::print_stdout, reason = "its output is the point")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cosmount::memory::Memory;
use cosmount::object::{
    BucketName, ByteRange, Crc64, Crc64Hasher, ETag, ObjectAttributes, ObjectKey, PartNumber, Version,
};
use cosmount::read::{ReadOptions, Readers};
use cosmount::store::{Body, GetRequest, HttpOptions, HttpStore, ObjectStore, Runtimes};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::{Handle, Runtime};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const MIB: u64 = 1 << 20;
/// The size of a mount's slabs.
const PIECE_BYTES: usize = 256 << 10;
/// What `cat` asks a mount for at once: its `st_blksize`.
const READ_BYTES: usize = 1 << 20;
/// A mount's budget by default.
const MEMORY_BYTES: usize = 512 << 20;
/// Parts that are filled before the clock runs and sent in turn, so that memory is read and not the cache.
const PARTS_FILLED: usize = 8;

/// One transfer.
struct Plan {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    bytes: u64,
    part_bytes: u64,
    range_bytes: u64,
    concurrency: usize,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut flags = HashMap::new();
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(name) = words.next() {
        flags.insert(name, words.next().unwrap_or_default());
    }
    let Some(endpoint) = flags.get("--endpoint") else { return Ok(()) };
    let text = |name: &str, default: &str| flags.get(name).cloned().unwrap_or_else(|| default.to_owned());
    let number = |name: &str, default: u64| text(name, &default.to_string()).parse::<u64>();
    let credentials = Credentials {
        secret_id: std::env::var("COS_SECRETID")?,
        secret_key: std::env::var("COS_SECRETKEY")?,
        token: None,
    };
    let bucket = BucketName::new(text("--bucket", "local-1250000000"))?;
    let options = HttpOptions::new(Endpoint::custom(endpoint)?, bucket, credentials);
    let plan = Plan {
        store: Arc::new(HttpStore::new(options.clone())?),
        key: ObjectKey::new(text("--key", "bench/transfer"))?,
        bytes: number("--mib", 1024)? * MIB,
        part_bytes: number("--part-mib", 8)? * MIB,
        range_bytes: number("--range-mib", 8)? * MIB,
        concurrency: usize::try_from(number("--concurrency", 8)?)?,
    };
    let (objects, reads) = (number("--objects", 0)?, number("--reads", 0)?);
    if objects > 0 {
        return tell(measured(put_objects(&plan, objects, number("--object-kib", 4)? << 10)).await?);
    }
    let parts = filled_parts(&plan);
    if reads > 0 {
        upload(&plan, &parts).await?;
        let outcome = measured(read_ranges(&plan, reads, number("--read-kib", 4)? << 10)).await;
        plan.store.delete(&plan.key).await?;
        return tell(outcome?);
    }
    let (crc64, up_cpu_s, up_wall_s) = measured(upload(&plan, &parts)).await?;
    let (read_crc64, down_cpu_s, down_wall_s) = measured(download(&plan)).await?;
    let (in_order_crc64, read_cpu_s, read_wall_s) = measured(read_in_order(&plan, options)).await?;
    if read_crc64 != crc64 || in_order_crc64 != crc64 {
        return Err(format!("sent {crc64:?}, fetched {read_crc64:?}, read in order {in_order_crc64:?}").into());
    }
    plan.store.delete(&plan.key).await?;
    let (mib, part_mib, range_mib) = (plan.bytes / MIB, plan.part_bytes / MIB, plan.range_bytes / MIB);
    println!(
        "{{\"mib\":{mib},\"part_mib\":{part_mib},\"range_mib\":{range_mib},\"concurrency\":{},\
         \"up_cpu_s\":{up_cpu_s:.2},\"up_wall_s\":{up_wall_s:.2},\
         \"down_cpu_s\":{down_cpu_s:.2},\"down_wall_s\":{down_wall_s:.2},\
         \"read_cpu_s\":{read_cpu_s:.2},\"read_wall_s\":{read_wall_s:.2}}}",
        plan.concurrency
    );
    Ok(())
}

fn tell(((), cpu_s, wall_s): ((), f64, f64)) -> Outcome<()> {
    println!("{{\"cpu_s\":{cpu_s:.2},\"wall_s\":{wall_s:.3}}}");
    Ok(())
}

/// Puts objects of their own names, which stay: whoever begins the service ends it.
async fn put_objects(plan: &Plan, count: u64, bytes: u64) -> Outcome<()> {
    let body: Body = std::iter::once(Bytes::from(vec![7; usize::try_from(bytes)?])).collect();
    let crc64 = hashed(body.pieces());
    let puts = (0..count).map(|index| {
        let (store, body) = (plan.store.clone(), body.clone());
        async move {
            let key = ObjectKey::new(format!("{}-{index}", plan.key.as_str()))?;
            store.put(&key, body, crc64, &ObjectAttributes::default()).await?;
            Outcome::Ok(())
        }
    });
    stream::iter(puts).buffer_unordered(plan.concurrency).try_collect().await
}

/// Fetches ranges that begin at random blocks of their own size.
async fn read_ranges(plan: &Plan, count: u64, bytes: u64) -> Outcome<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let starts: Vec<u64> = (0..count).map(|_| random.u64(..plan.bytes / bytes) * bytes).collect();
    let reads = starts.into_iter().map(|start| async move {
        let request = GetRequest { key: plan.key.clone(), range: ByteRange::new(start, start + bytes), if_match: None };
        let mut body = plan.store.get(request).await?.body;
        while body.try_next().await?.is_some() {}
        Outcome::Ok(())
    });
    stream::iter(reads).buffer_unordered(plan.concurrency).try_collect().await
}

/// Random bytes in slabs, as a mount holds them.
fn filled_parts(plan: &Plan) -> Vec<Body> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut slab = || {
        let mut bytes = vec![0; PIECE_BYTES];
        random.fill(&mut bytes);
        Bytes::from(bytes)
    };
    let slabs = usize::try_from(plan.part_bytes).unwrap_or(PIECE_BYTES) / PIECE_BYTES;
    (0..PARTS_FILLED).map(|_| (0..slabs).map(|_| slab()).collect()).collect()
}

async fn upload(plan: &Plan, parts: &[Body]) -> Outcome<Crc64> {
    let upload = plan.store.initiate(&plan.key, &ObjectAttributes::default()).await?.upload;
    let sends = (0..plan.bytes / plan.part_bytes).map(|index| {
        let (store, key, upload) = (plan.store.clone(), plan.key.clone(), upload.clone());
        let body = parts[usize::try_from(index).unwrap_or(0) % parts.len()].clone();
        async move {
            let number = PartNumber::new(index + 1).ok_or("more than 10,000 parts")?;
            let task = tokio::spawn(async move {
                let crc64 = hashed(body.pieces());
                let part = store.upload_part(&key, &upload, number, body, crc64).await?;
                Outcome::Ok((part.etag, crc64))
            });
            task.await?
        }
    });
    let sent: Vec<(ETag, Crc64)> = stream::iter(sends).buffered(plan.concurrency).try_collect().await?;
    let crc64 = sent.iter().fold(Crc64::EMPTY, |whole, (_, part)| whole.followed_by(*part, plan.part_bytes));
    let etags: Vec<ETag> = sent.into_iter().map(|(etag, _)| etag).collect();
    plan.store.complete(&plan.key, &upload, &etags, plan.bytes, Some(crc64)).await?;
    Ok(crc64)
}

async fn download(plan: &Plan) -> Outcome<Crc64> {
    let ranges = plan.bytes.div_ceil(plan.range_bytes);
    let reads = (0..ranges).map(|index| {
        let (store, key) = (plan.store.clone(), plan.key.clone());
        let start = index * plan.range_bytes;
        let range = ByteRange::new(start, (start + plan.range_bytes).min(plan.bytes));
        async move {
            let task = tokio::spawn(async move {
                let mut body = store.get(GetRequest { key, range, if_match: None }).await?.body;
                let (mut crc64, mut len) = (Crc64Hasher::new(), 0);
                while let Some(piece) = body.try_next().await? {
                    crc64.update(&piece);
                    len += piece.len() as u64;
                }
                Outcome::Ok((crc64.value(), len))
            });
            task.await?
        }
    });
    let read: Vec<(Crc64, u64)> = stream::iter(reads).buffered(plan.concurrency).try_collect().await?;
    Ok(read.into_iter().fold(Crc64::EMPTY, |whole, (part, len)| whole.followed_by(part, len)))
}

/// Reads the object as a mount does for a program that reads a file from its beginning to its end.
async fn read_in_order(plan: &Plan, options: HttpOptions) -> Outcome<Crc64> {
    // Bytes move on a runtime of their own, as in a mount.
    let transfers = Runtime::new()?;
    let outcome = read_on(plan, options, transfers.handle()).await;
    transfers.shutdown_background();
    outcome
}

/// Hands over the bytes as the program gets them: in order, copied into its own buffer. This thread is the program's.
/// The mount's own checks of the bytes are on; the checksum that is returned is the one they compare with.
async fn read_on(plan: &Plan, options: HttpOptions, transfers: &Handle) -> Outcome<Crc64> {
    let runtimes = Runtimes { bulk: transfers.clone(), light: Handle::current() };
    let store = Arc::new(HttpStore::new(HttpOptions { runtimes: Some(runtimes), ..options })?);
    let head = store.head(&plan.key).await?;
    let crc64 = head.crc64.ok_or("an object without a checksum")?;
    let readers = Readers::new(store, Memory::new(MEMORY_BYTES), ReadOptions::default(), transfers.clone(), None);
    let version = Version { etag: head.etag, size: plan.bytes, checksum: Some(crc64) };
    let reader = readers.object(version.under(plan.key.clone())).reader();
    let (mut buffer, mut at) = (vec![0; READ_BYTES], 0);
    while at < plan.bytes {
        let bytes = reader.read(at, READ_BYTES).await?;
        let bytes = bytes.as_ref();
        buffer[..bytes.len()].copy_from_slice(bytes);
        std::hint::black_box(&mut buffer);
        at += bytes.len() as u64;
    }
    Ok(crc64)
}

fn hashed(pieces: &[Bytes]) -> Crc64 {
    let mut crc64 = Crc64Hasher::new();
    pieces.iter().for_each(|piece| crc64.update(piece));
    crc64.value()
}

/// What came out, CPU seconds of this process, wall seconds.
async fn measured<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<(T, f64, f64)> {
    let (cpu, wall) = (cpu_seconds()?, Instant::now());
    let outcome = work.await?;
    Ok((outcome, cpu_seconds()? - cpu, wall.elapsed().as_secs_f64()))
}

/// User and system time of this process, in ticks of 1/100 s as Linux reports them.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(std::time::Duration::from_millis(ticks * 10).as_secs_f64())
}
