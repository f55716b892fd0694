//! The passwd file of cosfs, in both its forms (`cos-api.md` 7.5); `cosmount serve` keeps its credentials in one too.
//!
//! Either one line for each bucket, `[BUCKET:]SECRET_ID:SECRET_KEY`, or lines `COSAccessKeyId=`, `COSSecretKey=` and
//! `COSAccessToken=`, with `COSAccessTokenExpire=` a date. Comments begin with `#`.

use std::path::Path;

use super::ConfigError;
use super::credentials::Candidate;
use super::secret::{PrivateFile, Readers, read_private};
use crate::wire::date;

/// Reads the credentials for `bucket`; `None` where there is no file. A file without a line for it gives an error.
pub(super) fn read(path: &Path, readers: Readers, bucket: &str) -> Result<Option<Candidate>, ConfigError> {
    let Some(file) = read_private(path)? else { return Ok(None) };
    file.allow_only(readers)?;
    parse(&file, bucket).map(Some)
}

pub(super) fn parse(file: &PrivateFile, bucket: &str) -> Result<Candidate, ConfigError> {
    let mut named = Candidate { origin: file.path.display().to_string(), ..Candidate::of_file() };
    let mut for_bucket = None;
    let mut default = None;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |what: &str| Err(ConfigError::file(&file.path, format!("line {}: {what}", index + 1)));
        if line.starts_with('[') || line.contains([' ', '\t']) {
            return refuse("a line neither begins with [ nor holds blanks");
        }
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| name.starts_with("COS")) {
            match name {
                "COSAccessKeyId" => named.secret_id = Some(value.to_owned()),
                "COSSecretKey" => named.secret_key = Some(value.to_owned()),
                "COSAccessTokenExpire" => named.expires = date::parse(value),
                "COSAccessToken" => named.token = Some(value.to_owned()),
                _ => {}
            }
            continue;
        }
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [id, key] if default.is_none() => default = Some((id.to_string(), key.to_string())),
            [_, _] => return refuse("a second line without a bucket"),
            [of, id, key] if *of == bucket => for_bucket = Some((id.to_string(), key.to_string())),
            [_, _, _] => {}
            _ => return refuse("a line is [BUCKET:]SECRET_ID:SECRET_KEY"),
        }
    }
    if let Some((id, key)) = for_bucket.or(default) {
        named.secret_id = Some(id);
        named.secret_key = Some(key);
    }
    if named.secret_id.is_none() && named.secret_key.is_none() {
        return Err(ConfigError::file(&file.path, format!("holds no credentials for {bucket}")));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_text(text: &str, mode: u32, readers: Readers) -> Result<Option<Candidate>, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path, readers, "photos-1")
    }

    fn pair(text: &str) -> Option<(String, String, Option<String>)> {
        let found = read_text(text, 0o600, Readers::OwnerOnly).unwrap().unwrap();
        Some((found.secret_id?, found.secret_key?, found.token))
    }

    #[test]
    fn both_forms_are_understood() {
        let table = [
            ("id:key\n", "id", "key", None),
            ("# mine\nother-1:x:y\nphotos-1:id:key\n", "id", "key", None),
            ("photos-1:id:key\ndid:dkey\n", "id", "key", None),
            ("other-1:x:y\ndid:dkey\n", "did", "dkey", None),
            ("COSAccessKeyId=id\nCOSSecretKey=k=y\nCOSAccessToken=t\nCOSAccessTokenExpire=x\n", "id", "k=y", Some("t")),
        ];
        for (text, id, key, token) in table {
            assert_eq!(pair(text), Some((id.into(), key.into(), token.map(str::to_owned))), "{text:?}");
        }
    }

    #[test]
    fn wrong_lines_are_refused_without_being_shown() {
        let table = [
            ("hunter2\n", "line 1: a line is"),
            ("a:b\nc:hunter2\n", "line 2: a second line without a bucket"),
            ("a: hunter2\n", "line 1: a line neither"),
            ("[common]\n", "line 1: a line neither"),
            ("other-1:x:hunter2\n", "holds no credentials for photos-1"),
        ];
        for (text, expected) in table {
            let error = read_text(text, 0o600, Readers::OwnerOnly).err().unwrap().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn permissions_are_cosfs_rules() {
        assert!(read_text("id:key\n", 0o640, Readers::OwnerOnly).is_err());
        assert!(read_text("id:key\n", 0o640, Readers::OwnerAndGroup).is_ok());
        assert!(read_text("id:key\n", 0o644, Readers::OwnerAndGroup).is_err());
        assert!(read_text("id:key\n", 0o700, Readers::OwnerOnly).is_err(), "execute bits are refused");
    }
}
