//! Numbers and ranges in policies, extended to 64 bits as the type they are compared with.

/// A number as a value of an integer type, extended to 64 bits; `None` if it is none or does not fit.
pub(super) fn value(text: &str, bits: u32, signed: bool) -> Option<u64> {
    let number = tracingpolicy_crd::value::integer(text)?;
    let fits = if signed {
        let bound = 1i128 << (bits - 1);
        // masks and hexadecimal constants of a signed type are often written unsigned
        (-bound..bound * 2).contains(&number)
    } else if bits == 64 {
        // sizes may be given as negative numbers, too: functions return errors in them
        (i128::from(i64::MIN)..1i128 << bits).contains(&number)
    } else {
        (0..1i128 << bits).contains(&number)
    };
    if !fits {
        return None;
    }
    let truncated = number as u64 & mask(bits);
    Some(if signed {
        sign_extend(truncated, bits)
    } else {
        truncated
    })
}

/// `low:high`, both extended; `None` if malformed, out of range or empty.
pub(super) fn range(text: &str, bits: u32, signed: bool) -> Option<(u64, u64)> {
    let (low, high) = text.split_once(':')?;
    let (low, high) = (value(low, bits, signed)?, value(high, bits, signed)?);
    let ordered = if signed { low as i64 <= high as i64 } else { low <= high };
    ordered.then_some((low, high))
}

fn mask(bits: u32) -> u64 {
    if bits == 64 { u64::MAX } else { (1 << bits) - 1 }
}

fn sign_extend(value: u64, bits: u32) -> u64 {
    let shift = 64 - bits;
    (((value << shift) as i64) >> shift) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_base_and_extended() {
        assert_eq!(value("10", 32, true), Some(10));
        assert_eq!(value("0x10", 32, false), Some(16));
        assert_eq!(value("010", 32, false), Some(8));
        assert_eq!(value("-1", 32, true), Some(u64::MAX));
        assert_eq!(
            value("0xffffffff", 32, true),
            Some(u64::MAX),
            "hexadecimal of a signed type"
        );
        assert_eq!(value("-1", 8, true), Some(u64::MAX));
        assert_eq!(value("18446744073709551615", 64, false), Some(u64::MAX));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, bits, signed) in [
            ("-1", 32, false),
            ("256", 8, false),
            ("4294967296", 32, true),
            ("-129", 8, true),
        ] {
            assert_eq!(value(text, bits, signed), None, "{text}");
        }
        assert_eq!(value("-1", 64, false), Some(u64::MAX), "an error in a size");
        for text in ["", "x", "0x", "1:2", "--1", "1 2"] {
            assert_eq!(value(text, 64, true), None, "{text}");
        }
    }

    #[test]
    fn ranges_are_ordered_by_the_type() {
        assert_eq!(range("1:5", 32, false), Some((1, 5)));
        assert_eq!(range("-5:1", 32, true), Some((-5i64 as u64, 1)));
        assert_eq!(range("5:1", 32, false), None);
        assert_eq!(range("5", 32, false), None);
    }
}
