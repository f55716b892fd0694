//! What objects are made with, as people write it.
//!
//! Tags and headers are several things under one name: what the same source says again is added, a flag, a line of a text and an
//! element of a list in the configuration file alike.

use std::fmt;
use std::str::FromStr;

use super::error::nearest_of;
use crate::object::{Encryption, Limits, Tags};
use crate::store::{HeaderRule, ObjectHeader};
use crate::wire::answer::Tagging;
use crate::wire::attributes::{ACLS, STANDARD, STORAGE_CLASSES};

/// The class of new files; `None` is the service's usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassChoice(pub Option<String>);

impl FromStr for ClassChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<ClassChoice, String> {
        let class = text.trim().to_ascii_uppercase().replace('-', "_");
        if STORAGE_CLASSES.contains(&&*class) {
            return Ok(ClassChoice(Some(class).filter(|class| class != STANDARD)));
        }
        let known = STORAGE_CLASSES.map(str::to_ascii_lowercase);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Err(refused(text, "a storage class", &known))
    }
}

/// How everything that is written is encrypted; `None` leaves it to the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionChoice(pub Option<Encryption>);

impl FromStr for EncryptionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<EncryptionChoice, String> {
        let (kind, key) = text.trim().split_once(':').map_or((text.trim(), None), |(kind, key)| (kind, Some(key)));
        let is_key = |key: &str| {
            let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/:".contains(&byte);
            !key.is_empty() && key.bytes().all(is_of_key)
        };
        let of = |algorithm: &str, kms_key: Option<&str>| {
            let (algorithm, kms_key) = (algorithm.to_owned(), kms_key.map(str::to_owned));
            Ok(EncryptionChoice(Some(Encryption { algorithm, kms_key })))
        };
        match (kind.to_ascii_lowercase().as_str(), key) {
            ("off" | "none", None) => Ok(EncryptionChoice(None)),
            ("cos", None) => of(Encryption::OF_COS, None),
            ("kms", key) if key.is_none_or(is_key) => of(Encryption::OF_KMS, key),
            ("kms", Some(key)) => Err(format!("{key:?} is not the id of a key; write kms, or kms:ID")),
            _ => Err(format!("{text:?} is not cos, kms, kms:KEYID or off")),
        }
    }
}

impl fmt::Display for EncryptionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("off"),
            Some(Encryption { kms_key: Some(key), .. }) => write!(f, "kms:{key}"),
            Some(encryption) if encryption.tells_md5() => f.write_str("cos"),
            Some(_) => f.write_str("kms"),
        }
    }
}

/// The access list of files; `None` is the bucket's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclChoice(pub Option<String>);

impl FromStr for AclChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<AclChoice, String> {
        let acl = text.trim().to_ascii_lowercase().replace('_', "-");
        if ACLS.contains(&&*acl) {
            return Ok(AclChoice(Some(acl).filter(|acl| acl != "default")));
        }
        Err(refused(text, "an access list", &ACLS))
    }
}

/// The tags of new files, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagChoice(Vec<(String, String)>);

impl TagChoice {
    /// The most tags that an object has (`cos-api.md` 3.9).
    const COUNT_MAX: usize = 10;
    const NAME_BYTES_MAX: usize = 128;
    const VALUE_BYTES_MAX: usize = 256;

    /// As the service is told.
    pub(super) fn tags(&self) -> Tags {
        if self.0.is_empty() { Tags::None } else { Tags::Are(Tagging { tags: self.0.clone() }.header()) }
    }

    /// What is wrong with all of them together.
    pub(super) fn flaw(&self) -> Option<String> {
        let count = self.0.len();
        (count > TagChoice::COUNT_MAX)
            .then(|| format!("{count} tags are more than an object can have, {}", TagChoice::COUNT_MAX))
    }

    pub(super) fn joined(mut self, earlier: TagChoice) -> TagChoice {
        let is_said_again = |name: &str| self.0.iter().any(|(said, _)| said == name);
        let mut all: Vec<_> = earlier.0.into_iter().filter(|(name, _)| !is_said_again(name)).collect();
        all.append(&mut self.0);
        TagChoice(all)
    }
}

impl FromStr for TagChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<TagChoice, String> {
        let is_legal = |letter: char| letter.is_ascii_alphanumeric() || " +-_=.:/".contains(letter);
        let mut all = TagChoice::default();
        for tag in text.split(['&', '\n']).filter(|tag| !tag.trim().is_empty()) {
            let (name, value) = tag.split_once('=').ok_or_else(|| format!("{tag:?} is no tag; write NAME=VALUE"))?;
            if name.is_empty() {
                return Err(format!("{tag:?} has no name; write NAME=VALUE"));
            }
            if name.len() > TagChoice::NAME_BYTES_MAX || value.len() > TagChoice::VALUE_BYTES_MAX {
                let (name_max, value_max) = (TagChoice::NAME_BYTES_MAX, TagChoice::VALUE_BYTES_MAX);
                return Err(format!("{tag:?} is too long; a name has at most {name_max} bytes, a value {value_max}"));
            }
            if let Some(letter) = tag.chars().find(|letter| !is_legal(*letter)) {
                return Err(format!("{tag:?} has {letter:?}; a tag has letters, digits, blanks and + - _ = . : /"));
            }
            all = TagChoice(vec![(name.to_owned(), value.to_owned())]).joined(all);
        }
        Ok(all)
    }
}

impl fmt::Display for TagChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&tags.join("&"))
    }
}

/// Headers of files by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChoice(pub Vec<HeaderRule>);

impl HeaderChoice {
    pub(super) fn joined(mut self, mut earlier: HeaderChoice) -> HeaderChoice {
        earlier.0.append(&mut self.0);
        earlier
    }
}

impl fmt::Display for HeaderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.iter().map(|HeaderRule { pattern, header, value }| format!("{pattern}: {header}: {value}"));
        f.write_str(&rules.collect::<Vec<_>>().join("\n"))
    }
}

/// Metadata that carry what files have.
const OF_FILES: [&str; 8] = ["mode", "uid", "gid", "mtime", "atime", "ctime", "rdev", "xattr"];

impl FromStr for HeaderChoice {
    type Err = String;

    /// One rule a line: values have every other character that could separate them.
    fn from_str(text: &str) -> Result<HeaderChoice, String> {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(rule)
            .collect::<Result<_, _>>()
            .map(HeaderChoice)
    }
}

fn rule(line: &str) -> Result<HeaderRule, String> {
    const FORM: &str = "write 'GLOB: NAME: VALUE', as '*.html: Cache-Control: no-cache'";
    let mut parts = line.splitn(3, ':').map(str::trim);
    let (Some(pattern), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("{line:?} is no rule for a header; {FORM}"));
    };
    if pattern.is_empty() || pattern.contains('/') {
        return Err(format!("{line:?}: {pattern:?} is no pattern of names of files; {FORM}"));
    }
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(format!("{line:?} has no value that a header can have; {FORM}"));
    }
    let header = header(name)?;
    if value.len() > Limits::COS.metadatum_bytes_max {
        return Err(format!("{name}: the value is longer than {} bytes", Limits::COS.metadatum_bytes_max));
    }
    Ok(HeaderRule { pattern: pattern.to_owned(), header, value: value.to_owned() })
}

fn header(name: &str) -> Result<ObjectHeader, String> {
    const KNOWN: [&str; 7] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
        "x-cos-meta-*",
    ];
    let lower = name.to_ascii_lowercase();
    if let Some(suffix) = lower.strip_prefix("x-cos-meta-") {
        let is_legal = !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if OF_FILES.contains(&suffix) {
            return Err(format!("{name} carries what a file has; it cannot be chosen for all"));
        }
        let refused = || format!("{name}: letters, digits and hyphens alone may follow x-cos-meta-");
        return is_legal.then(|| ObjectHeader::Metadatum(suffix.to_owned())).ok_or_else(refused);
    }
    match lower.as_str() {
        "cache-control" => Ok(ObjectHeader::CacheControl),
        "content-disposition" => Ok(ObjectHeader::ContentDisposition),
        "content-encoding" => Ok(ObjectHeader::ContentEncoding),
        "content-language" => Ok(ObjectHeader::ContentLanguage),
        "content-type" => Ok(ObjectHeader::ContentType),
        "expires" => Ok(ObjectHeader::Expires),
        _ => Err(refused(name, "a header that objects keep", &KNOWN)),
    }
}

/// Why `text` is none of what is known, and what may have been meant.
fn refused(text: &str, what: &str, known: &[&str]) -> String {
    match nearest_of(&text.to_ascii_lowercase(), known) {
        Some(near) => format!("{text:?} is not {what}; did you mean {near}?"),
        None => format!("{text:?} is not {what}; there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_encryption_and_access_lists_have_names() {
        let class = |text: &str| text.parse::<ClassChoice>();
        assert_eq!(class("Standard_IA"), Ok(ClassChoice(Some("STANDARD_IA".into()))));
        assert_eq!(class("deep-archive"), Ok(ClassChoice(Some("DEEP_ARCHIVE".into()))));
        assert_eq!(class("standard"), Ok(ClassChoice(None)));
        assert_eq!(class("archve").unwrap_err(), "\"archve\" is not a storage class; did you mean archive?");
        assert!(class("glacier").unwrap_err().contains("; there are standard, "));
        let kms = |key: Option<&str>| {
            let kms_key = key.map(str::to_owned);
            Ok(EncryptionChoice(Some(Encryption { algorithm: "cos/kms".into(), kms_key })))
        };
        assert_eq!("kms".parse::<EncryptionChoice>(), kms(None));
        assert_eq!("kms:a1-b2".parse::<EncryptionChoice>(), kms(Some("a1-b2")));
        assert_eq!("off".parse::<EncryptionChoice>(), Ok(EncryptionChoice(None)));
        for text in ["kms:", "kms:a b", "cos:a", "aes"] {
            assert!(text.parse::<EncryptionChoice>().is_err(), "{text}");
        }
        assert_eq!("public_read".parse::<AclChoice>(), Ok(AclChoice(Some("public-read".into()))));
        assert_eq!("default".parse::<AclChoice>(), Ok(AclChoice(None)));
        assert!("public-reed".parse::<AclChoice>().unwrap_err().contains("did you mean public-read?"));
    }

    #[test]
    fn tags_add_up_and_are_bounded() {
        let tags = |text: &str| text.parse::<TagChoice>();
        let both = tags("b=2&a=x y").unwrap().joined(tags("a=1&c=").unwrap());
        assert_eq!(both.tags(), Tags::Are("c=&b=2&a=x%20y".into()));
        assert_eq!(tags("").unwrap().tags(), Tags::None);
        let long = format!("{}=v", "n".repeat(129));
        for text in ["a", "=v", "a=?", "ä=1", &long] {
            assert!(tags(text).is_err(), "{text}");
        }
        let eleven: Vec<String> = (0..11).map(|number| format!("t{number}=v")).collect();
        assert!(tags(&eleven.join("&")).unwrap().flaw().unwrap().contains("11 tags"));
        assert_eq!(tags(&eleven[1..].join("&")).unwrap().flaw(), None);
    }

    #[test]
    fn a_rule_is_a_pattern_a_header_and_a_value() {
        let rules = "*.html: Cache-Control: public, max-age=60\n\n *: X-Cos-Meta-Team: a:b ".parse::<HeaderChoice>();
        let expected = [
            ("*.html", ObjectHeader::CacheControl, "public, max-age=60"),
            ("*", ObjectHeader::Metadatum("team".into()), "a:b"),
        ];
        let told: Vec<_> = rules.unwrap().0.into_iter().map(|rule| (rule.pattern, rule.header, rule.value)).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(p, header, v)| (p.to_owned(), header, v.to_owned())).collect();
        assert_eq!(told, expected);
        for text in [
            "*",
            "*: Cache-Control",
            "*: Cache-Control:",
            "a/b: Expires: x",
            "*: x-cos-meta-mode: 1",
            "*: x-cos-meta-a_b: 1",
        ] {
            assert!(text.parse::<HeaderChoice>().is_err(), "{text}");
        }
        let near = "*: Cache-Controll: x".parse::<HeaderChoice>().unwrap_err();
        assert!(near.ends_with("did you mean cache-control?"), "{near}");
    }
}
