//! What a bucket does by itself to objects and uploads when they grow old (`cos-api.md` 5.4). Only read: this product sets no rules.

use super::{AnswerError, root_of};
use crate::wire::xml::{Element, XmlError};

/// The rules of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// As the service lists them.
    pub rules: Vec<LifecycleRule>,
}

/// One rule, as far as a file system cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name; may be empty.
    pub id: String,
    /// Which keys it is about: those that begin with this.
    pub prefix: String,
    /// Whether it is about objects with certain tags alone.
    pub is_for_tagged: bool,
    /// Whether it is followed.
    pub is_enabled: bool,
    /// Days after which an upload that is not completed is aborted.
    pub abort_days: Option<u32>,
    /// Whether objects are deleted some time.
    pub deletes_objects: bool,
    /// The storage classes that objects are moved to some time.
    pub moves_objects_to: Vec<String>,
}

impl Lifecycle {
    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Lifecycle, AnswerError> {
        let root = root_of(body, "LifecycleConfiguration")?;
        let rules = root.children("Rule").map(LifecycleRule::of).collect::<Result<_, _>>()?;
        Ok(Lifecycle { rules })
    }

    /// The rules that are followed and are about keys that begin with `prefix`, or about some of them where `some` will do.
    fn about(&self, prefix: &str, some: bool) -> Vec<&LifecycleRule> {
        let is_about =
            |rule: &LifecycleRule| prefix.starts_with(&rule.prefix) || some && rule.prefix.starts_with(prefix);
        self.rules.iter().filter(|rule| rule.is_enabled && is_about(rule)).collect()
    }

    /// Days after which every unfinished upload below `prefix` is aborted.
    pub fn abort_days(&self, prefix: &str) -> Option<u32> {
        // An upload has no tags.
        let rules = self.about(prefix, false).into_iter().filter(|rule| !rule.is_for_tagged);
        rules.filter_map(|rule| rule.abort_days).min()
    }

    /// The first rule that deletes objects below `prefix`.
    pub fn deleting(&self, prefix: &str) -> Option<&LifecycleRule> {
        self.about(prefix, true).into_iter().find(|rule| rule.deletes_objects)
    }

    /// The first rule that moves objects below `prefix` to where they cannot be read at once, and that class.
    pub fn archiving(&self, prefix: &str) -> Option<(&LifecycleRule, &str)> {
        self.about(prefix, true).into_iter().find_map(|rule| {
            let class = rule.moves_objects_to.iter().find(|class| class.to_ascii_uppercase().contains("ARCHIVE"))?;
            Some((rule, class.as_str()))
        })
    }
}

impl LifecycleRule {
    fn of(rule: &Element) -> Result<LifecycleRule, XmlError> {
        let filter = rule.child("Filter");
        // With several conditions they stand in another element; the oldest form has the prefix in the rule itself.
        let places = [filter.and_then(|filter| filter.child("And")), filter, Some(rule)];
        let prefix = places.iter().flatten().find_map(|place| place.optional("Prefix"));
        let is_for_tagged = places.iter().flatten().any(|place| place.child("Tag").is_some());
        let abort = rule.child("AbortIncompleteMultipartUpload");
        let expiration = rule.child("Expiration");
        // A marker of what was deleted is none of the objects.
        let deletes = |expiration: &Element| ["Days", "Date"].iter().any(|name| expiration.child(name).is_some());
        Ok(LifecycleRule {
            id: rule.text_or_empty("ID").to_owned(),
            prefix: prefix.unwrap_or_default().to_owned(),
            is_for_tagged,
            is_enabled: rule.text_or_empty("Status").trim().eq_ignore_ascii_case("enabled"),
            abort_days: abort.map(|abort| abort.number("DaysAfterInitiation")).transpose()?,
            deletes_objects: expiration.is_some_and(deletes),
            moves_objects_to: rule
                .children("Transition")
                .map(|transition| transition.text_or_empty("StorageClass").trim().to_owned())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle(rules: &str) -> Lifecycle {
        Lifecycle::decode(format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>").as_bytes()).unwrap()
    }

    #[test]
    fn a_rule_is_read_in_all_its_forms() {
        let rules = "<Rule><ID>a</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>\
                       <Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>\
                       <Transition><Days>90</Days><StorageClass>ARCHIVE</StorageClass></Transition>\
                       <Expiration><Days>365</Days></Expiration></Rule>\
                     <Rule><Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
                       <Status>Disabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
                       </AbortIncompleteMultipartUpload></Rule>\
                     <Rule><Prefix>old/</Prefix><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true\
                       </ExpiredObjectDeleteMarker></Expiration></Rule>";
        let expected = [
            LifecycleRule {
                id: "a".into(),
                prefix: "logs/".into(),
                is_enabled: true,
                deletes_objects: true,
                moves_objects_to: vec!["STANDARD_IA".into(), "ARCHIVE".into()],
                ..LifecycleRule::default()
            },
            LifecycleRule { prefix: "p/".into(), is_for_tagged: true, abort_days: Some(7), ..LifecycleRule::default() },
            LifecycleRule { prefix: "old/".into(), is_enabled: true, ..LifecycleRule::default() },
        ];
        assert_eq!(lifecycle(rules).rules, expected);
        assert!(Lifecycle::decode(b"<Error><Code>AccessDenied</Code></Error>").is_err());
    }

    #[test]
    fn a_rule_counts_where_it_is_about_the_prefix() {
        let rule = |prefix: &str, status: &str, more: &str| {
            let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
            let text = format!(
                "<Rule><Filter><Prefix>{prefix}</Prefix>{more}</Filter><Status>{status}</Status>{abort}\
                 <Expiration><Days>1</Days></Expiration><Transition><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>"
            );
            lifecycle(&text)
        };
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        let table = [
            ("", "Enabled", "", "a/b/", Some(3), true),
            ("a/", "Enabled", "", "a/b/", Some(3), true),
            ("a/b/c/", "Enabled", "", "a/b/", None, true),
            ("x/", "Enabled", "", "a/b/", None, false),
            ("", "Disabled", "", "a/b/", None, false),
            ("", "Enabled", tag, "a/b/", None, true),
        ];
        for (of, status, more, prefix, days, touches) in table {
            let lifecycle = rule(of, status, more);
            let found = (lifecycle.deleting(prefix).is_some(), lifecycle.archiving(prefix).is_some());
            assert_eq!((lifecycle.abort_days(prefix), found), (days, (touches, touches)), "{of} {status} {more}");
        }
    }
}
