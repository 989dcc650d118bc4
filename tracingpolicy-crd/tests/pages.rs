//! Every code of this crate has a page, and what the pages say is true: the example under "Wrong" gives exactly that code, the one
//! under "Right" gives nothing.
#![expect(clippy::format_collect, reason = "the texts are made once, clarity counts")]

use tracingpolicy_crd::{Code, Source, code, codes, explain, parse, render};

/// Codes whose cause cannot stand in a page: bytes that are not text, or megabytes of it. `tests/hostile.rs` has them.
const WITHOUT_EXAMPLE: [Code; 5] = [
    codes::NOT_UTF8,
    codes::FORBIDDEN_CHARACTER,
    codes::TOO_LARGE,
    codes::TOO_DEEP,
    codes::TOO_MANY_PROBLEMS,
];

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    for code in codes::ALL {
        let page = explain(*code).unwrap_or_else(|| panic!("docs/errors/{code}.md is missing"));
        assert!(
            page.starts_with(&format!("# {code}: ")),
            "docs/errors/{code}.md should start with its code"
        );
        let body = page.lines().skip(1).any(|line| line.len() > 24);
        assert!(body, "docs/errors/{code}.md explains nothing");
    }
    for code in code::explained().filter(|code| code.0 < 500) {
        assert!(
            codes::ALL.contains(&code),
            "docs/errors/{code}.md explains a code that does not exist"
        );
    }
    assert_eq!(explain(Code(0)), None);
}

#[test]
fn examples_of_pages_do_what_they_say() {
    let failures: Vec<String> = codes::ALL
        .iter()
        .filter(|code| !WITHOUT_EXAMPLE.contains(code))
        .filter_map(|code| check_examples(*code).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check_examples(code: Code) -> Result<(), String> {
    let page = explain(code).ok_or_else(|| format!("{code} has no page"))?;
    let wrong = example(page, "Wrong").ok_or_else(|| format!("{code} has no wrong example"))?;
    let parsed = parse(&Source::new(format!("{code}.md"), wrong));
    let found: Vec<Code> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    if found.is_empty() || found.iter().any(|found| *found != code) {
        let rendered = render::full(&parsed.diagnostics, false);
        return Err(format!("the wrong example of {code} gives {found:?}:\n{rendered}"));
    }

    let right = example(page, "Right").ok_or_else(|| format!("{code} has no right example"))?;
    let parsed = parse(&Source::new(format!("{code}.md"), right));
    if !parsed.diagnostics.is_empty() {
        let rendered = render::full(&parsed.diagnostics, false);
        return Err(format!("the right example of {code} is not:\n{rendered}"));
    }
    if parsed.policies.is_empty() {
        return Err(format!("the right example of {code} holds no policy"));
    }
    Ok(())
}

/// The example under a heading; one without envelope is the inside of `spec`.
fn example(page: &str, heading: &str) -> Option<String> {
    let section = page.split(&format!("## {heading}\n")).nth(1)?;
    let section = section.split("\n## ").next()?;
    let text = section.split("```yaml\n").nth(1)?.split("```").next()?;
    let sections = [
        "kprobes:",
        "tracepoints:",
        "uprobes:",
        "lsmhooks:",
        "lists:",
        "enforcers:",
        "options:",
        "hostSelector:",
        "podSelector:",
        "selectorsMacros:",
    ];
    if !sections.iter().any(|key| text.starts_with(key)) {
        return Some(text.to_owned());
    }
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    Some(format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: example\nspec:\n{indented}"
    ))
}
