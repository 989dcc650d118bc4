//! The report for people.

use std::fmt::Write as _;

use tracingpolicy_crd::{Diagnostic, Severity, Span};

use super::kernels::{HookOnKernels, OnKernel};
use super::report::{HookReport, Report, TestReport, Verdict};
use crate::paragraph::{WIDTH, paragraph};

/// Bytes in a kilobyte as the kernel counts memory.
const KILOBYTE: u64 = 1024;
/// Characters of a test that are shown; the JSON form has all.
const TEST_LENGTH: usize = 150;
/// Lines of a policy that are quoted.
const QUOTED: usize = 4;
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
        out.push_str(&format!("\n{}\n", style.heading("kernels")));
        report.kernels.iter().for_each(|row| out.push_str(&compare(row)));
    }
    if !findings.is_empty() {
        out.push_str(&format!("\n{}\n", style.heading("review")));
        alike(findings)
            .iter()
            .for_each(|group| out.push_str(&found(group, style)));
    }
    out.push('\n');
    out.push_str(&summary(report, findings));
    out
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
    if hook.tests.is_empty() {
        out.push_str("  tests      none\n");
    }
    for (position, test) in hook.tests.iter().enumerate() {
        let first = if position == 0 {
            "  tests      "
        } else {
            "             "
        };
        out.push_str(&describe_test(test, first));
    }
    for (position, dimension) in hook.dimensions.iter().enumerate() {
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
    let by: Vec<String> = test
        .asked_by
        .iter()
        .map(|place| format!("{}:{}", place.policy, place.line))
        .collect();
    paragraph(&format!("{first}{stage}"), &format!("{predicate} ({})", names(&by)))
}

fn compare(row: &HookOnKernels) -> String {
    let mut out = match &row.hook {
        Some(hook) => format!("  {hook} ({})\n", row.policy),
        None => format!("  {}\n", row.policy),
    };
    let width = row
        .on
        .iter()
        .map(|on| on.kernel.chars().count())
        .max()
        .unwrap_or_default();
    for on in &row.on {
        out.push_str(&paragraph(&format!("    {:width$}  ", on.kernel), &fate(on)));
    }
    out
}

fn fate(on: &OnKernel) -> String {
    match &on.code {
        Some(code) => format!("refused {code}: {}", on.reason),
        None if on.attach.is_empty() => on.reason.clone(),
        None => on.attach.join(", "),
    }
}

/// Findings that say the same, about one place after the other, in order of the first.
fn alike(findings: &[Diagnostic]) -> Vec<Vec<&Diagnostic>> {
    let mut groups: Vec<Vec<&Diagnostic>> = Vec::new();
    for finding in findings {
        let is_alike = |group: &&mut Vec<&Diagnostic>| {
            group.first().is_some_and(|first| {
                (first.code, &first.message, &first.help) == (finding.code, &finding.message, &finding.help)
            })
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}

/// Findings that say the same: their places, the lines of the first, what and what to do.
fn found(group: &[&Diagnostic], style: Style) -> String {
    let Some(finding) = group.first() else {
        return String::new();
    };
    let title = format!("{}[{}]", finding.severity.as_str(), finding.code);
    let mut places: Vec<(&str, Vec<String>)> = Vec::new();
    for one in group {
        let line = one.source.position(one.primary.span.start).line.to_string();
        match places.last_mut() {
            Some((name, lines)) if *name == one.source.name() => lines.push(line),
            _ => places.push((one.source.name(), vec![line])),
        }
    }
    let places: Vec<String> = places
        .iter()
        .map(|(name, lines)| format!("{name}:{}", lines.join(",")))
        .collect();
    let mut out = format!("  {}\n", style.severity(finding.severity, &title));
    out.push_str(&paragraph("    ", &finding.message));
    out.push_str(&paragraph("    at ", &places.join(" ")));
    out.push_str(&quote(finding, finding.primary.span));
    for label in &finding.secondary {
        out.push_str(&paragraph("    ", &format!("{}:", label.text)));
        out.push_str(&quote(finding, label.span));
    }
    if let Some(help) = &finding.help {
        out.push_str(&paragraph("    help: ", help));
    }
    out
}

/// The line that a span begins in, and what belongs to it by indentation, as far as it helps.
fn quote(finding: &Diagnostic, span: Span) -> String {
    let first = finding.source.position(span.start).line;
    let lines = finding.source.text().lines().skip(first.saturating_sub(1) as usize);
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut out = String::new();
    let mut outer = None;
    for (line, number) in lines.zip(first..).take(QUOTED) {
        let is_inner = outer.is_none_or(|outer| !line.trim().is_empty() && indentation(line) > outer);
        if !is_inner {
            break;
        }
        let outer = *outer.get_or_insert(indentation(line));
        let text: String = line[outer.min(line.len())..]
            .trim_end()
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        let before = format!("    {number:>4} | ");
        let room = WIDTH - before.chars().count();
        let cut = if text.chars().count() <= room {
            text
        } else {
            text.chars().take(room - 1).chain(['…']).collect()
        };
        writeln!(out, "{before}{cut}").expect("writing to a string cannot fail");
    }
    out
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
