//! What is fetched for a file's parts, and whether all that comes from one object is what the object has.
//!
//! Nothing that was fetched is published unverified where the service tells anything to verify it with. It tells the
//! checksum of whole objects, and of ranges only when it copies them. So the stretches that are fetched of an object and
//! those that are copied from it are made to cover it, and put together they must have its checksum. Where they cannot
//! cover it (most of it is overwritten or cut off, or the file has a few bytes of it only) the service is asked to copy
//! the stretch that is fetched, into the very part that is then sent over it: one request more, for its checksum.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Content;
use super::part::{Check, Fetch, Part, PartBody};
use super::parts::Parts;
use super::rules::PartRules;
use crate::object::{ByteRange, Checksum, ChecksumAlgorithm, Version};
use crate::upload::cover::{Need, chain, cover};
use crate::upload::extents::{ExtentSource, Extents, SourceObject};

/// Stretches of one object that are closer than this are fetched with one request, in bytes: about what a request costs.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Why what comes from an object may not be what the object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upload) enum Doubt {
    /// Its stretches have another checksum together than the object.
    Mismatch(SourceObject),
    /// Something of it is neither fetched nor copied.
    Gap(SourceObject),
}

/// A range of an object and its checksum, where that was told.
type Stretch = (Range<u64>, Option<Checksum>);

/// What is known of one object, and needed of it.
struct Uses {
    source: SourceObject,
    /// Ranges whose checksums the service tells, or that have been fetched.
    known: Vec<Range<u64>>,
    needs: Vec<Need>,
}

impl Content {
    /// Chooses what is fetched for the parts that are not acknowledged.
    pub(in crate::upload) fn plan_fetches(&mut self, rules: &PartRules) {
        let bytes_max = rules.fetch_bytes_max();
        // What is fetched for each part beyond what it needs.
        let mut widened: HashMap<usize, u64> = HashMap::new();
        self.parts.clear_fetches();
        for Uses { source, known, needs } in uses(&self.parts) {
            let (size, checksum) = size_and_checksum(self.base.as_ref(), &source);
            let covered = cover(size, &known, &needs, bytes_max).filter(|_| !self.apart.contains(&source));
            let covered = covered.filter(|covered| widen(&mut widened, &needs, covered, bytes_max));
            let (fetched, check) = match (covered, checksum) {
                (_, None) => (needs, Check::Nothing),
                (Some(covered), Some(_)) => (covered, Check::Together),
                (None, Some(_)) => (needs, Check::Apart),
            };
            for Need { part, range } in fetched {
                let check = if checksum.is_some() && range == (0..size) { Check::Whole } else { check };
                let Some(range) = ByteRange::new(range.start, range.end) else { continue };
                self.parts.add_fetch(part, Fetch { source: source.clone(), range, check, checksum: None });
            }
        }
    }

    /// Whether something that comes from an object, now that all parts are acknowledged, may not be what the object has.
    ///
    /// Of an object of which nothing was fetched there is a doubt only if all of it was copied, and is another one now.
    /// Where the service does not tell the checksums of copies nothing can be doubted.
    pub(in crate::upload) fn doubt(&self, algorithm: ChecksumAlgorithm) -> Option<Doubt> {
        let mut zeros: HashMap<u64, Checksum> = HashMap::new();
        let mut stretches: HashMap<&SourceObject, Vec<Stretch>> = HashMap::new();
        for (source, range, checksum) in self.parts.iter().flat_map(known) {
            if matches!(source, SourceObject::Zeros(_)) {
                // Each for itself: what zeros have is known.
                let len = range.end - range.start;
                let zeros = *zeros.entry(len).or_insert_with(|| algorithm.of_zeros(len));
                if checksum.is_some_and(|checksum| checksum != zeros) {
                    return Some(Doubt::Mismatch(source.clone()));
                }
                continue;
            }
            stretches.entry(source).or_default().push((range, checksum));
        }
        let fetched = self.parts.iter().flat_map(|part| &part.fetches);
        let together: HashSet<&SourceObject> =
            fetched.filter(|fetch| fetch.check == Check::Together).map(|fetch| &fetch.source).collect();
        stretches.into_iter().find_map(|(source, stretches)| {
            let (size, Some(expected)) = size_and_checksum(self.base.as_ref(), source) else { return None };
            let Some(chained) = chain(size, stretches) else {
                return together.contains(source).then(|| Doubt::Gap(source.clone()));
            };
            let found = algorithm.joined(chained.into_iter().map(|(range, next)| (next, range.end - range.start)))?;
            (found != expected).then(|| Doubt::Mismatch(source.clone()))
        })
    }

    /// Everything that comes from `source` is to be fetched and copied once more, and verified stretch by stretch if
    /// `apart`.
    pub(in crate::upload) fn make_again(&mut self, source: &SourceObject, apart: bool, rules: &PartRules) {
        if apart {
            self.apart.insert(source.clone());
        }
        self.parts.make_again(|part| known(part).any(|(known, ..)| known == source));
        self.plan_fetches(rules);
    }

    /// What to fetch for a body that is all of the file: whole objects, whose checksums are known. `None` if that would be
    /// much more than what is needed.
    pub(in crate::upload) fn fetches_of_all(&self, rules: &PartRules) -> Option<Vec<Fetch>> {
        let mut fetches: Vec<Fetch> = Vec::new();
        let mut seen: HashSet<SourceObject> = HashSet::new();
        for (source, need) in needs(0, &self.tail) {
            let (size, checksum) = size_and_checksum(self.base.as_ref(), &source);
            let (range, check) = match checksum {
                Some(_) if !seen.insert(source.clone()) => continue,
                Some(_) => (0..size, Check::Whole),
                None => (need.range, Check::Nothing),
            };
            let range = ByteRange::new(range.start, range.end)?;
            fetches.push(Fetch { source, range, check, checksum: None });
        }
        let bytes: u64 = fetches.iter().map(|fetch| fetch.range.len()).sum();
        let is_verified = fetches.iter().any(|fetch| fetch.check != Check::Nothing);
        (!is_verified || bytes <= self.tail.len().max(rules.fetch_bytes_max())).then_some(fetches)
    }
}

/// Size and checksum of an object.
fn size_and_checksum(base: Option<&Version>, source: &SourceObject) -> (u64, Option<Checksum>) {
    let version = match source {
        SourceObject::Base => base,
        SourceObject::Other(object) | SourceObject::Zeros(object) => Some(&object.version),
    };
    version.map_or((0, None), |version| (version.size, version.checksum))
}

/// The objects of which something is fetched for parts that are not acknowledged.
fn uses(parts: &Parts) -> Vec<Uses> {
    let mut uses: Vec<Uses> = Vec::new();
    let mut places: HashMap<SourceObject, usize> = HashMap::new();
    for (index, part) in parts.unsent() {
        let PartBody::Upload(extents) = &part.body else { continue };
        for (source, need) in needs(index, extents) {
            let place = *places.entry(source).or_insert_with_key(|source| {
                uses.push(Uses { source: source.clone(), known: Vec::new(), needs: Vec::new() });
                uses.len() - 1
            });
            uses[place].needs.push(need);
        }
    }
    for (source, range, _) in parts.iter().flat_map(known) {
        if let Some(place) = places.get(source) {
            uses[*place].known.push(range);
        }
    }
    uses
}

/// Whether no part gets more than `bytes_max` beyond what it needs when `covered` is fetched instead of `needs`; counts it
/// then. The room for what is fetched is for what is needed.
fn widen(widened: &mut HashMap<usize, u64>, needs: &[Need], covered: &[Need], bytes_max: u64) -> bool {
    let mut more: HashMap<usize, u64> = HashMap::new();
    let bytes = |need: &Need| need.range.end - need.range.start;
    covered.iter().for_each(|need| *more.entry(need.part).or_default() += bytes(need));
    for need in needs {
        *more.entry(need.part).or_default() -= bytes(need);
    }
    let before = |part: &usize| widened.get(part).copied().unwrap_or_default();
    if more.iter().any(|(part, more)| before(part) + more > bytes_max) {
        return false;
    }
    more.into_iter().for_each(|(part, more)| *widened.entry(part).or_default() += more);
    true
}

/// The stretches of stored objects that a part's body lacks: by object and place, those that are close together as one.
fn needs(part: usize, extents: &Extents) -> Vec<(SourceObject, Need)> {
    let mut places: HashMap<&SourceObject, Vec<Range<u64>>> = HashMap::new();
    for extent in extents.iter() {
        // Zeros are at hand.
        if let ExtentSource::Stored { object, start, held: None } = &extent.source
            && !matches!(object, SourceObject::Zeros(_))
        {
            places.entry(object).or_default().push(*start..start + extent.len);
        }
    }
    let mut needs = Vec::new();
    for (source, mut ranges) in places {
        ranges.sort_by_key(|range| (range.start, range.end));
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut().filter(|last| range.start <= last.end + GAP_BYTES_MAX) {
                Some(last) => last.end = last.end.max(range.end),
                None => joined.push(range),
            }
        }
        needs.extend(joined.into_iter().map(|range| (source.clone(), Need { part, range })));
    }
    needs
}

/// The stretches of stored objects that a part consists of and whose checksums are told, or will be.
fn known(part: &Part) -> impl Iterator<Item = (&SourceObject, Range<u64>, Option<Checksum>)> {
    let copied = match &part.body {
        PartBody::Copy { source, start } => {
            let checksum = part.sent.as_ref().and_then(|sent| sent.crc64);
            Some((source, *start..start + part.len, checksum))
        }
        PartBody::Upload(_) | PartBody::Gone => None,
    };
    let fetched = part.fetches.iter().filter(|_| part.sent.is_some());
    let fetched = fetched.map(|fetch| (&fetch.source, fetch.range.start()..fetch.range.end(), fetch.checksum));
    copied.into_iter().chain(fetched)
}
