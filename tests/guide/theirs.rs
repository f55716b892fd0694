//! Every option of the programs that people come from has its row in `migration.md`.
//!
//! The lists are those of cosfs at 00f67fa, s3fs at 46017f2d, rclone at 64ab1ac32 (of `rclone mount`), Mountpoint for Amazon S3
//! at 58817cab2 and goofys at 350ff31.

use std::collections::BTreeSet;

use crate::document::{Page, Row};

const PAGE: &str = "docs/guide/migration.md";

/// A section of the page, and the options that its table must name.
const OPTIONS: [(&str, &str); 5] = [
    (
        "From cosfs",
        "default_acl retries use_cache del_cache tmpdir user_agent_suffix storage_class public_bucket passwd_file cam_role \
         cam_role_endpoint connect_timeout readwrite_timeout max_stat_cache_size stat_cache_expire enable_noobj_cache \
         no_check_certificate nodnscache nosscache multireq_max parallel_count parallel_upload multipart_size ensure_diskfree \
         singlepart_copy_limit url default_permission endpoint mp_umask nomultipart disable_content_md5 enable_content_md5 \
         nocopyapi norenameapi use_path_request_style dbglevel max_prefetch_bytes curldbg uid gid umask allow_other \
         enable_clientinfo nonempty noxattr noflush_in_other_proc use_rrs use_sse load_sse_c ssl_verify_hostname host \
         servicepath fd_page_size ahbe_conf noxmlns xmlns f2 accessKeyId secretAccessKey -d --debug -f -s ro rw suid nosuid \
         dev nodev exec noexec atime noatime sync async dirsync",
    ),
    (
        "From s3fs",
        "bucket default_acl retries tmpdir use_cache check_cache_dir_exist del_cache storage_class use_rrs use_sse load_sse_c \
         passwd_file ahbe_conf profile public_bucket connect_timeout readwrite_timeout list_object_max_keys \
         max_stat_cache_size stat_cache_expire stat_cache_interval_expire enable_negative_cache disable_negative_cache \
         no_check_certificate ssl_verify_hostname ssl_client_cert nodnscache nosscache multipart_size multipart_copy_size \
         max_dirty_data bucket_size ensure_diskfree free_space_ratio multipart_threshold putheader_mp_threshold \
         singlepart_copy_limit host servicepath url region sigv2 sigv4 mp_umask umask nomultipart streamupload \
         max_thread_count enable_content_md5 enable_unsigned_payload ecs iam_role imdsv1only ibm_iam_auth ibm_iam_endpoint \
         credlib credlib_opts use_xattr noxmlns nomixupload nocopyapi norenameapi hard_remove use_path_request_style \
         listobjectsv2 noua cipher_suites instance_name compat_dir use_wtf8 use_session_token requester_pays mime proxy \
         proxy_cred_file ipresolve logfile dbglevel curldbg insecure_logging no_time_stamp_msg set_check_cache_sigusr1 \
         update_parent_dir_stat accessKeyId secretAccessKey allow_other uid gid auto noauto user nouser users _netdev \
         complement_stat notsup_compat_dir disable_noobj_cache enable_noobj_cache endpoint fake_diskfree fd_page_size f2 \
         multireq_max parallel_count parallel_upload -d --debug -f -s -u --incomplete-mpu-list --incomplete-mpu-abort",
    ),
    (
        "From rclone mount",
        "--allow-idmap --allow-non-empty --allow-other --allow-root --async-read --attr-timeout --daemon --daemon-timeout \
         --daemon-wait --debug-fuse --default-permissions --devname --dir-cache-time --dir-perms --direct-io --file-perms \
         --fuse-flag --gid --link-perms --max-read-ahead --mount-case-insensitive --network-mode --no-checksum --no-modtime \
         --no-seek --noappledouble --noapplexattr --option --poll-interval --read-only --uid --umask --vfs-block-norm-dupes \
         --vfs-cache-max-age --vfs-cache-max-size --vfs-cache-min-free-space --vfs-cache-mode --vfs-cache-poll-interval \
         --vfs-case-insensitive --vfs-disk-space-total-size --vfs-fast-fingerprint --vfs-handle-caching --vfs-links \
         --vfs-metadata-extension --vfs-read-ahead --vfs-read-chunk-size --vfs-read-chunk-size-limit --vfs-read-chunk-streams \
         --vfs-read-wait --vfs-refresh --vfs-used-is-size --vfs-write-back --vfs-write-wait --volname --write-back-cache \
         --delete-excluded --exclude --exclude-from --exclude-if-present --files-from --files-from-raw --files-from0 --filter \
         --filter-from --hash-filter --ignore-case --include --include-from --max-age --max-depth --max-size \
         --metadata-exclude --metadata-exclude-from --metadata-filter --metadata-filter-from --metadata-include \
         --metadata-include-from --min-age --min-size",
    ),
    (
        "From Mountpoint for Amazon S3",
        "--prefix --region --endpoint-url --force-path-style --transfer-acceleration --dual-stack --requester-pays \
         --bucket-type --no-sign-request --profile --read-only --storage-class --allow-delete --allow-overwrite \
         --incremental-upload --auto-unmount --allow-root --allow-other --maximum-throughput-gbps --max-threads \
         --memory-target --part-size --read-part-size --write-part-size --ca-bundle --uid --gid --dir-mode --file-mode \
         --foreground --expected-bucket-owner --log-directory --log-metrics --otlp-endpoint --otlp-export-interval --debug \
         --debug-crt --no-log --cache --metadata-ttl --negative-metadata-ttl --max-cache-size --cache-block-size --cache-xz \
         --user-agent-prefix --sse --sse-kms-key-id --upload-checksums --infer-content-type --bind",
    ),
    (
        "From goofys",
        "-o --cache --dir-mode --file-mode --uid --gid --endpoint --region --requester-pays --storage-class --profile \
         --use-content-type --sse --sse-kms --sse-c --acl --subdomain --cheap --no-implicit-dir --stat-cache-ttl \
         --type-cache-ttl --http-timeout --debug_fuse --debug_s3 -f",
    ),
];

/// The options that a row names in its first cell.
fn named(row: &Row) -> Vec<String> {
    row.cells[0].split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_option_of_theirs_has_one_row() {
    let page = Page::read(PAGE);
    for (section, options) in OPTIONS {
        let rows = page.rows_of(section);
        let mut known = BTreeSet::new();
        for row in &rows {
            assert!(row.cells.len() == 2 && !row.cells[1].is_empty(), "{PAGE}:{}: what is it here?", row.line);
            for option in named(row) {
                assert!(known.insert(option.clone()), "{PAGE}:{}: {option} has two rows", row.line);
            }
        }
        let missing: Vec<&str> = options.split_whitespace().filter(|option| !known.contains(*option)).collect();
        assert!(missing.is_empty(), "{section} has no row for {missing:?}");
    }
}
