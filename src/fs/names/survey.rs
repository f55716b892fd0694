//! Whether the names of a large directory are looked up in no order, so many of them that listing it costs less. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use super::{Asked, FileName, Start, is_fresh};

/// Of names in no order every second is before the last: so many steps back are worth a page, where each of these lookups would be
/// two requests. For a directory that has far more names than anybody looks up, that is three requests more in a hundred.
const STEPS_BACK_PER_PAGE: u32 = 8;

/// Names of which is remembered that they were looked up, as far as their hashes tell them apart. Of more, some do not count.
const REMEMBERED: usize = 4096;

/// How the names of one directory are looked up, and how far it was listed for that.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The name that was looked up last, and when.
    last: Option<(FileName, SystemTime)>,
    /// Which names were looked up, by their hashes, and since when.
    seen: Option<(SystemTime, Box<[u64; REMEMBERED / 64]>)>,
    /// Names that were before the one before them, for which no page was listed yet.
    steps_back: u32,
    is_going_on: bool,
    begun: Option<Begun>,
    /// Pages that it has, as far as is known.
    pages: u32,
}

/// A listing that has more pages.
#[derive(Debug)]
pub(super) struct Begun {
    /// When its first page was asked for.
    pub(super) asked: Asked,
    /// Where the next one begins.
    pub(super) next: Start,
    /// Pages so far.
    pub(super) pages: u32,
}

impl Begun {
    pub(super) fn new(asked: Asked) -> Begun {
        Begun { asked, next: Start::default(), pages: 0 }
    }
}

impl Survey {
    /// Takes a lookup in. Those before a pause of `ttl` say nothing of those that come, and a name counts once within `ttl`: who looks up
    /// the same few again and again has them without a request.
    pub(super) fn note_lookup(&mut self, name: &FileName, now: SystemTime, ttl: Duration) {
        let is_new = self.remember(name, now, ttl);
        match &self.last {
            Some((last, at)) if is_fresh(*at, now, ttl) => {
                self.steps_back = self.steps_back.saturating_add(u32::from(is_new && name < last));
            }
            _ => self.steps_back = 0,
        }
        self.last = Some((name.clone(), now));
    }

    /// Whether a name was not looked up since `ttl` ago at the most.
    fn remember(&mut self, name: &FileName, now: SystemTime, ttl: Duration) -> bool {
        self.seen.take_if(|(since, _)| !is_fresh(*since, now, ttl));
        let (_, seen) = self.seen.get_or_insert_with(|| (now, Box::new([0; REMEMBERED / 64])));
        let mut hasher = DefaultHasher::new();
        name.as_str().hash(&mut hasher);
        let bit = hasher.finish() as usize % REMEMBERED;
        let (word, mask) = (&mut seen[bit / 64], 1 << (bit % 64));
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }

    /// Begins to list the directory, or goes on with that, until it is [ended](Survey::end): if that is worth it. Returns the
    /// most pages that are to be listed, and those that were.
    pub(super) fn begin(&mut self, now: SystemTime, ttl: Duration) -> Option<(u32, Option<Begun>)> {
        if self.is_going_on {
            return None;
        }
        let is_over = |begun: &mut Begun| !is_fresh(begun.asked.at, now, ttl);
        if let Some(over) = self.begun.take_if(is_over) {
            self.pages = self.pages.max(over.pages + 1);
        }
        let listed = self.begun.as_ref().map_or(0, |begun| begun.pages);
        let worth = self.steps_back / STEPS_BACK_PER_PAGE;
        if worth < self.pages.saturating_sub(listed).max(1) {
            return None;
        }
        self.is_going_on = true;
        Some((worth, self.begun.take()))
    }

    /// `pages` more were listed: `Ok` with how many there are, or where it goes on. One that failed counts.
    pub(super) fn end(&mut self, pages: u32, came: Result<u32, Begun>) {
        self.is_going_on = false;
        self.steps_back = self.steps_back.saturating_sub(pages.max(1).saturating_mul(STEPS_BACK_PER_PAGE));
        match came {
            Ok(pages) => self.pages = pages,
            Err(begun) => self.begun = Some(begun),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn at(milliseconds: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.into())
    }

    /// Lists a directory of `pages` pages if that is worth it. Returns how many were listed, and whether that was all.
    fn list(survey: &mut Survey, pages: u32, now: SystemTime) -> (u32, bool) {
        let Some((most, begun)) = survey.begin(now, TTL) else { return (0, false) };
        let begun = begun.unwrap_or_else(|| Begun::new(Asked { at: now, knowledge: None }));
        let listed = most.min(pages - begun.pages);
        let begun = Begun { pages: begun.pages + listed, ..begun };
        let is_all = begun.pages == pages;
        survey.end(listed, if is_all { Ok(pages) } else { Err(begun) });
        (listed, is_all)
    }

    /// Looks names up a millisecond apart, in a directory of `pages` pages that is listed as soon as that is worth it. Returns
    /// how many pages were listed, and after how many lookups all of them were for the first time.
    fn survey(names: impl IntoIterator<Item = u32>, pages: u32) -> (u32, Option<u32>) {
        let mut survey = Survey::default();
        let (mut listed, mut whole) = (0, None);
        for (lookup, number) in (0..).zip(names) {
            survey.note_lookup(&FileName::new(&format!("{number:010}")).unwrap(), at(lookup), TTL);
            let (more, is_all) = list(&mut survey, pages, at(lookup));
            listed += more;
            whole = whole.or(is_all.then_some(lookup));
        }
        (listed, whole)
    }

    fn in_no_order(count: u32) -> impl Iterator<Item = u32> {
        (0..count).map(|index| index.wrapping_mul(2_654_435_761))
    }

    #[test]
    fn a_directory_whose_names_are_wanted_in_no_order_is_listed_before_long() {
        let (listed, whole) = survey(in_no_order(10_000), 10);
        assert!(whole.is_some_and(|lookups| lookups < 10 * 20), "{whole:?}");
        assert!(listed <= 10_000 / 12, "{listed}");
    }

    #[test]
    fn of_one_that_has_far_more_only_a_small_share_is_listed() {
        let (listed, whole) = survey(in_no_order(10_000), 1_000_000);
        assert_eq!(whole, None);
        assert!((10_000 / 100..=10_000 / 12).contains(&listed), "{listed}");
    }

    #[test]
    fn who_goes_in_order_needs_none() {
        assert_eq!(survey(0..10_000, 10), (0, None));
    }

    #[test]
    fn who_looks_up_the_same_few_again_and_again_needs_none() {
        let lookups = (0..10_000).map(|index| [7, 3, 5][index % 3]);
        assert_eq!(survey(lookups, 1_000_000).0, 0);
    }

    /// A survey after so many lookups, of which every second was a step back, `apart` from one another.
    fn looked_up(lookups: u32, apart: Duration) -> Survey {
        let mut survey = Survey::default();
        for lookup in 0..lookups {
            let name = FileName::new(&format!("{}{lookup}", if lookup % 2 == 0 { "b" } else { "a" })).unwrap();
            survey.note_lookup(&name, at(0) + apart * lookup, TTL);
        }
        survey
    }

    #[test]
    fn lookups_long_ago_are_worth_nothing() {
        assert_eq!(list(&mut looked_up(100, TTL), 9, at(0) + TTL * 100), (0, false));
        assert_eq!(list(&mut looked_up(100, TTL / 2), 9, at(0) + TTL * 50), (6, false));
    }

    #[test]
    fn what_was_listed_too_long_ago_is_listed_once_more_when_all_of_that_is_worth_it() {
        let mut survey = looked_up(100, Duration::ZERO);
        assert_eq!(list(&mut survey, 9, at(0)), (6, false));
        survey.steps_back = 6 * STEPS_BACK_PER_PAGE;
        assert_eq!(list(&mut survey, 9, at(0) + TTL), (0, false), "it has more than six");
        survey.steps_back = 7 * STEPS_BACK_PER_PAGE;
        assert_eq!(list(&mut survey, 9, at(0) + TTL), (7, false));
        survey.steps_back = 2 * STEPS_BACK_PER_PAGE;
        assert_eq!(list(&mut survey, 9, at(0) + TTL), (2, true));
    }

    #[test]
    fn one_at_a_time() {
        let mut survey = looked_up(100, Duration::ZERO);
        assert_eq!(survey.begin(at(0), TTL).map(|(worth, _)| worth), Some(6));
        assert!(survey.begin(at(0), TTL).is_none());
        survey.end(6, Ok(6));
        assert!(survey.begin(at(0), TTL).is_none(), "all that they were worth is used");
    }
}
