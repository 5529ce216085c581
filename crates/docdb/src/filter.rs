//! Query filters: parsed once, then tested against raw documents.
//!
//! Operators that are not here are refused by name when the filter is parsed.

mod bits;
mod parse;

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bson::RawBsonRef;
use bson::raw::RawDocument;

use crate::error::Result;
use crate::expression::Expression;
use crate::key::{TypeClass, encoded, type_class};
use crate::number::as_integer;
use crate::operation;
use crate::path::Path;

pub(crate) use parse::{parse_filter, parse_tests};

/// A condition on a document.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Field(Path, Test),
    Expression(Box<Expression>),
}

/// A condition on what a path leads to.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Compare(Comparison, Operand),
    /// The operands are sorted by key.
    In(Vec<Operand>, Vec<Pattern>),
    Pattern(Pattern),
    Exists,
    Type(Vec<u8>),
    Size(i64),
    Modulo {
        divisor: i64,
        remainder: i64,
    },
    Every(Vec<Test>),
    /// `$elemMatch` on documents in an array.
    ElementDocument(Box<Filter>),
    /// `$elemMatch` on the elements themselves.
    Element(Vec<Test>),
    Not(Vec<Test>),
    Bits(bits::Bits),
}

/// How a value must relate to the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A value in a filter, with its order at hand.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) value: bson::RawBson,
    pub(crate) key: Vec<u8>,
}

impl Operand {
    pub(crate) fn new(value: RawBsonRef<'_>) -> bson::error::Result<Self> {
        Ok(Self { value: value.into(), key: encoded(value)? })
    }

    /// The order of `value` relative to this operand.
    fn order_of(&self, value: RawBsonRef<'_>) -> Ordering {
        match (value, self.value.as_raw_bson_ref()) {
            (RawBsonRef::Int32(a), RawBsonRef::Int32(b)) => a.cmp(&b),
            (RawBsonRef::String(a), RawBsonRef::String(b)) => a.cmp(b),
            (RawBsonRef::ObjectId(a), RawBsonRef::ObjectId(b)) => a.bytes().cmp(&b.bytes()),
            _ => encoded(value).map_or(Ordering::Less, |key| key.as_slice().cmp(&self.key)),
        }
    }

    fn is_equal(&self, candidate: Option<RawBsonRef<'_>>) -> bool {
        match candidate {
            None => matches!(self.value, bson::RawBson::Null),
            Some(RawBsonRef::Undefined) if matches!(self.value, bson::RawBson::Null) => true,
            Some(value) => self.order_of(value) == Ordering::Equal,
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
        }
    }

    fn test(self, candidate: Option<RawBsonRef<'_>>, operand: &Operand) -> bool {
        if self == Self::Equal {
            return operand.is_equal(candidate);
        }
        let value = candidate.unwrap_or(RawBsonRef::Null);
        let wanted = type_class(operand.value.as_raw_bson_ref());
        let class = type_class(value);
        let is_number = class == TypeClass::Number && wanted == TypeClass::Number;
        if is_number && (is_nan(value) || is_nan(operand.value.as_raw_bson_ref())) {
            // NaN is equal to itself and neither above nor below anything.
            return self.holds(Ordering::Equal) && operand.order_of(value) == Ordering::Equal;
        }
        let any_type = matches!(wanted, TypeClass::MinKey | TypeClass::MaxKey);
        (any_type || class == wanted) && self.holds(operand.order_of(value))
    }
}

fn is_nan(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Double(number) => number.is_nan(),
        RawBsonRef::Decimal128(number) => number.to_string().ends_with("NaN"),
        _ => false,
    }
}

/// A regular expression of a filter.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: fancy_regex::Regex,
    source: (String, String),
}

impl Pattern {
    fn test(&self, candidate: Option<RawBsonRef<'_>>) -> bool {
        if operation::is_over_now() {
            return false;
        }
        match candidate {
            Some(RawBsonRef::String(text) | RawBsonRef::Symbol(text)) => {
                // An expression that backtracks without end is stopped and does not match.
                self.regex.is_match(text).unwrap_or(false)
            }
            Some(RawBsonRef::RegularExpression(regex)) => {
                (regex.pattern.as_str(), regex.options.as_str())
                    == (self.source.0.as_str(), self.source.1.as_str())
            }
            _ => false,
        }
    }
}

impl Filter {
    /// Whether the document fulfils the condition.
    ///
    /// # Errors
    /// The time of the operation is over: one document with a long array and a long list of
    /// conditions is work for minutes.
    pub(crate) fn matches(&self, document: &RawDocument) -> Result<bool> {
        let holds = self.holds_for(document);
        operation::check_found()?;
        Ok(holds)
    }

    /// The answer to `matches`, or any when the operation is over.
    fn holds_for(&self, document: &RawDocument) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.holds_for(document)),
            Self::Any(filters) => filters.iter().any(|filter| filter.holds_for(document)),
            Self::Not(filter) => !filter.holds_for(document),
            // Each condition goes through the document anew.
            Self::Field(path, test) => {
                !operation::is_over_for(document.as_bytes().len()) && test.matches(path, document)
            }
            Self::Expression(expression) => expression.is_true_for(document),
        }
    }

    /// The conditions that must all hold.
    pub(crate) fn conjuncts(&self) -> Vec<(&Path, &Test)> {
        match self {
            Self::All(filters) => filters.iter().flat_map(Self::conjuncts).collect(),
            Self::Field(path, test) => vec![(path, test)],
            Self::Any(filters) if filters.len() == 1 => {
                filters.iter().flat_map(Self::conjuncts).collect()
            }
            Self::Any(_) | Self::Not(_) | Self::Expression(_) => Vec::new(),
        }
    }
}

impl Test {
    fn matches(&self, path: &Path, document: &RawDocument) -> bool {
        match self {
            Self::Not(tests) => !tests.iter().all(|test| test.matches(path, document)),
            Self::Every(tests) => {
                !tests.is_empty() && tests.iter().all(|test| test.matches(path, document))
            }
            _ => {
                let mut found = false;
                path.visit(document, &mut |candidate| {
                    if operation::is_over() {
                        return ControlFlow::Break(());
                    }
                    found = if candidate.is_element && self.wants_whole_value() {
                        false
                    } else {
                        self.holds_for(candidate.value)
                    };
                    if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                found
            }
        }
    }

    /// Whether the elements of an array do not count, only the array itself.
    fn wants_whole_value(&self) -> bool {
        matches!(self, Self::Exists | Self::Size(_) | Self::ElementDocument(_) | Self::Element(_))
    }

    /// Whether a value fulfils the condition, an array as such and not by its elements.
    pub(crate) fn holds_for(&self, candidate: Option<RawBsonRef<'_>>) -> bool {
        match self {
            Self::Compare(comparison, operand) => comparison.test(candidate, operand),
            Self::In(operands, patterns) => {
                is_among(operands, candidate)
                    || patterns.iter().any(|pattern| pattern.test(candidate))
            }
            Self::Pattern(pattern) => pattern.test(candidate),
            Self::Exists => candidate.is_some(),
            Self::Type(types) => {
                candidate.is_some_and(|value| types.contains(&(value.element_type() as u8)))
            }
            Self::Size(size) => elements(candidate)
                .is_some_and(|elements| i64::try_from(elements.count()) == Ok(*size)),
            Self::Modulo { divisor, remainder } => candidate
                .and_then(|value| remainder_of(value, *divisor))
                .is_some_and(|found| found == i128::from(*remainder)),
            Self::Bits(bits) => candidate.is_some_and(|value| bits.hold_for(value)),
            Self::ElementDocument(filter) => elements(candidate).is_some_and(|mut elements| {
                elements.any(|element| match element {
                    RawBsonRef::Document(document) => filter.holds_for(document),
                    RawBsonRef::Array(array) => {
                        RawDocument::from_bytes(array.as_bytes()).is_ok_and(|d| filter.holds_for(d))
                    }
                    _ => false,
                })
            }),
            Self::Element(tests) => elements(candidate).is_some_and(|mut elements| {
                elements.any(|element| {
                    !operation::is_over() && tests.iter().all(|test| test.holds_for(Some(element)))
                })
            }),
            Self::Not(tests) => !tests.iter().all(|test| test.holds_for(candidate)),
            Self::Every(tests) => {
                !tests.is_empty() && tests.iter().all(|test| test.holds_for(candidate))
            }
        }
    }
}

/// Whether one of the operands, which are sorted by key, equals the value.
fn is_among(operands: &[Operand], candidate: Option<RawBsonRef<'_>>) -> bool {
    /// So many are compared one by one, which needs no key of the value.
    const FEW: usize = 16;
    if operands.len() <= FEW {
        return operands.iter().any(|operand| operand.is_equal(candidate));
    }
    let value = match candidate {
        None | Some(RawBsonRef::Undefined) => RawBsonRef::Null,
        Some(value) => value,
    };
    encoded(value).is_ok_and(|key| operands.binary_search_by(|o| o.key.cmp(&key)).is_ok())
}

fn elements(candidate: Option<RawBsonRef<'_>>) -> Option<impl Iterator<Item = RawBsonRef<'_>>> {
    match candidate {
        Some(RawBsonRef::Array(array)) => Some(array.into_iter().flatten()),
        _ => None,
    }
}

/// The remainder of a number's whole part; of all numbers that have one, however large.
fn remainder_of(value: RawBsonRef<'_>, divisor: i64) -> Option<i128> {
    match value {
        RawBsonRef::Decimal128(number) => {
            crate::number::decimal_remainder(&number.to_string(), i128::from(divisor))
        }
        RawBsonRef::Double(number) if number.is_finite() => {
            crate::number::decimal_remainder(&format!("{:.0}", number.trunc()), i128::from(divisor))
        }
        value => truncated(value).map(|number| i128::from(number) % i128::from(divisor)),
    }
}

/// The whole part of a number, as `$mod` takes it.
fn truncated(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Double(number) => as_integer(RawBsonRef::Double(number.trunc())),
        value => as_integer(value),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn matches(filter: &Document, document: &Document) -> bool {
        let filter = filter.to_vec().unwrap();
        let filter = parse_filter(RawDocument::from_bytes(&filter).unwrap()).unwrap();
        filter.matches(RawDocument::from_bytes(&document.to_vec().unwrap()).unwrap()).unwrap()
    }

    /// (filter, documents that match, documents that do not)
    type Case = (Document, Vec<Document>, Vec<Document>);

    fn check(cases: Vec<Case>) {
        for (filter, yes, no) in cases {
            for document in yes {
                assert!(matches(&filter, &document), "{filter} should match {document}");
            }
            for document in no {
                assert!(!matches(&filter, &document), "{filter} should not match {document}");
            }
        }
    }

    #[test]
    fn comparison_operators_compare_within_one_type() {
        check(vec![
            (
                doc! { "a": 1 },
                vec![doc! { "a": 1.0 }, doc! { "a": [3, 1] }],
                vec![doc! { "a": "1" }, doc! {}],
            ),
            (
                doc! { "a": { "$gt": 5 } },
                vec![doc! { "a": 6i64 }, doc! { "a": [1, 9] }],
                vec![doc! { "a": "z" }, doc! { "a": 5 }],
            ),
            (
                doc! { "a": { "$lte": "b" } },
                vec![doc! { "a": "b" }, doc! { "a": "a" }],
                vec![doc! { "a": 1 }, doc! { "a": "c" }],
            ),
            (
                doc! { "a": { "$ne": 1 } },
                vec![doc! {}, doc! { "a": 2 }],
                vec![doc! { "a": [1, 2] }],
            ),
            (
                doc! { "a": null },
                vec![doc! {}, doc! { "a": null }, doc! { "a": [null] }],
                vec![doc! { "a": 0 }],
            ),
            (
                doc! { "a": { "$in": [1, "x"] } },
                vec![doc! { "a": "x" }, doc! { "a": [1] }],
                vec![doc! { "a": 2 }],
            ),
            (
                doc! { "a": { "$nin": [1] } },
                vec![doc! {}, doc! { "a": 2 }],
                vec![doc! { "a": [1] }],
            ),
            (
                doc! { "a": { "$gte": f64::NAN } },
                vec![doc! { "a": f64::NAN }],
                vec![doc! { "a": 1 }],
            ),
        ]);
    }

    #[test]
    fn logical_operators_combine() {
        check(vec![
            (
                doc! { "$or": [{ "a": 1 }, { "b": 1 }] },
                vec![doc! { "b": 1 }],
                vec![doc! { "a": 2 }],
            ),
            (doc! { "$nor": [{ "a": 1 }, { "b": 1 }] }, vec![doc! {}], vec![doc! { "b": 1 }]),
            (
                doc! { "$and": [{ "a": 1 }, { "b": 1 }] },
                vec![doc! { "a": 1, "b": 1 }],
                vec![doc! { "a": 1 }],
            ),
            (
                doc! { "a": { "$not": { "$gt": 5 } } },
                vec![doc! {}, doc! { "a": "x" }, doc! { "a": 5 }],
                vec![doc! { "a": 6 }],
            ),
        ]);
    }

    #[test]
    fn element_and_array_operators_look_at_shape() {
        check(vec![
            (doc! { "a": { "$exists": true } }, vec![doc! { "a": null }], vec![doc! {}]),
            (doc! { "a": { "$exists": false } }, vec![doc! {}], vec![doc! { "a": null }]),
            (
                doc! { "a": { "$type": "string" } },
                vec![doc! { "a": "x" }, doc! { "a": ["x"] }],
                vec![doc! { "a": 1 }],
            ),
            (
                doc! { "a": { "$type": "number" } },
                vec![doc! { "a": 1.5 }, doc! { "a": 1 }],
                vec![doc! { "a": "1" }],
            ),
            (
                doc! { "a": { "$size": 2 } },
                vec![doc! { "a": [1, 2] }],
                vec![doc! { "a": [[1, 2]] }, doc! { "a": 2 }],
            ),
            (
                doc! { "a": { "$all": [1, 2] } },
                vec![doc! { "a": [2, 1, 3] }],
                vec![doc! { "a": [1] }],
            ),
            (doc! { "a": { "$all": [] } }, vec![], vec![doc! { "a": [] }]),
            (
                doc! { "a": { "$elemMatch": { "b": 1, "c": { "$gt": 1 } } } },
                vec![doc! { "a": [{ "b": 1, "c": 2 }] }],
                vec![doc! { "a": [{ "b": 1 }, { "c": 2 }] }],
            ),
            (
                doc! { "a": { "$elemMatch": { "$gt": 1, "$lt": 3 } } },
                vec![doc! { "a": [2] }],
                vec![doc! { "a": [1, 3] }],
            ),
            (
                doc! { "a": { "$mod": [3, 1] } },
                vec![doc! { "a": 4 }, doc! { "a": 4.9 }],
                vec![doc! { "a": 3 }],
            ),
            (doc! { "a": { "$bitsAllSet": 6 } }, vec![doc! { "a": 7 }], vec![doc! { "a": 2 }]),
        ]);
    }

    #[test]
    fn patterns_match_texts() {
        check(vec![
            (
                doc! { "a": { "$regex": "^AB", "$options": "i" } },
                vec![doc! { "a": "abc" }],
                vec![doc! { "a": "cab" }, doc! { "a": 1 }],
            ),
            (
                doc! { "a": { "$in": [bson::Regex { pattern: "^x".try_into().unwrap(), options: "".try_into().unwrap() }] } },
                vec![doc! { "a": "xy" }],
                vec![doc! { "a": "y" }],
            ),
        ]);
    }

    #[test]
    fn dotted_paths_enter_arrays() {
        check(vec![
            (
                doc! { "a.b": 2 },
                vec![doc! { "a": [{ "b": 1 }, { "b": 2 }] }, doc! { "a": { "b": [2] } }],
                vec![doc! { "a": 2 }],
            ),
            (doc! { "a.1": 2 }, vec![doc! { "a": [1, 2] }], vec![doc! { "a": [2, 1] }]),
        ]);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (filter, name) in [
            (doc! { "$where": "1" }, "$where"),
            (doc! { "a": { "$near": 1 } }, "$near"),
            (doc! { "$text": { "$search": "x" } }, "$text"),
        ] {
            let bytes = filter.to_vec().unwrap();
            let error = parse_filter(RawDocument::from_bytes(&bytes).unwrap()).unwrap_err();
            assert!(error.message.contains(name), "{}", error.message);
        }
    }
}
