//! The running kernel: its types, its release, and whether it lets us work at all.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use policy_compiler::btf::Btf;

use crate::error::EnvironmentError;
use crate::sys::{self, Instruction, Map, MapShape, MapType, ProgramLoad, ProgramType};

const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The types of the running kernel. They are read once and shared for as long as somebody holds them.
///
/// # Errors
/// [`EnvironmentError::NoBtf`], [`EnvironmentError::BadBtf`].
pub fn kernel_btf() -> Result<Arc<Btf>, EnvironmentError> {
    static SHARED: Mutex<Weak<Btf>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(btf) = shared.upgrade() {
        return Ok(btf);
    }
    let bytes = fs::read(VMLINUX_BTF).map_err(|_| EnvironmentError::NoBtf { path: VMLINUX_BTF })?;
    let btf = Btf::parse(bytes).map_err(|error| EnvironmentError::BadBtf {
        path: VMLINUX_BTF,
        reason: error.to_string(),
    })?;
    let btf = Arc::new(btf);
    *shared = Arc::downgrade(&btf);
    Ok(btf)
}

/// `uname -r`
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Finds out whether eBPF can be used at all, by creating a map and loading a program.
///
/// # Errors
/// [`EnvironmentError`], with the reason and what to do.
pub fn check_environment() -> Result<(), EnvironmentError> {
    let shape = MapShape {
        map_type: MapType::Array,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
    };
    // Needed before 5.11 only; where it is needed and fails, the map below fails.
    drop(sys::raise_memlock());
    if let Err(error) = Map::create("tetra_check", shape, None) {
        return Err(match error.errno {
            libc::ENOSYS => EnvironmentError::NoBpf,
            _ => refusal(),
        });
    }
    // r0 = bpf_probe_read_kernel(r10 - 8, 8, 0); return 0: what lockdown forbids.
    let read_kernel = [
        Instruction {
            code: 0xbf,
            registers: 0xa1,
            offset: 0,
            immediate: 0,
        },
        Instruction {
            code: 0x07,
            registers: 0x01,
            offset: 0,
            immediate: -8,
        },
        Instruction {
            code: 0xb7,
            registers: 0x02,
            offset: 0,
            immediate: 8,
        },
        Instruction {
            code: 0xb7,
            registers: 0x03,
            offset: 0,
            immediate: 0,
        },
        Instruction {
            code: 0x85,
            registers: 0,
            offset: 0,
            immediate: 113,
        },
        Instruction {
            code: 0xb7,
            registers: 0,
            offset: 0,
            immediate: 0,
        },
        Instruction {
            code: 0x95,
            registers: 0,
            offset: 0,
            immediate: 0,
        },
    ];
    if sys::prog_load(&ProgramLoad::new(
        "tetra_check",
        ProgramType::RawTracepoint,
        &read_kernel,
    ))
    .is_err()
    {
        return Err(if is_confidential() {
            EnvironmentError::LockedDown
        } else {
            refusal()
        });
    }
    if Path::new(VMLINUX_BTF).exists() {
        Ok(())
    } else {
        Err(EnvironmentError::NoBtf { path: VMLINUX_BTF })
    }
}

/// Why bpf(2) says EPERM: no privileges, or a filter in front of it.
fn refusal() -> EnvironmentError {
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_PERFMON: u32 = 38;
    const CAP_BPF: u32 = 39;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u32| effective & (1 << capability) != 0;
    if has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON)) {
        EnvironmentError::Forbidden
    } else {
        EnvironmentError::NotPrivileged
    }
}

/// Whether `/sys/kernel/security/lockdown` says `none integrity [confidentiality]`.
fn is_confidential() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|text| text.contains("[confidentiality]"))
}
