//! A hook: one fixed program at an attach point that hands every call on to the program of the active generation.
//!
//! ```text
//!   attach point ── link ── stub:  r1 = ctx
//!                                  r2 = programs            PROG_ARRAY of this hook
//!                                  r3 = tetra_active[0]     0 or 1, one word for all hooks
//!                                  tail call ───────────►   programs[0] | programs[1]
//!                                  return 0                 (no program in this generation)
//! ```
//! So a generation of programs is prepared in the slots that nobody reads, and one write to `tetra_active` puts it into force at
//! all hooks at once. The stub never changes: no call is missed and none is seen twice.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use policy_compiler::output::AttachPoint;

use crate::assembler::{TAIL_CALL, call, exit, load_map, load_map_value, load32, mov, mov_immediate};
use crate::link::{Link, describe};
use crate::program::{LoadedProgram, ProgramKind};
use crate::sys::{self, Instruction, Map, MapShape, MapType, ProgramLoad, Rejected, SysError};

/// A generation of programs: which slot of each hook is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(u32);

impl Generation {
    /// What `tetra_active` says at first.
    pub(crate) const FIRST: Self = Self(0);

    /// The other one.
    pub(crate) fn next(self) -> Self {
        Self(1 - self.0)
    }

    /// As `tetra_active` holds it.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// An attached stub with its two program slots.
#[derive(Debug)]
pub(crate) struct Hook {
    // Dropped first: nothing calls the stub any more when the rest goes.
    link: Link,
    stub: LoadedProgram,
    programs: Map,
    /// Where link and slots are pinned.
    pins: Vec<PathBuf>,
}

/// Why a hook could not be made.
#[derive(Debug)]
pub(crate) enum HookError {
    /// A system call.
    Sys(SysError),
    /// The stub was refused: the kernel cannot attach here at all.
    Stub(Rejected),
}

impl From<SysError> for HookError {
    fn from(error: SysError) -> Self {
        Self::Sys(error)
    }
}

impl Hook {
    /// Attaches a stub whose `generation` leads to `program`; the other slot is empty.
    pub(crate) fn attach(
        attach: &AttachPoint,
        kind: ProgramKind,
        active: &Map,
        generation: Generation,
        program: &LoadedProgram,
    ) -> Result<Self, HookError> {
        let shape = MapShape {
            map_type: MapType::ProgArray,
            key_size: 4,
            value_size: 4,
            max_entries: 2,
            flags: 0,
        };
        let programs = Map::create("tetra_hook", shape, None)?;
        let stub = LoadedProgram::load(&ProgramLoad {
            expected_attach_type: kind.expected_attach_type,
            attach_btf_id: kind.attach_btf_id,
            ..ProgramLoad::new("tetra_stub", kind.program_type, &stub(&programs, active))
        })
        .map_err(HookError::Stub)?;
        programs.update_fd(generation.number(), program.as_fd())?;
        let link = Link::attach(attach, stub.as_fd())?;
        Ok(Self {
            link,
            stub,
            programs,
            pins: Vec::new(),
        })
    }

    /// Puts a program, or none, into a slot that is not active.
    pub(crate) fn set(&self, generation: Generation, program: Option<&LoadedProgram>) -> Result<(), SysError> {
        match program {
            Some(program) => self.programs.update_fd(generation.number(), program.as_fd()),
            None => self.programs.delete(&generation.number().to_ne_bytes()).map(|_| ()),
        }
    }

    /// Pins link and slots under `directory`, unless that is done already, so that the hook stays when this process ends. The
    /// slots need a pin of their own: the kernel empties a `PROG_ARRAY` that no process and no pin refers to.
    pub(crate) fn pin(&mut self, attach: &AttachPoint, directory: &Path) -> Result<(), SysError> {
        if !self.pins.is_empty() {
            return Ok(());
        }
        let name = describe(attach);
        let Some(link) = self.link.as_link_fd() else {
            return Err(SysError {
                syscall: "bpf(BPF_OBJ_PIN)",
                object: name,
                errno: libc::EOPNOTSUPP,
                hint: Some("before 5.15 kprobes and tracepoints cannot outlive the process that attached them"),
            });
        };
        // The bpf file system takes no dots.
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let path = |part: &str| directory.join(format!("{}_{name}_{part}", self.stub.info().map_or(0, |info| info.id)));
        let (slots, links) = (path("slots"), path("link"));
        sys::obj_pin(self.programs.as_fd(), &slots)?;
        self.pins.push(slots);
        sys::obj_pin(link, &links)?;
        self.pins.push(links);
        Ok(())
    }

    /// Takes the pins away; the hook then lives as long as this value.
    pub(crate) fn unpin(&mut self) {
        // The link first: without its slots it does nothing.
        for path in self.pins.drain(..).rev() {
            // Somebody else may have removed it.
            drop(fs::remove_file(path));
        }
    }

    /// The link's number; `None` before 5.15 for kprobes and tracepoints.
    pub(crate) fn link_id(&self) -> Option<u32> {
        self.link.id()
    }

    /// Calls that never reached the stub, as far as the kernel counts them apart from the stub's own.
    pub(crate) fn link_missed(&self) -> u64 {
        self.link.missed()
    }

    /// The stub.
    pub(crate) fn stub(&self) -> &LoadedProgram {
        &self.stub
    }

    /// The two slots.
    pub(crate) fn programs(&self) -> &Map {
        &self.programs
    }
}

/// The stub's instructions. It needs no BTF and is the same for every program type.
fn stub(programs: &Map, active: &Map) -> Vec<Instruction> {
    let mut code = vec![mov(6, 1)];
    code.extend(load_map_value(1, active.as_fd()));
    code.push(load32(3, 1, 0));
    code.push(mov(1, 6));
    code.extend(load_map(2, programs.as_fd()));
    code.extend([call(TAIL_CALL), mov_immediate(0, 0), exit()]);
    code
}
