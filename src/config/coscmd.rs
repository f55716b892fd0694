//! `~/.cos.conf`, which coscmd writes: an INI file with one section (`cos-api.md` 7.3).

use std::path::Path;

use super::ConfigError;
use super::credentials::Candidate;
use super::ini;
use super::secret::read_private;

/// What coscmd's file says, as far as a mount can use it.
#[derive(Default)]
pub(super) struct CoscmdFile {
    origin: String,
    /// Whether it holds a secret that others can read. coscmd leaves it so, and it is used all the same.
    pub(super) is_exposed: bool,
    secret_id: Option<String>,
    secret_key: Option<String>,
    token: Option<String>,
    bucket: Option<String>,
    appid: Option<String>,
    /// The bucket's region.
    pub(super) region: Option<String>,
    endpoint: Option<String>,
    schema: Option<String>,
}

impl CoscmdFile {
    /// Reads the file; one that is not there says nothing.
    pub(super) fn read(path: &Path) -> Result<CoscmdFile, ConfigError> {
        let Some(file) = read_private(path)? else { return Ok(CoscmdFile::default()) };
        let parsed = CoscmdFile::parse(path, &file.text);
        let is_exposed = parsed.secret_key.is_some() && file.is_exposed();
        Ok(CoscmdFile { is_exposed, ..parsed })
    }

    pub(super) fn parse(path: &Path, text: &str) -> CoscmdFile {
        let mut values = ini::section(text, "common");
        let mut value = |name: &str| values.remove(name);
        // The name that old versions gave it.
        let old_id = value("access_id");
        CoscmdFile {
            origin: path.display().to_string(),
            is_exposed: false,
            secret_id: value("secret_id").or(old_id),
            secret_key: value("secret_key"),
            token: value("token"),
            bucket: value("bucket"),
            appid: value("appid"),
            region: value("region"),
            endpoint: value("endpoint"),
            schema: value("schema"),
        }
    }

    /// The full name of the bucket; old files have the APPID apart.
    pub(super) fn bucket(&self) -> Option<String> {
        let bucket = self.bucket.as_ref()?;
        match &self.appid {
            Some(appid) if !bucket.ends_with(&format!("-{appid}")) => Some(format!("{bucket}-{appid}")),
            _ => Some(bucket.clone()),
        }
    }

    /// The endpoint as a URL; the file has host and scheme apart.
    pub(super) fn endpoint(&self) -> Option<String> {
        let host = self.endpoint.as_ref()?;
        Some(format!("{}://{host}", self.schema.as_deref().unwrap_or("https")))
    }

    /// Its credentials.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            origin: self.origin.clone(),
            secret_id: self.secret_id.clone(),
            secret_key: self.secret_key.clone(),
            token: self.token.clone(),
            ..Candidate::of_file()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_coscmd_is_understood() {
        let text = "[common]\nsecret_id = AKIDx\nsecret_key = k=y\ntoken = None of it\nbucket = photos-125\n\
                    region = ap-beijing\nmax_thread = 5\nschema = https\nverify = md5\nanonymous = False\n";
        let file = CoscmdFile::parse(Path::new("/h/.cos.conf"), text);
        assert_eq!(file.secret_id.as_deref(), Some("AKIDx"));
        assert_eq!(file.secret_key.as_deref(), Some("k=y"));
        assert_eq!(file.bucket().as_deref(), Some("photos-125"));
        assert_eq!(file.region.as_deref(), Some("ap-beijing"));
        assert_eq!(file.endpoint(), None);
    }

    #[test]
    fn old_names_and_an_endpoint_are_understood() {
        let text = "# mine\n[common]\naccess_id=AKIDold\nappid = 125\nbucket = photos\n\
                    endpoint = cos.ap-beijing.myqcloud.com\nschema = http\n[other]\nbucket = wrong-1\n";
        let file = CoscmdFile::parse(Path::new("/h/.cos.conf"), text);
        assert_eq!(file.secret_id.as_deref(), Some("AKIDold"));
        assert_eq!(file.bucket().as_deref(), Some("photos-125"));
        assert_eq!(file.endpoint().as_deref(), Some("http://cos.ap-beijing.myqcloud.com"));
    }
}
