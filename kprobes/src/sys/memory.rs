//! Shared memory mappings.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use super::SysError;

/// A shared mapping of a kernel object, unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory that belongs to the process, not to a thread; access goes through `RingMapping`,
// which uses atomics for everything that changes under it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes from `offset` of `fd`.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        length: usize,
        writable: bool,
        what: &str,
    ) -> Result<Self, SysError> {
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: the kernel chooses the address, so no existing mapping is touched; `fd` is open.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(SysError::last("mmap", what));
        }
        let address = NonNull::new(address.cast()).ok_or_else(|| SysError::last("mmap", what))?;
        Ok(Self { address, length })
    }

    /// The first byte.
    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of a mapping made by `new`, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

/// Size of a memory page.
pub(super) fn page_size() -> usize {
    // SAFETY: sysconf only takes a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}
