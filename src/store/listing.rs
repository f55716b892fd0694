//! Listings, and what can be told of a page without a checksum.
//!
//! A page that cannot be (its keys in disorder, outside of the prefix, or more than were asked for) may have been damaged on
//! the way and is asked for once more. One that leads nowhere is an error, and so is a listing without end: whoever asks for
//! page after page would ask for ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::session::{Request, Session};
use super::{ListPage, ListRequest, ListedObject, StoreError, StoreErrorKind};
use crate::object::key::UNREADABLE;
use crate::wire::answer::{ListBucketResult, PAGE_ENTRIES_MAX};
use crate::wire::operation::{ListObjects, Operation};

/// The most pages of one listing: ten million names, which nobody keeps in one directory.
pub(super) const PAGES_MAX: u32 = 10_000;

/// The most pages of one listing that are not full although more follow. The service fills every page but the last.
const SHORT_PAGES_MAX: u32 = 1000;

/// Listings that are followed at once. One that is forgotten is counted from the start again.
const FOLLOWED_MAX: usize = 256;

/// How far the listings have come that are asked for page by page.
#[derive(Debug, Default)]
pub(super) struct Listings {
    /// Those with a page to come, the newest last. Std mutex: one search at most. Level 8 in the order of locks.
    followed: Mutex<VecDeque<(ListRequest, Length)>>,
    /// Some page has shown that keys come in the order of their bytes, also behind a directory.
    is_in_byte_order: AtomicBool,
}

/// The pages of a listing so far.
#[derive(Clone, Copy, Debug, Default)]
struct Length {
    pages: u32,
    short: u32,
}

impl Listings {
    /// The length of the listing before the page that is asked for.
    fn before(&self, wanted: &ListRequest) -> Length {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.iter().rev().find(|(next, _)| next == wanted).map_or_else(Length::default, |(_, length)| *length)
    }

    /// Notes that a page was had and where the next one begins.
    fn follow(&self, next: ListRequest, length: Length) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|(known, _)| *known != next);
        if followed.len() == FOLLOWED_MAX {
            followed.pop_front();
        }
        followed.push_back((next, length));
    }
}

/// One page of keys.
pub(super) async fn page(session: &Session, listings: &Listings, wanted: ListRequest) -> Result<ListPage, StoreError> {
    let by_directories = session.dialect().may_keep_directories();
    let nowhere = "a page of a listing that leads nowhere";
    let (mut from, mut rounds) = (wanted.marker.clone(), 0);
    let (request, mut result, next_marker) = loop {
        let asked = ListRequest { marker: from, ..wanted.clone() };
        let (request, result) = names_behind(session, &wanted, &asked, by_directories).await?;
        let next = next_marker(&result);
        // A listing that does not get on would be asked for without end.
        if result.is_truncated && !leads_on(&result, next.as_deref(), &asked, by_directories) {
            return Err(request.error(StoreErrorKind::Protocol, nowhere));
        }
        let is_empty = names_of(&result).next().is_none();
        if !(by_directories && is_empty && next.is_some() && next < wanted.marker) {
            break (request, result, next);
        }
        // All of it was on the page before, and so may be what is next.
        rounds += 1;
        if rounds == SHORT_PAGES_MAX {
            return Err(request.error(StoreErrorKind::Protocol, nowhere));
        }
        from = next;
    };
    let names = names_of(&result).count();
    if result.is_truncated {
        let Length { mut pages, mut short } = listings.before(&wanted);
        pages += 1;
        short += u32::from(names < entries_max(&wanted));
        if pages >= PAGES_MAX || short >= SHORT_PAGES_MAX {
            let message = format!("a listing without end: {pages} pages, {short} of them not full");
            return Err(request.error(StoreErrorKind::Protocol, message));
        }
        let is_directory = |next: &&String| next.ends_with('/') && next.len() > wanted.prefix.len();
        if let Some(directory) =
            next_marker.as_ref().filter(|_| by_directories && wanted.delimited).filter(is_directory)
        {
            add_left_out(session, listings, &wanted, &mut result, directory).await?;
        }
        listings.follow(ListRequest { marker: next_marker.clone(), ..wanted }, Length { pages, short });
    }
    let objects = result.contents.into_iter().map(|object| ListedObject {
        key: object.key,
        size: object.size,
        etag: object.etag,
        last_modified: object.last_modified,
        storage_class: object.storage_class,
    });
    Ok(ListPage { objects: objects.collect(), prefixes: result.common_prefixes, next_marker })
}

/// A page that is `asked` for, without what comes before the marker that is `wanted`: that was on the page before (`add_left_out`).
async fn names_behind(
    session: &Session,
    wanted: &ListRequest,
    asked: &ListRequest,
    by_directories: bool,
) -> Result<(Request, ListBucketResult), StoreError> {
    let operation = Operation::ListObjects(ListObjects {
        prefix: asked.prefix.clone(),
        delimiter: if asked.delimited { "/".to_owned() } else { String::new() },
        marker: asked.marker.clone().unwrap_or_default(),
        max_keys: asked.max_keys.map(u32::from),
        url_encoded: true,
    });
    let request = Request::new(&operation).about(&asked.prefix);
    let ask = async || {
        let mut result = session.ask(&request, ListBucketResult::decode).await?;
        if let Some(marker) = wanted.marker.as_ref().filter(|_| by_directories && wanted.delimited) {
            result.contents.retain(|object| object.key > *marker);
            result.common_prefixes.retain(|prefix| prefix > marker);
        }
        Ok::<_, StoreError>(result)
    };
    let mut result = ask().await?;
    if !is_plausible(&result, asked) {
        log::debug!("{}: a page that cannot be; asked for again", request.key);
        // If it is the same again, it is what the service says.
        result = ask().await?;
    }
    Ok((request, result))
}

/// Adds to a page that ends with `directory` what comes before that in the order of bytes, `a.txt` before `a/`, and which a service
/// that lists by directories has left to the next page: whoever goes by the page's marker would take it for gone. Of a service that has
/// shown that it keeps to the order of bytes that is not asked.
async fn add_left_out(
    session: &Session,
    listings: &Listings,
    wanted: &ListRequest,
    page: &mut ListBucketResult,
    directory: &str,
) -> Result<(), StoreError> {
    if listings.is_in_byte_order.load(Ordering::Relaxed) {
        return Ok(());
    }
    let name = &directory[..directory.len() - 1];
    let mut marker = name.to_owned();
    for _ in 0..PAGES_MAX {
        let operation = Operation::ListObjects(ListObjects {
            prefix: name.to_owned(),
            delimiter: "/".to_owned(),
            marker: marker.clone(),
            max_keys: None,
            url_encoded: true,
        });
        let request = Request::new(&operation).about(name);
        let more = session.ask(&request, ListBucketResult::decode).await?;
        let next = next_marker(&more);
        let is_before = |key: &str| name < key && key < directory;
        // On a page before, or on this one.
        let is_known = |key: &str| {
            wanted.marker.as_deref().is_some_and(|marker| key <= marker) || names_of(page).any(|known| known == key)
        };
        if names_of(&more).any(|key| is_before(key) && is_known(key)) {
            listings.is_in_byte_order.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let is_over = names_of(&more).any(|key| key > directory);
        page.contents.extend(more.contents.into_iter().filter(|object| is_before(&object.key)));
        page.common_prefixes.extend(more.common_prefixes.into_iter().filter(|prefix| is_before(prefix)));
        match next {
            Some(next) if !is_over && next != marker => marker = next,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// All that a page tells of: keys, then prefixes.
fn names_of(page: &ListBucketResult) -> impl Iterator<Item = &str> {
    let keys = page.contents.iter().map(|object| object.key.as_str());
    keys.chain(page.common_prefixes.iter().map(String::as_str))
}

fn entries_max(wanted: &ListRequest) -> usize {
    wanted.max_keys.map_or(PAGE_ENTRIES_MAX as usize, usize::from)
}

/// Where the next page begins, if there is one.
fn next_marker(result: &ListBucketResult) -> Option<String> {
    if !result.is_truncated {
        return None;
    }
    // One that cannot be read cannot be sent back either.
    let keys = result.contents.iter().map(|object| &object.key).chain(&result.common_prefixes);
    let last_key = keys.filter(|key| !key.contains(UNREADABLE)).max();
    result.next_marker.clone().or_else(|| last_key.cloned())
}

/// Whether the next page can be had, and it is known what is on this one. Where directories may be kept as such, what is in them may come
/// before names that are less, so that only what stands still is certain to lead nowhere; but then it has to go on from a name of
/// the page.
fn leads_on(result: &ListBucketResult, next: Option<&str>, wanted: &ListRequest, by_directories: bool) -> bool {
    let Some(next) = next else { return false };
    if !by_directories {
        return Some(next) > wanted.marker.as_deref();
    }
    let mut names = names_of(result).peekable();
    let goes_on_from_name = names.peek().is_none() || names.any(|name| next.starts_with(name));
    goes_on_from_name && next.starts_with(&wanted.prefix) && Some(next) != wanted.marker.as_deref()
}

/// Judges whatever may come as a page, as [`page`] does. For fuzzing.
#[cfg(feature = "testing")]
pub(crate) fn judge_page(bytes: &[u8]) {
    let Ok(result) = ListBucketResult::decode(bytes) else { return };
    for (prefix, delimited) in [("", false), ("d/", true)] {
        let wanted = ListRequest { prefix: prefix.to_owned(), delimited, ..ListRequest::default() };
        let leads_on = next_marker(&result).is_some();
        assert!(!leads_on || result.is_truncated);
        let _ = is_plausible(&result, &wanted);
    }
}

/// Whether a page can be an answer to what was asked (`cos-api.md` 5.2).
fn is_plausible(result: &ListBucketResult, wanted: &ListRequest) -> bool {
    // Where one sorts that cannot be read nobody knows.
    let readable = |name: &&str| !name.contains(UNREADABLE);
    let keys = || result.contents.iter().map(|object| object.key.as_str()).filter(readable);
    let prefixes = || result.common_prefixes.iter().map(String::as_str).filter(readable);
    let marker = wanted.marker.as_deref().unwrap_or_default();
    let names = result.contents.len() + result.common_prefixes.len();
    let last = keys().next_back().max(prefixes().next_back());
    keys().chain(prefixes()).all(|name| name.starts_with(&wanted.prefix))
        && keys().is_sorted_by(|one, next| one < next)
        && prefixes().is_sorted_by(|one, next| one < next)
        && keys().next().is_none_or(|first| first > marker)
        && prefixes().all(|prefix| wanted.delimited && prefix.ends_with('/'))
        && names <= entries_max(wanted)
        && (!result.is_truncated || next_marker(result).as_deref() >= last)
        && (result.is_truncated || result.next_marker.is_none())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::object::ETag;
    use crate::wire::answer::Contents;

    fn result(keys: &[&str], prefixes: &[&str]) -> ListBucketResult {
        let listed = |key: &&str| Contents {
            key: (*key).to_owned(),
            size: 1,
            etag: ETag::new("e"),
            last_modified: SystemTime::UNIX_EPOCH,
            storage_class: "STANDARD".to_owned(),
            owner: String::new(),
        };
        ListBucketResult {
            contents: keys.iter().map(listed).collect(),
            common_prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
            ..ListBucketResult::default()
        }
    }

    #[test]
    fn a_page_leads_on_behind_its_marker_or_from_one_of_its_names() {
        let wanted = ListRequest { prefix: "d/".into(), delimited: true, marker: Some("d/a/".into()), max_keys: None };
        let page = result(&["d/a.txt"], &["d/b/"]);
        // What is next, in byte order, and by directories.
        let table = [
            (Some("d/b/"), true, true),
            (Some("d/a.txt"), false, true),
            (Some("d/b/[cached]"), true, true),
            (Some("d/a/"), false, false),
            (Some("d/c"), true, false),
            (Some("f81d4fae"), true, false),
            (None, false, false),
        ];
        for (next, in_order, by_directories) in table {
            assert_eq!(leads_on(&page, next, &wanted, false), in_order, "{next:?}");
            assert_eq!(leads_on(&page, next, &wanted, true), by_directories, "{next:?}");
        }
        assert!(leads_on(&result(&[], &[]), Some("d/c"), &wanted, true), "a page may be empty");
        assert!(!leads_on(&result(&[], &[]), Some("f81d4fae"), &wanted, true));
    }

    #[test]
    fn a_page_is_in_order_below_its_prefix_and_after_its_marker() {
        let wanted =
            ListRequest { prefix: "d/".into(), delimited: true, marker: Some("d/b".into()), max_keys: Some(3) };
        let table: [(&[&str], &[&str], bool); 9] = [
            (&[], &[], true),
            (&["d/c", "d/e"], &["d/d/"], true),
            (&["d/e", "d/c"], &[], false),
            (&["d/c", "d/c"], &[], false),
            (&["d/c", "e/d"], &[], false),
            (&["d/b"], &[], false),
            (&[], &["d/d"], false),
            (&[], &["d/e/", "d/d/"], false),
            (&["d/c", "d/e"], &["d/d/", "d/f/"], false),
        ];
        for (keys, prefixes, expected) in table {
            assert_eq!(is_plausible(&result(keys, prefixes), &wanted), expected, "{keys:?} {prefixes:?}");
        }
        let truncated = |marker: &str| ListBucketResult {
            is_truncated: true,
            next_marker: Some(marker.to_owned()),
            ..result(&["d/c", "d/e"], &[])
        };
        assert!(is_plausible(&truncated("d/e"), &wanted) && !is_plausible(&truncated("d/d"), &wanted));
    }
}
