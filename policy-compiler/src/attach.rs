//! Pass 3: where each hook is attached, by cost and by what the kernel can do.
//!
//! The choice depends only on facts found by doing. Its reason is part of the output, for `tetra policy explain`. A hook that
//! cannot do what its policy asks on this kernel is refused, with what would.

use crate::btf::{Btf, Kind, TypeId};
use crate::facts::{Arch, KernelFacts};
use crate::hir::{Hook, Operand, OperandSource, Target, UserTarget};
use crate::output::{ArgumentType, AttachPoint, HookKind, UprobeLink, UserPlace};

/// What the program of an attach point does for a hook.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Decides, acts and posts where the operation begins.
    Entry,
    /// As [`Role::Entry`]; a call whose user memory cannot be read is left to [`Role::ExitDeferred`].
    EntryDeferring,
    /// Decides and acts; posts the first half of the event and leaves the rest to [`Role::ExitOfPair`].
    EntryOfPair,
    /// Decides and acts; the event is posted by [`Role::ExitPost`].
    Enforce,
    /// Decides, acts and posts where the operation has ended, seeing arguments and result.
    ExitWhole,
    /// Decides again where the operation has ended, and posts; [`Role::Enforce`] has acted.
    ExitPost,
    /// Decides, acts and posts for calls that the entry could not decide.
    ExitDeferred,
    /// Posts the second half of events; decides for calls that the entry could not decide.
    ExitOfPair,
}

impl Role {
    /// Whether the program runs where the operation has ended.
    pub fn is_exit(self) -> bool {
        matches!(
            self,
            Role::ExitWhole | Role::ExitPost | Role::ExitDeferred | Role::ExitOfPair
        )
    }

    /// Whether it only looks at calls that the entry has marked.
    pub fn takes_pending(self) -> bool {
        matches!(self, Role::ExitDeferred | Role::ExitOfPair)
    }
}

/// One attach point of a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where.
    pub attach: AttachPoint,
    /// What for.
    pub role: Role,
}

/// The attach points of a hook and why they were chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// One or two.
    pub parts: Vec<Part>,
    /// One sentence for people.
    pub reason: String,
}

/// Why a hook cannot be attached here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Whether it is the override that cannot be honoured, rather than the hook.
    pub is_override: bool,
    /// What is missing.
    pub reason: String,
    /// What would do.
    pub help: String,
}

/// Chooses the attach points of a hook.
pub fn choose(hook: &Hook, facts: &KernelFacts) -> Result<Choice, Refusal> {
    match &hook.target {
        Target::Function(symbol) => function(hook, symbol, facts),
        Target::Syscall(name) => syscall(hook, name, facts),
        Target::Lsm(name) => lsm(hook, name, facts),
        Target::Tracepoint(subsystem, event) => tracepoint(hook, subsystem, event, facts),
        Target::RawTracepoint(_, event) => raw_tracepoint(hook, event, facts),
        Target::User(user) => user_place(hook, user, facts),
    }
}

/// The kernel function behind a syscall, as events report it.
pub fn syscall_symbol(name: &str, arch: Arch) -> String {
    match arch {
        Arch::X86_64 => format!("__x64_sys_{name}"),
        Arch::Aarch64 => format!("__arm64_sys_{name}"),
    }
}

/// The `security_*` function that calls an LSM hook.
pub fn security_function(lsm_hook: &str) -> String {
    match lsm_hook {
        "bprm_check_security" => "security_bprm_check".into(),
        other => format!("security_{other}"),
    }
}

/// The LSM hook that a `security_*` function calls.
fn lsm_hook_of(function: &str) -> Option<String> {
    match function {
        "security_bprm_check" => Some("bprm_check_security".into()),
        other => other.strip_prefix("security_").map(Into::into),
    }
}

/// Syscalls that do not come back to their caller: nothing may be left to their exit.
fn never_returns(name: &str) -> bool {
    matches!(
        name,
        "exit" | "exit_group" | "execve" | "execveat" | "rt_sigreturn" | "sigreturn"
    )
}

/// Whether BTF trampolines can reach a function for a hook: it is in BTF and the listing, has at most six parameters, all of them
/// fit registers, and what the hook reads of them may be read there.
fn has_trampoline(symbol: &str, hook: &Hook, facts: &KernelFacts) -> bool {
    let btf = &*facts.btf;
    let Some(function) = btf.function(symbol) else {
        return false;
    };
    let listed = facts.functions.is_empty() || facts.functions.contains(symbol);
    let prototype = btf.prototype(function.proto);
    let fits = |type_id| !matches!(btf.kind(btf.resolve(type_id)), Kind::Struct { .. } | Kind::Union { .. });
    listed
        && prototype.params.len() <= 6
        && prototype.params.iter().all(|p| fits(p.type_id))
        && unreadable_parameter(hook, &parameters_of(symbol, btf), btf).is_none()
        // registers are gone where a trampoline has begun
        && !hook.operands().any(|operand| matches!(operand.source, OperandSource::Register { .. }))
}

/// Types of a function's parameters; none if it is not in BTF.
fn parameters_of(function: &str, btf: &Btf) -> Vec<TypeId> {
    let proto = btf.function(function).map(|function| function.proto);
    proto.map_or_else(Vec::new, |proto| {
        btf.prototype(proto).params.iter().map(|p| p.type_id).collect()
    })
}

/// The first parameter that a hook reads and that the verifier lets no program with a typed context load: a pointer to anything
/// but a struct, an integer or nothing (`btf_ctx_access` in kernel/bpf/btf.c). A struct may be known by name alone where the function
/// was compiled, as `pt_regs` is in net/socket.c of 5.10.
fn unreadable_parameter(hook: &Hook, parameters: &[TypeId], btf: &Btf) -> Option<u32> {
    let index_of = |operand: &Operand| match operand.parameter() {
        // the first parameter of a wrapper points to all of them
        Some(_) if matches!(hook.target, Target::Syscall(_)) => Some(0),
        index => index,
    };
    let is_unreadable = |index: &u32| {
        let Some(Kind::Ptr(pointee)) = parameters.get(*index as usize).map(|id| btf.kind(btf.resolve(*id))) else {
            return false;
        };
        !matches!(
            btf.kind(btf.resolve(pointee)),
            Kind::Void | Kind::Int { .. } | Kind::Struct { .. } | Kind::Union { .. }
        )
    };
    hook.operands().filter_map(index_of).find(is_unreadable)
}

/// Entry and return of a function by means that see every call, where trampolines would leave calls out
/// ([`preemptible_programs`](crate::facts::Features::preemptible_programs)).
struct Unpreempted {
    entry: AttachPoint,
    exit: AttachPoint,
    reason: &'static str,
}

fn unpreempted(symbol: &str, hook: &Hook, facts: &KernelFacts) -> Option<Unpreempted> {
    let features = &facts.features;
    if !features.preemptible_programs {
        return None;
    }
    let listed = facts.functions.is_empty() || facts.functions.contains(symbol);
    if features.kprobe_multi && listed {
        let symbols = vec![symbol.to_owned()];
        Some(Unpreempted {
            entry: AttachPoint::KprobeMulti {
                symbols: symbols.clone(),
            },
            exit: AttachPoint::KretprobeMulti { symbols },
            reason: "kprobe.multi: this kernel preempts programs, and fentry would leave calls out",
        })
    } else if features.kprobe {
        // a kretprobe holds a fixed number of calls at once and leaves out the others, at any load
        let exit = if features.fentry && has_trampoline(symbol, hook, facts) {
            AttachPoint::Fexit {
                function: symbol.into(),
            }
        } else {
            AttachPoint::Kretprobe { symbol: symbol.into() }
        };
        Some(Unpreempted {
            entry: AttachPoint::Kprobe { symbol: symbol.into() },
            exit,
            reason: "kprobe: this kernel preempts programs, and fentry would leave calls out",
        })
    } else {
        None
    }
}

/// Whether two functions have the same parameters, so that a program written for one reads the other's.
fn same_parameters(a: &str, b: &str, btf: &Btf) -> bool {
    let (Some(a), Some(b)) = (btf.function(a), btf.function(b)) else {
        return false;
    };
    let (a, b) = (btf.prototype(a.proto), btf.prototype(b.proto));
    a.params.len() == b.params.len()
        && a.params
            .iter()
            .zip(&b.params)
            .all(|(a, b)| btf.c_declaration(a.type_id) == btf.c_declaration(b.type_id))
}

fn function(hook: &Hook, symbol: &str, facts: &KernelFacts) -> Result<Choice, Refusal> {
    let returns = hook.returned.is_some();
    if hook.overrides() {
        let enforce = override_of_function(symbol, hook, facts)?;
        let reason = format!("the result is replaced by {}", describe(&enforce));
        if !returns {
            return Ok(Choice {
                parts: vec![Part {
                    attach: enforce,
                    role: Role::Entry,
                }],
                reason,
            });
        }
        let exit = AttachPoint::Fexit {
            function: symbol.into(),
        };
        if !(facts.features.fentry && has_trampoline(symbol, hook, facts)) {
            return Err(Refusal {
                is_override: true,
                reason: format!("`{symbol}` cannot be watched at its return on this kernel"),
                help: "leave out `return: true`".into(),
            });
        }
        let parts = vec![
            Part {
                attach: enforce,
                role: Role::Enforce,
            },
            Part {
                attach: exit,
                role: Role::ExitPost,
            },
        ];
        return Ok(Choice {
            parts,
            reason: format!("{reason}; fexit sees the final result"),
        });
    }
    if let Some(Unpreempted { entry, exit, reason }) = unpreempted(symbol, hook, facts) {
        return Ok(Choice {
            parts: entry_and_exit(entry, exit, returns, false),
            reason: reason.into(),
        });
    }
    if facts.features.fentry && has_trampoline(symbol, hook, facts) {
        let entry = AttachPoint::Fentry {
            function: symbol.into(),
        };
        let exit = AttachPoint::Fexit {
            function: symbol.into(),
        };
        return Ok(if !returns {
            let parts = vec![Part {
                attach: entry,
                role: Role::Entry,
            }];
            Choice {
                parts,
                reason: "fentry: a third of a kprobe's cost".into(),
            }
        } else if hook.enforces() {
            let parts = vec![
                Part {
                    attach: entry,
                    role: Role::Enforce,
                },
                Part {
                    attach: exit,
                    role: Role::ExitPost,
                },
            ];
            Choice {
                parts,
                reason: "fentry acts before the operation, fexit sees its result".into(),
            }
        } else {
            let parts = vec![Part {
                attach: exit,
                role: Role::ExitWhole,
            }];
            Choice {
                parts,
                reason: "fexit sees arguments and result in one program".into(),
            }
        });
    }
    kprobe(
        symbol,
        returns,
        false,
        "no BTF trampoline reaches this function and its arguments",
        facts,
    )
}

fn kprobe(symbol: &str, returns: bool, defers: bool, why: &str, facts: &KernelFacts) -> Result<Choice, Refusal> {
    if !facts.features.kprobe {
        return Err(Refusal {
            is_override: false,
            reason: format!("`{symbol}` cannot be attached: {why}, and this kernel has no kprobes"),
            help: "hook a syscall (`syscall: true`) or a tracepoint instead: they work on this kernel".into(),
        });
    }
    let entry = AttachPoint::Kprobe { symbol: symbol.into() };
    let exit = AttachPoint::Kretprobe { symbol: symbol.into() };
    let reason = format!("kprobe: {why}");
    Ok(Choice {
        parts: entry_and_exit(entry, exit, returns, defers),
        reason,
    })
}

fn entry_and_exit(entry: AttachPoint, exit: AttachPoint, returns: bool, defers: bool) -> Vec<Part> {
    if returns {
        vec![
            Part {
                attach: entry,
                role: Role::EntryOfPair,
            },
            Part {
                attach: exit,
                role: Role::ExitOfPair,
            },
        ]
    } else if defers {
        vec![
            Part {
                attach: entry,
                role: Role::EntryDeferring,
            },
            Part {
                attach: exit,
                role: Role::ExitDeferred,
            },
        ]
    } else {
        vec![Part {
            attach: entry,
            role: Role::Entry,
        }]
    }
}

fn override_of_function(symbol: &str, hook: &Hook, facts: &KernelFacts) -> Result<AttachPoint, Refusal> {
    let Some(lsm_hook) = lsm_hook_of(symbol) else {
        return Err(Refusal {
            is_override: true,
            reason: format!(
                "the result of `{symbol}` cannot be replaced: only syscalls and `security_*` functions allow it"
            ),
            help: "hook the `security_*` function or LSM hook that guards the operation".into(),
        });
    };
    let typed = format!("bpf_lsm_{lsm_hook}");
    if facts.features.lsm
        && same_parameters(symbol, &typed, &facts.btf)
        && unreadable_parameter(hook, &parameters_of(&typed, &facts.btf), &facts.btf).is_none()
    {
        return Ok(AttachPoint::Lsm { hook: lsm_hook });
    }
    if facts.features.fmod_ret && has_trampoline(symbol, hook, facts) {
        return Ok(AttachPoint::FmodRet {
            function: symbol.into(),
        });
    }
    if facts.features.override_return && facts.features.kprobe {
        return Ok(AttachPoint::Kprobe { symbol: symbol.into() });
    }
    Err(Refusal {
        is_override: true,
        reason: format!(
            "nothing on this kernel can replace the result of `{symbol}`: BPF LSM is not active and fmod_ret and \
             bpf_override_return are missing"
        ),
        help: "boot with `bpf` in the `lsm=` list, or use `action: Sigkill`".into(),
    })
}

fn syscall(hook: &Hook, name: &str, facts: &KernelFacts) -> Result<Choice, Refusal> {
    let symbol = syscall_symbol(name, facts.arch);
    let returns = hook.returned.is_some() && !never_returns(name);
    let defers = !never_returns(name) && hook.operands().any(reads_user_memory);
    if hook.overrides() {
        let enforce = if facts.features.fmod_ret_syscall && has_trampoline(&symbol, hook, facts) {
            AttachPoint::FmodRet {
                function: symbol.clone(),
            }
        } else if facts.features.override_return && facts.features.kprobe {
            AttachPoint::Kprobe { symbol: symbol.clone() }
        } else {
            return Err(Refusal {
                is_override: true,
                reason: format!("nothing on this kernel can replace the result of the syscall `{name}`"),
                help: override_help(name),
            });
        };
        let mut reason = format!("the result is replaced by {}", describe(&enforce));
        if facts.features.preemptible_programs && matches!(enforce, AttachPoint::FmodRet { .. }) {
            reason.push_str(
                "; this kernel preempts programs and may leave a call out under load, which an LSM hook (`lsmhooks`) does not",
            );
        }
        let exit = unpreempted(&symbol, hook, facts).map_or(AttachPoint::Fexit { function: symbol }, |by| by.exit);
        let parts = if returns || defers {
            entry_and_exit(enforce, exit, returns, defers)
        } else {
            entry_and_exit(enforce, exit, false, false)
        };
        return Ok(Choice { parts, reason });
    }
    if let Some(Unpreempted { entry, exit, reason }) = unpreempted(&symbol, hook, facts) {
        return Ok(Choice {
            parts: entry_and_exit(entry, exit, returns, defers && facts.features.current_task_btf),
            reason: reason.into(),
        });
    }
    if facts.features.fentry && has_trampoline(&symbol, hook, facts) {
        let (entry, exit) = (
            AttachPoint::Fentry {
                function: symbol.clone(),
            },
            AttachPoint::Fexit { function: symbol },
        );
        if returns && !defers {
            let parts = if hook.enforces() {
                vec![
                    Part {
                        attach: entry,
                        role: Role::Enforce,
                    },
                    Part {
                        attach: exit,
                        role: Role::ExitPost,
                    },
                ]
            } else {
                vec![Part {
                    attach: exit,
                    role: Role::ExitWhole,
                }]
            };
            return Ok(Choice {
                parts,
                reason: "fexit on the syscall's wrapper sees arguments and result".into(),
            });
        }
        let reason = if defers {
            "fentry on the syscall's wrapper; its exit decides calls whose user memory could not be read at entry"
        } else {
            "fentry on the syscall's wrapper"
        };
        return Ok(Choice {
            parts: entry_and_exit(entry, exit, returns, defers),
            reason: reason.into(),
        });
    }
    if facts.features.kprobe {
        let can_defer = defers && facts.features.current_task_btf;
        return kprobe(
            &symbol,
            returns,
            can_defer,
            "no BTF trampoline reaches the syscall's wrapper and its arguments",
            facts,
        );
    }
    let (enter, exit) = (format!("sys_enter_{name}"), format!("sys_exit_{name}"));
    // whether the notification or this came first would be left to chance
    let must_come_after = hook.kind == HookKind::Enforcer;
    if !must_come_after
        && facts.features.tracepoint
        && facts.tracepoints.contains_key(&("syscalls".into(), enter.clone()))
    {
        let at = |event| AttachPoint::Tracepoint {
            subsystem: "syscalls".into(),
            event,
        };
        let can_defer = defers && facts.features.current_task_btf;
        let parts = entry_and_exit(at(enter), at(exit), returns, can_defer);
        return Ok(Choice {
            parts,
            reason: "tracepoint of the syscall: this kernel has neither fentry nor kprobes".into(),
        });
    }
    Err(Refusal {
        is_override: false,
        reason: format!("the syscall `{name}` cannot be attached: no fentry, no kprobes, and no tracepoint of it"),
        help: "use the tracepoint raw_syscalls/sys_enter with a filter on the syscall's number".into(),
    })
}

/// The LSM hook that guards what a syscall does: it sees the kernel's own copy of the arguments, whoever makes the call.
pub fn guard_of_syscall(syscall: &str) -> Option<&'static str> {
    Some(match syscall {
        "open" | "openat" | "openat2" | "creat" => "file_open",
        "mkdir" | "mkdirat" => "inode_mkdir",
        "rmdir" => "inode_rmdir",
        "mknod" | "mknodat" => "inode_mknod",
        "symlink" | "symlinkat" => "inode_symlink",
        "link" | "linkat" => "inode_link",
        "unlink" | "unlinkat" => "inode_unlink",
        "rename" | "renameat" | "renameat2" => "inode_rename",
        "execve" | "execveat" => "bprm_check_security",
        "connect" => "socket_connect",
        "bind" => "socket_bind",
        "sendto" | "sendmsg" => "socket_sendmsg",
        "mount" => "sb_mount",
        "umount2" => "sb_umount",
        "pivot_root" => "sb_pivotroot",
        "setxattr" | "lsetxattr" => "inode_setxattr",
        "kill" | "tkill" | "tgkill" => "task_kill",
        "ptrace" => "ptrace_access_check",
        "bpf" => "bpf",
        _ => return None,
    })
}

/// The help of a refused override of a syscall.
fn override_help(syscall: &str) -> String {
    match guard_of_syscall(syscall) {
        Some(hook) => format!("use `lsmhooks` with `hook: {hook}`, which can deny the operation on this kernel"),
        None => "use `action: Sigkill`, or the LSM hook (`lsmhooks`) that guards the operation: it can deny it on this kernel"
            .into(),
    }
}

/// Whether reading an operand may fail because user memory is not resident.
pub fn reads_user_memory(operand: &Operand) -> bool {
    if matches!(operand.source, OperandSource::Chain(_)) {
        return false;
    }
    if operand.is_buffer() {
        return true;
    }
    if operand.is_loaded() {
        return operand.argument_type != ArgumentType::Nop;
    }
    matches!(operand.argument_type, ArgumentType::String | ArgumentType::Sockaddr)
        && matches!(
            operand.source,
            OperandSource::Parameter(_) | OperandSource::Field { .. } | OperandSource::Probe(_)
        )
}

fn lsm(hook: &Hook, name: &str, facts: &KernelFacts) -> Result<Choice, Refusal> {
    let entry = |attach, reason: &str| {
        Ok(Choice {
            parts: vec![Part {
                attach,
                role: Role::Entry,
            }],
            reason: reason.into(),
        })
    };
    let function = security_function(name);
    let typed = format!("bpf_lsm_{name}");
    if let Some(index) = unreadable_parameter(hook, &parameters_of(&typed, &facts.btf), &facts.btf) {
        return Err(Refusal {
            is_override: false,
            reason: format!("argument {index} of the LSM hook `{name}` points to something that cannot be read there"),
            help: format!("leave the argument out, or hook `{function}` with `kprobes` and `syscall: false`"),
        });
    }
    if facts.features.lsm && facts.btf.function(&typed).is_some() {
        return entry(
            AttachPoint::Lsm { hook: name.into() },
            "BPF LSM is active on this kernel",
        );
    }
    let same = same_parameters(&function, &format!("bpf_lsm_{name}"), &facts.btf);
    if same && facts.features.fmod_ret && has_trampoline(&function, hook, facts) && returns_int(&function, &facts.btf) {
        return entry(
            AttachPoint::FmodRet { function },
            "BPF LSM programs would not run here (`bpf` is not an active LSM): fmod_ret on the hook's function instead",
        );
    }
    if let Some(Unpreempted { entry: attach, .. }) = unpreempted(&function, hook, facts)
        && same
        && !hook.overrides()
    {
        return entry(
            attach,
            "BPF LSM is not active; the hook's function is watched by a kprobe",
        );
    }
    if same && !hook.overrides() && facts.features.fentry && has_trampoline(&function, hook, facts) {
        return entry(
            AttachPoint::Fentry { function },
            "BPF LSM is not active; the hook's function is watched by fentry",
        );
    }
    Err(Refusal {
        is_override: hook.overrides(),
        reason: format!(
            "the LSM hook `{name}` cannot be attached: BPF LSM is not active and fmod_ret cannot replace it"
        ),
        help: "boot with `bpf` in the `lsm=` list of the kernel command line".into(),
    })
}

fn returns_int(function: &str, btf: &Btf) -> bool {
    btf.function(function).is_some_and(|f| {
        let returned = btf.resolve(btf.prototype(f.proto).return_type);
        matches!(btf.kind(returned), Kind::Int { .. })
    })
}

/// Bytes before the number of the call in the record of `raw_syscalls/sys_enter`, and before the second argument in the context
/// of the raw tracepoint, which is the number too.
const SYSCALL_NUMBER_AT: u32 = 8;

/// Whether a hook on `raw_syscalls/sys_enter` looks at the number of the call only: it then finds it at the same place in the
/// context of the raw tracepoint, which costs a third.
fn reads_syscall_number_only(hook: &Hook, subsystem: &str, event: &str) -> bool {
    let is_number = |operand: &Operand| {
        matches!(
            operand.source,
            OperandSource::Field {
                offset: SYSCALL_NUMBER_AT,
                size: 8,
                ..
            }
        )
    };
    (subsystem, event) == ("raw_syscalls", "sys_enter") && hook.operands().all(is_number)
}

fn tracepoint(hook: &Hook, subsystem: &str, event: &str, facts: &KernelFacts) -> Result<Choice, Refusal> {
    // raw tracepoints leave calls out where programs may be preempted
    let raw_sees_all = facts.features.tp_btf && !facts.features.preemptible_programs;
    if raw_sees_all
        && reads_syscall_number_only(hook, subsystem, event)
        && facts.btf.typedef("btf_trace_sys_enter").is_some()
    {
        return Ok(Choice {
            parts: vec![Part {
                attach: AttachPoint::TpBtf { event: event.into() },
                role: Role::Entry,
            }],
            reason: "raw tracepoint, which has the number of the call too".into(),
        });
    }
    if !facts.features.tracepoint {
        return Err(Refusal {
            is_override: false,
            reason: "this kernel has no tracepoints".into(),
            help: "mount tracefs at /sys/kernel/tracing".into(),
        });
    }
    let attach = AttachPoint::Tracepoint {
        subsystem: subsystem.into(),
        event: event.into(),
    };
    Ok(Choice {
        parts: vec![Part {
            attach,
            role: Role::Entry,
        }],
        reason: "tracepoint, as the policy says".into(),
    })
}

fn raw_tracepoint(hook: &Hook, event: &str, facts: &KernelFacts) -> Result<Choice, Refusal> {
    let btf = &*facts.btf;
    let typed = btf.typedef(&format!("btf_trace_{event}")).is_some_and(|id| {
        // the prototype begins with the program's private data
        let parameters: Vec<TypeId> = btf.prototype(id).params.iter().skip(1).map(|p| p.type_id).collect();
        unreadable_parameter(hook, &parameters, btf).is_none()
    });
    let (attach, reason) = if facts.features.tp_btf && typed {
        (
            AttachPoint::TpBtf { event: event.into() },
            "raw tracepoint with typed arguments",
        )
    } else if facts.features.raw_tracepoint {
        (
            AttachPoint::RawTracepoint { event: event.into() },
            "raw tracepoint, as the policy says",
        )
    } else {
        return Err(Refusal {
            is_override: false,
            reason: "this kernel has no raw tracepoints".into(),
            help: "leave out `raw: true`".into(),
        });
    };
    Ok(Choice {
        parts: vec![Part {
            attach,
            role: Role::Entry,
        }],
        reason: reason.into(),
    })
}

fn user_place(hook: &Hook, user: &UserTarget, facts: &KernelFacts) -> Result<Choice, Refusal> {
    let (by, reason) = if facts.features.uprobe_multi {
        (UprobeLink::Multi, "uprobe, held by a link of its own kind")
    } else if facts.features.uprobe {
        (
            UprobeLink::PerfEvent,
            "uprobe, held by a perf event: this kernel has no links of uprobes",
        )
    } else {
        return Err(Refusal {
            is_override: false,
            reason: format!(
                "{} cannot be hooked: this kernel has no uprobes",
                crate::resolve::target_name(&hook.target)
            ),
            help: "boot a kernel with CONFIG_UPROBE_EVENTS".into(),
        });
    };
    let at = |attach: fn(UserPlace, UprobeLink) -> AttachPoint| attach(user.place.clone(), by);
    let entry = at(|place, by| AttachPoint::Uprobe { place, by });
    let exit = at(|place, by| AttachPoint::Uretprobe { place, by });
    Ok(Choice {
        parts: entry_and_exit(entry, exit, hook.returned.is_some(), false),
        // the attach point itself only tells the offset
        reason: format!("{}: {reason}", crate::resolve::target_name(&hook.target)),
    })
}

/// An attach point in words.
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
        AttachPoint::Tracepoint { subsystem, event } => format!("tp/{subsystem}/{event}"),
        AttachPoint::RawTracepoint { event } => format!("raw_tp/{event}"),
        AttachPoint::TpBtf { event } => format!("tp_btf/{event}"),
        AttachPoint::Uprobe { place, .. } => format!("uprobe/{}:{:#x}", place.path, place.offset),
        AttachPoint::Uretprobe { place, .. } => format!("uretprobe/{}:{:#x}", place.path, place.offset),
    }
}

fn multi(kind: &str, symbols: &[String]) -> String {
    match symbols {
        [one] => format!("{kind}/{one}"),
        many => format!("{kind} of {} functions", many.len()),
    }
}
