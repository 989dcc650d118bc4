//! What the kernel refuses, told in terms of the policy: codes `TP0900` to `TP0999`, each with a page in `docs/errors/`.

use policy_compiler::output::{HookObject, SourceLine};
use tracingpolicy_crd::{Code, Diagnostic, Source, Span};

use crate::link::describe;
use crate::program::{MissingTarget, last_lines, verdict};
use crate::sys::{Rejected, SysError};

/// The verifier refuses the program.
pub const VERIFIER_REJECTED: Code = Code(900);
/// The program is loaded, but cannot be attached.
pub const NOT_ATTACHED: Code = Code(901);
/// The kernel has nothing of this name to attach to.
pub const TARGET_MISSING: Code = Code(902);
/// The program calls `bpf_override_return`, so it cannot be replaced atomically.
pub const CANNOT_BE_SWAPPED: Code = Code(903);

/// Lines of the verifier's log that a diagnostic keeps.
const LOG_LINES: usize = 12;

/// The verifier refused an object's program.
pub(crate) fn rejected(object: &HookObject, rejected: &Rejected) -> Diagnostic {
    let line = line_of_log(object, &rejected.log).or_else(|| object.source_lines.first());
    let reason = verdict(&rejected.log).map_or_else(|| rejected.error.to_string(), str::to_owned);
    let message = format!(
        "the kernel's verifier refuses the program for `{}`: {reason}",
        describe(&object.attach)
    );
    let log = last_lines(&rejected.log, LOG_LINES);
    let help = if log.is_empty() {
        format!("the kernel said: {}", rejected.error)
    } else {
        format!(
            "this is a defect of tetra, not of the policy; please report it with the end of the verifier's log:\n{log}"
        )
    };
    at_line(VERIFIER_REJECTED, line, message)
        .label("instructions of this line")
        .help(help)
}

/// An object's program could not be attached.
pub(crate) fn not_attached(object: &HookObject, error: &SysError, log: &str) -> Diagnostic {
    let message = format!("`{}` cannot be attached: {error}", describe(&object.attach));
    let help = match error.errno {
        libc::ENOENT | libc::ESRCH => {
            "the kernel has no such symbol; `tetra probe` lists what can be hooked".to_owned()
        }
        libc::EINVAL if log.is_empty() => {
            "the kernel does not allow a probe on this function (it may be inlined or on the kprobe blacklist)"
                .to_owned()
        }
        libc::EMFILE => {
            "each hook takes up to five descriptors: raise the limit (`ulimit -n`, `LimitNOFILE=` in systemd)"
                .to_owned()
        }
        libc::EADDRNOTAVAIL => {
            "the kernel has several functions of this name, and cannot tell which one is meant".to_owned()
        }
        _ if !log.is_empty() => format!("the end of the verifier's log:\n{}", last_lines(log, LOG_LINES)),
        _ => "`tetra probe` shows what this kernel can do".to_owned(),
    };
    at_line(NOT_ATTACHED, object.source_lines.first(), message).help(help)
}

/// The hook enforces and shall outlive the agent, and the kernel cannot do that.
pub(crate) fn not_pinned(object: &HookObject) -> Diagnostic {
    let message = format!(
        "`{}` would stop enforcing when the agent ends: before 5.15 the kernel cannot pin kprobes, uprobes and tracepoints",
        describe(&object.attach)
    );
    at_line(NOT_ATTACHED, object.source_lines.first(), message)
        .help("use an LSM hook or Override on a `security_*` function, or run the agent without --keep-sensors-on-exit")
}

/// The kernel's BTF has no target of this name.
pub(crate) fn missing_target(object: &HookObject, missing: &MissingTarget) -> Diagnostic {
    let message = format!("`{}` cannot be attached: {missing}", describe(&object.attach));
    at_line(TARGET_MISSING, object.source_lines.first(), message)
        .help("the function may be inlined in this kernel, or have another name; compile the policy for the kernel it runs on")
}

/// The program uses `bpf_override_return`, which the kernel does not allow in a tail call.
pub(crate) fn cannot_be_swapped(object: &HookObject) -> Diagnostic {
    let message = format!(
        "the program for `{}` calls bpf_override_return, which cannot be replaced atomically",
        describe(&object.attach)
    );
    at_line(CANNOT_BE_SWAPPED, object.source_lines.first(), message)
        .help("every kernel that allows bpf_override_return on a function allows fmod_ret on it, too: hook it that way")
}

/// A diagnostic at a policy line. Only the line is known here, so the source is built around it: it has the line at its place,
/// and nothing else.
fn at_line(code: Code, line: Option<&SourceLine>, message: String) -> Diagnostic {
    let Some(line) = line else {
        let source = Source::new("policy", "");
        return Diagnostic::error(code, &source, Span::new(0, 0), message);
    };
    let mut text = "\n".repeat(line.line.saturating_sub(1) as usize);
    text.extend(std::iter::repeat_n(' ', line.column.saturating_sub(1) as usize));
    let start = text.len();
    text.push_str(&line.text);
    let span = Span::new(start, text.len());
    text.push('\n');
    Diagnostic::error(code, &Source::new(&*line.file, text), span, message)
}

/// The policy line that the verifier was at: the last line of the log that quotes one.
///
/// Since 6.9 a quoted line reads `; text @ file:line`, with the last component of the file's name; before, `; text`.
fn line_of_log<'a>(object: &'a HookObject, log: &str) -> Option<&'a SourceLine> {
    log.lines()
        .rev()
        .filter_map(|line| line.strip_prefix("; "))
        .find_map(|quoted| {
            if let Some((text, place)) = quoted.rsplit_once(" @ ")
                && let Some((file, number)) = place.rsplit_once(':')
                && let Ok(number) = number.trim().parse::<u32>()
            {
                let found = object
                    .source_lines
                    .iter()
                    .find(|line| line.line == number && base_name(&line.file) == file && *line.text == *text);
                return found.or_else(|| {
                    object
                        .source_lines
                        .iter()
                        .find(|line| line.line == number && base_name(&line.file) == file)
                });
            }
            object.source_lines.iter().find(|line| *line.text == *quoted.trim())
        })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_compiler::output::AttachPoint;

    use super::*;

    fn object() -> HookObject {
        let line = |line, text: &str| SourceLine {
            file: Arc::from("policies/block.yaml"),
            line,
            column: 7,
            text: Arc::from(text),
        };
        HookObject {
            attach: AttachPoint::Kprobe { symbol: "f".into() },
            elf: Vec::new(),
            section: String::new(),
            symbol: String::new(),
            tag: 1,
            templates: Vec::new(),
            source_lines: vec![line(3, "- call: f"), line(21, "- matchBinaries: []")],
            enforces: false,
            reasons: Vec::new(),
            hook_bit: 0,
            policy_slots: Vec::new(),
        }
    }

    #[test]
    fn the_last_quoted_policy_line_is_named() {
        let log = "0: R1=ctx()\n; - call: f @ block.yaml:3\n0: (bf) r6 = r1\n; - matchBinaries: [] @ block.yaml:21\n; walk @ walk.h:9\n\
                   5: (71) r0 = *(u8 *)(r7 +0)\nR7 invalid mem access 'scalar'\nprocessed 6 insns (limit 1000000)\n";
        let rejected_log = Rejected {
            error: SysError {
                syscall: "bpf(BPF_PROG_LOAD)",
                object: "f".into(),
                errno: libc::EACCES,
                hint: None,
            },
            log: log.into(),
        };
        let diagnostic = rejected(&object(), &rejected_log);
        assert_eq!(diagnostic.source.name(), "policies/block.yaml");
        let position = diagnostic.source.position(diagnostic.primary.span.start);
        assert_eq!((position.line, position.column), (21, 7));
        assert_eq!(diagnostic.source.slice(diagnostic.primary.span), "- matchBinaries: []");
        assert!(
            diagnostic.message.ends_with("R7 invalid mem access 'scalar'"),
            "{}",
            diagnostic.message
        );
    }

    #[test]
    fn old_kernels_quote_only_the_text() {
        let line = |log| line_of_log(&object(), log).map(|line| line.line);
        assert_eq!(line("; - call: f\n0: (bf) r6 = r1\n"), Some(3));
        assert_eq!(line("; int i = 0;\n0: (bf) r6 = r1\n"), None);
    }
}
