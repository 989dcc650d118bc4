//! Reading of the ring buffers: all shards in one pass, in the order of time.
//!
//! Every record starts with `struct record_header`, so its time stands at byte 8. Within one ring records are nearly in order; two
//! rings are brought into one order by merging. A record of another CPU may be older than those at hand and not yet be
//! committed; so what is newer than the start of a pass, less a margin for programs that are still writing, is left for the
//! next pass (the *hand-over* rule). Nothing is dropped: what cannot be delivered yet stays in the ring.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::sys::{Map, Poll, RingMapping, RingRecord, SysError, map_shape_of, monotonic_ns};

/// How long a program may take from reading the clock to committing its record before order across rings suffers.
const WRITE_MARGIN_NS: u64 = 200_000;

/// Records that are taken from one ring before space is given back.
const BATCH: usize = 1024;

/// Where `record_header.ktime` stands.
const KTIME_AT: usize = 8;

/// Result of a pass over all rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drained {
    /// Records delivered.
    pub records: usize,
    /// Whether there are records that are too new for this pass.
    pub held: bool,
}

/// One committed record that has not been delivered.
#[derive(Clone, Copy)]
struct Entry {
    ktime: u64,
    ring: u32,
    position: u64,
}

/// Reader of a set of ring buffers. There may be only one reader for each ring.
#[derive(Debug)]
pub struct Rings {
    mappings: Vec<RingMapping>,
    /// Kept open for epoll, which forgets a map that is closed.
    _maps: Vec<OwnedFd>,
    poll: Poll,
    /// Reused between passes.
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}", self.ktime, self.ring, self.position)
    }
}

impl Rings {
    /// A reader of these ring buffer maps.
    ///
    /// # Errors
    /// What mmap(2), epoll(7) and `BPF_OBJ_GET_INFO_BY_FD` say.
    pub fn new(fds: Vec<OwnedFd>) -> Result<Self, SysError> {
        let poll = Poll::new()?;
        let mut mappings = Vec::with_capacity(fds.len());
        for fd in &fds {
            mappings.push(RingMapping::new(
                fd.as_fd(),
                map_shape_of(fd.as_fd())?.max_entries as usize,
            )?);
            poll.add(fd.as_fd())?;
        }
        Ok(Self {
            mappings,
            _maps: fds,
            poll,
            entries: Vec::new(),
        })
    }

    /// A reader of maps that somebody else holds.
    pub fn of_maps(maps: &[Map]) -> Result<Self, SysError> {
        let fds = maps.iter().map(|map| {
            map.as_fd()
                .try_clone_to_owned()
                .map_err(|error| SysError::io("dup", map.name(), &error))
        });
        Self::new(fds.collect::<Result<_, _>>()?)
    }

    /// Waits until a program wakes the reader, or until the timeout is over; `true` if it was woken. Programs wake it only when
    /// much is unread, so the timeout bounds how old a record gets.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn wait(&self, timeout: Duration) -> Result<bool, SysError> {
        self.poll.wait(timeout)
    }

    /// Delivers all records up to now, oldest first.
    ///
    /// # Errors
    /// What epoll_wait(2) says, with which pending wake-ups are cleared.
    pub fn drain(&mut self, deliver: impl FnMut(&[u8])) -> Result<Drained, SysError> {
        let cutoff = if self.mappings.len() == 1 {
            u64::MAX
        } else {
            monotonic_ns().saturating_sub(WRITE_MARGIN_NS)
        };
        self.drain_until(cutoff, deliver)
    }

    /// Delivers everything that is committed, whatever its age: the last pass, when nothing is attached any more.
    ///
    /// # Errors
    /// As [`Rings::drain`].
    pub fn drain_all(&mut self, deliver: impl FnMut(&[u8])) -> Result<Drained, SysError> {
        self.drain_until(u64::MAX, deliver)
    }

    /// Bytes in the rings that have not been given back: how far the reader is behind, by ring.
    pub fn unread_bytes(&self) -> Vec<u64> {
        self.mappings
            .iter()
            .map(|ring| ring.producer_position().saturating_sub(ring.consumer_position()))
            .collect()
    }

    fn drain_until(&mut self, cutoff: u64, mut deliver: impl FnMut(&[u8])) -> Result<Drained, SysError> {
        // Clears the edge, so that a later wake-up is seen.
        self.poll.wait(Duration::ZERO)?;
        if let [ring] = self.mappings.as_mut_slice() {
            return Ok(drain_one(ring, deliver));
        }
        let mut result = Drained::default();
        loop {
            let batch = self.collect(cutoff);
            result.held = batch.held;
            for entry in &self.entries {
                if let RingRecord::Data(record, _) = self.mappings[entry.ring as usize].at(entry.position) {
                    deliver(record);
                    result.records += 1;
                }
            }
            for (ring, end) in self.mappings.iter_mut().zip(&batch.ends) {
                ring.consume(*end);
            }
            if !batch.more {
                return Ok(result);
            }
        }
    }

    /// Gathers up to [`BATCH`] records of each ring, in order. If a ring has more, nothing newer than its last one is taken
    /// from the others.
    fn collect(&mut self, cutoff: u64) -> Batch {
        self.entries.clear();
        let mut batch = Batch {
            ends: Vec::with_capacity(self.mappings.len()),
            more: false,
            held: false,
        };
        let mut limit = cutoff;
        for (index, ring) in self.mappings.iter().enumerate() {
            let mut position = ring.consumer_position();
            let mut newest = 0;
            for taken in 0.. {
                match ring.at(position) {
                    RingRecord::Discarded(next) => position = next,
                    RingRecord::Data(record, next) => {
                        let ktime = ktime_of(record);
                        if ktime > cutoff {
                            batch.held = true;
                            break;
                        }
                        if taken >= BATCH {
                            batch.more = true;
                            limit = limit.min(newest);
                            break;
                        }
                        newest = newest.max(ktime);
                        self.entries.push(Entry {
                            ktime,
                            ring: index as u32,
                            position,
                        });
                        position = next;
                    }
                    RingRecord::Pending => break,
                }
            }
            batch.ends.push(position);
        }
        if batch.more {
            // Leave what is newer than the last record of a ring that was not taken to its end.
            let ends = &mut batch.ends;
            let mut cut = vec![false; self.mappings.len()];
            self.entries.retain(|entry| {
                let ring = entry.ring as usize;
                if entry.ktime > limit && !cut[ring] {
                    cut[ring] = true;
                    ends[ring] = entry.position;
                }
                !cut[ring]
            });
        }
        // Stable: records of one ring with equal times stay in their order.
        self.entries.sort_by_key(|entry| entry.ktime);
        batch
    }
}

/// What [`Rings::collect`] found beside the entries.
struct Batch {
    /// Position after the last entry, by ring.
    ends: Vec<u64>,
    /// Whether there are more records that may be delivered.
    more: bool,
    /// Whether there are records that are too new.
    held: bool,
}

/// One ring is in order by itself: no gathering, space is given back as it is read.
fn drain_one(ring: &mut RingMapping, mut deliver: impl FnMut(&[u8])) -> Drained {
    let mut result = Drained::default();
    let mut position = ring.consumer_position();
    loop {
        match ring.at(position) {
            RingRecord::Discarded(next) => position = next,
            RingRecord::Data(record, next) => {
                deliver(record);
                result.records += 1;
                position = next;
            }
            RingRecord::Pending => {
                ring.consume(position);
                return result;
            }
        }
        if result.records % BATCH == 0 {
            ring.consume(position);
        }
    }
}

/// The time of a record; one that is too short to have one counts as old and goes out at once.
fn ktime_of(record: &[u8]) -> u64 {
    record
        .get(KTIME_AT..KTIME_AT + 8)
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
}

impl AsFd for Rings {
    /// Readable when a program has woken the reader; [`Rings::drain`] and [`Rings::wait`] clear it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl AsRawFd for Rings {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
