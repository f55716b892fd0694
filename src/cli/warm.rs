//! `cosmount warm`: fetches files into the cache of their mount, by reading them.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::{Advice, fadvise, fgetxattr};

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
        for line in BufReader::new(reader).lines() {
            paths.extend(Some(line.map_err(refused)?).filter(|line| !line.is_empty()).map(PathBuf::from));
        }
    }
    if paths.is_empty() {
        let told = "nothing is named: give files or directories in a mount, or --list FILE";
        return Err(Failure::new(Exit::Usage, told));
    }
    let (waiting, done) = (Mutex::new(VecDeque::from(paths)), Done::default());
    let bar = bar();
    std::thread::scope(|scope| {
        for _ in 0..arguments.concurrency.get() {
            scope.spawn(|| {
                let mut buffer = vec![0; READ_BYTES];
                while let Some(path) = next(&waiting, &done) {
                    match fetch(&path, &mut buffer, &done, bar.as_ref()) {
                        Ok(()) => {
                            done.files.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => done.fail(&path, &why),
                    }
                }
            });
        }
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

/// The next file that is to be fetched. What is in directories on the way there waits, too.
fn next(waiting: &Mutex<VecDeque<PathBuf>>, done: &Done) -> Option<PathBuf> {
    loop {
        let path = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        let listed = fs::symlink_metadata(&path).and_then(|metadata| {
            if metadata.is_file() {
                return Ok(None);
            }
            let entries =
                if metadata.is_dir() { fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()? } else { Vec::new() };
            Ok(Some(entries.into_iter().map(|entry| entry.path()).collect::<Vec<_>>()))
        });
        match listed {
            Ok(None) => return Some(path),
            Ok(Some(entries)) => waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(entries),
            Err(error) => done.fail(&path, &error.to_string()),
        }
    }
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
    let len = fgetxattr(file, CACHED, &mut value)
        .map_err(|_| "it is in no mount with a cache: mount with --cache DIR".to_owned())?;
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
