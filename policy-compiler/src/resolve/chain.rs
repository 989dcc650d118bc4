//! `resolve`: values that lie behind pointers of the kernel, found by the kernel's own type information (§4.1).

use std::sync::Arc;

use tracingpolicy_crd::value::{self, ResolveStep};
use tracingpolicy_crd::{ArgSpec, ArgType, FieldPath};

use super::Resolver;
use super::argument::{argument_type, is_buffer, is_integer};
use crate::btf::{Btf, Kind, TypeId};
use crate::codes;
use crate::hir::{Argument, Chain, ChainStart, Operand, OperandSource, Target};
use crate::output::ArgumentType;

/// Pointers that may be followed for one value: more than any structure of the kernel asks for.
const MAX_POINTERS: usize = 32;

/// Where a walk through types has come to.
struct Walk<'b> {
    btf: &'b Btf,
    pointers: Vec<u32>,
    offset: u32,
    current: TypeId,
}

impl Walk<'_> {
    /// Goes to what the current type, a pointer, points to.
    fn follow(&mut self, target: TypeId) {
        self.pointers.push(self.offset);
        self.offset = 0;
        self.current = target;
    }

    fn follow_all(&mut self) {
        while let Kind::Ptr(target) = self.btf.kind(self.btf.resolve(self.current)) {
            self.follow(target);
        }
    }

    /// # Errors
    /// Why there is no such member, and what helps.
    fn member(&mut self, name: &str) -> Result<(), (String, String)> {
        self.follow_all();
        let declaration = self.btf.c_declaration(self.current);
        let Some(member) = self.btf.member(self.current, name) else {
            let names: Vec<&str> = self.names();
            let help = match tracingpolicy_crd::parse::suggest::closest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "only structures and unions have members".to_owned(),
                None => "`bpftool btf dump file /sys/kernel/btf/vmlinux format c` shows the structures of this kernel"
                    .to_owned(),
            };
            return Err((format!("`{declaration}` has no member `{name}` on this kernel"), help));
        };
        if member.bitfield_size.is_some() {
            return Err((
                format!("`{name}` of `{declaration}` is a bit field"),
                "read a member that takes whole bytes".to_owned(),
            ));
        }
        self.offset += member.byte_offset();
        self.current = member.type_id;
        Ok(())
    }

    /// Names of all members, those of anonymous structures included.
    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut open = vec![self.current];
        while let Some(id) = open.pop() {
            for member in self.btf.members(id) {
                if member.name.is_empty() {
                    open.push(member.type_id);
                } else {
                    names.push(member.name);
                }
            }
        }
        names
    }

    fn index(&mut self, index: u32) -> Result<(), (String, String)> {
        let declaration = self.btf.c_declaration(self.current);
        let element = match self.btf.kind(self.btf.resolve(self.current)) {
            Kind::Array { count, .. } if count != 0 && index >= count => {
                return Err((
                    format!("`{declaration}` has {count} elements, there is no element {index}"),
                    "elements count from 0".to_owned(),
                ));
            }
            Kind::Array { element, .. } => element,
            Kind::Ptr(target) => {
                self.follow(target);
                target
            }
            _ => {
                return Err((
                    format!("`{declaration}` is neither an array nor a pointer"),
                    "leave the index out".to_owned(),
                ));
            }
        };
        let size = self.btf.size(element).unwrap_or_default();
        let distance = u64::from(size) * u64::from(index);
        self.offset = u32::try_from(u64::from(self.offset) + distance).map_err(|_| {
            (
                format!("element {index} of `{declaration}` is too far away"),
                "use a smaller index".to_owned(),
            )
        })?;
        self.current = element;
        Ok(())
    }
}

/// How what a chain leads to is read: its type, and whether it is the object itself or what a pointer there points to.
fn reading(btf: &Btf, found: TypeId, written: ArgType) -> Option<(ArgumentType, Place)> {
    let by_struct = |id: TypeId| match btf.kind(btf.resolve(id)) {
        Kind::Struct { name, .. } | Kind::Fwd { name, .. } => match name {
            "file" => Some(ArgumentType::File),
            "path" => Some(ArgumentType::Path),
            "dentry" => Some(ArgumentType::Dentry),
            "linux_binprm" => Some(ArgumentType::LinuxBinprm),
            "sockaddr" => Some(ArgumentType::Sockaddr),
            "sock" => Some(ArgumentType::Sock),
            name if name.ends_with("_sock") => Some(ArgumentType::Sock),
            _ => None,
        },
        _ => None,
    };
    let is_byte = |id: TypeId| {
        matches!(
            btf.kind(btf.resolve(id)),
            Kind::Int {
                size: 1,
                bool: false,
                ..
            }
        )
    };
    let written = argument_type(written).filter(|written| !is_buffer(*written));
    match btf.kind(btf.resolve(found)) {
        Kind::Int { size, signed, .. } | Kind::Enum { size, signed } => {
            Some((integer(size, signed)?, Place::Number(size)))
        }
        Kind::Ptr(target) => {
            let known = by_struct(target).or_else(|| is_byte(target).then_some(ArgumentType::String));
            match written {
                // whoever asks for a number gets the pointer
                Some(written) if is_integer(written) => Some((ArgumentType::Uint64, Place::Number(8))),
                written => Some((known.or(written)?, Place::Behind)),
            }
        }
        Kind::Array { element, .. } if is_byte(element) => Some((ArgumentType::String, Place::Here)),
        _ => by_struct(found)
            .or_else(|| written.filter(|written| !is_integer(*written)))
            .map(|argument_type| (argument_type, Place::Here)),
    }
}

/// Where a value lies.
enum Place {
    /// A number of so many bytes.
    Number(u32),
    /// An object.
    Here,
    /// An object that a pointer here points to.
    Behind,
}

fn integer(size: u32, signed: bool) -> Option<ArgumentType> {
    Some(match (size, signed) {
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

impl Resolver<'_> {
    /// The entries of `data` of a hook. Those with errors are left out; the policy has failed then.
    pub(super) fn data(&mut self, target: &Target, specs: &[ArgSpec], path: &FieldPath) -> Vec<Argument> {
        let mut data = Vec::new();
        for (i, spec) in specs.iter().enumerate() {
            let path = path.key("data").index(i);
            let operand = match spec.source.as_str() {
                "pt_regs" => self.register_operand(target, spec, &path),
                _ => self.task_operand(spec, &path),
            };
            if let Some(operand) = operand {
                data.push(Argument {
                    operand,
                    label: Arc::from(spec.label.as_str()),
                    is_data: true,
                    is_whole: false,
                    line: self.line(&path),
                });
            }
        }
        data
    }

    fn task_operand(&mut self, spec: &ArgSpec, path: &FieldPath) -> Option<Operand> {
        let Some(task) = self.facts.btf.struct_by_name("task_struct") else {
            self.error(
                codes::NOT_ATTACHABLE,
                path,
                "this kernel's type information has no `task_struct`",
                "leave the entry out",
            );
            return None;
        };
        self.chain(ChainStart::CurrentTask, task, spec, path)
    }

    /// The operand of an argument with `resolve`.
    pub(super) fn resolved_operand(
        &mut self,
        target: &Target,
        kernel_type: Option<TypeId>,
        spec: &ArgSpec,
        path: &FieldPath,
    ) -> Option<Operand> {
        let path = path.key("resolve");
        if matches!(target, Target::Syscall(_) | Target::User(_)) {
            self.error(
                codes::NOT_COMPILED,
                &path,
                "`resolve` is not compiled for arguments that point into the memory of a process",
                "read the argument itself; of a system call, the LSM hook or kernel function behind it sees the kernel's own copy",
            );
            return None;
        }
        let btf = self.facts.btf.clone();
        let start = if spec.btf_type.is_empty() {
            match kernel_type.map(|id| btf.kind(btf.resolve(id))) {
                Some(Kind::Ptr(pointee)) => Some(pointee),
                _ => None,
            }
        } else {
            let named = btf
                .struct_by_name(&spec.btf_type)
                .or_else(|| btf.union_by_name(&spec.btf_type));
            if named.is_none() {
                self.error(
                    codes::RESOLVE_NOT_FOUND,
                    &path,
                    format!("this kernel's type information has no `{}`", spec.btf_type),
                    "`btfType` is the name of a structure, without `struct`",
                );
                return None;
            }
            named
        };
        let Some(start) = start else {
            self.error(
                codes::RESOLVE_NOT_FOUND,
                &path,
                format!(
                    "{} has no parameter {} that points to a structure",
                    super::target_name(target),
                    spec.index
                ),
                "say with `btfType` what it points to",
            );
            return None;
        };
        self.chain(ChainStart::Parameter(spec.index), start, spec, &path)
    }

    /// Follows `resolve` from a pointer to `start`.
    fn chain(&mut self, from: ChainStart, start: TypeId, spec: &ArgSpec, path: &FieldPath) -> Option<Operand> {
        let steps = value::resolve_path(&spec.resolve).ok()?; // whoever checked the policy has said so
        let btf = self.facts.btf.clone();
        let mut walk = Walk {
            btf: &btf,
            pointers: Vec::new(),
            offset: 0,
            current: start,
        };
        for step in &steps {
            let gone = match step {
                ResolveStep::Member(name) => walk.member(name),
                ResolveStep::Index(index) => walk.index(*index),
            };
            if let Err((message, help)) = gone {
                self.error(codes::RESOLVE_NOT_FOUND, path, message, help);
                return None;
            }
        }
        let declaration = btf.c_declaration(walk.current);
        let Some((argument_type, place)) = reading(&btf, walk.current, spec.arg_type) else {
            self.error(
                codes::TYPE_NOT_READABLE,
                path,
                format!(
                    "`{}` leads to `{declaration}`, which has no type that is compiled",
                    spec.resolve
                ),
                "go on to one of its members, or say how to read it with `type`",
            );
            return None;
        };
        if spec.arg_type != ArgType::Auto && super::argument::argument_type(spec.arg_type) != Some(argument_type) {
            self.warning(
                codes::TYPE_DIFFERS,
                path,
                format!(
                    "`{}` leads to `{declaration}` on this kernel, not to a `{}`",
                    spec.resolve, spec.arg_type
                ),
                "it is read as the kernel's type says; leave `type` out, or correct it",
            );
        }
        let Walk {
            mut pointers,
            mut offset,
            ..
        } = walk;
        let size = match place {
            Place::Number(size) => Some(size),
            Place::Here => None,
            Place::Behind => {
                pointers.push(std::mem::take(&mut offset));
                None
            }
        };
        if pointers.len() > MAX_POINTERS {
            self.error(
                codes::RESOLVE_NOT_FOUND,
                path,
                format!(
                    "`{}` goes through {} pointers, {MAX_POINTERS} are possible",
                    spec.resolve,
                    pointers.len()
                ),
                "find a shorter way",
            );
            return None;
        }
        Some(Operand {
            source: OperandSource::Chain(Box::new(Chain {
                from,
                pointers,
                offset,
                size,
            })),
            argument_type,
            exact_type: false,
        })
    }

    fn register_operand(&mut self, target: &Target, spec: &ArgSpec, path: &FieldPath) -> Option<Operand> {
        let path = path.key("resolve");
        if !matches!(target, Target::User(_) | Target::Function(_)) {
            self.error(
                codes::NOT_COMPILED,
                &path,
                format!("registers are not there at {}", super::target_name(target)),
                "they are read at functions of the kernel that are not system calls, and in user programs",
            );
            return None;
        }
        let Some((register, shift, size)) = register(&spec.resolve) else {
            self.error(
                codes::NOT_COMPILED,
                &path,
                format!("the register `{}` is none of this architecture", spec.resolve),
                "x86-64 has rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15 and rip, and their parts",
            );
            return None;
        };
        let argument_type = match argument_type(spec.arg_type) {
            Some(written) if is_integer(written) => written,
            None if spec.arg_type == ArgType::Auto => integer(size, false)?,
            _ => {
                self.error(
                    codes::NOT_COMPILED,
                    &path,
                    format!("a register is not compiled as a `{}`", spec.arg_type),
                    "use an integer type",
                );
                return None;
            }
        };
        Some(Operand {
            source: OperandSource::Register { register, shift, size },
            argument_type,
            exact_type: false,
        })
    }
}

/// Member of `struct pt_regs`, first bit and bytes of an x86-64 register or a part of one.
fn register(name: &str) -> Option<(&'static str, u8, u32)> {
    const OLD: [(&str, &str); 8] = [
        ("ax", "ax"),
        ("bx", "bx"),
        ("cx", "cx"),
        ("dx", "dx"),
        ("si", "si"),
        ("di", "di"),
        ("bp", "bp"),
        ("sp", "sp"),
    ];
    const NEW: [&str; 8] = ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    for (stem, member) in OLD {
        let low = stem
            .strip_suffix('x')
            .map_or_else(|| format!("{stem}l"), |letter| format!("{letter}l"));
        let high = stem.strip_suffix('x').map(|letter| format!("{letter}h"));
        match name {
            _ if name.strip_prefix('r') == Some(stem) => return Some((member, 0, 8)),
            _ if name.strip_prefix('e') == Some(stem) => return Some((member, 0, 4)),
            _ if name == stem => return Some((member, 0, 2)),
            _ if name == low => return Some((member, 0, 1)),
            _ if Some(name) == high.as_deref() => return Some((member, 8, 1)),
            _ => {}
        }
    }
    for member in NEW {
        match name.strip_prefix(member) {
            Some("") => return Some((member, 0, 8)),
            Some("d") => return Some((member, 0, 4)),
            Some("w") => return Some((member, 0, 2)),
            Some("b") => return Some((member, 0, 1)),
            _ => {}
        }
    }
    Some(match name {
        "rip" => ("ip", 0, 8),
        "eip" => ("ip", 0, 4),
        "ip" => ("ip", 0, 2),
        "rflags" => ("flags", 0, 8),
        "eflags" => ("flags", 0, 4),
        "orig_rax" => ("orig_ax", 0, 8),
        "cs" => ("cs", 0, 2),
        "ss" => ("ss", 0, 2),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::register;

    #[test]
    fn registers_and_their_parts() {
        for (name, expected) in [
            ("rax", Some(("ax", 0, 8))),
            ("eax", Some(("ax", 0, 4))),
            ("ax", Some(("ax", 0, 2))),
            ("al", Some(("ax", 0, 1))),
            ("ah", Some(("ax", 8, 1))),
            ("sil", Some(("si", 0, 1))),
            ("spl", Some(("sp", 0, 1))),
            ("r8", Some(("r8", 0, 8))),
            ("r10d", Some(("r10", 0, 4))),
            ("r15b", Some(("r15", 0, 1))),
            ("rip", Some(("ip", 0, 8))),
            ("x0", None),
            ("r1", None),
        ] {
            assert_eq!(register(name), expected, "{name}");
        }
    }
}
