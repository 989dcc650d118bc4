//! Capability sets as API enums.

use tetra_api::tetragon::{Capabilities, CapabilitiesType, SecureBitsType};

/// Numbers of the bits that are set and have a name, ascending.
pub fn numbers(set: u64) -> Vec<i32> {
    (0..64)
        .filter(|bit| set & (1 << bit) != 0)
        .filter(|&bit| CapabilitiesType::try_from(bit).is_ok())
        .collect()
}

/// The secure bits that are set and have a name, as `SecureBitsType`.
pub fn secure_bits(bits: u32) -> Vec<i32> {
    (0..8)
        .map(|bit| 1i32 << bit)
        .filter(|bit| bits & *bit as u32 != 0)
        .filter(|&bit| SecureBitsType::try_from(bit).is_ok())
        .collect()
}

/// The three sets of a process.
pub fn message(permitted: u64, effective: u64, inheritable: u64) -> Capabilities {
    Capabilities {
        permitted: numbers(permitted),
        effective: numbers(effective),
        inheritable: numbers(inheritable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_one_has_no_prefix() {
        let names = numbers(0b11)
            .iter()
            .map(|&n| CapabilitiesType::try_from(n).unwrap().as_str_name())
            .collect::<Vec<_>>();
        assert_eq!(names, ["CAP_CHOWN", "DAC_OVERRIDE"]);
    }

    #[test]
    fn bits_without_a_name_are_left_out() {
        assert_eq!(numbers(1 << 63 | 1 << 40), [40]);
    }
}
