//! Arguments and data a hook reads.

use super::{Checker, Hook, Section};
use crate::code::codes;
use crate::parse::suggest::closest;
use crate::path::FieldPath;
use crate::types::{ArgSpec, ArgType};
use crate::value;

/// Parameters that a BPF trampoline passes on at most (`MAX_BPF_FUNC_ARGS`).
const MAX_FUNCTION_ARGS: u32 = 12;
/// Parameters of a system call.
const MAX_SYSCALL_ARGS: u32 = 6;
/// Largest parameter number that a size can be in.
const MAX_SIZE_ARG_INDEX: u32 = 15;

/// Registers of `pt_regs` by the names their parts have.
const REGISTERS: &[&str] = &[
    "rax", "eax", "ax", "al", "rbx", "ebx", "bx", "bl", "rcx", "ecx", "cx", "cl", "rdx", "edx", "dx", "dl", "rsi",
    "esi", "si", "sil", "rdi", "edi", "di", "dil", "rbp", "ebp", "bp", "bpl", "rsp", "esp", "sp", "spl", "r8", "r8d",
    "r8w", "r8b", "r9", "r9d", "r9w", "r9b", "r10", "r10d", "r10w", "r10b", "r11", "r11d", "r11w", "r11b", "r12",
    "r12d", "r12w", "r12b", "r13", "r13d", "r13w", "r13b", "r14", "r14d", "r14w", "r14b", "r15", "r15d", "r15w",
    "r15b", "rip", "eip", "ip", "eflags", "rflags", "orig_rax", "cs", "ss", "x0", "x1", "x2", "x3", "x4", "x5", "x6",
    "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23",
    "x24", "x25", "x26", "x27", "x28", "x29", "x30", "pc", "pstate",
];

pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    for (index, arg) in hook.args.iter().enumerate() {
        let path = hook.path.key("args").index(index);
        position(checker, hook, arg, &path);
        ty(checker, hook, arg, &path);
        resolve(checker, arg, &path, false);
        buffer(checker, hook, arg, &path);
        if !arg.source.is_empty() {
            let diagnostic = checker
                .error(
                    codes::ARGUMENT_SOURCE,
                    &path.key("source"),
                    "`source` is possible in `data` only",
                )
                .label("arguments come from the function")
                .help("move the entry to `data`");
            checker.report(diagnostic);
        }
        let user = matches!(hook.section, Section::Uprobe | Section::Usdt);
        if user && (!arg.resolve.is_empty() || !arg.btf_type.is_empty()) {
            user_btf(checker, hook, arg, &path);
        }
    }
    for (index, data) in hook.data.iter().enumerate() {
        let path = hook.path.key("data").index(index);
        check_data(checker, data, &path);
    }
    if let Some(arg) = hook.return_arg {
        let path = hook.path.key("returnArg");
        ty(checker, hook, arg, &path);
        for key in [
            "resolve",
            "btfType",
            "btfTypeModule",
            "source",
            "sizeArgIndex",
            "returnCopy",
            "maxData",
        ] {
            let given = match key {
                "returnCopy" => arg.return_copy,
                "maxData" => arg.max_data,
                "sizeArgIndex" => arg.size_arg_index != 0,
                "resolve" => !arg.resolve.is_empty(),
                "source" => !arg.source.is_empty(),
                "btfType" => !arg.btf_type.is_empty(),
                _ => !arg.btf_type_module.is_empty(),
            };
            if given {
                let mut diagnostic = checker
                    .warning(
                        codes::NO_EFFECT,
                        &path.key(key),
                        format!("`{key}` has no effect in `returnArg`"),
                    )
                    .label("not used");
                diagnostic.primary.span = checker.key_span(&path.key(key));
                checker.report(diagnostic);
            }
        }
    }
}

fn position(checker: &mut Checker<'_>, hook: &Hook<'_>, arg: &ArgSpec, path: &FieldPath) {
    let (limit, what) = match hook.section {
        Section::Kprobe | Section::Fentry if hook.syscall => (MAX_SYSCALL_ARGS, "a system call has"),
        Section::Tracepoint { raw: false } => return,
        _ => (MAX_FUNCTION_ARGS, "a function that can be hooked has"),
    };
    if arg.index >= limit {
        let diagnostic = checker
            .error(
                codes::ARGUMENT_INDEX,
                &path.key("index"),
                format!(
                    "argument index {} is out of range: {what} at most {limit} arguments",
                    arg.index
                ),
            )
            .label(format!("expected 0 to {}", limit - 1));
        checker.report(diagnostic);
    }
}

fn ty(checker: &mut Checker<'_>, hook: &Hook<'_>, arg: &ArgSpec, path: &FieldPath) {
    let section = hook.section;
    let tracepoint = matches!(section, Section::Tracepoint { .. });
    let reason = match arg.arg_type {
        ArgType::Auto if !tracepoint && arg.resolve.is_empty() => {
            let given = checker.has(&path.key("type"));
            let message = if given {
                format!("the type `auto` is not possible at {}", section.describe())
            } else {
                format!("the argument needs a `type` at {}", section.describe())
            };
            let place = if given { path.key("type") } else { path.clone() };
            let diagnostic = checker
                .error(codes::ARGUMENT_TYPE, &place, message)
                .label("only tracepoints know the types of their fields")
                .help("say how to read it, for example `type: int`");
            checker.report(diagnostic);
            return;
        }
        ArgType::Syscall64 if !tracepoint => "only tracepoints have numbers of system calls",
        ArgType::DataLoc if section != (Section::Tracepoint { raw: false }) => {
            "only fields of tracepoints can be of this type"
        }
        ArgType::ConstBuf => "arrays of tracepoints get this type by themselves",
        _ => return,
    };
    let diagnostic = checker
        .error(
            codes::ARGUMENT_TYPE,
            &path.key("type"),
            format!("the type `{}` is not possible at {}", arg.arg_type, section.describe()),
        )
        .label(reason);
    let diagnostic = if arg.arg_type == ArgType::ConstBuf {
        diagnostic.help("remove `type`")
    } else {
        diagnostic
    };
    checker.report(diagnostic);
}

fn resolve(checker: &mut Checker<'_>, arg: &ArgSpec, path: &FieldPath, registers: bool) {
    if !arg.resolve.is_empty()
        && !registers
        && let Err((at, expected)) = value::resolve_path(&arg.resolve)
    {
        let diagnostic = checker
            .error(
                codes::RESOLVE_PATH,
                &path.key("resolve"),
                format!("`{}` is not a path to a member", arg.resolve),
            )
            .label(format!("expected {expected} after {at} characters"))
            .help("write it like `a.b[3].c`");
        checker.report(diagnostic);
    }
    for (key, given) in [
        ("btfType", !arg.btf_type.is_empty()),
        ("btfTypeModule", !arg.btf_type_module.is_empty()),
    ] {
        if given && arg.resolve.is_empty() {
            let diagnostic = checker
                .warning(
                    codes::BTF_TYPE,
                    &path.key(key),
                    format!("`{key}` has no effect without `resolve`"),
                )
                .label("not used");
            checker.report(diagnostic);
        }
    }
    if let Some(name) = arg
        .btf_type
        .strip_prefix("struct ")
        .or_else(|| arg.btf_type.strip_prefix("union "))
    {
        let diagnostic = checker
            .error(codes::BTF_TYPE, &path.key("btfType"), "`btfType` is the name alone")
            .label("`struct` does not belong to it")
            .help(format!("write `btfType: {}`", name.trim()));
        checker.report(diagnostic);
    }
}

fn user_btf(checker: &mut Checker<'_>, hook: &Hook<'_>, arg: &ArgSpec, path: &FieldPath) {
    let key = if arg.resolve.is_empty() { "btfType" } else { "resolve" };
    if !checker.has_value(&hook.path.key("btfPath")) {
        let diagnostic = checker
            .error(
                codes::BTF_TYPE,
                &path.key(key),
                format!("`{key}` needs the type information of the program"),
            )
            .label("types of a user program are not known otherwise")
            .help("add `btfPath:` to the hook, with a BTF file of the program");
        checker.report(diagnostic);
    } else if !arg.resolve.is_empty() && arg.btf_type.is_empty() {
        let diagnostic = checker
            .error(
                codes::BTF_TYPE,
                &path.key(key),
                "`resolve` needs to know which structure it starts from",
            )
            .label("no `btfType`")
            .help("add `btfType:` with the name of the structure");
        checker.report(diagnostic);
    }
}

fn buffer(checker: &mut Checker<'_>, hook: &Hook<'_>, arg: &ArgSpec, path: &FieldPath) {
    let ty = arg.arg_type;
    if arg.size_arg_index > MAX_SIZE_ARG_INDEX {
        let diagnostic = checker
            .error(
                codes::SIZE_ARG_INDEX,
                &path.key("sizeArgIndex"),
                format!("there is no argument {}", arg.size_arg_index),
            )
            .label(format!("expected 1 to {MAX_SIZE_ARG_INDEX}"));
        checker.report(diagnostic);
    } else if arg.size_arg_index > 0 && !ty.is_buffer() && ty != ArgType::Auto {
        let diagnostic = checker
            .warning(
                codes::SIZE_ARG_INDEX,
                &path.key("sizeArgIndex"),
                format!("`sizeArgIndex` has no effect on the type `{ty}`"),
            )
            .label("not used");
        checker.report(diagnostic);
    }
    for (key, given) in [("returnCopy", arg.return_copy), ("maxData", arg.max_data)] {
        if given && !ty.is_buffer() {
            let diagnostic = checker
                .warning(
                    codes::BUFFER_OPTIONS,
                    &path.key(key),
                    format!("`{key}` has no effect on the type `{ty}`"),
                )
                .label("not used");
            checker.report(diagnostic);
        }
    }
    let returns = hook.section.is_kernel_function() || hook.section == Section::Uprobe;
    if arg.return_copy && !returns {
        let diagnostic = checker
            .error(
                codes::BUFFER_OPTIONS,
                &path.key("returnCopy"),
                format!(
                    "{} does not return, so nothing can be read then",
                    hook.section.describe()
                ),
            )
            .label("not possible here");
        checker.report(diagnostic);
    }
    if arg.return_copy && arg.max_data {
        let diagnostic = checker
            .warning(
                codes::BUFFER_OPTIONS,
                &path.key("maxData"),
                "`maxData` has no effect with `returnCopy`",
            )
            .label("not used")
            .secondary(
                checker.key_span(&path.key("returnCopy")),
                "read when the function returns",
            );
        checker.report(diagnostic);
    }
}

fn check_data(checker: &mut Checker<'_>, data: &ArgSpec, path: &FieldPath) {
    let registers = data.source == "pt_regs";
    if !registers && data.source != "current_task" {
        let given = checker.has_value(&path.key("source"));
        let place = if given { path.key("source") } else { path.clone() };
        let message = if given {
            format!("data cannot come from `{}`", data.source)
        } else {
            "the entry of `data` does not say where it comes from".to_owned()
        };
        let diagnostic = checker
            .error(codes::ARGUMENT_SOURCE, &place, message)
            .label("expected `source: current_task` or `source: pt_regs`");
        checker.report(diagnostic);
    }
    if data.resolve.is_empty() {
        let what = if registers {
            "a register, for example `resolve: rax`"
        } else {
            "a member, for example `resolve: pid`"
        };
        let diagnostic = checker
            .error(
                codes::DATA_WITHOUT_RESOLVE,
                path,
                "the entry of `data` does not say what to read",
            )
            .label("no `resolve`")
            .help(format!("add {what}"));
        checker.report(diagnostic);
    } else if registers && !REGISTERS.contains(&data.resolve.as_str()) {
        let mut diagnostic = checker
            .error(
                codes::REGISTER,
                &path.key("resolve"),
                format!("there is no register `{}`", data.resolve),
            )
            .label("unknown register");
        if let Some(name) = closest(&data.resolve, REGISTERS.iter().copied()) {
            diagnostic = diagnostic.help(format!("did you mean `{name}`?"));
        }
        checker.report(diagnostic);
    }
    resolve(checker, data, path, registers);
}

/// Whether a register of that name can be in `pt_regs`.
pub(super) fn is_register(name: &str) -> bool {
    REGISTERS.contains(&name)
}
