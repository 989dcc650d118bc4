//! A hash whose values are the same on every machine.
//!
//! For identifiers of compiled things, where a collision is a nuisance; not for anything an attacker chooses.

use std::hash::{Hash, Hasher};

/// Mixes 64-bit words, which is what the policies of a large set consist of: by bytes it would take longer than making code of
/// them. Numbers are written as words whatever the machine's byte order is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StableHasher(u64);

/// Odd, without structure: from the digits of pi.
const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;

impl StableHasher {
    /// The hash of a value; never 0.
    pub(crate) fn of(value: &impl Hash) -> u32 {
        let mut hasher = Self::default();
        value.hash(&mut hasher);
        hasher.finish_u32()
    }

    /// Both halves folded into one; never 0.
    pub(crate) fn finish_u32(self) -> u32 {
        let hash = self.finish();
        let folded = (hash >> 32) as u32 ^ hash as u32;
        if folded == 0 { 1 } else { folded }
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // with the length, so that zeros at the end count
        self.write_u64(u64::from_le_bytes(last));
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(MULTIPLIER);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    /// Every bit of the result depends on every bit of the state.
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        for _ in 0..2 {
            hash = (hash ^ hash >> 32).wrapping_mul(MULTIPLIER);
        }
        hash ^ hash >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_are_those_of_every_machine() {
        assert_eq!(StableHasher::of(&0u32), StableHasher::of(&0u64));
        assert_eq!(
            StableHasher::of(&(1u8, -1i32, "/usr/bin/cat", [7usize; 3])),
            505_982_150
        );
    }

    #[test]
    fn neighbours_differ() {
        let hashes: BTreeSet<u32> = (0..20_000u32).map(|i| StableHasher::of(&format!("/bin/{i}"))).collect();
        assert!(hashes.len() >= 19_998, "{}", hashes.len());
        assert_ne!(StableHasher::of(&"\0\0\0"), StableHasher::of(&"\0\0\0\0"));
    }
}
