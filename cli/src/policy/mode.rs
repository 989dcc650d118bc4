//! The mode of a policy, written into its text.

use anyhow::bail;
use tracingpolicy_crd::{FieldPath, Policy, Source, parse, render};

use crate::arguments::Mode;

/// Name of the option that holds the mode.
const OPTION: &str = "policy-mode";

/// Sets the mode of every policy of the text.
///
/// The text is edited rather than written anew, so that what the agent says about lines is true of
/// the user's file.
pub(crate) fn with_mode(yaml: &str, mode: Mode) -> anyhow::Result<String> {
    let mode = match mode {
        Mode::Enforce => "enforce",
        Mode::Monitor => "monitor",
    };
    let parsed = parse(&Source::new("policy", yaml));
    if parsed.has_errors() {
        bail!(
            "the policy has errors\n{}",
            render::full(&parsed.diagnostics, false).trim_end()
        );
    }
    let mut edited = yaml.to_owned();
    // from the end, so that earlier offsets stay right
    for policy in parsed.policies.iter().rev() {
        edit(policy, mode, &mut edited);
    }
    let check = parse(&Source::new("policy", edited.as_str()));
    let set = |policy: &Policy| {
        policy
            .spec
            .options
            .iter()
            .any(|option| option.name == OPTION && option.value == mode)
    };
    if check.policies.len() != parsed.policies.len() || !check.policies.iter().all(set) {
        bail!(
            "cannot set the mode in this text\nhelp: add the option `{OPTION}` with the value `{mode}` to `spec.options`"
        );
    }
    Ok(edited)
}

fn edit(policy: &Policy, mode: &str, text: &mut String) {
    let spec = FieldPath::default().key("spec");
    let options = spec.key("options");
    let item = format!("{{\"name\": \"{OPTION}\", \"value\": \"{mode}\"}}");
    if let Some(index) = policy.spec.options.iter().position(|option| option.name == OPTION) {
        let value = policy.span(&options.index(index).key("value"));
        text.replace_range(value.start..value.end, &format!("\"{mode}\""));
    } else if policy.spans.has_value(&options) {
        let start = policy.span(&options).start;
        if text[start..].starts_with('[') {
            text.insert_str(start + 1, &format!("{item}, "));
        } else {
            // the span of a block sequence starts after the dash of its first element
            let dash = text[..start].rfind('-').unwrap_or(start);
            insert_line(dash, &format!("- {item}"), text);
        }
    } else {
        let start = policy.span(&spec).start;
        let entry = format!("\"options\": [{item}]");
        if text[start..].starts_with('{') {
            text.insert_str(start + 1, &format!("{entry}, "));
        } else {
            insert_line(start, &entry, text);
        }
    }
}

/// Inserts a line before the element of a block collection that starts at `start`, as far to the right.
fn insert_line(start: usize, line: &str, text: &mut String) {
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let indent = " ".repeat(text[line_start..start].chars().count());
    text.insert_str(start, &format!("{line}\n{indent}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\n";

    fn check(spec: &str, expected: &str) {
        let text = with_mode(&format!("{HEAD}{spec}"), Mode::Monitor).expect("edited");
        assert_eq!(text, format!("{HEAD}{expected}"));
    }

    #[test]
    fn adds_the_option() {
        check(
            "spec:\n  # files\n  kprobes:\n  - call: sys_open\n",
            "spec:\n  # files\n  \"options\": [{\"name\": \"policy-mode\", \"value\": \"monitor\"}]\n  kprobes:\n  - call: sys_open\n",
        );
        check(
            "spec: {kprobes: [{call: sys_open}]}\n",
            "spec: {\"options\": [{\"name\": \"policy-mode\", \"value\": \"monitor\"}], kprobes: [{call: sys_open}]}\n",
        );
    }

    #[test]
    fn adds_to_other_options() {
        check(
            "spec:\n  options:\n  - name: disable-kprobe-multi\n    value: \"1\"\n  kprobes:\n  - call: sys_open\n",
            "spec:\n  options:\n  - {\"name\": \"policy-mode\", \"value\": \"monitor\"}\n  - name: disable-kprobe-multi\n    value: \"1\"\n  kprobes:\n  - call: sys_open\n",
        );
        check(
            "spec:\n  options: []\n  kprobes:\n  - call: sys_open\n",
            "spec:\n  options: [{\"name\": \"policy-mode\", \"value\": \"monitor\"}, ]\n  kprobes:\n  - call: sys_open\n",
        );
    }

    #[test]
    fn replaces_the_mode() {
        check(
            "spec:\n  options:\n  - name: policy-mode\n    value: enforce # for now\n  kprobes:\n  - call: sys_open\n",
            "spec:\n  options:\n  - name: policy-mode\n    value: \"monitor\" # for now\n  kprobes:\n  - call: sys_open\n",
        );
    }

    #[test]
    fn changes_every_document() {
        let document = format!("{HEAD}spec:\n  kprobes:\n  - call: sys_open\n");
        let text = with_mode(
            &format!("{document}---\n{}", document.replace("name: p", "name: q")),
            Mode::Enforce,
        )
        .expect("edited");
        assert_eq!(text.matches("\"value\": \"enforce\"").count(), 2);
    }

    #[test]
    fn shows_what_is_wrong() {
        let error = with_mode(&format!("{HEAD}spec: {{kprobe: []}}"), Mode::Monitor)
            .expect_err("wrong")
            .to_string();
        assert!(error.contains("error[TP"), "{error}");
    }
}
