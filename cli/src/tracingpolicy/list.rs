//! The table of policies.

use tetra_api::tetragon::{HookState, TracingPolicyActionCounters, TracingPolicyState, TracingPolicyStatus};

use crate::table::Table;

const COLUMNS: [&str; 12] = [
    "ID",
    "NAME",
    "DOMAIN",
    "STATE",
    "FILTERID",
    "NAMESPACE",
    "SENSORS",
    "KERNELMEMORY",
    "MODE",
    "NPOST",
    "NENFORCE",
    "NMONITOR",
];

/// Lays out one line a policy; below a policy that is loaded in part, its hooks; below one that
/// failed, why.
pub(super) fn table(policies: &[TracingPolicyStatus]) -> String {
    let mut table = Table::new(COLUMNS);
    for policy in policies {
        table.row(row(policy));
        if policy.state() == TracingPolicyState::TpStatePartiallyEnabled {
            let mut hooks = Table::new(["SECTION", "CFGIDX", "DESCRIPTION", "STATUS"]);
            for hook in &policy.hook_statuses {
                hooks.row([
                    hook.section.clone(),
                    hook.hook_idx.to_string(),
                    hook.hook_description.clone(),
                    hook_state(hook.state()).to_owned(),
                ]);
            }
            table.below(&hooks.render("    "));
        }
        if !policy.error.is_empty() {
            let lines = policy.error.lines().map(|line| format!("    {line}\n"));
            table.below(&lines.collect::<String>());
        }
    }
    table.render("")
}

fn row(policy: &TracingPolicyStatus) -> [String; 12] {
    let counters = policy
        .stats
        .as_ref()
        .and_then(|stats| stats.action_counters)
        .unwrap_or_default();
    let TracingPolicyActionCounters {
        signal,
        r#override,
        notify_enforcer,
        set,
        ..
    } = counters;
    let TracingPolicyActionCounters {
        monitor_signal,
        monitor_override,
        monitor_notify_enforcer,
        monitor_set,
        ..
    } = counters;
    let namespace = if policy.namespace.is_empty() {
        "(global)"
    } else {
        &policy.namespace
    };
    [
        policy.id.to_string(),
        policy.name.clone(),
        policy.domain.clone(),
        lower_case(policy.state().as_str_name(), "TP_STATE_"),
        policy.filter_id.to_string(),
        namespace.to_owned(),
        policy.sensors.join(","),
        human_size(policy.kernel_memory_bytes),
        lower_case(policy.mode().as_str_name(), "TP_MODE_"),
        counters.post.to_string(),
        (signal + r#override + notify_enforcer + set).to_string(),
        (monitor_signal + monitor_override + monitor_notify_enforcer + monitor_set).to_string(),
    ]
}

fn lower_case(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

fn hook_state(state: HookState) -> &'static str {
    match state {
        HookState::StatusUnspecified => "unknown",
        HookState::StatusLoaded => "loaded",
        HookState::StatusDigestRejected => "digest rejected",
        HookState::StatusCallNotFound => "call not found",
        HookState::StatusPartialCallNotFound => "some calls not found",
    }
}

/// `4.46 MB`, in powers of 1000.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog10() / 3).min(6);
    #[expect(clippy::cast_precision_loss, reason = "two digits of it are shown")]
    let value = bytes as f64 / 1000_f64.powi(exponent as i32);
    format!("{value:.2} {}", UNITS[exponent as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tetra_api::tetragon::{HookStatus, TracingPolicyMode, TracingPolicyStats};

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (4_460_000, "4.46 MB"),
            (u64::MAX, "18.45 EB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn columns_align() {
        let loaded = TracingPolicyStatus {
            id: 1,
            name: "file-access".into(),
            domain: "grpc".into(),
            state: TracingPolicyState::TpStateEnabled.into(),
            mode: TracingPolicyMode::TpModeEnforce.into(),
            sensors: vec!["generic_kprobe".into()],
            kernel_memory_bytes: 30_000,
            stats: Some(TracingPolicyStats {
                action_counters: Some(TracingPolicyActionCounters {
                    post: 12,
                    signal: 3,
                    r#override: 4,
                    monitor_set: 5,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let partial = TracingPolicyStatus {
            id: 12,
            name: "p".into(),
            namespace: "default".into(),
            domain: "k8s".into(),
            state: TracingPolicyState::TpStatePartiallyEnabled.into(),
            error: "one hook is missing\nsee its state".into(),
            hook_statuses: vec![HookStatus {
                section: "kprobes".into(),
                state: HookState::StatusCallNotFound.into(),
                hook_description: "no_such_function".into(),
                hook_idx: 2,
            }],
            ..Default::default()
        };
        assert_eq!(
            table(&[loaded, partial]),
            "\
ID   NAME          DOMAIN   STATE               FILTERID   NAMESPACE   SENSORS          KERNELMEMORY   MODE      NPOST   NENFORCE   NMONITOR
1    file-access   grpc     enabled             0          (global)    generic_kprobe   30.00 kB       enforce   12      7          5
12   p             k8s      partially_enabled   0          default                      0 B            unknown   0       0          0
    SECTION   CFGIDX   DESCRIPTION        STATUS
    kprobes   2        no_such_function   call not found
    one hook is missing
    see its state
"
        );
    }
}
