//! Plans against a model of bytes, and against the best of all plans.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::object::limits::{GIB, MIB};

const KIB: u64 = 1 << 10;

fn any_plan(stretches: &[Stretch], rules: &Rules) -> Result<Vec<Action>, TooManyParts> {
    plan(stretches, rules).or_else(|TooManyParts| plan_longer_parts(stretches, rules))
}

fn sent(bytes: u64) -> Stretch {
    Stretch { bytes, source: StretchSource::Sent }
}

fn new(bytes: u64) -> Stretch {
    Stretch { bytes, source: StretchSource::New }
}

fn stored(object: usize, start: u64, bytes: u64) -> Stretch {
    Stretch { bytes, source: StretchSource::Stored { object, start } }
}

fn copy(object: usize, start: u64, bytes: u64) -> Action {
    Action::Copy { object, start, bytes }
}

fn upload(bytes: u64, fetched: u64) -> Action {
    Action::Upload { bytes, fetched }
}

/// The plan under the limits of COS with uploads of one size.
fn plan_sized(upload_bytes: u64, content: &[Stretch]) -> Result<Vec<Action>, TooManyParts> {
    let rules = Rules { limits: Limits::COS, upload_bytes: &|_| upload_bytes, mixed_upload_bytes: upload_bytes };
    any_plan(content, &rules)
}

fn cos_plan(content: &[Stretch]) -> Vec<Action> {
    plan_sized(8 * MIB, content).expect("few parts")
}

#[test]
fn a_change_moves_little_more_than_itself() {
    let (m, k) = (MIB, KIB);
    let table: [(&str, &[Stretch], &[Action]); 14] = [
        ("nothing", &[], &[]),
        ("append", &[stored(0, 0, 256 * m), new(m)], &[copy(0, 0, 256 * m), upload(m, 0)]),
        ("start", &[new(4 * k), stored(0, 4 * k, 9 * m)], &[upload(m, m - 4 * k), copy(0, m, 8 * m + 4 * k)]),
        ("end", &[stored(0, 0, 9 * m), new(4 * k)], &[copy(0, 0, 9 * m), upload(4 * k, 0)]),
        ("near the end", &[stored(0, 0, 9 * m), new(k), stored(0, 9, k)], &[copy(0, 0, 9 * m), upload(2 * k, k)]),
        ("truncate", &[stored(0, 0, 9 * m + 1)], &[copy(0, 0, 9 * m + 1)]),
        ("truncate to little", &[stored(0, 0, 1)], &[copy(0, 0, 1)]),
        ("small file", &[stored(0, 0, 9), new(1), stored(0, 10, 90)], &[upload(100, 99)]),
        ("sent", &[sent(8 * m), sent(9 * m), new(m + 1)], &[Action::Keep, Action::Keep, upload(m + 1, 0)]),
        ("all sent", &[sent(8 * m), sent(1)], &[Action::Keep, Action::Keep]),
        ("hole", &[stored(0, 0, m), new(12 * m)], &[copy(0, 0, m), upload(8 * m, 0), upload(4 * m, 0)]),
        ("two ranges of one", &[stored(0, 0, 2 * m), stored(0, 2 * m, 2 * m)], &[copy(0, 0, 4 * m)]),
        ("two of two", &[stored(0, 0, 2 * m), stored(1, 2 * m, 2 * m)], &[copy(0, 0, 2 * m), copy(1, 2 * m, 2 * m)]),
        ("two apart", &[stored(0, 0, 2 * m), stored(0, 3 * m, 2 * m)], &[copy(0, 0, 2 * m), copy(0, 3 * m, 2 * m)]),
    ];
    for (name, content, expected) in table {
        assert_eq!(cos_plan(content), expected, "{name}");
    }
}

#[test]
fn an_edit_in_the_middle_borrows_the_rest_of_a_part() {
    let content = [stored(0, 0, 100 * MIB), new(4 * KIB), stored(0, 100 * MIB + 4 * KIB, 156 * MIB - 4 * KIB)];
    let expected = [copy(0, 0, 100 * MIB), upload(MIB, MIB - 4 * KIB), copy(0, 101 * MIB, 155 * MIB)];
    assert_eq!(cos_plan(&content), expected);
}

/// Two edits of 4 KiB with a range between them: fetching it all is dearer than filling up two parts, or cheaper.
#[test]
fn a_range_is_absorbed_where_that_fetches_less() {
    let lack = MIB - 4 * KIB;
    let table: [(u64, &[Uploaded]); 4] = [
        (512 * KIB, &[(MIB, MIB - 8 * KIB)]), // Too short for a copy.
        (1200 * KIB, &[(1208 * KIB, 1200 * KIB)]),
        (2000 * KIB, &[(2008 * KIB, 2000 * KIB)]),
        (2048 * KIB, &[(MIB, lack), (MIB, lack)]),
    ];
    for (between, expected) in table {
        let (left, right) = (stored(0, 0, 9 * MIB), stored(0, 20 * MIB, 9 * MIB));
        let actions = cos_plan(&[left, new(4 * KIB), stored(0, 10 * MIB, between), new(4 * KIB), right]);
        let uploads: Vec<Uploaded> = actions.iter().filter_map(uploaded).collect();
        assert_eq!(uploads, expected, "{between}");
    }
}

/// The bytes of an upload and those of them that are fetched.
type Uploaded = (u64, u64);

fn uploaded(action: &Action) -> Option<Uploaded> {
    let Action::Upload { bytes, fetched } = *action else { return None };
    Some((bytes, fetched))
}

#[test]
fn ranges_over_the_largest_copy_are_split_evenly() {
    let table: [(u64, &[u64]); 4] = [
        (5 * GIB, &[5 * GIB]),
        (5 * GIB + 1, &[5 * GIB / 2 + 1, 5 * GIB / 2]),
        (12 * GIB, &[4 * GIB, 4 * GIB, 4 * GIB]),
        (10 * GIB - 1, &[5 * GIB, 5 * GIB - 1]),
    ];
    for (bytes, expected) in table {
        let mut start = 7;
        let actions = cos_plan(&[stored(3, start, bytes)]);
        assert_eq!(actions.len(), expected.len(), "{actions:?}");
        for (action, part_bytes) in actions.iter().zip(expected) {
            assert_eq!(*action, copy(3, start, *part_bytes));
            start += part_bytes;
        }
    }
}

/// A byte more than a largest copy takes goes to the edit beside it, on whichever side that is.
#[test]
fn a_loan_saves_a_copy_where_it_can() {
    let (long, short) = (5 * GIB + 1, 5 * GIB);
    for (left, right) in [(long, short), (short, long), (long, long)] {
        let actions = cos_plan(&[stored(0, 0, left), new(4 * KIB), stored(1, 0, right)]);
        assert_eq!(actions.len(), 3, "{actions:?}");
    }
}

#[test]
fn uploads_are_as_long_as_preferred_and_never_too_short() {
    let (m, h) = (MIB, MIB / 2);
    // Preferred bytes, bytes of the group before a copied range, and its parts.
    let table: [(u64, u64, &[u64]); 6] = [
        (m, m + h, &[m + h]),
        (m, 2 * m + h, &[m, m + h]),
        (8 * m, 24 * m, &[8 * m, 8 * m, 8 * m]),
        (8 * m, 17 * m, &[8 * m, 8 * m, m]),
        (8 * m, 16 * m + h, &[8 * m, 8 * m + h]),
        (5 * GIB, 5 * GIB + h, &[5 * GIB - h, m]),
    ];
    let parts = |preferred_bytes: u64, content: &[Stretch]| -> Vec<u64> {
        let actions = plan_sized(preferred_bytes, content).expect("few parts");
        actions.iter().filter_map(uploaded).map(|(bytes, _)| bytes).collect()
    };
    for (preferred, bytes, expected) in table {
        assert_eq!(parts(preferred, &[new(bytes), stored(0, 0, 9 * m)]), expected, "{preferred} {bytes}");
    }
    assert_eq!(parts(m, &[new(m + h)]), [m, h], "at the end of the file");
}

#[test]
fn a_part_with_fetched_bytes_is_shorter() {
    let rules = Rules { limits: Limits::COS, upload_bytes: &|_| 64 * MIB, mixed_upload_bytes: 16 * MIB };
    let between = stored(0, 9 * MIB, MIB / 4);
    let table: [(u64, u64, &[Uploaded]); 3] = [
        (4 * MIB, 4 * MIB, &[(8 * MIB + MIB / 4, MIB / 4)]),
        (4 * MIB, 40 * MIB, &[(16 * MIB, MIB / 4), (28 * MIB + MIB / 4, 0)]),
        (40 * MIB, 4 * MIB, &[(40 * MIB, 0), (4 * MIB + MIB / 4, MIB / 4)]),
    ];
    for (before, after, expected) in table {
        let actions = any_plan(&[new(before), between, new(after)], &rules).expect("few parts");
        assert_eq!(actions.iter().filter_map(uploaded).collect::<Vec<_>>(), expected);
    }
}

/// The index that the sizes are asked for counts the parts that are kept and copied too.
#[test]
fn preferred_sizes_go_by_the_index_in_the_upload() {
    let rules = Rules { limits: Limits::COS, upload_bytes: &|index| (index + 1) * MIB, mixed_upload_bytes: MIB };
    let actions = any_plan(&[sent(MIB), stored(0, 0, MIB), new(8 * MIB)], &rules).expect("few parts");
    assert_eq!(actions[2..], [upload(3 * MIB, 0), upload(4 * MIB, 0), upload(MIB, 0)]);
}

/// 20,000 parts would fetch less, but an upload has 10,000.
#[test]
fn scattered_edits_fetch_more_rather_than_fail() {
    let content: Vec<Stretch> = (0..10_000).flat_map(|edit| [new(MIB), stored(0, edit * 4 * MIB, 3 * MIB)]).collect();
    let actions = cos_plan(&content);
    check(&content, &actions, Limits::COS);
    assert!(fetched_bytes(&actions) > 0);
}

#[test]
fn more_than_the_service_takes_is_an_error() {
    let part_count = |upload_bytes, content: &[Stretch]| plan_sized(upload_bytes, content).map(|plan| plan.len());
    for upload_bytes in [MIB, 5 * GIB] {
        assert_eq!(part_count(upload_bytes, &[new(50_000 * GIB)]), Ok(10_000));
        assert_eq!(part_count(upload_bytes, &[new(50_000 * GIB + 1)]), Err(TooManyParts));
        assert_eq!(part_count(upload_bytes, &[stored(0, 0, 50_000 * GIB)]), Ok(10_000));
        assert_eq!(part_count(upload_bytes, &[sent(MIB); 10_000]), Ok(10_000));
        assert_eq!(part_count(upload_bytes, &[sent(MIB); 10_001]), Err(TooManyParts));
    }
}

/// What a quadratic search would take minutes for, with ranges that are absorbed, that lend, and that do neither.
#[test]
fn a_hundred_thousand_stretches_are_planned_at_once() {
    for stored_bytes in [KIB, MIB, MIB + 4 * KIB, 2 * MIB - 4 * KIB, 2 * MIB, 976 * MIB] {
        let pair = |edit: u64| [new(4 * KIB + edit % 7), stored(0, edit * GIB, stored_bytes - edit % 5)];
        let content: Vec<Stretch> = (0..50_000).flat_map(pair).collect();
        for part_count_max in [10_000, 1_000_000] {
            let limits = Limits { part_count_max, ..Limits::COS };
            let rules = Rules { limits, upload_bytes: &|_| 8 * MIB, mixed_upload_bytes: 8 * MIB };
            let actions = any_plan(&content, &rules).expect("10,000 parts are enough");
            check(&content, &actions, limits);
        }
    }
}

/// Asserts that the actions make the content, of parts that the service takes, and fetch what they say.
fn check(content: &[Stretch], actions: &[Action], limits: Limits) {
    assert!(actions.len() as u64 <= limits.part_count_max, "{} parts", actions.len());
    let mut left: Vec<Stretch> = content.iter().rev().copied().collect();
    for (index, action) in actions.iter().enumerate() {
        let bytes = match *action {
            Action::Keep => {
                assert_eq!(left.pop().map(|stretch| stretch.source), Some(StretchSource::Sent), "part {index}");
                continue;
            }
            Action::Copy { bytes, .. } | Action::Upload { bytes, .. } => bytes,
        };
        let bytes_min = if index + 1 == actions.len() { 1 } else { limits.part_bytes_min };
        assert!((bytes_min..=limits.part_bytes_max).contains(&bytes), "part {index} of {actions:?}");
        let made = merge(&take_front(&mut left, bytes));
        match *action {
            Action::Copy { object, start, bytes } => {
                assert_eq!(made, [stored(object, start, bytes)], "part {index}")
            }
            _ => assert_eq!(*action, upload(bytes, made.iter().map(stored_bytes).sum()), "part {index}"),
        }
    }
    assert_eq!(left, [], "left over by {actions:?}");
}

/// Takes the first `bytes` off stretches that are in reverse order.
fn take_front(left: &mut Vec<Stretch>, bytes: u64) -> Vec<Stretch> {
    let (mut taken, mut missing) = (Vec::new(), bytes);
    while missing > 0 {
        let stretch = left.pop().expect("the actions make no more than the content");
        let bytes = stretch.bytes.min(missing);
        missing -= bytes;
        taken.push(Stretch { bytes, ..stretch });
        if stretch.bytes > bytes {
            let source = match stretch.source {
                StretchSource::Stored { object, start } => StretchSource::Stored { object, start: start + bytes },
                other => other,
            };
            left.push(Stretch { bytes: stretch.bytes - bytes, source });
        }
    }
    taken
}

fn stored_bytes(stretch: &Stretch) -> u64 {
    if matches!(stretch.source, StretchSource::Stored { .. }) { stretch.bytes } else { 0 }
}

fn fetched_bytes(actions: &[Action]) -> u64 {
    actions.iter().filter_map(uploaded).map(|(_, fetched)| fetched).sum()
}

fn small_limits(part_bytes_min: u64, part_bytes_max: u64) -> Limits {
    Limits { part_bytes_min, part_bytes_max, ..Limits::COS }
}

/// Limits with (`part_bytes_min`, `part_bytes_max`) so small that a few dozen bytes are many parts, and content
/// with as many stretches of each kind of length: too short for a part, too short to lend to both sides, and
/// beyond one copy.
fn small_case(part_count_max: u64, bytes: &[(u64, u64)]) -> impl Strategy<Value = (Limits, Vec<Stretch>)> + use<> {
    prop::sample::select(bytes.to_vec()).prop_flat_map(move |(part_bytes_min, part_bytes_max)| {
        let limits = Limits { part_count_max, ..small_limits(part_bytes_min, part_bytes_max) };
        let length = prop_oneof![1..=part_bytes_min, part_bytes_min..=3 * part_bytes_min, 1..=part_bytes_max + 3];
        let stretches = vec((0..5, 0..2_usize, 0..9_u64, length), 0..14);
        stretches.prop_map(move |drawn| (limits, small_content(&drawn)))
    })
}

/// Stretches of which some stored ones continue the one before them, or would but for new bytes between them.
fn small_content(drawn: &[(i32, usize, u64, u64)]) -> Vec<Stretch> {
    let (mut last, mut end) = (0, 0);
    let mut stretch = |&(kind, object, start, bytes)| match kind {
        0 | 1 => new(bytes),
        _ => {
            (last, end) = if kind == 2 { (last, end + bytes) } else { (object, start + bytes) };
            stored(last, end - bytes, bytes)
        }
    };
    drawn.iter().map(&mut stretch).collect()
}

/// A byte that remembers where it comes from: its place in an object, or in the file if it is new.
type Byte = u64;
const NEW: Byte = 1 << 40;

fn content_bytes(content: &[Stretch]) -> Vec<Byte> {
    let mut bytes = Vec::new();
    for stretch in content {
        match stretch.source {
            StretchSource::Stored { object, start } => bytes.extend(object_bytes(object, start, stretch.bytes)),
            _ => bytes.extend((NEW + bytes.len() as u64..).take(stretch.bytes as usize)),
        }
    }
    bytes
}

fn object_bytes(object: usize, start: u64, bytes: u64) -> Range<Byte> {
    let first = ((object as u64) << 20) + start;
    first..first + bytes
}

/// The object that the actions make of the content.
fn apply(content: &[Stretch], actions: &[Action]) -> Vec<Byte> {
    let mut sent = content.iter();
    let file = content_bytes(content);
    let mut made = Vec::new();
    for action in actions {
        let bytes = match *action {
            Action::Copy { object, start, bytes } => {
                made.extend(object_bytes(object, start, bytes));
                continue;
            }
            Action::Keep => sent.next().expect("one stretch for each part that is kept").bytes,
            Action::Upload { bytes, .. } => bytes,
        };
        made.extend_from_slice(&file[made.len()..][..bytes as usize]);
    }
    made
}

/// The fetched bytes and the parts of a plan: the fewer of the first are better, then the fewer of the second.
type Cost = (u64, u64);

/// The least cost of all ways to cut the bytes into parts that the service takes, if each part is copied that can
/// be and no size is preferred to another.
fn optimum(bytes: &[Byte], limits: Limits) -> Cost {
    // The optimum of what begins at each position.
    let mut least = vec![(u64::MAX, u64::MAX); bytes.len()];
    least.push((0, 0));
    for from in (0..bytes.len()).rev() {
        for to in (from + 1..=bytes.len()).take(limits.part_bytes_max as usize) {
            if to < bytes.len() && ((to - from) as u64) < limits.part_bytes_min || least[to].0 == u64::MAX {
                continue;
            }
            let part = &bytes[from..to];
            let copied = part.is_sorted_by(|a, b| a + 1 == *b);
            let fetched = if copied { 0 } else { part.iter().filter(|byte| **byte < NEW).count() as u64 };
            least[from] = least[from].min((least[to].0 + fetched, least[to].1 + 1));
        }
    }
    least[0]
}

/// Content that random tests found once in some ten thousand cases, and what each is there to prove.
#[test]
fn choices_that_rarely_matter_are_made() {
    let cheapest_at_first =
        [stored(0, 0, 3), stored(0, 4, 1), stored(1, 0, 5), new(2), stored(0, 5, 3), stored(1, 0, 1)];
    let two_absorbed = [new(1), stored(0, 0, 2), new(1), stored(0, 2, 2), new(1), stored(0, 4, 2), new(14)];
    let most_lent = [stored(0, 0, 7), new(1), stored(0, 7, 4), new(1), stored(0, 11, 7)];
    let table: [(&str, Limits, &[Stretch], Cost); 3] = [
        ("the cheapest way to a range is not the best way past it", small_limits(3, 5), &cheapest_at_first, (5, 5)),
        ("two neighbours are absorbed for fewer parts", small_limits(2, 16), &two_absorbed, (4, 3)),
        (
            "of two ways that cost the same, the one that lends more saves a copy",
            small_limits(3, 5),
            &most_lent,
            (4, 5),
        ),
    ];
    for (name, limits, content, expected) in table {
        let bytes_max = limits.part_bytes_max;
        let rules = Rules { limits, upload_bytes: &|_| bytes_max, mixed_upload_bytes: bytes_max };
        let actions = any_plan(content, &rules).expect("few parts");
        assert_eq!((fetched_bytes(&actions), actions.len() as u64), expected, "{name}: {actions:?}");
        assert_eq!(optimum(&content_bytes(content), limits), expected, "{name}");
    }
}

proptest! {
    // A case takes some 10 microseconds, and the rarest kinds of content are one in thousands.
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// With any preferred sizes, which have no influence on what is fetched.
    #[test]
    fn a_plan_makes_the_content_and_fetches_the_least(
        (limits, content) in
            small_case(10_000, &[(1, 1), (1, 4), (2, 16), (3, 5), (4, 7), (4, 16), (5, 12), (9, 40)]),
        sent_parts in vec(0..100_u64, 0..3),
        sizes in vec(0..100_u64, 4),
    ) {
        let Limits { part_bytes_min, part_bytes_max, .. } = limits;
        let legal = |drawn: u64| part_bytes_min + drawn % (part_bytes_max - part_bytes_min + 1);
        let upload_bytes = |index| legal(sizes[index as usize % 3]);
        let rules = Rules { limits, upload_bytes: &upload_bytes, mixed_upload_bytes: legal(sizes[3]) };
        let sent_parts = sent_parts.iter().map(|bytes| sent(legal(*bytes)));
        let whole: Vec<Stretch> = sent_parts.chain(content.clone()).collect();

        let actions = any_plan(&whole, &rules).expect("few parts");
        check(&whole, &actions, limits);
        prop_assert_eq!(apply(&whole, &actions), content_bytes(&whole));
        prop_assert_eq!(fetched_bytes(&actions), optimum(&content_bytes(&content), limits).0, "{:?}", actions);
        for (index, action) in actions.iter().enumerate() {
            let Some((bytes, fetched)) = uploaded(action) else { continue };
            let preferred_bytes = upload_bytes(index as u64);
            let preferred_bytes = if fetched == 0 { preferred_bytes } else { preferred_bytes.min(legal(sizes[3])) };
            prop_assert!(bytes < preferred_bytes + part_bytes_min, "{index} of {actions:?}");
        }
    }

    /// With uploads of the largest size, which is what the optimum takes them to be.
    ///
    /// Both costs are equal to the optimum, but for one part more for each range that the note below [`plan`] is
    /// about. Where that is more than 12 parts, any plan will do, and one must be found if the file is not long.
    #[test]
    fn a_plan_has_the_fewest_parts_for_what_it_fetches(
        (limits, content) in small_case(12, &[(1, 4), (2, 16), (3, 5), (3, 6), (4, 7), (4, 16), (5, 12), (9, 40)]),
    ) {
        let Limits { part_bytes_min, part_bytes_max, part_count_max, .. } = limits;
        let rules = Rules { limits, upload_bytes: &|_| part_bytes_max, mixed_upload_bytes: part_bytes_max };
        let (fetched, part_count) = optimum(&content_bytes(&content), limits);
        let exempt = |run: &&Stretch| (part_bytes_max + 1..3 * part_bytes_min - 2).contains(&stored_bytes(run));
        let slack = merge(&content).iter().filter(exempt).count() as u64;
        let bytes: u64 = content.iter().map(|stretch| stretch.bytes).sum();
        match any_plan(&content, &rules) {
            Ok(actions) => {
                check(&content, &actions, limits);
                let made = (fetched_bytes(&actions), actions.len() as u64);
                let best = made.0 == fetched && made.1 <= part_count + slack;
                prop_assert!(best || part_count + slack > part_count_max, "{made:?} of {actions:?}");
            }
            Err(TooManyParts) => {
                prop_assert!(part_count + slack > part_count_max, "({fetched}, {part_count})");
                prop_assert!(bytes > part_count_max * part_bytes_max.div_ceil(2), "{bytes}");
            }
        }
    }
}
