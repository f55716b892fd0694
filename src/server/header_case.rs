//! The names of response headers, spelt as the service spells them.
//!
//! HTTP does not care, but the official Python SDK and coscmd do: they copy the headers into a plain dictionary and ask
//! it for `ETag` and `Content-Length`, and for `x-cos-hash-crc64ecma` in lower case. hyper writes lower case, or title
//! case for all, or the spelling that it has read, which it keeps in an extension that only it can make. So it is
//! given a request with all the names to read, once, and every answer gets what it kept of them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::http::Extensions;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::answer_body::AnswerBody;

/// A request whose header names are those of our answers. `Content-Length` says the truth.
const SPECIMEN: &[u8] = b"GET / HTTP/1.1\r\n\
    Accept-Ranges: -\r\n\
    Cache-Control: -\r\n\
    Content-Disposition: -\r\n\
    Content-Encoding: -\r\n\
    Content-Language: -\r\n\
    Content-Length: 0\r\n\
    Content-Range: -\r\n\
    Content-Type: -\r\n\
    Date: -\r\n\
    ETag: -\r\n\
    Expires: -\r\n\
    Last-Modified: -\r\n\
    Server: -\r\n\r\n";

/// What to put into the extensions of every answer.
pub(super) async fn spellings() -> Extensions {
    // Std mutex: one move. Level 8 in the order of locks.
    let kept = Arc::new(Mutex::new(Extensions::new()));
    let keep = service_fn(|request: Request<Incoming>| {
        let (parts, _) = request.into_parts();
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = parts.extensions;
        async { Ok::<_, Infallible>(Response::new(AnswerBody::empty())) }
    });
    // Room for the whole request, and for the answer that nobody reads.
    let (mut client, server) = tokio::io::duplex(4096);
    let connection = http1::Builder::new().preserve_header_case(true).serve_connection(TokioIo::new(server), keep);
    let send = async {
        let sent = client.write_all(SPECIMEN).await;
        sent.and(client.shutdown().await)
    };
    // How the exchange ends, with an answer that nobody reads, is of no interest once the request was read.
    let _ = tokio::join!(connection, send);
    let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    if kept.is_empty() {
        log::warn!("answers will have header names in lower case, which some clients do not find");
    }
    kept
}
