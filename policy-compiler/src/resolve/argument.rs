//! Arguments: which value of the hook, read as what, checked against the kernel's own types.

use std::sync::Arc;

use tracingpolicy_crd::{ArgSpec, ArgType, FieldPath, KprobeSpec};

use super::Resolver;
use crate::binary::{ArgumentPlace, ProbeArgument};
use crate::btf::{Kind, TypeId};
use crate::codes;
use crate::facts::TracepointField;
use crate::hir::{Argument, Buffer, Chain, ChainStart, Operand, OperandSource, Target, UserName, UserTarget};
use crate::output::{ArgumentType, UserPlace};

/// Parameters of a syscall.
const SYSCALL_PARAMETERS: u32 = 6;
/// Parameters of a user function that are in registers.
const REGISTER_PARAMETERS: u32 = 6;

/// The compiled form of a type of the language; `None` if it is not compiled.
pub(super) fn argument_type(written: ArgType) -> Option<ArgumentType> {
    Some(match written {
        ArgType::Int | ArgType::Int32 | ArgType::Sint32 => ArgumentType::Int32,
        ArgType::Int8 | ArgType::Sint8 => ArgumentType::Int8,
        ArgType::Int16 | ArgType::Sint16 => ArgumentType::Int16,
        ArgType::Int64 | ArgType::Sint64 | ArgType::Long => ArgumentType::Int64,
        ArgType::Uint8 => ArgumentType::Uint8,
        ArgType::Uint16 => ArgumentType::Uint16,
        ArgType::Uint32 => ArgumentType::Uint32,
        ArgType::Uint64 | ArgType::Ulong | ArgType::UnsignedLong => ArgumentType::Uint64,
        ArgType::SizeT => ArgumentType::SizeT,
        ArgType::Syscall64 => ArgumentType::Syscall64,
        ArgType::String => ArgumentType::String,
        ArgType::Fd => ArgumentType::Fd,
        ArgType::File => ArgumentType::File,
        ArgType::Path => ArgumentType::Path,
        ArgType::Dentry => ArgumentType::Dentry,
        ArgType::LinuxBinprm => ArgumentType::LinuxBinprm,
        ArgType::Sock => ArgumentType::Sock,
        ArgType::Sockaddr => ArgumentType::Sockaddr,
        ArgType::Skb => ArgumentType::Skb,
        ArgType::UserNamespace => ArgumentType::UserNamespace,
        ArgType::Cred => ArgumentType::Cred,
        ArgType::BpfAttr => ArgumentType::BpfAttr,
        ArgType::BpfProg => ArgumentType::BpfProg,
        ArgType::BpfMap => ArgumentType::BpfMap,
        ArgType::PerfEvent => ArgumentType::PerfEvent,
        ArgType::Module => ArgumentType::Module,
        ArgType::LoadInfo => ArgumentType::LoadInfo,
        ArgType::Capability => ArgumentType::Capability,
        ArgType::CharBuf => ArgumentType::CharBuf,
        ArgType::CharIovec => ArgumentType::CharIovec,
        ArgType::IovIter => ArgumentType::IovIter,
        ArgType::Nop => ArgumentType::Nop,
        _ => return None,
    })
}

/// The kernel struct that a pointer type means.
fn kernel_struct(argument_type: ArgumentType) -> Option<&'static str> {
    Some(match argument_type {
        ArgumentType::File => "file",
        ArgumentType::Path => "path",
        ArgumentType::Dentry => "dentry",
        ArgumentType::LinuxBinprm => "linux_binprm",
        ArgumentType::Sock => "sock",
        ArgumentType::Sockaddr => "sockaddr",
        ArgumentType::Skb => "sk_buff",
        ArgumentType::UserNamespace => "user_namespace",
        ArgumentType::Cred => "cred",
        ArgumentType::BpfAttr => "bpf_attr",
        ArgumentType::BpfProg => "bpf_prog",
        ArgumentType::BpfMap => "bpf_map",
        ArgumentType::PerfEvent => "perf_event",
        ArgumentType::Module => "module",
        ArgumentType::LoadInfo => "load_info",
        ArgumentType::CharIovec => "iovec",
        ArgumentType::IovIter => "iov_iter",
        _ => return None,
    })
}

/// A type of the language that means one member of a struct.
#[derive(Clone, Copy)]
struct Shorthand {
    structure: &'static str,
    /// Empty: what the argument itself points to.
    member: &'static str,
    /// Whether what the member points to is meant.
    is_pointer: bool,
    /// As what it is read.
    argument_type: ArgumentType,
}

impl Shorthand {
    const fn capabilities(argument_type: ArgumentType) -> Self {
        Self {
            structure: "",
            member: "",
            is_pointer: false,
            argument_type,
        }
    }

    fn of(written: ArgType) -> Option<Self> {
        Some(match written {
            ArgType::Socket => Self {
                structure: "socket",
                member: "sk",
                is_pointer: true,
                argument_type: ArgumentType::Sock,
            },
            ArgType::Filename => Self {
                structure: "filename",
                member: "name",
                is_pointer: true,
                argument_type: ArgumentType::String,
            },
            ArgType::Kiocb => Self {
                structure: "kiocb",
                member: "ki_filp",
                is_pointer: true,
                argument_type: ArgumentType::File,
            },
            // however the kernel declares a set of capabilities, it takes eight bytes
            ArgType::KernelCapT => Self::capabilities(ArgumentType::KernelCapT),
            ArgType::CapInheritable => Self::capabilities(ArgumentType::CapInheritable),
            ArgType::CapPermitted => Self::capabilities(ArgumentType::CapPermitted),
            ArgType::CapEffective => Self::capabilities(ArgumentType::CapEffective),
            ArgType::NetDevice => Self {
                structure: "net_device",
                member: "name",
                is_pointer: false,
                argument_type: ArgumentType::String,
            },
            _ => return None,
        })
    }
}

impl Resolver<'_> {
    /// Arguments and return value of a `kprobes` or `fentries` hook.
    pub(super) fn kprobe_arguments(
        &mut self,
        target: &Target,
        spec: &KprobeSpec,
        path: &FieldPath,
    ) -> (Vec<Argument>, Option<Argument>) {
        let returned = spec.return_arg.as_ref().filter(|_| spec.has_return);
        self.function_arguments(target, &spec.args, returned, path)
    }

    /// Arguments and return value of any function.
    pub(super) fn function_arguments(
        &mut self,
        target: &Target,
        args: &[ArgSpec],
        returned: Option<&ArgSpec>,
        path: &FieldPath,
    ) -> (Vec<Argument>, Option<Argument>) {
        let arguments = self.arguments(target, args, path);
        let returned = returned.and_then(|arg| {
            let path = path.key("returnArg");
            let argument_type = self.compiled_type(arg, &path)?;
            let is_sock = argument_type == ArgumentType::Sock && matches!(target, Target::Function(_));
            if !is_integer(argument_type) && !is_sock {
                self.error(
                    codes::TYPE_NOT_READABLE,
                    &path.key("type"),
                    format!("a return value of type `{}` is not compiled", arg.arg_type),
                    "use an integer type, or `sock`",
                );
                return None;
            }
            let operand = Operand {
                source: OperandSource::Return,
                argument_type,
                exact_type: false,
            };
            Some(Argument {
                operand,
                is_data: false,
                is_whole: false,
                label: Arc::from(arg.label.as_str()),
                line: self.line(&path),
            })
        });
        (arguments, returned)
    }

    /// Arguments of any hook. Those with errors are left out; the policy has failed then.
    pub(super) fn arguments(&mut self, target: &Target, specs: &[ArgSpec], path: &FieldPath) -> Vec<Argument> {
        let mut arguments = Vec::new();
        for (i, spec) in specs.iter().enumerate() {
            let path = path.key("args").index(i);
            self.refuse_outside_of_argument(spec, &path);
            if let Some(operand) = self.operand(target, spec, &path) {
                arguments.push(Argument {
                    operand,
                    is_data: false,
                    is_whole: spec.max_data,
                    label: Arc::from(spec.label.as_str()),
                    line: self.line(&path),
                });
            }
        }
        arguments
    }

    fn compiled_type(&mut self, spec: &ArgSpec, path: &FieldPath) -> Option<ArgumentType> {
        let compiled = argument_type(spec.arg_type);
        if compiled.is_none() && spec.arg_type != ArgType::Auto {
            self.error(
                codes::NOT_COMPILED,
                &path.key("type"),
                format!("the argument type `{}` is not compiled", spec.arg_type),
                "compiled are: integers, size_t, string, char_buf, char_iovec, iov_iter, fd, file, path, dentry, linux_binprm, kiocb, filename, sock, socket, sockaddr, skb, net_device, cred, user_namespace, capability, sets of capabilities, module, load_info, bpf_attr, bpf_prog, bpf_map, perf_event, syscall64 and nop",
            );
        }
        compiled
    }

    fn operand(&mut self, target: &Target, spec: &ArgSpec, path: &FieldPath) -> Option<Operand> {
        if let Target::Tracepoint(subsystem, event) = target {
            let (subsystem, event) = (subsystem.clone(), event.clone());
            return self.tracepoint_operand(target, &subsystem, &event, spec, path);
        }
        if !spec.resolve.is_empty() {
            let kernel_type = match self.parameter(target, spec.index) {
                Ok(kernel_type) => kernel_type,
                Err(count) => {
                    self.no_parameter(target, spec, count, path);
                    return None;
                }
            };
            return self.resolved_operand(target, kernel_type, spec, path);
        }
        if spec.arg_type == ArgType::Auto {
            self.error(
                codes::TYPE_NOT_READABLE,
                path,
                "the argument has no type",
                "say how to read it, for example `type: int`; only classic tracepoints know the types of their fields",
            );
            return None;
        }
        if let Some(chain) = Shorthand::of(spec.arg_type)
            && !matches!(target, Target::Syscall(_) | Target::User(_))
        {
            return self.shorthand(target, spec, chain, path);
        }
        let argument_type = self.compiled_type(spec, path)?;
        if argument_type == ArgumentType::Syscall64 {
            self.error(
                codes::TYPE_NOT_READABLE,
                &path.key("type"),
                "`syscall64` can be read at tracepoints only",
                "use `type: int`",
            );
            return None;
        }
        if let Target::User(user) = target
            && !self.is_user_type(argument_type, &user.name, spec, path)
        {
            return None;
        }
        if let Target::User(UserTarget {
            place,
            name: UserName::Probe(provider, name),
        }) = target
        {
            let source = self.probe_argument(place, (provider, name), spec, path)?;
            return Some(Operand {
                source,
                argument_type,
                exact_type: false,
            });
        }
        let exact_type = match self.parameter(target, spec.index) {
            Err(count) => {
                self.no_parameter(target, spec, count, path);
                return None;
            }
            Ok(None) => false,
            Ok(Some(kernel_type)) => self.check_type(argument_type, spec, kernel_type, path),
        };
        let operand = Operand {
            source: OperandSource::Parameter(spec.index),
            argument_type,
            exact_type,
        };
        if is_buffer(argument_type) {
            return self.buffer(target, operand, spec, path);
        }
        Some(operand)
    }

    /// A buffer at an address, with the length that `sizeArgIndex` names.
    fn buffer(&mut self, target: &Target, address: Operand, spec: &ArgSpec, path: &FieldPath) -> Option<Operand> {
        let argument_type = address.argument_type;
        let length = if argument_type == ArgumentType::IovIter {
            None
        } else {
            let Some(index) = spec.size_arg_index.checked_sub(1) else {
                self.error(
                    codes::TYPE_NOT_READABLE,
                    path,
                    format!("nothing says how long the `{}` is", spec.arg_type),
                    "add `sizeArgIndex` with the number, counted from 1, of the argument that has its length",
                );
                return None;
            };
            Some(self.length(target, index, spec, path)?)
        };
        Some(Operand {
            source: OperandSource::Buffer(Box::new(Buffer {
                address: Operand {
                    argument_type: ArgumentType::Uint64,
                    exact_type: false,
                    ..address
                },
                length,
            })),
            argument_type,
            exact_type: false,
        })
    }

    /// The argument or field that has the length of a buffer.
    fn length(&mut self, target: &Target, index: u32, of: &ArgSpec, path: &FieldPath) -> Option<Operand> {
        let mut spec = ArgSpec {
            index,
            arg_type: ArgType::Uint64,
            ..of.clone()
        };
        let path = path.key("sizeArgIndex");
        if let Target::Tracepoint(subsystem, event) = target {
            let (subsystem, event) = (subsystem.clone(), event.clone());
            spec.arg_type = ArgType::Auto;
            return self.tracepoint_operand(target, &subsystem, &event, &spec, &path);
        }
        // a narrower number leaves the upper half of its register to chance
        let declared = self.parameter(target, index).ok().flatten();
        let size = declared.and_then(|declared| self.facts.btf.size(declared));
        if size.is_some_and(|size| size <= 4) {
            spec.arg_type = ArgType::Uint32;
        }
        self.operand(target, &spec, &path)
    }

    fn no_parameter(&mut self, target: &Target, spec: &ArgSpec, count: u32, path: &FieldPath) {
        self.error(
            codes::INDEX_OUT_OF_RANGE,
            &path.key("index"),
            format!(
                "{} has {count} parameters, index {} is out of range",
                super::target_name(target),
                spec.index
            ),
            "indexes count from 0",
        );
    }

    /// An argument of which one member is meant.
    fn shorthand(&mut self, target: &Target, spec: &ArgSpec, of: Shorthand, path: &FieldPath) -> Option<Operand> {
        let kernel_type = match self.parameter(target, spec.index) {
            Ok(kernel_type) => kernel_type,
            Err(count) => {
                self.no_parameter(target, spec, count, path);
                return None;
            }
        };
        if of.member.is_empty() {
            return Some(Operand {
                source: OperandSource::Chain(Box::new(Chain {
                    from: ChainStart::Parameter(spec.index),
                    pointers: Vec::new(),
                    offset: 0,
                    size: Some(8),
                })),
                argument_type: of.argument_type,
                exact_type: false,
            });
        }
        if let Some(kernel_type) = kernel_type {
            self.check_struct(of.structure, spec, kernel_type, path);
        }
        let btf = self.facts.btf.clone();
        let member = btf
            .struct_by_name(of.structure)
            .and_then(|id| btf.member(id, of.member));
        let Some(member) = member else {
            self.error(
                codes::NOT_ATTACHABLE,
                path,
                format!("this kernel's type information has no `{}.{}`", of.structure, of.member),
                "leave the argument out",
            );
            return None;
        };
        let offset = member.byte_offset();
        let (pointers, offset) = if of.is_pointer {
            (vec![offset], 0)
        } else {
            (Vec::new(), offset)
        };
        Some(Operand {
            source: OperandSource::Chain(Box::new(Chain {
                from: ChainStart::Parameter(spec.index),
                pointers,
                offset,
                size: None,
            })),
            argument_type: of.argument_type,
            exact_type: false,
        })
    }

    /// Warns if a parameter is no pointer to the struct that its type in the policy stands for.
    fn check_struct(&mut self, structure: &str, spec: &ArgSpec, kernel_type: TypeId, path: &FieldPath) {
        let btf = self.facts.btf.clone();
        let fits = match btf.kind(btf.resolve(kernel_type)) {
            Kind::Ptr(target) => btf.name(btf.resolve(target)) == structure,
            _ => false,
        };
        if !fits {
            self.warning(
                codes::TYPE_DIFFERS,
                &path.key("type"),
                format!(
                    "parameter {} is `{}` in this kernel, not a `{}`",
                    spec.index,
                    btf.c_declaration(kernel_type),
                    spec.arg_type
                ),
                "it is read as the policy says; check the index and the type",
            );
        }
    }

    /// The kernel's type of a parameter; `Ok(None)`: not known, `Err`: there are only so many.
    fn parameter(&self, target: &Target, index: u32) -> Result<Option<TypeId>, u32> {
        let btf = &*self.facts.btf;
        let prototype = match target {
            Target::Syscall(_) if index < SYSCALL_PARAMETERS => return Ok(None),
            Target::Syscall(_) => return Err(SYSCALL_PARAMETERS),
            Target::Function(symbol) => btf.function(symbol).map(|f| f.proto),
            Target::Lsm(hook) => btf.function(&format!("bpf_lsm_{hook}")).map(|f| f.proto),
            // the prototype behind the typedef begins with the program's private data
            Target::RawTracepoint(_, event) => btf.typedef(&format!("btf_trace_{event}")).and_then(|id| {
                let Kind::Ptr(proto) = btf.kind(btf.resolve(id)) else {
                    return None;
                };
                Some(proto)
            }),
            Target::User(_) if index < REGISTER_PARAMETERS => return Ok(None),
            Target::User(_) => return Err(REGISTER_PARAMETERS),
            Target::Tracepoint(..) => None,
        };
        let Some(prototype) = prototype.map(|id| btf.prototype(id)) else {
            return Ok(None);
        };
        let skipped = usize::from(matches!(target, Target::RawTracepoint(..)));
        let params = prototype.params.get(skipped..).unwrap_or_default();
        params
            .get(index as usize)
            .map(|p| Some(p.type_id))
            .ok_or(params.len() as u32)
    }

    /// Whether the kernel's type is exactly the struct meant; warns if the two cannot be reconciled.
    fn check_type(
        &mut self,
        argument_type: ArgumentType,
        spec: &ArgSpec,
        kernel_type: TypeId,
        path: &FieldPath,
    ) -> bool {
        let btf = self.facts.btf.clone();
        let resolved = btf.kind(btf.resolve(kernel_type));
        let declaration = btf.c_declaration(kernel_type);
        let pointee = match resolved {
            Kind::Ptr(target) => match btf.kind(btf.resolve(target)) {
                Kind::Struct { name, .. } | Kind::Union { name, .. } | Kind::Fwd { name, .. } => Some(name),
                _ => None,
            },
            _ => None,
        };
        let is_pointer = matches!(resolved, Kind::Ptr(_));
        let fits = match kernel_struct(argument_type) {
            Some(wanted) if pointee == Some(wanted) => return true,
            // a sock hides behind several pointer types that begin with it
            Some("sock") => pointee.is_some_and(|n| n.ends_with("_sock")),
            Some(_) => false,
            None => match argument_type {
                ArgumentType::String | ArgumentType::CharBuf => is_pointer && pointee.is_none(),
                ArgumentType::Nop => true,
                _ => !is_pointer || argument_type == ArgumentType::Uint64 || argument_type == ArgumentType::SizeT,
            },
        };
        if !fits {
            self.warning(
                codes::TYPE_DIFFERS,
                &path.key("type"),
                format!(
                    "parameter {} is `{declaration}` in this kernel, not a `{}`",
                    spec.index, spec.arg_type
                ),
                "it is read as the policy says; check the index and the type",
            );
        }
        false
    }

    /// Whether a type means something in a user binary; reports if not.
    fn is_user_type(&mut self, argument_type: ArgumentType, name: &UserName, spec: &ArgSpec, path: &FieldPath) -> bool {
        let is_readable = is_integer(argument_type)
            || matches!(
                argument_type,
                ArgumentType::String
                    | ArgumentType::Sockaddr
                    | ArgumentType::Fd
                    | ArgumentType::Nop
                    | ArgumentType::CharBuf
                    | ArgumentType::CharIovec
            );
        if !is_readable {
            let hook = if matches!(name, UserName::Probe(..)) {
                "static probe"
            } else {
                "user function"
            };
            self.error(
                codes::TYPE_NOT_READABLE,
                &path.key("type"),
                format!("a {hook} has no `{}`: that is an object of the kernel", spec.arg_type),
                "user programs pass integers, `string`, `char_buf`, `char_iovec`, `sockaddr` and `fd`",
            );
        }
        is_readable
    }

    /// Where a static probe has an argument at one of its places.
    fn probe_argument(
        &mut self,
        place: &UserPlace,
        (provider, name): (&str, &str),
        spec: &ArgSpec,
        path: &FieldPath,
    ) -> Option<OperandSource> {
        let facts = self.facts;
        let binary = facts.binaries.get(&place.path)?.as_ref().ok()?;
        let probe = binary
            .probes
            .iter()
            .find(|probe| probe.offset == place.offset && probe.provider == *provider && probe.name == *name)?;
        let Some(argument) = probe.arguments.get(spec.index as usize) else {
            self.error(
                codes::INDEX_OUT_OF_RANGE,
                &path.key("index"),
                format!(
                    "static probe `{provider}:{name}` has {} arguments, index {} is out of range",
                    probe.arguments.len(),
                    spec.index
                ),
                "indexes count from 0",
            );
            return None;
        };
        match argument {
            Ok(ProbeArgument {
                place: ArgumentPlace::Memory { .. },
                ..
            }) if spec.arg_type == ArgType::Fd => {
                self.error(
                    codes::NOT_COMPILED,
                    path,
                    format!(
                        "argument {} of static probe `{provider}:{name}` is in memory, where an `fd` is not compiled",
                        spec.index
                    ),
                    "use `type: int`, which tells the number",
                );
                None
            }
            Ok(argument) => Some(OperandSource::Probe(*argument)),
            Err(text) => {
                self.error(
                    codes::TYPE_NOT_READABLE,
                    path,
                    format!(
                        "argument {} of static probe `{provider}:{name}` cannot be read: `{text}`",
                        spec.index
                    ),
                    "it is neither a number nor in a general register or memory that one points to",
                );
                None
            }
        }
    }

    fn tracepoint_operand(
        &mut self,
        target: &Target,
        subsystem: &str,
        event: &str,
        spec: &ArgSpec,
        path: &FieldPath,
    ) -> Option<Operand> {
        let format = self.facts.tracepoints.get(&(subsystem.to_owned(), event.to_owned()))?;
        let Some(field) = format.fields.get(spec.index as usize) else {
            let names: Vec<String> = format
                .fields
                .iter()
                .enumerate()
                .map(|(i, f)| format!("{i} {}", f.name))
                .collect();
            self.error(
                codes::INDEX_OUT_OF_RANGE,
                &path.key("index"),
                format!(
                    "tracepoint `{subsystem}/{event}` has {} fields, index {} is out of range",
                    names.len(),
                    spec.index
                ),
                format!("its fields are: {}", names.join(", ")),
            );
            return None;
        };
        if !spec.resolve.is_empty() {
            self.error(
                codes::NOT_COMPILED,
                &path.key("resolve"),
                "`resolve` is not possible for fields of a classic tracepoint's record",
                "use `raw: true`, which gives the arguments of the tracepoint themselves",
            );
            return None;
        }
        let field = field.clone();
        let argument_type = if spec.arg_type == ArgType::Auto {
            let Some(found) = type_of_field(&field) else {
                self.error(
                    codes::TYPE_NOT_READABLE,
                    path,
                    format!(
                        "the field `{} {}` has no type that is compiled",
                        field.declaration, field.name
                    ),
                    "say how to read it with `type`",
                );
                return None;
            };
            found
        } else {
            self.compiled_type(spec, path)?
        };
        if field.declaration.contains("__data_loc") || !matches!(field.size, 1 | 2 | 4 | 8) {
            self.error(
                codes::NOT_COMPILED,
                path,
                format!("the field `{} {}` is not compiled", field.declaration, field.name),
                "compiled are fields of 1, 2, 4 or 8 bytes",
            );
            return None;
        }
        let source = OperandSource::Field {
            offset: field.offset,
            size: field.size,
            signed: field.signed,
        };
        let operand = Operand {
            source,
            argument_type,
            exact_type: false,
        };
        if is_buffer(argument_type) {
            return self.buffer(target, operand, spec, path);
        }
        Some(operand)
    }
}

/// Whether values of the type are bytes, of which the call says how many.
pub(super) fn is_buffer(argument_type: ArgumentType) -> bool {
    matches!(
        argument_type,
        ArgumentType::CharBuf | ArgumentType::CharIovec | ArgumentType::IovIter
    )
}

/// The type of a tracepoint's field, for arguments without one.
fn type_of_field(field: &TracepointField) -> Option<ArgumentType> {
    if field.declaration.contains('*') || field.declaration.contains('[') {
        return None;
    }
    Some(match (field.size, field.signed) {
        _ if field.declaration == "size_t" => ArgumentType::SizeT,
        (1, true) => ArgumentType::Int8,
        (1, false) => ArgumentType::Uint8,
        (2, true) => ArgumentType::Int16,
        (2, false) => ArgumentType::Uint16,
        (4, true) => ArgumentType::Int32,
        (4, false) => ArgumentType::Uint32,
        (8, true) => ArgumentType::Int64,
        (8, false) => ArgumentType::Uint64,
        _ => return None,
    })
}

/// Whether values of the type are numbers in a register.
pub(super) fn is_integer(argument_type: ArgumentType) -> bool {
    integer_width(argument_type).is_some()
}

/// Width in bits and signedness of an integer type.
pub(crate) fn integer_width(argument_type: ArgumentType) -> Option<(u32, bool)> {
    Some(match argument_type {
        ArgumentType::Int8 => (8, true),
        ArgumentType::Int16 => (16, true),
        ArgumentType::Int32 | ArgumentType::Capability => (32, true),
        ArgumentType::Int64 => (64, true),
        ArgumentType::Uint8 => (8, false),
        ArgumentType::Uint16 => (16, false),
        ArgumentType::Uint32 => (32, false),
        ArgumentType::Uint64
        | ArgumentType::SizeT
        | ArgumentType::Syscall64
        | ArgumentType::KernelCapT
        | ArgumentType::CapInheritable
        | ArgumentType::CapPermitted
        | ArgumentType::CapEffective => (64, false),
        _ => return None,
    })
}
