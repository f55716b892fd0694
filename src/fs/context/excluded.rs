//! Names that the mount neither shows nor makes.

use wildmatch::WildMatch;

/// Names that are left out, whatever directory they are in. Pure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Excluded {
    patterns: Vec<WildMatch>,
}

impl Eq for Excluded {}

impl Excluded {
    /// Names that match one of `patterns`, in which `*` and `?` stand for any characters and any one.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Excluded {
        Excluded { patterns: patterns.into_iter().map(WildMatch::new).collect() }
    }

    /// Whether a name is one.
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a path leads to one, or below.
    pub(crate) fn includes_some_of(&self, path: &str) -> bool {
        !self.patterns.is_empty() && path.split('/').any(|name| self.includes(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_excluded_wherever_it_is() {
        let excluded = Excluded::of([".DS_Store", "._*"]);
        let paths = [".DS_Store", "a/.DS_Store", "a/._b", "._d/x", "DS_Store", "a._b", ""];
        assert_eq!(paths.map(|path| excluded.includes_some_of(path)), [true, true, true, true, false, false, false]);
        assert!(!Excluded::default().includes_some_of(".DS_Store"));
    }
}
