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

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use policy_compiler::output::AttachPoint;

use crate::assembler::{TAIL_CALL, call, exit, load_map, load_map_value, load32, mov_immediate};
use crate::link::{Link, describe, read_spelling, spelling};
use crate::pins;
use crate::program::{LoadedProgram, ProgramKind};
use crate::sys::{self, Instruction, Map, MapShape, MapType, ProgramLoad, Rejected, SysError, UpdateMode};

/// Names of the pins of a hook, see [`pins`].
const ATTACH: &str = "attach";
const SLOTS: &str = "slots";
pub(crate) const STUB: &str = "stub";
const LINK: &str = "link";

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

    /// The generation that `tetra_active` names.
    pub(crate) fn of_number(number: u32) -> Self {
        Self(number & 1)
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
    /// Directory in which it is pinned.
    pinned: Option<PathBuf>,
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
            pinned: None,
        })
    }

    /// Puts a program, or none, into a slot that is not active.
    pub(crate) fn set(&self, generation: Generation, program: Option<&LoadedProgram>) -> Result<(), SysError> {
        match program {
            Some(program) => self.programs.update_fd(generation.number(), program.as_fd()),
            None => self.programs.delete(&generation.number().to_ne_bytes()).map(|_| ()),
        }
    }

    /// Takes over the hook that a process has left pinned in a directory, which stays pinned there. `None`: it was never attached,
    /// or is no longer.
    pub(crate) fn adopt(directory: &Path) -> Result<Option<(AttachPoint, Self)>, SysError> {
        let links = directory.join(LINK);
        if !links.exists() {
            return Ok(None);
        }
        let attach = read_attach(&directory.join(ATTACH))?;
        let hook = Self {
            link: Link::of_link(sys::obj_get(&links)?),
            stub: LoadedProgram::open_pinned("tetra_stub", &directory.join(STUB))?,
            programs: Map::open_pinned("tetra_hook", &directory.join(SLOTS))?,
            pinned: Some(directory.to_owned()),
        };
        Ok(Some((attach, hook)))
    }

    /// Whether a generation has a program.
    pub(crate) fn has(&self, generation: Generation) -> Result<bool, SysError> {
        Ok(self.programs.lookup(&generation.number().to_ne_bytes())?.is_some())
    }

    /// Pins everything in a directory of its own under `set`, unless that is done already, so that the hook stays when this
    /// process ends. The slots need a pin of their own: the kernel empties a `PROG_ARRAY` that no process and no pin refers to.
    ///
    /// `EOPNOTSUPP`: this kernel cannot pin what it attached here.
    pub(crate) fn pin(&mut self, attach: &AttachPoint, set: &Path) -> Result<(), SysError> {
        if self.pinned.is_some() {
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
            .take(160)
            .collect();
        let directory = set.join(format!("{}{}_{name}", pins::HOOK, self.stub.info()?.id));
        pins::make(&directory)?;
        self.pinned = Some(directory.clone());
        write_attach(attach, &directory.join(ATTACH))?;
        sys::obj_pin(self.programs.as_fd(), &directory.join(SLOTS))?;
        sys::obj_pin(self.stub.as_fd(), &directory.join(STUB))?;
        sys::obj_pin(link, &directory.join(LINK))
    }

    /// Whether it outlives this process.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// Takes the pins away; the hook then lives as long as this value.
    pub(crate) fn unpin(&mut self) {
        if let Some(directory) = self.pinned.take() {
            // What is left keeps nothing attached; whoever takes the directory over removes it.
            drop(pins::remove_tree(&directory));
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

/// Keeps the text of an attach point in a map: the bpf file system has no other files.
fn write_attach(attach: &AttachPoint, path: &Path) -> Result<(), SysError> {
    let mut text = spelling(attach).into_bytes();
    text.resize(text.len().next_multiple_of(8), 0);
    let shape = MapShape {
        map_type: MapType::Array,
        key_size: 4,
        value_size: text.len() as u32,
        max_entries: 1,
        flags: 0,
    };
    let map = Map::create("tetra_attach", shape, None)?;
    map.update(&0u32.to_ne_bytes(), &text, UpdateMode::Any)?;
    sys::obj_pin(map.as_fd(), path)
}

fn read_attach(path: &Path) -> Result<AttachPoint, SysError> {
    let text = Map::open_pinned("tetra_attach", path)?
        .lookup(&0u32.to_ne_bytes())?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    read_spelling(text.trim_end_matches('\0')).ok_or_else(|| SysError {
        syscall: "bpf(BPF_MAP_LOOKUP_ELEM)",
        object: path.display().to_string(),
        errno: libc::EINVAL,
        hint: Some("this is no attach point; `tetra-agent uninstall` removes everything that is pinned"),
    })
}

/// The stub's instructions. It needs no BTF and is the same for every program type.
fn stub(programs: &Map, active: &Map) -> Vec<Instruction> {
    // the context stays in r1
    let mut code = load_map_value(3, active.as_fd()).to_vec();
    code.push(load32(3, 3, 0));
    code.extend(load_map(2, programs.as_fd()));
    code.extend([call(TAIL_CALL), mov_immediate(0, 0), exit()]);
    code
}
