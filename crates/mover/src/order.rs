//! The order of `_id`s of one kind, as MongoDB has it with the plain collation.

use std::cmp::Ordering;

use bson::Bson;

/// How two `_id`s compare; nothing where they are of different kinds, or of one that is not cut into
/// ranges. Source: the BSON comparison order in the MongoDB manual.
pub fn compare(a: &Bson, b: &Bson) -> Option<Ordering> {
    match (a, b) {
        (Bson::ObjectId(a), Bson::ObjectId(b)) => Some(a.bytes().cmp(&b.bytes())),
        (Bson::String(a), Bson::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Bson::Binary(a), Bson::Binary(b)) => {
            let key = |binary: &bson::Binary| (binary.bytes.len(), u8::from(binary.subtype));
            Some(key(a).cmp(&key(b)).then_with(|| a.bytes.cmp(&b.bytes)))
        }
        _ => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            (Some(a), None) => compare_to_double(a, double(b)?),
            (None, Some(b)) => compare_to_double(b, double(a)?).map(Ordering::reverse),
            (None, None) => double(a)?.partial_cmp(&double(b)?),
        },
    }
}

/// Whether two `_id`s are of one kind, so that they compare; nothing where one is of a kind that is not
/// cut into ranges.
pub(crate) fn are_of_one_kind(a: &Bson, b: &Bson) -> Option<bool> {
    let kind = |value: &Bson| match value {
        Bson::ObjectId(_) => Some(0),
        Bson::String(_) => Some(1),
        Bson::Binary(_) => Some(2),
        Bson::Double(number) if number.is_nan() => None,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) => Some(3),
        _ => None,
    };
    Some(kind(a)? == kind(b)?)
}

fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

fn double(value: &Bson) -> Option<f64> {
    match value {
        Bson::Double(number) if !number.is_nan() => Some(*number),
        _ => None,
    }
}

/// Exactly: not every integer is a double.
fn compare_to_double(a: i64, b: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if b >= BEYOND {
        return Some(Ordering::Less);
    }
    if b < -BEYOND {
        return Some(Ordering::Greater);
    }
    let floor = b.floor();
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
    let whole = floor as i64;
    Some(a.cmp(&whole).then(if b > floor { Ordering::Less } else { Ordering::Equal }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_only_where_they_are_known() {
        let (number, text, date) =
            (Bson::Int32(1), Bson::String("1".into()), Bson::DateTime(bson::DateTime::MIN));
        assert_eq!(are_of_one_kind(&number, &Bson::Double(2.0)), Some(true));
        assert_eq!(are_of_one_kind(&number, &text), Some(false));
        assert_eq!(are_of_one_kind(&number, &date), None);
    }

    #[test]
    fn numbers_compare_by_their_value_whatever_their_type() {
        let ascending = [
            Bson::Double(f64::NEG_INFINITY),
            Bson::Int64(i64::MIN),
            Bson::Double(-1.5),
            Bson::Int32(-1),
            Bson::Double(0.5),
            Bson::Int32(1),
            Bson::Int64(9_007_199_254_740_992),
            Bson::Int64(9_007_199_254_740_993),
            Bson::Double(9_007_199_254_740_994.0),
            Bson::Int64(i64::MAX),
            Bson::Double(9_223_372_036_854_775_808.0),
            Bson::Double(f64::INFINITY),
        ];
        for (place, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), Some(place.cmp(&other)), "{a} {b}");
            }
        }
        assert_eq!(compare(&Bson::Int32(1), &Bson::Double(1.0)), Some(Ordering::Equal));
    }

    #[test]
    fn shorter_binaries_come_first_and_kinds_do_not_compare() {
        let binary = |bytes: &[u8]| {
            Bson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: bytes.to_vec(),
            })
        };
        assert_eq!(compare(&binary(b"b"), &binary(b"aa")), Some(Ordering::Less));
        assert_eq!(compare(&binary(b"ab"), &binary(b"aa")), Some(Ordering::Greater));
        for strange in [Bson::Double(f64::NAN), Bson::Null, Bson::String("1".into())] {
            assert_eq!(compare(&strange, &Bson::Int32(1)), None);
            assert_eq!(compare(&Bson::Int32(1), &strange), None);
        }
    }
}
