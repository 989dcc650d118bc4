//! `google.protobuf.Duration`.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::write_fraction;

/// A span of time; in JSON, seconds with an `s`: `"1.500s"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds, of the same sign as the seconds.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Duration {
    /// Converts to a standard duration; `None` if negative or malformed.
    pub fn to_std(self) -> Option<std::time::Duration> {
        let nanos = u32::try_from(self.nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
        Some(std::time::Duration::new(u64::try_from(self.seconds).ok()?, nanos))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: duration.subsec_nanos() as i32,
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds < 0 || self.nanos < 0 {
            f.write_str("-")?;
        }
        write!(f, "{}", self.seconds.unsigned_abs())?;
        write_fraction(f, self.nanos.unsigned_abs())?;
        f.write_str("s")
    }
}

fn parse(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (sign, digits) = number.strip_prefix('-').map_or((1, number), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration {
        seconds: sign * seconds,
        nanos: sign as i32 * nanos,
    })
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a duration such as `1.5s`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_and_parses() {
        for (seconds, nanos, text) in [
            (0, 0, "0s"),
            (1, 500_000_000, "1.500s"),
            (-1, -1_000, "-1.000001s"),
            (0, -1, "-0.000000001s"),
        ] {
            let duration = Duration { seconds, nanos };
            assert_eq!(duration.to_string(), text);
            assert_eq!(parse(text), Some(duration), "{text}");
        }
        assert_eq!(
            parse("1.5s"),
            Some(Duration {
                seconds: 1,
                nanos: 500_000_000
            })
        );
        for text in ["", "s", "1", "1.s5", "+1s", "1.0000000001s", "--1s", "é0s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn converts_to_std() {
        assert_eq!(Duration { seconds: -1, nanos: 0 }.to_std(), None);
        let std = std::time::Duration::from_millis(1_500);
        assert_eq!(Duration::from(std).to_std(), Some(std));
    }
}
