//! `google.protobuf.Timestamp`.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::write_fraction;

const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time: seconds and nanoseconds since 1970-01-01T00:00:00Z.
///
/// Displays, and serialises, as RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction.
///
/// ```
/// let time = tetra_api::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 };
/// assert_eq!(time.to_string(), "2023-11-14T22:13:20.005Z");
/// assert_eq!("2023-11-14T23:13:20.005+01:00".parse(), Ok(time));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since the epoch; negative before it.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds since that second, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// The time `nanos` nanoseconds after the epoch.
    pub fn from_unix_nanos(nanos: i64) -> Self {
        Self {
            seconds: nanos.div_euclid(1_000_000_000),
            nanos: nanos.rem_euclid(1_000_000_000) as i32,
        }
    }

    /// Nanoseconds since the epoch; `None` outside the years 1678 to 2262.
    pub fn as_unix_nanos(&self) -> Option<i64> {
        self.seconds
            .checked_mul(1_000_000_000)?
            .checked_add(i64::from(self.nanos))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                seconds: since.as_secs() as i64,
                nanos: since.subsec_nanos() as i32,
            },
            Err(error) => {
                let before = error.duration();
                let carry = i64::from(before.subsec_nanos() > 0);
                Self {
                    seconds: -(before.as_secs() as i64) - carry,
                    nanos: (carry * 1_000_000_000 - i64::from(before.subsec_nanos())) as i32,
                }
            }
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts from 0000-03-01, so that the leap day is the last of its year, in eras of 400 years.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (
            self.seconds.div_euclid(SECONDS_PER_DAY),
            self.seconds.rem_euclid(SECONDS_PER_DAY),
        );
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        write_fraction(f, self.nanos.unsigned_abs())?;
        f.write_str("Z")
    }
}

/// Text that is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimestampError(String);

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a time such as `2026-01-02T03:04:05Z`", self.0)
    }
}

impl std::error::Error for ParseTimestampError {}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time: jiff::Timestamp = text.parse().map_err(|_| ParseTimestampError(text.to_owned()))?;
        let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
        // jiff lets the fraction of a time before the epoch be negative
        let borrow = i64::from(nanos < 0);
        Ok(Self {
            seconds: seconds - borrow,
            nanos: (i64::from(nanos) + borrow * 1_000_000_000) as i32,
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: i64, nanos: i32, text: &str) {
        let time = Timestamp { seconds, nanos };
        assert_eq!(time.to_string(), text);
        assert_eq!(text.parse(), Ok(time), "{text}");
    }

    #[test]
    fn displays_and_parses() {
        check(0, 0, "1970-01-01T00:00:00Z");
        check(0, 1, "1970-01-01T00:00:00.000000001Z");
        check(-1, 999_999_000, "1969-12-31T23:59:59.999999Z");
        check(951_782_400, 0, "2000-02-29T00:00:00Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59Z");
        check(4_107_542_400, 120_000_000, "2100-03-01T00:00:00.120Z");
        check(-62_135_596_800, 0, "0001-01-01T00:00:00Z");
        check(253_402_207_199, 0, "9999-12-30T21:59:59Z");
    }

    #[test]
    fn agrees_with_jiff_over_the_years() {
        for day in (-700_000..2_900_000).step_by(1_009) {
            let seconds = day * SECONDS_PER_DAY + 12_345;
            let theirs = jiff::Timestamp::from_second(seconds).expect("in range").to_string();
            assert_eq!(Timestamp { seconds, nanos: 0 }.to_string(), theirs);
        }
    }

    #[test]
    fn converts_from_other_clocks() {
        let early = UNIX_EPOCH - std::time::Duration::from_millis(1);
        assert_eq!(
            Timestamp::from(early),
            Timestamp {
                seconds: -1,
                nanos: 999_000_000
            }
        );
        assert_eq!(Timestamp::from_unix_nanos(-1_000_000), Timestamp::from(early));
        assert_eq!(Timestamp::from(early).as_unix_nanos(), Some(-1_000_000));
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "now", "2026-01-02", "2026-01-02T03:04:05"] {
            let error = text.parse::<Timestamp>().expect_err(text);
            assert!(error.to_string().contains(&format!("`{text}` is not a time")));
        }
    }
}
