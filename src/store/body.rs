//! The bytes of one request, ready to be sent, and sent again.

use bytes::Bytes;

/// Bytes in order, in as many pieces as they were gathered in. Cloning shares the pieces, so that a retry costs no copy.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pieces: Vec<Bytes>,
    len: u64,
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Body {
        Body::default()
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Bytes in all pieces.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes in one block; copies unless there is one piece or none.
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl FromIterator<Bytes> for Body {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Body {
        let pieces: Vec<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        Body { pieces, len }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::from_iter([bytes])
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::from(Bytes::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_its_pieces_in_order() {
        let body = Body::from_iter([Bytes::from("ab"), Bytes::new(), Bytes::from("c")]);
        assert_eq!((body.len(), body.pieces().len(), body.to_bytes()), (3, 2, Bytes::from("abc")));
        assert!(Body::empty().is_empty());
    }
}
