//! What the transfers of all files share: the store, the memory, the sizes of parts, and how much may be on its way at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::content::PartRules;
use super::ladder::Ladder;
use super::options::UploadOptions;
use crate::clock::Clock;
use crate::memory::Memory;
use crate::object::limits::MIB;
use crate::object::{ChecksumAlgorithm, Limits, ObjectKey};
use crate::stats::Stats;
use crate::store::{ObjectStore, Op};

/// The parts of the first size that a hole is longer than whose zeros are copied on the service.
const HOLE_PARTS: u64 = 4;

/// What room for fetched bytes is counted in, in bytes.
const ROOM_PAGE_BYTES: u64 = 4 << 10;

/// One for each mount.
pub(super) struct Transfers {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) memory: Memory,
    pub(super) options: UploadOptions,
    pub(super) ladder: Ladder,
    /// The checksum that the service tells.
    pub(super) checksum: ChecksumAlgorithm,
    pub(super) stats: Arc<Stats>,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    /// Every upload that is being aborted holds a receiver, so that the channel is closed when none is.
    aborts: watch::Sender<()>,
    /// Whether the mount ends.
    ending: watch::Sender<bool>,
    /// Requests with data on their way, of all files together.
    in_flight: AtomicUsize,
    /// One permit for each part that may be on the wire, of all files together: twice what one file may have. More would
    /// not be faster, and everything else on the same wire, a `mkdir` for example, would wait behind them. Level 4 in the
    /// order of locks; who has one waits for its request alone.
    pub(super) wire: Semaphore,
    /// The most parts of an upload: what the service is known for, or fewer if it has refused a number.
    part_count_max: AtomicU64,
    /// Room for bytes that are fetched to be sent again, in pages of [`ROOM_PAGE_BYTES`]. Level 4 in the order of locks, before
    /// `wire`.
    room: Arc<Semaphore>,
    room_pages: u32,
    /// What keys begin with that nobody sees.
    pub(super) hidden: OnceLock<String>,
}

impl Transfers {
    /// Transfers that run on `runtime`. Sets an eighth of `memory` aside for what is fetched.
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        memory: Memory,
        options: UploadOptions,
        clock: Clock,
        stats: Arc<Stats>,
        runtime: Handle,
    ) -> Transfers {
        // An eighth of the memory, so that several parts are on their way while another one fills.
        let eighth = memory.limit_bytes() as u64 / 8;
        let ladder = Ladder::new(options.part_bytes, eighth / MIB * MIB, store.limits());
        memory.set_aside(eighth as usize);
        let room_pages = u32::try_from(eighth / ROOM_PAGE_BYTES).unwrap_or(u32::MAX).max(1);
        Transfers {
            checksum: store.limits().checksum,
            part_count_max: AtomicU64::new(store.limits().part_count_max),
            room: Arc::new(Semaphore::new(room_pages as usize)),
            room_pages,
            aborts: watch::Sender::new(()),
            ending: watch::Sender::new(false),
            in_flight: AtomicUsize::new(0),
            wire: Semaphore::new(2 * options.concurrency),
            hidden: OnceLock::new(),
            store,
            memory,
            options,
            ladder,
            stats,
            clock,
            runtime,
        }
    }

    /// Bytes that one file may keep in memory without need of the upload: an eighth of the memory.
    fn keep_bytes_max(&self) -> u64 {
        self.memory.limit_bytes() as u64 / 8
    }

    /// Bytes of acknowledged parts that one file keeps now for programs that come back.
    pub(super) fn keep_bytes(&self) -> u64 {
        if self.memory.is_short() { 0 } else { self.keep_bytes_max() }
    }

    /// What the service takes, as far as it is known by now.
    pub(super) fn limits(&self) -> Limits {
        Limits { part_count_max: self.part_count_max.load(Ordering::Relaxed), ..self.store.limits() }
    }

    /// The service takes no more parts than this.
    pub(super) fn limit_part_count(&self, count: u64) {
        self.part_count_max.fetch_min(count.max(1), Ordering::Relaxed);
    }

    /// Whether the service holds to what a write of this kind may replace.
    pub(super) async fn keep_conditions(&self, op: Op) -> bool {
        let Some(hidden) = self.hidden.get() else { return false };
        let Ok(trial) = ObjectKey::new(format!("{hidden}trial-{:016x}", fastrand::u64(..))) else { return false };
        self.store.keeps_conditions(op, &trial).await
    }

    /// What parts have to be like.
    pub(super) fn rules(&self) -> PartRules {
        let limits = self.limits();
        // Two such parts fit into the room at once.
        let room_bytes = u64::from(self.room_pages) * ROOM_PAGE_BYTES;
        let mixed_bytes = (room_bytes / 2).clamp(limits.part_bytes_min, self.ladder.first_bytes());
        // A few parts of zeros are sent sooner than others are copied.
        let hole_bytes_min = self.hidden.get().map(|_| HOLE_PARTS * self.ladder.first_bytes());
        PartRules { limits, ladder: self.ladder, mixed_bytes, hole_bytes_min }
    }

    /// Room for `bytes` bytes that are fetched; whoever needs more than there is gets all of it.
    pub(super) async fn room_to_fetch(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let pages = u32::try_from(bytes.div_ceil(ROOM_PAGE_BYTES)).unwrap_or(u32::MAX).min(self.room_pages);
        // The semaphore is never closed.
        self.room.clone().acquire_many_owned(pages).await.ok()
    }

    /// Counts an upload as being aborted until the guard is dropped. The other tells of the end of the mount.
    pub(super) fn giving_up(&self) -> (watch::Receiver<()>, Ending) {
        (self.aborts.subscribe(), Ending(self.ending.subscribe()))
    }

    /// Tells of the end of the mount, and waits until nothing counts as being aborted any more.
    pub(super) async fn until_given_up(&self) {
        self.ending.send_replace(true);
        self.aborts.closed().await;
    }

    /// Counts a request that carries data until the guard is dropped.
    pub(super) fn flight(self: &Arc<Transfers>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight(self.clone())
    }

    /// Requests that carry data and are on their way.
    pub(super) fn flights(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether a request that carries data is on its way.
    pub(super) fn are_any(&self) -> bool {
        self.flights() > 0
    }
}

/// Tells of the end of the mount.
pub(super) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns once the mount ends.
    pub(super) async fn begun(&mut self) {
        // The sender lives in the transfers, which whoever waits holds.
        let _ = self.0.wait_for(|ends| *ends).await;
    }
}

/// A request with data on its way.
pub(super) struct Flight(Arc<Transfers>);

impl Drop for Flight {
    fn drop(&mut self) {
        let last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        // With nothing on its way no block comes free by itself: look again for something to send.
        if last {
            self.0.memory.hurry_if_short();
        }
    }
}
