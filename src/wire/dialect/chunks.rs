//! The body of a request that comes in chunks of S3's own (`aws-chunked`): each with its length and perhaps its signature, and after
//! the last of them headers that could not be known before.

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::v4::ChunkKey;

/// The longest line between chunks, in bytes: a length, and a signature of 64 digits with its name.
const LINE_BYTES_MAX: usize = 1024;

/// Takes a body apart as it comes.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    /// What has come of a line.
    line: BytesMut,
    key: Option<ChunkKey>,
    /// Of the chunk that is coming.
    digest: Option<Sha256>,
    signature: String,
    trailers: Vec<(String, String)>,
    /// The trailers as they are signed.
    signed: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The line with the length of a chunk.
    Length,
    /// So many bytes of it are left.
    Data(u64),
    /// The end of its line.
    EndOfData,
    /// The lines after the last chunk.
    Trailer,
    Over,
}

/// Why a body cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It is not in chunks, or ends in the middle of one.
    #[error("the body is not in chunks as aws-chunked has them")]
    Malformed,
    /// A chunk is not signed, or not by its sender.
    #[error("the signature of a chunk differs")]
    Signature,
}

impl Chunks {
    /// Takes apart a body whose chunks are signed with `key`, if there is one.
    pub fn new(key: Option<ChunkKey>) -> Chunks {
        Chunks {
            state: State::Length,
            line: BytesMut::new(),
            digest: key.is_some().then(Sha256::new),
            key,
            signature: String::new(),
            trailers: Vec::new(),
            signed: String::new(),
        }
    }

    /// Takes what has come, and appends the bytes that the chunks hold to `out`.
    ///
    /// # Errors
    /// What has come is not the body that was announced.
    pub fn take(&mut self, mut bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), ChunkError> {
        while !bytes.is_empty() {
            match self.state {
                State::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let data = bytes.split_to(count);
                    if let Some(digest) = &mut self.digest {
                        digest.update(&data);
                    }
                    out.push(data);
                    let left = left - count as u64;
                    self.state = if left == 0 { State::EndOfData } else { State::Data(left) };
                }
                State::Over => return Err(ChunkError::Malformed),
                State::Length | State::EndOfData | State::Trailer => self.take_of_line(&mut bytes)?,
            }
        }
        Ok(())
    }

    /// The headers that came after the last chunk, with names in lower case.
    ///
    /// # Errors
    /// The body has ended too early.
    pub fn end(&mut self) -> Result<&[(String, String)], ChunkError> {
        // Some clients leave out the empty line at the end.
        if self.state == State::Trailer && self.line.is_empty() {
            self.finish_trailer("")?;
        }
        if self.state == State::Over { Ok(&self.trailers) } else { Err(ChunkError::Malformed) }
    }

    fn take_of_line(&mut self, bytes: &mut Bytes) -> Result<(), ChunkError> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let count = end.map_or(bytes.len(), |end| end + 1);
        self.line.extend_from_slice(&bytes[..count]);
        bytes.advance(count);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(ChunkError::Malformed);
        }
        if end.is_none() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| ChunkError::Malformed)?.trim_end_matches(['\r', '\n']);
        match self.state {
            State::Length => self.begin_chunk(line),
            State::EndOfData if line.is_empty() => {
                self.finish_chunk()?;
                self.state = State::Length;
                Ok(())
            }
            State::Trailer => self.take_trailer(line),
            _ => Err(ChunkError::Malformed),
        }
    }

    fn begin_chunk(&mut self, line: &str) -> Result<(), ChunkError> {
        let (length, extension) = line.split_once(';').unwrap_or((line, ""));
        let is_hex = !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_hexdigit());
        let length = u64::from_str_radix(length, 16).ok().filter(|_| is_hex).ok_or(ChunkError::Malformed)?;
        self.signature = extension.strip_prefix("chunk-signature=").unwrap_or("").to_owned();
        if length > 0 {
            self.state = State::Data(length);
            return Ok(());
        }
        self.finish_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn finish_chunk(&mut self) -> Result<(), ChunkError> {
        let (Some(key), Some(digest)) = (&mut self.key, &mut self.digest) else { return Ok(()) };
        let digest = std::mem::take(digest);
        if key.is_of_chunk(digest, &self.signature) { Ok(()) } else { Err(ChunkError::Signature) }
    }

    fn take_trailer(&mut self, line: &str) -> Result<(), ChunkError> {
        if line.is_empty() {
            return self.finish_trailer("");
        }
        let (name, value) = line.split_once(':').ok_or(ChunkError::Malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            return self.finish_trailer(value);
        }
        self.signed.push_str(&format!("{name}:{value}\n"));
        self.trailers.push((name, value.to_owned()));
        if self.signed.len() > LINE_BYTES_MAX { Err(ChunkError::Malformed) } else { Ok(()) }
    }

    /// What comes after a signature is empty lines, which are left to whoever reads on.
    fn finish_trailer(&mut self, signature: &str) -> Result<(), ChunkError> {
        let signed = std::mem::take(&mut self.signed);
        if let Some(key) = self.key.as_mut().filter(|_| !signed.is_empty())
            && !key.is_of_trailer(&signed, signature)
        {
            return Err(ChunkError::Signature);
        }
        // The signature stands before the empty line.
        self.state = if signature.is_empty() { State::Over } else { State::Trailer };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Taken = (Vec<u8>, Vec<(String, String)>);

    fn taken(body: &[u8], at_once: usize) -> Result<Taken, ChunkError> {
        let (mut chunks, mut out) = (Chunks::new(None), Vec::new());
        for piece in body.chunks(at_once) {
            chunks.take(Bytes::copy_from_slice(piece), &mut out)?;
        }
        let trailers = chunks.end()?.to_vec();
        Ok((out.concat(), trailers))
    }

    #[test]
    fn chunks_are_taken_apart_however_they_come() {
        let body = b"4\r\nabcd\r\nA\r\n0123456789\r\n0\r\nX-Amz-Checksum-Crc32: y/Q5Jg==\r\n\r\n";
        for at_once in 1..body.len() {
            let (bytes, trailers) = taken(body, at_once).unwrap();
            assert_eq!(bytes, b"abcd0123456789", "{at_once}");
            assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "y/Q5Jg==".to_owned())]);
        }
        assert_eq!(taken(b"0\r\n\r\n", 8), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn what_is_not_in_chunks_is_refused() {
        let long = [b'1'; LINE_BYTES_MAX + 1];
        let table: [&[u8]; 8] = [
            b"",
            b"4\r\nabc",
            b"4\r\nabcd",
            b"x\r\n",
            b"-1\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"0\r\n\r\n0\r\n\r\n",
            &long,
        ];
        for body in table {
            assert_eq!(taken(body, 64), Err(ChunkError::Malformed), "{body:?}");
        }
    }

    #[test]
    fn a_chunk_that_is_to_be_signed_and_is_not_is_refused() {
        let credentials = crate::wire::sign::Credentials {
            secret_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        // The example "chunked upload" of the documentation: 66,560 letters, in chunks of 64 KiB.
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
            SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,\
            Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let headers = [
            ("content-encoding", "aws-chunked"),
            ("content-length", "66824"),
            ("host", "s3.amazonaws.com"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("authorization", authorization),
        ];
        let request = crate::wire::sign::Signable {
            method: "PUT",
            path: "/examplebucket/chunkObject.txt",
            query: &[],
            headers: &headers,
        };
        let body = super::super::v4::verify(&request, |_| Some(credentials), 1_369_353_600).unwrap();
        let super::super::SignedBody::Chunked(Some(key)) = body else { panic!("{body:?}") };
        let sent = |last: &str| {
            let chunk = |length: usize, signature: &str| {
                format!("{length:x};chunk-signature={signature}\r\n{}\r\n", "a".repeat(length))
            };
            let first = chunk(65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
            let second = chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
            format!("{first}{second}{}", chunk(0, last))
        };
        let take = |body: String| {
            let (mut chunks, mut out) = (Chunks::new(Some(key.clone())), Vec::new());
            chunks.take(body.into(), &mut out)?;
            chunks.end()?;
            Ok(out.concat().len())
        };
        let right = "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9";
        assert_eq!(take(sent(right)), Ok(66_560));
        assert_eq!(take(sent(&right.replace('b', "c"))), Err(ChunkError::Signature));
        assert_eq!(take(sent(right).replace("aaa\r\n", "aab\r\n")), Err(ChunkError::Signature));
        assert_eq!(take("0\r\n\r\n".to_owned()), Err(ChunkError::Signature));
    }
}
