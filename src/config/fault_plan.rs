//! The file that says what a local service does wrong on purpose; `docs/FAULTS.md` has its format.
//!
//! ```toml
//! seed = 7
//!
//! [[rule]]
//! op = "UploadPart"
//! probability = 0.1
//! kind = "status"
//! code = "SlowDown"
//! ```
//!
//! A mistake is refused with its line, and with the name that was probably meant.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::ConfigError;
use crate::server::{Fault, FaultPlan, FaultRule, FaultWhen, FixedAnswer, Moment, PageFault, Side};
use crate::wire::Op;
use crate::wire::code::Code;

/// The kinds of faults, as [`Fault::name`] has them.
const KINDS: [&str; 15] = [
    "status",
    "answer",
    "reset",
    "stall",
    "truncate",
    "flip",
    "flip_header",
    "wrong_etag",
    "wrong_crc64",
    "error_inside",
    "lose_answer",
    "twice",
    "clock",
    "throttle",
    "listing",
];

/// The operations whose answers may have an error inside a success (`cos-api.md` 4.3, 4.4), and those whose answer would
/// have no body, of which a proxy may make such a thing.
const FAIL_INSIDE: [Op; 5] =
    [Op::CopyObject, Op::UploadPartCopy, Op::CompleteMultipartUpload, Op::PutObject, Op::UploadPart];

/// The longest that a fault may hold something up, in seconds.
const STALL_SECONDS_MAX: f64 = 86_400.0;

/// Reads a plan.
///
/// # Errors
/// A file that cannot be read, and every mistake in it.
pub fn read_fault_plan(path: &Path) -> Result<FaultPlan, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::file(path, error.to_string()))?;
    parse_fault_plan(path, &text)
}

/// Reads the text of a plan; `path` is what its mistakes are told of.
///
/// # Errors
/// Every mistake in it.
pub fn parse_fault_plan(path: &Path, text: &str) -> Result<FaultPlan, ConfigError> {
    let told = |Mistake { at, what }: Mistake| {
        let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        ConfigError::file(path, format!("line {line}: {what}"))
    };
    let syntax = |error: toml::de::Error| {
        told(Mistake { at: error.span().map_or(0, |span| span.start), what: error.message().to_owned() })
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    plan(table).map_err(told)
}

/// What is wrong, and at which byte of the text.
struct Mistake {
    at: usize,
    what: String,
}

impl Mistake {
    fn at(span: &Range<usize>, what: impl Into<String>) -> Mistake {
        Mistake { at: span.start, what: what.into() }
    }
}

/// A name that is none of these.
fn unknown(span: &Range<usize>, what: &str, name: &str, known: &[&str]) -> Mistake {
    let distance = |known: &&&str| strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let nearest = known.iter().min_by_key(distance).copied().unwrap_or_default();
    Mistake::at(span, format!("there is no {what} {name:?}; did you mean {nearest:?}?"))
}

/// The fields of one table, each to be taken once.
struct Fields<'t> {
    table: DeTable<'t>,
    /// Where the table begins.
    span: Range<usize>,
    known: Vec<&'static str>,
}

/// A value and where it stands.
type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> Fields<'t> {
    fn new(table: Spanned<DeTable<'t>>) -> Fields<'t> {
        Fields { span: table.span(), table: table.into_inner(), known: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<Value<'t>> {
        self.known.push(name);
        self.table.remove(name)
    }

    /// A field, read; `None` if it is left out.
    fn get<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value<'t>) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        self.take(name).map(|value| read(&value)).transpose()
    }

    /// A field that must be there.
    fn must<T>(
        &mut self,
        name: &'static str,
        of: &str,
        read: impl FnOnce(&Value<'t>) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        let missing = Mistake::at(&self.span, format!("{of} needs {name:?}"));
        self.get(name, read)?.ok_or(missing)
    }

    /// Whatever is left is a mistake.
    fn end(self, of: &str) -> Result<(), Mistake> {
        match self.table.iter().next() {
            Some((name, _)) => Err(unknown(&name.span(), &format!("field of {of}"), name.get_ref(), &self.known)),
            None => Ok(()),
        }
    }
}

fn plan(table: Spanned<DeTable<'_>>) -> Result<FaultPlan, Mistake> {
    let mut fields = Fields::new(table);
    let seed = fields.get("seed", |value| whole(value, 0))?.unwrap_or(0);
    let rules = fields.take("rule");
    fields.end("a plan")?;
    let rules = match rules {
        None => Vec::new(),
        Some(value) => rules_of(value)?,
    };
    Ok(FaultPlan { seed, rules })
}

fn rules_of(value: Value<'_>) -> Result<Vec<FaultRule>, Mistake> {
    let span = value.span();
    let DeValue::Array(rules) = value.into_inner() else { return Err(Mistake::at(&span, "write [[rule]]")) };
    let each = rules.into_iter().map(|rule| {
        let span = rule.span();
        match rule.into_inner() {
            DeValue::Table(table) => rule_of(Fields::new(Spanned::new(span, table))),
            _ => Err(Mistake::at(&span, "write [[rule]]")),
        }
    });
    each.collect()
}

fn rule_of(mut fields: Fields<'_>) -> Result<FaultRule, Mistake> {
    let ops = fields.get("op", ops)?.unwrap_or_default();
    let key = fields.get("key", |value| text(value).map(str::to_owned))?;
    let part = fields.get("part", |value| {
        u16::try_from(whole(value, 1)?).map_err(|_| Mistake::at(&value.span(), "there is no part of that number"))
    })?;
    let without = fields.get("without", |value| text(value).map(str::to_ascii_lowercase))?;
    let when = when(&mut fields)?;
    let limit = fields.get("limit", |value| whole(value, 0))?;
    let span = fields.span.clone();
    let kind = fields.must("kind", "a rule", |value| named(value, "kind", &KINDS.map(|kind| (kind, kind))))?;
    let fault = fault(kind, &mut fields)?;
    fields.end(&format!("a rule of kind {kind:?}"))?;
    match &fault {
        Fault::ErrorInside(_) if ops.is_empty() || ops.iter().any(|op| !FAIL_INSIDE.contains(op)) => Err(Mistake::at(
            &span,
            "\"error_inside\" needs op, of CopyObject, UploadPartCopy, CompleteMultipartUpload, PutObject, UploadPart",
        )),
        Fault::Listing(_) if ops.iter().any(|op| *op != Op::ListObjects) => {
            Err(Mistake::at(&span, "\"listing\" is about op = \"ListObjects\" alone"))
        }
        Fault::Listing(_) => Ok(FaultRule { ops: vec![Op::ListObjects], key, part, without, when, limit, fault }),
        _ => Ok(FaultRule { ops, key, part, without, when, limit, fault }),
    }
}

fn when(fields: &mut Fields<'_>) -> Result<FaultWhen, Mistake> {
    let given = [
        fields.get("nth", |value| whole(value, 1))?.map(FaultWhen::Nth),
        fields.get("from", |value| whole(value, 1))?.map(FaultWhen::From),
        fields.get("probability", |value| number(value, 0.0..=1.0))?.map(FaultWhen::Probability),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (when, None) => Ok(when.unwrap_or(FaultWhen::Always)),
        _ => Err(Mistake::at(&fields.span, "a rule has one of \"nth\", \"from\" and \"probability\"")),
    }
}

fn fault(kind: &str, fields: &mut Fields<'_>) -> Result<Fault, Mistake> {
    Ok(match kind {
        "status" => status(fields)?,
        "answer" => answer(fields)?,
        "reset" => Fault::Reset(fields.must("at", "\"reset\"", moment)?),
        "stall" => stall(fields)?,
        "truncate" => Fault::Truncate(fields.must("of", "\"truncate\"", side)?),
        "flip" => Fault::Flip(fields.must("of", "\"flip\"", side)?),
        "flip_header" => {
            let of = fields.must("of", "\"flip_header\"", side)?;
            Fault::FlipHeader(of, fields.get("header", |value| text(value).map(str::to_owned))?)
        }
        "wrong_etag" => Fault::WrongEtag,
        "wrong_crc64" => Fault::WrongCrc64,
        "error_inside" => Fault::ErrorInside(fields.get("code", code)?.unwrap_or(Code::InternalError)),
        "lose_answer" => Fault::LoseAnswer,
        "twice" => Fault::Twice,
        "clock" => Fault::Clock(fields.must("seconds", "\"clock\"", signed)?),
        "throttle" => {
            Fault::Throttle(fields.must("requests_per_second", "\"throttle\"", |value| number(value, 0.001..=1e9))?)
        }
        _ => Fault::Listing(fields.must("page", "\"listing\"", page)?),
    })
}

fn status(fields: &mut Fields<'_>) -> Result<Fault, Mistake> {
    let code = fields.get("code", code)?;
    let status = fields.get("status", status_number)?;
    let status = status.or(code.map(Code::status));
    let status = status.ok_or_else(|| Mistake::at(&fields.span, "\"status\" needs \"status\" or \"code\""))?;
    Ok(Fault::Status { status, code })
}

fn status_number(value: &Value<'_>) -> Result<u16, Mistake> {
    match whole(value, 200)? {
        status @ 200..=599 => Ok(status as u16),
        _ => Err(Mistake::at(&value.span(), "a status is a number from 200 to 599")),
    }
}

fn answer(fields: &mut Fields<'_>) -> Result<Fault, Mistake> {
    let status = fields.get("status", status_number)?.unwrap_or(200);
    let body = fields.get("body", |value| text(value).map(str::to_owned))?.unwrap_or_default();
    let headers = fields.get("headers", headers)?.unwrap_or_default();
    Ok(Fault::Answer(FixedAnswer { status, headers, body }))
}

fn headers(value: &Value<'_>) -> Result<Vec<(String, String)>, Mistake> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(Mistake::at(&value.span(), "write headers = { name = \"value\" }"));
    };
    table.iter().map(|(name, value)| Ok((name.get_ref().to_string(), text(value)?.to_owned()))).collect()
}

fn stall(fields: &mut Fields<'_>) -> Result<Fault, Mistake> {
    let span = fields.must("seconds", "\"stall\"", |value| number(value, 0.001..=STALL_SECONDS_MAX))?;
    let at = fields.must("at", "\"stall\"", |value| {
        named(value, "moment", &[("before", Moment::Before), ("during", Moment::During)])
    })?;
    Ok(Fault::Stall { at, span: Duration::from_secs_f64(span) })
}

fn moment(value: &Value<'_>) -> Result<Moment, Mistake> {
    named(value, "moment", &[("before", Moment::Before), ("during", Moment::During), ("after", Moment::After)])
}

fn side(value: &Value<'_>) -> Result<Side, Mistake> {
    named(value, "side", &[("request", Side::Request), ("answer", Side::Answer)])
}

fn page(value: &Value<'_>) -> Result<PageFault, Mistake> {
    let pages = [("repeat", PageFault::Repeat), ("disorder", PageFault::Disorder), ("duplicate", PageFault::Duplicate)];
    named(value, "page", &pages)
}

fn ops(value: &Value<'_>) -> Result<Vec<Op>, Mistake> {
    match value.get_ref() {
        DeValue::Array(several) => ops_of(several),
        _ => Ok(vec![op(value)?]),
    }
}

fn ops_of(several: &DeArray<'_>) -> Result<Vec<Op>, Mistake> {
    several.iter().map(op).collect()
}

fn op(value: &Value<'_>) -> Result<Op, Mistake> {
    named(value, "operation", &Op::ALL.map(|op| (op.name(), op)))
}

fn code(value: &Value<'_>) -> Result<Code, Mistake> {
    let known: Vec<(&str, Code)> = Code::ALL.iter().map(|code| (code.name(), *code)).collect();
    named(value, "code", &known)
}

/// One of several values, by its name.
fn named<T: Copy>(value: &Value<'_>, what: &str, known: &[(&str, T)]) -> Result<T, Mistake> {
    let name = text(value)?;
    let found = known.iter().find(|(known, _)| *known == name).map(|(_, found)| *found);
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    found.ok_or_else(|| unknown(&value.span(), what, name, &names()))
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Mistake> {
    value.get_ref().as_str().ok_or_else(|| Mistake::at(&value.span(), "this must be a text in quotes"))
}

fn whole(value: &Value<'_>, min: u64) -> Result<u64, Mistake> {
    let read =
        value.get_ref().as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
    let fits = read.filter(|number| *number >= min);
    fits.ok_or_else(|| Mistake::at(&value.span(), format!("this must be a whole number, {min} or more")))
}

fn signed(value: &Value<'_>) -> Result<i64, Mistake> {
    let read = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
    read.ok_or_else(|| Mistake::at(&value.span(), "this must be a whole number of seconds"))
}

fn number(value: &Value<'_>, range: std::ops::RangeInclusive<f64>) -> Result<f64, Mistake> {
    let read = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    };
    let fits = read.filter(|number| range.contains(number));
    let what = || format!("this must be a number from {} to {}", range.start(), range.end());
    fits.ok_or_else(|| Mistake::at(&value.span(), what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FaultPlan, String> {
        parse_fault_plan(Path::new("plan.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_says_which_requests_and_what_becomes_of_them() {
        let text = "seed = 7\n[[rule]]\nop = ['UploadPart', 'PutObject']\nkey = 'a/*'\npart = 37\nwithout = 'X-Cos-Acl'\nprobability = 0.25\n\
                    limit = 3\nkind = 'status'\ncode = 'SlowDown'\n[[rule]]\nkind = 'listing'\npage = 'repeat'\n";
        let plan = parse(text).unwrap();
        let first = FaultRule {
            ops: vec![Op::UploadPart, Op::PutObject],
            key: Some("a/*".into()),
            part: Some(37),
            without: Some("x-cos-acl".into()),
            when: FaultWhen::Probability(0.25),
            limit: Some(3),
            fault: Fault::Status { status: 503, code: Some(Code::SlowDown) },
        };
        assert_eq!((plan.seed, &plan.rules[0]), (7, &first));
        assert_eq!(plan.rules[1].fault, Fault::Listing(PageFault::Repeat));
        assert_eq!(plan.rules[1].ops, [Op::ListObjects]);
        assert_eq!(parse("").unwrap(), FaultPlan::default());
    }

    #[test]
    fn an_answer_is_told_with_its_headers() {
        let text = "[[rule]]\nkind = 'answer'\nstatus = 301\nbody = '<A/>'\nheaders = { location = 'https://h/' }\n";
        let headers = vec![("location".to_owned(), "https://h/".to_owned())];
        let expected = Fault::Answer(FixedAnswer { status: 301, headers, body: "<A/>".into() });
        assert_eq!(parse(text).unwrap().rules[0].fault, expected);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_the_nearest_name() {
        let table = [
            (
                "[[rule]]\nop = 'PutObjct'\nkind = 'twice'",
                "line 2: there is no operation \"PutObjct\"; did you mean \"PutObject\"?",
            ),
            ("[[rule]]\n\nkind = 'rest'", "line 3: there is no kind \"rest\"; did you mean \"reset\"?"),
            (
                "[[rule]]\nkind = 'reset'\nat = 'befor'",
                "line 3: there is no moment \"befor\"; did you mean \"before\"?",
            ),
            (
                "[[rule]]\nkind = 'status'\ncode = 'slowdown'",
                "line 3: there is no code \"slowdown\"; did you mean \"SlowDown\"?",
            ),
            (
                "[[rule]]\nkind = 'twice'\nprobabilty = 1",
                "line 3: there is no field of a rule of kind \"twice\" \"probabilty\"; did you mean \"probability\"?",
            ),
            ("sed = 1\n", "line 1: there is no field of a plan \"sed\"; did you mean \"seed\"?"),
            ("[[rule]]\nkind = 'flip'\n", "line 1: \"flip\" needs \"of\""),
            ("[[rule]]\nnth = 1\n", "line 1: a rule needs \"kind\""),
            ("[[rule]]\nkind = 'twice'\nnth = 1\nfrom = 2", "line 1: a rule has one of"),
            ("[[rule]]\nkind = 'twice'\nnth = 0", "line 3: this must be a whole number, 1 or more"),
            ("[[rule]]\nkind = 'twice'\nprobability = 1.5", "line 3: this must be a number from 0 to 1"),
            ("[[rule]]\nkind = 'status'", "line 1: \"status\" needs \"status\" or \"code\""),
            ("[[rule]]\nkind = 'error_inside'", "line 1: \"error_inside\" needs op"),
            ("[[rule]]\nop = 'GetObject'\nkind = 'listing'\npage = 'repeat'", "line 1: \"listing\" is about"),
            ("[[rule]]\nkind = 'answer'\nheaders = 'x'", "line 3: write headers = {"),
            ("rule = 1", "line 1: write [[rule]]"),
            ("[[rule]]\nkind = \n", "line 2: "),
        ];
        for (text, expected) in table {
            let told = parse(text).unwrap_err();
            assert!(told.starts_with(&format!("plan.toml {expected}")), "{text}\n{told}");
        }
    }

    #[test]
    fn every_kind_has_its_name() {
        let needs = |kind: &str| match kind {
            "status" => "status = 500",
            "reset" => "at = 'after'",
            "stall" => "at = 'before'\nseconds = 0.5",
            "truncate" | "flip" | "flip_header" => "of = 'answer'",
            "error_inside" => "op = 'CopyObject'",
            "clock" => "seconds = -3600",
            "throttle" => "requests_per_second = 2.5",
            "listing" => "page = 'disorder'",
            _ => "",
        };
        for kind in KINDS {
            let plan = parse(&format!("[[rule]]\nkind = '{kind}'\n{}", needs(kind))).unwrap();
            assert_eq!(plan.rules[0].fault.name(), kind);
        }
    }
}
