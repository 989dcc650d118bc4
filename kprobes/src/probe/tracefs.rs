//! Files of the tracing file system: formats of tracepoints, names of functions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path};

use policy_compiler::facts::{TracepointField, TracepointFormat};

use crate::sys::{Filesystem, ensure_mounted};

/// Names come from policies: each must be one component of a path.
fn is_name(name: &str) -> bool {
    matches!(
        Path::new(name).components().collect::<Vec<_>>().as_slice(),
        [Component::Normal(_)]
    )
}

/// The tracepoints of a subsystem that begin with `prefix`; none if there is no such subsystem.
pub(super) fn events(subsystem: &str, prefix: &str) -> Vec<String> {
    let listed = || {
        let root = ensure_mounted(Filesystem::Tracefs).ok()?;
        fs::read_dir(root.join("events").join(subsystem)).ok()
    };
    let entries = is_name(subsystem).then(listed).flatten().into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_unstable();
    names
}

/// The format of a tracepoint; `None` if there is no such tracepoint.
pub(super) fn format(subsystem: &str, event: &str) -> Option<TracepointFormat> {
    if !is_name(subsystem) || !is_name(event) {
        return None;
    }
    let root = ensure_mounted(Filesystem::Tracefs).ok()?;
    let text = fs::read_to_string(root.join("events").join(subsystem).join(event).join("format")).ok()?;
    Some(parse_format(&text))
}

/// ```text
///     field:const char * filename;    offset:16;    size:8;    signed:0;
/// ```
fn parse_format(text: &str) -> TracepointFormat {
    TracepointFormat {
        fields: text.lines().filter_map(parse_field).collect(),
    }
}

fn parse_field(line: &str) -> Option<TracepointField> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let (declaration, name) = split_declaration(declaration)?;
    let mut field = TracepointField {
        declaration,
        name,
        offset: 0,
        size: 0,
        signed: false,
    };
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => field.offset = value.parse().ok()?,
            Some(("size", value)) => field.size = value.parse().ok()?,
            Some(("signed", value)) => field.signed = value == "1",
            _ => {}
        }
    }
    Some(field)
}

/// `char comm[16]` → (`char[16]`, `comm`); `const char * name` → (`const char *`, `name`).
fn split_declaration(text: &str) -> Option<(String, String)> {
    let (head, bounds) = match text.find('[') {
        // `__data_loc char[] name`: the brackets stand before the name
        Some(at) if text.ends_with(']') => text.split_at(at),
        _ => (text, ""),
    };
    let start = head
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map_or(0, |at| at + 1);
    let (before, name) = head.split_at(start);
    if name.is_empty() {
        return None;
    }
    Some((format!("{}{bounds}", before.trim_end()), name.to_owned()))
}

/// Functions that can be probed; empty if the kernel does not say.
pub(super) fn functions() -> BTreeSet<String> {
    let Ok(root) = ensure_mounted(Filesystem::Tracefs) else {
        return BTreeSet::new();
    };
    let list = fs::read_to_string(root.join("available_filter_functions")).unwrap_or_default();
    if !list.is_empty() {
        return list
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
    }
    // Without ftrace: every function of the kernel, though some of them are on the kprobe blacklist.
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    symbols
        .lines()
        .filter_map(kallsyms_function)
        .map(str::to_owned)
        .collect()
}

/// The name in `ffffffff81000000 T name [module]` if it is a function.
fn kallsyms_function(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let (_, kind, name) = (words.next()?, words.next()?, words.next()?);
    matches!(kind, "t" | "T" | "w" | "W").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_format() {
        let text = "name: sys_enter_openat\nID: 641\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
                    \tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;\n\tfield:char comm[16];\toffset:32;\tsize:16;\tsigned:1;\n\
                    \tfield:__data_loc char[] name;\toffset:48;\tsize:4;\tsigned:0;\n\nprint fmt: \"x\"\n";
        let fields: Vec<_> = parse_format(text)
            .fields
            .into_iter()
            .map(|f| (f.declaration, f.name, f.offset, f.size, f.signed))
            .collect();
        let field = |declaration: &str, name: &str, offset, size, signed| {
            (declaration.to_owned(), name.to_owned(), offset, size, signed)
        };
        assert_eq!(
            fields,
            [
                field("unsigned short", "common_type", 0, 2, false),
                field("const char *", "filename", 24, 8, false),
                field("char[16]", "comm", 32, 16, true),
                field("__data_loc char[]", "name", 48, 4, false),
            ]
        );
    }

    #[test]
    fn names_that_are_paths_are_not_followed() {
        assert_eq!(format("..", "x"), None);
        assert_eq!(format("sched", "../sched/sched_switch"), None);
    }

    #[test]
    fn functions_of_kallsyms() {
        assert_eq!(kallsyms_function("0000000000000000 T vfs_read"), Some("vfs_read"));
        assert_eq!(
            kallsyms_function("0000000000000000 t btrfs_x\t[btrfs]"),
            Some("btrfs_x")
        );
        assert_eq!(kallsyms_function("0000000000000000 D jiffies"), None);
    }
}
