//! The comparison of kernels.

use std::fmt::Write as _;

use super::names;
use crate::paragraph::{WIDTH, paragraph};
use crate::policy::explain::kernels::{HookOnKernels, OnKernel};

/// A table of kernels and hooks; then why hooks are refused.
pub(super) fn compare(rows: &[HookOnKernels]) -> String {
    let mut out = String::new();
    let kernels = rows.first().map_or(&[][..], |row| &row.on);
    for (number, on) in kernels.iter().enumerate() {
        out.push_str(&paragraph(&format!("  {:<3}", number + 1), &on.kernel));
    }
    let mut lines: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for row in rows {
        let hook = row.hook.clone().unwrap_or_else(|| "the policy".to_owned());
        let cells: Vec<String> = row.on.iter().map(cell).collect();
        match lines
            .iter_mut()
            .find(|(known, _, same)| *known == hook && *same == cells)
        {
            Some((_, policies, _)) => policies.push(row.policy.clone()),
            None => lines.push((hook, vec![row.policy.clone()], cells)),
        }
    }
    let cells = lines.iter().flat_map(|(_, _, cells)| cells);
    let width = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
    let in_columns = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().map(|cell| format!("{cell:width$}")).collect();
        format!("    {}", padded.join("  ")).trim_end().to_owned()
    };
    let numbers: Vec<String> = (1..=kernels.len()).map(|number| number.to_string()).collect();
    let fits = 4 + numbers.len() * (width + 2) <= WIDTH;
    if fits {
        writeln!(out, "{}", in_columns(&numbers)).expect("writing to a string cannot fail");
    }
    for (hook, policies, cells) in &lines {
        out.push_str(&paragraph("  ", &format!("{hook} ({})", names(policies))));
        if fits {
            writeln!(out, "{}", in_columns(cells)).expect("writing to a string cannot fail");
        } else {
            let numbered: Vec<String> = numbers
                .iter()
                .zip(cells)
                .map(|(n, cell)| format!("{n}: {cell}"))
                .collect();
            out.push_str(&paragraph("    ", &numbered.join(", ")));
        }
    }
    out.push_str(&reasons_of_refusals(rows));
    out
}

/// What a kernel does with a hook, in a word or two.
fn cell(on: &OnKernel) -> String {
    match &on.code {
        Some(code) => code.clone(),
        None if on.attach.is_empty() => "-".to_owned(),
        None => on.attach.join("+"),
    }
}

fn reasons_of_refusals(rows: &[HookOnKernels]) -> String {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        for (number, on) in row.on.iter().enumerate().filter(|(_, on)| on.attach.is_empty()) {
            let what = on.code.as_ref().map_or("-", String::as_str);
            let text = format!("{what}: {}", on.reason);
            let kernel = (number + 1).to_string();
            match reasons.iter_mut().find(|(known, _)| *known == text) {
                Some((_, kernels)) if kernels.contains(&kernel) => {}
                Some((_, kernels)) => kernels.push(kernel),
                None => reasons.push((text, vec![kernel])),
            }
        }
    }
    let line =
        |(text, kernels): &(String, Vec<String>)| paragraph("  ", &format!("{text} (on {})", kernels.join(", ")));
    reasons.iter().map(line).collect()
}
