//! What the kernel says about an object, and pins.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::attr::{self, LinkInfo, ObjectId, ObjectInfo, ObjectPath, ProgInfo};
use super::map::{MapShape, MapType};
use super::{SysError, bpf, bpf_fd, c_string, text_of};

/// What the kernel says about a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramInfo {
    /// Number, as `bpftool prog` shows it.
    pub id: u32,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Instructions that the verifier walked (since 5.16, else 0).
    pub verified_instructions: u32,
    /// Bytes of translated instructions.
    pub translated_bytes: u32,
    /// Runs, if statistics are switched on.
    pub run_count: u64,
    /// Time of all these runs.
    pub run_time_ns: u64,
    /// Calls that the kernel left out because another program was running on the CPU (since 5.12, else 0).
    pub missed: u64,
    /// Bytes charged for it, from `fdinfo`.
    pub memlock_bytes: u64,
}

/// What the kernel says about a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapInfo {
    /// Number, as `bpftool map` shows it.
    pub id: u32,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Bytes charged for it, from `fdinfo`.
    pub memlock_bytes: u64,
}

fn get_info<T: Default>(fd: BorrowedFd<'_>, what: &'static str) -> Result<T, SysError> {
    let mut info = T::default();
    let mut attr = ObjectInfo {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    match bpf(attr::BPF_OBJ_GET_INFO_BY_FD, &mut attr) {
        Ok(_) => Ok(info),
        Err(errno) => Err(SysError {
            syscall: "bpf(BPF_OBJ_GET_INFO_BY_FD)",
            object: what.to_owned(),
            errno,
            hint: None,
        }),
    }
}

/// Asks about a program.
///
/// # Errors
/// What `BPF_OBJ_GET_INFO_BY_FD` says.
pub fn program_info(program: BorrowedFd<'_>) -> Result<ProgramInfo, SysError> {
    let info: ProgInfo = get_info(program, "program")?;
    Ok(ProgramInfo {
        id: info.id,
        name: text_of(&info.name),
        verified_instructions: info.verified_insns,
        translated_bytes: info.xlated_prog_len,
        run_count: info.run_cnt,
        run_time_ns: info.run_time_ns,
        missed: info.recursion_misses,
        memlock_bytes: memlock(program),
    })
}

/// Asks about a map.
///
/// # Errors
/// What `BPF_OBJ_GET_INFO_BY_FD` says.
pub fn map_info(map: BorrowedFd<'_>) -> Result<MapInfo, SysError> {
    let info: attr::MapInfo = get_info(map, "map")?;
    Ok(MapInfo {
        id: info.id,
        name: text_of(&info.name),
        memlock_bytes: memlock(map),
    })
}

/// What a map is made of, asked of the kernel.
///
/// # Errors
/// `EINVAL` for a type that the loader does not know; otherwise what `BPF_OBJ_GET_INFO_BY_FD` says.
pub fn map_shape_of(map: BorrowedFd<'_>) -> Result<MapShape, SysError> {
    let info: attr::MapInfo = get_info(map, "map")?;
    let map_type = MapType::from_number(info.map_type).ok_or_else(|| SysError {
        syscall: "bpf(BPF_OBJ_GET_INFO_BY_FD)",
        object: text_of(&info.name),
        errno: libc::EINVAL,
        hint: None,
    })?;
    Ok(MapShape {
        map_type,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
    })
}

/// The number of a link, as `bpftool link` shows it.
///
/// # Errors
/// `EINVAL` for a descriptor that is not a link (perf events before 5.15); otherwise what `BPF_OBJ_GET_INFO_BY_FD` says.
pub fn link_id(link: BorrowedFd<'_>) -> Result<u32, SysError> {
    get_info::<LinkInfo>(link, "link").map(|info| info.id)
}

/// Hits of a kprobe for which the kernel could not run anything (since 6.7, else 0).
///
/// # Errors
/// As [`link_id`].
pub fn link_missed(link: BorrowedFd<'_>) -> Result<u64, SysError> {
    const PERF_EVENT: u32 = 7;
    const KPROBE_MULTI: u32 = 8;
    const KPROBE: u64 = 3;
    const KRETPROBE: u64 = 4;
    let info: LinkInfo = get_info(link, "link")?;
    Ok(match (info.link_type, info.rest) {
        // { u32 type; { u64 func_name; u32 name_len; u32 offset; u64 addr; u64 missed; } }
        (PERF_EVENT, [kind, _, _, _, missed, ..]) if matches!(kind & 0xffff_ffff, KPROBE | KRETPROBE) => missed,
        // { u64 addrs; u32 count; u32 flags; u64 missed; }
        (KPROBE_MULTI, [_, _, missed, ..]) => missed,
        _ => 0,
    })
}

/// `memlock:` of fdinfo; 0 where the kernel does not say.
fn memlock(fd: BorrowedFd<'_>) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("memlock:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Pins an object in a bpf file system.
///
/// # Errors
/// What `BPF_OBJ_PIN` says.
pub fn obj_pin(object: BorrowedFd<'_>, path: &Path) -> Result<(), SysError> {
    let text = path.display().to_string();
    let name = c_string("bpf(BPF_OBJ_PIN)", &text)?;
    let mut attr = ObjectPath {
        pathname: name.as_ptr() as u64,
        bpf_fd: object.as_raw_fd() as u32,
        file_flags: 0,
    };
    bpf(attr::BPF_OBJ_PIN, &mut attr).map(|_| ()).map_err(|errno| SysError {
        syscall: "bpf(BPF_OBJ_PIN)",
        object: text,
        errno,
        hint: None,
    })
}

/// Opens a pinned object.
///
/// # Errors
/// What `BPF_OBJ_GET` says.
pub fn obj_get(path: &Path) -> Result<OwnedFd, SysError> {
    let text = path.display().to_string();
    let name = c_string("bpf(BPF_OBJ_GET)", &text)?;
    let mut attr = ObjectPath {
        pathname: name.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    bpf_fd(attr::BPF_OBJ_GET, &mut attr).map_err(|errno| SysError {
        syscall: "bpf(BPF_OBJ_GET)",
        object: text,
        errno,
        hint: None,
    })
}

/// Whether the kernel has a program of this number. It has one as long as anybody holds it, a link in particular.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; otherwise what `BPF_PROG_GET_FD_BY_ID` says.
pub fn program_exists(id: u32) -> Result<bool, SysError> {
    let mut attr = ObjectId {
        id,
        ..ObjectId::default()
    };
    match bpf_fd(attr::BPF_PROG_GET_FD_BY_ID, &mut attr) {
        Ok(_) => Ok(true),
        Err(libc::ENOENT) => Ok(false),
        Err(errno) => Err(SysError {
            syscall: "bpf(BPF_PROG_GET_FD_BY_ID)",
            object: format!("program {id}"),
            errno,
            hint: None,
        }),
    }
}
