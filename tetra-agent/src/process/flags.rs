//! The words of `process.flags`, in the order consumers know.

use std::fmt;

/// A set of flag words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct ImageFlags(u32);

/// Words in printing order; the position is the bit.
const WORDS: [&str; 18] = [
    "execve",
    "procFS",
    "truncArgs",
    "miss",
    "errorFilename",
    "errorArgs",
    "nocwd",
    "rootcwd",
    "errorCWD",
    "clone",
    "errorCgroupName",
    "errorCgroupID",
    "errorPathResolutionCwd",
    "dataFilename",
    "dataArgs",
    "inInitTree",
    "unknown",
    "",
];

#[allow(missing_docs, reason = "each is the word it prints")]
impl ImageFlags {
    pub const EXECVE: Self = Self(1);
    pub const PROC_FS: Self = Self(1 << 1);
    pub const TRUNC_ARGS: Self = Self(1 << 2);
    pub const MISS: Self = Self(1 << 3);
    pub const ERROR_FILENAME: Self = Self(1 << 4);
    pub const ERROR_ARGS: Self = Self(1 << 5);
    pub const NO_CWD: Self = Self(1 << 6);
    pub const ROOT_CWD: Self = Self(1 << 7);
    pub const ERROR_CWD: Self = Self(1 << 8);
    pub const CLONE: Self = Self(1 << 9);
    pub const ERROR_CGROUP_NAME: Self = Self(1 << 10);
    pub const ERROR_CGROUP_ID: Self = Self(1 << 11);
    pub const ERROR_PATH_RESOLUTION_CWD: Self = Self(1 << 12);
    pub const DATA_FILENAME: Self = Self(1 << 13);
    pub const DATA_ARGS: Self = Self(1 << 14);
    pub const IN_INIT_TREE: Self = Self(1 << 15);
    pub const UNKNOWN: Self = Self(1 << 16);
    /// Not printed: forked and has executed nothing since. Consumers know such a process as `execve` all the same.
    pub const FORKED: Self = Self(1 << 17);
}

impl ImageFlags {
    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other` if `condition` holds.
    pub fn set_if(&mut self, condition: bool, other: Self) {
        if condition {
            self.0 |= other.0;
        }
    }
}

impl std::ops::BitOr for ImageFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for ImageFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (bit, word) in WORDS.iter().enumerate() {
            if self.0 & (1 << bit) != 0 && !word.is_empty() {
                if !first {
                    f.write_str(" ")?;
                }
                f.write_str(word)?;
                first = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_known_order() {
        let mut flags = ImageFlags::CLONE | ImageFlags::EXECVE | ImageFlags::IN_INIT_TREE;
        flags.set_if(true, ImageFlags::ROOT_CWD);
        flags.set_if(false, ImageFlags::MISS);
        assert_eq!(flags.to_string(), "execve rootcwd clone inInitTree");
        assert_eq!((ImageFlags::EXECVE | ImageFlags::FORKED).to_string(), "execve");
        assert_eq!(ImageFlags::default().to_string(), "");
    }
}
