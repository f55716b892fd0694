//! Extended attributes. An object carries them all in one metadatum, `x-cos-meta-xattr`, as cosfs and s3fs write it: a
//! JSON object of names and values in base64, percent-encoded.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use super::Attributes;
use super::status_xattrs::STATUS_PREFIX;
use crate::fs::context::FsError;
use crate::fs::names::Ino;
use crate::object::ObjectAttributes;

const METADATUM: &str = "xattr";

/// Names that programs choose. The others mean something to the kernel, which this file system does not know.
const USER_PREFIX: &str = "user.";

/// Whether an extended attribute may or must be there when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Either.
    Any,
    /// It must not be there.
    Create,
    /// It must be there.
    Replace,
}

type Xattrs = BTreeMap<String, Vec<u8>>;

/// Reads them. What cannot be read is left out, as if nobody had set it.
fn decoded(attributes: &ObjectAttributes) -> Xattrs {
    let Some(text) = attributes.user.get(METADATUM) else { return Xattrs::new() };
    let json = percent_decode_str(text).decode_utf8_lossy();
    let Ok(Value::Object(values)) = serde_json::from_str(&json) else { return Xattrs::new() };
    let one = |(name, value): (String, Value)| Some((name, STANDARD.decode(value.as_str()?).ok()?));
    values.into_iter().filter_map(one).collect()
}

fn encoded(mut attributes: ObjectAttributes, xattrs: Xattrs) -> ObjectAttributes {
    if xattrs.is_empty() {
        attributes.user.remove(METADATUM);
        return attributes;
    }
    let values: Map<String, Value> =
        xattrs.into_iter().map(|(name, value)| (name, Value::String(STANDARD.encode(value)))).collect();
    let json = Value::Object(values).to_string();
    attributes.user.insert(METADATUM.to_owned(), utf8_percent_encode(&json, NON_ALPHANUMERIC).to_string());
    attributes
}

/// An error unless this is a name that programs choose, and something behind its prefix.
fn expect_user_name(name: &str) -> Result<(), FsError> {
    match name.strip_prefix(USER_PREFIX) {
        None => Err(FsError::NotSupported),
        Some("") => Err(FsError::Invalid),
        Some(_) => Ok(()),
    }
}

impl Attributes {
    /// The value of an extended attribute.
    pub async fn getxattr(&self, ino: Ino, name: &str) -> Result<Vec<u8>, FsError> {
        // Others are asked for by every `ls -l`; no request is made for the answer.
        expect_user_name(name)?;
        if let Some(name) = name.strip_prefix(STATUS_PREFIX) {
            return self.status_xattr(ino, name).await.map(String::into_bytes);
        }
        decoded(&self.attributes_of(ino).await?).remove(name).ok_or(FsError::NoSuchAttribute)
    }

    /// The names of all extended attributes.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<String>, FsError> {
        Ok(decoded(&self.attributes_of(ino).await?).into_keys().filter(|name| name.starts_with(USER_PREFIX)).collect())
    }

    /// Sets an extended attribute.
    pub async fn setxattr(&self, ino: Ino, name: &str, value: &[u8], mode: XattrMode) -> Result<(), FsError> {
        self.change_xattrs(ino, name, |xattrs| {
            match (mode, xattrs.contains_key(name)) {
                (XattrMode::Create, true) => return Err(FsError::Exists),
                (XattrMode::Replace, false) => return Err(FsError::NoSuchAttribute),
                _ => {}
            }
            xattrs.insert(name.to_owned(), value.to_vec());
            Ok(())
        })
        .await
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, ino: Ino, name: &str) -> Result<(), FsError> {
        self.change_xattrs(ino, name, |xattrs| xattrs.remove(name).map(drop).ok_or(FsError::NoSuchAttribute)).await
    }

    async fn change_xattrs(
        &self,
        ino: Ino,
        name: &str,
        change: impl Fn(&mut Xattrs) -> Result<(), FsError> + Sync,
    ) -> Result<(), FsError> {
        self.context.refuse_if_read_only()?;
        expect_user_name(name)?;
        if name.starts_with(STATUS_PREFIX) {
            return Err(FsError::NotPermitted);
        }
        let _working = self.traffic.arrive(ino).await;
        self.change_attributes(ino, |_, attributes| {
            let mut xattrs = decoded(attributes);
            change(&mut xattrs)?;
            Ok(encoded(attributes.clone(), xattrs))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_cosfs_writes_them() {
        let xattrs = Xattrs::from([("user.a".to_owned(), b"1".to_vec()), ("user.b".to_owned(), vec![0, 255])]);
        let attributes = encoded(ObjectAttributes::default(), xattrs.clone());
        let expected = "%7B%22user%2Ea%22%3A%22MQ%3D%3D%22%2C%22user%2Eb%22%3A%22AP8%3D%22%7D";
        assert_eq!(attributes.user.get("xattr").map(String::as_str), Some(expected));
        assert_eq!(decoded(&attributes), xattrs);
        assert!(encoded(attributes, Xattrs::new()).user.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        for text in ["", "x", "%7B", "[]", "{\"user.a\":1}", "{\"user.a\":\"*\"}"] {
            let mut attributes = ObjectAttributes::default();
            attributes.user.insert("xattr".into(), text.into());
            assert_eq!(decoded(&attributes), Xattrs::new(), "{text}");
        }
    }
}
