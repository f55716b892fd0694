//! The service's name for one version of an object's or part's bytes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// An ETag without its quotes. Opaque: of parts and multipart objects it is no digest that anybody can compute
/// (`cos-api.md` 4.5), so it is only ever compared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ETag(Text);

/// INVARIANT: what can be `Digits` is, so that equal texts are equal values.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    /// 32 hexadecimal digits in lower case, as nearly all have: a mount knows one for each name, and so they are short.
    Digits([u8; 16]),
    Other(Arc<str>),
}

impl ETag {
    /// Takes the text of an ETag, with or without its quotes.
    pub fn new(text: impl AsRef<str>) -> ETag {
        let text = text.as_ref().trim();
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        ETag(digits(bare).map_or_else(|| Text::Other(Arc::from(bare)), |number| Text::Digits(number.to_be_bytes())))
    }

    /// The text without quotes, as in `Complete` bodies.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Text::Digits(bytes) => Cow::Owned(format!("{:032x}", u128::from_be_bytes(*bytes))),
            Text::Other(text) => Cow::Borrowed(text),
        }
    }

    /// The text in quotes, as in headers.
    pub fn quoted(&self) -> String {
        format!("\"{self}\"")
    }
}

/// The number that 32 digits in lower case are.
fn digits(text: &str) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == 32 && text.bytes().all(is_digit);
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text(), f)
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

    #[test]
    fn a_text_comes_back_as_it_was() {
        for text in
            ["d41d8cd98f00b204e9800998ecf8427e", "0041d8cd98f00b204e9800998ecf8427", "D41D8CD98F00B204E9800998ECF8427E"]
        {
            assert_eq!(ETag::new(text).text(), text);
        }
        for text in ["", "abc-3", "d41d8cd98f00b204e9800998ecf8427e-2", "+41d8cd98f00b204e9800998ecf8427e"] {
            assert_eq!(ETag::new(text).text(), text);
        }
        assert_eq!(size_of::<ETag>(), 24);
    }
}
