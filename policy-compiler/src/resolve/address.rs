//! IP networks in policies.

use std::net::IpAddr;

use crate::hir::Network;

/// An address or a network in CIDR notation; host bits are cleared.
pub(super) fn network(text: &str) -> Option<Network> {
    let network = tracingpolicy_crd::value::network(text)?;
    let prefix = network.prefix;
    Some(match network.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.checked_sub(u32::from(prefix))?).unwrap_or(0);
            Network::V4(u32::from(address) & mask, prefix)
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128u32.checked_sub(u32::from(prefix))?)
                .unwrap_or(0);
            Network::V6(u128::from(address) & mask, prefix)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_lose_their_host_bits() {
        assert_eq!(network("10.1.2.3/8"), Some(Network::V4(0x0a00_0000, 8)));
        assert_eq!(network("127.0.0.1"), Some(Network::V4(0x7f00_0001, 32)));
        assert_eq!(network("0.0.0.0/0"), Some(Network::V4(0, 0)));
        assert_eq!(network("::1"), Some(Network::V6(1, 128)));
        assert_eq!(network("fe80::1/10"), Some(Network::V6(0xfe80 << 112, 10)));
        for text in ["10.0.0.0/33", "::/129", "10.0.0", "x", "", "1.2.3.4/-1"] {
            assert_eq!(network(text), None, "{text}");
        }
    }
}
