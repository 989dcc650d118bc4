//! Events become `GetEventsResponse` messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tetra_api::Timestamp;
use tetra_api::tetragon as api;
use tetra_api::tetragon::get_events_response::Event as Payload;

use super::{BinaryProperties, Event, EventBody, PolicyEvent, capabilities, names};
use crate::policy::HookKind;
use crate::process::{Credentials, Process, ProcessKey};
use crate::time::{ClockOffset, KernelTime};

/// What events say beyond the records.
#[derive(Clone, Debug, Default)]
pub struct EncodeConfig {
    /// `node_name` of events, and first part of exec ids.
    pub node_name: String,
    /// `cluster_name` of events; may be empty.
    pub cluster_name: String,
    /// Show namespaces of processes.
    pub with_namespaces: bool,
    /// Show capabilities, credentials and binary properties of processes.
    pub with_credentials: bool,
    /// Namespaces of pid 1, in the order of `struct process.ns`.
    pub host_namespaces: [u32; 10],
}

/// Turns events into messages.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: EncodeConfig,
    offset: ClockOffset,
}

impl Encoder {
    /// Makes an encoder; `offset` dates the events.
    pub fn new(config: EncodeConfig, offset: ClockOffset) -> Self {
        Self { config, offset }
    }

    /// Takes a new reading of the clocks.
    pub fn update_clock(&mut self, reading: ClockOffset) {
        self.offset.update(reading);
    }

    /// Encodes one event.
    pub fn encode(&self, event: &Event) -> api::GetEventsResponse {
        let mut process = self.process(&event.process);
        process.refcnt = event.references.unwrap_or_default();
        let parent = event.parent.as_deref().map(|parent| self.process(parent));
        let ancestors = event.ancestors.iter().map(|ancestor| self.process(ancestor)).collect();
        let time = Some(self.timestamp(event.time));
        let payload = match &event.body {
            EventBody::Exec(properties) => {
                if self.config.with_credentials {
                    process.binary_properties = binary_properties(properties);
                }
                Payload::ProcessExec(api::ProcessExec {
                    process: Some(process),
                    parent,
                    ancestors,
                })
            }
            EventBody::Exit { code } => Payload::ProcessExit(api::ProcessExit {
                process: Some(process),
                parent,
                signal: names::signal(code & 0x7f).to_owned(),
                status: (code >> 8) & 0xff,
                time,
                ancestors,
            }),
            EventBody::Policy(policy) => {
                process.tid = Some(event.tid);
                policy_payload(policy, process, parent, ancestors)
            }
        };
        api::GetEventsResponse {
            event: Some(payload),
            node_name: self.config.node_name.clone(),
            time,
            cluster_name: self.config.cluster_name.clone(),
            ..api::GetEventsResponse::default()
        }
    }

    /// The opaque, cluster-wide id of a process under one image.
    pub fn exec_id(&self, key: ProcessKey) -> String {
        STANDARD.encode(format!("{}:{}:{}", self.config.node_name, key.start.0, key.tgid))
    }

    /// A process without what only an event knows of it.
    pub fn process(&self, process: &Process) -> api::Process {
        let key = process.key;
        let start_time = (key.start.0 != 0).then(|| self.timestamp(key.start));
        if process.is_unknown() {
            return api::Process {
                pid: Some(key.tgid),
                flags: process.flags.to_string(),
                start_time,
                ..Default::default()
            };
        }
        let image = &process.image;
        let mut message = api::Process {
            exec_id: self.exec_id(key),
            pid: Some(key.tgid),
            uid: Some(image.credentials.euid),
            cwd: image.cwd.to_string(),
            binary: image.binary.to_string(),
            arguments: image.arguments.to_string(),
            flags: process.flags.to_string(),
            start_time,
            auid: Some(image.auid),
            docker: image.container_id.to_string(),
            parent_exec_id: self.exec_id(process.parent),
            tid: Some(key.tgid),
            in_init_tree: Some(process.in_init_tree),
            ..Default::default()
        };
        if self.config.with_namespaces {
            message.ns = Some(namespaces(&image.namespaces, &self.config.host_namespaces));
        }
        if self.config.with_credentials {
            let c = &image.credentials;
            message.cap = Some(capabilities::message(
                c.cap_permitted,
                c.cap_effective,
                c.cap_inheritable,
            ));
            message.process_credentials = Some(credentials(c));
        }
        message
    }

    fn timestamp(&self, time: KernelTime) -> Timestamp {
        let (seconds, nanos) = self.offset.to_wall(time).to_seconds_and_nanos();
        Timestamp { seconds, nanos }
    }
}

fn policy_payload(
    policy: &PolicyEvent,
    process: api::Process,
    parent: Option<api::Process>,
    ancestors: Vec<api::Process>,
) -> Payload {
    let template = &policy.template;
    let process = Some(process);
    let args = policy.arguments.clone();
    let policy_name = template.policy_name.to_string();
    let message = template.message.to_string();
    let tags = template.tags.clone();
    let action = action(policy.action);
    match template.kind {
        // enforcers post nothing
        HookKind::Kprobe | HookKind::Fentry | HookKind::Enforcer => Payload::ProcessKprobe(api::ProcessKprobe {
            process,
            parent,
            function_name: template.function_name.to_string(),
            args,
            r#return: policy.return_value.clone(),
            action,
            policy_name,
            return_action: self::action(policy.return_action),
            message,
            tags,
            ancestors,
            data: policy.data.clone(),
            kernel_stack_trace: policy.stacks.kernel.clone(),
            user_stack_trace: policy.stacks.user.clone(),
        }),
        HookKind::Tracepoint => Payload::ProcessTracepoint(api::ProcessTracepoint {
            process,
            parent,
            subsys: template.subsystem.to_string(),
            event: template.event.to_string(),
            args,
            policy_name,
            action,
            message,
            tags,
            ancestors,
        }),
        HookKind::Lsm => Payload::ProcessLsm(api::ProcessLsm {
            process,
            parent,
            function_name: template.function_name.to_string(),
            policy_name,
            message,
            args,
            action,
            tags,
            ancestors,
            ima_hash: String::new(),
        }),
        HookKind::Uprobe => {
            let user = template.user.clone().unwrap_or_default();
            Payload::ProcessUprobe(api::ProcessUprobe {
                process,
                parent,
                path: user.path.to_string(),
                symbol: template.function_name.to_string(),
                policy_name,
                message,
                args,
                tags,
                ancestors,
                offset: user.offset,
                ref_ctr_offset: user.ref_ctr_offset,
                action,
                data: policy.data.clone(),
            })
        }
        HookKind::Usdt => Payload::ProcessUsdt(api::ProcessUsdt {
            process,
            parent,
            path: template.user.clone().unwrap_or_default().path.to_string(),
            provider: template.subsystem.to_string(),
            name: template.event.to_string(),
            policy_name,
            message,
            args,
            tags,
            ancestors,
            action,
            flags: String::new(),
        }),
    }
}

/// An event that says nothing of an action was posted. A number that is no action would not survive the JSON form: it counts as
/// unknown.
fn action(number: u16) -> i32 {
    match number {
        0 => api::KprobeAction::Post as i32,
        _ => api::KprobeAction::try_from(i32::from(number)).unwrap_or(api::KprobeAction::Unknown) as i32,
    }
}

fn namespaces(inodes: &[u32; 10], host: &[u32; 10]) -> api::Namespaces {
    let one = |index: usize| {
        let inum = inodes[index];
        Some(api::Namespace {
            inum,
            is_host: inum != 0 && inum == host[index],
        })
    };
    let unless_missing = |index: usize| one(index).filter(|namespace| namespace.inum != 0);
    api::Namespaces {
        uts: one(0),
        ipc: one(1),
        mnt: one(2),
        pid: one(3),
        pid_for_children: one(4),
        net: one(5),
        time: unless_missing(6),
        time_for_children: unless_missing(7),
        cgroup: one(8),
        user: one(9),
    }
}

fn credentials(c: &Credentials) -> api::ProcessCredentials {
    api::ProcessCredentials {
        uid: Some(c.uid),
        gid: Some(c.gid),
        euid: Some(c.euid),
        egid: Some(c.egid),
        suid: Some(c.suid),
        sgid: Some(c.sgid),
        fsuid: Some(c.fsuid),
        fsgid: Some(c.fsgid),
        securebits: capabilities::secure_bits(c.securebits),
        caps: None,
        user_ns: None,
    }
}

/// `None` if there is nothing to say.
fn binary_properties(properties: &BinaryProperties) -> Option<api::BinaryProperties> {
    if *properties == BinaryProperties::default() {
        return None;
    }
    let reasons = [
        (
            properties.file_capabilities,
            api::ProcessPrivilegesChanged::PrivilegesRaisedExecFileCap,
        ),
        (
            properties.setuid.is_some(),
            api::ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetuid,
        ),
        (
            properties.setgid.is_some(),
            api::ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetgid,
        ),
    ];
    Some(api::BinaryProperties {
        setuid: properties.setuid,
        setgid: properties.setgid,
        privileges_changed: reasons
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, reason)| *reason as i32)
            .collect(),
        file: properties.inode.map(|(number, links)| api::FileProperties {
            inode: Some(api::InodeProperties {
                number,
                links: Some(links),
            }),
            path: String::new(),
        }),
    })
}

#[cfg(test)]
mod tests;
