//! Filters as they stand in the configuration: JSON objects, one after the other, with or without line breaks.

use crate::tetragon::{FieldFilter, Filter};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::FilterError;

/// Keys of a filter, in the form of the `.proto` files.
const FILTER_KEYS: &[&str] = &[
    "binary_regex",
    "namespace",
    "health_check",
    "pid",
    "pid_set",
    "event_set",
    "pod_regex",
    "arguments_regex",
    "labels",
    "policy_names",
    "capabilities",
    "parent_binary_regex",
    "cel_expression",
    "parent_arguments_regex",
    "container_id",
    "in_init_tree",
    "ancestor_binary_regex",
    "container_name_regex",
    "namespace_regex",
];
/// Keys of a field filter.
const FIELD_FILTER_KEYS: &[&str] = &["event_set", "fields", "action", "invert_event_set"];

/// Parses the value of `--export-allowlist` or `--export-denylist`.
///
/// # Errors
/// Text that is no sequence of JSON objects, and keys that filters don't have.
pub fn parse_filters(text: &str) -> Result<Vec<Filter>, FilterError> {
    parse(text, FILTER_KEYS)
}

/// Parses the value of `--field-filters`.
///
/// # Errors
/// As [`parse_filters`].
pub fn parse_field_filters(text: &str) -> Result<Vec<FieldFilter>, FilterError> {
    parse(text, FIELD_FILTER_KEYS)
}

fn parse<T: DeserializeOwned>(text: &str, keys: &[&str]) -> Result<Vec<T>, FilterError> {
    let mut list = Vec::new();
    for (index, value) in serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .enumerate()
    {
        let position = index + 1;
        let value = value.map_err(|source| FilterError::Json { position, source })?;
        let unknown = value
            .as_object()
            .and_then(|o| o.keys().find(|key| !keys.iter().any(|known| same_key(key, known))));
        if let Some(key) = unknown {
            return Err(FilterError::UnknownKey {
                position,
                key: key.clone(),
            });
        }
        list.push(serde_json::from_value(value).map_err(|source| FilterError::Json { position, source })?);
    }
    Ok(list)
}

/// Whether a key is `known` in either spelling.
fn same_key(key: &str, known: &str) -> bool {
    key == known
        || key
            .bytes()
            .filter(|&b| b != b'_')
            .map(|b| b.to_ascii_lowercase())
            .eq(known.bytes().filter(|&b| b != b'_'))
}
