//! The key of a service that keeps its own: made at the first start, found again at the next.
//!
//! The file is a line `SECRET_ID:SECRET_KEY`, the form of cosfs's passwd file (`cos-api.md` 7.5), so that every client
//! that reads those can be pointed at it. It is readable by its owner alone and refused otherwise. The secret is never
//! logged. Temporary keys are accepted beside it, each until its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use std::{collections::BTreeMap, fmt};

use crate::wire::sign::Credentials;

use super::ServerError;

/// The file of the key, in the service's directory.
const FILE: &str = "credentials";

/// Temporary keys that a service accepts beside its own. What is issued counts at once, for all who have a copy.
#[derive(Clone, Default)]
pub struct TemporaryKeys {
    /// By id. Std lock: a copy of one key, never held across an await. Level 8 in the order of locks.
    keys: Arc<RwLock<BTreeMap<String, TemporaryKey>>>,
}

/// One of them. It is kept when it is over, to be told from one that nobody knows.
#[derive(Clone)]
pub(super) struct TemporaryKey {
    pub credentials: Credentials,
    until: SystemTime,
}

impl TemporaryKeys {
    /// Accepts a key until then.
    pub fn issue(&self, credentials: Credentials, until: SystemTime) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(credentials.secret_id.clone(), TemporaryKey { credentials, until });
    }

    pub(super) fn get(&self, id: &str) -> Option<TemporaryKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl TemporaryKey {
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        now >= self.until
    }
}

/// The ids alone.
impl fmt::Debug for TemporaryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.read().unwrap_or_else(PoisonError::into_inner).keys()).finish()
    }
}

/// Where the service in `directory` keeps its key.
pub fn credentials_file(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// A key that opens nothing for anybody, for a service that was given none and keeps none.
pub(super) fn unknown_to_anybody() -> Result<Credentials, ServerError> {
    let failed = |source| ServerError::Credentials { path: PathBuf::from("/dev/urandom"), source };
    random().map_err(failed)
}

/// The key of the service in `directory`: the one kept there, or a new one that is kept from now on, in a file of mode
/// 0600. The directory is made if it is missing.
///
/// # Errors
/// [`ServerError::Credentials`] if the file cannot be read or written, or if others than its owner can read it.
pub fn load_or_create_credentials(directory: &Path) -> Result<Credentials, ServerError> {
    let path = credentials_file(directory);
    let failed = |source: io::Error| ServerError::Credentials { path: path.clone(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    match load(&path).map_err(failed)? {
        Some(credentials) => Ok(credentials),
        None => create(&path).map_err(failed),
    }
}

fn load(path: &Path) -> io::Result<Option<Credentials>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can read it: chmod 600 it"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    match text.trim_end().split_once(':') {
        Some((id, key)) if !id.is_empty() && !key.is_empty() => {
            Ok(Some(Credentials { secret_id: id.to_owned(), secret_key: key.to_owned(), token: None }))
        }
        // The text could be half a secret, so it is not shown.
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the line SECRET_ID:SECRET_KEY")),
    }
}

fn create(path: &Path) -> io::Result<Credentials> {
    let made = random()?;
    let text = format!("{}:{}\n", made.secret_id, made.secret_key);
    // Written beside and linked into place: a crash leaves no half file, and of two services that start at once the
    // second finds the key of the first.
    let beside: PathBuf = path.with_extension(format!("new-{}", random_text(8)?));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Ok(()) => Ok(made),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(path)?.ok_or(error),
        Err(error) => Err(error),
    }
}

/// A new key, in the form of the service's own.
fn random() -> io::Result<Credentials> {
    Ok(Credentials { secret_id: format!("AKID{}", random_text(32)?), secret_key: random_text(32)?, token: None })
}

/// Letters and digits that nobody can guess.
fn random_text(characters: usize) -> io::Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut source = File::open("/dev/urandom")?;
    let mut text = String::with_capacity(characters);
    let mut byte = [0u8];
    while text.len() < characters {
        source.read_exact(&mut byte)?;
        // Bytes from 248 on would make the first letters likelier than the others.
        if byte[0] < 248 {
            text.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("service");
        let first = load_or_create_credentials(&directory).unwrap();
        let mode = fs::metadata(directory.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = load_or_create_credentials(&directory).unwrap();
        assert_eq!((&first.secret_id, &first.secret_key), (&again.secret_id, &again.secret_key));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
        let other = load_or_create_credentials(&home.path().join("other")).unwrap();
        assert_ne!(first.secret_key, other.secret_key);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        load_or_create_credentials(home.path()).unwrap();
        fs::set_permissions(home.path().join(FILE), fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create_credentials(home.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_error_never_shows_the_secret() {
        let home = tempfile::tempdir().unwrap();
        load_or_create_credentials(home.path()).unwrap();
        fs::write(home.path().join(FILE), "12345").unwrap();
        let error = load_or_create_credentials(home.path()).unwrap_err();
        assert!(!error.to_string().contains("12345"), "{error}");
    }
}
