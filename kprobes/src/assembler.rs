//! Instructions by name, for the small programs that the loader writes itself: stubs and probes.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys::Instruction;

/// `bpf_map_update_elem`
pub(crate) const MAP_UPDATE_ELEM: i32 = 2;
/// `bpf_get_current_pid_tgid`
pub(crate) const GET_CURRENT_PID_TGID: i32 = 14;
/// `bpf_tail_call`
pub(crate) const TAIL_CALL: i32 = 12;
/// `bpf_override_return`
pub(crate) const OVERRIDE_RETURN: i32 = 58;
/// `bpf_send_signal`
pub(crate) const SEND_SIGNAL: i32 = 109;
/// `bpf_ringbuf_output`
#[cfg(test)]
pub(crate) const RINGBUF_OUTPUT: i32 = 130;
/// `bpf_copy_from_user`
pub(crate) const COPY_FROM_USER: i32 = 148;
/// `bpf_get_current_task_btf`
pub(crate) const GET_CURRENT_TASK_BTF: i32 = 158;
/// `bpf_loop`
pub(crate) const LOOP: i32 = 181;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: destination | (source << 4),
        offset,
        immediate,
    }
}

/// `rD = rS`
pub(crate) fn mov(destination: u8, source: u8) -> Instruction {
    instruction(0xbf, destination, source, 0, 0)
}

/// `rD = immediate`, sign-extended.
pub(crate) fn mov_immediate(destination: u8, immediate: i32) -> Instruction {
    instruction(0xb7, destination, 0, 0, immediate)
}

/// `rD += immediate`
pub(crate) fn add_immediate(destination: u8, immediate: i32) -> Instruction {
    instruction(0x07, destination, 0, 0, immediate)
}

/// `rD = *(u32 *)(rS + offset)`
pub(crate) fn load32(destination: u8, source: u8, offset: i16) -> Instruction {
    instruction(0x61, destination, source, offset, 0)
}

/// `rD = *(u64 *)(rS + offset)`
#[cfg(test)]
pub(crate) fn load64(destination: u8, source: u8, offset: i16) -> Instruction {
    instruction(0x79, destination, source, offset, 0)
}

/// `*(u64 *)(rD + offset) = rS`
pub(crate) fn store64(destination: u8, source: u8, offset: i16) -> Instruction {
    instruction(0x7b, destination, source, offset, 0)
}

/// `if wD != immediate, skip instructions`
pub(crate) fn jump_if_not_equal32(destination: u8, immediate: i32, skip: i16) -> Instruction {
    instruction(0x56, destination, 0, skip, immediate)
}

/// `call helper`
pub(crate) fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, helper)
}

/// `return r0`
pub(crate) fn exit() -> Instruction {
    instruction(0x95, 0, 0, 0, 0)
}

/// `rD = map`
pub(crate) fn load_map(destination: u8, map: BorrowedFd<'_>) -> [Instruction; 2] {
    [
        instruction(0x18, destination, 1, 0, map.as_raw_fd()),
        Instruction::default(),
    ]
}

/// `rD = address of the first value of an array`
pub(crate) fn load_map_value(destination: u8, map: BorrowedFd<'_>) -> [Instruction; 2] {
    [
        instruction(0x18, destination, 2, 0, map.as_raw_fd()),
        Instruction::default(),
    ]
}

/// `rD = address of the function `distance` instructions after the next one`
pub(crate) fn load_function(destination: u8, distance: i32) -> [Instruction; 2] {
    [instruction(0x18, destination, 4, 0, distance), Instruction::default()]
}
