//! What a scalar means.
//!
//! Kubernetes reads YAML with a library that follows YAML 1.1 for plain scalars (`yes` is a boolean, `0755` octal, `1_000` a
//! thousand). We do the same, so that a file means one thing everywhere, and note what YAML 1.2 would read differently.

/// A scalar's value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Scalar {
    Null,
    Bool {
        value: bool,
        /// Written as only YAML 1.1 knows it.
        legacy: bool,
    },
    Int {
        value: i128,
        /// Written as only YAML 1.1 knows it.
        legacy: bool,
    },
    Float(f64),
    String(String),
}

impl Scalar {
    /// What it is, for messages: `a number`.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool { .. } => "a boolean",
            Self::Int { .. } | Self::Float(_) => "a number",
            Self::String(_) => "a string",
        }
    }

    /// The meaning of a plain scalar without a tag.
    pub(crate) fn from_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => {
                return Self::Bool {
                    value: true,
                    legacy: false,
                };
            }
            "false" | "False" | "FALSE" => {
                return Self::Bool {
                    value: false,
                    legacy: false,
                };
            }
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
                return Self::Bool {
                    value: true,
                    legacy: true,
                };
            }
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
                return Self::Bool {
                    value: false,
                    legacy: true,
                };
            }
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            _ => {}
        }
        // numbers start so; most strings are decided here
        if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
            return Self::String(text.to_owned());
        }
        if let Some((value, legacy)) = integer(text) {
            return Self::Int { value, legacy };
        }
        if is_float(text)
            && let Ok(value) = text.replace('_', "").parse()
        {
            return Self::Float(value);
        }
        Self::String(text.to_owned())
    }
}

/// An integer in any base, and whether YAML 1.2 would read something else.
fn integer(text: &str) -> Option<(i128, bool)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = digits.replace('_', "");
    let underscores = plain.len() != digits.len();
    let lower = plain.to_ascii_lowercase();
    let (radix, digits, legacy) = match (lower.get(..2), &lower[..1]) {
        (Some("0x"), _) => (16, &lower[2..], false),
        (Some("0o"), _) => (8, &lower[2..], false),
        (Some("0b"), _) => (2, &lower[2..], true),
        (Some(_), "0") => (8, &lower[1..], true),
        _ => (10, lower.as_str(), false),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some((if negative { -value } else { value }, legacy || underscores))
}

/// Digits with a point or an exponent.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa_ok = mantissa.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
        && mantissa.bytes().any(|b| b.is_ascii_digit())
        && mantissa.bytes().filter(|b| *b == b'.').count() <= 1;
    let exponent_ok = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    mantissa_ok && exponent_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_kubernetes_reads() {
        let int = |value| Scalar::Int { value, legacy: false };
        let legacy = |value| Scalar::Int { value, legacy: true };
        for (text, expected) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            (
                "true",
                Scalar::Bool {
                    value: true,
                    legacy: false,
                },
            ),
            (
                "yes",
                Scalar::Bool {
                    value: true,
                    legacy: true,
                },
            ),
            (
                "off",
                Scalar::Bool {
                    value: false,
                    legacy: true,
                },
            ),
            ("0", int(0)),
            ("-1", int(-1)),
            ("+7", int(7)),
            ("0x1F", int(31)),
            ("0o17", int(15)),
            ("017", legacy(15)),
            ("0b11", legacy(3)),
            ("1_000", legacy(1000)),
            ("1.5", Scalar::Float(1.5)),
            ("1e3", Scalar::Float(1000.0)),
            ("018", Scalar::Float(18.0)),
        ] {
            assert_eq!(Scalar::from_plain(text), expected, "{text}");
        }
        for text in [
            "1:2",
            "1.2.3.4",
            "10.0.0.0/8",
            "0x",
            "-",
            "+",
            ".",
            "1e",
            "a",
            "e3",
            "--1",
            "0xg",
            "yEs",
            "1-2",
        ] {
            assert_eq!(Scalar::from_plain(text), Scalar::String(text.to_owned()), "{text}");
        }
    }
}
