//! From an object and an attach point to a loaded program.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use policy_compiler::btf::Btf;
use policy_compiler::output::{AttachPoint, UprobeLink};

use crate::error::LoadError;
use crate::object::{Assembled, ObjectFile};
use crate::sys::{self, Map, MapShape, ProgramLoad, ProgramType, Rejected, SysError, UpdateMode, attach_type};

/// What a program must be loaded as to be attached somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProgramKind {
    pub(crate) program_type: ProgramType,
    pub(crate) expected_attach_type: u32,
    pub(crate) attach_btf_id: u32,
    /// `BPF_F_*` of `BPF_PROG_LOAD`.
    pub(crate) flags: u32,
}

/// `BPF_F_SLEEPABLE`, which programs of type syscall must have.
const SLEEPABLE: u32 = 1 << 4;

/// The kernel has nothing of the name that an attach point gives.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the kernel's BTF has no {what} `{name}`")]
pub(crate) struct MissingTarget {
    pub(crate) what: &'static str,
    pub(crate) name: String,
}

impl ProgramKind {
    fn new(program_type: ProgramType, expected_attach_type: u32, attach_btf_id: u32) -> Self {
        Self {
            program_type,
            expected_attach_type,
            attach_btf_id,
            flags: 0,
        }
    }

    /// The kind that is attached to nothing and only runs by `BPF_PROG_TEST_RUN` (since 5.14).
    pub(crate) fn for_test_runs() -> Self {
        Self {
            flags: SLEEPABLE,
            ..Self::new(ProgramType::Syscall, 0, 0)
        }
    }

    /// The kind for an attach point of this kernel.
    pub(crate) fn of(attach: &AttachPoint, kernel: &Btf) -> Result<Self, MissingTarget> {
        let missing = |what, name: &str| MissingTarget {
            what,
            name: name.to_owned(),
        };
        let function = |name: &str| kernel.function(name).map(|function| function.id.0);
        let tracing = |name: &str, attach_type| {
            function(name)
                .map(|id| Self::new(ProgramType::Tracing, attach_type, id))
                .ok_or_else(|| missing("function", name))
        };
        match attach {
            AttachPoint::Fentry { function } => tracing(function, attach_type::TRACE_FENTRY),
            AttachPoint::Fexit { function } => tracing(function, attach_type::TRACE_FEXIT),
            AttachPoint::FmodRet { function } => tracing(function, attach_type::MODIFY_RETURN),
            AttachPoint::Lsm { hook } => function(&format!("bpf_lsm_{hook}"))
                .map(|id| Self::new(ProgramType::Lsm, attach_type::LSM_MAC, id))
                .ok_or_else(|| missing("LSM hook", hook)),
            AttachPoint::TpBtf { event } => kernel
                .typedef(&format!("btf_trace_{event}"))
                .map(|id| Self::new(ProgramType::Tracing, attach_type::TRACE_RAW_TP, id.0))
                .ok_or_else(|| missing("tracepoint", event)),
            AttachPoint::Kprobe { .. } | AttachPoint::Kretprobe { .. } => Ok(Self::new(ProgramType::Kprobe, 0, 0)),
            AttachPoint::KprobeMulti { .. } | AttachPoint::KretprobeMulti { .. } => {
                Ok(Self::new(ProgramType::Kprobe, attach_type::TRACE_KPROBE_MULTI, 0))
            }
            AttachPoint::Uprobe { by, .. } | AttachPoint::Uretprobe { by, .. } => {
                let attach_type = match by {
                    UprobeLink::PerfEvent => 0,
                    UprobeLink::Multi => attach_type::TRACE_UPROBE_MULTI,
                };
                Ok(Self::new(ProgramType::Kprobe, attach_type, 0))
            }
            AttachPoint::Tracepoint { .. } => Ok(Self::new(ProgramType::Tracepoint, 0, 0)),
            AttachPoint::RawTracepoint { .. } => Ok(Self::new(ProgramType::RawTracepoint, 0, 0)),
        }
    }
}

/// A program in the kernel.
#[derive(Debug)]
pub struct LoadedProgram {
    fd: OwnedFd,
    name: String,
    verified_instructions: u32,
}

impl LoadedProgram {
    /// Loads instructions that need no relocation.
    pub(crate) fn load(load: &ProgramLoad<'_>) -> Result<Self, Rejected> {
        let loaded = sys::prog_load(load)?;
        Ok(Self {
            fd: loaded.fd,
            name: load.name.to_owned(),
            verified_instructions: loaded.verified_instructions,
        })
    }

    /// Opens a pinned program.
    pub(crate) fn open_pinned(name: &str, path: &Path) -> Result<Self, SysError> {
        let fd = sys::obj_get(path)?;
        let verified_instructions = sys::program_info(fd.as_fd())?.verified_instructions;
        Ok(Self {
            fd,
            name: name.to_owned(),
            verified_instructions,
        })
    }

    /// Name it was loaded with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Instructions that the verifier walked.
    pub fn verified_instructions(&self) -> u32 {
        self.verified_instructions
    }

    /// What the kernel says about it.
    ///
    /// # Errors
    /// What `BPF_OBJ_GET_INFO_BY_FD` says.
    pub fn info(&self) -> Result<sys::ProgramInfo, SysError> {
        sys::program_info(self.fd.as_fd())
    }
}

impl AsFd for LoadedProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An object with its maps and BTF in the kernel.
pub(crate) struct LoadedObject {
    object: ObjectFile,
    own_maps: Vec<Map>,
    btf: OwnedFd,
}

/// Maps given by somebody else, by full name.
pub(crate) trait MapSource {
    /// What the map of this name is, if it is one of these.
    fn shape(&self, name: &str) -> Option<MapShape>;

    /// The map of this name, if it is one of these; for a program that refers to it, which may be what it is made for.
    fn find(&self, name: &str) -> Result<Option<&Map>, SysError>;
}

impl LoadedObject {
    /// Reads an object, creates the maps that `shared` does not have, and loads its BTF.
    pub(crate) fn load(name: &str, elf: &[u8], shared: &dyn MapSource) -> Result<Self, LoadError> {
        let of_object = |error| LoadError::Object {
            name: name.to_owned(),
            error,
        };
        let object = ObjectFile::parse(elf).map_err(of_object)?;
        let mut own_maps = Vec::new();
        for definition in object.maps() {
            if let Some(shape) = shared.shape(&definition.name) {
                check_shape(shape, definition).map_err(of_object)?;
                continue;
            }
            let inner = definition
                .inner
                .map(|shape| Map::create(&definition.name, shape, None))
                .transpose()?;
            let map = Map::create(&definition.name, definition.shape, inner.as_ref().map(AsFd::as_fd))?;
            if let Some(data) = &definition.data {
                map.update(&0u32.to_ne_bytes(), data, UpdateMode::Any)?;
                if definition.name.starts_with(".rodata") {
                    map.freeze()?;
                }
            }
            own_maps.push(map);
        }
        let btf = sys::btf_load(name, &object.loadable_btf()).map_err(|rejected| LoadError::Rejected {
            name: format!("BTF of {name}"),
            error: rejected.error,
            log: last_lines(&rejected.log, 8),
        })?;
        Ok(Self { object, own_maps, btf })
    }

    /// The parsed object.
    pub(crate) fn object(&self) -> &ObjectFile {
        &self.object
    }

    /// One of its own maps.
    pub(crate) fn map(&self, name: &str) -> Option<&Map> {
        self.own_maps.iter().find(|map| map.name() == name)
    }

    /// Bytes of kernel memory charged for its own maps.
    pub(crate) fn own_memlock_bytes(&self) -> u64 {
        self.own_maps
            .iter()
            .filter_map(|map| sys::map_info(map.as_fd()).ok())
            .map(|info| info.memlock_bytes)
            .sum()
    }

    /// Resolves everything in one of its programs.
    pub(crate) fn assemble(
        &self,
        section: &str,
        symbol: &str,
        kernel: &Btf,
        shared: &dyn MapSource,
    ) -> Result<Assembled, LoadError> {
        let failed = RefCell::new(None);
        let fd = |name: &str| {
            let shared = shared.find(name).unwrap_or_else(|error| {
                failed.replace(Some(error));
                None
            });
            shared.or_else(|| self.map(name)).map(AsFd::as_fd)
        };
        let assembled = self.object.assemble(section, symbol, kernel, &fd);
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
        assembled.map_err(|error| LoadError::Object {
            name: format!("{section} {symbol}"),
            error,
        })
    }

    /// Loads an assembled program of its.
    pub(crate) fn load_program(
        &self,
        name: &str,
        kind: ProgramKind,
        code: &Assembled,
    ) -> Result<LoadedProgram, Rejected> {
        LoadedProgram::load(&ProgramLoad {
            expected_attach_type: kind.expected_attach_type,
            attach_btf_id: kind.attach_btf_id,
            flags: kind.flags,
            btf: (!code.func_info.is_empty()).then(|| self.btf.as_fd()),
            func_info: &code.func_info,
            line_info: &code.line_info,
            ..ProgramLoad::new(name, kind.program_type, &code.instructions)
        })
    }
}

/// A shared map must be what the object believes it to be; only its number of elements is the loader's to choose.
fn check_shape(is: MapShape, wanted: &crate::object::MapDefinition) -> Result<(), crate::object::ObjectError> {
    let should = wanted.shape;
    // One bit for each policy slot, and the loader chooses how many there are. The verifier checks what is read of it.
    let is_wide_enough = is.value_size == should.value_size || wanted.name == ebpf::maps::POLICY_SETS.name;
    if (is.map_type, is.key_size) == (should.map_type, should.key_size) && is_wide_enough {
        return Ok(());
    }
    Err(crate::object::ObjectError::BadMap {
        name: wanted.name.clone(),
        reason: format!(
            "the object wants {:?} of {}-byte keys and {}-byte values, the shared map is {:?} of {} and {}",
            should.map_type, should.key_size, should.value_size, is.map_type, is.key_size, is.value_size
        ),
    })
}

/// The end of a log, where the reason stands.
pub(crate) fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The verifier's own words in a log: the first line behind the last instruction that it looked at. What may follow explains
/// them at length (since 7.0), or counts what was done.
pub(crate) fn verdict(log: &str) -> Option<&str> {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let after = lines.iter().rposition(|line| is_trace(line)).map_or(0, |last| last + 1);
    lines[after..].iter().find(|line| !is_statistic(line)).copied()
}

/// Whether a line follows the verifier's way: an instruction, a state, a source line.
fn is_trace(line: &str) -> bool {
    const STARTS: [&str; 9] = [
        "; ",
        "from ",
        "regs=",
        "last_idx ",
        "parent ",
        "mark_precise: ",
        "caller:",
        "callee:",
        "frame",
    ];
    let is_state = line.starts_with('R') && line.find('=').is_some_and(|at| !line[..at].contains(' '));
    let is_instruction = line
        .split_once(':')
        .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    is_state || is_instruction || STARTS.iter().any(|start| line.starts_with(start))
}

fn is_statistic(line: &str) -> bool {
    [
        "processed ",
        "verification time",
        "stack depth",
        "subprog ",
        "insns processed",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_stands_behind_the_last_instruction() {
        let statistics = "verification time 5 usec\nstack depth 0\nsubprog 0 (x) main insns_self 6\nprocessed 6 insns (limit 1000000)\n";
        for (log, said) in [
            (
                "0: R1=ctx() R10=fp0\n; x @ a.c:1\n5: (71) r0 = *(u8 *)(r7 +0)\nR7 invalid mem access 'scalar'\n",
                "R7 invalid mem access 'scalar'",
            ),
            (
                "5: (71) r0 = *(u8 *)(r7 +0)\nR0=inv(id=0)\ninvalid access to map value\nR1 min value is outside\n",
                "invalid access to map value",
            ),
            (
                "5: (71) r0 = 0\n\nR7 invalid mem access 'scalar'\n\nA long explanation follows here:\nit ends.\n",
                "R7 invalid mem access 'scalar'",
            ),
            (
                "number of funcs in func_info doesn't match number of subprogs\n",
                "number of funcs in func_info doesn't match number of subprogs",
            ),
        ] {
            assert_eq!(verdict(&format!("{log}{statistics}")), Some(said));
        }
        assert_eq!(verdict(statistics), None);
    }
}
