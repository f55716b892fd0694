//! Makes the calls in a directory, beside the reference, and says where the two part.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::reference::Reference;
use super::steps::{Access, Allocation, FILE_BYTES_MAX, Flags, HANDLES, NAMES, Place, Step};

/// Fine, or what was not as it should be.
pub(super) type Verdict = Result<(), String>;

/// Where a sequence runs.
pub(super) trait Ground {
    /// Whether `FALLOC_FL_ZERO_RANGE` is known here.
    fn zeroes_ranges(&self) -> bool;

    /// An empty directory.
    fn directory(&self) -> PathBuf;

    /// That a file is where others find it, as a close or an fsync has just promised.
    fn check_published(&self, name: &str, bytes: &[u8]) -> Verdict;

    /// Starts over with everything that a kernel or a process may have remembered; no file is open.
    fn forget(&mut self) -> Verdict;

    /// That there is nothing but these files, nor anything unfinished; no file is open.
    fn check_holds_exactly(&self, files: &[(&str, &[u8])]) -> Verdict;
}

/// Runs the sequence on fresh ground, and looks at all that it left.
pub(super) fn run(ground: &mut impl Ground, steps: &[Step]) -> Verdict {
    let mut driver = Driver::new(ground);
    for (number, step) in steps.iter().enumerate() {
        driver.step(step).map_err(|complaint| format!("step {number}, {step:?}: {complaint}"))?;
    }
    driver.finish().map_err(|complaint| format!("at the end: {complaint}"))
}

struct Driver<'a, G> {
    ground: &'a mut G,
    directory: PathBuf,
    reference: Reference,
    handles: [Option<OwnedFd>; HANDLES],
    /// Every write has bytes of its own.
    writes: u64,
}

impl<'a, G: Ground> Driver<'a, G> {
    fn new(ground: &'a mut G) -> Driver<'a, G> {
        let directory = ground.directory();
        Driver { ground, directory, reference: Reference::default(), handles: Default::default(), writes: 0 }
    }

    fn step(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Open { handle, name, flags } => self.open(handle, name, flags),
            Step::Put { name, len } => self.put(name, len),
            Step::Read { handle, place, len } => self.read(handle, place, len),
            Step::Write { handle, place, len } => self.write(handle, place, len),
            Step::Truncate { handle, place } => self.truncate(handle, place),
            Step::TruncateByName { name, size } => self.truncate_by_name(name, size),
            Step::Allocate { handle, mode, place, len } => self.allocate(handle, mode, place, len),
            Step::Copy { from, to, source, target, len } => self.copy(from, to, source, target, len),
            Step::SeekData { handle, place } => self.seek_data(handle, place),
            Step::SeekHole { handle, place } => self.seek_hole(handle, place),
            Step::Sync { handle, data_only } => self.sync(handle, data_only),
            Step::Close { handle } => self.close(handle),
            Step::Duplicate { handle, closes_older } => self.duplicate(handle, closes_older),
            Step::Rename { from, to } => self.rename(from, to),
            Step::Unlink { name } => self.unlink(name),
            Step::Stat { name } => self.stat(name),
            Step::StatHandle { handle } => self.stat_handle(handle),
            Step::List => self.list(),
            Step::Remount => self.remount(),
        }
    }

    fn open(&mut self, handle: usize, name: usize, flags: Flags) -> Verdict {
        self.close(handle)?;
        let expected = self.reference.open(handle, name, flags);
        match rustix::fs::open(self.path(name), oflags(flags), Mode::from_raw_mode(0o644)) {
            Ok(fd) => {
                self.handles[handle] = Some(fd);
                agree("open", Ok(()), expected)
            }
            Err(error) => agree("open", Err(error), expected),
        }
    }

    fn put(&mut self, name: usize, len: usize) -> Verdict {
        let data = self.data(len);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = rustix::fs::open(self.path(name), flags, Mode::from_raw_mode(0o644)).map_err(text("open"))?;
        agree("write", rustix::io::pwrite(&fd, &data, 0), Ok(len))?;
        agree("close", close(fd), Ok(()))?;
        // Who only creates a file may find it published somewhat later.
        if len > 0 {
            self.ground.check_published(NAMES[name], &data)?;
        }
        self.reference.put(name, data);
        Ok(())
    }

    fn read(&mut self, handle: usize, place: Place, len: usize) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let offset = place.offset(self.reference.bytes(handle).len());
        let mut buffer = vec![0; len];
        let got = rustix::io::pread(fd, &mut buffer, offset as u64).map(|len| &buffer[..len]);
        match (got, self.reference.read(handle, offset, len)) {
            (Ok(got), Ok(expected)) => same(got, expected),
            (got, expected) => agree("read", got.map(<[u8]>::len), expected.map(<[u8]>::len)),
        }
    }

    fn write(&mut self, handle: usize, place: Place, len: usize) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let size = self.reference.bytes(handle).len();
        let offset = place.offset(size);
        // An appending handle writes at the end, wherever the call says.
        let begins_at = if self.reference.appends(handle) { size } else { offset };
        let data = unique(&mut self.writes, len.min(FILE_BYTES_MAX - begins_at));
        let expected = self.reference.write(handle, offset, &data).map(|()| data.len());
        agree("write", rustix::io::pwrite(fd, &data, offset as u64), expected)?;
        self.stat_handle(handle)
    }

    fn truncate(&mut self, handle: usize, place: Place) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let size = place.offset(self.reference.bytes(handle).len());
        let expected = self.reference.truncate(handle, size);
        agree("ftruncate", rustix::fs::ftruncate(fd, size as u64), expected)?;
        self.stat_handle(handle)
    }

    fn truncate_by_name(&mut self, name: usize, size: usize) -> Verdict {
        let got = nix::unistd::truncate(&self.path(name), size.cast_signed() as i64);
        agree("truncate", got.map_err(errno), self.reference.truncate_by_name(name, size))?;
        self.stat(name)
    }

    fn allocate(&mut self, handle: usize, mode: Allocation, place: Place, len: usize) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let zeroes = matches!(mode, Allocation::ZeroRange | Allocation::ZeroRangeKeepSize);
        if zeroes && !self.ground.zeroes_ranges() {
            return Ok(());
        }
        let offset = place.offset(self.reference.bytes(handle).len());
        let len = len.min(FILE_BYTES_MAX - offset);
        let expected = self.reference.allocate(handle, mode, offset, len);
        agree("fallocate", rustix::fs::fallocate(fd, fallocate_flags(mode), offset as u64, len as u64), expected)?;
        self.stat_handle(handle)
    }

    fn copy(&mut self, from: usize, to: usize, source: Place, target: Place, len: usize) -> Verdict {
        let Some((from, in_fd)) = open_one(&self.handles, from) else { return Ok(()) };
        let Some((to, out_fd)) = open_one(&self.handles, to) else { return Ok(()) };
        let source = source.offset(self.reference.bytes(from).len());
        let target = target.offset(self.reference.bytes(to).len());
        let len = len.min(FILE_BYTES_MAX - target);
        let expected = self.reference.copy(from, to, source, target, len);
        // A call may copy less than it was asked for, but never nothing before the end; what is behind the end now may
        // be before it after the first call, so the later ones ask for what is left of it only.
        let total = expected.unwrap_or(0);
        let (mut source, mut target, mut copied) = (source as u64, target as u64, 0);
        loop {
            let ask = if copied == 0 { len } else { total - copied };
            let got = rustix::fs::copy_file_range(in_fd, Some(&mut source), out_fd, Some(&mut target), ask);
            let now = got.unwrap_or(0);
            copied += now;
            if now == 0 || copied >= total {
                agree("copy_file_range", got.map(|_| copied), expected)?;
                return self.stat_handle(to);
            }
        }
    }

    fn seek_data(&mut self, handle: usize, place: Place) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let bytes = self.reference.bytes(handle);
        let offset = place.offset(bytes.len());
        match rustix::fs::seek(fd, SeekFrom::Data(offset as u64)) {
            Ok(data) if (offset..bytes.len()).contains(&(data as usize)) => is_zero(bytes, offset..data as usize),
            Err(Errno::NXIO) => is_zero(bytes, offset.min(bytes.len())..bytes.len()),
            got => Err(format!("data from {offset} of {} is at {got:?}", bytes.len())),
        }
    }

    fn seek_hole(&mut self, handle: usize, place: Place) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let bytes = self.reference.bytes(handle);
        let offset = place.offset(bytes.len());
        match rustix::fs::seek(fd, SeekFrom::Hole(offset as u64)) {
            Ok(hole) if offset < bytes.len() && hole as usize == bytes.len() => Ok(()),
            Ok(hole) if (offset..bytes.len()).contains(&(hole as usize)) => {
                is_zero(bytes, hole as usize..hole as usize + 1)
            }
            Err(Errno::NXIO) if offset >= bytes.len() => Ok(()),
            got => Err(format!("a hole from {offset} of {} is at {got:?}", bytes.len())),
        }
    }

    fn sync(&mut self, handle: usize, data_only: bool) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let got = if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) };
        agree("fsync", got, Ok(()))?;
        self.check_published(handle)
    }

    fn close(&mut self, handle: usize) -> Verdict {
        let Some(fd) = self.handles[handle].take() else { return Ok(()) };
        let vouches = self.reference.has_unpublished(handle);
        let published = agree("close", close(fd), Ok(())).and_then(|()| match vouches {
            true => self.check_published(handle),
            false => Ok(()),
        });
        self.reference.close(handle);
        published
    }

    fn duplicate(&mut self, handle: usize, closes_older: bool) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let mut goes = rustix::io::dup(fd).map_err(text("dup"))?;
        if closes_older {
            goes = self.handles[handle].replace(goes).expect("it is open");
        }
        agree("close of a duplicate", close(goes), Ok(()))?;
        if self.reference.has_unpublished(handle) { self.check_published(handle) } else { Ok(()) }
    }

    fn rename(&mut self, from: usize, to: usize) -> Verdict {
        agree("rename", fs_result(fs::rename(self.path(from), self.path(to))), self.reference.rename(from, to))
    }

    fn unlink(&mut self, name: usize) -> Verdict {
        agree("unlink", fs_result(fs::remove_file(self.path(name))), self.reference.unlink(name))
    }

    fn stat(&mut self, name: usize) -> Verdict {
        let got = fs_result(fs::metadata(self.path(name))).map(|metadata| metadata.len() as usize);
        agree("stat", got, self.reference.size(name))
    }

    fn stat_handle(&mut self, handle: usize) -> Verdict {
        let Some((handle, fd)) = open_one(&self.handles, handle) else { return Ok(()) };
        let got = rustix::fs::fstat(fd).map(|stat| stat.st_size as usize);
        agree("fstat", got, Ok(self.reference.bytes(handle).len()))
    }

    fn list(&mut self) -> Verdict {
        let entries = fs::read_dir(&self.directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut got: Vec<String> = fs_result(entries)
            .map_err(text("readdir"))?
            .iter()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        got.sort();
        let expected: Vec<&str> = self.reference.named().iter().map(|(name, _)| *name).collect();
        if got == expected { Ok(()) } else { Err(format!("{expected:?} expected, there are {got:?}")) }
    }

    fn remount(&mut self) -> Verdict {
        (0..HANDLES).try_for_each(|handle| self.close(handle))?;
        self.ground.check_holds_exactly(&self.reference.named())?;
        self.ground.forget()?;
        self.check_reads_back()
    }

    fn finish(mut self) -> Verdict {
        (0..HANDLES).try_for_each(|handle| self.close(handle))?;
        self.ground.check_holds_exactly(&self.reference.named())?;
        self.list()?;
        self.check_reads_back()
    }

    /// That every file is as it should be for somebody who has never seen it.
    fn check_reads_back(&self) -> Verdict {
        for (name, expected) in self.reference.named() {
            let path = self.directory.join(name);
            let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(text("open"))?;
            rustix::fs::fadvise(&fd, 0, None, Advice::DontNeed).map_err(text("fadvise"))?;
            let got = fs_result(fs::read(&path)).map_err(text("read"))?;
            same(&got, expected).map_err(|complaint| format!("{name} reads back otherwise: {complaint}"))?;
        }
        Ok(())
    }

    fn check_published(&mut self, handle: usize) -> Verdict {
        if let Some((name, bytes)) = self.reference.named_file(handle) {
            self.ground.check_published(name, bytes)?;
        }
        self.reference.publish(handle);
        Ok(())
    }

    fn path(&self, name: usize) -> PathBuf {
        self.directory.join(NAMES[name])
    }

    fn data(&mut self, len: usize) -> Vec<u8> {
        unique(&mut self.writes, len)
    }
}

/// The handle of that number, or the next one that is open.
fn open_one(handles: &[Option<OwnedFd>; HANDLES], number: usize) -> Option<(usize, &OwnedFd)> {
    let mut numbers = (number..HANDLES).chain(0..number);
    numbers.find_map(|number| Some((number, handles[number].as_ref()?)))
}

/// Bytes that no other write of the sequence has.
fn unique(writes: &mut u64, len: usize) -> Vec<u8> {
    *writes += 1;
    let mut data = vec![0; len];
    fastrand::Rng::with_seed(*writes).fill(&mut data);
    data
}

fn oflags(flags: Flags) -> OFlags {
    let access = match flags.access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::Both => OFlags::RDWR,
    };
    let chosen = [
        (flags.create, OFlags::CREATE),
        (flags.exclusive, OFlags::EXCL),
        (flags.truncate, OFlags::TRUNC),
        (flags.append, OFlags::APPEND),
    ];
    chosen.iter().filter(|(is_set, _)| *is_set).fold(access | OFlags::CLOEXEC, |all, (_, flag)| all | *flag)
}

fn fallocate_flags(mode: Allocation) -> FallocateFlags {
    match mode {
        Allocation::Extend => FallocateFlags::empty(),
        Allocation::KeepSize => FallocateFlags::KEEP_SIZE,
        Allocation::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        Allocation::ZeroRange => FallocateFlags::ZERO_RANGE,
        Allocation::ZeroRangeKeepSize => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    }
}

/// Closes it, and tells what a drop would keep to itself.
fn close(fd: OwnedFd) -> Result<(), Errno> {
    nix::unistd::close(fd).map_err(errno)
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}

fn fs_result<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).expect("an error of the system"))
}

fn text(call: &str) -> impl Fn(Errno) -> String {
    move |error| format!("{call}: {error}")
}

fn agree<T: std::fmt::Debug + PartialEq>(call: &str, got: Result<T, Errno>, expected: Result<T, Errno>) -> Verdict {
    if got == expected { Ok(()) } else { Err(format!("{call} returned {got:?}, {expected:?} is right")) }
}

/// That two contents are the same, without printing them.
pub(super) fn same(got: &[u8], expected: &[u8]) -> Verdict {
    if got == expected {
        return Ok(());
    }
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let around = |bytes: &[u8]| differs.map(|at| bytes[at..bytes.len().min(at + 8)].to_vec());
    Err(format!(
        "{} bytes in place of {}, the first difference at {differs:?}: {:?} in place of {:?}",
        got.len(),
        expected.len(),
        around(got),
        around(expected)
    ))
}

fn is_zero(bytes: &[u8], range: std::ops::Range<usize>) -> Verdict {
    match bytes[range.clone()].iter().position(|byte| *byte != 0) {
        Some(at) => Err(format!("{} is in a hole ({range:?}), and there are bytes", range.start + at)),
        None => Ok(()),
    }
}
