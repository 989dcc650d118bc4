//! Hooks that random policies are about: where each is attached, what its parameters are, and what its context looks like.

use std::sync::Arc;

use policy_compiler::binary::{ArgumentPlace, Binary, ProbeArgument, Segment, StaticProbe};
use policy_compiler::btf::Btf;
use policy_compiler::facts::{Features, KernelFacts};
use policy_compiler::hir::{Operand, OperandSource};
use policy_compiler::output::AttachPoint;

/// What a parameter is, whatever type a policy reads it as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    Number,
    String,
    File,
    Path,
    Dentry,
    Binprm,
    Sock,
    Skb,
    Sockaddr,
    /// Bytes; the parameter after it says how many.
    Buffer,
    /// Likewise in segments.
    Segments,
    /// How many bytes or segments the parameter before it has.
    Length,
}

/// A parameter and the types that policies may read it as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    /// As the policy says it.
    pub(crate) index: u32,
    pub(crate) class: Class,
    pub(crate) types: &'static [&'static str],
}

impl Parameter {
    /// It as an entry of `args`.
    pub(crate) fn yaml(&self, of_type: &str) -> String {
        let index = self.index;
        match self.class {
            // counted from 1
            Class::Buffer | Class::Segments => {
                format!("{{index: {index}, type: {of_type}, sizeArgIndex: {}}}", index + 2)
            }
            _ => format!("{{index: {index}, type: {of_type}}}"),
        }
    }
}

/// Section of the policy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    Kprobe {
        call: &'static str,
        syscall: bool,
    },
    #[allow(dead_code, reason = "for attached programs")]
    Fentry {
        call: &'static str,
    },
    Lsm {
        hook: &'static str,
    },
    Tracepoint {
        subsystem: &'static str,
        event: &'static str,
        raw: bool,
    },
    /// A function of [`BINARY`].
    #[allow(dead_code, reason = "attached programs have tests of their own")]
    Uprobe,
    /// A static probe of [`BINARY`].
    #[allow(dead_code, reason = "attached programs have tests of their own")]
    Usdt,
}

/// How a hook with a return value is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Returns {
    /// It has none.
    No,
    /// By two programs that each send a half of the event.
    Pair,
    /// By one program at the return; one at the entry acts.
    Whole,
}

/// A hook.
#[derive(Clone, Copy)]
pub(crate) struct Arena {
    pub(crate) section: Section,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) returns: Returns,
    /// Whether `Override` can be honoured.
    pub(crate) overrides: bool,
    /// Whether signals are sent: not where they are what is hooked.
    pub(crate) signals: bool,
    /// What the kernel is said to be able to do, so that the hook is attached as wanted.
    pub(crate) features: fn(&mut Features),
}

const NUMBERS: &[&str] = &[
    "int", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "size_t", "long", "sint8",
    "sint16", "sint32", "sint64", "ulong",
];
const NUMBERS_AND_FD: &[&str] = &["fd", "int", "uint32", "fd", "int64", "size_t"];

const fn number(index: u32) -> Parameter {
    Parameter {
        index,
        class: Class::Number,
        types: NUMBERS,
    }
}

const fn descriptor(index: u32) -> Parameter {
    Parameter {
        index,
        class: Class::Number,
        types: NUMBERS_AND_FD,
    }
}

const fn of(index: u32, class: Class, types: &'static [&'static str]) -> Parameter {
    Parameter { index, class, types }
}

/// Only tracepoints, as on a kernel without kprobes.
fn tracepoints_only(features: &mut Features) {
    *features = Features {
        kprobe: false,
        kprobe_multi: false,
        fentry: false,
        fmod_ret: false,
        lsm: false,
        ..*features
    };
}

fn kprobes_only(features: &mut Features) {
    tracepoints_only(features);
    features.kprobe = true;
}

fn raw_tracepoints(features: &mut Features) {
    features.tp_btf = false;
}

fn trampolines(features: &mut Features) {
    features.fentry = true;
    features.preemptible_programs = false;
}

fn lsm(features: &mut Features) {
    features.lsm = true;
}

fn fmod_ret(features: &mut Features) {
    trampolines(features);
    features.lsm = false;
    features.fmod_ret = true;
}

pub(crate) const SYSCALL_STRING: Arena = Arena {
    section: Section::Kprobe {
        call: "sys_openat",
        syscall: true,
    },
    parameters: &[descriptor(0), of(1, Class::String, &["string"]), number(2), number(3)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: tracepoints_only,
};

pub(crate) const SYSCALL_TWO_STRINGS: Arena = Arena {
    section: Section::Kprobe {
        call: "sys_linkat",
        syscall: true,
    },
    parameters: &[
        number(0),
        of(1, Class::String, &["string"]),
        descriptor(2),
        of(3, Class::String, &["string"]),
        number(4),
    ],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: tracepoints_only,
};

pub(crate) const SYSCALL_ADDRESS: Arena = Arena {
    section: Section::Kprobe {
        call: "sys_connect",
        syscall: true,
    },
    parameters: &[descriptor(0), of(1, Class::Sockaddr, &["sockaddr"]), number(2)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: tracepoints_only,
};

pub(crate) const SYSCALL_BUFFER: Arena = Arena {
    section: Section::Kprobe {
        call: "sys_write",
        syscall: true,
    },
    parameters: &[
        descriptor(0),
        of(1, Class::Buffer, &["char_buf"]),
        of(2, Class::Length, NUMBERS),
    ],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: tracepoints_only,
};

/// Its own parameters are others, which is said and does not matter.
pub(crate) const FUNCTION_BUFFERS: Arena = Arena {
    section: Section::Kprobe {
        call: "security_sb_mount",
        syscall: false,
    },
    parameters: &[
        of(0, Class::Buffer, &["char_buf"]),
        of(1, Class::Length, NUMBERS),
        of(2, Class::Segments, &["char_iovec"]),
        of(3, Class::Length, NUMBERS),
    ],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_FILE: Arena = Arena {
    section: Section::Kprobe {
        call: "security_file_permission",
        syscall: false,
    },
    parameters: &[of(0, Class::File, &["file"]), number(1)],
    returns: Returns::Pair,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_PATH: Arena = Arena {
    section: Section::Kprobe {
        call: "security_path_mknod",
        syscall: false,
    },
    parameters: &[
        of(0, Class::Path, &["path"]),
        of(1, Class::Dentry, &["dentry"]),
        number(2),
        number(3),
    ],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_SOCK: Arena = Arena {
    section: Section::Kprobe {
        call: "tcp_connect",
        syscall: false,
    },
    parameters: &[of(0, Class::Sock, &["sock"])],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_SKB: Arena = Arena {
    section: Section::Kprobe {
        call: "ip_output",
        syscall: false,
    },
    parameters: &[of(1, Class::Sock, &["sock"]), of(2, Class::Skb, &["skb"])],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_ADDRESS: Arena = Arena {
    section: Section::Kprobe {
        call: "security_socket_connect",
        syscall: false,
    },
    parameters: &[of(1, Class::Sockaddr, &["sockaddr"]), number(2)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_STRING: Arena = Arena {
    section: Section::Kprobe {
        call: "security_sb_mount",
        syscall: false,
    },
    parameters: &[
        of(0, Class::String, &["string"]),
        of(1, Class::Path, &["path"]),
        of(2, Class::String, &["string"]),
        number(3),
    ],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_BINPRM: Arena = Arena {
    section: Section::Kprobe {
        call: "security_bprm_check",
        syscall: false,
    },
    parameters: &[of(0, Class::Binprm, &["linux_binprm"])],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: kprobes_only,
};

pub(crate) const FUNCTION_RETURN: Arena = Arena {
    section: Section::Kprobe {
        call: "security_task_prctl",
        syscall: false,
    },
    parameters: &[number(0), number(1), number(2)],
    returns: Returns::Whole,
    overrides: false,
    signals: true,
    features: trampolines,
};

pub(crate) const FUNCTION_STRING_RETURN: Arena = Arena {
    section: Section::Kprobe {
        call: "security_sb_mount",
        syscall: false,
    },
    parameters: &[
        of(0, Class::String, &["string"]),
        of(2, Class::String, &["string"]),
        number(3),
    ],
    returns: Returns::Whole,
    overrides: false,
    signals: true,
    features: trampolines,
};

pub(crate) const FUNCTION_OVERRIDE: Arena = Arena {
    section: Section::Kprobe {
        call: "security_task_prctl",
        syscall: false,
    },
    parameters: &[number(0), number(1)],
    returns: Returns::No,
    overrides: true,
    signals: true,
    features: fmod_ret,
};

pub(crate) const LSM: Arena = Arena {
    section: Section::Lsm { hook: "task_prctl" },
    parameters: &[number(0), number(1), number(4)],
    returns: Returns::No,
    overrides: true,
    signals: true,
    features: lsm,
};

pub(crate) const TRACEPOINT: Arena = Arena {
    section: Section::Tracepoint {
        subsystem: "signal",
        event: "signal_generate",
        raw: false,
    },
    parameters: &[number(4), number(5), number(6), number(8)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: raw_tracepoints,
};

pub(crate) const TRACEPOINT_STRING: Arena = Arena {
    section: Section::Tracepoint {
        subsystem: "syscalls",
        event: "sys_enter_openat",
        raw: false,
    },
    parameters: &[number(5), of(6, Class::String, &["string"]), descriptor(7), number(8)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: raw_tracepoints,
};

pub(crate) const RAW_TRACEPOINT: Arena = Arena {
    section: Section::Tracepoint {
        subsystem: "sock",
        event: "inet_sock_set_state",
        raw: true,
    },
    parameters: &[of(0, Class::Sock, &["sock"]), number(1), number(2)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: raw_tracepoints,
};

/// Words of a context large enough for every hook but `pt_regs`.
const SLOTS: usize = 12;
/// A binary that is nowhere but in the facts.
const BINARY: &str = "/differential";
const OFFSET: u64 = 0x1000;

fn uprobes(features: &mut Features) {
    features.uprobe = true;
    features.uprobe_multi = false;
}

fn uprobe_links(features: &mut Features) {
    features.uprobe_multi = true;
}

#[allow(dead_code, reason = "attached programs have tests of their own")]
pub(crate) const USER_FUNCTION: Arena = Arena {
    section: Section::Uprobe,
    parameters: &[
        descriptor(0),
        of(1, Class::String, &["string"]),
        number(2),
        of(3, Class::Sockaddr, &["sockaddr"]),
        number(5),
    ],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: uprobes,
};

#[allow(dead_code, reason = "attached programs have tests of their own")]
pub(crate) const USER_FUNCTION_RETURN: Arena = Arena {
    section: Section::Uprobe,
    parameters: &[number(0), of(1, Class::String, &["string"]), number(4)],
    returns: Returns::Pair,
    overrides: false,
    signals: true,
    features: uprobe_links,
};

/// One argument of each kind: a number in memory, one in a part of a register, the address of a text in memory, a constant.
#[allow(dead_code, reason = "attached programs have tests of their own")]
pub(crate) const STATIC_PROBE: Arena = Arena {
    section: Section::Usdt,
    parameters: &[number(0), number(1), of(2, Class::String, &["string"]), number(3)],
    returns: Returns::No,
    overrides: false,
    signals: true,
    features: uprobe_links,
};

/// Distance of what is in memory from the registers that point there.
pub(crate) const DISPLACEMENT: u64 = 16;

/// Arguments of [`STATIC_PROBE`]. Registers are those that [`registers`] fills by index; the last one is a factor here.
const PROBE_ARGUMENTS: [ProbeArgument; 4] = [
    ProbeArgument {
        size: 4,
        signed: true,
        place: ArgumentPlace::Memory {
            base: "di",
            displacement: DISPLACEMENT as i64,
            index: None,
        },
    },
    ProbeArgument {
        size: 1,
        signed: true,
        place: ArgumentPlace::Register {
            register: "si",
            shift: 8,
        },
    },
    ProbeArgument {
        size: 8,
        signed: false,
        place: ArgumentPlace::Memory {
            base: "dx",
            displacement: 8,
            index: Some(("cx", 8)),
        },
    },
    ProbeArgument {
        size: 4,
        signed: true,
        place: ArgumentPlace::Constant(-3),
    },
];

/// Bytes of `struct pt_regs` on x86-64.
const REGISTERS: usize = 168;

impl Arena {
    /// What its policies hook, in the form of a section's entry without arguments and selectors.
    pub(crate) fn yaml_head(&self) -> String {
        match self.section {
            Section::Kprobe { call, syscall } => {
                let mut head = format!("  kprobes:\n  - call: {call}\n    syscall: {syscall}\n");
                if self.returns != Returns::No {
                    head.push_str("    return: true\n    returnArg: {index: 0, type: int}\n");
                }
                head
            }
            Section::Uprobe => {
                let mut head = format!("  uprobes:\n  - path: {BINARY}\n    offsets: [{OFFSET}]\n");
                if self.returns != Returns::No {
                    head.push_str("    return: true\n    returnArg: {index: 0, type: int}\n");
                }
                head
            }
            Section::Usdt => format!("  usdts:\n  - path: {BINARY}\n    provider: test\n    name: probe\n"),
            Section::Fentry { call } => format!("  fentries:\n  - call: {call}\n    syscall: false\n"),
            Section::Lsm { hook } => format!("  lsmhooks:\n  - hook: {hook}\n"),
            Section::Tracepoint { subsystem, event, raw } => {
                format!("  tracepoints:\n  - subsystem: {subsystem}\n    event: {event}\n    raw: {raw}\n")
            }
        }
    }

    /// A policy on it without arguments and selectors, as [`yaml_head`](Self::yaml_head) ends. `${run}` is to be replaced by what
    /// tells its set from any before: rate limits outlive a program that is loaded again.
    pub(crate) fn head(&self, number: usize) -> String {
        format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: random-${{run}}-{number}\nspec:\n{}",
            self.yaml_head()
        )
    }

    /// Name of its kind, for tables.
    pub(crate) fn kind(&self) -> &'static str {
        match (self.section, self.returns) {
            (Section::Kprobe { syscall: true, .. }, _) => "syscall",
            (Section::Kprobe { .. }, Returns::No) if self.overrides => "fmod_ret",
            (Section::Kprobe { .. }, Returns::No) => "kprobe",
            (Section::Kprobe { .. }, Returns::Pair) => "kprobe pair",
            (Section::Kprobe { .. }, Returns::Whole) => "fexit",
            (Section::Fentry { .. }, _) => "fentry",
            (Section::Usdt, _) => "usdt",
            (Section::Uprobe, Returns::No) => "uprobe",
            (Section::Uprobe, _) => "uprobe pair",
            (Section::Lsm { .. }, _) => "lsm",
            (Section::Tracepoint { raw: true, .. }, _) => "raw_tp",
            (Section::Tracepoint { .. }, _) => "tracepoint",
        }
    }

    pub(crate) fn is_syscall(&self) -> bool {
        matches!(self.section, Section::Kprobe { syscall: true, .. })
    }

    /// Whether its events have room for stack traces.
    pub(crate) fn has_stacks(&self) -> bool {
        matches!(self.section, Section::Kprobe { .. })
    }

    /// Whether pointers are the user's, whatever they are.
    pub(crate) fn has_user_pointers(&self) -> bool {
        let is_syscalls = |subsystem| subsystem == "syscalls";
        self.is_syscall()
            || matches!(self.section, Section::Uprobe | Section::Usdt)
            || matches!(self.section, Section::Tracepoint { subsystem, .. } if is_syscalls(subsystem))
    }

    /// The facts under which its hooks are attached as wanted.
    pub(crate) fn facts(&self, kernel: &KernelFacts) -> KernelFacts {
        let mut facts = kernel.clone();
        (self.features)(&mut facts.features);
        if matches!(self.section, Section::Uprobe | Section::Usdt) {
            let binary = Binary {
                arch: Some(facts.arch),
                segments: vec![Segment {
                    offset: OFFSET,
                    address: OFFSET,
                    size: 1,
                    is_executable: true,
                }],
                probes: vec![StaticProbe {
                    provider: "test".to_owned(),
                    name: "probe".to_owned(),
                    offset: OFFSET,
                    semaphore: 0,
                    arguments: PROBE_ARGUMENTS.map(Ok).into(),
                }],
                ..Binary::default()
            };
            facts.binaries.insert(BINARY.to_owned(), Ok(Arc::new(binary)));
        }
        facts
    }

    /// Which parameter an operand reads.
    pub(crate) fn index_of(&self, operand: &Operand, facts: &KernelFacts) -> Option<u32> {
        match (&operand.source, self.section) {
            (OperandSource::Parameter(index), _) => Some(*index),
            (OperandSource::Buffer(buffer), _) => self.index_of(&buffer.address, facts),
            (OperandSource::Probe(argument), _) => {
                let index = PROBE_ARGUMENTS.iter().position(|known| known == argument)?;
                Some(index as u32)
            }
            (OperandSource::Field { offset, .. }, Section::Tracepoint { subsystem, event, .. }) => {
                let format = &facts.tracepoints[&(subsystem.to_owned(), event.to_owned())];
                format
                    .fields
                    .iter()
                    .position(|field| field.offset == *offset)
                    .map(|index| index as u32)
            }
            _ => None,
        }
    }

    /// The context of a call, for a program at `attach`: `raw` has the 8 bytes of each parameter by index.
    pub(crate) fn context(
        &self,
        attach: &AttachPoint,
        facts: &KernelFacts,
        raw: &[(u32, u64)],
        returned: u64,
    ) -> Vec<u8> {
        let mut bytes = vec![0; 8 * SLOTS];
        let mut set = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        match attach {
            AttachPoint::Tracepoint { subsystem, event } if self.is_syscall() => {
                assert!(subsystem == "syscalls" && event.starts_with("sys_enter_"), "{event}");
                for (index, value) in raw {
                    set(16 + 8 * *index as usize, &value.to_le_bytes());
                }
            }
            AttachPoint::Tracepoint { subsystem, event } => {
                let format = &facts.tracepoints[&(subsystem.clone(), event.clone())];
                for (index, value) in raw {
                    let field = &format.fields[*index as usize];
                    set(field.offset as usize, &value.to_le_bytes()[..field.size as usize]);
                }
            }
            AttachPoint::Kprobe { .. } | AttachPoint::Kretprobe { .. } | AttachPoint::Uprobe { .. } => {
                bytes = registers(&facts.btf, raw, returned, STACK);
            }
            // `ret` has taken the return address off the stack
            AttachPoint::Uretprobe { .. } => bytes = registers(&facts.btf, raw, returned, STACK + 8),
            AttachPoint::Fexit { function } => {
                let proto = facts.btf.function(function).expect("it is hooked").proto;
                let params = facts.btf.prototype(proto).params.len();
                for (index, value) in raw {
                    set(8 * *index as usize, &value.to_le_bytes());
                }
                set(8 * params, &returned.to_le_bytes());
            }
            _ => {
                for (index, value) in raw {
                    set(8 * *index as usize, &value.to_le_bytes());
                }
            }
        }
        bytes
    }
}

/// Where the stack of a call stands.
const STACK: u64 = 0x7fff_0123_4560;

/// `struct pt_regs` of a call of a C function.
fn registers(btf: &Btf, raw: &[(u32, u64)], returned: u64, stack: u64) -> Vec<u8> {
    let mut bytes = vec![0; REGISTERS];
    let pt_regs = btf.struct_by_name("pt_regs").expect("pt_regs");
    let mut set = |register: &str, value: u64| {
        let at = btf.member(pt_regs, register).expect("a register").byte_offset() as usize;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    for (index, value) in raw {
        set(["di", "si", "dx", "cx", "r8", "r9"][*index as usize], *value);
    }
    set("ax", returned);
    set("sp", stack);
    bytes
}
