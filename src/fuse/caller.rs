//! What the process behind a request is doing, as `/proc` tells.
//!
//! The kernel does not let a process die while it waits for a reply, and the interrupt that it sends does not reach this
//! code. So whoever keeps a caller waiting looks from time to time whether a signal is waiting for it, too.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Waits shorter than this are not worth a look.
const FIRST_LOOK: Duration = Duration::from_millis(300);

/// How often to look: Ctrl-C is answered well within a second, and a look costs about 20 microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The signals by which people and supervisors end a program: HUP, INT, QUIT, KILL and TERM.
const ENDING_SIGNALS: u64 = signal(1) | signal(2) | signal(3) | signal(9) | signal(15);

const fn signal(number: u32) -> u64 {
    1 << (number - 1)
}

/// How long a thread that was seen to be told to end counts as ending: longer than it takes to get from its call's answer
/// to closing its files, and far shorter than it takes until its number is used again.
const ENDING_FOR: Duration = Duration::from_secs(5);

/// Threads that were seen to be told to end. The signal may be taken off before the kernel closes their files. Std mutex:
/// map operations only. Level 8 in the order of locks.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Mutex<HashMap<u32, Instant>>>);

impl Ending {
    /// Returns once the thread `tid` is told to end, or if it was a moment ago and is ending now.
    pub(super) async fn reached_by(&self, tid: u32) {
        let was_seen = |at: &Instant| at.elapsed() < ENDING_FOR;
        let is_known = self.lock().get(&tid).is_some_and(was_seen);
        // One that handles the signal and goes on is owed an answer to its next call.
        if !(is_known && has_no_memory(tid)) {
            is_told_to_end(tid).await;
            let mut seen = self.lock();
            seen.retain(|_, at| was_seen(at));
            seen.insert(tid, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns once a signal that ends programs is waiting for the thread `tid`. It is still shown as waiting while it ends
/// the process, whose files are closed then. Never returns if `/proc` does not tell.
///
/// One that was not waiting when the signal came has lost it by the time its files are closed, and its memory.
///
/// Reads `status` and, as long as there is memory, nothing else: the kernel holds back `stat`, `wchan` and `stack` of a
/// process that is just starting another program, which may be waiting for this very answer, because starting one closes
/// files.
async fn is_told_to_end(tid: u32) {
    tokio::time::sleep(FIRST_LOOK).await;
    loop {
        let status = fs::read_to_string(format!("/proc/{tid}/status"));
        if status.is_ok_and(|status| has_ending_signal(&status) || shows_no_memory(&status) && was_killed(tid)) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How often to look whether a signal waits for somebody who waits for a lock: as people notice no delay, and a look costs
/// about 20 microseconds.
const LOOK_AT_LOCKER_EVERY: Duration = Duration::from_millis(50);

/// Returns once any signal that is not ignored is waiting for the thread `tid`: one that interrupts a wait for a lock, as
/// alarms do. Never returns if `/proc` does not tell.
pub(super) async fn is_signalled(tid: u32) {
    loop {
        tokio::time::sleep(LOOK_AT_LOCKER_EVERY).await;
        let status = fs::read_to_string(format!("/proc/{tid}/status"));
        if status.is_ok_and(|status| pending_signals(&status) != 0) {
            return;
        }
    }
}

/// How often to look which call a thread is in that has sent its request and does not sleep yet, because the answering thread
/// was given its processor: a second in all, which is longer than any thread is kept from one.
const LOOKS_AT_RUNNING: usize = 1000;
const LOOK_AT_RUNNING_EVERY: Duration = Duration::from_millis(1);

/// Whether the thread `tid`, which waits for an answer, is in `flock`; `None` if `/proc` does not tell. The request of the
/// kernel does tell, but its decoder does not.
pub(super) async fn is_in_flock(tid: u32) -> Option<bool> {
    for _ in 0..LOOKS_AT_RUNNING {
        let text = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
        let shown = text.split_whitespace().next()?;
        if shown != "running" {
            let number: i64 = shown.parse().ok()?;
            let (flock, fcntl) = (libc::SYS_flock, libc::SYS_fcntl);
            return (number == flock || number == fcntl).then_some(number == flock);
        }
        tokio::time::sleep(LOOK_AT_RUNNING_EVERY).await;
    }
    None
}

/// Whether a thread has given its memory back, which it does right before its files are closed at its end.
fn has_no_memory(tid: u32) -> bool {
    fs::read_to_string(format!("/proc/{tid}/status")).is_ok_and(|status| shows_no_memory(&status))
}

fn shows_no_memory(status: &str) -> bool {
    !status.contains("\nVmSize:")
}

/// Whether a thread that is ending does so because of a signal, by its exit code.
fn was_killed(tid: u32) -> bool {
    fs::read_to_string(format!("/proc/{tid}/stat")).is_ok_and(|stat| has_exit_by_signal(&stat))
}

/// Whether the exit code that a `stat` text of `/proc` shows, its 52nd field, is that of a signal.
fn has_exit_by_signal(stat: &str) -> bool {
    // The second field is a name in parentheses, which may hold anything.
    let code = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(49)?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0x7F != 0)
}

/// Whether a status text of `/proc` shows an ending signal that is pending and neither blocked nor ignored.
fn has_ending_signal(status: &str) -> bool {
    pending_signals(status) & ENDING_SIGNALS != 0
}

/// The signals that a status text of `/proc` shows as pending and neither blocked nor ignored.
fn pending_signals(status: &str) -> u64 {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0)
    };
    let pending = mask("SigPnd") | mask("ShdPnd");
    pending & !mask("SigBlk") & !mask("SigIgn")
}

/// Descriptors that are looked at from 0 on: shells duplicate what they redirect to onto 0 to 2 or what the script names,
/// and keep what was there from 10 on.
const LOW_DESCRIPTORS: u64 = 64;

/// Descriptors that are looked at on both sides of how many there are: a process without gaps gets its next one there.
const NEW_DESCRIPTORS: u64 = 16;

/// What a look at somebody's descriptors may take. A look waits while its process starts another program, which may be
/// closing this very file and waiting for the answer.
pub(super) const LONGEST_LOOK: Duration = Duration::from_millis(20);

/// A file that a process may have open.
#[derive(Clone, Debug)]
pub(super) struct Sought {
    pub(super) ino: u64,
    /// The number of the mounted device. While it is not known, any inode of that number counts.
    pub(super) device: Option<(u32, u32)>,
}

/// Whether the process `pid` has a file open for writing by another descriptor than the one that is just being closed,
/// which has left its table already. `None` if `/proc` does not tell.
///
/// Looks only where shells and programs have such descriptors, so that who has many thousands is not kept waiting. One
/// that is missed makes this close publish what the next one publishes again.
///
/// Blocks for up to a millisecond, and without a bound while the process starts another program: see [`LONGEST_LOOK`].
pub(super) fn still_holds(pid: u32, sought: &Sought) -> Option<bool> {
    let table = format!("/proc/{pid}/fd");
    // How many there are; 0 where the kernel does not say.
    let count = fs::metadata(table).ok()?.len();
    let new = count.saturating_sub(NEW_DESCRIPTORS).max(LOW_DESCRIPTORS)..count + NEW_DESCRIPTORS;
    Some((0..LOW_DESCRIPTORS).chain(new).any(|number| is_opening(pid, number, sought)))
}

/// How long after a look the next one is whether a file is mapped, at first. Doubles with each, up to [`MAPPED_LOOK_LAST`]: nobody tells.
const MAPPED_LOOK_FIRST: Duration = Duration::from_millis(100);
const MAPPED_LOOK_LAST: Duration = Duration::from_secs(5);

/// Files that wait until nobody has them mapped, and how many handles of each have begun to: one of them waits for all. Std mutex,
/// 8 in the order of locks: map operations only.
#[derive(Clone, Default)]
pub(super) struct Mapped(Arc<Mutex<HashMap<u64, u64>>>);

impl Mapped {
    /// Waits until no process can store in a file by a mapping, so that what was stored belongs to it. At once if another handle of
    /// it waits for that, which then does from now on.
    pub(super) async fn until_unmapped(&self, sought: Sought) {
        let mut begun = *self.lock().entry(sought.ino).and_modify(|begun| *begun += 1).or_insert(1);
        if begun > 1 {
            return;
        }
        let mut pause = MAPPED_LOOK_FIRST;
        loop {
            let seen = sought.clone();
            let is_seen = tokio::task::spawn_blocking(move || is_mapped(&seen)).await.unwrap_or(false);
            if !is_seen && self.ended(sought.ino, &mut begun) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = MAPPED_LOOK_LAST.min(pause * 2);
        }
    }

    /// Whether nobody else has begun to wait since `begun` had.
    fn ended(&self, ino: u64, begun: &mut u64) -> bool {
        let mut waiting = self.lock();
        let now = waiting.get(&ino).copied().unwrap_or(*begun);
        if now == *begun {
            waiting.remove(&ino);
            return true;
        }
        *begun = now;
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a process that this one sees has a mapping of a file in which it may store.
fn is_mapped(sought: &Sought) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let read = |name| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        let seen = read("maps").lines().filter_map(|line| mapping(line, sought)).max();
        match seen {
            None => false,
            Some(Mapping::Stores) => true,
            // It may become one that stores, unless its descriptor was for reading alone.
            Some(Mapping::Reads) => may_become_writable(&read("smaps"), sought),
        }
    })
}

/// What a mapping of a file, of which others see what is stored, does as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mapping {
    Reads,
    Stores,
}

/// What a line of a process's `maps` or `smaps` says of a file's mapping, if it is one of it.
fn mapping(line: &str, sought: &Sought) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let permissions = fields.next().filter(|permissions| permissions.ends_with('s'))?;
    let (device, ino) = (fields.nth(1), fields.next());
    let is_on = |(major, minor)| device == Some(&format!("{major:02x}:{minor:02x}"));
    let is_of_file = ino == Some(&sought.ino.to_string()) && sought.device.is_none_or(is_on);
    let does = if permissions.contains('w') { Mapping::Stores } else { Mapping::Reads };
    is_of_file.then_some(does)
}

/// Whether a process may make a mapping of a file one that it stores in, by its `smaps`.
fn may_become_writable(smaps: &str, sought: &Sought) -> bool {
    let mut is_of_file = false;
    smaps.lines().any(|line| {
        let Some(flags) = line.strip_prefix("VmFlags:") else {
            // Those of a mapping follow the line that says what it is of, and others that say how large it is.
            if line.split_ascii_whitespace().next().is_some_and(|first| !first.ends_with(':')) {
                is_of_file = mapping(line, sought).is_some();
            }
            return false;
        };
        is_of_file && flags.split_ascii_whitespace().any(|flag| flag == "mw")
    })
}

/// Whether this process sees all others of the machine, and not those of a container alone.
pub(super) fn sees_all_processes() -> bool {
    /// The number of the first namespace of processes, which the kernel fixes.
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace.as_os_str() == FIRST)
}

/// Whether a descriptor is one for writing of the very file.
fn is_opening(pid: u32, number: u64, sought: &Sought) -> bool {
    // fdinfo names the inode without touching the file system that it is in, which is this one. The link of a descriptor
    // names its file too, but cannot be read while its process starts another program.
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")) else { return false };
    let wanted = format!("ino:\t{}", sought.ino);
    // The close of one that only reads publishes nothing.
    text.lines().any(|line| line == wanted)
        && can_write(&text)
        && sought.device.is_none_or(|device| is_on_device(pid, &text, device).unwrap_or(true))
}

/// Whether a descriptor, as its `fdinfo` shows it, is open for writing.
fn can_write(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
    flags.is_none_or(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// Whether a descriptor, as its `fdinfo` shows it, belongs to a mount of `device`.
fn is_on_device(pid: u32, fdinfo: &str, device: (u32, u32)) -> Option<bool> {
    let mount_id = fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    // Each line begins with the mount's id, its parent's and the device's number.
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let number = format!("{}:{}", device.0, device.1);
    mounts.lines().map(|line| line.split(' ')).find_map(|mut fields| {
        let is_it = fields.next() == Some(mount_id);
        is_it.then(|| fields.nth(1) == Some(&number))
    })
}

/// Whether a thread is in a group besides the one that its requests name.
pub(super) fn is_in_group(tid: u32, gid: u32) -> bool {
    fs::read_to_string(format!("/proc/{tid}/status")).is_ok_and(|status| shows_group(&status, gid))
}

fn shows_group(status: &str, gid: u32) -> bool {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.is_some_and(|groups| groups.split_whitespace().any(|group| group.parse() == Ok(gid)))
}

/// How long it is believed to which process a thread belongs: far shorter than until its number is used again.
const PROCESS_KNOWN_FOR: Duration = Duration::from_secs(1);

/// The process that a thread belongs to; the thread itself where `/proc` does not tell.
pub(super) fn process_of(tid: u32) -> u32 {
    thread_local! {
        /// The last answer, and when. Most calls in a row are of one thread, and a look costs more than all else of an event.
        static LAST: Cell<Option<(u32, u32, Instant)>> = const { Cell::new(None) };
    }
    if let Some((_, process, _)) = LAST.get().filter(|(of, _, at)| *of == tid && at.elapsed() < PROCESS_KNOWN_FOR) {
        return process;
    }
    let process = look_up_process(tid);
    LAST.set(Some((tid, process, Instant::now())));
    process
}

fn look_up_process(tid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let told = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    told.and_then(|number| number.trim().parse().ok()).unwrap_or(tid)
}

/// Whether the thread `tid` is of the process that `other` is of. A thread that has ended is of none.
pub(super) fn is_same_process(tid: u32, other: u32) -> bool {
    tid == other || fs::exists(format!("/proc/{other}/task/{tid}")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_will_end_the_program_counts() {
        let status = |pending: &str, shared: &str, blocked: &str, ignored: &str| {
            format!(
                "Name:\tcp\nSigQ:\t1/2\nSigPnd:\t{pending}\nShdPnd:\t{shared}\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\n"
            )
        };
        let (none, int, kill, child) = ("0000000000000000", "0000000000000002", "0000000000000100", "0000000000010000");
        assert!(has_ending_signal(&status(none, int, none, none)));
        assert!(has_ending_signal(&status(kill, none, none, none)));
        assert!(!has_ending_signal(&status(none, int, int, none)));
        assert!(!has_ending_signal(&status(none, int, none, int)));
        assert!(!has_ending_signal(&status(none, child, none, none)));
        assert!(!has_ending_signal("garbage"));
    }

    #[tokio::test]
    async fn a_thread_that_is_in_neither_of_the_calls_for_locks_is_told_as_that() {
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        assert_eq!(is_in_flock(own).await, None);
        assert_eq!(is_in_flock(u32::MAX).await, None);
    }

    /// A thread may run for a moment yet when its request is here already.
    #[tokio::test]
    async fn a_thread_that_is_not_asleep_yet_is_looked_at_again() {
        let directory = tempfile::tempdir().unwrap();
        let open = || std::fs::File::create(directory.path().join("name")).unwrap();
        let (held, wanted) = (open(), open());
        held.lock().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
            wanted.lock().unwrap();
        });
        let tid = told.recv().unwrap();
        let is_shown = fs::read_to_string(format!("/proc/{tid}/syscall")).is_ok();
        assert_eq!(is_in_flock(tid).await, is_shown.then_some(true));
        drop(held);
        waiting.join().unwrap();
    }

    #[test]
    fn an_exit_code_tells_of_a_signal() {
        let stat = |code: i32| format!("7 (a) b) S {} {code}\n", vec!["0"; 48].join(" "));
        let shown = [0, 256, 2, 9, 139].map(|code| has_exit_by_signal(&stat(code)));
        assert_eq!(shown, [false, false, true, true, true]);
        assert!(!has_exit_by_signal("garbage") && !was_killed(std::process::id()));
    }

    #[tokio::test]
    async fn a_thread_that_was_told_to_end_is_remembered() {
        let ending = Ending::default();
        let (own, kernel) = (std::process::id(), 2);
        assert!(!has_no_memory(own));
        if !has_no_memory(kernel) {
            // A thread of the kernel has no memory either, but containers show none.
            return;
        }
        for tid in [own, kernel] {
            assert!(futures_util::poll!(Box::pin(ending.reached_by(tid))).is_pending());
            ending.lock().insert(tid, Instant::now());
        }
        assert!(futures_util::poll!(Box::pin(ending.reached_by(own))).is_pending(), "it has handled the signal");
        assert!(futures_util::poll!(Box::pin(ending.reached_by(kernel))).is_ready());
    }

    #[test]
    fn an_open_file_is_found_among_the_descriptors() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(directory.path().join("name")).unwrap();
        let metadata = file.metadata().unwrap();
        let (ino, pid) = (metadata.ino(), std::process::id());
        let own = Some((rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev())));
        let holds = |device| still_holds(pid, &Sought { ino, device });
        assert_eq!(holds(None), Some(true));
        assert_eq!(holds(own), Some(true));
        assert_eq!(holds(Some((4095, 4095))), Some(false), "another file system's");
        let reads = std::fs::File::open(directory.path().join("name")).unwrap();
        drop(file);
        assert_eq!(holds(None), Some(false), "what only reads does not count");
        drop(reads);
        assert_eq!(still_holds(u32::MAX, &Sought { ino, device: None }), None);
    }

    /// Among thousands of descriptors the lowest and the newest are found, by as many looks as among a few.
    #[test]
    fn an_open_file_is_found_among_thousands_of_descriptors() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("name");
        let low = std::fs::File::create(&path).unwrap();
        let sought = Sought { ino: low.metadata().unwrap().ino(), device: None };
        let others: Vec<_> = (0..400).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let pid = std::process::id();
        assert_eq!(still_holds(pid, &sought), Some(true));
        let new = std::fs::File::options().write(true).open(&path).unwrap();
        drop(low);
        assert_eq!(still_holds(pid, &sought), Some(true));
        drop((new, others));
        assert_eq!(still_holds(pid, &sought), Some(false));
    }

    /// A reader's mapping may be there for days.
    #[test]
    fn a_mapping_counts_if_something_may_be_stored_in_it() {
        let sought = Sought { ino: 77, device: Some((0, 0x2b)) };
        let line =
            |permissions: &str, on: &str| format!("7f0000000000-7f0000001000 {permissions} 00000000 {on} /m/a b");
        let table = [
            ("rw-s", "00:2b 77", Some(Mapping::Stores)),
            ("r--s", "00:2b 77", Some(Mapping::Reads)),
            ("rw-p", "00:2b 77", None),
            ("rw-s", "00:2c 77", None),
            ("rw-s", "00:2b 78", None),
        ];
        for (permissions, on, expected) in table {
            assert_eq!(mapping(&line(permissions, on), &sought), expected, "{permissions} {on}");
        }
        let of = |on: &str, flags: &str| format!("{}\nSize:      4 kB\nVmFlags: {flags}\n", line("r--s", on));
        let (reads, other) = (of("00:2b 77", "rd sh mr ms"), of("00:2b 78", "rd sh mr mw me ms"));
        assert!(may_become_writable(&of("00:2b 77", "rd sh mr mw me ms"), &sought));
        assert!(!may_become_writable(&[reads.clone(), other].concat(), &sought), "what was opened for reading");
        assert!(may_become_writable(&[reads, of("00:2b 77", "rd mw")].concat(), &sought));
    }

    #[tokio::test(start_paused = true)]
    async fn one_handle_of_a_mapped_file_waits_for_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(directory.path().join("name")).unwrap();
        let ino = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        let (mapped, sought) = (Mapped::default(), Sought { ino, device: None });
        let mut begun = 1;
        mapped.lock().insert(ino, begun);
        mapped.until_unmapped(sought.clone()).await;
        assert!(!mapped.ended(ino, &mut begun), "it looks once more for the second");
        assert!(mapped.ended(ino, &mut begun) && mapped.lock().is_empty());
        mapped.until_unmapped(sought).await;
        assert!(mapped.lock().is_empty());
    }

    #[test]
    fn a_thread_is_in_the_groups_that_its_status_shows() {
        let status = "Name:\tcp\nGid:\t5\t5\t5\t5\nGroups:\t7 1000 \nVmSize:\t1 kB\n";
        assert!(shows_group(status, 7) && shows_group(status, 1000));
        assert!(!shows_group(status, 1) && !shows_group(status, 5) && !shows_group("Groups:\t\n", 0));
    }

    #[test]
    fn threads_of_one_process_are_told_from_others() {
        let process = std::process::id();
        assert!(is_same_process(process, process));
        assert!(!is_same_process(process, 1) && !is_same_process(u32::MAX, process));
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        assert!(is_same_process(own, process));
    }
}
