//! A hash whose values are the same on every machine and in every build: FNV-1a, 64 bits.
//!
//! For identifiers of compiled things, where a collision is a nuisance; not for anything an attacker chooses.

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHasher {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Both halves folded into one; never 0.
    pub(crate) fn finish_u32(self) -> u32 {
        let folded = (self.0 >> 32) as u32 ^ self.0 as u32;
        if folded == 0 { 1 } else { folded }
    }
}
