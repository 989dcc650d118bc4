//! The report for people.

mod findings;
mod kernels;

use std::fmt::Write as _;

use tracingpolicy_crd::{Diagnostic, Severity};

use super::report::{HookReport, Report, TestReport, Verdict};
use crate::paragraph::paragraph;

/// Bytes in a kilobyte as the kernel counts memory.
const KILOBYTE: u64 = 1024;
/// Characters of a test that are shown; the JSON form has all.
const TEST_LENGTH: usize = 150;
/// Tests, and dimensions, that are listed before they are counted.
const LISTED: usize = 24;
/// Names of policies that are listed before they are counted.
const NAMES: usize = 12;

/// Styles a terminal may be asked for.
#[derive(Clone, Copy)]
struct Style {
    colours: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Error => self.paint("1;31", text),
            Severity::Warning => self.paint("1;33", text),
            Severity::Note => self.paint("1;36", text),
        }
    }
}

/// Writes everything, findings last.
pub(super) fn render(report: &Report, findings: &[Diagnostic], colours: bool) -> String {
    let style = Style { colours };
    let mut out = match report.features {
        "tried" => paragraph("kernel ", &format!("{} (its features were tried)", report.kernel)),
        _ => paragraph(
            "kernel ",
            &format!("{} (its features are guessed from its types)", report.kernel),
        ),
    };
    for hook in &report.hooks {
        out.push('\n');
        out.push_str(&describe_hook(hook, style));
    }
    if !report.kernels.is_empty() {
        out.push_str(&section("kernels", style));
        out.push_str(&kernels::compare(&report.kernels));
    }
    if !findings.is_empty() {
        out.push_str(&section("review", style));
        out.push_str(&findings::render(findings, style));
    }
    out.push('\n');
    out.push_str(&summary(report, findings));
    out
}

/// A heading after an empty line.
fn section(title: &str, style: Style) -> String {
    ["\n", &style.heading(title), "\n"].concat()
}

fn describe_hook(hook: &HookReport, style: Style) -> String {
    let mut out = format!("{}\n", style.heading(&hook.attach));
    out.push_str(&paragraph("  policies   ", &names(&hook.policies)));
    for reason in &hook.reasons {
        let text = if hook.reasons.len() == 1 {
            reason.reason.clone()
        } else {
            format!("{} ({})", reason.reason, names(&reason.policies))
        };
        out.push_str(&paragraph("  attached   ", &text));
    }
    for role in &hook.roles {
        out.push_str(&paragraph("  does       ", role));
    }
    if hook.enforces {
        out.push_str("  enforces   may stop what it sees, or kill\n");
    }
    if !hook.for_workloads.is_empty() {
        let text = format!(
            "2 by cgroup  only calls of the workloads that the policies are assigned to: {}",
            names(&hook.for_workloads)
        );
        out.push_str(&paragraph("  applies    ", &text));
    }
    if hook.tests.is_empty() {
        out.push_str("  tests      none\n");
    }
    for (position, test) in hook.tests.iter().take(LISTED).enumerate() {
        let first = if position == 0 {
            "  tests      "
        } else {
            "             "
        };
        out.push_str(&describe_test(test, first));
    }
    out.push_str(&and_more(hook.tests.len()));
    for (position, dimension) in hook.dimensions.iter().take(LISTED).enumerate() {
        let first = if position == 0 {
            "  decided    "
        } else {
            "             "
        };
        let shared = if dimension.tests == 1 {
            String::new()
        } else {
            format!(" of {} tests", dimension.tests)
        };
        let values = plural(dimension.values, "value", "values");
        out.push_str(&paragraph(
            first,
            &format!("{}: {values}{shared}, {}", dimension.what, dimension.how),
        ));
    }
    out.push_str(&and_more(hook.dimensions.len()));
    out.push_str(&paragraph(
        "  estimate   ",
        &format!(
            "{}up to {} for one that matches (shortest and longest way; loops once, without work in the kernel's helpers)",
            hook.estimate.miss.map_or_else(String::new, |miss| format!(
                "{miss} instructions for a call that matches nothing, "
            )),
            hook.estimate.hit
        ),
    ));
    out.push_str(&paragraph(
        "  program    ",
        &format!(
            "{} instructions, and {} in {} of the runtime library",
            hook.program.instructions,
            hook.program.library_instructions,
            plural(hook.program.library_functions, "function", "functions")
        ),
    ));
    let verdict = match &hook.verified {
        Verdict::Loaded {
            instructions,
            memory_bytes,
        } => format!(
            "{instructions} instructions walked by this kernel's verifier, {} kB of its memory (loaded, not attached)",
            memory_bytes.div_ceil(KILOBYTE)
        ),
        Verdict::Refused(reason) => format!("refused by this kernel: {reason}"),
        Verdict::NotTried(reason) => format!("not tried: {reason}"),
    };
    out.push_str(&paragraph("  verified   ", &verdict));
    out
}

/// `1 exec    binary In /usr/bin/vi   (a:12, b:14)`, with the number that the stage has in the documents.
fn describe_test(test: &TestReport, first: &str) -> String {
    let stage = match test.stage {
        "exec" => "1 at exec  ",
        "cheap" => "3 at hand  ",
        "dear" => "4 read     ",
        _ => "at return  ",
    };
    let mut predicate = test.predicate.clone();
    let length = predicate.chars().count();
    if length > TEST_LENGTH {
        predicate = predicate.chars().take(TEST_LENGTH).collect();
        write!(
            predicate,
            "… and {} characters more (-o json has all)",
            length - TEST_LENGTH
        )
        .expect("writing to a string cannot fail");
    }
    let mut by: Vec<(&str, Vec<String>)> = Vec::new();
    for place in &test.asked_by {
        match by.iter_mut().find(|(policy, _)| *policy == place.policy) {
            Some((_, lines)) => lines.push(place.line.to_string()),
            None => by.push((&place.policy, vec![place.line.to_string()])),
        }
    }
    let by: Vec<String> = by
        .iter()
        .map(|(policy, lines)| format!("{policy}:{}", lines.join(",")))
        .collect();
    paragraph(&format!("{first}{stage}"), &format!("{predicate} ({})", names(&by)))
}

fn summary(report: &Report, findings: &[Diagnostic]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let mut text = format!(
        "{}: {}, one for each hook; {}, {}",
        plural(report.policies, "policy", "policies"),
        plural(report.hooks.len(), "program", "programs"),
        plural(count(Severity::Warning), "warning", "warnings"),
        plural(count(Severity::Note), "note", "notes"),
    );
    if !report.refused.is_empty() {
        write!(text, "\nrefused: {}", names(&report.refused)).expect("writing to a string cannot fail");
    }
    let mut out: String = text.lines().map(|line| paragraph("", line)).collect();
    if !findings.is_empty() {
        out.push_str("`tetra policy explain TPnnnn` says more about a warning\n");
    }
    out
}

/// What was not listed of so many.
fn and_more(count: usize) -> String {
    match count.checked_sub(LISTED) {
        Some(more @ 1..) => format!("             and {more} more (-o json has all)\n"),
        _ => String::new(),
    }
}

/// Names, or the first of them and how many more there are.
fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(NAMES) {
        Some(more @ 1..) => format!("{shown} and {more} more (-o json has all)"),
        _ => shown,
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
