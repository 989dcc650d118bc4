//! Programs and their types.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::attr::{self, BtfLoad, ProgLoad};
use super::{SysError, bpf, bpf_fd, c_string, object_name, text_of};

/// `enum bpf_prog_type`, as far as it is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum ProgramType {
    Kprobe = 2,
    Tracepoint = 5,
    PerfEvent = 7,
    RawTracepoint = 17,
    Tracing = 26,
    Lsm = 29,
    Syscall = 31,
}

/// `enum bpf_attach_type`, as far as it is used.
pub mod attach_type {
    /// `BPF_TRACE_RAW_TP`: tp_btf.
    pub const TRACE_RAW_TP: u32 = 23;
    /// `BPF_TRACE_FENTRY`
    pub const TRACE_FENTRY: u32 = 24;
    /// `BPF_TRACE_FEXIT`
    pub const TRACE_FEXIT: u32 = 25;
    /// `BPF_MODIFY_RETURN`
    pub const MODIFY_RETURN: u32 = 26;
    /// `BPF_LSM_MAC`
    pub const LSM_MAC: u32 = 27;
    /// `BPF_PERF_EVENT`
    pub const PERF_EVENT: u32 = 41;
    /// `BPF_TRACE_KPROBE_MULTI`
    pub const TRACE_KPROBE_MULTI: u32 = 42;
    /// `BPF_TRACE_UPROBE_MULTI`
    pub const TRACE_UPROBE_MULTI: u32 = 48;
}

/// An eBPF instruction, as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Instruction {
    /// Class, operation, mode.
    pub code: u8,
    /// Destination register in the low half, source register in the high half.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

impl Instruction {
    /// Reads an instruction from its 8 little-endian bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = bytes;
        Self {
            code,
            registers,
            offset: i16::from_le_bytes([o0, o1]),
            immediate: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// Its source register.
    pub fn source(self) -> u8 {
        self.registers >> 4
    }

    /// The same with another source register.
    #[must_use]
    pub fn with_source(self, source: u8) -> Self {
        Self {
            registers: (self.registers & 0x0f) | (source << 4),
            ..self
        }
    }
}

/// `struct bpf_func_info`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuncInfo {
    /// First instruction.
    pub instruction: u32,
    /// Its `BTF_KIND_FUNC`.
    pub type_id: u32,
}

/// `struct bpf_line_info`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineInfo {
    /// First instruction.
    pub instruction: u32,
    /// String offset of the file's name.
    pub file_name: u32,
    /// String offset of the line's text.
    pub text: u32,
    /// Line << 10 | column.
    pub line_column: u32,
}

/// A program to load.
#[derive(Clone, Debug)]
pub struct ProgramLoad<'a> {
    /// Name; cut to 15 bytes.
    pub name: &'a str,
    /// Kind.
    pub program_type: ProgramType,
    /// See [`attach_type`]; 0 where the type does not need one.
    pub expected_attach_type: u32,
    /// vmlinux type that a tracing or LSM program attaches to.
    pub attach_btf_id: u32,
    /// `BPF_F_*` load flags.
    pub flags: u32,
    /// Instructions with maps and calls resolved.
    pub instructions: &'a [Instruction],
    /// Loaded BTF that `func_info` and `line_info` refer to.
    pub btf: Option<BorrowedFd<'a>>,
    /// One entry for each function, ascending.
    pub func_info: &'a [FuncInfo],
    /// Source lines, ascending.
    pub line_info: &'a [LineInfo],
}

impl<'a> ProgramLoad<'a> {
    /// A program without BTF.
    pub fn new(name: &'a str, program_type: ProgramType, instructions: &'a [Instruction]) -> Self {
        Self {
            name,
            program_type,
            expected_attach_type: 0,
            attach_btf_id: 0,
            flags: 0,
            instructions,
            btf: None,
            func_info: &[],
            line_info: &[],
        }
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Loaded {
    /// The program.
    pub fd: OwnedFd,
    /// Instructions that the verifier walked, if the kernel says.
    pub verified_instructions: u32,
}

/// A program that the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// What the system call said.
    pub error: SysError,
    /// What the verifier said; empty if it was not reached.
    pub log: String,
}

/// `BPF_LOG_LEVEL1`: every instruction with the state before it; `BPF_LOG_STATS`.
const LOG_FULL: u32 = 1;
const LOG_STATS: u32 = 4;
/// Verification statistics are a few lines, and since 7.0 one more for each function. Were they cut, the load would fail.
const STATS_BYTES: usize = 64 << 10;
/// The largest log buffer that every kernel takes (before 5.18: `UINT_MAX >> 8`).
const LOG_BYTES: usize = (1 << 24) - 1;

/// Loads a program. When the kernel refuses it, it is tried again to get the verifier's log.
///
/// # Errors
/// [`Rejected`], with the log if the verifier was reached.
pub fn prog_load(load: &ProgramLoad<'_>) -> Result<Loaded, Rejected> {
    let mut stats = vec![0; STATS_BYTES];
    match try_load(load, LOG_STATS, &mut stats) {
        Ok(fd) => Ok(Loaded {
            fd,
            verified_instructions: processed(&text_of(&stats)).unwrap_or(0),
        }),
        Err(first) => {
            // A zeroed allocation of this size is not backed by memory until the kernel writes to it.
            let mut log = vec![0; LOG_BYTES];
            match try_load(load, LOG_FULL | LOG_STATS, &mut log) {
                // Refused for a passing reason (memory, an interruption): the second answer counts.
                Ok(fd) => Ok(Loaded {
                    fd,
                    verified_instructions: processed(&tail_of(&log)).unwrap_or(0),
                }),
                Err(libc::ENOSPC) => Err(rejected(load, first, text_of(&log))),
                Err(errno) => Err(rejected(load, errno, text_of(&log))),
            }
        }
    }
}

fn rejected(load: &ProgramLoad<'_>, errno: i32, log: String) -> Rejected {
    let hint = match errno {
        libc::EPERM if log.is_empty() => {
            Some("run as root or with CAP_BPF and CAP_PERFMON; kernel lockdown may also forbid it")
        }
        _ => None,
    };
    Rejected {
        error: SysError {
            syscall: "bpf(BPF_PROG_LOAD)",
            object: load.name.to_owned(),
            errno,
            hint,
        },
        log,
    }
}

fn try_load(load: &ProgramLoad<'_>, log_level: u32, log: &mut [u8]) -> Result<OwnedFd, i32> {
    let mut attr = ProgLoad {
        prog_type: load.program_type as u32,
        insn_cnt: load.instructions.len() as u32,
        insns: load.instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        prog_flags: load.flags,
        prog_name: object_name(load.name),
        expected_attach_type: load.expected_attach_type,
        attach_btf_id: load.attach_btf_id,
        ..ProgLoad::default()
    };
    if let Some(btf) = load.btf {
        attr.prog_btf_fd = btf.as_raw_fd() as u32;
        attr.func_info_rec_size = size_of::<FuncInfo>() as u32;
        attr.func_info = load.func_info.as_ptr() as u64;
        attr.func_info_cnt = load.func_info.len() as u32;
        attr.line_info_rec_size = size_of::<LineInfo>() as u32;
        attr.line_info = load.line_info.as_ptr() as u64;
        attr.line_info_cnt = load.line_info.len() as u32;
    }
    bpf_fd(attr::BPF_PROG_LOAD, &mut attr)
}

/// The last bytes of the text in a large buffer.
fn tail_of(log: &[u8]) -> String {
    let text = text_of(log);
    let start = text.len().saturating_sub(STATS_BYTES);
    text.get(start..).unwrap_or(&text).to_owned()
}

/// The number in `processed N insns (limit ...`.
fn processed(log: &str) -> Option<u32> {
    let rest = &log[log.rfind("processed ")? + "processed ".len()..];
    rest.split(' ').next()?.parse().ok()
}

/// Loads BTF.
///
/// # Errors
/// [`Rejected`], with the kernel's log.
pub fn btf_load(name: &str, btf: &[u8]) -> Result<OwnedFd, Rejected> {
    let mut attr = BtfLoad {
        btf: btf.as_ptr() as u64,
        size: btf.len() as u32,
        ..BtfLoad::default()
    };
    if let Ok(fd) = bpf_fd(attr::BPF_BTF_LOAD, &mut attr) {
        return Ok(fd);
    }
    let mut log = vec![0; LOG_BYTES];
    let mut attr = BtfLoad {
        btf: btf.as_ptr() as u64,
        size: btf.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        log_size: log.len() as u32,
        log_level: 1,
        ..BtfLoad::default()
    };
    bpf_fd(attr::BPF_BTF_LOAD, &mut attr).map_err(|errno| Rejected {
        error: SysError {
            syscall: "bpf(BPF_BTF_LOAD)",
            object: name.to_owned(),
            errno,
            hint: None,
        },
        log: text_of(&log),
    })
}

/// Result of a test run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestRun {
    /// What the program returned.
    pub return_value: u32,
    /// Average time of a run.
    pub duration_ns: u32,
}

/// Runs a program once with a context (`BPF_PROG_TYPE_SYSCALL`, raw tracepoint); the program's changes to it are copied back
/// for syscall programs.
///
/// # Errors
/// What `BPF_PROG_TEST_RUN` says.
pub fn test_run_context(program: BorrowedFd<'_>, context: &mut [u8]) -> Result<TestRun, SysError> {
    let mut attr = attr::TestRun {
        prog_fd: program.as_raw_fd() as u32,
        ctx_size_in: context.len() as u32,
        ctx_in: if context.is_empty() {
            0
        } else {
            context.as_mut_ptr() as u64
        },
        ..attr::TestRun::default()
    };
    run(&mut attr)
}

/// Runs a program on packet data, several times.
///
/// # Errors
/// What `BPF_PROG_TEST_RUN` says.
pub fn test_run(program: BorrowedFd<'_>, data: &[u8], repeat: u32) -> Result<TestRun, SysError> {
    let mut attr = attr::TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: data.len() as u32,
        data_in: data.as_ptr() as u64,
        repeat,
        ..attr::TestRun::default()
    };
    run(&mut attr)
}

fn run(attr: &mut attr::TestRun) -> Result<TestRun, SysError> {
    match bpf(attr::BPF_PROG_TEST_RUN, attr) {
        Ok(_) => Ok(TestRun {
            return_value: attr.retval,
            duration_ns: attr.duration,
        }),
        Err(errno) => Err(SysError {
            syscall: "bpf(BPF_PROG_TEST_RUN)",
            object: "program".into(),
            errno,
            hint: None,
        }),
    }
}

impl AsFd for Loaded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a symbol into a C string, for the link commands.
pub(super) fn symbol(syscall: &'static str, name: &str) -> Result<std::ffi::CString, SysError> {
    c_string(syscall, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        assert_eq!(
            processed("verification time 5 usec\nstack depth 8\nprocessed 37 insns (limit 1000000) max_states"),
            Some(37)
        );
        assert_eq!(processed(""), None);
    }

    #[test]
    fn instructions_are_read_as_the_kernel_lays_them_out() {
        let instruction = Instruction::from_bytes([0x18, 0x16, 0xfe, 0xff, 7, 0, 0, 0x80]);
        assert_eq!(
            instruction,
            Instruction {
                code: 0x18,
                registers: 0x16,
                offset: -2,
                immediate: 0x8000_0007_u32 as i32
            }
        );
        assert_eq!(instruction.source(), 1);
        assert_eq!(instruction.with_source(4).registers, 0x46);
    }
}
