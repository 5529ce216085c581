//! From filter documents to conditions.

use bson::RawBsonRef;
use bson::raw::{RawArray, RawDocument};

use super::bits::{Bits, Wanted};
use super::{Comparison, Filter, Operand, Pattern, Test};
use crate::error::{Code, CommandError, Result};
use crate::expression::Expression;
use crate::number::as_integer;
use crate::path::Path;

/// Reads a filter document.
pub(crate) fn parse_filter(filter: &RawDocument) -> Result<Filter> {
    let mut conditions = Vec::new();
    for element in filter {
        let (name, value) = element?;
        let name = name.as_str();
        match name {
            "$and" => conditions.push(Filter::All(parse_branches(name, value)?)),
            "$or" => conditions.push(Filter::Any(parse_branches(name, value)?)),
            "$nor" => {
                let any = Filter::Any(parse_branches(name, value)?);
                conditions.push(Filter::Not(Box::new(any)));
            }
            "$expr" => conditions.push(Filter::Expression(Box::new(Expression::parse(value)?))),
            "$comment" => {}
            _ if name.starts_with('$') => return Err(unknown_operator("top level operator", name)),
            _ => {
                crate::depth::check_path(name)?;
                let path = Path::parse(name);
                for test in parse_tests(value)? {
                    conditions.push(Filter::Field(path.clone(), test));
                }
            }
        }
    }
    Ok(Filter::All(conditions))
}

fn unknown_operator(kind: &str, name: &str) -> CommandError {
    match name {
        "$where" | "$text" | "$jsonSchema" | "$near" | "$nearSphere" | "$geoWithin"
        | "$geoIntersects" | "$function" => {
            CommandError::unsupported(format!("the operator {name}"))
        }
        _ => CommandError::new(Code::BadValue, format!("unknown {kind}: {name}")),
    }
}

fn parse_branches(name: &str, value: RawBsonRef<'_>) -> Result<Vec<Filter>> {
    let invalid = || CommandError::new(Code::BadValue, format!("{name} must be a nonempty array"));
    let array = value.as_array().ok_or_else(invalid)?;
    let mut branches = Vec::new();
    for branch in array {
        let document = branch?.as_document().ok_or_else(|| {
            CommandError::new(Code::BadValue, format!("{name} argument's entries must be objects"))
        })?;
        branches.push(parse_filter(document)?);
    }
    if branches.is_empty() { Err(invalid()) } else { Ok(branches) }
}

fn is_operator_document(document: &RawDocument) -> bool {
    let first = document.into_iter().next().and_then(std::result::Result::ok);
    first.is_some_and(|(name, _)| {
        name.as_str().starts_with('$') && !matches!(name.as_str(), "$ref" | "$id" | "$db")
    })
}

/// The tests that a field's value stands for: operators, or equality.
pub(crate) fn parse_tests(value: RawBsonRef<'_>) -> Result<Vec<Test>> {
    match value {
        RawBsonRef::Document(document) if is_operator_document(document) => {
            parse_operators(document)
        }
        RawBsonRef::RegularExpression(regex) => {
            Ok(vec![Test::Pattern(pattern(regex.pattern.as_str(), regex.options.as_str())?)])
        }
        value => Ok(vec![Test::Compare(Comparison::Equal, Operand::new(value)?)]),
    }
}

fn parse_operators(document: &RawDocument) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for element in document {
        let (name, value) = element?;
        match name.as_str() {
            "$regex" => tests.push(parse_regex(value, document)?),
            "$options" if document.get("$regex")?.is_some() => {}
            name => tests.push(parse_operator(name, value)?),
        }
    }
    Ok(tests)
}

fn parse_operator(name: &str, value: RawBsonRef<'_>) -> Result<Test> {
    let compare = |comparison| Ok(Test::Compare(comparison, Operand::new(value)?));
    match name {
        "$eq" => compare(Comparison::Equal),
        "$gt" => compare(Comparison::Greater),
        "$gte" => compare(Comparison::GreaterOrEqual),
        "$lt" => compare(Comparison::Less),
        "$lte" => compare(Comparison::LessOrEqual),
        "$ne" if matches!(value, RawBsonRef::RegularExpression(_)) => {
            Err(bad_value("Can't have regex as arg to $ne."))
        }
        "$ne" => Ok(Test::Not(vec![compare(Comparison::Equal)?])),
        "$in" => parse_in(name, value),
        "$nin" => Ok(Test::Not(vec![parse_in(name, value)?])),
        "$not" => parse_not(value),
        "$exists" if is_flag_set(value) => Ok(Test::Exists),
        "$exists" => Ok(Test::Not(vec![Test::Exists])),
        "$type" => parse_type(value),
        "$size" => as_integer(value)
            .filter(|size| *size >= 0)
            .map(Test::Size)
            .ok_or_else(|| bad_value("$size must be a whole number that is not negative")),
        "$mod" => parse_modulo(value),
        "$all" => parse_all(value),
        "$elemMatch" => parse_element_match(value),
        "$bitsAllSet" => parse_bits(value, Wanted::AllSet),
        "$bitsAnySet" => parse_bits(value, Wanted::AnySet),
        "$bitsAllClear" => parse_bits(value, Wanted::AllClear),
        "$bitsAnyClear" => parse_bits(value, Wanted::AnyClear),
        _ => Err(unknown_operator("operator", name)),
    }
}

fn bad_value(message: &str) -> CommandError {
    CommandError::new(Code::BadValue, message)
}

fn array<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a RawArray> {
    value.as_array().ok_or_else(|| bad_value(&format!("{name} needs an array")))
}

/// Whether a value counts as true where a flag is expected.
fn is_flag_set(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Boolean(flag) => flag,
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        RawBsonRef::Int32(number) => number != 0,
        RawBsonRef::Int64(number) => number != 0,
        RawBsonRef::Double(number) => number != 0.0,
        RawBsonRef::Decimal128(number) => !crate::number::is_decimal_zero(&number),
        _ => true,
    }
}

fn parse_in(name: &str, value: RawBsonRef<'_>) -> Result<Test> {
    let mut operands = Vec::new();
    let mut patterns = Vec::new();
    for item in array(name, value)? {
        match item? {
            RawBsonRef::RegularExpression(regex) => {
                patterns.push(pattern(regex.pattern.as_str(), regex.options.as_str())?);
            }
            RawBsonRef::Document(document) if is_operator_document(document) => {
                return Err(bad_value(&format!("cannot nest $ under {name}")));
            }
            item => operands.push(Operand::new(item)?),
        }
    }
    operands.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Test::In(operands, patterns))
}

fn parse_not(value: RawBsonRef<'_>) -> Result<Test> {
    match value {
        RawBsonRef::Document(document) if is_operator_document(document) => {
            Ok(Test::Not(parse_operators(document)?))
        }
        RawBsonRef::RegularExpression(_) => Ok(Test::Not(parse_tests(value)?)),
        _ => Err(bad_value("$not needs a regex or a document of operators")),
    }
}

fn parse_regex(value: RawBsonRef<'_>, document: &RawDocument) -> Result<Test> {
    let given = document.get("$options")?.and_then(RawBsonRef::as_str);
    let (source, options) = match value {
        RawBsonRef::String(source) => (source, given.unwrap_or_default()),
        RawBsonRef::RegularExpression(regex) => {
            (regex.pattern.as_str(), given.unwrap_or(regex.options.as_str()))
        }
        _ => return Err(bad_value("$regex has to be a string")),
    };
    Ok(Test::Pattern(pattern(source, options)?))
}

fn pattern(source: &str, options: &str) -> Result<Pattern> {
    let mut flags = String::new();
    for option in options.chars() {
        match option {
            'i' | 'm' | 's' | 'x' => flags.push(option),
            'u' => {}
            other => {
                return Err(bad_value(&format!("invalid flag in regex options: {other}")));
            }
        }
    }
    let source_text = as_server(source, options.contains('m'));
    let text = if flags.is_empty() { source_text } else { format!("(?{flags}){source_text}") };
    let regex = fancy_regex::RegexBuilder::new(&text)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|error| bad_value(&format!("Regular expression is invalid: {error}")))?;
    Ok(Pattern { regex, source: (source.to_owned(), options.to_owned()) })
}

/// The expression in our library's terms: on the server `\\d`, `\\w`, `\\s` and `\\b` know ASCII only,
/// and `$` also stands before a line break at the end unless lines are told apart.
fn as_server(source: &str, has_lines: bool) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut characters = source.chars().peekable();
    let has_lines = has_lines || sets_lines(source);
    // Inside of a class, and how many of its characters have been seen.
    let mut class: Option<usize> = None;
    while let Some(character) = characters.next() {
        let seen = class;
        class = class.map(|seen| seen + 1);
        match (character, seen) {
            ('\\', _) => match (characters.next(), seen.is_some()) {
                (Some('d'), _) => out.push_str("[0-9]"),
                (Some('D'), _) => out.push_str("[^0-9]"),
                (Some('w'), _) => out.push_str("[0-9A-Za-z_]"),
                (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
                (Some('s'), _) => out.push_str(r"[\t\n\x0b\x0c\r\x20]"),
                (Some('S'), _) => out.push_str(r"[^\t\n\x0b\x0c\r\x20]"),
                (Some('b'), false) => out.push_str(WORD_BOUNDARY),
                (Some('B'), false) => out.push_str(NO_WORD_BOUNDARY),
                (Some(other), _) => out.extend(['\\', other]),
                (None, _) => out.push('\\'),
            },
            ('$', None) if !has_lines => out.push_str(r"(?=\n?\z)"),
            ('[', None) => {
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                class = Some(0);
            }
            // A bracket that closes at once stands for itself.
            (']', Some(0)) => out.push_str(r"\]"),
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[', Some(_)) if characters.peek() == Some(&':') => {
                out.push('[');
                for inner in characters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            // Our library has sets of classes; the server has not.
            ('[' | '&' | '~', Some(_)) => out.extend(['\\', character]),
            (other, _) => out.push(other),
        }
    }
    out
}

/// Whether a group of flags in the expression tells lines apart.
fn sets_lines(source: &str) -> bool {
    source.match_indices("(?").any(|(at, _)| {
        let flags = source.get(at + 2..).unwrap_or_default();
        flags.chars().take_while(char::is_ascii_lowercase).any(|flag| flag == 'm')
    })
}

/// An expression that tries more than this on one text does not match.
const BACKTRACK_LIMIT: usize = 20_000_000;

/// Between a word character and something else, in ASCII.
const WORD_BOUNDARY: &str =
    "(?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))";
const NO_WORD_BOUNDARY: &str =
    "(?:(?<=[0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<![0-9A-Za-z_])(?![0-9A-Za-z_]))";

fn parse_modulo(value: RawBsonRef<'_>) -> Result<Test> {
    let invalid = || bad_value("malformed mod, it needs a divisor and a remainder");
    let numbers: Vec<i64> = array("$mod", value)?
        .into_iter()
        .map(|item| super::truncated(item?).ok_or_else(invalid))
        .collect::<Result<_>>()?;
    match numbers.as_slice() {
        [0, _] => Err(bad_value("divisor cannot be 0")),
        [divisor, remainder] => Ok(Test::Modulo { divisor: *divisor, remainder: *remainder }),
        _ => Err(invalid()),
    }
}

fn parse_all(value: RawBsonRef<'_>) -> Result<Test> {
    let mut tests = Vec::new();
    for item in array("$all", value)? {
        let item = item?;
        match item {
            RawBsonRef::Document(document) if is_operator_document(document) => {
                tests.extend(parse_operators(document)?);
            }
            item => tests.extend(parse_tests(item)?),
        }
    }
    Ok(Test::Every(tests))
}

fn parse_element_match(value: RawBsonRef<'_>) -> Result<Test> {
    let document = value.as_document().ok_or_else(|| bad_value("$elemMatch needs an Object"))?;
    let first = document.into_iter().next().transpose()?;
    let is_value_form = first.is_some_and(|(name, _)| {
        name.as_str().starts_with('$')
            && !matches!(name.as_str(), "$and" | "$or" | "$nor" | "$expr")
    });
    if is_value_form {
        Ok(Test::Element(parse_operators(document)?))
    } else {
        Ok(Test::ElementDocument(Box::new(parse_filter(document)?)))
    }
}

fn parse_bits(value: RawBsonRef<'_>, wanted: Wanted) -> Result<Test> {
    let invalid = || {
        bad_value(
            "a bit mask is a number that is not negative, binary data or an array of positions",
        )
    };
    let mut positions = Vec::new();
    match value {
        RawBsonRef::Array(given) => {
            for position in given {
                let position = as_integer(position?).and_then(|p| u32::try_from(p).ok());
                positions.push(position.filter(|p| i32::try_from(*p).is_ok()).ok_or_else(invalid)?);
            }
        }
        RawBsonRef::Binary(mask) => {
            let bits = (0u32..).zip(mask.bytes).flat_map(|(index, byte)| {
                (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| index * 8 + bit)
            });
            positions.extend(bits);
        }
        value => {
            let mask = as_integer(value).and_then(|m| u64::try_from(m).ok()).ok_or_else(invalid)?;
            positions.extend((0..64).filter(|bit| mask >> bit & 1 == 1));
        }
    }
    Ok(Test::Bits(Bits { positions, wanted }))
}

fn parse_type(value: RawBsonRef<'_>) -> Result<Test> {
    let mut types = Vec::new();
    match value {
        RawBsonRef::Array(items) => {
            for item in items {
                types.extend(type_numbers(item?)?);
            }
        }
        value => types.extend(type_numbers(value)?),
    }
    Ok(Test::Type(types))
}

/// BSON's type numbers by alias, as in the manual's page for `$type`.
const TYPE_ALIASES: &[(&str, &[u8])] = &[
    ("double", &[0x01]),
    ("string", &[0x02]),
    ("object", &[0x03]),
    ("array", &[0x04]),
    ("binData", &[0x05]),
    ("undefined", &[0x06]),
    ("objectId", &[0x07]),
    ("bool", &[0x08]),
    ("date", &[0x09]),
    ("null", &[0x0a]),
    ("regex", &[0x0b]),
    ("dbPointer", &[0x0c]),
    ("javascript", &[0x0d]),
    ("symbol", &[0x0e]),
    ("javascriptWithScope", &[0x0f]),
    ("int", &[0x10]),
    ("timestamp", &[0x11]),
    ("long", &[0x12]),
    ("decimal", &[0x13]),
    ("minKey", &[0xff]),
    ("maxKey", &[0x7f]),
    ("number", &[0x01, 0x10, 0x12, 0x13]),
];

fn type_numbers(value: RawBsonRef<'_>) -> Result<Vec<u8>> {
    if let RawBsonRef::String(alias) = value {
        let found = TYPE_ALIASES.iter().find(|(name, _)| *name == alias);
        return found
            .map(|(_, numbers)| numbers.to_vec())
            .ok_or_else(|| bad_value(&format!("Unknown type name alias: {alias}")));
    }
    let number = as_integer(value).ok_or_else(|| bad_value("type must be a number or a string"))?;
    let number = if number == -1 { 0xff } else { number };
    let known = TYPE_ALIASES.iter().any(|(_, n)| n.iter().any(|n| i64::from(*n) == number));
    u8::try_from(number)
        .ok()
        .filter(|_| known)
        .map(|number| vec![number])
        .ok_or_else(|| bad_value(&format!("Invalid numerical type code: {number}")))
}
