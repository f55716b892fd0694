//! What a request says, in the terms of the file system.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Request, TimeOrNow};

use super::super::caller;
use crate::fs::{Asker, AttrChange, LockFamily, LockKind, Owner};

/// What people call the change of attributes.
pub(super) fn what_changes(change: &AttrChange) -> &'static str {
    match change {
        AttrChange { size: Some(_), .. } => "truncate",
        AttrChange { permissions: Some(_), .. } => "chmod",
        AttrChange { uid: Some(_), .. } | AttrChange { gid: Some(_), .. } => "chown",
        _ => "utimens",
    }
}

pub(super) fn lock_kind(typ: i32) -> Option<LockKind> {
    match typ {
        libc::F_RDLCK => Some(LockKind::Shared),
        libc::F_WRLCK => Some(LockKind::Exclusive),
        libc::F_UNLCK => Some(LockKind::None),
        _ => None,
    }
}

/// Which families a request of the thread `tid` may be of. The decoder of requests does not say, but `flock` always means
/// the whole file. Where nothing tells, a lock is taken for a record lock, and both are given back.
pub(super) async fn lock_families(tid: u32, kind: LockKind, range: RangeInclusive<u64>) -> [Option<LockFamily>; 2] {
    let is_whole = *range.start() == 0 && *range.end() >= i64::MAX.unsigned_abs();
    let is_in_flock = if is_whole { caller::is_in_flock(tid).await } else { None };
    match is_in_flock {
        Some(true) => [Some(LockFamily::Flock), None],
        None if is_whole && kind == LockKind::None => [Some(LockFamily::Flock), Some(LockFamily::Record)],
        Some(false) | None => [Some(LockFamily::Record), None],
    }
}

/// The time that a caller sets. fuser takes the fraction of a time before 1970, which counts forward like any other, for one
/// that counts backward.
pub(super) fn time_told(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::Now => SystemTime::now(),
        TimeOrNow::SpecificTime(time) => match UNIX_EPOCH.duration_since(time) {
            Ok(before) => {
                let fraction = Duration::from_nanos(before.subsec_nanos().into());
                UNIX_EPOCH - Duration::from_secs(before.as_secs()) + fraction
            }
            Err(_) => time,
        },
    }
}

pub(super) fn asker(request: &Request) -> Asker {
    let (tid, own) = (request.pid(), request.gid());
    Asker { uid: request.uid(), is_in_group: Box::new(move |gid| gid == own || caller::is_in_group(tid, gid)) }
}

pub(super) fn owner(request: &Request) -> Owner {
    Owner { uid: request.uid(), gid: request.gid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_keeps_its_fraction() {
        // As fuser reads what the kernel sends for half a second before 1970: -1 seconds and 500,000,000 nanoseconds.
        let read = UNIX_EPOCH - Duration::new(1, 500_000_000);
        assert_eq!(time_told(TimeOrNow::SpecificTime(read)), UNIX_EPOCH - Duration::from_millis(500));
        for time in [UNIX_EPOCH, UNIX_EPOCH - Duration::from_secs(3), UNIX_EPOCH + Duration::from_millis(1500)] {
            assert_eq!(time_told(TimeOrNow::SpecificTime(time)), time);
        }
    }
}
