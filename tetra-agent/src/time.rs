//! Clocks: the kernel's monotonic time, and how it maps to the wall clock.
//!
//! Everything between decode and sinks is sans-I/O and gets its times from here as values. Only [`SystemClock`] asks the
//! operating system.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// Adds a duration, saturating at the end of time.
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallTime(pub i64);

impl WallTime {
    /// Seconds since the epoch, and nanoseconds within the second (0..1e9).
    pub fn to_seconds_and_nanos(self) -> (i64, i32) {
        (
            self.0.div_euclid(1_000_000_000),
            self.0.rem_euclid(1_000_000_000) as i32,
        )
    }
}

/// Maps [`KernelTime`] to [`WallTime`].
///
/// The offset between the clocks drifts by nanoseconds from one reading to the next and jumps when the wall clock is
/// set. A process must show the same start time in all its events, so small drift is ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockOffset {
    nanos: i64,
}

impl ClockOffset {
    /// Differences below this are readings of the same offset.
    const TOLERANCE_NS: i64 = 1_000_000;

    /// Makes an offset from one reading of both clocks.
    pub fn new(wall: WallTime, kernel: KernelTime) -> Self {
        Self {
            nanos: wall.0.wrapping_sub(kernel.0 as i64),
        }
    }

    /// Takes a new reading; keeps the old offset if they differ by less than a millisecond.
    pub fn update(&mut self, reading: Self) {
        if (reading.nanos.wrapping_sub(self.nanos)).unsigned_abs() >= Self::TOLERANCE_NS as u64 {
            *self = reading;
        }
    }

    /// Wall time of a kernel time.
    pub fn to_wall(self, time: KernelTime) -> WallTime {
        WallTime((time.0 as i64).wrapping_add(self.nanos))
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// `CLOCK_MONOTONIC` now.
    pub fn kernel_now(self) -> KernelTime {
        KernelTime(read(ClockId::CLOCK_MONOTONIC))
    }

    /// The offset between `CLOCK_REALTIME` and `CLOCK_MONOTONIC` now.
    pub fn offset(self) -> ClockOffset {
        ClockOffset::new(WallTime(read(ClockId::CLOCK_REALTIME) as i64), self.kernel_now())
    }

    /// How far `CLOCK_BOOTTIME`, which counts suspended time and dates `/proc`, is ahead of `CLOCK_MONOTONIC`.
    pub fn suspended(self) -> Duration {
        Duration::from_nanos(read(ClockId::CLOCK_BOOTTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC)))
    }
}

/// Reads a clock in nanoseconds; these clocks exist on every kernel that runs eBPF.
fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_ignores_drift_and_follows_jumps() {
        let mut offset = ClockOffset::new(WallTime(1_000_000_000_000), KernelTime(1_000));
        let first = offset.to_wall(KernelTime(5_000));
        offset.update(ClockOffset::new(WallTime(1_000_000_000_700), KernelTime(1_000)));
        assert_eq!(offset.to_wall(KernelTime(5_000)), first);
        offset.update(ClockOffset::new(WallTime(2_000_000_000_000), KernelTime(1_000)));
        assert_eq!(offset.to_wall(KernelTime(1_000)), WallTime(2_000_000_000_000));
    }

    #[test]
    fn seconds_before_the_epoch_round_down() {
        assert_eq!(WallTime(-1).to_seconds_and_nanos(), (-1, 999_999_999));
    }
}
