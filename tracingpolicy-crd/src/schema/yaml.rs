//! JSON written as block YAML.

use std::fmt::Write as _;

use serde_json::Value as Json;

/// `value` as a YAML document.
pub(super) fn write(value: &Json) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

/// Writes a value that starts at the beginning of a line.
fn block(out: &mut String, value: &Json, indent: usize) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                pad(out, indent);
                entry(out, key, value, indent);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                pad(out, indent);
                out.push_str("- ");
                inline_item(out, item, indent + 2);
            }
        }
        _ => {
            pad(out, indent);
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

/// Writes `key: value`, the cursor standing at `indent`.
fn entry(out: &mut String, key: &str, value: &Json, indent: usize) {
    out.push_str(&text(key));
    out.push(':');
    match value {
        Json::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        // lists stand at the level of their key, as Kubernetes' tools write them
        Json::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

/// Writes an element of a list after its `- `.
fn inline_item(out: &mut String, value: &Json, indent: usize) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (position, (key, value)) in map.iter().enumerate() {
                if position > 0 {
                    pad(out, indent);
                }
                entry(out, key, value, indent);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(string) => text(string),
        // numbers, booleans, null, `[]` and `{}` are written alike in JSON and YAML
        other => other.to_string(),
    }
}

/// A string, quoted unless it can only be read as itself.
fn text(string: &str) -> String {
    let plain = string.starts_with(|c: char| c.is_ascii_alphabetic())
        && string
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " -_./()`".contains(c))
        && !string.ends_with(' ')
        && matches!(
            crate::parse::scalar::Scalar::from_plain(string),
            crate::parse::scalar::Scalar::String(_)
        );
    if plain {
        return string.to_owned();
    }
    let mut quoted = String::with_capacity(string.len() + 2);
    quoted.push('"');
    for c in string.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {
                write!(quoted, "\\u{:04x}", c as u32).expect("strings accept writes");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}
