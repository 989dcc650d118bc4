//! Numbers and ranges of numbers.

use crate::types::ArgType;

/// Reads an integer in the bases of Go and C: `10`, `0x1f`, `0o17`, `017`, `0b1`, with a sign and with `_` between digits.
pub fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.replace('_', "").to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        (8, octal)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        (2, binary)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// Smallest and largest value of an integer type or a set of capabilities.
///
/// Sizes may be given as negative numbers too, since functions return errors in them.
pub fn bounds(ty: ArgType) -> Option<(i128, i128)> {
    if ty == ArgType::SizeT {
        return Some((i128::from(i64::MIN), i128::from(u64::MAX)));
    }
    if ty.is_capability_set() {
        return Some((0, i128::from(u64::MAX)));
    }
    if ty == ArgType::Capability {
        return Some((0, i128::from(i32::MAX)));
    }
    let (bits, signed) = ty.integer()?;
    Some(if signed {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    })
}

/// Reads an integer that a type can hold.
pub fn integer_of(text: &str, ty: ArgType) -> Option<i128> {
    let (low, high) = bounds(ty)?;
    integer(text).filter(|value| (low..=high).contains(value))
}

/// Reads `low:high`, both included; `None` unless `low` is at most `high` and both fit the type.
pub fn range(text: &str, ty: ArgType) -> Option<(i128, i128)> {
    let (low, high) = text.split_once(':')?;
    let (low, high) = (integer_of(low.trim(), ty)?, integer_of(high.trim(), ty)?);
    (low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_in_all_bases() {
        for (text, expected) in [
            ("10", Some(10)),
            ("-10", Some(-10)),
            ("0x1F", Some(31)),
            ("017", Some(15)),
            ("0o17", Some(15)),
            ("0b101", Some(5)),
            ("1_000", Some(1000)),
            ("0", Some(0)),
            ("", None),
            ("-", None),
            ("0x", None),
            ("08", None),
            ("1.5", None),
            (" 1", None),
            ("1e3", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    #[test]
    fn types_bound_their_values() {
        assert_eq!(integer_of("-129", ArgType::Int8), None);
        assert_eq!(integer_of("-128", ArgType::Int8), Some(-128));
        assert_eq!(integer_of("4294967296", ArgType::Uint32), None);
        assert_eq!(
            integer_of("0xffffffffffffffff", ArgType::Uint64),
            Some(i128::from(u64::MAX))
        );
        assert_eq!(integer_of("-1", ArgType::SizeT), Some(-1));
        assert_eq!(integer_of("1", ArgType::File), None);
        assert_eq!(range("1:5", ArgType::Int), Some((1, 5)));
        assert_eq!(range("5:1", ArgType::Int), None);
        assert_eq!(range("1", ArgType::Int), None);
    }
}
