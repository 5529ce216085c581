//! BSON's four numeric types: one order for all, and arithmetic that keeps their types.

use std::cmp::Ordering;

use bson::{Bson, RawBsonRef};

/// Significant digits of a double's decimal expansion that are compared with a Decimal128,
/// which has 34.
const EXPANSION_DIGITS: usize = 60;

/// Appends the order of a number: the nearest double, then the exact value where they differ.
pub(crate) fn encode_number(out: &mut Vec<u8>, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::Int32(number) => encode_double(out, f64::from(number)),
        RawBsonRef::Double(number) => encode_double(out, number),
        RawBsonRef::Int64(number) => encode_integer(out, number),
        RawBsonRef::Decimal128(number) => encode_decimal(out, &number.to_string()),
        _ => {}
    }
}

/// The double's bits so that they compare as the doubles do; NaN comes first.
fn ordered_bits(number: f64) -> u64 {
    if number.is_nan() {
        return 0;
    }
    // Zero has one representation only.
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

const BELOW: u8 = 0x7f;
const EXACT: u8 = 0x80;
const ABOVE: u8 = 0x81;

fn encode_double(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(&ordered_bits(number).to_be_bytes());
    out.push(EXACT);
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the loss is what is looked for"
)]
fn encode_integer(out: &mut Vec<u8>, number: i64) {
    let nearest = number as f64;
    match i128::from(number).cmp(&(nearest as i128)) {
        Ordering::Equal => encode_double(out, nearest),
        order => encode_inexact(out, nearest, order, &Decimal::parse(&number.to_string())),
    }
}

fn encode_decimal(out: &mut Vec<u8>, text: &str) {
    let number: f64 = text.parse().unwrap_or(f64::NAN);
    if number.is_nan() || text.ends_with("Infinity") || text.ends_with("inf") {
        return encode_double(out, number);
    }
    let nearest = number.clamp(f64::MIN, f64::MAX);
    let exact = Decimal::parse(text);
    let expansion = Decimal::parse(&format!("{nearest:.EXPANSION_DIGITS$e}"));
    match exact.cmp(&expansion) {
        Ordering::Equal => encode_double(out, nearest),
        order => encode_inexact(out, nearest, order, &exact),
    }
}

fn encode_inexact(out: &mut Vec<u8>, nearest: f64, order: Ordering, exact: &Decimal) {
    out.extend_from_slice(&ordered_bits(nearest).to_be_bytes());
    out.push(if order == Ordering::Less { BELOW } else { ABOVE });
    exact.encode(out);
}

/// A decimal number: `0.d₁d₂d₃… × 10^exponent`, without leading or trailing zeros.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    exponent: i32,
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads `-12.5E+3` and the like.
    fn parse(text: &str) -> Self {
        let (text, negative) = match text.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.trim_start_matches('+').parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = whole.bytes().chain(fraction.bytes()).map(|digit| digit.wrapping_sub(b'0'));
        let leading = all.clone().take_while(|digit| *digit == 0).count();
        let mut digits: Vec<u8> = all.skip(leading).collect();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let places = i32::try_from(whole.len()).unwrap_or(0) - i32::try_from(leading).unwrap_or(0);
        let is_zero = digits.is_empty();
        Self {
            negative: negative && !is_zero,
            exponent: if is_zero { 0 } else { exponent + places },
            digits,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let exponent = u16::try_from(self.exponent + 0x8000).unwrap_or(0);
        out.extend_from_slice(&exponent.to_be_bytes());
        out.extend(self.digits.iter().map(|digit| digit + 1));
        out.push(0);
        if self.negative {
            out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
        }
    }
}

impl Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = |number: &Self| (!number.digits.is_empty(), number.exponent);
        let absolute =
            magnitude(self).cmp(&magnitude(other)).then_with(|| self.digits.cmp(&other.digits));
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => absolute,
            (true, true) => absolute.reverse(),
        }
    }
}

/// Whether a Decimal128 is zero, of whatever sign and exponent.
pub(crate) fn is_decimal_zero(number: &bson::Decimal128) -> bool {
    let text = number.to_string();
    !text.ends_with("NaN") && !text.ends_with("Infinity") && Decimal::parse(&text).digits.is_empty()
}

/// The remainder of the whole part of a decimal number, by its digits.
pub(crate) fn decimal_remainder(text: &str, divisor: i128) -> Option<i128> {
    if text.ends_with("NaN") || text.ends_with("Infinity") {
        return None;
    }
    let number = Decimal::parse(text);
    let places = usize::try_from(number.exponent.max(0)).ok()?;
    let digits = number.digits.iter().copied().chain(std::iter::repeat(0)).take(places);
    let modulus = divisor.unsigned_abs();
    let rest = digits.fold(0u128, |rest, digit| (rest * 10 + u128::from(digit)) % modulus);
    let rest = i128::try_from(rest).ok()?;
    Some(if number.negative { -rest } else { rest })
}

/// A whole number out of any numeric type, if it has no fraction and fits.
pub(crate) fn as_integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(i64::from(number)),
        RawBsonRef::Int64(number) => Some(number),
        RawBsonRef::Double(number) => whole_number(number),
        RawBsonRef::Decimal128(number) => whole_number(number.to_string().parse().ok()?),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole_number(number: f64) -> Option<i64> {
    // 2^63 is exact as a double and the first that does not fit.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    (number.fract() == 0.0 && fits).then_some(number as i64)
}

/// A number as a double, as close as it gets.
#[expect(clippy::cast_precision_loss, reason = "callers want an approximation")]
pub(crate) fn as_double(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        Bson::Decimal128(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// An arithmetic operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

/// Why two values cannot be added or multiplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArithmeticError {
    NotANumber,
    /// Decimal128 arithmetic is not part of the engine.
    Decimal,
    Overflow,
}

/// Computes as MongoDB does: int32 grows to int64, any double makes a double.
pub(crate) fn compute(
    operation: Arithmetic,
    left: &Bson,
    right: &Bson,
) -> Result<Bson, ArithmeticError> {
    let integer = |value: &Bson| match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    };
    if matches!((left, right), (Bson::Decimal128(_), _) | (_, Bson::Decimal128(_))) {
        return Err(ArithmeticError::Decimal);
    }
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        let result = match operation {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
        }
        .ok_or(ArithmeticError::Overflow)?;
        let both_small = matches!((left, right), (Bson::Int32(_), Bson::Int32(_)));
        return Ok(match i32::try_from(result) {
            Ok(small) if both_small => Bson::Int32(small),
            _ => Bson::Int64(result),
        });
    }
    let a = as_double(left).ok_or(ArithmeticError::NotANumber)?;
    let b = as_double(right).ok_or(ArithmeticError::NotANumber)?;
    Ok(Bson::Double(match operation {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_keeps_the_smallest_type_that_mongodb_keeps() {
        let add = |a, b| compute(Arithmetic::Add, &a, &b);
        assert_eq!(add(Bson::Int32(1), Bson::Int32(2)), Ok(Bson::Int32(3)));
        assert_eq!(add(Bson::Int32(i32::MAX), Bson::Int32(1)), Ok(Bson::Int64(2_147_483_648)));
        assert_eq!(add(Bson::Int32(1), Bson::Int64(2)), Ok(Bson::Int64(3)));
        assert_eq!(add(Bson::Int32(1), Bson::Double(0.5)), Ok(Bson::Double(1.5)));
        assert_eq!(add(Bson::Int64(i64::MAX), Bson::Int32(1)), Err(ArithmeticError::Overflow));
        assert_eq!(add(Bson::Null, Bson::Int32(1)), Err(ArithmeticError::NotANumber));
    }

    #[test]
    fn whole_numbers_come_from_every_type() {
        assert_eq!(as_integer(RawBsonRef::Double(2.0)), Some(2));
        assert_eq!(as_integer(RawBsonRef::Double(2.5)), None);
        assert_eq!(as_integer(RawBsonRef::Double(1e19)), None);
        assert_eq!(as_integer(RawBsonRef::Double(f64::NAN)), None);
    }
}
