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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::parse::node::{Node, NodeKind};
    use crate::parse::scalar::Scalar;
    use crate::policy::PolicyKind;
    use crate::source::Source;

    /// What a YAML text means.
    fn read(text: &str) -> Json {
        fn json(node: &Node) -> Json {
            match &node.kind {
                NodeKind::Scalar(Scalar::Null) => Json::Null,
                NodeKind::Scalar(Scalar::Bool { value, .. }) => (*value).into(),
                NodeKind::Scalar(Scalar::Int { value, .. }) => {
                    Json::Number(i64::try_from(*value).map_or_else(|_| (*value as u64).into(), Into::into))
                }
                NodeKind::Scalar(Scalar::Float(value)) => (*value).into(),
                NodeKind::Scalar(Scalar::String(text)) => text.as_str().into(),
                NodeKind::Sequence(items) => items.iter().map(|item| json(item)).collect(),
                NodeKind::Mapping(entries) => entries
                    .iter()
                    .map(|entry| (entry.key.clone(), json(&entry.value)))
                    .collect(),
            }
        }
        let documents = crate::parse::documents(&Source::new("x.yaml", text)).expect("this is YAML");
        assert_eq!(documents.len(), 1);
        json(&documents[0])
    }

    #[test]
    fn definitions_are_read_as_they_are_meant() {
        for kind in PolicyKind::ALL {
            assert_eq!(read(&crate::schema::crd_yaml(kind)), crate::schema::crd_json(kind));
        }
    }

    #[test]
    fn any_value_is_read_as_it_is_meant() {
        let value = json!({
            "empty": {}, "none": [], "null": null, "yes": "yes", "number": 1, "text": "1", "float": 1.5,
            "nested": [[1, [2]], {"a": [{"b": 1, "c": [true]}]}, "x: y", "# no", " lead", "trail ", "a\nb", "\u{7}\"\\", ""],
            "- key": 1, "key: 2": "~", "null-like": "null", "date": "2026-11-22",
        });
        assert_eq!(read(&write(&value)), value);
    }
}
