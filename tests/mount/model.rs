//! Random calls on the mount against what a local file system would do: every answer, every byte, and what is in the
//! bucket in the end.
//!
//! The same sequences also run in a local directory, which shows that the reference is right. How many of them is
//! `PROPTEST_CASES`; without it the mount gets what it does in 20 seconds or so. A sequence that failed is printed as
//! short as it could be made: paste it into a test of its own, below, once it passes.

mod driver;
mod reference;
mod steps;

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cosmount::object::{Crc64, ObjectKey};
use cosmount::store::{ListRequest, ObjectStore};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempDir;

use self::driver::{Ground, Verdict, run, same};
use self::steps::{Access, Allocation, Flags, Place, Step};
use crate::bed::{Bed, Bucket, MIB};

const MOUNT: [&str; 4] = ["--part-size", "1MiB", "--memory", "32MiB"];
/// So many sequences take the mount of a debug build about 20 seconds.
const CASES_ON_THE_MOUNT: u32 = 200;
const CASES_WITH_COPIES: u32 = 100;
const CASES_ON_A_DISK: u32 = 200;
/// A mount serves so many sequences, so that one that hangs is ended by the bed's watchdog, however many there are.
const CASES_PER_MOUNT: u32 = 100;
/// How long a report may take that is shorter.
const SHRINKING: Duration = Duration::from_secs(300);
/// How long the kernel and the mount may take to let go of what was closed.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same, when a failure is known and made shorter: a case that is taken for worse than it is fails as well.
const PATIENCE_WHEN_SHRINKING: Duration = Duration::from_secs(1);

/// A directory of the local disk.
struct Disk {
    directory: TempDir,
    zeroes_ranges: bool,
}

impl Disk {
    fn new() -> Disk {
        let directory = tempfile::Builder::new().prefix("cosmount-model.").tempdir().unwrap();
        let zeroes_ranges = fallocate(tempfile::tempfile().unwrap(), FallocateFlags::ZERO_RANGE, 0, 1).is_ok();
        Disk { directory, zeroes_ranges }
    }
}

impl Ground for Disk {
    fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    // ext4 and xfs do, tmpfs does not.
    fn zeroes_ranges(&self) -> bool {
        self.zeroes_ranges
    }

    fn check_published(&self, _: &str, _: &[u8]) -> Verdict {
        Ok(())
    }

    fn forget(&mut self) -> Verdict {
        Ok(())
    }

    fn check_holds_exactly(&self, _: &[(&str, &[u8])]) -> Verdict {
        Ok(())
    }
}

/// A mount, with a directory for each case.
struct Mounted {
    bed: Bed,
    bucket: Bucket,
    case: u32,
    patience: Duration,
    options: Vec<String>,
}

impl Mounted {
    fn new(patience: Duration) -> Mounted {
        Mounted::with(patience, false)
    }

    /// With copies on the disk, or without.
    fn with(patience: Duration, is_cached: bool) -> Mounted {
        let bed = Bed::unmounted(&[]);
        let cache = ["--cache".to_owned(), bed.local("cache").to_str().unwrap().to_owned()];
        let cache = if is_cached { &cache[..] } else { &[] };
        let options = MOUNT.into_iter().map(str::to_owned).chain(cache.iter().cloned()).collect();
        let mut mounted = Mounted { bucket: bed.bucket(), bed, case: 0, patience, options };
        mounted.bed.mount(&mounted.options.iter().map(String::as_str).collect::<Vec<_>>());
        mounted
    }

    /// Runs a sequence in a fresh directory, and leaves nothing behind.
    fn run(&mut self, steps: &[Step]) -> Verdict {
        self.case += 1;
        fs::create_dir(self.directory()).unwrap();
        run(self, steps)?;
        fs::remove_dir_all(self.directory()).map_err(|error| format!("the directory cannot be removed: {error}"))?;
        self.in_time(|| equal("keys after all is removed", &self.keys(), &[]))
    }

    fn prefix(&self) -> String {
        format!("case-{}/", self.case)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    fn keys(&self) -> Vec<String> {
        let request = ListRequest { prefix: self.prefix(), ..ListRequest::default() };
        let page = self.bucket.run(|store| store.list(request)).unwrap();
        page.objects.into_iter().map(|object| object.key).collect()
    }

    fn unfinished_uploads(&self) -> Vec<String> {
        let uploads = self.bucket.run(|store| async { store.list_uploads(&self.prefix()).await }).unwrap();
        uploads.into_iter().map(|upload| format!("{upload:?}")).collect()
    }

    /// The verdict, once it is good or time is over.
    fn in_time(&self, check: impl Fn() -> Verdict) -> Verdict {
        let until = Instant::now() + self.patience;
        loop {
            match check() {
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                verdict => return verdict,
            }
        }
    }

    /// The end of what the mounts have logged.
    fn log_tail(&self) -> String {
        let log = self.bed.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Ground for Mounted {
    fn directory(&self) -> PathBuf {
        self.bed.at(&self.prefix())
    }

    fn zeroes_ranges(&self) -> bool {
        true
    }

    fn check_published(&self, name: &str, bytes: &[u8]) -> Verdict {
        let key = ObjectKey::new(self.key(name)).unwrap();
        let head = self.bucket.run(|store| async move { store.head(&key).await });
        let head = head.map_err(|error| format!("{name} is not in the bucket: {error}"))?;
        let (size, crc64) = (bytes.len() as u64, Some(Crc64::of(bytes)));
        match head.size == size && head.crc64 == crc64 {
            true => Ok(()),
            false => Err(format!("{name} of {size} bytes, {crc64:?} is in the bucket as {head:?}")),
        }
    }

    fn forget(&mut self) -> Verdict {
        self.bed.remount_with(&self.options.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(())
    }

    fn check_holds_exactly(&self, files: &[(&str, &[u8])]) -> Verdict {
        let mut keys: Vec<String> = files.iter().map(|(name, _)| self.key(name)).collect();
        keys.insert(0, self.prefix());
        // A file that was only created, and the end of an upload that was given up, come after the last close.
        self.in_time(|| equal("keys", &self.keys(), &keys))?;
        self.in_time(|| equal("unfinished uploads", &self.unfinished_uploads(), &[]))?;
        files.iter().try_for_each(|(name, expected)| {
            self.in_time(|| same(&self.bucket.get(&self.key(name)), expected))
                .map_err(|complaint| format!("the object of {name}: {complaint}"))
        })
    }
}

fn equal(what: &str, got: &[String], expected: &[String]) -> Verdict {
    if got == expected { Ok(()) } else { Err(format!("{what}: {expected:?} expected, there are {got:?}")) }
}

/// Runs random sequences, and fails with the shortest one that fails.
fn run_random(cases_by_default: u32, run: impl Fn(&[Step]) -> Verdict) {
    let cases = std::env::var("PROPTEST_CASES").map_or(cases_by_default, |cases| cases.parse().unwrap());
    let max_shrink_time = SHRINKING.as_millis() as u32;
    let config = Config { cases, failure_persistence: None, max_shrink_time, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps::sequence(), |steps| run(&steps).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn the_reference_agrees_with_the_local_disk() {
    run_random(CASES_ON_A_DISK, |steps| run(&mut Disk::new(), steps));
}

#[test]
fn the_mount_agrees_with_the_reference() {
    compare_with_the_reference(CASES_ON_THE_MOUNT, false);
}

#[test]
fn the_mount_agrees_with_the_reference_with_copies_on_the_disk() {
    compare_with_the_reference(CASES_WITH_COPIES, true);
}

fn compare_with_the_reference(cases: u32, is_cached: bool) {
    let mount: Cell<Option<Mounted>> = Cell::new(None);
    let patience = Cell::new(PATIENCE);
    run_random(cases, |steps| {
        let reused = mount.take().filter(|mount| mount.case < CASES_PER_MOUNT);
        let mut mounted = reused.unwrap_or_else(|| Mounted::with(patience.get(), is_cached));
        match mounted.run(steps) {
            Ok(()) => {
                mount.set(Some(mounted));
                Ok(())
            }
            // A mount that made a mistake is not used again.
            Err(complaint) => {
                patience.set(PATIENCE_WHEN_SHRINKING);
                Err(format!("{complaint}\n--- the mount's log\n{}", mounted.log_tail()))
            }
        }
    });
}

/// Runs one sequence in both places.
#[track_caller]
fn replay(steps: &[Step]) {
    run(&mut Disk::new(), steps).unwrap();
    Mounted::new(PATIENCE).run(steps).unwrap();
}

const NEW: Flags = Flags { access: Access::Both, create: true, exclusive: false, truncate: false, append: false };

#[test]
fn a_file_without_a_name_lives_on_in_its_handles() {
    replay(&[
        Step::Put { name: 0, len: 3 * MIB },
        Step::Open { handle: 0, name: 0, flags: NEW },
        Step::Open { handle: 1, name: 0, flags: NEW },
        Step::Unlink { name: 0 },
        Step::Open { handle: 2, name: 0, flags: NEW },
        Step::Write { handle: 0, place: Place::End(-2), len: MIB },
        Step::Read { handle: 1, place: Place::At(0), len: 5 * MIB },
        Step::Read { handle: 2, place: Place::At(0), len: 5 * MIB },
        Step::Copy { from: 1, to: 2, source: Place::At(MIB), target: Place::At(7), len: 2 * MIB },
        Step::Allocate { handle: 1, mode: Allocation::PunchHole, place: Place::At(10), len: MIB },
        Step::Sync { handle: 0, data_only: false },
        Step::Close { handle: 0 },
        Step::Read { handle: 1, place: Place::At(0), len: 5 * MIB },
    ]);
}
