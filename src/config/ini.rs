//! INI files, as far as the tools write them that keep credentials in one.

use std::collections::BTreeMap;

/// What one section says, by names in small letters. Lines that are not understood are the tool's business and are passed
/// over, and so are names without a value. Quotes around a value are taken away.
pub(super) fn section(text: &str, name: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            is_inside = rest.trim_end().strip_suffix(']').is_some_and(|found| found.trim() == name);
            continue;
        }
        let Some((name, value)) = line.split_once(['=', ':']).filter(|_| is_inside) else { continue };
        let value = value.trim();
        let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let value = unquoted.unwrap_or(value);
        if !value.is_empty() {
            values.insert(name.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_its_names_and_values() {
        let text = "a = outside\n[default]\n# a = comment\nA = 1 \nb: \"two words\"\nc =\nnonsense\n[other]\na = 3\n";
        let values = section(text, "default");
        assert_eq!(
            values.into_iter().collect::<Vec<_>>(),
            [("a".into(), "1".into()), ("b".into(), "two words".into())]
        );
        assert!(section(text, "none").is_empty());
    }
}
