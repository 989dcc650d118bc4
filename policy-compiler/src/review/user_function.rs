//! Kills at functions of user programs, which nobody has to call.

use crate::codes;
use crate::hir::Target;

use super::{Finding, Subject, stops};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Target::User(user) = &subject.hook.target else {
        return;
    };
    let Some(selector) = subject.hook.selectors.iter().find(|selector| stops(selector)) else {
        return;
    };
    findings.push(Finding::warning(
        codes::USER_FUNCTION_AVOIDABLE,
        subject.span(&selector.line),
        format!(
            "a process that does without this code of `{}` is not stopped: it can run a copy of the file, or ask the kernel itself",
            user.place.path
        ),
        "hook what the function asks of the kernel, under `lsmhooks` or `kprobes`: every process comes by there",
    ));
}
