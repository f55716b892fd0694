//! Random calls on mounts of services of S3 against what a local file system would do, and the file system exerciser: the same
//! steps as on a mount of COS (`tests/mount/model.rs`, `tests/mount/exerciser.rs`), fewer of them.

#[path = "../mount/model/driver.rs"]
mod driver;
#[path = "../mount/model/reference.rs"]
mod reference;
#[path = "../mount/model/steps.rs"]
mod steps;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cosmount::object::{BucketName, ObjectKey};
use cosmount::store::{GetRequest, HttpOptions, HttpStore, ListRequest, ObjectStore};
use cosmount::wire::address::Endpoint;
use cosmount::wire::sign::Credentials;
use futures_util::TryStreamExt;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::driver::{Ground, Verdict, run, same};
use crate::{BUCKET, Bed, ID, KEY};

/// So many sequences, the same in each run, so that a run says the same twice; `PROPTEST_CASES` says otherwise.
const CASES: u32 = 12;
/// How long the kernel and the mount may take to let go of what was closed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Mounted<'a> {
    bed: &'a Bed,
    store: HttpStore,
    runtime: Runtime,
    case: u32,
}

impl Mounted<'_> {
    fn new(bed: &Bed) -> Mounted<'_> {
        let endpoint = Endpoint::s3(Some(&bed.endpoint), "us-east-1", true).unwrap();
        let credentials = Credentials { secret_id: ID.into(), secret_key: KEY.into(), token: None };
        let options = HttpOptions::new(endpoint, BucketName::of_s3(BUCKET).unwrap(), credentials);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Mounted { bed, store: HttpStore::new(options).unwrap(), runtime, case: 0 }
    }

    fn run(&mut self, steps: &[steps::Step]) -> Verdict {
        self.case += 1;
        std::fs::create_dir(self.directory()).unwrap();
        run(self, steps)?;
        std::fs::remove_dir_all(self.directory()).map_err(|error| format!("it cannot be removed: {error}"))?;
        self.in_time(|| equal("keys after all is removed", &self.keys(), &[]))
    }

    fn key(&self, name: &str) -> String {
        format!("case-{}/{name}", self.case)
    }

    /// The keys of files: how a directory is kept is the service's affair.
    fn keys(&self) -> Vec<String> {
        let request = ListRequest { prefix: self.key(""), ..ListRequest::default() };
        let page = self.runtime.block_on(self.store.list(request)).unwrap();
        page.objects.into_iter().map(|object| object.key).filter(|key| !key.ends_with('/')).collect()
    }

    fn unfinished_uploads(&self) -> Vec<String> {
        let uploads = self.runtime.block_on(self.store.list_uploads(&self.key(""))).unwrap();
        uploads.into_iter().map(|upload| format!("{upload:?}")).collect()
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, String> {
        let request = GetRequest { key: ObjectKey::new(self.key(name)).unwrap(), range: None, if_match: None };
        let bytes = self.runtime.block_on(async {
            let reading = self.store.get(request).await?;
            reading.body.try_collect::<Vec<bytes::Bytes>>().await
        });
        bytes.map(|pieces| pieces.concat()).map_err(|error| error.to_string())
    }

    fn in_time(&self, check: impl Fn() -> Verdict) -> Verdict {
        let until = Instant::now() + PATIENCE;
        loop {
            match check() {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                verdict => return verdict,
            }
        }
    }
}

impl Ground for Mounted<'_> {
    fn zeroes_ranges(&self) -> bool {
        true
    }

    fn directory(&self) -> PathBuf {
        self.bed.mount_point().join(format!("case-{}", self.case))
    }

    fn check_published(&self, name: &str, bytes: &[u8]) -> Verdict {
        same(&self.get(name)?, bytes)
    }

    fn forget(&mut self) -> Verdict {
        self.bed.unmount();
        self.bed.mount();
        Ok(())
    }

    fn check_holds_exactly(&self, files: &[(&str, &[u8])]) -> Verdict {
        let keys: Vec<String> = files.iter().map(|(name, _)| self.key(name)).collect();
        self.in_time(|| equal("keys", &self.keys(), &keys))?;
        self.in_time(|| equal("unfinished uploads", &self.unfinished_uploads(), &[]))?;
        files.iter().try_for_each(|(name, expected)| self.in_time(|| same(&self.get(name)?, expected)))
    }
}

fn equal(what: &str, got: &[String], expected: &[String]) -> Verdict {
    if got == expected { Ok(()) } else { Err(format!("{what}: {expected:?} expected, there are {got:?}")) }
}

fn agrees_with_the_reference(bed: &Bed) {
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let random = TestRng::deterministic_rng(config.rng_algorithm);
    bed.mount();
    let mounted = RefCell::new(Mounted::new(bed));
    let outcome = TestRunner::new_with_rng(config, random).run(&steps::sequence(), |steps| {
        let verdict = mounted.borrow_mut().run(&steps);
        verdict.map_err(|complaint| TestCaseError::fail(format!("{complaint}\n--- log\n{}", bed.log("log"))))
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    bed.unmount();
}

/// One file, and an object of it that another client reads.
fn is_exercised(bed: &Bed) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fsx/bin/fsx");
    assert!(program.exists(), "{} is missing: run scripts/setup", program.display());
    let configuration = include_str!("../mount/fsx.toml").replace("FILE_BYTES_MAX", "20000000");
    let work = bed.home.path();
    std::fs::write(work.join("fsx.toml"), configuration.replace("OPERATION_BYTES_MAX", "1000000")).unwrap();
    bed.mount();
    let mut command = Command::new(program);
    command.args(["-N", "800", "-S", "7", "-f"]).arg(work.join("fsx.toml")).arg("-P").arg(work);
    let output = command.arg(bed.mount_point().join("f")).output().unwrap();
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{error}\n--- log\n{}", bed.log("log"));
    let written = std::fs::read(bed.mount_point().join("f")).unwrap();
    bed.unmount();
    let seen = Mounted::new(bed);
    let request = GetRequest { key: ObjectKey::new("f").unwrap(), range: None, if_match: None };
    let bytes: Vec<bytes::Bytes> =
        seen.runtime.block_on(async { seen.store.get(request).await.unwrap().body.try_collect().await.unwrap() });
    assert!(bytes.concat() == written, "the object has other bytes than the file");
    let unfinished = seen.runtime.block_on(seen.store.list_uploads("")).unwrap();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

#[test]
fn the_local_service_agrees_with_the_reference() {
    agrees_with_the_reference(&Bed::own(&[]));
}

#[test]
fn moto_agrees_with_the_reference() {
    agrees_with_the_reference(&Bed::moto());
}

#[test]
fn seaweedfs_agrees_with_the_reference() {
    agrees_with_the_reference(&Bed::seaweedfs());
}

#[test]
fn the_local_service_is_exercised() {
    is_exercised(&Bed::own(&[]));
}

#[test]
fn moto_is_exercised() {
    is_exercised(&Bed::moto());
}

#[test]
fn seaweedfs_is_exercised() {
    is_exercised(&Bed::seaweedfs());
}
