//! Just enough XML for the protocol: small trees of elements and text, without attributes.
//!
//! Reading never panics and is bounded: no document type is taken (so no entity can expand), and depth and number of
//! elements have limits. The length of the text is the caller's to bound.

use std::fmt::{self, Write as _};

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// No body of the protocol is deeper than five.
const DEPTH_MAX: usize = 16;
/// The largest body, a listing of 1,000 objects, has about ten elements for each; a Complete of 10,000 parts has 30,001.
const ELEMENT_COUNT_MAX: usize = 100_000;

/// An element: its local name, the text directly in it, and the elements in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    children: Vec<Element>,
}

/// Why a text is not the XML that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not well-formed, or beyond the limits.
    #[error("not well-formed XML: {0}")]
    Malformed(String),
    /// An element that must be there is not.
    #[error("no element {0}")]
    Missing(&'static str),
    /// An element has a text that it cannot have.
    #[error("the element {name} cannot be {text:?}")]
    BadText {
        /// The element.
        name: &'static str,
        /// Its text.
        text: String,
    },
}

fn malformed(why: impl fmt::Display) -> XmlError {
    XmlError::Malformed(why.to_string())
}

/// Reads a document. Blanks before the declaration are passed over: Complete Multipart Upload sends them while it works
/// (`cos-api.md` 4.4).
pub(super) fn parse(xml: &[u8]) -> Result<Element, XmlError> {
    let text = std::str::from_utf8(xml).map_err(malformed)?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut count = 0;
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(tag) => open.push(begin(&tag, &mut count, open.len())?),
            Event::Empty(tag) => {
                let element = begin(&tag, &mut count, open.len())?;
                attach(element, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| malformed("an end tag too many"))?;
                attach(element, &mut open, &mut root)?;
            }
            Event::Text(text) => push_text(&text.xml10_content(), &mut open)?,
            Event::CData(text) => push_text(&text.xml10_content(), &mut open)?,
            Event::GeneralRef(reference) => push_text(resolve(&reference)?.as_str(), &mut open)?,
            Event::DocType(_) => return Err(malformed("a document type is not taken")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(malformed("an end tag is missing"));
    }
    root.ok_or_else(|| malformed("there is no element"))
}

fn begin(tag: &BytesStart<'_>, count: &mut usize, depth: usize) -> Result<Element, XmlError> {
    *count += 1;
    if *count > ELEMENT_COUNT_MAX || depth >= DEPTH_MAX {
        return Err(malformed("too many elements"));
    }
    let name = tag.local_name().into_inner().to_owned();
    Ok(Element { name, text: String::new(), children: Vec::new() })
}

fn attach(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err(malformed("there are two roots")),
    }
    Ok(())
}

fn push_text(text: &str, open: &mut [Element]) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(malformed("text outside of the root")),
    }
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(character) = reference.resolve_char_ref().map_err(malformed)? {
        return Ok(character.to_string());
    }
    let name = reference.xml10_content();
    let text = resolve_predefined_entity(&name).ok_or_else(|| malformed("an entity that is not predefined"))?;
    Ok(text.to_owned())
}

impl Element {
    /// All elements, in order.
    pub(super) fn all_children(&self) -> impl Iterator<Item = &Element> {
        self.children.iter()
    }

    /// The elements of that name, in order.
    pub(super) fn children(&self, name: &'static str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element of that name.
    pub(super) fn child(&self, name: &'static str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the element itself.
    pub(super) fn own_text(&self) -> &str {
        &self.text
    }

    /// The text of a child that must be there.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, XmlError> {
        self.optional(name).ok_or(XmlError::Missing(name))
    }

    /// The text of a child, if it is there.
    pub(super) fn optional(&self, name: &'static str) -> Option<&str> {
        self.child(name).map(Element::own_text)
    }

    /// The text of a child, or nothing.
    pub(super) fn text_or_empty(&self, name: &'static str) -> &str {
        self.optional(name).unwrap_or("")
    }

    /// A child that must be there, as a value.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, XmlError> {
        let text = self.text(name)?;
        text.trim().parse().map_err(|_| XmlError::BadText { name, text: text.to_owned() })
    }

    /// A child as a value, or `default` where it is missing or empty.
    pub(super) fn number_or<N: std::str::FromStr>(&self, name: &'static str, default: N) -> Result<N, XmlError> {
        if self.text_or_empty(name).trim().is_empty() { Ok(default) } else { self.number(name) }
    }

    /// Whether a child says `true`.
    pub(super) fn flag(&self, name: &'static str) -> bool {
        self.text_or_empty(name).trim().eq_ignore_ascii_case("true")
    }

    /// A child that must be there, as a date.
    pub(super) fn date(&self, name: &'static str) -> Result<std::time::SystemTime, XmlError> {
        let text = self.text(name)?;
        super::date::parse(text).ok_or_else(|| XmlError::BadText { name, text: text.to_owned() })
    }
}

/// Writes a document, element by element.
pub(super) struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// A document with its declaration. `bytes` is how long it will about be.
    pub(super) fn with_capacity(bytes: usize) -> XmlWriter {
        let mut out = String::with_capacity(bytes + 64);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        XmlWriter { out }
    }

    /// An element with what `content` writes.
    pub(super) fn element(&mut self, name: &str, content: impl FnOnce(&mut XmlWriter)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    /// An element with attributes, which are written as they are, and with what `content` writes.
    pub(super) fn element_with(&mut self, name: &str, attributes: &str, content: impl FnOnce(&mut XmlWriter)) {
        self.open(&format!("{name} {attributes}"));
        content(self);
        self.close(name);
    }

    /// An element with a text.
    pub(super) fn leaf(&mut self, name: &str, text: impl fmt::Display) {
        self.open(name);
        // Writing into a String cannot fail.
        let _ = write!(Escaping(&mut self.out), "{text}");
        self.close(name);
    }

    /// An element with a text, if there is one.
    pub(super) fn leaf_if(&mut self, name: &str, text: Option<impl fmt::Display>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// Escapes what is written through it. A carriage return has to be a reference, or readers turn it into a newline. Other
/// control characters are no XML in any form and go as they are, as the service sends them (`cos-api.md` 4.1).
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&apos;"),
                '\r' => self.0.push_str("&#13;"),
                '\n' => self.0.push_str("&#10;"),
                '\t' => self.0.push_str("&#9;"),
                plain => self.0.push(plain),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_whatever_they_hold() {
        for text in ["", " a ", "<&>\"'", "\r\n\t", "腾讯云😀", "a\u{1}b", "]]>", "&amp;"] {
            let mut xml = XmlWriter::with_capacity(0);
            xml.element("R", |xml| xml.leaf("T", text));
            assert_eq!(parse(xml.finish().as_bytes()).unwrap().text("T"), Ok(text));
        }
    }

    #[test]
    fn hostile_documents_are_errors() {
        let deep = "<a>".repeat(10_000);
        let closed = format!("{}{}", "<a>".repeat(17), "</a>".repeat(17));
        let many = format!("<a>{}</a>", "<b/>".repeat(ELEMENT_COUNT_MAX));
        let table: [&[u8]; 16] = [
            b"",
            b"   ",
            b"x",
            b"<a",
            b"<a>",
            b"</a>",
            b"<a></b>",
            b"<a/><b/>",
            b"<a/>x",
            b"<a>&lol;</a>",
            b"<!DOCTYPE a [<!ENTITY lol \"lol\">]><a>&lol;</a>",
            b"<a>\xff</a>",
            b"<a>&#xFFFFFFFF;</a>",
            deep.as_bytes(),
            closed.as_bytes(),
            many.as_bytes(),
        ];
        for xml in table {
            assert!(parse(xml).is_err(), "{:.60}", String::from_utf8_lossy(xml));
        }
    }

    #[test]
    fn blanks_and_comments_around_the_root_are_passed_over() {
        let root = parse(
            b" \n\r\n <?xml version='1.0' encoding='utf-8' ?>\n<!-- c --><p:a xmlns:p='x'><![CDATA[<]]></p:a> \n",
        );
        let root = root.unwrap();
        assert_eq!((root.name.as_str(), root.own_text()), ("a", "<"));
    }
}
