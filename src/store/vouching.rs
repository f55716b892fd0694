//! By what bodies are vouched for at a service that tells no checksum of its own accord: by its checksum of newer kinds where it
//! has that, and by `Content-MD5` otherwise (decision 0030).

use std::sync::atomic::{AtomicU8, Ordering};

use crate::wire::digest::DigestAlgorithm;

/// What is known of that, for all requests to one bucket.
#[derive(Debug)]
pub(super) struct Vouching {
    state: AtomicU8,
    algorithm: Option<DigestAlgorithm>,
}

const UNKNOWN: u8 = 0;
const HAS: u8 = 1;
const HAS_NOT: u8 = 2;

/// How the next body is vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voucher {
    /// By its MD5.
    Md5,
    /// By both, because it is not known yet whether the service has this digest.
    Both(DigestAlgorithm),
    /// By this digest.
    Digest(DigestAlgorithm),
}

impl Vouching {
    /// `algorithm` is what is wanted of the service, if anything is.
    pub(super) fn new(algorithm: Option<DigestAlgorithm>) -> Vouching {
        Vouching { state: AtomicU8::new(UNKNOWN), algorithm }
    }

    pub(super) fn voucher(&self) -> Voucher {
        match (self.algorithm, self.state.load(Ordering::Relaxed)) {
            (Some(algorithm), HAS) => Voucher::Digest(algorithm),
            (Some(algorithm), UNKNOWN) => Voucher::Both(algorithm),
            _ => Voucher::Md5,
        }
    }

    /// The digest that a request may name or ask for.
    pub(super) fn digest(&self) -> Option<DigestAlgorithm> {
        match self.voucher() {
            Voucher::Md5 => None,
            Voucher::Both(algorithm) | Voucher::Digest(algorithm) => Some(algorithm),
        }
    }

    /// An answer has told the digest that the body was sent with, or has not. Only the first one decides.
    pub(super) fn note(&self, tells: bool) {
        let Some(algorithm) = self.algorithm else { return };
        let next = if tells { HAS } else { HAS_NOT };
        if self.state.compare_exchange(UNKNOWN, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            match tells {
                true => log::info!("bodies are vouched for by {}, which the service tells", algorithm.name()),
                false => log::info!("bodies are vouched for by MD5: the service does not tell {}", algorithm.name()),
            }
        }
    }

    /// Whether the service tells the digest; `None` before anything was sent.
    pub(super) fn is_known(&self) -> Option<bool> {
        match self.state.load(Ordering::Relaxed) {
            UNKNOWN => None,
            state => Some(state == HAS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_decides() {
        let crc = DigestAlgorithm::Crc64Nvme;
        let vouching = Vouching::new(Some(crc));
        assert_eq!((vouching.voucher(), vouching.is_known()), (Voucher::Both(crc), None));
        vouching.note(true);
        vouching.note(false);
        assert_eq!((vouching.voucher(), vouching.is_known()), (Voucher::Digest(crc), Some(true)));
        let other = Vouching::new(Some(crc));
        other.note(false);
        assert_eq!((other.voucher(), other.digest()), (Voucher::Md5, None));
        let none = Vouching::new(None);
        none.note(true);
        assert_eq!((none.voucher(), none.is_known()), (Voucher::Md5, None));
    }
}
