//! `-o` as `mount(8)` and `/etc/fstab` give it: a list of options, some of them for others than us.

use super::{ConfigError, Settings};

/// Options of `mount(8)`, systemd and FUSE that say nothing to this file system, so that an fstab line just works.
const IGNORED: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "_rnetdev",
    "async",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "noexec",
    "iversion",
    "noiversion",
    "silent",
    "loud",
    "nonempty",
    "default_permissions",
    "big_writes",
];

/// Reads the texts of all `-o` in order; a later option wins over an earlier one.
///
/// A comma cannot be part of a value, as everywhere with `mount(8)`.
pub(super) fn parse(texts: &[String]) -> Result<Settings, ConfigError> {
    let mut settings = Settings::default();
    for option in texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "ro" => settings.read_only = Some(true),
            "rw" => settings.read_only = Some(false),
            // The names that cosfs and s3fs gave them.
            "url" => settings.set("-o", "endpoint", value)?,
            "passwd_file" => settings.set("-o", "credentials_file", value)?,
            _ if is_ignored(name) => {}
            _ => settings.set("-o", name, value)?,
        }
    }
    Ok(settings)
}

fn is_ignored(name: &str) -> bool {
    let of_others = ["x-", "X-"].iter().any(|prefix| name.starts_with(prefix));
    IGNORED.contains(&name) || of_others || matches!(name, "fsname" | "subtype" | "comment" | "helper" | "uhelper")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Account, Group, Mode, settings::Settings};

    fn parsed(text: &str) -> Settings {
        parse(&[text.to_owned()]).unwrap()
    }

    #[test]
    fn a_line_of_fstab_is_understood() {
        let settings = parsed(
            "_netdev,noatime,x-systemd.automount,nofail,ro,allow_other,uid=1000,gid=100,umask=0022,region=ap-guangzhou",
        );
        let expected = Settings {
            read_only: Some(true),
            allow_other: Some(true),
            uid: Some(Account(1000)),
            gid: Some(Group(100)),
            umask: Some(Mode(0o022)),
            region: Some("ap-guangzhou".into()),
            ..Settings::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_is_meant_for_mount_and_systemd_says_nothing() {
        let options = "noauto,user=alice,users,_netdev,nofail,comment=mine,x-gvfs-show,x-systemd.requires=network-online.target,\
                       X-mount.mkdir=0755,uhelper=udisks2,nosuid,nodev,noexec,relatime";
        assert_eq!(parsed(options), Settings::default());
    }

    #[test]
    fn the_last_one_wins() {
        assert_eq!(parsed("ro,rw").read_only, Some(false));
        assert_eq!(parse(&["uid=1".into(), "uid=2".into()]).unwrap().uid, Some(Account(2)));
    }

    #[test]
    fn tags_and_headers_add_up() {
        let settings = parsed("tag=a=1,tag=b=2,header=*: Expires: x,header=*.b: Expires: y");
        assert_eq!(settings.tag, parsed("tag=a=1&b=2").tag);
        assert_eq!(settings.header.unwrap().0.len(), 2);
    }

    #[test]
    fn the_names_of_cosfs_are_known() {
        let settings = parsed("url=http://cos.ap-beijing.myqcloud.com,passwd_file=/etc/key");
        assert_eq!(settings.endpoint.as_deref(), Some("http://cos.ap-beijing.myqcloud.com"));
        assert_eq!(settings.credentials_file.as_deref(), Some(std::path::Path::new("/etc/key")));
    }

    #[test]
    fn a_misspelt_option_is_refused() {
        assert_eq!(
            parse(&["alow_other".into()]).unwrap_err().to_string(),
            "-o: there is no option \"alow_other\"; did you mean allow_other?"
        );
    }
}
