//! `cosmount warm`: fetches files into the cache of their mount, by reading them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::{Advice, fadvise, fgetxattr};
use rustix::io::Errno;

use super::arguments::WarmArguments;
use super::failure::{Exit, Failure};
use super::terminal::{self, Terminal};

/// What is read at once, in bytes: the largest request of the kernel.
const READ_BYTES: usize = 1 << 20;

/// How often a file is read of which the disk could not take all that came.
const PASSES_MAX: usize = 4;

/// The attribute that tells how much of a file is there.
const CACHED: &str = "user.cosmount.cached";

/// Files that are named in a message.
const NAMED_MAX: usize = 3;

/// What was done so far.
#[derive(Default)]
struct Done {
    files: AtomicU64,
    bytes: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// Fetches all files at and below the paths, several at a time. Fails if one could not be.
pub(super) fn run(arguments: &WarmArguments) -> Result<(), Failure> {
    let mut paths = arguments.paths.clone();
    if let Some(list) = &arguments.list {
        let refused = |error: io::Error| Failure::new(Exit::Usage, format!("{}: {error}", list.display()));
        let reader: Box<dyn Read> =
            if list == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(list).map_err(refused)?) };
        // Names are bytes.
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.map_err(refused)?;
            paths
                .extend(Some(line).filter(|line| !line.is_empty()).map(|line| PathBuf::from(OsString::from_vec(line))));
        }
    }
    if paths.is_empty() {
        let told = "nothing is named: give files or directories in a mount, or --list FILE";
        return Err(Failure::new(Exit::Usage, told));
    }
    let (work, done) = (Work::new(paths), Done::default());
    let bar = bar();
    std::thread::scope(|scope| {
        let fetch_all = || {
            let mut buffer = vec![0; READ_BYTES];
            while let Some(path) = work.next(&done) {
                match fetch(&path, &mut buffer, &done, bar.as_ref()) {
                    Ok(()) => {
                        done.files.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(why) => done.fail(&path, &why),
                }
            }
        };
        for _ in 1..arguments.concurrency.get() {
            if std::thread::Builder::new().spawn_scoped(scope, fetch_all).is_err() {
                // The machine has no more threads. Those that there are do it.
                break;
            }
        }
        fetch_all();
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    done.outcome()
}

impl Done {
    fn fail(&self, path: &Path, why: &str) {
        let failed = format!("{}: {why}", path.display());
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
    }

    fn outcome(self) -> Result<(), Failure> {
        let (files, bytes) = (self.files.into_inner(), self.bytes.into_inner());
        let mut failed = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let plural = if files == 1 { "" } else { "s" };
        terminal::tell(&format!("{files} file{plural} in the cache, {}", BinaryBytes(bytes)));
        if failed.is_empty() {
            return Ok(());
        }
        let more = failed.len().saturating_sub(NAMED_MAX);
        failed.truncate(NAMED_MAX);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(Failure::new(Exit::Failed, format!("not in the cache: {}{more}", failed.join("; "))))
    }
}

/// What is still to be looked at.
struct Work {
    left: Mutex<Left>,
    /// Somebody has listed a directory.
    has_listed: Condvar,
}

struct Left {
    waiting: VecDeque<Waiting>,
    /// How many list a directory right now, from which more comes.
    listing: usize,
}

/// A path, and whether somebody has named it.
struct Waiting {
    path: PathBuf,
    is_named: bool,
}

/// What a path is.
enum Found {
    File,
    Entries(Vec<PathBuf>),
    Other,
}

impl Work {
    fn new(paths: Vec<PathBuf>) -> Work {
        let waiting = paths.into_iter().map(|path| Waiting { path, is_named: true }).collect();
        Work { left: Mutex::new(Left { waiting, listing: 0 }), has_listed: Condvar::new() }
    }

    /// The next file that is to be fetched, once it is known; `None` if there is no more. What is in directories on the way there
    /// waits, too.
    fn next(&self, done: &Done) -> Option<PathBuf> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(Waiting { path, is_named }) = left.waiting.pop_front() else {
                if left.listing == 0 {
                    return None;
                }
                left = self.has_listed.wait(left).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            left.listing += 1;
            drop(left);
            let found = found(&path, is_named);
            left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            left.listing -= 1;
            self.has_listed.notify_all();
            match found {
                Ok(Found::File) => return Some(path),
                Ok(Found::Entries(entries)) => {
                    left.waiting.extend(entries.into_iter().map(|path| Waiting { path, is_named: false }));
                }
                Ok(Found::Other) if is_named => done.fail(&path, "it is neither a file nor a directory"),
                Ok(Found::Other) => {}
                Err(error) => done.fail(&path, &error.to_string()),
            }
        }
    }
}

/// What a path is, or what it leads to where somebody has named it.
fn found(path: &Path, is_named: bool) -> io::Result<Found> {
    let metadata = if is_named { fs::metadata(path)? } else { fs::symlink_metadata(path)? };
    Ok(match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Found::File,
        (_, true) => {
            Found::Entries(fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?)
        }
        _ => Found::Other,
    })
}

/// Reads a file until all of it is in the cache.
fn fetch(path: &Path, buffer: &mut [u8], done: &Done, bar: Option<&ProgressBar>) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    for pass in 0..=PASSES_MAX {
        // Opened anew each time: what the mount has in memory of a file that stays open does not come again.
        let mut file = File::open(path).map_err(told)?;
        let (size, cached) = (file.metadata().map_err(told)?.len(), cached_bytes(&file)?);
        if cached >= size {
            done.bytes.fetch_add(cached, Ordering::Relaxed);
            return Ok(());
        }
        if pass == PASSES_MAX {
            let (cached, size) = (BinaryBytes(cached), BinaryBytes(size));
            return Err(format!("{cached} of {size} are kept: there is no room, or the disk is too slow"));
        }
        // What the kernel has is no proof that the cache has it.
        let to_the_end: Option<NonZeroU64> = None;
        fadvise(&file, 0, to_the_end, Advice::DontNeed).map_err(|errno| told(errno.into()))?;
        loop {
            let read = file.read(buffer).map_err(told)?;
            if read == 0 {
                break;
            }
            if let Some(bar) = bar.filter(|_| pass == 0) {
                bar.inc(read as u64);
            }
        }
    }
    Ok(())
}

/// How much of a file is in the cache of its mount.
fn cached_bytes(file: &File) -> Result<u64, String> {
    let mut value = [0; 64];
    let len = fgetxattr(file, CACHED, &mut value).map_err(|errno| match errno {
        Errno::NODATA | Errno::OPNOTSUPP => "it is in no mount with a cache: mount with --cache DIR".to_owned(),
        errno => io::Error::from(errno).to_string(),
    })?;
    let text = String::from_utf8_lossy(&value[..len]).into_owned();
    text.split('/').next().and_then(|bytes| bytes.parse().ok()).ok_or(text)
}

fn bar() -> Option<ProgressBar> {
    let terminal = Terminal::of_stderr();
    if !terminal.is_terminal {
        return None;
    }
    let style = ProgressStyle::with_template("{spinner} {binary_bytes} read, {binary_bytes_per_sec}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(200));
    Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever lists is not alone with what he has listed.
    #[test]
    fn what_is_in_a_directory_is_fetched_by_all() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("d")).unwrap();
        for name in ["d/a", "d/b", "c"] {
            fs::write(home.path().join(name), name).unwrap();
        }
        let (work, done) = (Work::new(vec![home.path().to_owned()]), Done::default());
        let all_have_one = std::sync::Barrier::new(3);
        let taken = std::thread::scope(|scope| {
            let take = || {
                let taken = work.next(&done);
                // Each has one while the others have.
                all_have_one.wait();
                assert_eq!(work.next(&done), None);
                taken
            };
            let takers: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
            takers.into_iter().filter_map(|taker| taker.join().unwrap()).count()
        });
        assert_eq!(taken, 3);
    }

    #[test]
    fn what_is_named_is_followed_and_what_is_no_file_is_told() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("file"), "x").unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("file", at("directory/found")).unwrap();
        let (work, done) =
            (Work::new(vec![at("link"), at("directory"), "/dev/null".into(), at("none")]), Done::default());
        assert_eq!((work.next(&done), work.next(&done)), (Some(at("link")), None));
        let failed = done.failed.into_inner().unwrap();
        assert!(failed.len() == 2 && failed[0].contains("/dev/null: it is neither"), "{failed:?}");
    }
}
