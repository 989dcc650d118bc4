//! What is not compiled, refused by name.

use tracingpolicy_crd::{ArgSpec, FieldPath, LabelSelector, UprobeSpec};

use super::Resolver;
use crate::codes;

impl Resolver<'_> {
    fn refuse(&mut self, present: bool, path: &FieldPath, what: &str, help: &str) {
        if present {
            self.error(codes::NOT_COMPILED, path, format!("{what} not compiled"), help);
        }
    }

    /// Sections and keys of `spec`.
    pub(super) fn refuse_what_is_outside(&mut self, root: &FieldPath) {
        let spec = &self.policy.spec;
        let hooks =
            "the hooks that are compiled are `kprobes`, `fentries`, `tracepoints`, `lsmhooks`, `uprobes` and `usdts`";
        self.refuse(spec.loader, &root.key("loader"), "`loader` is", hooks);
        let help = "without workload selectors the policy applies to every process of the node";
        // all three empty, like none at all, means: no filtering (§9.4)
        let is_empty = |s: &Option<LabelSelector>| {
            s.as_ref()
                .is_some_and(|s| s.match_labels.is_empty() && s.match_expressions.is_empty())
        };
        let all_empty =
            is_empty(&spec.pod_selector) && is_empty(&spec.container_selector) && is_empty(&spec.host_selector);
        if !all_empty {
            self.refuse(
                spec.pod_selector.is_some(),
                &root.key("podSelector"),
                "`podSelector` is",
                help,
            );
            self.refuse(
                spec.container_selector.is_some(),
                &root.key("containerSelector"),
                "`containerSelector` is",
                help,
            );
            self.refuse(
                spec.host_selector.is_some(),
                &root.key("hostSelector"),
                "`hostSelector` is",
                help,
            );
        }
        self.refuse(
            spec.node_selector.is_some(),
            &root.key("nodeSelector"),
            "`nodeSelector` is",
            help,
        );
        let namespaced = self.policy.namespace.is_some();
        let path = FieldPath::root().key("metadata").key("namespace");
        self.refuse(
            namespaced,
            &path,
            "namespaced policies are",
            "use `kind: TracingPolicy` without `metadata.namespace`",
        );
    }

    /// Keys of a `uprobes` hook.
    pub(super) fn refuse_outside_of_uprobe(&mut self, spec: &UprobeSpec, path: &FieldPath) {
        self.refuse_btf_of_binary(&spec.btf_path, path);
    }

    /// `btfPath`, which only `resolve` looks at.
    pub(super) fn refuse_btf_of_binary(&mut self, btf_path: &str, path: &FieldPath) {
        let help = "leave it out: it only serves `resolve`";
        self.refuse(!btf_path.is_empty(), &path.key("btfPath"), "`btfPath` is", help);
    }

    /// Keys of an argument.
    pub(super) fn refuse_outside_of_argument(&mut self, spec: &ArgSpec, path: &FieldPath) {
        let help = "read the argument itself";
        self.refuse(
            !spec.btf_type_module.is_empty(),
            &path.key("btfTypeModule"),
            "`btfTypeModule` is",
            help,
        );
        self.refuse(spec.return_copy, &path.key("returnCopy"), "`returnCopy` is", help);
    }

    /// `spec.options`.
    pub(super) fn options(&mut self, root: &FieldPath) {
        let policy = self.policy;
        for (i, option) in policy.spec.options.iter().enumerate() {
            let path = root.key("options").index(i);
            match option.name.as_str() {
                // how hooks are attached follows from what the kernel can do; kprobe.multi is never needed for a policy
                "disable-kprobe-multi" | "disable-uprobe-multi" => {
                    if option.value.parse::<bool>().is_err() && !matches!(option.value.as_str(), "0" | "1") {
                        self.error(
                            codes::BAD_OPTION,
                            &path.key("value"),
                            format!("`{}` is not a boolean", option.value),
                            "write `true` or `false`",
                        );
                    } else if matches!(option.value.as_str(), "true" | "1") {
                        self.warning(
                            codes::BAD_OPTION,
                            &path.key("name"),
                            format!("the option `{}` has no effect", option.name),
                            "how hooks are attached follows from what the kernel can do; events and enforcement are the same",
                        );
                    }
                }
                "policy-mode" => {
                    if crate::mode_of(policy).is_none() {
                        self.error(
                            codes::BAD_OPTION,
                            &path.key("value"),
                            format!("`{}` is not a mode", option.value),
                            "write `enforce` or `monitor`",
                        );
                    }
                }
                "override-method" | "sleepable-preload-size" => self.error(
                    codes::NOT_COMPILED,
                    &path.key("name"),
                    format!("the option `{}` is not compiled", option.name),
                    "leave it out",
                ),
                name => self.error(
                    codes::BAD_OPTION,
                    &path.key("name"),
                    format!("there is no option `{name}`"),
                    "the options are policy-mode, disable-kprobe-multi and disable-uprobe-multi",
                ),
            }
        }
    }
}
