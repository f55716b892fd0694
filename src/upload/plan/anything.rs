//! Plans of whatever a fuzzer makes up, and what must hold of each.

use super::{Action, Rules, Stretch, StretchSource, plan, plan_longer_parts};
use crate::object::Limits;

/// Limits that are small, so that few bytes reach all of them.
const LIMITS: Limits = Limits { part_bytes_min: 5, part_bytes_max: 40, part_count_max: 12, ..Limits::COS };

/// Plans a file of which each four bytes are a stretch: what it is, how long, and where it begins.
pub(crate) fn plan_anything(bytes: &[u8]) {
    let mut stretches: Vec<Stretch> = Vec::new();
    for stretch in bytes.chunks_exact(4).take(64) {
        let bytes = u64::from(stretch[1]) + 1;
        let are_all_sent = stretches.iter().all(|stretch| stretch.source == StretchSource::Sent);
        let source = match stretch[0] % 4 {
            // Those that are sent come first, and each is a part.
            0 if are_all_sent && (LIMITS.part_bytes_min..=LIMITS.part_bytes_max).contains(&bytes) => {
                StretchSource::Sent
            }
            0 | 1 => StretchSource::New,
            number => StretchSource::Stored { object: usize::from(number - 2), start: u64::from(stretch[2]) },
        };
        stretches.push(Stretch { bytes, source });
    }
    let preferred = u64::from(bytes.first().copied().unwrap_or(0) % 30) + LIMITS.part_bytes_min;
    let rules = Rules { limits: LIMITS, upload_bytes: &|_| preferred, mixed_upload_bytes: preferred };
    for actions in [plan(&stretches, &rules), plan_longer_parts(&stretches, &rules)].into_iter().flatten() {
        check(&stretches, &actions);
    }
}

/// The parts have all bytes, each is one that the service takes, and what is copied is there to be copied.
fn check(stretches: &[Stretch], actions: &[Action]) {
    assert!(actions.len() as u64 <= LIMITS.part_count_max);
    let mut at = 0;
    for (index, action) in actions.iter().enumerate() {
        let bytes = match action {
            Action::Keep => stretches[index].bytes,
            Action::Copy { bytes, .. } | Action::Upload { bytes, .. } => *bytes,
        };
        let is_last = index + 1 == actions.len();
        assert!(bytes <= LIMITS.part_bytes_max && (bytes >= LIMITS.part_bytes_min || is_last), "{actions:?}");
        if let Action::Copy { object, start, .. } = action {
            assert!(is_stored(stretches, at, bytes, *object, *start), "{stretches:?} {actions:?}");
        }
        at += bytes;
    }
    assert_eq!(at, stretches.iter().map(|stretch| stretch.bytes).sum::<u64>());
}

/// Whether `bytes` of the file from `at` on are those of the object from `start` on.
fn is_stored(stretches: &[Stretch], at: u64, bytes: u64, object: usize, start: u64) -> bool {
    let mut begin = 0;
    stretches.iter().all(|stretch| {
        let (from, end) = (begin, begin + stretch.bytes);
        begin = end;
        let is_outside = end <= at || from >= at + bytes;
        let is_same = match stretch.source {
            StretchSource::Stored { object: of, start: first } => {
                let overlap = from.max(at);
                of == object && first + (overlap - from) == start + (overlap - at)
            }
            StretchSource::Sent | StretchSource::New => false,
        };
        is_outside || is_same
    })
}
