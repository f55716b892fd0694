//! `cosmount cache`: the copies that a cache on disk has, shown, removed or verified.

use std::io::{self, ErrorKind};
use std::path::Path;

use serde_json::json;

use super::arguments::{CacheAction, CacheSelection};
use super::failure::{Exit, Failure};
use super::terminal::tell;
use crate::cache::DiskCache;
use crate::config::ByteSize;

/// Does what is asked for. Copies that were damaged are forgotten by now, and said to have been.
pub(super) fn run(action: &CacheAction) -> Result<(), Failure> {
    match action {
        CacheAction::Status(CacheSelection { directory, json }) => {
            let contents = DiskCache::contents(directory).map_err(|error| failed(directory, &error))?;
            match json {
                true => tell(&json!({ "files": contents.files, "bytes": contents.bytes }).to_string()),
                false => tell(&format!("{}: {}", files(contents.files), ByteSize(contents.bytes))),
            }
        }
        CacheAction::Clear(CacheSelection { directory, json }) => {
            let (before, left) = DiskCache::clear(directory).map_err(|error| failed(directory, &error))?;
            let removed = (before.files.saturating_sub(left.files), before.bytes.saturating_sub(left.bytes));
            match json {
                true => tell(&json!({ "removed": removed.0, "bytes": removed.1, "left": left.files }).to_string()),
                false => tell(&format!("removed {}: {}", files(removed.0), ByteSize(removed.1))),
            }
            if left.files > 0 && !json {
                tell(&format!("left {} that a mount has open: {}", files(left.files), ByteSize(left.bytes)));
            }
        }
        CacheAction::Verify(CacheSelection { directory, json }) => {
            let found = DiskCache::verify(directory).map_err(|error| failed(directory, &error))?;
            match json {
                true => {
                    tell(&json!({ "files": found.files, "bytes": found.bytes, "damaged": found.damaged }).to_string());
                }
                false => tell(&format!("read {}: {}", files(found.files), ByteSize(found.bytes))),
            }
            if found.damaged > 0 {
                let pieces =
                    if found.damaged == 1 { "1 piece".to_owned() } else { format!("{} pieces", found.damaged) };
                let directory = directory.display();
                let told =
                    format!("damaged in the cache in {directory}, and forgotten: {pieces}; look after that disk");
                return Err(Failure::new(Exit::Failed, told));
            }
        }
    }
    Ok(())
}

fn files(count: u64) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}

fn failed(directory: &Path, error: &io::Error) -> Failure {
    let directory = directory.display();
    match error.kind() {
        ErrorKind::NotFound => {
            let told = format!("there is no cache in {directory}: name what `mount --cache` was given");
            Failure::new(Exit::Usage, told)
        }
        _ => Failure::new(Exit::Failed, format!("the cache in {directory} cannot be gone through: {error}")),
    }
}
