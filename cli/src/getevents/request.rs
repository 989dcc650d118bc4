//! The request the flags stand for; read locally too, for events that don't come from the agent.

use anyhow::bail;
use tetra_api::FieldMask;
use tetra_api::tetragon::{EventType, FieldFilter, FieldFilterAction, Filter, GetEventsRequest};

use crate::arguments::{Conditions, GetEvents};

/// The types a user may ask for. Those for tests and bookkeeping are left out of the message.
const NAMES: &str = "PROCESS_EXEC, PROCESS_EXIT, PROCESS_KPROBE, PROCESS_TRACEPOINT, PROCESS_LOADER, PROCESS_UPROBE, \
                     PROCESS_USDT, PROCESS_LSM or PROCESS_THROTTLE";

/// Builds the request: one filter with all conditions, which matches everything if there are none.
pub(super) fn request(options: &GetEvents) -> anyhow::Result<GetEventsRequest> {
    let mut field_filters = Vec::new();
    let fields = [
        (FieldFilterAction::Include, &options.include_fields),
        (FieldFilterAction::Exclude, &options.exclude_fields),
    ];
    for (action, paths) in fields {
        if !paths.is_empty() {
            field_filters.push(FieldFilter {
                fields: Some(FieldMask { paths: paths.clone() }),
                action: action.into(),
                ..Default::default()
            });
        }
    }
    Ok(GetEventsRequest {
        allow_list: vec![filter(&options.conditions)?],
        field_filters,
        ..Default::default()
    })
}

fn filter(conditions: &Conditions) -> anyhow::Result<Filter> {
    let mut namespace = conditions.namespace.clone();
    if conditions.host {
        // events outside of pods have no namespace
        namespace.push(String::new());
    }
    Ok(Filter {
        event_set: conditions
            .event_types
            .iter()
            .map(|name| event_type(name))
            .collect::<Result<_, _>>()?,
        namespace,
        namespace_regex: conditions.namespace_regex.clone(),
        binary_regex: conditions.process.clone(),
        pod_regex: conditions.pod.clone(),
        container_name_regex: conditions.container.clone(),
        policy_names: conditions.policy_names.clone(),
        cel_expression: conditions.cel_expression.clone(),
        ..Default::default()
    })
}

/// Reads `PROCESS_EXEC`; also `process_exec` and `exec`.
fn event_type(name: &str) -> anyhow::Result<i32> {
    let upper = name.trim().to_uppercase().replace('-', "_");
    let found = EventType::from_str_name(&upper).or_else(|| EventType::from_str_name(&format!("PROCESS_{upper}")));
    match found {
        Some(EventType::Undef) | None => bail!("`{name}` is not a type of event\nhelp: use {NAMES}"),
        Some(found) => Ok(found.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_short_names() {
        for name in ["PROCESS_EXEC", "process_exec", "exec", "Process-Exec"] {
            assert_eq!(event_type(name).expect("known"), 1);
        }
        let error = event_type("exce").expect_err("unknown").to_string();
        assert!(
            error.starts_with("`exce` is not a type of event\nhelp: use PROCESS_EXEC,"),
            "{error}"
        );
    }

    #[test]
    fn the_host_is_the_empty_namespace() {
        let conditions = Conditions {
            host: true,
            namespace: vec!["default".into()],
            ..Default::default()
        };
        assert_eq!(filter(&conditions).expect("a filter").namespace, ["default", ""]);
    }
}
