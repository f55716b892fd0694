//! Which new files are temporary: about to be renamed to what they are for.

use wildmatch::WildMatch;

/// Names that programs give to what they rename when it is complete.
const NAMES: [&str; 18] = [
    // Many programs; then downloads.
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.crdownload",
    // git: indices and references, then objects and packs.
    "*.lock",
    "tmp_obj_*",
    "tmp_pack_*",
    "tmp_idx_*",
    // sed -i
    "sed??????",
    // vim: swap files, the name with which it tries whether it may write, and the backup that it removes after writing.
    ".*.sw?",
    "4913",
    "*~",
    // GIO, LibreOffice, Emacs, dpkg, npm.
    ".goutputstream-??????",
    ".~lock.*#",
    ".#*",
    "*.dpkg-new",
    "*.tmp.*",
];

/// Which new files are taken for temporary. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// `None` where no file is.
    patterns: Option<Vec<String>>,
}

/// How a file was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreateFlags {
    /// For reading and writing.
    pub(crate) reads: bool,
    /// It must not have been there.
    pub(crate) exclusive: bool,
    /// The permissions that were asked for.
    pub(crate) permissions: u32,
}

impl Temporary {
    /// Those that look like it by how they are made, and the names of common programs.
    pub fn usual() -> Temporary {
        Temporary::and([])
    }

    /// These, and names that match one of `patterns`, in which `*` and `?` stand for any characters and any one.
    pub fn and<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Temporary {
        Temporary { patterns: Some(NAMES.into_iter().chain(patterns).map(str::to_owned).collect()) }
    }

    /// No file.
    pub fn none() -> Temporary {
        Temporary { patterns: None }
    }

    /// Whether a new file of this name is one.
    pub(crate) fn includes(&self, name: &str, making: CreateFlags) -> bool {
        let Some(patterns) = &self.patterns else { return false };
        let CreateFlags { reads, exclusive, permissions } = making;
        // mkstemp; then the placeholder that tar makes for a link, which it replaces at the end.
        let is_made_like_one = exclusive && (reads && permissions == 0o600 || permissions == 0);
        is_made_like_one || is_of_rsync(name) || patterns.iter().any(|pattern| WildMatch::new(pattern).matches(name))
    }
}

/// `.NAME.XXXXXX`, the last six drawn from letters and digits. Six small letters are an extension.
fn is_of_rsync(name: &str) -> bool {
    let Some((stem, drawn)) = name.rsplit_once('.') else { return false };
    stem.len() > 1
        && stem.starts_with('.')
        && drawn.len() == 6
        && drawn.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !drawn.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CP: CreateFlags = CreateFlags { reads: false, exclusive: true, permissions: 0o644 };

    #[test]
    fn names_of_common_programs_are_temporary() {
        let temporary =
            [".a.txt.q3WzX0", "index.lock", "tmp_obj_3h1SzX", "x.tmp", "f.part", "sedAbc123", ".a.swp", "4913", "f~"];
        for name in temporary {
            assert!(Temporary::usual().includes(name, CP), "{name}");
            assert!(!Temporary::none().includes(name, CP), "{name}");
        }
        let final_names =
            ["a", "a.txt", ".bashrc", ".a.config", "lock", "..abcde1", ".q3WzX0", "a.b.q3WzX0", "sed", "Cargo.locked"];
        for name in final_names {
            assert!(!Temporary::usual().includes(name, CP), "{name}");
        }
        assert!(Temporary::and(["*.draft"]).includes("a.draft", CP));
    }

    #[test]
    fn files_made_as_mkstemp_and_tar_make_them_are_temporary() {
        let table = [
            (true, true, 0o600, true),
            (false, true, 0o600, false),
            (true, false, 0o600, false),
            (true, true, 0o644, false),
            (false, true, 0, true),
        ];
        for (reads, exclusive, permissions, expected) in table {
            let making = CreateFlags { reads, exclusive, permissions };
            assert_eq!(Temporary::usual().includes("a", making), expected, "{making:?}");
            assert!(!Temporary::none().includes("a", making), "{making:?}");
        }
    }
}
