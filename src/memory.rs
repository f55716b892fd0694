//! One budget for every buffer of a mount.
//!
//! Writers and readers take fixed-size blocks from here and give them back by dropping them. The sum of all blocks,
//! those in use and those that lie idle for the next taker, never exceeds the limit. At the limit takers wait in the
//! order in which they came; before anybody waits, caches are asked to shrink ([`Relief::shrink`]), and while
//! somebody waits, holders of data are asked to get it off their hands ([`Relief::hurry`]).
//!
//! Blocks are reused, most recently freed first, so that a steady stream runs in warm memory without page faults. Those
//! that are not go back to the kernel, and not to an allocator, which keeps half as much again when sizes change.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use memmap2::{Advice, MmapMut};
use tokio::sync::oneshot;

/// Blocks from this size on, in bytes, are mappings of their own: 16 pages are worth the two calls of the kernel.
const MAPPED_BYTES_MIN: usize = 64 << 10;

/// Blocks from this size on, in bytes, are mapped with others of their size that lie idle at first. The kernel lays neighbours side by
/// side, and what is as long as that it backs by huge pages: a block alone is too short for one, and to pass 256 pages of 4 KiB to a
/// socket, a device or a disk costs more than to pass one. Writers, who take smaller ones, and more of them, use few of them twice: a
/// huge page that is cleared at once has left the processor's cache before it is filled.
const NEIGHBOURS_BYTES_MIN: usize = 1 << 20;

/// What is mapped at once then, in bytes: of four huge pages at least three begin and end in it, wherever it lies.
const MAPPED_AT_ONCE: usize = 8 << 20;

/// A budget in bytes, shared by clones.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

/// Somebody who holds blocks and can be asked to part with them. Called without any lock of the budget held.
pub trait Relief: Send + Sync {
    /// Drops blocks that merely speed things up, about `bytes` of them.
    fn shrink(&self, bytes: usize);

    /// Somebody waits for memory: send what can be sent, so that its blocks come free soon. Must not wait for them.
    /// Asked only by those who hold no blocks' owner locked.
    fn hurry(&self);
}

struct Shared {
    /// Only ever gets less.
    limit_bytes: AtomicUsize,
    /// Std mutex: never held across an await; sections are a few list operations. Blocks come free under any lock, so this
    /// is level 8 in the order of locks; to wait for a block is level 5.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// INVARIANT: `used_bytes + idle_bytes <= limit_bytes`.
    used_bytes: usize,
    idle_bytes: usize,
    /// Blocks that nobody uses, by size.
    idle: HashMap<usize, Vec<Bytes>>,
    /// INVARIANT: while it is not empty nobody who comes later gets a block.
    waiters: VecDeque<Waiter>,
    reliefs: Vec<Weak<dyn Relief>>,
}

struct Waiter {
    bytes: usize,
    grant: oneshot::Sender<Block>,
}

/// A block of the budget; dropping it gives it back.
pub struct Block {
    bytes: Bytes,
    shared: Arc<Shared>,
}

/// Where the bytes of a block are.
enum Bytes {
    Allocated(Box<[u8]>),
    Mapped(MmapMut),
}

impl Bytes {
    fn new(len: usize) -> Bytes {
        let mapped = if len >= MAPPED_BYTES_MIN { MmapMut::map_anon(len).ok() } else { None };
        // The kernel limits how many mappings a process has.
        let Some(mapped) = mapped else { return Bytes::Allocated(vec![0; len].into_boxed_slice()) };
        if len >= NEIGHBOURS_BYTES_MIN {
            // A kernel without huge pages does without.
            let _ = mapped.advise(Advice::HugePage);
        }
        Bytes::Mapped(mapped)
    }

    fn none() -> Bytes {
        Bytes::Allocated(Box::default())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Allocated(bytes) => bytes,
            Bytes::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Bytes::Allocated(bytes) => bytes,
            Bytes::Mapped(bytes) => bytes,
        }
    }
}

impl Memory {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Memory {
        Memory {
            shared: Arc::new(Shared {
                limit_bytes: AtomicUsize::new(limit_bytes),
                state: Mutex::new(State::default()),
            }),
        }
    }

    /// The whole budget, in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.shared.limit_bytes()
    }

    /// Takes `bytes` out of the budget for good, for somebody who keeps account of them by other means. To be called
    /// before anybody takes a block.
    pub fn set_aside(&self, bytes: usize) {
        self.shared.limit_bytes.fetch_sub(bytes.min(self.limit_bytes()), Ordering::Relaxed);
    }

    /// Bytes in blocks that somebody holds.
    pub fn used_bytes(&self) -> usize {
        self.shared.lock().used_bytes
    }

    /// How many wait for a block.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiters.len()
    }

    /// Bytes in blocks that lie idle for the next taker.
    pub fn idle_bytes(&self) -> usize {
        self.shared.lock().idle_bytes
    }

    /// Whether somebody is waiting for a block.
    pub fn is_short(&self) -> bool {
        !self.shared.lock().waiters.is_empty()
    }

    /// Whoever is asked to help when memory runs short, for as long as it lives.
    pub fn on_shortage(&self, relief: &Arc<dyn Relief>) {
        self.shared.lock().reliefs.push(Arc::downgrade(relief));
    }

    /// Asks everybody again to hurry, if somebody waits: what came to its end just now was passed over earlier.
    pub fn hurry_if_short(&self) {
        if self.is_short() {
            self.shared.relieve(|relief| relief.hurry());
        }
    }

    /// A block of `bytes` bytes with arbitrary content, if there is one without waiting.
    ///
    /// Shrinks caches where that helps. `None` also when somebody else is waiting already.
    pub fn try_take(&self, bytes: usize) -> Option<Block> {
        if let Some(block) = self.shared.try_take(bytes) {
            return Some(block);
        }
        self.shared.relieve(|relief| relief.shrink(bytes));
        self.shared.try_take(bytes)
    }

    /// A block if there is one right away, without asking anybody to shrink for it: for read-ahead, which is a
    /// luxury. Leaves a quarter of the budget to those who need it.
    pub fn try_take_spare(&self, bytes: usize) -> Option<Block> {
        let spare = {
            let state = self.shared.lock();
            state.used_bytes + bytes <= self.limit_bytes() / 4 * 3
        };
        spare.then(|| self.shared.try_take(bytes)).flatten()
    }

    /// A block of `bytes` bytes with arbitrary content, after everybody who asked before. Dropping the future gives
    /// up the place in the queue. Never returns if `bytes` exceeds the budget, so callers keep far below it.
    pub async fn take(&self, bytes: usize) -> Block {
        if let Some(block) = self.try_take(bytes) {
            return block;
        }
        // Whoever gives up lets those behind have what there is. Dropped after the receiver.
        let _serves = ServesOnDrop(&self.shared);
        let granted = {
            let mut state = self.shared.lock();
            let (grant, granted) = oneshot::channel();
            state.waiters.push_back(Waiter { bytes, grant });
            granted
        };
        // Something may have come free between the attempt and the queueing.
        self.shared.serve();
        self.shared.relieve(|relief| relief.shrink(bytes));
        self.hurry_if_short();
        granted.await.expect("the queue is dropped only with the budget, which `self` keeps alive")
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} of {} bytes)", self.used_bytes(), self.limit_bytes())
    }
}

impl Shared {
    fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the counters half-changed: no section below can panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(self: &Arc<Shared>, bytes: usize) -> Option<Block> {
        let mut state = self.lock();
        if !state.waiters.is_empty() {
            return None;
        }
        let claim = state.claim(bytes, self.limit_bytes())?;
        drop(state);
        Some(Block::from_claim(claim, self))
    }

    /// Gives blocks to waiters, first come first served, for as long as there is room for the first.
    fn serve(self: &Arc<Shared>) {
        loop {
            let mut state = self.lock();
            let Some(waiter) = state.waiters.front() else { return };
            if waiter.grant.is_closed() {
                state.waiters.pop_front();
                continue;
            }
            let bytes = waiter.bytes;
            let Some(claim) = state.claim(bytes, self.limit_bytes()) else { return };
            let waiter = state.waiters.pop_front().expect("there was a first waiter, and the lock is still held");
            drop(state);
            // Whoever gave up in the meantime drops the block, which comes back here.
            let _ = waiter.grant.send(Block::from_claim(claim, self));
        }
    }

    fn relieve(&self, ask: impl Fn(&dyn Relief)) {
        let reliefs: Vec<Arc<dyn Relief>> = {
            let mut state = self.lock();
            state.reliefs.retain(|relief| relief.strong_count() > 0);
            state.reliefs.iter().filter_map(Weak::upgrade).collect()
        };
        for relief in reliefs {
            ask(&*relief);
        }
    }
}

/// Looks at the queue when it is dropped.
struct ServesOnDrop<'a>(&'a Arc<Shared>);

impl Drop for ServesOnDrop<'_> {
    fn drop(&mut self) {
        self.0.serve();
    }
}

/// Room that has been counted as used; the memory itself may still have to be allocated.
enum Claim {
    Reused(Bytes),
    /// With so many others of its size that will lie idle.
    Fresh {
        bytes: usize,
        neighbours: usize,
    },
}

impl State {
    fn claim(&mut self, bytes: usize, limit_bytes: usize) -> Option<Claim> {
        if let Some(block) = self.idle.get_mut(&bytes).and_then(Vec::pop) {
            self.idle_bytes -= bytes;
            self.used_bytes += bytes;
            return Some(Claim::Reused(block));
        }
        while self.used_bytes + self.idle_bytes + bytes > limit_bytes && self.drop_idle_block() {}
        if self.used_bytes + self.idle_bytes + bytes > limit_bytes {
            return None;
        }
        self.used_bytes += bytes;
        Some(Claim::Fresh { bytes, neighbours: self.neighbours_of(bytes, limit_bytes) })
    }

    /// How many blocks of this size are worth mapping with another. None where other sizes may need the room soon.
    fn neighbours_of(&self, bytes: usize, limit_bytes: usize) -> usize {
        let has_room = self.used_bytes + self.idle_bytes + MAPPED_AT_ONCE <= limit_bytes / 2;
        if bytes >= NEIGHBOURS_BYTES_MIN && has_room { (MAPPED_AT_ONCE / bytes).saturating_sub(1) } else { 0 }
    }

    /// Keeps new blocks of one size for the next takers, as far as there is still room for them.
    fn lay_idle(&mut self, blocks: Vec<Bytes>, limit_bytes: usize) {
        // The one beside the last that was taken goes first: it is in the same huge page.
        for block in blocks.into_iter().rev() {
            let bytes = block.len();
            if self.used_bytes + self.idle_bytes + bytes <= limit_bytes {
                self.idle_bytes += bytes;
                self.idle.entry(bytes).or_default().push(block);
            }
        }
    }

    /// Returns one idle block of whatever size to the allocator.
    fn drop_idle_block(&mut self) -> bool {
        let Some(block) = self.idle.values_mut().find_map(Vec::pop) else { return false };
        self.idle_bytes -= block.len();
        true
    }
}

impl Block {
    fn from_claim(claim: Claim, shared: &Arc<Shared>) -> Block {
        let bytes = match claim {
            Claim::Reused(bytes) => bytes,
            Claim::Fresh { bytes, neighbours } => {
                let (block, others) = (Bytes::new(bytes), Vec::from_iter((0..neighbours).map(|_| Bytes::new(bytes))));
                shared.lock().lay_idle(others, shared.limit_bytes());
                block
            }
        };
        Block { bytes, shared: shared.clone() }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.bytes.len())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::replace(&mut self.bytes, Bytes::none());
        let waiting = {
            let mut state = self.shared.lock();
            state.used_bytes -= bytes.len();
            state.idle_bytes += bytes.len();
            state.idle.entry(bytes.len()).or_default().push(bytes);
            !state.waiters.is_empty()
        };
        if waiting {
            self.shared.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn blocks_never_exceed_the_limit_in_whatever_sizes() {
        let memory = Memory::new(8 * KIB);
        let small: Vec<Block> = (0..8).map(|_| memory.try_take(KIB).unwrap()).collect();
        assert!(memory.try_take(KIB).is_none());
        drop(small);
        // The idle small blocks make way for a large one.
        let large = memory.try_take(8 * KIB).unwrap();
        assert!(memory.try_take(KIB).is_none());
        assert_eq!((large.len(), memory.used_bytes()), (8 * KIB, 8 * KIB));
    }

    #[test]
    fn a_freed_block_is_taken_again() {
        let memory = Memory::new(8 * KIB);
        let mut block = memory.try_take(KIB).unwrap();
        block[0] = 42;
        drop(block);
        assert_eq!(memory.try_take(KIB).unwrap()[0], 42);
    }

    #[test]
    fn large_blocks_come_with_neighbours_that_make_way() {
        const MIB: usize = 1024 * KIB;
        let memory = Memory::new(24 * MIB);
        let block = memory.try_take(MIB).unwrap();
        assert_eq!((memory.used_bytes(), memory.idle_bytes()), (MIB, 7 * MIB));
        let other = memory.try_take(23 * MIB).unwrap();
        assert_eq!((memory.used_bytes(), memory.idle_bytes()), (24 * MIB, 0));
        drop((block, other));
        let all: Vec<Block> = (0..24).map(|_| memory.try_take(MIB).unwrap()).collect();
        assert_eq!((all.len(), memory.idle_bytes()), (24, 0), "half of the budget is for other sizes");
    }

    #[tokio::test]
    async fn takers_wait_in_the_order_in_which_they_came() {
        let memory = Memory::new(2 * KIB);
        let held = memory.try_take(2 * KIB).unwrap();
        let mut large = Box::pin(memory.take(2 * KIB));
        let mut small = Box::pin(memory.take(KIB));
        assert!(futures_util::poll!(&mut large).is_pending());
        assert!(futures_util::poll!(&mut small).is_pending());
        assert!(memory.is_short());
        drop(held);
        let large = large.await;
        assert!(futures_util::poll!(&mut small).is_pending(), "the second must not overtake the first");
        drop(large);
        assert_eq!(small.await.len(), KIB);
        assert!(!memory.is_short());
    }

    #[tokio::test]
    async fn a_taker_who_gives_up_does_not_hold_up_the_others() {
        let memory = Memory::new(KIB);
        let held = memory.try_take(KIB).unwrap();
        let mut first = Box::pin(memory.take(KIB));
        let mut second = Box::pin(memory.take(KIB));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(held);
        assert_eq!(second.await.len(), KIB);
        assert_eq!(memory.used_bytes(), 0);
    }

    struct Cache(Mutex<Vec<Block>>);

    impl Relief for Cache {
        fn shrink(&self, _bytes: usize) {
            self.0.lock().unwrap().clear();
        }
        fn hurry(&self) {}
    }

    #[test]
    fn caches_shrink_before_anybody_waits() {
        let memory = Memory::new(4 * KIB);
        let cache = Arc::new(Cache(Mutex::new((0..4).map(|_| memory.try_take(KIB).unwrap()).collect())));
        let relief: Arc<dyn Relief> = cache.clone();
        memory.on_shortage(&relief);
        assert!(memory.try_take(2 * KIB).is_some());
        assert!(cache.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_does_not_keep_the_next_waiting() {
        let memory = Memory::new(8 * KIB);
        let held = memory.try_take(4 * KIB).unwrap();
        let mut large = Box::pin(memory.take(8 * KIB));
        let mut small = Box::pin(memory.take(4 * KIB));
        assert!(futures_util::poll!(&mut large).is_pending() && futures_util::poll!(&mut small).is_pending());
        drop(large);
        assert!(futures_util::poll!(&mut small).is_ready());
        assert!(!memory.is_short());
        drop(held);
    }

    /// Somebody who takes a block, and is polled only when he was woken.
    struct Taker {
        number: usize,
        bytes: usize,
        taking: Pin<Box<dyn Future<Output = Block> + Send>>,
        woken: Arc<Woken>,
        has_begun: bool,
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Takers and holders in whatever order `random` draws.
    struct Schedule {
        memory: Memory,
        /// The size of the smallest blocks, in bytes.
        smallest: usize,
        random: fastrand::Rng,
        takers: Vec<Taker>,
        /// Those who wait, in the order in which they came.
        queue: Vec<usize>,
        held: Vec<Block>,
        count: usize,
    }

    impl Schedule {
        fn come(&mut self) {
            let (memory, bytes) = (self.memory.clone(), self.smallest << self.random.usize(..3));
            let taking = Box::pin(async move { memory.take(bytes).await });
            let woken = Arc::new(Woken(AtomicBool::new(true)));
            self.takers.push(Taker { number: self.count, bytes, taking, woken, has_begun: false });
            self.count += 1;
        }

        /// Polls one of those who were woken. Returns whether there was one.
        fn poll(&mut self) -> bool {
            let woken: Vec<usize> =
                (0..self.takers.len()).filter(|at| self.takers[*at].woken.0.load(Ordering::Relaxed)).collect();
            if woken.is_empty() {
                return false;
            }
            let at = woken[self.random.usize(..woken.len())];
            let taker = &mut self.takers[at];
            taker.woken.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(taker.woken.clone());
            match taker.taking.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(block) => {
                    let taker = self.takers.swap_remove(at);
                    assert_eq!(block.len(), taker.bytes);
                    let waits = |taker: &Taker| taker.has_begun && !taker.woken.0.load(Ordering::Relaxed);
                    assert!(taker.has_begun || !self.takers.iter().any(waits), "who comes goes before those who wait");
                    self.queue.retain(|number| *number != taker.number);
                    self.held.push(block);
                }
                Poll::Pending if taker.has_begun => {}
                Poll::Pending => {
                    taker.has_begun = true;
                    self.queue.push(taker.number);
                }
            }
            true
        }

        fn give_up(&mut self) {
            if !self.takers.is_empty() {
                let taker = self.takers.swap_remove(self.random.usize(..self.takers.len()));
                self.queue.retain(|number| *number != taker.number);
            }
        }

        fn give_back(&mut self) {
            if !self.held.is_empty() {
                drop(self.held.swap_remove(self.random.usize(..self.held.len())));
            }
        }

        /// The first of those who were not served would have room: somebody has forgotten him.
        fn check(&self) {
            let used: usize = self.held.iter().map(|block| block.len()).sum();
            let (taken, idle) = (self.memory.used_bytes(), self.memory.idle_bytes());
            assert!(used <= taken && taken + idle <= self.memory.limit_bytes());
            let is_asleep = |taker: &&Taker| taker.has_begun && !taker.woken.0.load(Ordering::Relaxed);
            let first = self
                .queue
                .iter()
                .find_map(|number| self.takers.iter().filter(is_asleep).find(|taker| taker.number == *number));
            if let Some(first) = first {
                assert!(
                    self.memory.used_bytes() + first.bytes > self.memory.limit_bytes(),
                    "there is room for the first"
                );
            }
        }
    }

    /// Takers who come, wait, give up and give back in any order: all are served in the end, the first one as soon as there is
    /// room, and nobody beyond the limit.
    #[test]
    fn nobody_who_waits_is_forgotten() {
        for seed in 0..4_000 {
            // Small ones, and now and then large ones that come with neighbours.
            let (smallest, limit) =
                if seed % 8 == 0 { (MAPPED_AT_ONCE / 8, 4 * MAPPED_AT_ONCE) } else { (KIB, 8 * KIB) };
            let (memory, random) = (Memory::new(limit), fastrand::Rng::with_seed(seed));
            let (takers, queue, held) = (Vec::new(), Vec::new(), Vec::new());
            let mut schedule = Schedule { memory, smallest, random, takers, queue, held, count: 0 };
            for _ in 0..60 {
                match schedule.random.usize(..10) {
                    0..3 => schedule.come(),
                    3..7 => drop(schedule.poll()),
                    7..9 => schedule.give_back(),
                    _ => schedule.give_up(),
                }
                schedule.check();
            }
            while !schedule.takers.is_empty() {
                let went_on = schedule.poll() || !schedule.held.is_empty();
                assert!(went_on, "seed {seed}: {} wait for ever", schedule.takers.len());
                schedule.give_back();
                schedule.check();
            }
            schedule.held.clear();
            assert_eq!(schedule.memory.used_bytes(), 0);
        }
    }
}
