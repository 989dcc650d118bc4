//! One `BPF_MAP_TYPE_ARRAY` with `BPF_F_MMAPABLE`, as user space sees it: words that programs read at the same time.

use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;

use super::SysError;
use super::memory::{Mapping, page_size};

/// A mapped array whose elements are whole words. Elements follow each other without gaps.
#[derive(Debug)]
pub(crate) struct WordMapping {
    mapping: Mapping,
    words: usize,
}

impl WordMapping {
    /// Maps the array `fd` of `words` words, all elements together.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub(crate) fn new(fd: BorrowedFd<'_>, words: usize, name: &str) -> Result<Self, SysError> {
        let length = (words * size_of::<AtomicU64>()).next_multiple_of(page_size());
        let mapping = Mapping::new(fd, 0, length, true, name)?;
        Ok(Self { mapping, words })
    }

    /// One word.
    ///
    /// # Panics
    /// If there are not that many.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "mappings start at a page, and all offsets are multiples of 8"
    )]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: the word is within the mapping, which is at least `words` words long, lives as long as `self` and starts at a
        // page, so it is aligned. Kernel and programs access it at the same time by whole words only, as an atomic does.
        unsafe { &*self.mapping.address().as_ptr().cast::<AtomicU64>().add(index) }
    }

    /// How many words there are.
    pub(crate) fn len(&self) -> usize {
        self.words
    }
}
