//! Text of settings becomes values.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::{ConfigError, Setting};

/// Typed access to the settings in force.
pub(super) struct Values<'a> {
    settings: &'a BTreeMap<&'static str, Setting>,
}

impl<'a> Values<'a> {
    pub(super) fn new(settings: &'a BTreeMap<&'static str, Setting>) -> Self {
        Self { settings }
    }

    fn setting(&self, flag: &str) -> &'a Setting {
        self.settings.get(flag).expect("every flag of the table has a setting")
    }

    pub(super) fn text(&self, flag: &str) -> &'a str {
        self.setting(flag).value.trim()
    }

    pub(super) fn is_given(&self, flag: &str) -> bool {
        self.setting(flag).origin != Setting::DEFAULT
    }

    pub(super) fn list(&self, flag: &str) -> Vec<&'a str> {
        let text = self.text(flag).trim_start_matches('[').trim_end_matches(']');
        text.split([',', ' '])
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect()
    }

    pub(super) fn boolean(&self, flag: &str) -> Result<bool, ConfigError> {
        parse_boolean(self.text(flag)).ok_or_else(|| self.wrong(flag, "must be true or false"))
    }

    pub(super) fn number<T: FromStr>(&self, flag: &str) -> Result<T, ConfigError> {
        self.text(flag)
            .parse()
            .map_err(|_| self.wrong(flag, "must be a number, and not below zero"))
    }

    pub(super) fn size(&self, flag: &str) -> Result<u64, ConfigError> {
        parse_size(self.text(flag))
            .ok_or_else(|| self.wrong(flag, "must be a number of bytes, with K, M or G after it or not"))
    }

    pub(super) fn duration(&self, flag: &str) -> Result<Duration, ConfigError> {
        parse_duration(self.text(flag)).ok_or_else(|| self.wrong(flag, "must be a duration, as in 30s or 1h30m"))
    }

    pub(super) fn wrong(&self, flag: &str, reason: &str) -> ConfigError {
        let setting = self.setting(flag);
        ConfigError::Value {
            flag: flag.to_owned(),
            value: setting.value.clone(),
            origin: setting.origin.clone(),
            reason: reason.to_owned(),
        }
    }
}

pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" | "" => Some(false),
        _ => None,
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

/// Parses a duration in Go's form: decimal numbers with units, one after the other (`1h30m`, `1.5s`, `0`).
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (whole, fraction) = rest[..digits].split_once('.').unwrap_or((&rest[..digits], ""));
        rest = &rest[digits..];
        let (unit, factor) = [
            ("ns", 1),
            ("us", 1_000),
            ("µs", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit) && !(*unit == "m" && rest.starts_with("ms")))?;
        rest = &rest[unit.len()..];
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(factor)?)?;
        let mut place = factor;
        for digit in fraction.bytes() {
            place /= 10;
            nanos = nanos.checked_add(u64::from(char::from(digit).to_digit(10)?) * place)?;
        }
    }
    (!text.is_empty()).then_some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_gos_form() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1_500)),
            (".25h", Some(900_000)),
            ("1.2.3s", None),
            ("99999999999h", None),
            ("250ms", Some(250)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(parse_size("64k"), Some(65536));
        assert_eq!(parse_size("1G"), Some(1 << 30));
        assert_eq!(parse_size("7"), Some(7));
        assert_eq!(parse_size("x"), None);
        assert_eq!(parse_size("99999999999999G"), None);
    }
}
