//! Mounts that are killed, and what the next one makes of what they have left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey, PartNumber};
use cosmount::store::{Body, ObjectStore};

use crate::bed::{Bed, MIB, Requests, assert_same, eventually, is_root, random_bytes, random_file};

/// Files of each worker.
const FILES: usize = 6;
const WORKERS: usize = 4;
/// Deaths in a plain run; `ROUNDS` says otherwise.
const ROUNDS: usize = 6;

/// What a worker's files may be now: one of these contents, or nothing.
#[derive(Default)]
struct Expected(BTreeMap<String, BTreeSet<Option<Vec<u8>>>>);

impl Expected {
    fn of(&self, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        self.0.get(name).cloned().unwrap_or_else(|| BTreeSet::from([None]))
    }

    /// It may become `content` from now on, and is that once `done`.
    fn change(
        &mut self,
        name: &str,
        content: Option<Vec<u8>>,
        change: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut possible = self.of(name);
        possible.insert(content.clone());
        self.0.insert(name.to_owned(), possible);
        change()?;
        self.0.insert(name.to_owned(), BTreeSet::from([content]));
        Ok(())
    }

    /// The only content that it can have, if there is only one.
    fn settled(&self, name: &str) -> Option<Vec<u8>> {
        let possible = self.of(name);
        if possible.len() == 1 { possible.into_iter().next().flatten() } else { None }
    }
}

/// Works in `directory` until something fails, which is when the mount is killed.
fn work(directory: &Path, seed: u64, expected: &mut Expected, is_killed: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        if let Err(error) = step(directory, &mut random, expected) {
            // Whoever is interrupted by the death of the mount hears one of these, and nobody before it; then its place is empty.
            let death = [libc::ENOTCONN, libc::ECONNABORTED, libc::EIO, libc::ENOENT];
            let is_death = error.raw_os_error().is_some_and(|error| death.contains(&error));
            assert!(is_death && is_killed.load(Ordering::SeqCst), "{error}");
            return;
        }
    }
}

fn step(directory: &Path, random: &mut fastrand::Rng, expected: &mut Expected) -> io::Result<()> {
    let name = format!("f{}", random.usize(..FILES));
    let path = directory.join(&name);
    let size = [100, 300_000, 3 * MIB + 17, 6 * MIB][random.usize(..4)];
    let new = random_bytes(size, random.u64(..));
    match random.usize(..10) {
        0..5 => expected.change(&name, Some(new.clone()), || {
            let mut file = File::create(&path)?;
            file.write_all(&new)?;
            finish(file, &path, random)
        }),
        5..7 => {
            let Some(before) = expected.settled(&name) else { return Ok(()) };
            let tail = new[..new.len() / 3].to_vec();
            expected.change(&name, Some([before, tail.clone()].concat()), || {
                let mut file = OpenOptions::new().append(true).open(&path)?;
                file.write_all(&tail)?;
                finish(file, &path, random)
            })
        }
        7 => {
            // Its bytes live on for who has it open.
            let Some(before) = expected.settled(&name) else { return Ok(()) };
            let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
            file.write_all(b"more")?;
            expected.change(&name, None, || fs::remove_file(&path))?;
            let mut read = vec![0; before.len()];
            file.read_exact_at(&mut read, 0)?;
            assert_same(&read, &before);
            Ok(())
        }
        8 => {
            let other = format!("f{}", random.usize(..FILES));
            let Some(before) = expected.settled(&name).filter(|_| other != name) else { return Ok(()) };
            // In between both names may have it.
            let mut possible = expected.of(&other);
            possible.insert(Some(before.clone()));
            expected.0.insert(other.clone(), possible);
            expected.change(&name, None, || fs::rename(&path, directory.join(&other)))?;
            expected.0.insert(other, BTreeSet::from([Some(before)]));
            Ok(())
        }
        _ => rename_directory(directory, expected),
    }
}

/// Closes the file, by itself or after fsync, and returns when that is known to have gone well: the mount lives after it.
fn finish(file: File, path: &Path, random: &mut fastrand::Rng) -> io::Result<()> {
    if random.bool() {
        file.sync_all()?;
    }
    drop(file);
    fs::metadata(path).map(drop)
}

/// A directory with files in it changes its name there and back.
fn rename_directory(directory: &Path, expected: &mut Expected) -> io::Result<()> {
    let [here, there] = ["here", "there"].map(|name| directory.join(name));
    if expected.0.is_empty() || !here.exists() && !there.exists() {
        fs::create_dir(&here)?;
        for name in ["x", "y", "z"] {
            let content = name.as_bytes().to_vec();
            expected.change(&format!("here/{name}"), Some(content.clone()), || {
                fs::write(here.join(name), &content)?;
                fs::metadata(here.join(name)).map(drop)
            })?;
        }
        return Ok(());
    }
    let (from, to) = if here.exists() { (&here, &there) } else { (&there, &here) };
    fs::rename(from, to)
}

/// Everything that was closed or synced is there, and nothing else is: no torn file, no upload, nothing hidden.
fn check(directory: &Path, expected: &mut Expected) {
    let names: Vec<String> = expected.0.keys().cloned().collect();
    for name in names.iter().filter(|name| !name.contains('/')) {
        let found = fs::read(directory.join(name)).ok();
        let possible = expected.of(name);
        let sizes: Vec<_> = possible.iter().map(|content| content.as_ref().map(Vec::len)).collect();
        assert!(
            possible.contains(&found),
            "{name}: {:?} bytes, and not one of {sizes:?}",
            found.map(|found| found.len())
        );
        expected.0.insert(name.clone(), BTreeSet::from([found]));
    }
    let whole: Vec<&str> =
        ["x", "y", "z"].into_iter().filter(|name| expected.settled(&format!("here/{name}")).is_some()).collect();
    let sides = ["here", "there"].map(|side| directory.join(side));
    for name in whole {
        let has = sides.iter().filter(|side| fs::read(side.join(name)).is_ok_and(|found| found == name.as_bytes()));
        assert_eq!(has.count(), 1, "{name} is in one of the two directories: {:?}", sides.map(|side| side.exists()));
    }
    for name in ["x", "y", "z"] {
        let found = sides.iter().find_map(|side| fs::read(side.join(name)).ok());
        expected.0.insert(format!("here/{name}"), BTreeSet::from([found]));
    }
}

const STRANGERS_HIDDEN: &str = ".cosmount-unlinked/0123456789abcdef-1";

fn strangers_upload(bed: &Bed) -> String {
    bed.bucket().put(STRANGERS_HIDDEN, b"of a mount on another machine");
    let upload = bed.bucket().run(|store| async {
        let key = ObjectKey::new("w0/f0").unwrap();
        let upload = store.initiate(&key, &ObjectAttributes::default()).await?.upload;
        let body = Body::from(Bytes::from("part"));
        store.upload_part(&key, &upload, PartNumber::FIRST, body, Crc64::of(b"part")).await?;
        Ok::<_, cosmount::store::StoreError>(upload)
    });
    upload.unwrap().to_string()
}

fn unfinished(bed: &Bed) -> Vec<String> {
    let listed = bed.bucket().run(|store| store.list_uploads("")).unwrap();
    listed.into_iter().map(|upload| upload.upload.to_string()).collect()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_next_mount_leaves_nothing_of_a_killed_one() {
    die_again_and_again(false);
}

#[test]
fn the_next_mount_reads_no_wrong_byte_of_what_a_killed_one_or_a_power_cut_has_left_of_copies() {
    die_again_and_again(true);
}

/// What a power cut leaves: of what was written lately, some pages are as they were before anybody wrote them, and some files shorter.
fn tear(copies: &Path, random: &mut fastrand::Rng) {
    let Ok(shards) = fs::read_dir(copies) else { return };
    for path in shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap()).map(|file| file.unwrap().path()) {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let pages = file.metadata().unwrap().len().div_ceil(4096);
        for _ in 0..random.u64(0..4) {
            let page = random.u64(0..pages.max(1));
            let len = file.metadata().unwrap().len().saturating_sub(page * 4096).min(4096);
            file.write_all_at(&vec![0; len as usize], page * 4096).unwrap();
        }
        if random.u8(0..8) == 0 {
            file.set_len(random.u64(0..=pages) * 4096).unwrap();
        }
    }
}

fn die_again_and_again(has_copies: bool) {
    let rounds = number("ROUNDS", ROUNDS as u64);
    let seed = number("SEED", fastrand::u64(..1 << 32));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bed = Bed::unmounted(&["--latency-ms", "2"]).lasting(Duration::from_secs(60 + 20 * rounds));
    let stranger = strangers_upload(&bed);
    let cache = bed.local("cache");
    let kept = ["--cache", cache.to_str().unwrap()];
    let arguments = ["--part-size", "1MiB", "--memory", "64MiB", "--resume-window", "0s"];
    let arguments = [&arguments[..], if has_copies { &kept } else { &[] }].concat();
    bed.mount(&arguments);
    let directories: Vec<PathBuf> = (0..WORKERS).map(|worker| bed.at(&format!("w{worker}"))).collect();
    directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
    let mut expected: Vec<Expected> = directories.iter().map(|_| Expected::default()).collect();
    for round in 0..rounds {
        let is_killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (directory, expected) in directories.iter().zip(&mut expected) {
                let (seed, is_killed) = (random.u64(..), &is_killed);
                scope.spawn(move || work(directory, seed, expected, is_killed));
            }
            std::thread::sleep(Duration::from_millis(random.u64(20..1500)));
            is_killed.store(true, Ordering::SeqCst);
            bed.kill_mount();
        });
        if has_copies && random.bool() {
            tear(&cache.join("v1"), &mut random);
        }
        bed.mount(&arguments);
        // The second time copies are whole.
        for _ in 0..if has_copies { 2 } else { 1 } {
            directories.iter().zip(&mut expected).for_each(|(directory, expected)| check(directory, expected));
        }
        eventually("nothing is left but what others have", || unfinished(&bed) == [stranger.clone()]);
        let hidden: Vec<String> =
            bed.bucket().keys().into_iter().filter(|key| key.contains(".cosmount-unlinked")).collect();
        assert_eq!(hidden, [STRANGERS_HIDDEN], "round {round}");
    }
    assert!(bed.unmount());
}

#[test]
fn a_copy_that_was_cut_off_sends_only_the_rest() {
    let mut bed = Bed::unmounted(&["--latency-ms", "5"]);
    let arguments = ["--part-size", "1MiB", "--upload-concurrency", "2"];
    bed.mount(&arguments);
    random_file(&bed.local("one"), 80 * MIB, 1);
    let mut copying = bed.command("cp $W/one f").spawn().unwrap();
    let sent = |requests: &Requests| requests.of("UploadPart").map(|part| part.bytes_in).sum::<u64>();
    eventually("nine tenths are sent", || sent(&bed.since_start()) > 72 * MIB as u64);
    bed.kill_mount();
    assert!(!copying.wait().unwrap().success());
    bed.mount(&arguments);
    let mark = bed.mark();
    bed.sh("cp $W/one f && cmp $W/one f");
    let requests = bed.since(mark);
    assert!(sent(&requests) <= 10 * MIB as u64, "{:?}", requests.summary());
    assert_eq!(requests.count("InitiateMultipartUpload"), 0);
    assert_same(&bed.bucket().get("f"), &fs::read(bed.local("one")).unwrap());
    bed.bucket().assert_no_unfinished_uploads();
}

/// A disk of 64 KiB, which goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(place: &Path) -> SmallDisk {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(place).status().unwrap();
        assert!(mounted.success());
        SmallDisk(place.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_for_the_journal_is_a_warning() {
    if !is_root() {
        println!("skipped: only root can mount a small disk");
        return;
    }
    let mut bed = Bed::unmounted(&[]);
    let state = bed.state();
    fs::create_dir(&state).unwrap();
    let _disk = SmallDisk::at(&state);
    bed.mount(&["--part-size", "1MiB"]);
    let mut filling = File::create(state.join("other")).unwrap();
    while filling.write_all(&[0; 512]).is_ok() {}
    random_file(&bed.local("one"), 8 * MIB, 1);
    bed.sh("for i in $(seq 40); do cp $W/one f || exit 1; done; cmp $W/one f");
    let log = bed.log();
    assert_eq!(log.matches("takes no records").count(), 1, "{log}");
    drop(filling);
    assert!(bed.unmount());
    bed.bucket().assert_no_unfinished_uploads();
}

#[test]
fn a_state_directory_that_cannot_be_is_a_warning() {
    let mut bed = Bed::unmounted(&[]);
    fs::write(bed.local("file"), "").unwrap();
    let place = bed.local("file/state");
    bed.mount(&["--state-dir", place.to_str().unwrap()]);
    bed.sh("echo text > f");
    assert!(bed.log().contains("no journal in"), "{}", bed.log());
    assert!(bed.unmount());
}
