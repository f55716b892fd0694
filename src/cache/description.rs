//! What the service has said of a version beside its bytes.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::{Checksum, ObjectAttributes};

/// What the service has said of a version beside its bytes. It is true of an object only as long as that was last modified then:
/// other metadata for the same bytes are the same version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The metadata.
    pub attributes: ObjectAttributes,
    /// The checksum of the whole object, where the service has told it.
    #[serde(serialize_with = "written", deserialize_with = "read")]
    pub checksum: Option<Checksum>,
    /// When the object was last modified, as the service tells it.
    pub last_modified: SystemTime,
}

fn written<S: Serializer>(checksum: &Option<Checksum>, serializer: S) -> Result<S::Ok, S::Error> {
    checksum.map(|Checksum(number)| number).serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Checksum>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Checksum))
}
