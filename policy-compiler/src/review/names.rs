//! Files that are kept safe by path, and have more than one.

use crate::codes;
use crate::hir::{Predicate, Target};

use super::{Finding, Subject, lsm_hook_of, stops};

/// LSM hooks and functions where the content of a file is at stake, not one of its names.
fn is_about_content(subject: &Subject<'_>) -> bool {
    let by_lsm = subject.lsm_hook().is_some_and(|hook| {
        matches!(
            hook,
            "file_open"
                | "file_permission"
                | "mmap_file"
                | "file_truncate"
                | "path_truncate"
                | "bprm_check_security"
                | "bprm_creds_for_exec"
                | "bprm_creds_from_file"
                | "kernel_read_file"
        )
    });
    by_lsm || matches!(&subject.hook.target, Target::Function(symbol) if symbol == "fd_install")
}

/// Whether some policy of the set stops links.
fn links_are_watched(subject: &Subject<'_>) -> bool {
    subject.set.iter().any(|hook| {
        let is_link = match &hook.target {
            Target::Syscall(name) => matches!(name.as_str(), "link" | "linkat"),
            target => matches!(lsm_hook_of(target), Some("inode_link" | "path_link")),
        };
        is_link && hook.selectors.iter().any(stops)
    })
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if !is_about_content(subject) || links_are_watched(subject) {
        return;
    }
    let by_path = |predicate: &Predicate| matches!(predicate, Predicate::Text { operand, negated: false, .. } if operand.is_path());
    let selectors = subject.hook.selectors.iter().filter(|s| stops(s));
    let Some(filter) = selectors.flat_map(|s| &s.filters).find(|f| by_path(&f.predicate)) else {
        return;
    };
    findings.push(Finding::warning(
        codes::OTHER_NAMES,
        subject.span(&filter.line),
        "the file is stopped by one of its paths: by a hard link, or a bind mount, it has another",
        "stop links to these files, too: hook `path_link` or `inode_link` under `lsmhooks`",
    ));
}
