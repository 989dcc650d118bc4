//! A set of policies and the calls it is run on, as text: what a failure leaves behind, and what is replayed.
//!
//! The text is that of the policies, with the rest in comments before it:
//!
//! ```yaml
//! # hook: a_function_with_a_file_and_its_return
//! # seed: 17
//! # process: known
//! # selectors: by index
//! # modes: enforce monitor-workloads
//! # call: 3 17 2 0 0 0 returns 5 workload 2
//! apiVersion: cilium.io/v1alpha1
//! ```
//! What differs from run to run stands as `${executable}`, `${pid}`, `${path 3}`, `${dentry 3}`, `${namespace Mnt}`: see
//! [`Surroundings`]. `${run}` is a number that is never used twice.

use std::fmt::Write as _;

use policy_compiler::{Options, PolicySet};
use tracingpolicy_crd::Policy;

use super::arena::Arena;
use super::recipe::{CallRecipe, Recipe, Surroundings, set_of};

/// A set of policies and calls of their hook.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// One document each.
    pub(crate) policies: Vec<String>,
    /// Which of them are in monitor mode.
    pub(crate) monitors: Vec<bool>,
    /// Which of them are for workloads.
    pub(crate) scoped: Vec<bool>,
    /// Whether the process has a record.
    pub(crate) known_process: bool,
    /// What that says of namespaces and capabilities, see [`super::process::recorded`].
    pub(crate) recorded: usize,
    /// Whether programs find the selectors that may hold by an index, however few they are.
    pub(crate) is_indexed: bool,
    pub(crate) calls: Vec<CallRecipe>,
}

impl Case {
    pub(crate) fn new(recipe: &Recipe, arena: &Arena, around: &Surroundings) -> Self {
        Self {
            policies: recipe.yaml(arena, around),
            monitors: recipe.policies.iter().map(|policy| policy.monitors).collect(),
            scoped: recipe.policies.iter().map(|policy| policy.is_scoped).collect(),
            known_process: recipe.known_process,
            recorded: recipe.calls.first().map_or(0, |call| usize::from(call.returned)),
            is_indexed: recipe.is_indexed,
            calls: recipe.calls.clone(),
        }
    }

    /// The set that its policies make.
    pub(crate) fn set(&self, policies: Vec<Policy>) -> PolicySet {
        set_of(policies, self.scoped.iter().copied())
    }

    /// How it is compiled.
    pub(crate) fn options(&self) -> Options {
        let usual = Options::default();
        Options {
            selectors_in_a_row: if self.is_indexed { 0 } else { usual.selectors_in_a_row },
            ..usual
        }
    }

    /// As text. `hook` is the name of its test, `is_elsewhere`: the process is in namespaces of its own.
    pub(crate) fn render(&self, hook: &str, seed: u64, is_elsewhere: bool, around: &Surroundings) -> String {
        let modes: Vec<String> = self
            .monitors
            .iter()
            .zip(&self.scoped)
            .map(|(monitors, scoped)| {
                let scope = if *scoped { SCOPED } else { "" };
                format!("{}{scope}", MODES[usize::from(*monitors)])
            })
            .collect();
        let mut text = format!(
            "# hook: {hook}\n# seed: {seed}\n# process: {}{}\n# recorded: {}\n# selectors: {}\n# modes: {}\n",
            if self.known_process { "known" } else { "unknown" },
            if is_elsewhere { " elsewhere" } else { "" },
            self.recorded,
            if self.is_indexed { INDEXED } else { "in a row" },
            modes.join(" ")
        );
        for call in &self.calls {
            let values: Vec<String> = call.values.iter().map(u16::to_string).collect();
            writeln!(
                text,
                "# call: {} returns {} workload {}",
                values.join(" "),
                call.returned,
                call.workload
            )
            .expect("a string");
        }
        text + &around.generalized(&self.policies.join("---\n"))
    }
}

const MODES: [&str; 2] = ["enforce", "monitor"];
/// How selectors are found, where that is not as usual.
const INDEXED: &str = "by index";
/// Behind the mode of a policy that is for workloads.
const SCOPED: &str = "-workloads";

/// A case that was read.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Name of its test.
    pub(crate) hook: String,
    /// Whether it is about a process in namespaces of its own.
    pub(crate) is_elsewhere: bool,
    pub(crate) case: Case,
}

impl Kept {
    /// Reads what [`Case::render`] wrote, or somebody in its form.
    pub(crate) fn parse(text: &str, around: &Surroundings) -> Result<Self, String> {
        let is_head = |line: &&str| line.starts_with('#');
        let values_of = |key: &str| -> Vec<&str> {
            let key = format!("# {key}: ");
            text.lines()
                .take_while(is_head)
                .filter_map(|line| line.strip_prefix(&key))
                .collect()
        };
        let one = |key: &str| match values_of(key)[..] {
            [value] => Ok(value),
            _ => Err(format!("one line `# {key}: …` expected")),
        };
        let process = one("process")?;
        let body: Vec<&str> = text.lines().skip_while(is_head).collect();
        let body = around.expanded(&(body.join("\n") + "\n"));
        let modes = one("modes")?.split(' ');
        let scoped = modes.clone().map(|mode| mode.ends_with(SCOPED)).collect();
        let modes = modes.map(|mode| match mode.trim_end_matches(SCOPED) {
            "enforce" => Ok(false),
            "monitor" => Ok(true),
            other => Err(format!("`{other}` is no mode")),
        });
        let kept = Self {
            hook: one("hook")?.to_owned(),
            is_elsewhere: process.ends_with("elsewhere"),
            case: Case {
                policies: body.split("---\n").map(str::to_owned).collect(),
                monitors: modes.collect::<Result<_, _>>()?,
                scoped,
                known_process: process.starts_with("known"),
                recorded: values_of("recorded")
                    .first()
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(0),
                is_indexed: values_of("selectors") == [INDEXED],
                calls: values_of("call").into_iter().map(call).collect::<Result<_, _>>()?,
            },
        };
        if kept.case.policies.len() != kept.case.monitors.len() {
            return Err(format!("{} policies expected", kept.case.monitors.len()));
        }
        Ok(kept)
    }
}

/// `3 17 2 0 0 0 returns 5`, and `workload 3` where policies are for workloads: bits of those that apply.
fn call(text: &str) -> Result<CallRecipe, String> {
    let wrong = || format!("`{text}` is no call");
    let (values, returned) = text.split_once(" returns ").ok_or_else(wrong)?;
    let (returned, workload) = returned.split_once(" workload ").unwrap_or((returned, "0"));
    let values: Result<Vec<u16>, _> = values.split(' ').map(str::parse).collect();
    Ok(CallRecipe {
        values: values.map_err(|_| wrong())?.try_into().map_err(|_| wrong())?,
        returned: returned.parse().map_err(|_| wrong())?,
        workload: workload.parse().map_err(|_| wrong())?,
    })
}

impl Surroundings {
    /// Names of what differs from run to run, with what it is here.
    fn names(&self) -> Vec<(String, String)> {
        let numbered = |what: &'static str, texts: &[String]| -> Vec<(String, String)> {
            let texts = texts.iter().enumerate();
            texts
                .map(|(number, text)| (format!("${{{what} {number}}}"), text.clone()))
                .collect()
        };
        let mut names = vec![("${executable}".to_owned(), self.executable.clone())];
        names.extend(numbered("dentry", &self.dentries));
        names.extend(numbered("path", &self.paths));
        let namespaces = self.namespaces.iter();
        names.extend(namespaces.map(|(name, inode)| (format!("${{namespace {name}}}"), inode.to_string())));
        names.push(("${pid}".to_owned(), self.pid.to_string()));
        // the root directory has an empty path, which is a value like any other
        names.retain(|(_, value)| !value.is_empty());
        names
    }

    fn expanded(&self, text: &str) -> String {
        let names = self.names();
        names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// With names for the whole values that are known: what a policy has of them in parts stays as it is.
    fn generalized(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in self.names() {
            if name == "${pid}" {
                for (before, after) in [("[", "]"), ("[", ","), (" ", ","), (" ", "]")] {
                    text = text.replace(&format!("{before}{value}{after}"), &format!("{before}{name}{after}"));
                }
            } else {
                text = text.replace(&format!("\"{value}\""), &format!("\"{name}\""));
            }
        }
        text
    }
}
