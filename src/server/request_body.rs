//! The body of a request on its way in: how long it may be, how long it may stall, and whether it is what it claims.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use crate::wire::code::Code;
use crate::wire::dialect::{ChunkError, Chunks, SignedBody, chunked_body, own_trailer};
use crate::wire::digest::DigestAlgorithm;
use crate::wire::operation::BodyChecks;
use crate::wire::request::Headers;

use super::digest::{BodyDigests, Wanted, hex};
use super::faults::BodyFault;
use super::refusal::Refusal;
use super::storage::{Received, Storage};
use cosmount_digests::md5_of;

const CONTENT_MD5: hyper::header::HeaderName = hyper::header::HeaderName::from_static("content-md5");

/// How long a client may be silent in the middle of a body.
const STALL_DEADLINE: Duration = Duration::from_secs(60);

/// The largest XML body. A Complete of 10,000 parts is about 1 MB.
const XML_BYTES_MAX: u64 = 4 << 20;

/// What is read of a body that nobody wants, so that the client gets to read its answer instead of a reset: more than
/// the parts that clients send by default.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// How long such a body is read.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The body of one request.
pub(super) struct RequestBody {
    source: Source,
    /// What is wrong with it on purpose.
    fault: Option<BodyFault>,
    /// `Content-Length`, if it was sent.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// `Expect: 100-continue`: the client holds the body back until it is asked for.
    pub expects: bool,
    /// The digests that the client vouches for.
    checks: BodyChecks,
    /// The SHA-256 that the signature covers.
    sha256: Option<[u8; 32]>,
    /// What takes the body apart, if it comes in chunks of S3's own.
    chunks: Option<Framing>,
    /// Bytes taken so far.
    pub received: u64,
}

/// Where the bytes come from.
enum Source {
    Connection(Incoming),
    /// What was received before, to be given once more.
    Kept(VecDeque<Bytes>),
}

/// A body in chunks of S3's own.
struct Framing {
    chunks: Chunks,
    /// What has been taken apart and not been given yet.
    ready: VecDeque<Bytes>,
    /// Which digest comes after it.
    trailer: Option<DigestAlgorithm>,
}

/// The digests that a client vouches for, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Promised {
    md5: Option<[u8; 16]>,
    sha1: Option<[u8; 20]>,
    sha256: Option<[u8; 32]>,
    digest: Option<(DigestAlgorithm, String)>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, headers: &hyper::HeaderMap) -> RequestBody {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let checks = BodyChecks {
            content_md5: text(CONTENT_MD5).filter(|digest| !digest.is_empty()).map(str::to_owned),
            ..BodyChecks::default()
        };
        RequestBody {
            source: Source::Connection(incoming),
            fault: None,
            checks,
            sha256: None,
            chunks: None,
            length: text(hyper::header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            chunked: text(hyper::header::TRANSFER_ENCODING)
                .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
            expects: headers.contains_key(hyper::header::EXPECT),
            received: 0,
        }
    }

    /// Takes the body as its signature says that it is. `own` are the headers in COS's words.
    pub(super) fn is_signed_as(&mut self, signed: SignedBody, headers: Headers<'_>, own: Headers<'_>) {
        self.checks.digest = BodyChecks::from_headers(own).digest;
        match signed {
            SignedBody::Unsigned => {}
            SignedBody::Sha256(sha256) => self.sha256 = Some(sha256),
            SignedBody::Chunked(key) => {
                let (length, trailers) = chunked_body(headers);
                // What is sent around the bytes of the object is no concern of who stores them.
                self.length = length;
                let names = trailers.iter().filter_map(|name| own_trailer(name));
                let mut algorithms = names
                    .filter_map(|name| DigestAlgorithm::ALL.into_iter().find(|algorithm| algorithm.header() == name));
                let trailer = algorithms.next();
                self.chunks = Some(Framing { chunks: Chunks::new(key), ready: VecDeque::new(), trailer });
            }
        }
    }

    /// The digest that comes with an XML body.
    pub(super) fn checks(&self) -> BodyChecks {
        self.checks.clone()
    }

    /// Damages the body on its way. False if there is nothing to damage.
    pub(super) fn meet(&mut self, fault: impl FnOnce(u64) -> BodyFault) -> bool {
        let Some(length) = self.length.filter(|length| *length > 0) else { return false };
        let fault = fault(length);
        self.length = Some(fault.length(length));
        self.fault = Some(fault);
        true
    }

    /// Receives all of it, to be given more than once.
    pub(super) async fn keep(&mut self) -> Result<Vec<Bytes>, Refusal> {
        let mut kept = Vec::new();
        while let Some(bytes) = self.next().await? {
            kept.push(bytes);
        }
        Ok(kept)
    }

    /// Gives what was kept.
    pub(super) fn give(&mut self, kept: &[Bytes]) {
        self.source = Source::Kept(kept.iter().cloned().collect());
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some(bytes) = self.next_of_chunks().await? else { return Ok(None) };
            let Some(fault) = &mut self.fault else { return Ok(Some(bytes)) };
            let bytes = fault.strike(bytes);
            // What was cut off is read all the same, so that the connection may go on.
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The next bytes without what is around chunks.
    async fn next_of_chunks(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.chunks.is_none() || matches!(self.source, Source::Kept(_)) {
            return self.receive_next().await;
        }
        loop {
            if let Some(bytes) = self.chunks.as_mut().and_then(|framing| framing.ready.pop_front()) {
                return Ok(Some(bytes));
            }
            let received = self.receive_next().await?;
            let Some(framing) = &mut self.chunks else { return Ok(received) };
            let Some(bytes) = received else {
                framing.chunks.end().map_err(refused_chunk)?;
                return Ok(None);
            };
            let mut ready = Vec::new();
            framing.chunks.take(bytes, &mut ready).map_err(refused_chunk)?;
            framing.ready.extend(ready);
        }
    }

    async fn receive_next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let incoming = match &mut self.source {
            Source::Connection(incoming) => incoming,
            Source::Kept(kept) => return Ok(kept.pop_front()),
        };
        loop {
            let frame = tokio::time::timeout(STALL_DEADLINE, incoming.frame());
            let Some(frame) = frame.await.map_err(|_| Refusal::from(Code::RequestTimeout))? else { return Ok(None) };
            // Whatever ended the body early, it is shorter than it was to be.
            let frame = frame.map_err(|_| Refusal::from(Code::IncompleteBody))?;
            if let Ok(bytes) = frame.into_data() {
                self.received += bytes.len() as u64;
                return Ok(Some(bytes));
            }
        }
    }

    /// Receives the bytes of an object or part, of at most `bytes_max`.
    ///
    /// On error nothing of it is left. Only the digests that were promised are compared; `usual` is the one that is taken of a body
    /// for which S3's own is not promised.
    pub(super) async fn receive(
        &mut self,
        storage: &Storage,
        checks: &BodyChecks,
        bytes_max: u64,
        usual: Option<DigestAlgorithm>,
    ) -> Result<Received, Refusal> {
        let mut promised = Promised { sha256: self.sha256, ..Promised::by(checks)? };
        let trailer = self.chunks.as_ref().and_then(|framing| framing.trailer);
        let of_header = promised.digest.as_ref().map(|(algorithm, _)| *algorithm);
        if self.length.is_some_and(|length| length > bytes_max) {
            return Err(Code::EntityTooLarge.into());
        }
        let mut writer = storage.receive(Wanted {
            sha1: promised.sha1.is_some(),
            sha256: promised.sha256.is_some(),
            digest: of_header.or(trailer).or(usual),
        })?;
        while let Some(bytes) = self.next().await? {
            if writer.bytes() + bytes.len() as u64 > bytes_max {
                return Err(Code::EntityTooLarge.into());
            }
            writer.write(bytes).await?;
        }
        if self.length.is_some_and(|length| length != writer.bytes()) {
            return Err(Code::IncompleteBody.into());
        }
        if let Some(algorithm) = trailer.filter(|_| of_header.is_none()) {
            promised.digest = Some((algorithm, self.trailer(algorithm)?));
        }
        let received = writer.finish().await?;
        promised.compare(&received.digests)?;
        Ok(received)
    }

    /// The digest that came after the body.
    fn trailer(&mut self, algorithm: DigestAlgorithm) -> Result<String, Refusal> {
        let Some(framing) = &mut self.chunks else { return Err(Code::InvalidRequest.into()) };
        let trailers = framing.chunks.end().map_err(refused_chunk)?;
        let found = trailers.iter().find(|(name, _)| own_trailer(name).as_deref() == Some(algorithm.header()));
        found.map(|(_, digest)| digest.clone()).ok_or_else(|| Code::InvalidRequest.into())
    }

    /// Receives an XML body, and compares it with the digests that were promised.
    pub(super) async fn xml(&mut self, checks: &BodyChecks) -> Result<Bytes, Refusal> {
        let promised = Promised::by(checks)?;
        let mut xml = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if xml.len() as u64 + bytes.len() as u64 > XML_BYTES_MAX {
                return Err(Code::XMLSizeLimit.into());
            }
            xml.extend_from_slice(&bytes);
        }
        let differs = |(algorithm, text): &(DigestAlgorithm, String)| {
            let mut digest = algorithm.hasher();
            digest.update(&xml);
            digest.finish() != *text
        };
        if promised.md5.is_some_and(|md5| md5 != md5_of(&xml)) || promised.digest.as_ref().is_some_and(differs) {
            return Err(Code::BadDigest.into());
        }
        if self.sha256.is_some_and(|sha256| sha256 != <[u8; 32]>::from(Sha256::digest(&xml))) {
            return Err(Code::XAmzContentSHA256Mismatch.into());
        }
        Ok(xml.freeze())
    }

    /// Reads on where a refused client would otherwise write into a closed connection.
    pub(super) async fn drain(&mut self) {
        if self.expects && self.received == 0 {
            return;
        }
        let drained = async {
            let mut bytes = 0;
            while let Ok(Some(next)) = self.next().await {
                bytes += next.len() as u64;
                if bytes > DRAIN_BYTES_MAX {
                    return;
                }
            }
        };
        // What is left after that is the client's own affair.
        drop(tokio::time::timeout(DRAIN_DEADLINE, drained).await);
    }
}

impl Promised {
    fn by(checks: &BodyChecks) -> Result<Promised, Refusal> {
        let md5 = checks.content_md5.as_deref().map(|text| {
            let bytes = BASE64.decode(text).map_err(|_| Code::InvalidDigest)?;
            <[u8; 16]>::try_from(bytes).map_err(|_| Code::InvalidDigest)
        });
        let sha1 = checks.content_sha1.as_deref().map(|text| sha1_of_hex(text).ok_or(Code::InvalidSHA1Digest));
        if let Some((algorithm, text)) = &checks.digest {
            let bytes = BASE64.decode(text).ok().filter(|bytes| bytes.len() == algorithm.digest_bytes());
            let message = format!("Value for x-amz-checksum-{} header is invalid.", algorithm.name().to_lowercase());
            bytes.ok_or_else(|| Refusal::new(Code::InvalidRequest, message))?;
        }
        let digest = checks.digest.clone();
        Ok(Promised { md5: md5.transpose()?, sha1: sha1.transpose()?, sha256: None, digest })
    }

    fn compare(&self, digests: &BodyDigests) -> Result<(), Refusal> {
        if self.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(Code::BadDigest.into());
        }
        if self.sha1.is_some() && self.sha1 != digests.sha1 {
            return Err(Code::InvalidSHA1Digest.into());
        }
        if self.sha256.is_some() && self.sha256 != digests.sha256 {
            return Err(Code::XAmzContentSHA256Mismatch.into());
        }
        if self.digest.is_some() && self.digest != digests.digest {
            return Err(Code::BadDigest.into());
        }
        Ok(())
    }
}

fn refused_chunk(error: ChunkError) -> Refusal {
    match error {
        ChunkError::Malformed => Refusal::new(Code::IncompleteBody, error.to_string()),
        ChunkError::Signature => Refusal::new(Code::SignatureDoesNotMatch, error.to_string()),
    }
}

fn sha1_of_hex(text: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    // `from_str_radix` also takes a sign.
    hex(&bytes).eq_ignore_ascii_case(text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised(md5: Option<&str>, sha1: Option<&str>) -> Result<Promised, Code> {
        let (content_md5, content_sha1) = (md5.map(str::to_owned), sha1.map(str::to_owned));
        let checks = BodyChecks { content_md5, content_sha1, digest: None };
        Promised::by(&checks).map_err(|refusal| refusal.code)
    }

    #[test]
    fn promises_are_read_or_refused() {
        assert_eq!(promised(Some("1B2M2Y8AsgTpgAmY7PhCfg=="), None).unwrap().md5, Some(md5_of(b"")));
        for bad in ["1B2M2Y8AsgTpgAmY7PhCfg", "d41d8cd98f00b204e9800998ecf8427e", "AAAA", "!"] {
            assert_eq!(promised(Some(bad), None), Err(Code::InvalidDigest), "{bad}");
        }
        let sha1 = "Da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert!(promised(None, Some(sha1)).unwrap().sha1.is_some());
        for bad in ["da39", &sha1.replace('D', "+"), &sha1.replace('D', "g"), &format!("{sha1}0")] {
            assert_eq!(promised(None, Some(bad)), Err(Code::InvalidSHA1Digest), "{bad}");
        }
    }
}
