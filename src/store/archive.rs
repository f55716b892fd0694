//! Objects in an archive, and their way back.

use std::time::SystemTime;

use super::session::{Request, Session};
use super::{StoreError, StoreErrorKind};
use crate::object::ObjectKey;
use crate::wire::answer::RESTORE;
use crate::wire::code::Code;
use crate::wire::date;
use crate::wire::operation::{HeadObject, Operation, RestoreObject, RestoreTier};
use crate::wire::request::Headers;

/// Whether an object can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restoration {
    /// It is in no archive.
    NotArchived,
    /// It is in an archive, and nobody has asked for it.
    Archived,
    /// It was asked for, and is on its way.
    OnItsWay,
    /// It can be read, until then if that is told.
    There(Option<SystemTime>),
}

/// Asks for an object, to be there for some days. Returns what has become of that.
pub(super) async fn restore(
    session: &Session,
    key: &ObjectKey,
    days: u32,
    tier: RestoreTier,
) -> Result<Restoration, StoreError> {
    let restore = RestoreObject { key: key.clone(), version: None, days, tier };
    match session.answer(&Request::new(&Operation::RestoreObject(restore))).await {
        Ok(answer) if answer.status == 200 => Ok(Restoration::There(None)),
        Ok(_) => Ok(Restoration::OnItsWay),
        Err(error) if error.code == Code::RestoreAlreadyInProgress.name() => Ok(Restoration::OnItsWay),
        Err(error) if error.code == Code::RestoreNonArchiveObject.name() => Ok(Restoration::NotArchived),
        Err(error) => Err(error),
    }
}

/// Where an object is.
pub(super) async fn restoration(session: &Session, key: &ObjectKey) -> Result<Restoration, StoreError> {
    let request = Request::new(&Operation::HeadObject(HeadObject::new(key.clone())));
    let answer = session.answer(&request).await?;
    let lines = answer.headers.lines();
    let headers = Headers(&lines);
    let told = headers.get(RESTORE).map(|told| read(told).ok_or(told));
    match told {
        Some(Ok(restoration)) => Ok(restoration),
        Some(Err(told)) => Err(request.error(StoreErrorKind::Protocol, format!("{RESTORE}: {told:?}"))),
        None if is_archive(headers.get("x-cos-storage-class").unwrap_or_default()) => Ok(Restoration::Archived),
        None => Ok(Restoration::NotArchived),
    }
}

/// Whether objects of a class have to be restored before they are read.
pub fn is_archive(storage_class: &str) -> bool {
    storage_class.to_ascii_uppercase().ends_with("ARCHIVE")
}

/// `ongoing-request="true"`, or `ongoing-request="false", expiry-date="DATE"`.
fn read(told: &str) -> Option<Restoration> {
    let (_, rest) = told.split_once("ongoing-request=\"")?;
    match rest.split_once('"')? {
        ("true", _) => Some(Restoration::OnItsWay),
        ("false", rest) => {
            let end = rest.split_once("expiry-date=\"").and_then(|(_, rest)| date::parse(rest.split_once('"')?.0));
            Some(Restoration::There(end))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_header_of_a_restoration_is_read() {
        let end = UNIX_EPOCH + Duration::from_secs(1_557_989_151);
        let table = [
            ("ongoing-request=\"true\"", Some(Restoration::OnItsWay)),
            (
                "ongoing-request=\"false\", expiry-date=\"Thu, 16 May 2019 06:45:51 GMT\"",
                Some(Restoration::There(Some(end))),
            ),
            ("ongoing-request=\"false\"", Some(Restoration::There(None))),
            ("ongoing-request=\"perhaps\"", None),
            ("", None),
        ];
        for (told, expected) in table {
            assert_eq!(read(told), expected, "{told}");
        }
    }
}
