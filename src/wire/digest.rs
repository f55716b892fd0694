//! The MD5 by which the service refuses a body that was damaged on the way (`cos-api.md` 3.1), and that it insists on for
//! some XML bodies (3.5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

/// The value of `Content-MD5` for `body`: base64 of the 16 bytes.
pub fn content_md5(body: &[u8]) -> String {
    ContentMd5::new([body]).header()
}

/// The MD5 of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentMd5([u8; 16]);

impl ContentMd5 {
    /// The MD5 of the pieces one after the other.
    pub fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> ContentMd5 {
        let mut md5 = Md5::new();
        pieces.into_iter().for_each(|piece| md5.update(piece));
        ContentMd5(md5.finalize().into())
    }

    /// The value of `Content-MD5`: base64 of the 16 bytes.
    pub fn header(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Its digits, as in the ETag of what one PUT has stored.
    pub fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(content_md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(ContentMd5::new([]).hex(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn the_digest_does_not_depend_on_how_the_bytes_are_cut() {
        let pieces = [b"[Object ".as_slice(), b"", b"Content]"];
        assert_eq!(ContentMd5::new(pieces), ContentMd5::new([b"[Object Content]".as_slice()]));
    }
}
