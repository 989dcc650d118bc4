//! epoll(7) over the ring buffers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{SysError, own};

/// An epoll instance that reports, edge-triggered, that one of its descriptors became readable.
#[derive(Debug)]
pub struct Poll {
    fd: OwnedFd,
}

impl Poll {
    /// Creates an empty instance.
    ///
    /// # Errors
    /// What epoll_create1(2) says.
    pub fn new() -> Result<Self, SysError> {
        // SAFETY: the call only takes a flag.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            Err(SysError::last("epoll_create1", "rings"))
        } else {
            Ok(Self { fd: own(fd) })
        }
    }

    /// Adds a descriptor.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn add(&self, fd: BorrowedFd<'_>) -> Result<(), SysError> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: 0,
        };
        // SAFETY: both descriptors are open for the length of the call and `event` is valid to read.
        let result =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) };
        if result < 0 {
            Err(SysError::last("epoll_ctl(EPOLL_CTL_ADD)", "ring"))
        } else {
            Ok(())
        }
    }

    /// Waits until a descriptor became readable since the last call, or until the timeout is over; `true` if one did.
    ///
    /// # Errors
    /// What epoll_wait(2) says; an interruption by a signal counts as a timeout.
    pub fn wait(&self, timeout: Duration) -> Result<bool, SysError> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `events` has room for the number of events passed.
        let ready = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as i32,
                milliseconds,
            )
        };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
            return Ok(false);
        }
        Err(SysError::last("epoll_wait", "rings"))
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
