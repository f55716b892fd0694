//! What a mount needs, by name: what `cosmount doctor` checks, and what a failure is about.

/// One thing that a mount needs, or that whoever has one should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// The configuration files, the environment and the options.
    Configuration,
    /// Where the key comes from, and whether the service takes it.
    Credentials,
    /// The name of the service or of the proxy.
    Dns,
    /// A connection to it.
    Tcp,
    /// The proxy.
    Proxy,
    /// Encryption, and the certificate.
    Tls,
    /// Whether what answers is COS.
    Service,
    /// This machine's clock, compared with the service's.
    Clock,
    /// Where the bucket is.
    Region,
    /// Whether it is there.
    Bucket,
    /// What shall be mounted of it.
    Prefix,
    /// Listing.
    List,
    /// Writing.
    Put,
    /// Reading.
    Get,
    /// Copying on the service.
    Copy,
    /// Multipart uploads.
    Multipart,
    /// The checksums that a service tells or not.
    Checksums,
    /// What it holds to when it is told what a write may replace.
    Conditions,
    /// Removing.
    Delete,
    /// What the bucket does by itself.
    Lifecycle,
    /// What mounts that were killed have left.
    Leftovers,
    /// Whether older versions are kept.
    Versioning,
    /// How long a request takes.
    Latency,
    /// How much goes over the line.
    Throughput,
    /// The kernel's device.
    Fuse,
    /// The program by which ordinary users mount.
    Fusermount,
    /// Whether other users may use the mount.
    AllowOther,
    /// A mount for a moment.
    TrialMount,
    /// What the kernel can do.
    Kernel,
    /// Files that a process may have open.
    OpenFiles,
    /// Memory for buffers.
    Memory,
    /// The directory where is written down what a mount has begun.
    State,
    /// The directory to mount on.
    MountPoint,
}

impl Topic {
    /// The name, as `cosmount doctor` shows it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Topic::Configuration => "configuration",
            Topic::Credentials => "credentials",
            Topic::Dns => "dns",
            Topic::Tcp => "tcp",
            Topic::Proxy => "proxy",
            Topic::Tls => "tls",
            Topic::Service => "service",
            Topic::Clock => "clock",
            Topic::Region => "region",
            Topic::Bucket => "bucket",
            Topic::Prefix => "prefix",
            Topic::List => "list",
            Topic::Put => "put",
            Topic::Get => "get",
            Topic::Copy => "copy",
            Topic::Multipart => "multipart",
            Topic::Checksums => "checksums",
            Topic::Conditions => "conditions",
            Topic::Delete => "delete",
            Topic::Lifecycle => "lifecycle",
            Topic::Leftovers => "leftovers",
            Topic::Versioning => "versioning",
            Topic::Latency => "latency",
            Topic::Throughput => "throughput",
            Topic::Fuse => "fuse",
            Topic::Fusermount => "fusermount3",
            Topic::AllowOther => "allow_other",
            Topic::TrialMount => "trial mount",
            Topic::Kernel => "kernel",
            Topic::OpenFiles => "open files",
            Topic::Memory => "memory",
            Topic::State => "state",
            Topic::MountPoint => "mount point",
        }
    }
}
