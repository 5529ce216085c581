//! JSON bodies, read strictly: an attribute that is given twice is refused.
//!
//! RFC 8259 leaves open what a repeated name means, and parsers differ; a body that two readers
//! understand differently is not carried out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{ApiError, Result};

/// What the reader says of a repeated name, followed by the name.
const REPEATED: &str = "repeated name ";

/// Reads a body.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(value)) => Ok(value),
        Err(error) => Err(describe(&error)),
    }
}

fn describe(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let name = text
        .strip_prefix(REPEATED)
        .and_then(|rest| rest.rsplit_once(" at line ").map(|(name, _)| name));
    let malformed = || {
        let place = format!("line {}, column {}", error.line(), error.column());
        ApiError::malformed_json().with_hint(format!("the body is no JSON at {place}"))
    };
    name.map_or_else(malformed, ApiError::duplicate_json_key)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(Error::custom(format_args!("{REPEATED}{name}")));
            }
            let Strict(value) = fields.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repeated_name_is_refused_and_named_wherever_it_stands() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":null,"a":[]}}]"#] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!((error.code, error.violations[0].field.as_str()), ("MALFORMED_JSON", "a"));
        }
        assert_eq!(parse(br#"{"a":{"a":1}}"#).unwrap(), json!({ "a": { "a": 1 } }));
        for bad in [&b"{"[..], b"", b"{\"a\":\"\xff\"}", b"{} {}", b"nul"] {
            assert_eq!(parse(bad).unwrap_err().code, ApiError::malformed_json().code);
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_reader(bytes in r#"[\[\]{},:a"0-9.\\eE -]{0,40}"#) {
            let plain = serde_json::from_str::<Value>(&bytes).ok();
            match parse(bytes.as_bytes()) {
                Ok(value) => prop_assert_eq!(Some(value), plain),
                Err(error) => prop_assert!(plain.is_none() || !error.violations.is_empty()),
            }
        }
    }
}
