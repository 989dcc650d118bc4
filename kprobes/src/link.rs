//! Attaching: one way for each kind of [`AttachPoint`].

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use policy_compiler::binary::FileIdentity;
use policy_compiler::output::{AttachPoint, UprobeLink, UserPlace};

use crate::binary;
use crate::sys::{self, Filesystem, SysError};

/// What keeps a program attached; dropping it detaches.
#[derive(Debug)]
pub(crate) struct Link {
    /// A link, or before 5.15 nothing but the perf event below.
    link: Option<OwnedFd>,
    /// The perf event of a kprobe or tracepoint. Kept after the link, which needs it.
    _event: Option<OwnedFd>,
}

impl Link {
    /// Attaches a program.
    pub(crate) fn attach(attach: &AttachPoint, program: BorrowedFd<'_>) -> Result<Self, SysError> {
        match attach {
            AttachPoint::Fentry { .. }
            | AttachPoint::Fexit { .. }
            | AttachPoint::FmodRet { .. }
            | AttachPoint::Lsm { .. }
            | AttachPoint::TpBtf { .. } => sys::raw_tracepoint_open(program, None)
                .map(Self::of_link)
                .map_err(|error| named(error, attach)),
            AttachPoint::RawTracepoint { event } => sys::raw_tracepoint_open(program, Some(event)).map(Self::of_link),
            AttachPoint::Kprobe { symbol } => {
                Self::of_event(sys::perf_kprobe(symbol, false)?, program).map_err(|error| named(error, attach))
            }
            AttachPoint::Kretprobe { symbol } => {
                Self::of_event(sys::perf_kprobe(symbol, true)?, program).map_err(|error| named(error, attach))
            }
            AttachPoint::KprobeMulti { symbols } | AttachPoint::KretprobeMulti { symbols } => {
                let at_return = matches!(attach, AttachPoint::KretprobeMulti { .. });
                let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
                sys::link_kprobe_multi(program, &symbols, &[], at_return)
                    .map(Self::of_link)
                    .map_err(|error| named(error, attach))
            }
            AttachPoint::Uprobe { place, by } => {
                Self::at_user_place(place, *by, false, program).map_err(|error| named(error, attach))
            }
            AttachPoint::Uretprobe { place, by } => {
                Self::at_user_place(place, *by, true, program).map_err(|error| named(error, attach))
            }
            AttachPoint::Tracepoint { subsystem, event } => {
                let name = format!("{subsystem}/{event}");
                let id = tracepoint_id(&name)?;
                Self::of_event(sys::perf_tracepoint(&name, id)?, program).map_err(|error| named(error, attach))
            }
        }
    }

    /// Attaches at a place of a user binary, if it still is the file that the place is of.
    fn at_user_place(
        place: &UserPlace,
        by: UprobeLink,
        at_return: bool,
        program: BorrowedFd<'_>,
    ) -> Result<Self, SysError> {
        let file = binary::open(&place.path)?;
        if binary::identity(&file, &place.path)? != place.identity {
            return Err(SysError {
                syscall: "fstat",
                object: place.path.clone(),
                errno: libc::ESTALE,
                hint: Some("the file was replaced while its policy was loaded; load the policy again"),
            });
        }
        // the file that was looked at, whatever has its path by now
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        match by {
            UprobeLink::Multi => {
                sys::link_uprobe_multi(program, &path, place.offset, place.ref_ctr_offset, at_return).map(Self::of_link)
            }
            UprobeLink::PerfEvent => {
                let event = sys::perf_uprobe(&path, place.offset, place.ref_ctr_offset, at_return)?;
                Self::of_event(event, program)
            }
        }
    }

    /// A link that is attached already.
    pub(crate) fn of_link(link: OwnedFd) -> Self {
        Self {
            link: Some(link),
            _event: None,
        }
    }

    fn of_event(event: OwnedFd, program: BorrowedFd<'_>) -> Result<Self, SysError> {
        match sys::link_perf_event(program, event.as_fd(), 0) {
            Ok(link) => Ok(Self {
                link: Some(link),
                _event: Some(event),
            }),
            // Before 5.15 perf events have no links.
            Err(error) if error.errno == libc::EINVAL => {
                sys::perf_set_program(event.as_fd(), program)?;
                Ok(Self {
                    link: None,
                    _event: Some(event),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The link itself; `None` before 5.15 for kprobes and tracepoints.
    pub(crate) fn as_link_fd(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(AsFd::as_fd)
    }

    /// Hits for which the kernel ran nothing, as far as it counts them.
    pub(crate) fn missed(&self) -> u64 {
        self.as_link_fd()
            .and_then(|link| sys::link_missed(link).ok())
            .unwrap_or(0)
    }

    /// The link's number, as `bpftool link` shows it; `None` where there is no link.
    pub(crate) fn id(&self) -> Option<u32> {
        sys::link_id(self.link.as_ref()?.as_fd()).ok()
    }
}

/// The number in a tracepoint's `id` file.
fn tracepoint_id(name: &str) -> Result<u64, SysError> {
    let root = sys::ensure_mounted(Filesystem::Tracefs)?;
    let path = root.join("events").join(name).join("id");
    let text = fs::read_to_string(&path).map_err(|error| SysError::io("read", path.display().to_string(), &error))?;
    text.trim().parse().map_err(|_| SysError {
        syscall: "read",
        object: path.display().to_string(),
        errno: libc::EIO,
        hint: None,
    })
}

fn named(mut error: SysError, attach: &AttachPoint) -> SysError {
    error.object = describe(attach);
    error
}

/// An attach point in the notation of ELF sections: `fentry/vfs_read`.
pub fn describe(attach: &AttachPoint) -> String {
    match attach {
        AttachPoint::Fentry { function } => format!("fentry/{function}"),
        AttachPoint::Fexit { function } => format!("fexit/{function}"),
        AttachPoint::FmodRet { function } => format!("fmod_ret/{function}"),
        AttachPoint::Lsm { hook } => format!("lsm/{hook}"),
        AttachPoint::Kprobe { symbol } => format!("kprobe/{symbol}"),
        AttachPoint::Kretprobe { symbol } => format!("kretprobe/{symbol}"),
        AttachPoint::KprobeMulti { symbols } => multi("kprobe.multi", symbols),
        AttachPoint::KretprobeMulti { symbols } => multi("kretprobe.multi", symbols),
        AttachPoint::Tracepoint { subsystem, event } => format!("tracepoint/{subsystem}/{event}"),
        AttachPoint::RawTracepoint { event } => format!("raw_tp/{event}"),
        AttachPoint::TpBtf { event } => format!("tp_btf/{event}"),
        AttachPoint::Uprobe { place, .. } => format!("uprobe/{}:{:#x}", place.path, place.offset),
        AttachPoint::Uretprobe { place, .. } => format!("uretprobe/{}:{:#x}", place.path, place.offset),
    }
}

/// An attach point as text that [`read_spelling`] reads. As [`describe`], but with all symbols of a multi-probe.
pub(crate) fn spelling(attach: &AttachPoint) -> String {
    match attach {
        AttachPoint::KprobeMulti { symbols } => format!("kprobe.multi/{}", symbols.join(",")),
        AttachPoint::KretprobeMulti { symbols } => format!("kretprobe.multi/{}", symbols.join(",")),
        AttachPoint::Uprobe { place, by } => format!("uprobe/{}", user_place(place, *by)),
        AttachPoint::Uretprobe { place, by } => format!("uretprobe/{}", user_place(place, *by)),
        other => describe(other),
    }
}

/// The path comes last: it may hold anything.
fn user_place(place: &UserPlace, by: UprobeLink) -> String {
    let by = match by {
        UprobeLink::PerfEvent => "perf",
        UprobeLink::Multi => "multi",
    };
    let UserPlace {
        path,
        identity,
        offset,
        ref_ctr_offset,
    } = place;
    let FileIdentity {
        device,
        inode,
        size,
        modified_ns,
    } = identity;
    format!("{by}:{offset}:{ref_ctr_offset}:{device}:{inode}:{size}:{modified_ns}:{path}")
}

fn read_user_place(text: &str) -> Option<(UserPlace, UprobeLink)> {
    let mut fields = text.splitn(8, ':');
    let mut field = || fields.next();
    let by = match field()? {
        "perf" => UprobeLink::PerfEvent,
        "multi" => UprobeLink::Multi,
        _ => return None,
    };
    let place = UserPlace {
        offset: field()?.parse().ok()?,
        ref_ctr_offset: field()?.parse().ok()?,
        identity: FileIdentity {
            device: field()?.parse().ok()?,
            inode: field()?.parse().ok()?,
            size: field()?.parse().ok()?,
            modified_ns: field()?.parse().ok()?,
        },
        path: field()?.to_owned(),
    };
    Some((place, by))
}

/// The attach point that a text names.
pub(crate) fn read_spelling(text: &str) -> Option<AttachPoint> {
    let (kind, name) = text.split_once('/')?;
    let symbols = || name.split(',').map(str::to_owned).collect();
    let name = || name.to_owned();
    Some(match kind {
        "fentry" => AttachPoint::Fentry { function: name() },
        "fexit" => AttachPoint::Fexit { function: name() },
        "fmod_ret" => AttachPoint::FmodRet { function: name() },
        "lsm" => AttachPoint::Lsm { hook: name() },
        "kprobe" => AttachPoint::Kprobe { symbol: name() },
        "kretprobe" => AttachPoint::Kretprobe { symbol: name() },
        "kprobe.multi" => AttachPoint::KprobeMulti { symbols: symbols() },
        "kretprobe.multi" => AttachPoint::KretprobeMulti { symbols: symbols() },
        "tracepoint" => {
            let (subsystem, event) = text.strip_prefix("tracepoint/")?.split_once('/')?;
            AttachPoint::Tracepoint {
                subsystem: subsystem.to_owned(),
                event: event.to_owned(),
            }
        }
        "raw_tp" => AttachPoint::RawTracepoint { event: name() },
        "tp_btf" => AttachPoint::TpBtf { event: name() },
        "uprobe" => {
            let (place, by) = read_user_place(text.strip_prefix("uprobe/")?)?;
            AttachPoint::Uprobe { place, by }
        }
        "uretprobe" => {
            let (place, by) = read_user_place(text.strip_prefix("uretprobe/")?)?;
            AttachPoint::Uretprobe { place, by }
        }
        _ => return None,
    })
}

fn multi(kind: &str, symbols: &[String]) -> String {
    match symbols {
        [one] => format!("{kind}/{one}"),
        [first, ..] => format!("{kind}/{first}+{}", symbols.len() - 1),
        [] => format!("{kind}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_is_read_back() {
        let name = || "vfs_read".to_owned();
        let symbols = || vec![name(), "vfs_write".to_owned()];
        let place = || UserPlace {
            path: "/a:b/c d".to_owned(),
            identity: FileIdentity {
                device: 1,
                inode: 2,
                size: 3,
                modified_ns: -4,
            },
            offset: 5,
            ref_ctr_offset: 6,
        };
        let all = [
            AttachPoint::Fentry { function: name() },
            AttachPoint::Fexit { function: name() },
            AttachPoint::FmodRet { function: name() },
            AttachPoint::Lsm { hook: name() },
            AttachPoint::Kprobe { symbol: name() },
            AttachPoint::Kretprobe { symbol: name() },
            AttachPoint::KprobeMulti { symbols: symbols() },
            AttachPoint::KretprobeMulti { symbols: symbols() },
            AttachPoint::Tracepoint {
                subsystem: "syscalls".to_owned(),
                event: name(),
            },
            AttachPoint::RawTracepoint { event: name() },
            AttachPoint::TpBtf { event: name() },
            AttachPoint::Uprobe {
                place: place(),
                by: UprobeLink::Multi,
            },
            AttachPoint::Uretprobe {
                place: place(),
                by: UprobeLink::PerfEvent,
            },
        ];
        for attach in all {
            assert_eq!(read_spelling(&spelling(&attach)).as_ref(), Some(&attach));
        }
        assert_eq!(read_spelling("uprobe/f"), None);
    }
}
