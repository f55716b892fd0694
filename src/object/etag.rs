//! The service's name for one version of an object's or part's bytes.

use std::fmt;
use std::sync::Arc;

/// An ETag without its quotes. Opaque: of parts and multipart objects it is no digest that anybody can compute
/// (`cos-api.md` 4.5), so it is only ever compared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ETag(Arc<str>);

impl ETag {
    /// Takes the text of an ETag, with or without its quotes.
    pub fn new(text: impl AsRef<str>) -> ETag {
        let text = text.as_ref().trim();
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        ETag(Arc::from(bare))
    }

    /// The text without quotes, as in `Complete` bodies.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text in quotes, as in headers.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_do_not_tell_etags_apart() {
        assert_eq!(ETag::new("\"abc-3\""), ETag::new("abc-3"));
        assert_eq!(ETag::new("abc-3").quoted(), "\"abc-3\"");
    }
}
