//! What a mount or a service shall be, gathered from everywhere and checked.
//!
//! Built from values alone: the command line and the environment are handed in, so that every rule of precedence is
//! a table in a test. Options of a layer are defined in that layer; this one fills them in. It reads configuration
//! files, says in one sentence what is wrong with them, and never shows a secret.

#[cfg(feature = "testing")]
mod anything;
mod aws_platform;
mod coscmd;
mod credentials;
mod environment;
mod error;
mod fault_plan;
mod file;
mod ini;
mod key_process;
mod key_source;
mod listen;
mod memory;
mod moment;
mod mount;
mod mount_options;
mod notice;
mod object_choices;
mod passwd;
mod prices;
mod quantity;
mod redaction;
mod secret;
mod settings;
mod source;

#[cfg(feature = "testing")]
pub(crate) use anything::{read_anything, read_options};
pub use credentials::service_credentials;
pub use environment::Environment;
pub use error::ConfigError;
pub use fault_plan::{parse_fault_plan, read_fault_plan};
pub use key_process::KeyProcess;
pub use key_source::{KeyFile, KeySource};
pub use listen::ListenAddress;
pub use memory::available_memory_bytes;
pub use moment::Moment;
pub use mount::{LOCAL_BUCKET, MountConfig, MountRequest, OF_A_SERVICE, Service};
pub use notice::{Aspect, Notice};
pub use object_choices::{AclChoice, ClassChoice, EncryptionChoice, HeaderChoice, TagChoice};
pub use prices::Prices;
pub use quantity::{ByteSize, QuantityError, Span};
pub use redaction::redacted;
pub use settings::{
    Account, ConflictChoice, ExcludeChoice, Group, HoldChoice, LogFormat, LogLevel, Mode, Settings, TrashDirectory,
    TypeChoice,
};
pub use source::MountSource;
