//! Whatever may stand in files and after `-o`, for fuzzing: it is read, or refused without its secrets.

use std::path::Path;

use super::coscmd::CoscmdFile;
use super::file::ConfigFile;
use super::secret::PrivateFile;
use super::{ConfigError, ini, mount_options, passwd};
use crate::wire::issued::Issued;

/// Reads the text as each file with credentials that there is.
pub(crate) fn read_anything(text: &str) {
    let path = Path::new("/home/me/file");
    let file = PrivateFile::of(path, text);
    let secret = passwd::parse(&file, "photos-1").ok().and_then(|candidate| candidate.secret_key);
    let _ = (CoscmdFile::parse(path, text), ini::section(text, "default"));
    if let Err(error) = Issued::decode(text.as_bytes()) {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = ConfigFile::parse(&file) {
        refused(&error, secret.as_deref());
    }
    if let Err(error) = passwd::parse(&file, "photos-1") {
        refused(&error, secret.as_deref());
    }
}

/// Reads the text as options of a mount.
pub(crate) fn read_options(text: &str) {
    if let Err(error) = mount_options::parse(&[text.to_owned()]) {
        refused(&error, None);
    }
}

/// One line says what is wrong, and no secret that is long enough to be one.
fn refused(error: &ConfigError, secret: Option<&str>) {
    let told = error.to_string();
    assert!(!told.is_empty());
    assert!(secret.is_none_or(|secret| secret.len() < 16 || !told.contains(secret)), "{told}");
}
