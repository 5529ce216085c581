//! Aggregation expressions: field paths, literals, and the operators listed in `Function`.
//!
//! Operators that are not in that list are refused by name when the expression is parsed.

use std::cmp::Ordering;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBson, RawBsonRef};

use crate::error::{Code, CommandError, Result};
use crate::key::encoded;
use crate::number::{Arithmetic, ArithmeticError, as_double, compute};

/// An expression over one document.
#[derive(Debug, Clone)]
pub(crate) enum Expression {
    Literal(Bson),
    Field(Vec<String>),
    Root,
    Object(Vec<(String, Expression)>),
    Array(Vec<Expression>),
    Call(Function, Vec<Expression>),
}

macro_rules! functions {
    ($($variant:ident = $name:literal ($fewest:literal..=$most:expr);)*) => {
        /// An operator of expressions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function {$($variant,)*}

        impl Function {
            fn parse(name: &str) -> Option<Self> {
                match name {$($name => Some(Self::$variant),)* _ => None}
            }

            fn accepts(self, arguments: usize) -> bool {
                match self {$(Self::$variant => ($fewest..=$most).contains(&arguments),)*}
            }
        }
    };
}

functions! {
    Add = "$add" (0..=usize::MAX);
    Subtract = "$subtract" (2..=2);
    Multiply = "$multiply" (0..=usize::MAX);
    Divide = "$divide" (2..=2);
    Concat = "$concat" (0..=usize::MAX);
    Cond = "$cond" (3..=3);
    IfNull = "$ifNull" (2..=usize::MAX);
    And = "$and" (0..=usize::MAX);
    Or = "$or" (0..=usize::MAX);
    Not = "$not" (1..=1);
    Equal = "$eq" (2..=2);
    NotEqual = "$ne" (2..=2);
    Greater = "$gt" (2..=2);
    GreaterOrEqual = "$gte" (2..=2);
    Less = "$lt" (2..=2);
    LessOrEqual = "$lte" (2..=2);
    Size = "$size" (1..=1);
}

impl Expression {
    /// Reads an expression.
    pub(crate) fn parse(value: RawBsonRef<'_>) -> Result<Self> {
        match value {
            RawBsonRef::String(text) => Self::parse_text(text),
            RawBsonRef::Document(document) => Self::parse_document(document),
            RawBsonRef::Array(items) => {
                let items = items.into_iter().map(|item| Self::parse(item?));
                Ok(Self::Array(items.collect::<Result<_>>()?))
            }
            value => Ok(Self::Literal(value.try_into()?)),
        }
    }

    fn parse_text(text: &str) -> Result<Self> {
        let path = match (text.strip_prefix("$$"), text.strip_prefix('$')) {
            (Some("ROOT" | "CURRENT"), _) => return Ok(Self::Root),
            (Some(variable), _) => match variable.split_once('.') {
                Some(("ROOT" | "CURRENT", path)) => path,
                _ => {
                    return Err(CommandError::unsupported(format!("the variable $${variable}")));
                }
            },
            (None, Some(path)) if !path.is_empty() => path,
            _ => return Ok(Self::Literal(Bson::String(text.to_owned()))),
        };
        crate::depth::check_path(path)?;
        Ok(Self::Field(path.split('.').map(str::to_owned).collect()))
    }

    fn parse_document(document: &RawDocument) -> Result<Self> {
        let mut fields = Vec::new();
        for element in document {
            let (name, value) = element?;
            let name = name.as_str();
            if !name.starts_with('$') {
                fields.push((name.to_owned(), Self::parse(value)?));
                continue;
            }
            if document.into_iter().count() != 1 {
                let text = "an object representing an expression must have exactly one field";
                return Err(CommandError::new(Code::FailedToParse, text));
            }
            return Self::parse_call(name, value);
        }
        Ok(Self::Object(fields))
    }

    fn parse_call(name: &str, value: RawBsonRef<'_>) -> Result<Self> {
        if name == "$literal" {
            return Ok(Self::Literal(value.try_into()?));
        }
        let function = Function::parse(name).ok_or_else(|| {
            let text = format!(
                "Unrecognized expression '{name}', or one that the embedded engine does not support"
            );
            CommandError::new(Code::InvalidPipelineOperator, text)
        })?;
        let arguments = match (function, value) {
            (Function::Cond, RawBsonRef::Document(parts)) => ["if", "then", "else"]
                .into_iter()
                .filter_map(|part| parts.get(part).ok().flatten())
                .map(Self::parse)
                .collect::<Result<Vec<_>>>()?,
            (_, RawBsonRef::Array(items)) => {
                items.into_iter().map(|item| Self::parse(item?)).collect::<Result<_>>()?
            }
            (_, value) => vec![Self::parse(value)?],
        };
        if !function.accepts(arguments.len()) {
            let text = format!(
                "Expression {name} takes another number of arguments than {}",
                arguments.len()
            );
            return Err(CommandError::new(Code::FailedToParse, text));
        }
        Ok(Self::Call(function, arguments))
    }

    /// Whether the expression is true for a document; a failing expression is false.
    pub(crate) fn is_true_for(&self, document: &RawDocument) -> bool {
        let Ok(document) = Document::try_from(document) else {
            return false;
        };
        self.evaluate(&document).is_ok_and(|value| is_truthy(value.as_ref()))
    }

    /// The value for a document; `None` where it is missing.
    pub(crate) fn evaluate(&self, document: &Document) -> Result<Option<Bson>> {
        match self {
            Self::Literal(value) => Ok(Some(value.clone())),
            Self::Root => Ok(Some(Bson::Document(document.clone()))),
            Self::Field(path) => {
                // What it leads to is copied, whatever its size.
                crate::operation::check_now()?;
                Ok(lookup(document, path))
            }
            Self::Object(fields) => {
                let mut object = Document::new();
                for (name, expression) in fields {
                    if let Some(value) = expression.evaluate(document)? {
                        object.insert(name, value);
                    }
                }
                Ok(Some(Bson::Document(object)))
            }
            Self::Array(items) => {
                let values =
                    items.iter().map(|item| Ok(item.evaluate(document)?.unwrap_or(Bson::Null)));
                Ok(Some(Bson::Array(values.collect::<Result<_>>()?)))
            }
            Self::Call(function, arguments) => call(*function, arguments, document),
        }
    }
}

/// The value at a path; through arrays it is the array of the values in their documents.
fn lookup(document: &Document, path: &[String]) -> Option<Bson> {
    let (name, rest) = path.split_first()?;
    descend(document.get(name)?, rest)
}

fn descend(value: &Bson, path: &[String]) -> Option<Bson> {
    match value {
        value if path.is_empty() => Some(value.clone()),
        Bson::Document(nested) => lookup(nested, path),
        Bson::Array(items) => Some(Bson::Array(
            items
                .iter()
                .filter(|item| !matches!(item, Bson::Array(_)))
                .filter_map(|item| descend(item, path))
                .collect(),
        )),
        _ => None,
    }
}

fn call(function: Function, arguments: &[Expression], document: &Document) -> Result<Option<Bson>> {
    match function {
        Function::Cond => {
            let [condition, then, otherwise] = arguments else {
                return Ok(None);
            };
            let branch =
                if is_truthy(condition.evaluate(document)?.as_ref()) { then } else { otherwise };
            return branch.evaluate(document);
        }
        Function::And | Function::Or => {
            let decisive = function == Function::Or;
            for argument in arguments {
                if is_truthy(argument.evaluate(document)?.as_ref()) == decisive {
                    return Ok(Some(Bson::Boolean(decisive)));
                }
            }
            return Ok(Some(Bson::Boolean(!decisive)));
        }
        _ => {}
    }
    let values: Vec<Option<Bson>> =
        arguments.iter().map(|argument| argument.evaluate(document)).collect::<Result<_>>()?;
    if function == Function::IfNull {
        // The last one stands for all others, be it missing.
        let is_there =
            |value: &Option<Bson>| !matches!(value, None | Some(Bson::Null | Bson::Undefined));
        let found = values.iter().find(|value| is_there(value)).or(values.last());
        return Ok(found.cloned().flatten());
    }
    apply(function, &values).map(Some)
}

fn apply(function: Function, values: &[Option<Bson>]) -> Result<Bson> {
    let is_missing =
        |value: &Option<Bson>| matches!(value, None | Some(Bson::Null | Bson::Undefined));
    match (function, values) {
        (Function::Not, [value]) => Ok(Bson::Boolean(!is_truthy(value.as_ref()))),
        (Function::Equal, [a, b]) => {
            Ok(Bson::Boolean(order(a.as_ref(), b.as_ref())? == Ordering::Equal))
        }
        (Function::NotEqual, [a, b]) => {
            Ok(Bson::Boolean(order(a.as_ref(), b.as_ref())? != Ordering::Equal))
        }
        (Function::Greater, [a, b]) => {
            Ok(Bson::Boolean(order(a.as_ref(), b.as_ref())? == Ordering::Greater))
        }
        (Function::GreaterOrEqual, [a, b]) => {
            Ok(Bson::Boolean(order(a.as_ref(), b.as_ref())? != Ordering::Less))
        }
        (Function::Less, [a, b]) => {
            Ok(Bson::Boolean(order(a.as_ref(), b.as_ref())? == Ordering::Less))
        }
        (Function::LessOrEqual, [a, b]) => {
            Ok(Bson::Boolean(order(a.as_ref(), b.as_ref())? != Ordering::Greater))
        }
        (Function::Size, [Some(Bson::Array(items))]) => {
            Ok(Bson::Int32(i32::try_from(items.len()).unwrap_or(i32::MAX)))
        }
        (Function::Size, _) => Err(type_mismatch("$size", "an array")),
        (_, values) if values.iter().any(is_missing) => Ok(Bson::Null),
        (Function::Concat, values) => {
            let texts = values.iter().flatten().map(|value| value.as_str());
            let text: Option<String> = texts.collect();
            text.map(Bson::String).ok_or_else(|| type_mismatch("$concat", "strings"))
        }
        (Function::Subtract, [Some(a), Some(b)]) => fold(Arithmetic::Subtract, [a, b], "$subtract"),
        (Function::Divide, [Some(a), Some(b)])
            if matches!((a, b), (Bson::Decimal128(_), _) | (_, Bson::Decimal128(_))) =>
        {
            Err(CommandError::unsupported("$divide of Decimal128"))
        }
        (Function::Divide, [Some(a), Some(b)]) => match (as_double(a), as_double(b)) {
            (Some(_), Some(0.0)) => Err(CommandError::new(Code::BadValue, "can't $divide by zero")),
            (Some(a), Some(b)) => Ok(Bson::Double(a / b)),
            _ => Err(type_mismatch("$divide", "numbers")),
        },
        (Function::Multiply, values) => {
            fold(Arithmetic::Multiply, values.iter().flatten(), "$multiply")
        }
        (_, values) => fold(Arithmetic::Add, values.iter().flatten(), "$add"),
    }
}

fn type_mismatch(operator: &str, expected: &str) -> CommandError {
    CommandError::new(Code::TypeMismatch, format!("{operator} only supports {expected}"))
}

fn fold<'a>(
    operation: Arithmetic,
    values: impl IntoIterator<Item = &'a Bson>,
    operator: &str,
) -> Result<Bson> {
    let mut values = values.into_iter();
    // The first value stands as it is: a sum that began with zero would lose the sign of -0.0.
    let start = match values.next() {
        None => return Ok(Bson::Int32(i32::from(operation == Arithmetic::Multiply))),
        Some(first @ (Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_))) => first.clone(),
        Some(Bson::Decimal128(_)) => {
            return Err(arithmetic_error(&ArithmeticError::Decimal, operator));
        }
        Some(Bson::DateTime(_)) => {
            return Err(CommandError::unsupported(format!("{operator} of dates")));
        }
        Some(_) => return Err(arithmetic_error(&ArithmeticError::NotANumber, operator)),
    };
    values.try_fold(start, |total, value| {
        match compute(operation, &total, value) {
            // What leaves 64 bits goes on as a double.
            Err(ArithmeticError::Overflow) => {
                let total = Bson::Double(as_double(&total).unwrap_or(0.0));
                compute(operation, &total, value)
            }
            outcome => outcome,
        }
        .map_err(|error| match value {
            Bson::DateTime(_) => CommandError::unsupported(format!("{operator} of dates")),
            _ => arithmetic_error(&error, operator),
        })
    })
}

/// Says what was wrong with the operands of `operator`.
pub(crate) fn arithmetic_error(error: &ArithmeticError, operator: &str) -> CommandError {
    match error {
        ArithmeticError::NotANumber => type_mismatch(operator, "numeric types"),
        ArithmeticError::Decimal => CommandError::unsupported(format!("{operator} of Decimal128")),
        ArithmeticError::Overflow => {
            CommandError::new(Code::BadValue, format!("{operator} overflowed a 64-bit integer"))
        }
    }
}

/// The order of two values, a missing one before all others.
fn order(left: Option<&Bson>, right: Option<&Bson>) -> Result<Ordering> {
    Ok(value_key(left)?.cmp(&value_key(right)?))
}

/// The order-preserving bytes of an owned value; nothing comes before everything.
pub(crate) fn value_key(value: Option<&Bson>) -> Result<Vec<u8>> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let raw = RawBson::try_from(value.clone())?;
    Ok(encoded(raw.as_raw_bson_ref())?)
}

/// Everything but false, null, zero and nothing.
fn is_truthy(value: Option<&Bson>) -> bool {
    match value {
        None | Some(Bson::Null | Bson::Undefined) => false,
        Some(Bson::Boolean(flag)) => *flag,
        Some(Bson::Int32(number)) => *number != 0,
        Some(Bson::Int64(number)) => *number != 0,
        Some(Bson::Double(number)) => *number != 0.0,
        Some(Bson::Decimal128(number)) => !crate::number::is_decimal_zero(number),
        Some(_) => true,
    }
}
