//! The program that probes attach: it acts on the probing thread and notes that it ran.
//!
//! ```text
//!   r6 = ctx
//!   if bpf_get_current_pid_tgid() is not the thread: return 0
//!   *hits = 1 + (result of the action, or 0)
//!   return verdict
//! ```

use std::fs;
use std::os::fd::AsFd;

use policy_compiler::btf::Btf;
use policy_compiler::output::{AttachPoint, UserPlace};

use crate::assembler::{
    GET_CURRENT_PID_TGID, add_immediate, call, exit, jump_if_not_equal32, load_map_value, mov, mov_immediate, store64,
};
use crate::binary;
use crate::link::Link;
use crate::program::{LoadedProgram, ProgramKind, verdict};
use crate::sys::{self, Instruction, Map, MapShape, MapType, ProgramLoad, ProgramType, Rejected, SysError, UpdateMode};

/// `-EPERM`
pub(super) const DENY: i32 = -libc::EPERM;

/// What the probes share.
pub(super) struct Canary<'a> {
    kernel: &'a Btf,
    hits: Map,
    thread: u32,
}

/// What a probe's program does beside noting that it ran; leaves a result in r0, finds the context in r6.
pub(super) type Action = Vec<Instruction>;

impl<'a> Canary<'a> {
    /// For the calling thread.
    pub(super) fn new(kernel: &'a Btf) -> Result<Self, String> {
        let shape = MapShape {
            map_type: MapType::Array,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
        };
        let hits = Map::create("tetra_canary", shape, None).map_err(|error| error.to_string())?;
        Ok(Self {
            kernel,
            hits,
            thread: thread_in_kernel(),
        })
    }

    /// Loads and attaches the canary, makes it run, and returns what the watched call said.
    /// `Err` if it cannot be loaded or attached, or if it did not run.
    pub(super) fn run(
        &self,
        attach: &AttachPoint,
        flags: u32,
        action: &Action,
        verdict: i32,
    ) -> Result<Outcome, String> {
        let kind = ProgramKind::of(attach, self.kernel).map_err(|missing| missing.to_string())?;
        let code = self.program(action, verdict);
        let load = ProgramLoad {
            expected_attach_type: kind.expected_attach_type,
            attach_btf_id: kind.attach_btf_id,
            flags,
            ..ProgramLoad::new("tetra_canary", kind.program_type, &code)
        };
        let program = LoadedProgram::load(&load).map_err(|rejected| load_reason(&rejected))?;
        let zero = 0u32.to_ne_bytes();
        self.hits
            .update(&zero, &0u64.to_ne_bytes(), UpdateMode::Any)
            .map_err(|error| error.to_string())?;
        let link = Link::attach(attach, program.as_fd()).map_err(|error| format!("cannot be attached: {error}"))?;
        watched_function();
        let call = sys::getpgid_of_self();
        drop(link);
        let hits = self
            .hits
            .lookup(&zero)
            .map_err(|error| error.to_string())?
            .unwrap_or_default();
        let hits = <[u8; 8]>::try_from(hits).map_or(0, i64::from_ne_bytes);
        if hits == 0 {
            return Err("programs attach, but never run".to_owned());
        }
        Ok(Outcome { call, action: hits - 1 })
    }

    fn program(&self, action: &Action, verdict: i32) -> Vec<Instruction> {
        let mut act = action.clone();
        if act.is_empty() {
            act.push(mov_immediate(0, 0));
        }
        act.extend([mov(7, 0), add_immediate(7, 1)]);
        act.extend(load_map_value(1, self.hits.as_fd()));
        act.extend([store64(1, 7, 0), mov_immediate(0, verdict), exit()]);
        let mut code = vec![
            mov(6, 1),
            call(GET_CURRENT_PID_TGID),
            jump_if_not_equal32(0, self.thread as i32, act.len() as i16),
        ];
        code.extend(act);
        code.extend([mov_immediate(0, 0), exit()]);
        code
    }
}

/// The user function that the canary watches: its code is in this program and nothing else calls it.
#[inline(never)]
fn watched_function() {
    std::hint::black_box(());
}

/// Where it is: the file and the offset there; `None` if the process cannot tell.
pub(super) fn watched_place() -> Option<UserPlace> {
    let address = std::hint::black_box(watched_function as fn()) as usize as u64;
    // start-end permissions offset device inode path
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let offset = maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let offset = number(fields.nth(1)?)?;
        (start..end).contains(&address).then(|| offset + (address - start))
    })?;
    let path = "/proc/self/exe";
    Some(UserPlace {
        path: path.to_owned(),
        identity: binary::identity(&binary::open(path).ok()?, path).ok()?,
        offset,
        ref_ctr_offset: 0,
    })
}

/// What a canary that ran has brought about.
pub(super) struct Outcome {
    /// Result of the watched call.
    pub(super) call: Result<(), SysError>,
    /// Result of the action.
    pub(super) action: i64,
}

/// The calling thread's id as programs see it. In a container `gettid` says another number, so a program is asked.
fn thread_in_kernel() -> u32 {
    let code = [call(GET_CURRENT_PID_TGID), exit()];
    let asked = LoadedProgram::load(&ProgramLoad::new("tetra_tid", ProgramType::RawTracepoint, &code))
        .map_err(|rejected| rejected.error)
        .and_then(|program| sys::test_run_context(program.as_fd(), &mut []));
    // Raw tracepoint programs can be run since 5.10.
    asked.map_or_else(|_| sys::thread_id(), |run| run.return_value)
}

/// Why a program was not loaded, in one line.
pub(super) fn load_reason(rejected: &Rejected) -> String {
    match verdict(&rejected.log) {
        Some(said) => format!("refused by the verifier: {said}"),
        None => format!("cannot be loaded: {}", rejected.error),
    }
}
