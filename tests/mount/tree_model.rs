//! Random calls on names and attributes, made in the mount and in a local directory side by side: directories, files,
//! temporary files, links, modes, times and extended attributes, by two mounts of the bucket, with changes of others
//! in between. Both must give the same answers and end as the same tree.
//!
//! How many sequences is `PROPTEST_CASES`. A sequence that failed is printed as short as it could be made.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cosmount::object::ObjectKey;
use cosmount::store::ObjectStore;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};
use tempfile::TempDir;

use crate::bed::Bed;
use crate::two_mounts::Second;

const CASES: u32 = 60;
/// Names that each may be a file, a directory or a link, in one another as far as they are directories.
const NAMES: [&str; 3] = ["a", "b.html", "c.tmp"];
const XATTR: &str = "user.colour";

/// Up to three names, one in the other.
type Place = Vec<usize>;

#[derive(Clone, Debug)]
enum Step {
    Mkdir(Place),
    Rmdir(Place),
    Put(Place, usize),
    /// A temporary file, closed, given a mode, and renamed.
    Replace(Place, usize, u32),
    Symlink(Place, Place),
    Readlink(Place),
    Unlink(Place),
    Rename(Place, Place),
    Chmod(Place, u32),
    Utimens(Place, i64),
    SetXattr(Place, usize),
    RemoveXattr(Place),
    Stat(Place),
    List(Place),
    /// The other mount goes on.
    Switch,
    /// Others put an object there, or remove it.
    PutBehind(Place, usize),
    RemoveBehind(Place),
}

fn place() -> impl Strategy<Value = Place> {
    proptest::collection::vec(0..NAMES.len(), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let mode = || prop_oneof![Just(0o600), Just(0o644), Just(0o755), Just(0o750)];
    prop_oneof![
        14 => place().prop_map(Step::Mkdir),
        4 => place().prop_map(Step::Rmdir),
        14 => (place(), 0..3000_usize).prop_map(|(place, len)| Step::Put(place, len)),
        8 => (place(), 0..3000_usize, mode()).prop_map(|(place, len, mode)| Step::Replace(place, len, mode)),
        6 => (place(), place()).prop_map(|(place, target)| Step::Symlink(place, target)),
        3 => place().prop_map(Step::Readlink),
        6 => place().prop_map(Step::Unlink),
        12 => (place(), place()).prop_map(|(from, to)| Step::Rename(from, to)),
        8 => (place(), mode()).prop_map(|(place, mode)| Step::Chmod(place, mode)),
        6 => (place(), 0..2_000_000_000_i64).prop_map(|(place, seconds)| Step::Utimens(place, seconds)),
        4 => (place(), 0..40_usize).prop_map(|(place, len)| Step::SetXattr(place, len)),
        2 => place().prop_map(Step::RemoveXattr),
        8 => place().prop_map(Step::Stat),
        4 => place().prop_map(Step::List),
        8 => Just(Step::Switch),
        3 => (place(), 0..3000_usize).prop_map(|(place, len)| Step::PutBehind(place, len)),
        2 => place().prop_map(Step::RemoveBehind),
    ]
}

type Outcome = Result<String, i32>;

fn path(top: &Path, place: &Place) -> PathBuf {
    place.iter().fold(top.to_owned(), |path, name| path.join(NAMES[*name]))
}

fn done(result: io::Result<()>) -> Outcome {
    result.map(|()| String::new()).map_err(|error| error.raw_os_error().unwrap_or(0))
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    crate::bed::random_bytes(len, seed as u64)
}

/// Makes one call, the same way on every ground.
fn call(top: &Path, number: usize, step: &Step) -> Outcome {
    let no_link = |path: &Path| fs::symlink_metadata(path).map(|metadata| !metadata.is_symlink());
    match step {
        Step::Mkdir(place) => done(fs::create_dir(path(top, place))),
        Step::Rmdir(place) => done(fs::remove_dir(path(top, place))),
        Step::Put(place, len) => done(fs::write(path(top, place), content(number, *len))),
        Step::Replace(place, len, mode) => done((|| {
            let target = path(top, place);
            let temporary = target.with_file_name(format!(".x.A1b2C{number}"));
            let mut options = File::options();
            let mut file = options.read(true).write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&content(number, *len))?;
            drop(file);
            fs::set_permissions(&temporary, Permissions::from_mode(*mode))?;
            let renamed = fs::rename(&temporary, target);
            if renamed.is_err() {
                fs::remove_file(temporary)?;
            }
            renamed
        })()),
        Step::Symlink(place, target) => {
            let target: PathBuf = target.iter().map(|name| NAMES[*name]).collect();
            done(symlink(target, path(top, place)))
        }
        Step::Readlink(place) => match fs::read_link(path(top, place)) {
            Ok(target) => Ok(target.display().to_string()),
            Err(error) => Err(error.raw_os_error().unwrap_or(0)),
        },
        Step::Unlink(place) => done(fs::remove_file(path(top, place))),
        Step::Rename(from, to) => done(fs::rename(path(top, from), path(top, to))),
        Step::Chmod(place, mode) => done((|| {
            let path = path(top, place);
            if no_link(&path)? { fs::set_permissions(path, Permissions::from_mode(*mode)) } else { Ok(()) }
        })()),
        Step::Utimens(place, seconds) => {
            let time = Timespec { tv_sec: *seconds, tv_nsec: 123_456_789 };
            let times = Timestamps { last_access: time, last_modification: time };
            done(utimensat(CWD, path(top, place), &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from))
        }
        Step::SetXattr(place, len) => done((|| {
            let path = path(top, place);
            if no_link(&path)? {
                rustix::fs::lsetxattr(path, XATTR, &content(number, *len), XattrFlags::empty())?;
            }
            Ok(())
        })()),
        Step::RemoveXattr(place) => done((|| {
            let path = path(top, place);
            if no_link(&path)? { Ok(rustix::fs::lremovexattr(path, XATTR)?) } else { Ok(()) }
        })()),
        Step::Stat(place) => match fs::symlink_metadata(path(top, place)) {
            Ok(metadata) => Ok(shown(&metadata)),
            Err(error) => Err(error.raw_os_error().unwrap_or(0)),
        },
        Step::List(place) => match listed(&path(top, place)) {
            Ok(names) => Ok(names.join(" ")),
            Err(error) => Err(error.raw_os_error().unwrap_or(0)),
        },
        Step::Switch | Step::PutBehind(..) | Step::RemoveBehind(..) => Ok(String::new()),
    }
}

fn shown(metadata: &fs::Metadata) -> String {
    let size = if metadata.is_dir() { 0 } else { metadata.len() };
    format!("{:o} {size}", metadata.mode())
}

fn listed(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        names.push(format!("{}:{:?}", entry.file_name().display(), entry.file_type()?));
    }
    names.sort();
    Ok(names)
}

/// A whole tree as text: names, kinds, modes, contents, targets, extended attributes, and times where they were set.
fn dump(top: &Path, directory: &Path, lines: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let metadata = fs::symlink_metadata(&path).unwrap();
        // A directory keeps the time that it was given, whatever is made in it.
        let is_set = metadata.mtime_nsec() == 123_456_789 && !metadata.is_dir();
        let time = if is_set { metadata.mtime().to_string() } else { String::new() };
        let mut value = [0; 64];
        let xattr = match rustix::fs::lgetxattr(&path, XATTR, &mut value) {
            Ok(len) => format!("{:?}", &value[..len]),
            Err(_) => String::new(),
        };
        let inside = match () {
            () if metadata.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            () if metadata.is_file() => format!("{:?}", cosmount::object::Crc64::of(&fs::read(&path).unwrap())),
            () => String::new(),
        };
        let name = path.strip_prefix(top).unwrap().display();
        lines.push(format!("{name} {} {time} {xattr} {inside}", shown(&metadata)));
        if metadata.is_dir() {
            dump(top, &path, lines);
        }
    }
}

fn tree(top: &Path) -> String {
    let mut lines = Vec::new();
    dump(top, top, &mut lines);
    lines.join("\n")
}

/// Makes durable, and visible for the other mount, what waits to be published.
fn sync_tree(top: &Path) {
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        File::open(&directory).unwrap().sync_all().unwrap();
        let below = fs::read_dir(&directory).unwrap().map(Result::unwrap);
        directories.extend(below.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()));
    }
}

struct Grounds {
    /// Before its bed, which it lies in: they end in this order.
    second: Second,
    bed: Bed,
    case: usize,
}

impl Grounds {
    fn new() -> Grounds {
        // Others' changes show at once, so that they can be compared at once.
        let bed = Bed::with(&[], &["--metadata-ttl", "0s"]);
        let second = Second::of(&bed, &["--metadata-ttl", "0s"]);
        Grounds { bed, second, case: 0 }
    }

    fn run(&mut self, steps: &[Step]) -> Result<(), String> {
        self.case += 1;
        let name = format!("case{}", self.case);
        let disk = TempDir::new().unwrap();
        let tops = [self.bed.at(&name), self.second.at.join(&name)];
        fs::create_dir(&tops[0]).unwrap();
        let mut mount = 0;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Switch => {
                    sync_tree(&tops[mount]);
                    mount = 1 - mount;
                }
                Step::PutBehind(place, _) | Step::RemoveBehind(place) => {
                    sync_tree(&tops[mount]);
                    self.change_behind(&name, disk.path(), place, number, step);
                }
                _ => {}
            }
            let (got, expected) = (call(&tops[mount], number, step), call(disk.path(), number, step));
            if got != expected {
                return Err(format!("step {number}, {step:?}: {got:?}, {expected:?} is right"));
            }
        }
        let expected = tree(disk.path());
        sync_tree(&tops[mount]);
        for top in &tops {
            let got = tree(top);
            if got != expected {
                return Err(format!("{} ends as\n{got}\n--- and should be\n{expected}", top.display()));
            }
        }
        fs::remove_dir_all(&tops[mount]).map_err(|error| format!("the tree cannot be removed: {error}"))?;
        if tops[1 - mount].exists() {
            return Err("the other mount still has what was removed".into());
        }
        Ok(())
    }

    /// What somebody does with the bucket alone, where it makes sense for a tree of files.
    fn change_behind(&self, name: &str, disk: &Path, place: &Place, number: usize, step: &Step) {
        let local = path(disk, place);
        // A path through a link leads elsewhere, which a key does not.
        let parents = (1..place.len()).map(|count| path(disk, &place[..count].to_vec()));
        let is_real = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let there = fs::symlink_metadata(&local).ok();
        if !parents.into_iter().all(|parent| is_real(&parent)) || there.as_ref().is_some_and(fs::Metadata::is_dir) {
            return;
        }
        let key = place.iter().fold(name.to_owned(), |key, name| format!("{key}/{}", NAMES[*name]));
        match step {
            Step::PutBehind(_, len) => {
                if there.is_some() {
                    fs::remove_file(&local).unwrap();
                }
                fs::write(&local, content(number, *len)).unwrap();
                fs::set_permissions(&local, Permissions::from_mode(0o644)).unwrap();
                self.bed.bucket().put(&key, &content(number, *len));
            }
            _ if there.is_some() => {
                fs::remove_file(&local).unwrap();
                let key = ObjectKey::new(&key).unwrap();
                self.bed.bucket().run(|store| store.delete(&key)).unwrap();
            }
            _ => {}
        }
    }
}

fn replay(steps: &[Step]) {
    if let Err(complaint) = Grounds::new().run(steps) {
        panic!("{complaint}");
    }
}

#[test]
fn trees_are_what_they_are_on_a_local_disk() {
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let config = Config { cases, failure_persistence: None, max_shrink_time: 120_000, ..Config::default() };
    let grounds = std::cell::RefCell::new(Grounds::new());
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..40), |steps| {
        grounds.borrow_mut().run(&steps).map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}\n--- the mount's log\n{}", grounds.borrow().bed.log());
    }
}

#[test]
fn a_temporary_name_that_stays_is_a_file_like_any_other() {
    replay(&[Step::Put(vec![2], 100), Step::Chmod(vec![2], 0o600), Step::Switch, Step::Stat(vec![2])]);
}
