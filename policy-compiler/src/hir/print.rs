//! Text of the HIR, for `--emit hir` and golden files.

use std::fmt;

use crate::set::Scope;

use super::{Actions, Chain, ChainStart, Hook, Operand, OperandSource, Predicate, Target, TextTest};

/// One hook.
pub fn hook(hook: &Hook) -> String {
    Text(hook).to_string()
}

struct Text<'a>(&'a Hook);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = self.0;
        let target = match &hook.target {
            Target::Function(symbol) => format!("function {symbol}"),
            Target::Syscall(name) => format!("syscall {name}"),
            Target::Lsm(name) => format!("lsm {name}"),
            Target::Tracepoint(subsystem, event) => format!("tracepoint {subsystem}/{event}"),
            Target::RawTracepoint(subsystem, event) => format!("raw tracepoint {subsystem}/{event}"),
            Target::User(user) => format!(
                "{} at offset {:#x}",
                crate::resolve::target_name(&hook.target),
                user.place.offset
            ),
        };
        writeln!(f, "policy {} hook {} [{}]", hook.policy_name, target, hook.instance)?;
        if hook.scope == Scope::Workloads {
            writeln!(f, "  in workloads of policy slot {}", hook.policy_slot)?;
        }
        for argument in &hook.arguments {
            writeln!(f, "  argument {}", operand(&argument.operand))?;
        }
        if let Some(returned) = &hook.returned {
            writeln!(f, "  returns {}", operand(&returned.operand))?;
        }
        for selector in &hook.selectors {
            writeln!(f, "  selector {}", selector.index)?;
            for filter in &selector.filters {
                writeln!(f, "    {}  ; line {}", predicate(&filter.predicate), filter.line.line)?;
            }
            for filter in &selector.return_filters {
                writeln!(
                    f,
                    "    returned {}  ; line {}",
                    predicate(&filter.predicate),
                    filter.line.line
                )?;
            }
            writeln!(f, "    {}", actions(&selector.actions))?;
            if selector.return_actions.enforces() {
                writeln!(f, "    returned {}", actions(&selector.return_actions))?;
            }
        }
        Ok(())
    }
}

/// An operand.
pub fn operand(operand: &Operand) -> String {
    let source = match &operand.source {
        OperandSource::Parameter(index) => format!("parameter {index}"),
        OperandSource::Field { offset, size, .. } => format!("field +{offset}:{size}"),
        OperandSource::Probe(argument) => format!("probe argument {argument:?}"),
        OperandSource::Chain(chain) => self::chain(chain),
        OperandSource::Register { register, shift, size } => format!("register {register}+{shift}:{size}"),
        OperandSource::Buffer(buffer) => {
            let length = buffer.length.as_ref().map(|of| format!(", {}", self::operand(of)));
            format!(
                "buffer [{}{}]",
                self::operand(&buffer.address),
                length.unwrap_or_default()
            )
        }
        OperandSource::Return => "result".into(),
        OperandSource::Executable => "executable".into(),
    };
    format!(
        "{source} as {:?}{}",
        operand.argument_type,
        if operand.exact_type { " (trusted)" } else { "" }
    )
}

/// A predicate.
pub fn predicate(predicate: &Predicate) -> String {
    let not = |negated: bool| if negated { "not " } else { "" };
    match predicate {
        Predicate::Integer {
            operand: o,
            test,
            negated,
        } => format!("{}{} {test:?}", not(*negated), operand(o)),
        Predicate::Text {
            operand: o,
            test,
            negated,
        } => format!("{}{} {}", not(*negated), operand(o), text_test(test)),
        Predicate::FileType {
            operand: o,
            types,
            negated,
        } => format!("{}{} FileType {types:?}", not(*negated), operand(o)),
        Predicate::Sock {
            operand: o,
            test,
            negated,
        } => format!("{}{} {test:?}", not(*negated), operand(o)),
        Predicate::Binary { test, negated } => format!("{}binary {}", not(*negated), text_test(test)),
        Predicate::Pid {
            values,
            is_namespace_pid,
            follow_forks,
            negated,
        } => format!(
            "{}pid{}{} in {values:?}",
            not(*negated),
            if *is_namespace_pid { " of namespace" } else { "" },
            if *follow_forks { " or ancestor's" } else { "" },
        ),
        Predicate::Namespace {
            namespace,
            values,
            negated,
        } => format!("{}{namespace:?} namespace in {values:?}", not(*negated)),
        Predicate::Notified(notification) => format!("notified {notification:?}"),
        Predicate::Expression(condition) => format!("expression {condition:?}"),
        Predicate::NamespaceChange { namespaces } => format!("change of namespaces {namespaces:?}"),
        Predicate::CapabilityChange { set, mask, negated, .. } => {
            format!("change of {set:?} capabilities {}in {mask:#x}", not(*negated))
        }
        Predicate::Capability { set, mask, negated, .. } => format!("{}{set:?} capabilities {mask:#x}", not(*negated)),
    }
}

fn text_test(test: &TextTest) -> String {
    let values: Vec<String> = test
        .values
        .iter()
        .map(|v| format!("{:?}", String::from_utf8_lossy(v)))
        .collect();
    format!("{:?} [{}]", test.comparison, values.join(", "))
}

fn actions(actions: &Actions) -> String {
    let mut parts = Vec::new();
    parts.extend(actions.signals.iter().map(|s| format!("signal {s}")));
    parts.extend(actions.override_errno.map(|e| format!("return -{e}")));
    parts.push(match actions.post {
        Some(post) => {
            let limit = post.rate_limit.map_or(String::new(), |l| {
                format!(" once in {} ns per scope {}", l.interval_ns, l.scope)
            });
            let kernel = if post.kernel_stack { " with kernel stack" } else { "" };
            let user = if post.user_stack { " with user stack" } else { "" };
            format!("post{limit}{kernel}{user}")
        }
        None => "no post".into(),
    });
    parts.extend(actions.tracks.iter().map(|sock| format!("track {}", operand(sock))));
    parts.extend(actions.untracks.iter().map(|sock| format!("untrack {}", operand(sock))));
    format!("=> {}", parts.join(", "))
}

fn chain(chain: &Chain) -> String {
    let from = match chain.from {
        ChainStart::Parameter(index) => format!("parameter {index}"),
        ChainStart::CurrentTask => "task".to_owned(),
    };
    let pointers: Vec<String> = chain.pointers.iter().map(|offset| format!(" -> [+{offset}]")).collect();
    let size = chain.size.map(|size| format!(":{size}")).unwrap_or_default();
    format!("{from}{} +{}{size}", pointers.concat(), chain.offset)
}
