//! perf events: the way to kprobes, uprobes and classic tracepoints.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::attr::PerfEvent;
use super::program::symbol;
use super::{SysError, own};

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";
const UPROBE_PMU: &str = "/sys/bus/event_source/devices/uprobe/type";

/// Opens a kprobe (or, with `at_return`, a kretprobe) on a function.
///
/// # Errors
/// `ENODEV` if the kernel has no kprobes, `ENOENT` if it has no such symbol, `EINVAL` if the function may not be probed.
pub fn perf_kprobe(function: &str, at_return: bool) -> Result<OwnedFd, SysError> {
    let number = fs::read_to_string(KPROBE_PMU)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    let Some(event_type) = number else {
        return Err(SysError {
            syscall: "perf_event_open(kprobe)",
            object: function.to_owned(),
            errno: libc::ENODEV,
            hint: Some("this kernel is built without kprobes"),
        });
    };
    let name = symbol("perf_event_open(kprobe)", function)?;
    let attr = PerfEvent {
        event_type,
        size: size_of::<PerfEvent>() as u32,
        config: u64::from(at_return),
        config1: name.as_ptr() as u64,
        ..PerfEvent::default()
    };
    open(&attr).map_err(|mut error| {
        error.syscall = "perf_event_open(kprobe)";
        function.clone_into(&mut error.object);
        error
    })
}

/// Opens a uprobe (or, with `at_return`, a uretprobe) at an offset of a file, in all processes.
///
/// # Errors
/// `ENODEV` if the kernel has no uprobes, `ENOENT` if there is no such file, `EINVAL` if it is no regular file or there is no
/// instruction at the offset.
pub fn perf_uprobe(path: &str, offset: u64, ref_ctr_offset: u64, at_return: bool) -> Result<OwnedFd, SysError> {
    const CALL: &str = "perf_event_open(uprobe)";
    let number = fs::read_to_string(UPROBE_PMU)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    let Some(event_type) = number else {
        return Err(SysError {
            syscall: CALL,
            object: path.to_owned(),
            errno: libc::ENODEV,
            hint: Some("this kernel is built without uprobes"),
        });
    };
    let text = symbol(CALL, path)?;
    let attr = PerfEvent {
        event_type,
        size: size_of::<PerfEvent>() as u32,
        // `ref_ctr_offset: config:32-63`, as /sys/bus/event_source/devices/uprobe/format says
        config: u64::from(at_return) | ref_ctr_offset << 32,
        config1: text.as_ptr() as u64,
        config2: offset,
        ..PerfEvent::default()
    };
    open(&attr).map_err(|mut error| {
        error.syscall = CALL;
        path.clone_into(&mut error.object);
        error
    })
}

/// Opens a classic tracepoint by the number in its `id` file.
///
/// # Errors
/// What perf_event_open(2) says.
pub fn perf_tracepoint(name: &str, id: u64) -> Result<OwnedFd, SysError> {
    let attr = PerfEvent {
        event_type: PERF_TYPE_TRACEPOINT,
        size: size_of::<PerfEvent>() as u32,
        config: id,
        // Without a period the event counts only; the program runs in both cases.
        sample_period: 1,
        wakeup_events: 1,
        ..PerfEvent::default()
    };
    open(&attr).map_err(|mut error| {
        error.syscall = "perf_event_open(tracepoint)";
        name.clone_into(&mut error.object);
        error
    })
}

fn open(attr: &PerfEvent) -> Result<OwnedFd, SysError> {
    // SAFETY: `attr` is a live structure of the size it says, and the name it may point to outlives the call. All processes,
    // one CPU: a program of a probe belongs to the probe and runs on every CPU.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attr),
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd >= 0 {
        return Ok(own(fd as RawFd));
    }
    let error = SysError::last("perf_event_open", "");
    Err(match io::Error::last_os_error().raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => error.with_hint("run as root or with CAP_PERFMON"),
        _ => error,
    })
}

/// Attaches a program to a perf event without a link, for kernels before 5.15. It stays until the event is closed.
///
/// # Errors
/// What ioctl(2) says.
pub fn perf_set_program(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), SysError> {
    // SAFETY: both descriptors are open during the call; the request takes a descriptor number.
    if unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()) } < 0 {
        return Err(SysError::last("ioctl(PERF_EVENT_IOC_SET_BPF)", "perf event"));
    }
    // SAFETY: as above; the request takes no argument.
    if unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) } < 0 {
        return Err(SysError::last("ioctl(PERF_EVENT_IOC_ENABLE)", "perf event"));
    }
    Ok(())
}
