//! Whether the bytes that came of one version are the object's.
//!
//! The service tells the checksum of the whole. Once all of it has come and was right, a map of its blocks is known, and
//! whatever comes later is compared with that. Until then a block can only be noted: whether it was right shows when the
//! last one is there. What was handed out meanwhile is remembered, so that nobody who got something else goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::LARGE_BYTES;
use super::checksums::{Checksums, Noted};
use super::layout::Layout;
use super::map::{BlockMap, Maps};
use crate::object::{Checksum, ChecksumAlgorithm};

/// Stretches that were handed out unverified and are remembered: beyond these, whether they were right is not found out.
const HANDED_OUT_MAX: usize = 4096;

/// What is known of a stretch that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the object's.
    Verified,
    /// Nobody knows yet, or the service tells no checksum.
    Unknown,
    /// It is not the object's.
    Damaged,
    /// It came before and was another: one of the two is not the object's, and nobody knows which.
    Contradicted,
    /// With it everything has come, and something of that is not the object's.
    WholeDamaged {
        /// The checksum of what came.
        read: Checksum,
        /// That of the object.
        expected: Checksum,
    },
}

/// A stretch that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) checksum: Checksum,
    /// The sums at the end of each grain, if it is a whole block of a reader in order.
    pub(super) sums: &'a [Checksum],
}

/// What is known of a stretch when it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handing {
    /// It is the object's by now.
    Verified,
    /// It may be right.
    Unknown,
    /// It is not the object's, or not what was handed out before.
    Wrong,
}

/// What is known of the bytes of one version.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Std mutex, 8 in the order of locks: map operations and copies of sums only.
    state: Mutex<State>,
    map: OnceLock<Arc<BlockMap>>,
    /// Somebody got bytes that are not the object's: nothing more is read through this.
    damaged: AtomicBool,
}

#[derive(Debug)]
struct State {
    checksums: Checksums,
    /// Becomes the map once the whole is known to be right.
    candidate: Option<BlockMap>,
    /// What was handed out of that, by start and length.
    handed_out: BTreeMap<(u64, u64), Checksum>,
    /// There was more than is remembered, or than the map can tell.
    has_forgotten: bool,
}

impl Verifier {
    /// Nothing is known yet.
    pub(super) fn new(algorithm: ChecksumAlgorithm) -> Verifier {
        let (checksums, handed_out) = (Checksums::new(algorithm), BTreeMap::new());
        let state = State { checksums, candidate: None, handed_out, has_forgotten: false };
        Verifier { state: Mutex::new(state), map: OnceLock::new(), damaged: AtomicBool::new(false) }
    }

    /// The map of this version, if all of it has come once and was right.
    pub(super) fn map(&self, maps: &Maps, expected: Option<Checksum>, size: u64) -> Option<&Arc<BlockMap>> {
        if self.map.get().is_none()
            && let Some(map) = maps.get(expected?, size)
        {
            self.take_map(map);
        }
        self.map.get()
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::SeqCst)
    }

    pub(super) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::SeqCst);
    }

    /// How finely the sums of a block of `layout` are wanted, in bytes; `None` if they are not.
    pub(super) fn wanted_grain(&self, maps: &Maps, size: u64, layout: Layout) -> Option<usize> {
        if self.map.get().is_some() {
            return None;
        }
        let mut state = self.lock();
        if state.candidate.is_none() {
            state.candidate = maps.map_for(size, layout);
        }
        state.candidate.as_ref().map(BlockMap::grain_bytes)
    }

    /// Judges a stretch of an object of `size` bytes whose checksum is `expected`.
    pub(super) fn judge(&self, maps: &Maps, stretch: Stretch, expected: Option<Checksum>, size: u64) -> Verdict {
        let Stretch { start, len, checksum, sums } = stretch;
        let Some(expected) = expected else { return Verdict::Unknown };
        if len == size {
            return if checksum == expected { Verdict::Verified } else { Verdict::Damaged };
        }
        let agrees = self.map(maps, Some(expected), size).and_then(|map| map.agrees(start, len, checksum));
        match agrees {
            Some(true) => return Verdict::Verified,
            Some(false) => return Verdict::Damaged,
            None if sums.is_empty() => return Verdict::Unknown,
            None => {}
        }
        let mut state = self.lock();
        let whole = state.checksums.whole_with(start, len, checksum, size);
        if let Some(read) = whole.filter(|read| *read != expected) {
            return Verdict::WholeDamaged { read, expected };
        }
        let noted = state.checksums.note(start, len, checksum);
        match (noted, &mut state.candidate) {
            (Noted::Otherwise, _) => return Verdict::Contradicted,
            // What is in the map has to be what the checksum of the whole was put together of.
            (Noted::New, Some(candidate)) => candidate.fill(start, sums),
            (Noted::New, None) | (Noted::Again, _) => {}
        }
        if whole.is_none() {
            return Verdict::Unknown;
        }
        state.checksums.clear();
        let learned = state.candidate.take().map(Arc::new);
        drop(state);
        if let Some(map) = learned {
            maps.keep(expected, &map);
            self.take_map(map);
        }
        Verdict::Verified
    }

    /// A stretch that came unverified is about to be handed out.
    pub(super) fn hand_out(&self, start: u64, len: u64, checksum: Checksum) -> Handing {
        let mut state = self.lock();
        // The map is taken under the lock, too, so that nothing slips through between the two.
        if let Some(map) = self.map.get() {
            return match map.agrees(start, len, checksum) {
                Some(true) => Handing::Verified,
                Some(false) => Handing::Wrong,
                None => {
                    state.has_forgotten = true;
                    Handing::Unknown
                }
            };
        }
        if let Some(before) = state.handed_out.get(&(start, len)) {
            return if *before == checksum { Handing::Unknown } else { Handing::Wrong };
        }
        if state.handed_out.len() < HANDED_OUT_MAX {
            state.handed_out.insert((start, len), checksum);
        } else {
            state.has_forgotten = true;
        }
        Handing::Unknown
    }

    /// Whether what was handed out goes on without a gap to `at` and ends in the block of a reader in order that begins there,
    /// and nobody knows whether it was right: who reads on from there finds out.
    pub(super) fn has_handed_out_to(&self, at: u64) -> bool {
        let state = self.lock();
        let mut known = 0;
        for (start, len) in state.handed_out.keys() {
            if *start > known {
                break;
            }
            known = known.max(start + len);
        }
        known > 0 && (at..=at.saturating_add(LARGE_BYTES as u64)).contains(&known)
    }

    /// Whether something was handed out of which nobody knows yet whether it is the object's.
    pub(super) fn waits_for_the_rest(&self) -> bool {
        self.is_damaged() || !self.lock().handed_out.is_empty()
    }

    /// Whether all that was handed out is known to be the object's.
    pub(super) fn has_verified_all(&self) -> bool {
        self.map.get().is_some() && !self.is_damaged() && !self.lock().has_forgotten
    }

    /// Forgets what came: all of it will come again.
    pub(super) fn start_over(&self) {
        self.lock().checksums.clear();
    }

    /// Takes a map, and looks whether what was handed out agrees with it.
    fn take_map(&self, map: Arc<BlockMap>) {
        let mut state = self.lock();
        let handed_out = std::mem::take(&mut state.handed_out);
        for ((start, len), checksum) in handed_out {
            match map.agrees(start, len, checksum) {
                Some(true) => {}
                Some(false) => self.set_damaged(),
                None => state.has_forgotten = true,
            }
        }
        let _ = self.map.set(map);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
