//! `rateLimit` of the action `Post`.

use std::time::Duration;

/// Reads a number of seconds, or of what its unit says: `5`, `5s`, `1m`, `2h`. Up to 49 days, which is what 32 bits of
/// milliseconds hold.
pub fn rate_limit(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, 's' | 'S') => (&text[..at], 1),
        (at, 'm' | 'M') => (&text[..at], 60),
        (at, 'h' | 'H') => (&text[..at], 3600),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    u32::try_from(seconds.checked_mul(1000)?)
        .ok()
        .map(|ms| Duration::from_millis(ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, seconds) in [
            ("5", Some(5)),
            ("5s", Some(5)),
            ("1m", Some(60)),
            ("2h", Some(7200)),
            ("0", Some(0)),
        ] {
            assert_eq!(rate_limit(text), seconds.map(Duration::from_secs), "{text}");
        }
        for bad in ["", "s", "-1", "1.5s", "1d", "5000000h", "1 m", "+1"] {
            assert_eq!(rate_limit(bad), None, "{bad}");
        }
    }
}
