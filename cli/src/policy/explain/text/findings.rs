//! Findings of the review, in a few lines each.

use std::fmt::Write as _;

use tracingpolicy_crd::{Diagnostic, Span};

use super::Style;
use crate::paragraph::{WIDTH, paragraph};

/// Lines of a policy that are quoted.
const QUOTED: usize = 4;

/// All of them; those that say the same together.
pub(super) fn render(findings: &[Diagnostic], style: Style) -> String {
    alike(findings).iter().map(|group| found(group, style)).collect()
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
