//! The calls that a random sequence is made of, and how often and how large they come.
//!
//! A step is plain numbers, so that a sequence that failed can be pasted from the report into a test of its own.

use proptest::prelude::*;

use crate::bed::{KIB, MIB};

pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
pub(super) const HANDLES: usize = 4;
/// The largest file, in bytes: several parts of 1 MiB, while four files together do not fit a memory of 32 MiB.
pub(super) const FILE_BYTES_MAX: usize = 10 * MIB;

/// One call. On a handle that is not open it goes to the next one that is; only closing does nothing then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// What the handle held before is closed first.
    Open {
        handle: usize,
        name: usize,
        flags: Flags,
    },
    /// A whole file in one go, as `cp` writes it.
    Put {
        name: usize,
        len: usize,
    },
    Read {
        handle: usize,
        place: Place,
        len: usize,
    },
    Write {
        handle: usize,
        place: Place,
        len: usize,
    },
    Truncate {
        handle: usize,
        place: Place,
    },
    TruncateByName {
        name: usize,
        size: usize,
    },
    Allocate {
        handle: usize,
        mode: Allocation,
        place: Place,
        len: usize,
    },
    Copy {
        from: usize,
        to: usize,
        source: Place,
        target: Place,
        len: usize,
    },
    SeekData {
        handle: usize,
        place: Place,
    },
    SeekHole {
        handle: usize,
        place: Place,
    },
    Sync {
        handle: usize,
        data_only: bool,
    },
    Close {
        handle: usize,
    },
    /// A duplicate, of which one goes at once: the older or the newer one.
    Duplicate {
        handle: usize,
        closes_older: bool,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Unlink {
        name: usize,
    },
    Stat {
        name: usize,
    },
    StatHandle {
        handle: usize,
    },
    List,
    Remount,
}
use Step::*;

/// Where in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    At(usize),
    /// So many bytes behind the end, or before it.
    End(isize),
}

impl Place {
    pub(super) fn offset(self, size: usize) -> usize {
        match self {
            Place::At(offset) => offset.min(FILE_BYTES_MAX),
            Place::End(bytes) => size.saturating_add_signed(bytes).min(FILE_BYTES_MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Access {
    Read,
    Write,
    Both,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Flags {
    pub(super) access: Access,
    pub(super) create: bool,
    /// Only with `create`; without it, what the kernel does is nobody's promise.
    pub(super) exclusive: bool,
    pub(super) truncate: bool,
    pub(super) append: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Allocation {
    Extend,
    KeepSize,
    PunchHole,
    ZeroRange,
    ZeroRangeKeepSize,
}

/// Sequences over tiny files, over files of several parts, and over both.
pub(super) fn sequence() -> impl Strategy<Value = Vec<Step>> {
    let of = |scale| proptest::collection::vec(step(scale), 1..80);
    prop_oneof![2 => of(Scale::Tiny), 3 => of(Scale::Large), 2 => of(Scale::Any)]
}

#[derive(Clone, Copy)]
enum Scale {
    Tiny,
    Large,
    Any,
}

fn offset(scale: Scale) -> BoxedStrategy<usize> {
    let tiny = prop_oneof![Just(0), 0..100_usize, 0..3 * 4 * KIB];
    let at_a_part = (0..9_usize, 0..7_usize).prop_map(|(part, beside)| (part * MIB + beside).saturating_sub(3));
    let large = prop_oneof![1 => Just(0), 1 => 0..300 * KIB, 3 => 0..7 * MIB, 2 => at_a_part];
    match scale {
        Scale::Tiny => tiny.boxed(),
        Scale::Large => large.boxed(),
        Scale::Any => prop_oneof![tiny, large].boxed(),
    }
}

fn len(scale: Scale) -> BoxedStrategy<usize> {
    let tiny = prop_oneof![1 => Just(0), 8 => 1..100_usize, 4 => 1..2 * 4 * KIB];
    let parts = (1..4_usize).prop_map(|parts| parts * MIB);
    let large = prop_oneof![1 => 1..100_usize, 3 => 1..200 * KIB, 3 => 1..3 * MIB, 1 => parts];
    match scale {
        Scale::Tiny => tiny.boxed(),
        Scale::Large => large.boxed(),
        Scale::Any => prop_oneof![tiny, large].boxed(),
    }
}

fn place(scale: Scale) -> BoxedStrategy<Place> {
    let reach = match scale {
        Scale::Tiny => 5_000,
        Scale::Large | Scale::Any => 2 * MIB.cast_signed(),
    };
    prop_oneof![
        5 => offset(scale).prop_map(Place::At),
        2 => Just(Place::End(0)),
        1 => (-4..4_isize).prop_map(Place::End),
        1 => (-reach..reach / 4).prop_map(Place::End),
    ]
    .boxed()
}

fn flags() -> impl Strategy<Value = Flags> {
    let access = prop_oneof![2 => Just(Access::Read), 3 => Just(Access::Write), 5 => Just(Access::Both)];
    let chance = proptest::bool::weighted;
    (access, chance(0.7), chance(0.1), chance(0.15), chance(0.2)).prop_map(
        |(access, create, exclusive, truncate, append)| Flags {
            access,
            create,
            exclusive: create && exclusive,
            truncate,
            append,
        },
    )
}

fn allocation() -> impl Strategy<Value = Allocation> {
    use Allocation::*;
    prop_oneof![Just(Extend), Just(KeepSize), Just(PunchHole), Just(ZeroRange), Just(ZeroRangeKeepSize)]
}

fn step(scale: Scale) -> impl Strategy<Value = Step> {
    let handle = || 0..HANDLES;
    let name = || 0..NAMES.len();
    let place = || place(scale);
    let len = || len(scale);
    prop_oneof![
        45 => (handle(), name(), flags()).prop_map(|(handle, name, flags)| Open { handle, name, flags }),
        20 => (name(), len()).prop_map(|(name, len)| Put { name, len }),
        35 => (handle(), place(), len()).prop_map(|(handle, place, len)| Read { handle, place, len }),
        70 => (handle(), place(), len()).prop_map(|(handle, place, len)| Write { handle, place, len }),
        15 => (handle(), place()).prop_map(|(handle, place)| Truncate { handle, place }),
        8 => (name(), offset(scale)).prop_map(|(name, size)| TruncateByName { name, size }),
        20 => (handle(), allocation(), place(), len())
            .prop_map(|(handle, mode, place, len)| Allocate { handle, mode, place, len }),
        25 => (handle(), handle(), place(), place(), len())
            .prop_map(|(from, to, source, target, len)| Copy { from, to, source, target, len }),
        3 => (handle(), place()).prop_map(|(handle, place)| SeekData { handle, place }),
        3 => (handle(), place()).prop_map(|(handle, place)| SeekHole { handle, place }),
        12 => (handle(), any::<bool>()).prop_map(|(handle, data_only)| Sync { handle, data_only }),
        14 => handle().prop_map(|handle| Close { handle }),
        6 => (handle(), any::<bool>()).prop_map(|(handle, closes_older)| Duplicate { handle, closes_older }),
        12 => (name(), name()).prop_map(|(from, to)| Rename { from, to }),
        8 => name().prop_map(|name| Unlink { name }),
        8 => name().prop_map(|name| Stat { name }),
        8 => handle().prop_map(|handle| StatHandle { handle }),
        3 => Just(List),
        1 => Just(Remount),
    ]
}
