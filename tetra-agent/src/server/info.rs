//! What `tetra info` shows.

use kprobes::probe::{Feature, Report};
use tetra_api::Any;
use tetra_api::tetragon::GetInfoResponse;
use tetra_api::tetragon::get_info_response::{BuildInfo, ConfVal, Probe};

use crate::config::{Config, FLAGS, Kind};

/// Version as clients print it.
pub(super) fn version() -> String {
    concat!("v", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Names under which clients know the features.
const PROBES: [(&str, Feature); 7] = [
    ("override_return", Feature::OverrideReturn),
    ("kprobe_multi", Feature::KprobeMulti),
    ("fmodret", Feature::FmodRet),
    ("fmodret_syscall", Feature::FmodRetSyscall),
    ("signal", Feature::Signal),
    ("lsm", Feature::Lsm),
    ("fentry", Feature::Fentry),
];

/// The answer to `GetInfo`, which never changes.
pub(super) fn info(config: &Config, report: Option<&Report>) -> GetInfoResponse {
    let probes = report.map_or_else(Vec::new, |report| {
        PROBES
            .iter()
            .map(|&(name, feature)| Probe {
                name: name.to_owned(),
                enabled: Some(report.has(feature)),
            })
            .collect()
    });
    let conf = FLAGS.iter().map(|flag| {
        let text = config.effective[flag.name].value.as_str();
        let value = match flag.kind {
            Kind::Boolean => Any::from(matches!(text, "true" | "1" | "t" | "T" | "TRUE" | "True")),
            Kind::Number => text.parse::<i64>().map_or_else(|_| Any::from(text), Any::from),
            _ => Any::from(text),
        };
        ConfVal {
            key: flag.name.to_owned(),
            value: Some(value),
        }
    });
    GetInfoResponse {
        version: version(),
        name: "tetragon".to_owned(),
        probes,
        conf: conf.collect(),
        build: Some(BuildInfo::default()),
    }
}
