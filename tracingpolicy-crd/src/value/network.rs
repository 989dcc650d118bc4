//! Addresses and ports.

use std::net::IpAddr;

/// An IP address with the number of its leading bits that count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network {
    /// The address, as written.
    pub address: IpAddr,
    /// Bits that count; 32 or 128 for a single address.
    pub prefix: u8,
}

/// Reads `10.0.0.0/8`, `::1` and the like.
pub fn network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) => {
            let canonical =
                digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            digits.parse().ok().filter(|prefix| canonical && *prefix <= bits)?
        }
    };
    Some(Network { address, prefix })
}

/// Ports from the first to the last, both included.
pub type PortRange = (u16, u16);

/// Reads `80` or `8000:8080`.
pub fn ports(text: &str) -> Option<PortRange> {
    let port = |text: &str| super::number::integer(text).and_then(|value| u16::try_from(value).ok());
    match text.split_once(':') {
        None => port(text).map(|port| (port, port)),
        Some((low, high)) => {
            let range = (port(low.trim())?, port(high.trim())?);
            (range.0 <= range.1).then_some(range)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(network("127.0.0.1").map(|n| n.prefix), Some(32));
        assert_eq!(network("10.0.0.0/8").map(|n| n.prefix), Some(8));
        assert_eq!(network("::/0").map(|n| n.prefix), Some(0));
        assert_eq!(network("fe80::1").map(|n| n.prefix), Some(128));
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::1/129",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "${PODCIDR}",
            "localhost",
        ] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }

    #[test]
    fn port_ranges() {
        assert_eq!(ports("53"), Some((53, 53)));
        assert_eq!(ports("8000:8080"), Some((8000, 8080)));
        for bad in ["", "65536", "-1", "2:1", "http", "1:2:3"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }
}
