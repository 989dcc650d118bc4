//! Links: what keeps a program attached. Closing the descriptor detaches.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::attr::{self, LinkKprobeMulti, LinkPerfEvent, LinkTracing, LinkUprobeMulti, RawTracepointOpen};
use super::program::{attach_type, symbol};
use super::{SysError, bpf_fd};

const RAW_TRACEPOINT_OPEN: &str = "bpf(BPF_RAW_TRACEPOINT_OPEN)";
const LINK_CREATE: &str = "bpf(BPF_LINK_CREATE)";

/// Attaches a raw tracepoint by name, or (`name` of `None`) a tracing or LSM program to what it was loaded for. Works on all
/// kernels since 5.5.
///
/// # Errors
/// What `BPF_RAW_TRACEPOINT_OPEN` says.
pub fn raw_tracepoint_open(program: BorrowedFd<'_>, name: Option<&str>) -> Result<OwnedFd, SysError> {
    let text = name.map(|name| symbol(RAW_TRACEPOINT_OPEN, name)).transpose()?;
    let mut attr = RawTracepointOpen {
        name: text.as_ref().map_or(0, |text| text.as_ptr() as u64),
        prog_fd: program.as_raw_fd() as u32,
        ..RawTracepointOpen::default()
    };
    bpf_fd(attr::BPF_RAW_TRACEPOINT_OPEN, &mut attr).map_err(|errno| SysError {
        syscall: RAW_TRACEPOINT_OPEN,
        object: name.unwrap_or("tracing program").to_owned(),
        errno,
        hint: None,
    })
}

/// Attaches a tracing or LSM program with a cookie.
///
/// # Errors
/// `EINVAL` before 5.19; otherwise what `BPF_LINK_CREATE` says.
pub fn link_tracing(program: BorrowedFd<'_>, expected_attach_type: u32, cookie: u64) -> Result<OwnedFd, SysError> {
    let mut attr = LinkTracing {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: expected_attach_type,
        cookie,
        ..LinkTracing::default()
    };
    bpf_fd(attr::BPF_LINK_CREATE, &mut attr).map_err(|errno| error("tracing program", errno))
}

/// Attaches a kprobe or tracepoint program to a perf event.
///
/// # Errors
/// `EINVAL` before 5.15, where [`super::perf_set_program`] is the way; otherwise what `BPF_LINK_CREATE` says.
pub fn link_perf_event(program: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> Result<OwnedFd, SysError> {
    let mut attr = LinkPerfEvent {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: event.as_raw_fd() as u32,
        attach_type: attach_type::PERF_EVENT,
        bpf_cookie: cookie,
        ..LinkPerfEvent::default()
    };
    bpf_fd(attr::BPF_LINK_CREATE, &mut attr).map_err(|errno| error("perf event", errno))
}

/// Attaches one program to many functions. All or none: a symbol that is missing fails the whole link.
///
/// # Errors
/// `EOPNOTSUPP` without `CONFIG_FPROBE`, `ESRCH` for a missing symbol, `EINVAL` before 5.18; otherwise what `BPF_LINK_CREATE`
/// says.
///
/// # Panics
/// If there are cookies, but not one for each symbol.
pub fn link_kprobe_multi(
    program: BorrowedFd<'_>,
    symbols: &[&str],
    cookies: &[u64],
    at_return: bool,
) -> Result<OwnedFd, SysError> {
    assert!(
        cookies.is_empty() || cookies.len() == symbols.len(),
        "one cookie for each symbol"
    );
    let texts: Vec<CString> = symbols
        .iter()
        .map(|name| symbol(LINK_CREATE, name))
        .collect::<Result<_, _>>()?;
    let pointers: Vec<u64> = texts.iter().map(|text| text.as_ptr() as u64).collect();
    let mut attr = LinkKprobeMulti {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: attach_type::TRACE_KPROBE_MULTI,
        flags: u32::from(at_return),
        cnt: symbols.len() as u32,
        syms: pointers.as_ptr() as u64,
        cookies: if cookies.is_empty() { 0 } else { cookies.as_ptr() as u64 },
        ..LinkKprobeMulti::default()
    };
    bpf_fd(attr::BPF_LINK_CREATE, &mut attr).map_err(|errno| {
        let what = match symbols {
            [one] => (*one).to_owned(),
            [first, ..] => format!("{first} and {} more functions", symbols.len() - 1),
            [] => "no function".to_owned(),
        };
        error(&what, errno)
    })
}

/// Attaches a program to one place of a user binary, in all processes.
///
/// # Errors
/// `EINVAL` before 6.6, or if there is no instruction at the offset; otherwise what `BPF_LINK_CREATE` says.
pub fn link_uprobe_multi(
    program: BorrowedFd<'_>,
    path: &str,
    offset: u64,
    ref_ctr_offset: u64,
    at_return: bool,
) -> Result<OwnedFd, SysError> {
    let text = symbol(LINK_CREATE, path)?;
    let mut attr = LinkUprobeMulti {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: attach_type::TRACE_UPROBE_MULTI,
        path: text.as_ptr() as u64,
        offsets: std::ptr::from_ref(&offset) as u64,
        ref_ctr_offsets: match ref_ctr_offset {
            0 => 0,
            _ => std::ptr::from_ref(&ref_ctr_offset) as u64,
        },
        cnt: 1,
        flags: u32::from(at_return),
        ..LinkUprobeMulti::default()
    };
    bpf_fd(attr::BPF_LINK_CREATE, &mut attr).map_err(|errno| error(path, errno))
}

fn error(object: &str, errno: i32) -> SysError {
    SysError {
        syscall: LINK_CREATE,
        object: object.to_owned(),
        errno,
        hint: None,
    }
}
