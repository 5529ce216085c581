//! Values between the catalog and a database, whichever it is.
//!
//! The catalog keeps numbers, truths as 0 and 1, texts, and bytes that are sealed. What comes back is checked: a value of
//! another type than the column's is an error that says so.

use std::sync::Arc;

use super::error::DatabaseError;

/// A value of a column or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// What a statement answered: names of columns, and rows.
pub(super) type Answer = (Arc<[String]>, Vec<Vec<Value>>);

/// Something that can be a parameter.
pub(crate) trait ToValue {
    fn to_value(&self) -> Value;
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Value {
        Value::Blob(self.to_vec())
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
}

macro_rules! integers_to_values {
    ($($integer:ty),*) => { $(
        impl ToValue for $integer {
            fn to_value(&self) -> Value {
                Value::Integer(i64::from(*self))
            }
        }
    )* };
}
integers_to_values!(bool, u8, u16, u32, i32, i64);

/// The parameters of a statement, in their order.
pub(crate) trait Params {
    fn into_values(self) -> Vec<Value>;
}

impl Params for () {
    fn into_values(self) -> Vec<Value> {
        Vec::new()
    }
}

impl<T: ToValue, const N: usize> Params for [T; N] {
    fn into_values(self) -> Vec<Value> {
        self.iter().map(ToValue::to_value).collect()
    }
}

macro_rules! tuples_to_values {
    ($($name:ident)+) => {
        impl<$($name: ToValue),+> Params for ($($name,)+) {
            #[expect(non_snake_case, reason = "a type's name stands for its value")]
            fn into_values(self) -> Vec<Value> {
                let ($($name,)+) = self;
                vec![$($name.to_value()),+]
            }
        }
    };
}
tuples_to_values!(A);
tuples_to_values!(A B);
tuples_to_values!(A B C);
tuples_to_values!(A B C D);
tuples_to_values!(A B C D E);
tuples_to_values!(A B C D E F);
tuples_to_values!(A B C D E F G);
tuples_to_values!(A B C D E F G H);
tuples_to_values!(A B C D E F G H I);
tuples_to_values!(A B C D E F G H I J);
tuples_to_values!(A B C D E F G H I J K);
tuples_to_values!(A B C D E F G H I J K L);
tuples_to_values!(A B C D E F G H I J K L M);
tuples_to_values!(A B C D E F G H I J K L M N);
tuples_to_values!(A B C D E F G H I J K L M N O);

/// Something that a column may hold.
pub(crate) trait FromValue: Sized {
    /// What a value says; `None` if it is of another type or too large.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

macro_rules! integers_from_values {
    ($($integer:ty),*) => { $(
        impl FromValue for $integer {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => Self::try_from(*number).ok(),
                    _ => None,
                }
            }
        }
    )* };
}
integers_from_values!(u16, u32, i64);

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// A column, by its place or its name.
pub(crate) trait ColumnIndex {
    fn place(&self, names: &[String]) -> Option<usize>;
    fn shown(&self) -> String;
}

impl ColumnIndex for usize {
    fn place(&self, names: &[String]) -> Option<usize> {
        Some(*self).filter(|place| *place < names.len())
    }

    fn shown(&self) -> String {
        format!("column {self}")
    }
}

impl ColumnIndex for &str {
    fn place(&self, names: &[String]) -> Option<usize> {
        names.iter().position(|name| name == self)
    }

    fn shown(&self) -> String {
        (*self).to_owned()
    }
}

/// A row of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(super) names: Arc<[String]>,
    pub(super) values: Vec<Value>,
}

impl Row {
    /// The names of its columns.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Its values, in the order of its columns.
    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values of some columns.
    pub(crate) fn values_of(&self, columns: &[&str]) -> Vec<Value> {
        columns.iter().map(|column| self.value(column).cloned().unwrap_or(Value::Null)).collect()
    }

    fn value(&self, column: &str) -> Option<&Value> {
        self.names.iter().position(|name| name == column).and_then(|place| self.values.get(place))
    }

    /// Whether another row has the same columns with the same values, in whatever order.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.names.len() == other.names.len()
            && self.names.iter().all(|name| self.value(name) == other.value(name))
    }

    /// The value of a column, for people.
    pub(crate) fn shown(&self, column: &str) -> String {
        match self.value(column) {
            Some(Value::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    /// The value of a column.
    pub(crate) fn get<T: FromValue>(&self, column: impl ColumnIndex) -> Result<T, DatabaseError> {
        let place = column.place(&self.names);
        let value = place.and_then(|place| self.values.get(place));
        let unusable = || {
            let column = column.shown();
            DatabaseError::Column(match value {
                None => format!("{column} is not there"),
                Some(value) => format!("{column} holds {value:?}"),
            })
        };
        value.and_then(T::from_value).ok_or_else(unusable)
    }
}
