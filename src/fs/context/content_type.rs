//! Content types by the extensions of names.

/// The content type of what nobody knows anything of.
pub(crate) const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The content type of a file of this name.
pub(crate) fn type_of_name(name: &str) -> &'static str {
    mime_guess::from_path(name).first_raw().unwrap_or(UNKNOWN_TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_type() {
        for (name, expected) in [
            ("a.html", "text/html"),
            ("A.JPG", "image/jpeg"),
            ("a.tar.gz", "application/gzip"),
            ("Makefile", UNKNOWN_TYPE),
            (".a.html.Ab3dEf", UNKNOWN_TYPE),
        ] {
            assert_eq!(type_of_name(name), expected, "{name}");
        }
    }
}
