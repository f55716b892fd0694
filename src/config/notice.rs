//! What is worth telling of a configuration that can be used, and what it is about.

use std::fmt;

/// What a part of a configuration is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// The files and options themselves.
    Configuration,
    /// Keys.
    Credentials,
    /// Where the bucket is.
    Region,
    /// Whether what goes to the service can be read on its way.
    Encryption,
    /// What is mounted.
    Bucket,
    /// How much memory there is.
    Memory,
}

/// One thing that is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub aspect: Aspect,
    /// All of it in one sentence.
    pub sentence: String,
    /// The command that mends it, with which the sentence ends.
    pub fix: Option<String>,
}

impl Notice {
    /// A sentence.
    pub(super) fn new(aspect: Aspect, sentence: impl Into<String>) -> Notice {
        Notice { aspect, sentence: sentence.into(), fix: None }
    }

    /// A cause, and the command that removes it.
    pub(super) fn mended_by(aspect: Aspect, cause: &str, fix: &str) -> Notice {
        Notice { aspect, sentence: format!("{cause}; run: {fix}"), fix: Some(fix.to_owned()) }
    }

    /// The sentence without what to do.
    pub fn cause(&self) -> &str {
        without_fix(&self.sentence, self.fix.as_deref())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// What stands before the advice that a sentence ends with.
pub(super) fn without_fix<'a>(sentence: &'a str, fix: Option<&str>) -> &'a str {
    let before = fix.and_then(|fix| sentence.strip_suffix(fix)).unwrap_or(sentence);
    let before = before.strip_suffix("; run: ").unwrap_or(before);
    before.trim_end().trim_end_matches([':', ';'])
}
