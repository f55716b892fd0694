//! Random requests and their fields, with every text that escapes and XML could trip over.

use std::time::{Duration, SystemTime};

use cosmount::object::key::KEY_BYTES_MAX;
use cosmount::object::{
    BucketName, ByteRange, ETag, Encryption, ObjectAttributes, ObjectKey, PartNumber, Protection, Tags, UploadId,
};
use cosmount::wire::answer::{Contents, Tagging, Versioning};
use cosmount::wire::condition::{Conditions, ETagMatch, Overwrite};
use cosmount::wire::digest::{DigestAlgorithm, ObjectDigest};
use cosmount::wire::operation::*;
use cosmount::wire::{CopySource, RangeSpec};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

/// Texts with everything that escapes and XML trip over.
pub(crate) fn awkward(bytes_max: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9/._~-]",
        2 => "[ +%&?#=;:\"'<>\\[\\]*()!@,\\\\]",
        1 => Just("腾".to_owned()),
        1 => Just("😀".to_owned()),
        1 => Just("//".to_owned()),
        1 => Just("%2F".to_owned()),
        1 => Just("../".to_owned()),
        1 => "[\u{1}-\u{8}\t\n\r]",
    ];
    vec(piece, 0..30).prop_map(move |pieces| {
        let mut text = String::new();
        for piece in pieces.into_iter().filter(|piece| piece.len() <= bytes_max) {
            if text.len() + piece.len() <= bytes_max {
                text.push_str(&piece);
            }
        }
        text
    })
}

pub(crate) fn key() -> impl Strategy<Value = ObjectKey> {
    let longest = Just("k腾+".repeat(KEY_BYTES_MAX / 5));
    prop_oneof![9 => awkward(KEY_BYTES_MAX), 1 => longest].prop_filter_map("no key", |text| ObjectKey::new(text).ok())
}

pub(crate) fn etag() -> impl Strategy<Value = ETag> {
    prop_oneof!["[0-9a-f]{32}(-[0-9]{1,5})?", "[0-9a-f]{40}"].prop_map(ETag::new)
}

pub(crate) fn upload() -> impl Strategy<Value = UploadId> {
    prop_oneof!["[0-9]{10}[0-9a-f]{64}", "[!-~]{1,40}"].prop_map(UploadId::new)
}

pub(crate) fn number() -> impl Strategy<Value = PartNumber> {
    (1u64..=10_000).prop_map(|number| PartNumber::new(number).unwrap())
}

/// Whole seconds up to the year 9999.
/// Up to the last moment that jiff can tell in every time zone, a day before the year 10000.
pub(crate) fn date() -> impl Strategy<Value = SystemTime> {
    (0u64..253_402_207_200).prop_map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

pub(crate) fn precise_date() -> impl Strategy<Value = SystemTime> {
    (date(), 0u64..1000).prop_map(|(date, milliseconds)| date + Duration::from_millis(milliseconds))
}

pub(crate) fn header_value() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,30}[!-~])?"
}

pub(crate) fn attributes() -> impl Strategy<Value = ObjectAttributes> {
    let standard = (of(header_value()), of(header_value()), of(header_value()), of(header_value()), of(header_value()));
    let class = of(prop_oneof![Just("STANDARD_IA"), Just("ARCHIVE"), Just("MAZ_INTELLIGENT_TIERING")]);
    let acl = of(prop_oneof![Just("private"), Just("public-read")]);
    let encryption = of((prop_oneof![Just("AES256"), Just("cos/kms")], of("[a-z0-9-]{1,36}")));
    let protection = (acl, encryption).prop_map(|(acl, encryption)| Protection {
        acl: acl.map(str::to_owned),
        encryption: encryption.map(|(algorithm, kms_key)| Encryption { algorithm: algorithm.to_owned(), kms_key }),
    });
    let tags = prop_oneof![Just(Tags::None), "[a-z]{1,9}=[a-z]{0,9}".prop_map(Tags::Are)];
    let user = btree_map("[a-z0-9-]{1,20}", header_value(), 0..4);
    (standard, of(header_value()), class, protection, tags, user).prop_map(
        |(standard, content_language, class, protection, tags, user)| {
            let (content_type, cache_control, content_disposition, content_encoding, expires) = standard;
            ObjectAttributes {
                content_type,
                cache_control,
                content_disposition,
                content_encoding,
                content_language,
                expires,
                storage_class: class.map(str::to_owned),
                protection,
                tags,
                user,
            }
        },
    )
}

pub(crate) fn overwrite() -> impl Strategy<Value = Overwrite> {
    prop_oneof![
        Just(Overwrite::Allowed),
        Just(Overwrite::Forbidden),
        Just(Overwrite::IfAbsent),
        etag().prop_map(Overwrite::OnlyOf)
    ]
}

pub(crate) fn conditions() -> impl Strategy<Value = Conditions> {
    let tags = || of(prop_oneof![Just(ETagMatch::Any), vec(etag(), 1..3).prop_map(ETagMatch::OneOf)]);
    (tags(), tags(), of(date()), of(date())).prop_map(
        |(if_match, if_none_match, if_modified_since, if_unmodified_since)| Conditions {
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
        },
    )
}

pub(crate) fn passed() -> impl Strategy<Value = PassedHeaders> {
    const NAMES: [&str; 5] = [
        "x-cos-grant-write",
        "x-cos-grant-read",
        "x-cos-tagging-directive",
        "x-cos-traffic-limit",
        "x-cos-server-side-encryption-context",
    ];
    let pair = (proptest::sample::select(&NAMES[..]), header_value());
    vec(pair, 0..3).prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(crate) fn checks() -> impl Strategy<Value = BodyChecks> {
    (of("[A-Za-z0-9+/]{22}=="), of("[0-9a-f]{40}"), of(digest()))
        .prop_map(|(content_md5, content_sha1, digest)| BodyChecks { content_md5, content_sha1, digest })
}

fn algorithm() -> impl Strategy<Value = DigestAlgorithm> {
    proptest::sample::select(&DigestAlgorithm::ALL[..])
}

fn digest() -> impl Strategy<Value = (DigestAlgorithm, String)> {
    (algorithm(), "[A-Za-z0-9+/]{4}").prop_map(|(algorithm, text)| (algorithm, text))
}

fn object_digest() -> impl Strategy<Value = ObjectDigest> {
    (algorithm(), any::<bool>()).prop_map(|(algorithm, is_of_bytes)| ObjectDigest {
        algorithm,
        is_of_bytes: algorithm == DigestAlgorithm::Crc64Nvme || is_of_bytes && algorithm.joins(),
    })
}

pub(crate) fn range() -> impl Strategy<Value = ByteRange> {
    (0u64..1 << 50, 1u64..1 << 40).prop_map(|(start, len)| ByteRange::new(start, start + len).unwrap())
}

pub(crate) fn source() -> impl Strategy<Value = CopySource> {
    let domain = prop_oneof![Just(""), Just("cos.ap-beijing.myqcloud.com"), Just("127.0.0.1:9000")];
    (domain, key(), of("[!-~]{1,20}")).prop_map(|(domain, key, version)| CopySource {
        bucket: BucketName::new("photos-1250000000").unwrap(),
        domain: domain.to_owned(),
        key,
        version,
    })
}

pub(crate) fn object_operation() -> impl Strategy<Value = Operation> {
    let version = || of("[!-~]{1,30}");
    let range = of(prop_oneof![
        range().prop_map(RangeSpec::from),
        any::<u64>().prop_map(|first| RangeSpec::From { first }),
        any::<u64>().prop_map(|count| RangeSpec::Last { count }),
    ]);
    let overrides = (of(header_value()), of(awkward(40).prop_filter("empty", |text| !text.is_empty()))).prop_map(
        |(content_type, content_disposition)| ResponseOverrides {
            content_type,
            content_disposition,
            ..ResponseOverrides::default()
        },
    );
    prop_oneof![
        (key(), attributes(), checks(), overwrite(), passed()).prop_map(
            |(key, attributes, checks, overwrite, passed)| {
                Operation::PutObject(PutObject { key, attributes, checks, overwrite, passed })
            }
        ),
        (key(), version(), conditions()).prop_map(|(key, version, conditions)| Operation::HeadObject(HeadObject {
            key,
            version,
            conditions,
            with_digest: false,
        })),
        (key(), version(), range, conditions(), overrides).prop_map(|(key, version, range, conditions, overrides)| {
            Operation::GetObject(GetObject { key, version, range, conditions, overrides, with_digest: false })
        }),
        (key(), version()).prop_map(|(key, version)| Operation::DeleteObject(DeleteObject { key, version })),
        (key(), source(), conditions(), any::<bool>(), attributes(), overwrite(), passed()).prop_map(
            |(key, source, conditions, replaced, attributes, overwrite, passed)| {
                let directive = if replaced { MetadataDirective::Replaced } else { MetadataDirective::Copy };
                Operation::CopyObject(CopyObject { key, source, conditions, directive, attributes, overwrite, passed })
            }
        ),
    ]
}

pub(crate) fn sub_resource_operation() -> impl Strategy<Value = Operation> {
    let version = || of("[!-~]{1,20}");
    let tier = prop_oneof![Just(RestoreTier::Expedited), Just(RestoreTier::Standard), Just(RestoreTier::Bulk)];
    prop_oneof![
        (key(), version()).prop_map(|(key, version)| Operation::GetObjectTagging(GetObjectTagging { key, version })),
        key().prop_map(|key| Operation::GetObjectAcl(GetObjectAcl { key })),
        (key(), version(), tagging()).prop_map(|(key, version, tagging)| {
            Operation::PutObjectTagging(PutObjectTagging { key, version, tagging })
        }),
        (key(), version())
            .prop_map(|(key, version)| Operation::DeleteObjectTagging(DeleteObjectTagging { key, version })),
        (key(), any::<bool>()).prop_map(|(key, is_named)| {
            let document = if is_named { String::new() } else { "<AccessControlPolicy/>".to_owned() };
            let named = is_named.then(|| "private".to_owned());
            Operation::PutObjectAcl(PutObjectAcl { key, named, document })
        }),
        (key(), version(), vec("[a-zA-Z]{1,9}", 1..4)).prop_map(|(key, version, wanted)| {
            Operation::GetObjectAttributes(GetObjectAttributes { key, version, wanted })
        }),
        (key(), any::<u64>(), attributes(), checks(), passed()).prop_map(
            |(key, position, attributes, checks, passed)| {
                Operation::AppendObject(AppendObject { key, position, attributes, checks, passed })
            }
        ),
        (key(), version(), 1u32..=365, tier).prop_map(|(key, version, days, tier)| {
            Operation::RestoreObject(RestoreObject { key, version, days, tier })
        }),
    ]
}

pub(crate) fn multipart_operation() -> impl Strategy<Value = Operation> {
    let parts = vec((number(), etag()).prop_map(|(number, etag)| CompletedPart { number, etag }), 1..20);
    prop_oneof![
        (key(), attributes(), overwrite(), of(object_digest()), passed()).prop_map(
            |(key, attributes, overwrite, digest, passed)| {
                Operation::InitiateMultipartUpload(InitiateMultipartUpload {
                    key,
                    attributes,
                    overwrite,
                    digest,
                    passed,
                })
            }
        ),
        (key(), upload(), number(), checks(), passed()).prop_map(|(key, upload, number, checks, passed)| {
            Operation::UploadPart(UploadPart { key, upload, number, checks, passed })
        }),
        (key(), upload(), number(), source(), of(range()), conditions(), passed()).prop_map(
            |(key, upload, number, source, range, conditions, passed)| {
                Operation::UploadPartCopy(UploadPartCopy { key, upload, number, source, range, conditions, passed })
            }
        ),
        (key(), upload(), parts, overwrite(), of(digest())).prop_map(|(key, upload, parts, overwrite, digest)| {
            Operation::CompleteMultipartUpload(CompleteMultipartUpload { key, upload, parts, overwrite, digest })
        }),
        (key(), upload())
            .prop_map(|(key, upload)| Operation::AbortMultipartUpload(AbortMultipartUpload { key, upload })),
        (key(), upload(), of(any::<u32>()), of(any::<u32>()), any::<bool>()).prop_map(
            |(key, upload, max_parts, part_number_marker, url_encoded)| {
                Operation::ListParts(ListParts { key, upload, max_parts, part_number_marker, url_encoded })
            }
        ),
    ]
}

/// One character, or none.
fn delimiter() -> impl Strategy<Value = String> {
    awkward(4).prop_map(|text| text.chars().take(1).collect())
}

fn tagging() -> impl Strategy<Value = Tagging> {
    vec(("[a-z]{1,9}", "[a-z0-9 ]{0,9}"), 0..4).prop_map(|tags| Tagging { tags })
}

fn configuration() -> impl Strategy<Value = Operation> {
    let kinds = BucketConfiguration::ALL.iter().copied().filter(|kind| *kind != BucketConfiguration::Lifecycle);
    let kind = proptest::sample::select(kinds.collect::<Vec<_>>());
    (kind, 0..3).prop_map(|(kind, which)| match which {
        0 => Operation::GetBucketConfiguration(kind),
        1 => Operation::DeleteBucketConfiguration(kind),
        _ => {
            let document = match kind {
                BucketConfiguration::Policy => "{}".to_owned(),
                BucketConfiguration::Acl => "public-read".to_owned(),
                kind => format!("<{}/>", kind.root()),
            };
            Operation::PutBucketConfiguration(PutBucketConfiguration { kind, document })
        }
    })
}

pub(crate) fn bucket_operation() -> impl Strategy<Value = Operation> {
    let object = (awkward(60), of("[!-~]{1,20}")).prop_map(|(key, version)| ObjectVersion { key, version });
    let versioning = prop_oneof![Just(Versioning::Enabled), Just(Versioning::Suspended)];
    prop_oneof![
        Just(Operation::GetService),
        Just(Operation::PutBucket),
        Just(Operation::HeadBucket),
        Just(Operation::DeleteBucket),
        Just(Operation::GetBucketLocation),
        Just(Operation::GetBucketVersioning),
        Just(Operation::GetBucketLifecycle),
        configuration(),
        versioning.prop_map(|versioning| Operation::PutBucketVersioning(PutBucketVersioning { versioning })),
        (awkward(60), delimiter(), awkward(60), of(any::<u32>()), any::<bool>()).prop_map(
            |(prefix, delimiter, marker, max_keys, url_encoded)| {
                Operation::ListObjects(ListObjects { prefix, delimiter, marker, max_keys, url_encoded })
            }
        ),
        (awkward(60), delimiter(), awkward(60), awkward(20), of(any::<u32>()), any::<bool>()).prop_map(
            |(prefix, delimiter, key_marker, version_id_marker, max_keys, url_encoded)| {
                Operation::ListObjectVersions(ListObjectVersions {
                    prefix,
                    delimiter,
                    key_marker,
                    version_id_marker,
                    max_keys,
                    url_encoded,
                })
            }
        ),
        (awkward(60), delimiter(), awkward(60), awkward(20), of(any::<u32>()), any::<bool>()).prop_map(
            |(prefix, delimiter, key_marker, upload_id_marker, max_uploads, url_encoded)| {
                Operation::ListMultipartUploads(ListMultipartUploads {
                    prefix,
                    delimiter,
                    key_marker,
                    upload_id_marker,
                    max_uploads,
                    url_encoded,
                })
            }
        ),
        (any::<bool>(), vec(object, 1..10)).prop_map(|(quiet, objects)| {
            Operation::DeleteMultipleObjects(DeleteMultipleObjects { quiet, objects })
        }),
    ]
}

pub(crate) fn contents() -> impl Strategy<Value = Contents> {
    (awkward(80), precise_date(), etag(), any::<u64>()).prop_map(|(key, last_modified, etag, size)| Contents {
        key,
        last_modified,
        etag,
        size,
        owner: "1250000000".into(),
        storage_class: "STANDARD".into(),
    })
}

/// Keys that an XML body can hold as they are.
pub(crate) fn xml_text(text: String) -> String {
    text.replace(|character: char| character.is_control(), "")
}
