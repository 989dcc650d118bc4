//! Policies of the tests: generated, or the project's examples with their paths moved into a test's directory.

use std::path::{Path, PathBuf};

/// The root of the workspace.
///
/// # Panics
/// Never: this package lies in it.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}

/// Text of `examples/NAME`, with replacements made.
///
/// # Panics
/// If there is no such example, or it does not hold what is to be replaced.
pub fn example(name: &str, replacements: &[(&str, &str)]) -> String {
    let path = workspace().join("examples").join(name);
    let mut text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    for (old, new) in replacements {
        assert!(text.contains(old), "`{}` does not hold `{old}`", path.display());
        text = text.replace(old, new);
    }
    text
}

/// All example policies but those of the library.
///
/// # Panics
/// If `examples/` cannot be read.
pub fn examples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![workspace().join("examples")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("examples/ can be read") {
            let path = entry.expect("examples/ can be read").path();
            if path.is_dir() && !path.ends_with("library") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there are no examples");
    found
}

/// Path of the reference's policies and events, if they are there: `$TETRA_CORPUS`, else `../shared/corpus`.
pub fn corpus() -> Option<PathBuf> {
    let path = std::env::var_os("TETRA_CORPUS")
        .map_or_else(|| workspace().join("../shared/corpus"), |path| workspace().join(path));
    path.is_dir().then_some(path)
}

/// A policy on `sys_openat`: one selector for each operator and list of paths.
pub fn openat(name: &str, selectors: &[(&str, &[String])]) -> String {
    let mut text = format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n  kprobes:\n    \
         - call: sys_openat\n      syscall: true\n      args:\n        - index: 1\n          type: string\n"
    );
    if !selectors.is_empty() {
        text.push_str("      selectors:\n");
    }
    for (operator, values) in selectors {
        let part = format!(
            "        - matchArgs:\n            - index: 1\n              operator: {operator}\n              values:\n"
        );
        text.push_str(&part);
        for value in *values {
            let part = format!("                - \"{value}\"\n");
            text.push_str(&part);
        }
    }
    text
}
