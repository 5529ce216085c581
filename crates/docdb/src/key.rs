//! The total order of BSON values, as bytes.
//!
//! `encode_value` writes a value so that comparing the bytes compares the values: types in
//! MongoDB's order, all numeric types in one order by their exact value, and no encoding being
//! the beginning of another, so that compound keys are concatenations. Sorting, unique indexes
//! and range conditions all rest on this one place.
//! Source: the BSON comparison order in the MongoDB manual.

use bson::RawBsonRef;
use bson::raw::{RawArray, RawDocument};

use crate::number::encode_number;

/// A value's place among the types; numbers share one, strings and symbols too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum TypeClass {
    MinKey = 0x01,
    Undefined = 0x04,
    Null = 0x05,
    Number = 0x0a,
    String = 0x14,
    Document = 0x1e,
    Array = 0x28,
    Binary = 0x32,
    ObjectId = 0x3c,
    Boolean = 0x46,
    DateTime = 0x50,
    Timestamp = 0x5a,
    Regex = 0x64,
    DbPointer = 0x6e,
    Code = 0x78,
    CodeWithScope = 0x82,
    MaxKey = 0xf0,
}

/// The type class of a value.
pub(crate) fn type_class(value: RawBsonRef<'_>) -> TypeClass {
    match value {
        RawBsonRef::MinKey => TypeClass::MinKey,
        RawBsonRef::Undefined => TypeClass::Undefined,
        RawBsonRef::Null => TypeClass::Null,
        RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Double(_)
        | RawBsonRef::Decimal128(_) => TypeClass::Number,
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => TypeClass::String,
        RawBsonRef::Document(_) => TypeClass::Document,
        RawBsonRef::Array(_) => TypeClass::Array,
        RawBsonRef::Binary(_) => TypeClass::Binary,
        RawBsonRef::ObjectId(_) => TypeClass::ObjectId,
        RawBsonRef::Boolean(_) => TypeClass::Boolean,
        RawBsonRef::DateTime(_) => TypeClass::DateTime,
        RawBsonRef::Timestamp(_) => TypeClass::Timestamp,
        RawBsonRef::RegularExpression(_) => TypeClass::Regex,
        RawBsonRef::DbPointer(_) => TypeClass::DbPointer,
        RawBsonRef::JavaScriptCode(_) => TypeClass::Code,
        RawBsonRef::JavaScriptCodeWithScope(_) => TypeClass::CodeWithScope,
        RawBsonRef::MaxKey => TypeClass::MaxKey,
    }
}

/// The order-preserving bytes of a value.
pub(crate) fn encoded(value: RawBsonRef<'_>) -> bson::error::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(16);
    encode_value(&mut out, value)?;
    Ok(out)
}

/// Appends the order-preserving bytes of a value.
///
/// Fails on a nested value whose bytes are not BSON.
pub(crate) fn encode_value(out: &mut Vec<u8>, value: RawBsonRef<'_>) -> bson::error::Result<()> {
    out.push(type_class(value) as u8);
    match value {
        RawBsonRef::MinKey | RawBsonRef::MaxKey | RawBsonRef::Null | RawBsonRef::Undefined => {}
        RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Double(_)
        | RawBsonRef::Decimal128(_) => encode_number(out, value),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            encode_bytes(out, text.as_bytes());
        }
        RawBsonRef::Document(document) => encode_document(out, document)?,
        RawBsonRef::Array(array) => encode_array(out, array)?,
        RawBsonRef::Binary(binary) => {
            let length = u32::try_from(binary.bytes.len()).unwrap_or(u32::MAX);
            // The old subtype carries its length once more, and that counts.
            let is_old = binary.subtype == bson::spec::BinarySubtype::BinaryOld;
            let whole = if is_old { length.saturating_add(4) } else { length };
            out.extend_from_slice(&whole.to_be_bytes());
            out.push(binary.subtype.into());
            if is_old {
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(binary.bytes);
        }
        RawBsonRef::ObjectId(id) => out.extend_from_slice(&id.bytes()),
        RawBsonRef::Boolean(flag) => out.push(u8::from(flag)),
        RawBsonRef::DateTime(at) => {
            let ordered = at.timestamp_millis().cast_unsigned() ^ (1 << 63);
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        RawBsonRef::Timestamp(ts) => {
            out.extend_from_slice(&ts.time.to_be_bytes());
            out.extend_from_slice(&ts.increment.to_be_bytes());
        }
        RawBsonRef::RegularExpression(regex) => {
            encode_bytes(out, regex.pattern.as_str().as_bytes());
            encode_bytes(out, regex.options.as_str().as_bytes());
        }
        // The driver library keeps its parts to itself; its text holds both of them.
        RawBsonRef::DbPointer(pointer) => encode_bytes(out, format!("{pointer:?}").as_bytes()),
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            encode_bytes(out, code.code.as_bytes());
            encode_document(out, code.scope)?;
        }
    }
    Ok(())
}

fn encode_document(out: &mut Vec<u8>, document: &RawDocument) -> bson::error::Result<()> {
    for element in document {
        let (name, value) = element?;
        out.push(type_class(value) as u8);
        encode_bytes(out, name.as_str().as_bytes());
        encode_value(out, value)?;
    }
    out.push(0);
    Ok(())
}

fn encode_array(out: &mut Vec<u8>, array: &RawArray) -> bson::error::Result<()> {
    for value in array {
        encode_value(out, value?)?;
    }
    out.push(0);
    Ok(())
}

/// Bytes of any length: a zero is followed by 0xff, the end is two zeros.
fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Decimal128, doc};
    use proptest::prelude::*;

    use super::*;

    fn key(value: impl Into<Bson>) -> Vec<u8> {
        let raw = bson::RawBson::try_from(value.into()).unwrap();
        encoded(raw.as_raw_bson_ref()).unwrap()
    }

    fn decimal(text: &str) -> Decimal128 {
        text.parse().unwrap()
    }

    #[test]
    fn types_come_in_the_documented_order() {
        let values = [
            Bson::MinKey,
            Bson::Null,
            Bson::Int32(-5),
            Bson::String("a".into()),
            Bson::Document(doc! { "a": 1 }),
            Bson::Array(vec![]),
            Bson::ObjectId(bson::oid::ObjectId::from_bytes([1; 12])),
            Bson::Boolean(false),
            Bson::DateTime(bson::DateTime::from_millis(-1)),
            Bson::Timestamp(bson::Timestamp { time: 0, increment: 1 }),
            Bson::MaxKey,
        ];
        assert!(values.windows(2).all(|pair| key(pair[0].clone()) < key(pair[1].clone())));
    }

    #[test]
    fn numbers_of_all_types_have_one_order_by_exact_value() {
        assert_eq!(key(1), key(1.0));
        assert_eq!(key(1i64), key(decimal("1.00")));
        assert_eq!(key(0.0), key(-0.0));
        assert_eq!(key(0.5), key(decimal("0.5")));
        let ascending = [
            key(f64::NAN),
            key(f64::NEG_INFINITY),
            key(decimal("-1E+6000")),
            key(-2),
            key(decimal("-1.1")),
            key(-1),
            key(0),
            key(decimal("1E-6000")),
            key(0.1f64),
        ];
        assert!(ascending.windows(2).all(|pair| pair[0] < pair[1]));
        // 0.1 as a double is slightly above the decimal 0.1.
        assert!(key(decimal("0.1")) < key(0.1));
        assert!(key(9_007_199_254_740_992i64) < key(9_007_199_254_740_993i64));
        assert_eq!(key(9_007_199_254_740_993i64), key(decimal("9007199254740993")));
        assert!(key(9_007_199_254_740_993i64) < key(decimal("9007199254740993.5")));
        assert!(key(i64::MAX) < key(9.3e18));
        assert!(key(1e308) < key(decimal("1E+6000")));
    }

    #[test]
    fn a_compound_key_never_mixes_its_parts() {
        let join = |a: &str, b: &str| [key(a), key(b)].concat();
        assert!(join("a", "z") < join("ab", "a"));
        assert!(join("a\0", "a") < join("a\0b", "a"));
        assert!(key(vec![1, 2]) < key(vec![1, 2, 0]));
    }

    proptest! {
        #[test]
        fn integers_and_doubles_compare_as_numbers(a in any::<i64>(), b in any::<f64>()) {
            prop_assume!(!b.is_nan());
            // Both fit into 128 bits and a fraction; compare exactly.
            let expected = if b >= 9.3e18 { std::cmp::Ordering::Less }
                else if b <= -9.3e18 { std::cmp::Ordering::Greater }
                else {
                    #[expect(clippy::cast_possible_truncation)]
                    let whole = b.trunc() as i128;
                    i128::from(a).cmp(&whole).then_with(|| 0.0f64.total_cmp(&(b.fract() + 0.0)))
                };
            prop_assert_eq!(key(a).cmp(&key(b)), expected);
        }

        #[test]
        fn texts_compare_as_bytes(a in ".*", b in ".*") {
            prop_assert_eq!(key(a.as_str()).cmp(&key(b.as_str())), a.as_bytes().cmp(b.as_bytes()));
        }
    }
}
