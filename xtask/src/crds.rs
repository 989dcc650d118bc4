//! CRD files, from the types that read policies: users get the schema that the agent enforces.

use std::process::ExitCode;

use anyhow::Result;

use crate::process;

/// Arguments of `cargo xtask crds`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if a file is not what would be written
    #[arg(long)]
    check: bool,
}

/// Runs the task: builds ourselves again with the policy crate, which the other tasks do without.
///
/// # Errors
/// If cargo cannot be run.
#[cfg(not(feature = "crds"))]
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut command = process::cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "xtask",
        "--features",
        "crds",
        "--",
        "crds",
    ]);
    if arguments.check {
        command.arg("--check");
    }
    let status = command.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the task.
///
/// # Errors
/// If a file cannot be written.
#[cfg(feature = "crds")]
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    use anyhow::Context as _;
    use tracingpolicy_crd::{PolicyKind, schema};

    let directory = process::workspace().join("install/crds");
    let mut stale = false;
    for (kind, file) in [
        (PolicyKind::Cluster, "cilium.io_tracingpolicies.yaml"),
        (PolicyKind::Namespaced, "cilium.io_tracingpoliciesnamespaced.yaml"),
    ] {
        let path = directory.join(file);
        let text = schema::crd_yaml(kind);
        let is_current = std::fs::read_to_string(&path).is_ok_and(|old| old == text);
        if is_current {
            continue;
        }
        if arguments.check {
            eprintln!(
                "`{}` is not what the policy types say: run `cargo xtask crds`",
                path.display()
            );
            stale = true;
        } else {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
            println!("wrote {}", path.display());
        }
    }
    Ok(if stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
