//! One `BPF_MAP_TYPE_RINGBUF`, as user space sees it.
//!
//! ```text
//! fd offset 0        page          2 pages              2 pages + size        2 pages + 2 size
//!    | consumer_pos | producer_pos | data ................. | the same data again |
//!    | read-write   | read-only                                                  |
//! ```
//! The data area is mapped twice in a row, so a record that wraps round is still one slice. Each record starts with a word
//! that holds its length, bit 31 while it is being written, and bit 30 if it was discarded; then comes a word for the kernel.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::SysError;
use super::memory::{Mapping, page_size};

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: usize = 8;

/// What stands at a position of a ring.
#[derive(Debug)]
pub(crate) enum RingRecord<'a> {
    /// A record, and the position after it.
    Data(&'a [u8], u64),
    /// Space that was reserved and given up, and the position after it.
    Discarded(u64),
    /// Nothing yet: the ring ends here, or the record is still being written.
    Pending,
}

/// A mapped ring buffer. Positions count bytes since the ring was made and only grow.
#[derive(Debug)]
pub(crate) struct RingMapping {
    consumer: Mapping,
    producer: Mapping,
    data_offset: usize,
    size: usize,
}

#[expect(
    clippy::cast_ptr_alignment,
    reason = "mappings start at a page, and all offsets are multiples of 8"
)]
impl RingMapping {
    /// Maps the ring buffer map `fd` of `size` bytes.
    ///
    /// # Errors
    /// `EINVAL` if `size` is not that of the map; otherwise what mmap(2) says.
    pub(crate) fn new(fd: BorrowedFd<'_>, size: usize) -> Result<Self, SysError> {
        let page = page_size();
        if !size.is_power_of_two() || size < page {
            return Err(SysError {
                syscall: "mmap",
                object: format!("ring of {size} bytes"),
                errno: libc::EINVAL,
                hint: None,
            });
        }
        let consumer = Mapping::new(fd, 0, page, true, "ring consumer page")?;
        let producer = Mapping::new(fd, page, page + 2 * size, false, "ring data")?;
        Ok(Self {
            consumer,
            producer,
            data_offset: page,
            size,
        })
    }

    /// The position up to which the reader has given space back.
    pub(crate) fn consumer_position(&self) -> u64 {
        // Only this side writes it, so no ordering is needed.
        self.consumer_atomic().load(Ordering::Relaxed)
    }

    /// The position up to which the kernel has reserved space.
    pub(crate) fn producer_position(&self) -> u64 {
        // Pairs with smp_store_release of producer_pos in __bpf_ringbuf_reserve: headers below it are initialised.
        self.producer_atomic().load(Ordering::Acquire)
    }

    /// Gives the space below `position` back to the kernel. Slices got before must not be used any more, which the
    /// exclusive borrow ensures.
    pub(crate) fn consume(&mut self, position: u64) {
        // Pairs with smp_load_acquire of consumer_pos in __bpf_ringbuf_reserve: our reads are done before reuse.
        self.consumer_atomic().store(position, Ordering::Release);
    }

    /// Looks at the record at `position`, which must be [`RingMapping::consumer_position`] or a position returned by this
    /// method since; any other value is answered with what the memory there happens to say, never with a slice outside of the ring.
    pub(crate) fn at(&self, position: u64) -> RingRecord<'_> {
        if position >= self.producer_position() {
            return RingRecord::Pending;
        }
        let offset = (position as usize & (self.size - 1)) & !7;
        // SAFETY: `offset` is a multiple of 8 below `size`, so the word lies in the first copy of the data area, which the
        // producer mapping contains; it is aligned, lives as long as `self`, and is only ever accessed atomically.
        let header = unsafe {
            &*self
                .producer
                .address()
                .as_ptr()
                .add(self.data_offset + offset)
                .cast::<AtomicU32>()
        };
        // Pairs with xchg of the header in bpf_ringbuf_commit: a clear busy bit means that the payload is complete.
        let word = header.load(Ordering::Acquire);
        if word & BUSY != 0 {
            return RingRecord::Pending;
        }
        let length = (word & !(BUSY | DISCARD)) as usize;
        let next = position + ((length + HEADER + 7) & !7) as u64;
        if word & DISCARD != 0 {
            return RingRecord::Discarded(next);
        }
        if length + HEADER > self.size {
            // The kernel never writes such a record; the position given was not the start of one.
            return RingRecord::Pending;
        }
        // SAFETY: offset < size and HEADER + length <= size, so the slice ends inside the double mapping; the kernel does not
        // write to a committed record before `consume` moves past it, and that takes `&mut self`.
        let data = unsafe {
            std::slice::from_raw_parts(
                self.producer.address().as_ptr().add(self.data_offset + offset + HEADER),
                length,
            )
        };
        RingRecord::Data(data, next)
    }

    fn consumer_atomic(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least a page, page-aligned, and its first word is only accessed atomically by both sides.
        unsafe { &*self.consumer.address().as_ptr().cast::<AtomicU64>() }
    }

    fn producer_atomic(&self) -> &AtomicU64 {
        // SAFETY: as for `consumer_atomic`; only loads are made, so read-only memory is enough.
        unsafe { &*self.producer.address().as_ptr().cast::<AtomicU64>() }
    }
}
