//! Enforcement that depends on the path of a program.

use crate::codes;
use crate::hir::Predicate;

use super::{Finding, Subject, stops};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for selector in subject.hook.selectors.iter().filter(|s| stops(s)) {
        let is_confined = subject.hook.policy_namespace.is_some()
            || selector
                .filters
                .iter()
                .any(|f| matches!(f.predicate, Predicate::Namespace { .. } | Predicate::Pid { .. }));
        for filter in &selector.filters {
            let (message, help) = match filter.predicate {
                Predicate::Binary { negated: true, .. } if !is_confined => (
                    "the exemption is for a path, which is that of the container: any container can have a program there, and an \
                     exempted interpreter runs any script",
                    "exempt the host's programs only: add `matchNamespaces` with `namespace: Mnt`, `operator: In`, `host_ns` to a \
                     `NoPost` selector before this one",
                ),
                Predicate::Binary { negated: false, .. } => (
                    "the program is stopped under this path only: a copy, or `ld.so` run with it, is another program",
                    "stop the operation for all, and exempt with `operator: NotIn` the programs that need it",
                ),
                _ => continue,
            };
            findings.push(Finding::warning(
                codes::BINARY_BY_PATH,
                subject.span(&filter.line),
                message,
                help,
            ));
        }
    }
}
