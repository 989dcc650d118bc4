//! Facts about the kernel that policies are checked, compiled or explained for.

mod assumed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use kprobes::probe::{self, Needs, collect};
use policy_compiler::btf::Btf;
use policy_compiler::facts::KernelFacts;
use policy_compiler::{binaries_needed, tracepoints_needed};
use tracingpolicy_crd::Policy;

/// Types of the running kernel, which everybody may read.
const RUNNING_BTF: &str = "/sys/kernel/btf/vmlinux";

/// A kernel that policies are checked, compiled or explained for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// The one that runs.
    Running,
    /// The one whose types are in this file.
    Types(PathBuf),
}

impl Kernel {
    /// What `--btf` says, if it does.
    pub(super) fn from_option(btf: Option<&Path>) -> Self {
        btf.map_or(Self::Running, |file| Self::Types(file.to_owned()))
    }

    /// One of several: `running`, or a file. A file of that name can be given as `./running`.
    pub(super) fn from_argument(name: &Path) -> Self {
        if name == Path::new("running") {
            Self::Running
        } else {
            Self::Types(name.to_owned())
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Types(file) => write!(f, "{}", file.display()),
        }
    }
}

/// Facts, and how sure they are.
pub(super) struct Facts {
    pub(super) kernel: KernelFacts,
    pub(super) basis: Basis,
}

impl Facts {
    /// With a number for every namespace of the host: those that are given at boot have one that stands for them. Only for what
    /// is never loaded.
    pub(super) fn with_any_namespaces(mut self) -> Self {
        if !matches!(self.basis, Basis::Tried) {
            for (name, number) in [("Mnt", 0xf000_0000), ("Net", 0xf000_0001)] {
                self.kernel.host_namespaces.entry(name.to_owned()).or_insert(number);
            }
        }
        self
    }
}

/// Where the features of a kernel are known from.
pub(super) enum Basis {
    /// They were tried.
    Tried,
    /// The user asked for a kernel of which only the types are known.
    Types,
    /// They could not be tried, so only the types of the running kernel are known.
    TypesInstead {
        /// Why.
        reason: String,
    },
}

/// Collects what policies need to know: of the running kernel by trying, of another from its types.
pub(super) fn collect_for(policies: &[Policy], kernel: &Kernel) -> anyhow::Result<Facts> {
    let tracepoints = tracepoints_needed(policies);
    let binaries = binaries_needed(policies);
    if let Kernel::Types(file) = kernel {
        return Ok(Facts {
            kernel: from_types(file, &tracepoints, &binaries)?,
            basis: Basis::Types,
        });
    }
    let functions = policies
        .iter()
        .any(|policy| !policy.spec.kprobes.is_empty() || !policy.spec.lists.is_empty());
    match collect(&Needs {
        tracepoints: tracepoints.clone(),
        binaries: binaries.clone(),
        functions,
    }) {
        Ok(kernel) => Ok(Facts {
            kernel,
            basis: Basis::Tried,
        }),
        Err(error) => {
            // without privileges the types can still be read
            let mut kernel =
                from_types(Path::new(RUNNING_BTF), &tracepoints, &binaries).with_context(|| error.to_string())?;
            kernel.release = kprobes::kernel::kernel_release();
            Ok(Facts {
                kernel,
                basis: Basis::TypesInstead {
                    reason: error.to_string(),
                },
            })
        }
    }
}

fn from_types(
    file: &Path,
    tracepoints: &[(String, String)],
    binaries: &BTreeMap<String, BTreeSet<String>>,
) -> anyhow::Result<KernelFacts> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let parsed = if bytes.starts_with(b"\x7fELF") {
        Btf::parse_object(&bytes)
    } else {
        Btf::parse(bytes)
    };
    let btf = parsed.with_context(|| format!("`{}` holds no types of a kernel", file.display()))?;
    let mut formats = BTreeMap::new();
    for (subsystem, event) in tracepoints {
        match assumed::tracepoint_format(&btf, subsystem, event) {
            Some(format) => drop(formats.insert((subsystem.clone(), event.clone()), format)),
            // a compiler that is told of no format says that there is no such tracepoint
            None if subsystem == "syscalls" => {}
            None => bail!(
                "`{}` does not tell the format of the tracepoint `{subsystem}/{event}`\nhelp: leave --btf out on a machine that \
                 runs this kernel",
                file.display()
            ),
        }
    }
    Ok(KernelFacts {
        release: file.display().to_string(),
        arch: assumed::arch(&btf),
        features: assumed::features(&btf),
        tracepoints: formats,
        functions: BTreeSet::new(),
        host_namespaces: assumed::host_namespaces(),
        binaries: probe::binaries(binaries),
        btf: Arc::new(btf),
    })
}
