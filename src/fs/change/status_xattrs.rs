//! Extended attributes that tell how a file fares: `user.cosmount.etag` and its like. They are made up when somebody asks for
//! one by name, cannot be set, and are in no list, so that who copies all attributes of a file does not carry them.

use super::Attributes;
use crate::fs::context::FsError;
use crate::fs::names::{Ino, Kind};
use crate::fs::open::{Writing, writing_of};
use crate::object::{ETag, Version};
use crate::stats::text_of_time;
use crate::upload::{PartMark, Progress, Stage};

/// What their names begin with.
pub(super) const STATUS_PREFIX: &str = "user.cosmount.";

impl Attributes {
    /// The value of one of them, by what follows the prefix in its name.
    pub(super) async fn status_xattr(&self, ino: Ino, name: &str) -> Result<String, FsError> {
        let writing = writing_of(&self.names.tree(), ino);
        let progress = writing.as_ref().map(|writing| writing.file.progress());
        if progress.is_none() && self.traffic.getattr(ino).await?.kind != Kind::File {
            return Err(FsError::NoSuchAttribute);
        }
        let value = match name {
            "state" => {
                let waits = writing.as_ref().is_some_and(|writing| writing.is_held());
                Some(progress.map_or("clean", |progress| state_of(&progress, waits)).to_owned())
            }
            "error" => self.last_error(ino),
            "parts" => match progress {
                Some(Progress { stage: Stage::Dirty | Stage::Publishing | Stage::Failed, upload, .. }) => {
                    Some(parts_of(&upload.map(|upload| upload.parts).unwrap_or_default()))
                }
                Some(Progress { stage: Stage::Clean, .. }) | None => {
                    self.version_of(ino, writing.as_deref()).await?.map(|version| parts_of_object(&version.etag))
                }
            },
            "etag" => self.version_of(ino, writing.as_deref()).await?.map(|version| version.etag.text().into_owned()),
            "crc64" => {
                let version = self.version_of(ino, writing.as_deref()).await?;
                version.and_then(|version| version.checksum).map(|checksum| checksum.to_string())
            }
            "cached" => self.cached(ino, writing.as_deref()).await?,
            _ => None,
        };
        value.ok_or(FsError::NoSuchAttribute)
    }

    /// The object as last published; `None` where the file has none yet.
    async fn version_of(&self, ino: Ino, writing: Option<&Writing>) -> Result<Option<Version>, FsError> {
        if let Some(writing) = writing {
            return Ok(writing.file.published().map(|published| published.object.version));
        }
        // The checksum comes with all of the metadata alone.
        Ok(Some(self.files.full_stat_of(ino).await?.1.version))
    }

    /// How many bytes of the object as last published are in the cache on disk, of how many.
    async fn cached(&self, ino: Ino, writing: Option<&Writing>) -> Result<Option<String>, FsError> {
        let stored = match writing {
            Some(writing) => writing.file.published().map(|published| published.object),
            None => Some(self.files.stat_of(ino).await?.1),
        };
        let Some(stored) = stored else { return Ok(None) };
        let size = stored.version.size;
        let cached = self.context.readers.cached_bytes(stored).await;
        Ok(cached.map(|bytes| format!("{bytes}/{size}")))
    }

    /// The last failure of a call about this path.
    fn last_error(&self, ino: Ino) -> Option<String> {
        let path = format!("/{}", self.names.path(ino)?);
        let failure = self.context.stats.failures.last_of(&path)?;
        let at = text_of_time(failure.at);
        Some(format!("{at} {}: {}: {}", failure.call, failure.errno, failure.message))
    }
}

fn state_of(progress: &Progress, waits: bool) -> &'static str {
    match progress.stage {
        Stage::Publishing => "publishing",
        Stage::Dirty if waits => "waiting",
        // What has failed is not in the bucket, and `error` tells why.
        Stage::Dirty | Stage::Failed => "dirty",
        Stage::Clean => "clean",
    }
}

/// How many have landed, of how many that are full.
fn parts_of(parts: &[PartMark]) -> String {
    let landed = parts.iter().filter(|part| matches!(part, PartMark::Landed | PartMark::Copied)).count();
    format!("{landed}/{}", parts.len())
}

/// The same of an object, whose ETag tells how many parts it was made of (`cos-api.md` 4.4); one that was put whole has none.
fn parts_of_object(etag: &ETag) -> String {
    let etag = etag.text();
    let count = etag.rsplit_once('-').and_then(|(_, count)| count.parse::<u32>().ok()).unwrap_or(0);
    format!("{count}/{count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_by_marks_or_by_the_etag() {
        let parts = [PartMark::Landed, PartMark::Copied, PartMark::Sending, PartMark::Waiting];
        assert_eq!((parts_of(&parts), parts_of(&[])), ("2/4".to_owned(), "0/0".to_owned()));
        assert_eq!(parts_of_object(&ETag::new("\"0123456789abcdef0123456789abcdef-17\"")), "17/17");
        assert_eq!(parts_of_object(&ETag::new("\"0123456789abcdef0123456789abcdef\"")), "0/0");
    }
}
