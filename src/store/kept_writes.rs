//! A store that keeps what is put whole, so that reading it again costs no request.
//!
//! What goes in parts is not kept: where a part begins is known when all of them are there.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::layered::LayeredStore;
use super::{Body, ObjectStore, Overwrite, Published, StoreError};
use crate::cache::{DiskCache, Filling, Identity};
use crate::object::{Crc64, ObjectAttributes, ObjectKey};

/// A store that keeps what is put whole in a cache on disk.
pub struct KeptWrites {
    inner: Arc<dyn ObjectStore>,
    cache: Arc<DiskCache>,
    /// Where the bucket is.
    origin: String,
}

/// A body, in one piece once somebody asks for that.
struct Whole(Body, OnceLock<Bytes>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.1.get_or_init(|| self.0.to_bytes())
    }
}

impl KeptWrites {
    /// Keeps in `cache` what is put into the bucket at `origin`.
    pub fn new(inner: Arc<dyn ObjectStore>, cache: Arc<DiskCache>, origin: String) -> KeptWrites {
        KeptWrites { inner, cache, origin }
    }
}

#[async_trait]
impl LayeredStore for KeptWrites {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    async fn put_over(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
        overwrite: &Overwrite,
    ) -> Result<Published, StoreError> {
        let kept = body.clone();
        let published = self.inner.put_over(key, body, crc64, attributes, overwrite).await?;
        if !kept.is_empty() {
            let identity = Identity {
                origin: self.origin.clone(),
                key: key.as_str().to_owned(),
                etag: published.etag.clone(),
                size: kept.len(),
            };
            let (len, algorithm) = (kept.len(), self.inner.limits().checksum);
            let whole = Arc::new(Whole(kept, OnceLock::new()));
            self.cache.fill(Filling::of_whole(identity, algorithm, (whole, len), crc64));
        }
        Ok(published)
    }
}
