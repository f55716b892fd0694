//! Every call of a program ends, whatever is in the way to the service: a peer that is silent, one that trickles, a cable
//! that was pulled, a port that refuses, a listing without an end.
//!
//! `COSMOUNT_TIMEOUTS` says which `--request-timeout`s are tried, in seconds (`5,60`); one second by default, because
//! all that is waited for is a multiple of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosmount::fs::{AttrChange, FsError};
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
use cosmount::store::{Body, HttpOptions, HttpStore, RetryOptions};
use cosmount::wire::address::Endpoint;

use crate::mounted::{APPEND, Mounted, Open, READ, WRITE};
use crate::obstructing::{Obstructing, Obstruction, endless};
use crate::{Bed, http_in_memory};

const MIB: usize = 1 << 20;

/// How many times the timeout of a request a call may take: a request that fails is tried for as long, and what runs then
/// may run as long again; a close or a rename that makes several, one after the other, gives up with the first, but asks
/// once more what became of it.
const TIMES: u32 = 4;

/// What a busy machine may make of it. Without a deadline it would be for ever.
const SLACK: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Lookup,
    List,
    Read,
    ReadOn,
    CloseSmall,
    CloseLarge,
    CloseEdited,
    CloseAppended,
    Fsync,
    Truncate,
    Chmod,
    Copy,
    Rename,
    Unlink,
    MakeDirectory,
}

const CALLS: [Call; 15] = [
    Call::Lookup,
    Call::List,
    Call::Read,
    Call::ReadOn,
    Call::CloseSmall,
    Call::CloseLarge,
    Call::CloseEdited,
    Call::CloseAppended,
    Call::Fsync,
    Call::Truncate,
    Call::Chmod,
    Call::Copy,
    Call::Rename,
    Call::Unlink,
    Call::MakeDirectory,
];

/// A mount whose way can be obstructed.
struct Way {
    proxy: Obstructing,
    mount: Mounted,
    _bed: Bed,
}

impl Way {
    async fn new(timeout: Duration) -> Way {
        let bed = http_in_memory().await;
        for (key, len) in [("large", 5 * MIB), ("small", 5000), ("known", 10)] {
            let bytes = Bytes::from(vec![7; len]);
            let (body, crc64) = (Body::from(bytes.clone()), Crc64::of(&bytes));
            bed.store.put(&ObjectKey::new(key).unwrap(), body, crc64, &ObjectAttributes::default()).await.unwrap();
        }
        let options = bed.options.clone().unwrap();
        let origin = options.endpoint.route(&options.bucket).origin;
        let proxy = Obstructing::before(origin.strip_prefix("http://").unwrap().to_owned()).await;
        let mount = mount(options, &proxy.address, timeout);
        Way { proxy, mount, _bed: bed }
    }
}

fn mount(mut options: HttpOptions, address: &str, timeout: Duration) -> Mounted {
    options.endpoint = Endpoint::custom(&format!("http://{address}")).unwrap();
    options.retry = RetryOptions { deadline: timeout, ..options.retry };
    Mounted::over(Arc::new(HttpStore::new(options).unwrap()))
}

/// A call that is about to be made.
enum Ready {
    Close(Open),
    Fsync(Open),
    ReadOn(Open),
    Nothing,
}

impl Call {
    /// Does what comes before it, on a free way.
    async fn prepare(self, mount: &Mounted) -> Result<Ready, FsError> {
        Ok(match self {
            Call::Lookup | Call::List => Ready::Nothing,
            Call::Read
            | Call::Copy
            | Call::Rename
            | Call::Unlink
            | Call::Truncate
            | Call::Chmod
            | Call::MakeDirectory => {
                mount.stat("known").await?;
                Ready::Nothing
            }
            Call::ReadOn => {
                let file = mount.open("large", READ).await?;
                file.read(0, 4096).await?;
                Ready::ReadOn(file)
            }
            Call::CloseSmall | Call::Fsync => {
                let file = mount.create("new").await?;
                file.write(0, &[1; 5000]).await?;
                if self == Call::Fsync { Ready::Fsync(file) } else { Ready::Close(file) }
            }
            Call::CloseLarge => {
                let file = mount.create("new").await?;
                file.write(0, &vec![1; 5 * MIB + 1]).await?;
                Ready::Close(file)
            }
            Call::CloseEdited => {
                let file = mount.open("large", WRITE).await?;
                file.write(2_500_000, b"edited").await?;
                Ready::Close(file)
            }
            Call::CloseAppended => {
                let file = mount.open("large", APPEND).await?;
                file.write(5 * MIB, b"appended").await?;
                Ready::Close(file)
            }
        })
    }

    async fn make(self, mount: &Mounted, ready: Ready) -> Result<(), FsError> {
        match (ready, self) {
            (Ready::Close(file), _) => file.close().await,
            (Ready::Fsync(file), _) => file.fs.fsync(file.handle).await,
            (Ready::ReadOn(file), _) => file.read_all().await.map(drop),
            (Ready::Nothing, Call::Lookup) => mount.stat("known").await.map(drop),
            (Ready::Nothing, Call::List) => mount.list().await.map(drop),
            (Ready::Nothing, Call::Read) => mount.read("large").await.map(drop),
            (Ready::Nothing, Call::Copy) => mount.copy("large", "new").await,
            (Ready::Nothing, Call::Rename) => mount.rename("large", "new").await,
            (Ready::Nothing, Call::Unlink) => mount.unlink("small").await,
            (Ready::Nothing, Call::Truncate) => {
                let ino = mount.stat("large").await?.ino;
                let change = AttrChange { size: Some(1000), ..AttrChange::default() };
                mount.fs.setattr(ino, change).await.map(drop)
            }
            (Ready::Nothing, Call::Chmod) => {
                let ino = mount.stat("small").await?.ino;
                let change = AttrChange { permissions: Some(0o600), ..AttrChange::default() };
                mount.fs.setattr(ino, change).await?;
                let file = mount.open("small", READ).await?;
                mount.fs.fsync(file.handle).await
            }
            (Ready::Nothing, _) => mount.mkdir("directory").await,
        }
    }
}

/// How long a call took and how it ended, if it ended within `patience`.
async fn timed(call: Call, way: Way, obstruction: Obstruction, patience: Duration) -> Result<(), String> {
    let ready = call.prepare(&way.mount).await.map_err(|error| format!("{call:?} could not be prepared: {error}"))?;
    way.proxy.put_in_the_way(obstruction);
    let began = Instant::now();
    match tokio::time::timeout(patience, call.make(&way.mount, ready)).await {
        Err(_) => Err(format!("{call:?} under {obstruction:?} did not end within {patience:?}")),
        // What is known already needs no service.
        Ok(Ok(())) if obstruction == Obstruction::Trickle => Ok(()),
        Ok(Ok(())) => Err(format!("{call:?} under {obstruction:?} told success after {:?}", began.elapsed())),
        Ok(Err(_)) => Ok(()),
    }
}

fn timeouts() -> Vec<Duration> {
    let seconds = std::env::var("COSMOUNT_TIMEOUTS").unwrap_or_else(|_| "1".to_owned());
    seconds.split(',').map(|seconds| Duration::from_secs(seconds.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_outlives_its_deadline() {
    for timeout in timeouts() {
        let patience = timeout * TIMES + SLACK;
        let mut calls = tokio::task::JoinSet::new();
        for obstruction in [Obstruction::Silence, Obstruction::Trickle, Obstruction::Dead, Obstruction::Refusal] {
            for call in CALLS {
                let way = Way::new(timeout).await;
                calls.spawn(timed(call, way, obstruction, patience));
            }
        }
        let ended = calls.join_all().await;
        let wrong: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
        assert!(wrong.is_empty(), "with a timeout of {timeout:?}:\n{}", wrong.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_without_an_end_is_an_error() {
    let options = http_in_memory().await.options.unwrap();
    for timeout in timeouts() {
        let mount = mount(options.clone(), &endless().await, timeout);
        // Its pages are counted, not timed, since each of them comes at once.
        let listed = tokio::time::timeout(Duration::from_secs(60), mount.list()).await;
        assert!(listed.expect("it ends").is_err());
    }
}
