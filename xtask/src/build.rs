//! Builds binaries with cargo and finds what was built, wherever the target directory is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process;

/// The programs users run, built for release.
pub(crate) struct Programs {
    /// The agent.
    pub(crate) agent: PathBuf,
    /// The command line.
    pub(crate) cli: PathBuf,
}

/// Builds agent and command line for release, or takes those in the directory `$TETRA_PROGRAMS`.
///
/// # Errors
/// If the build fails.
pub(crate) fn programs() -> Result<Programs> {
    if let Some(directory) = std::env::var_os("TETRA_PROGRAMS").map(PathBuf::from) {
        eprintln!("taking agent and command line from {}", directory.display());
        return Ok(Programs {
            agent: directory.join("tetra-agent"),
            cli: directory.join("tetra"),
        });
    }
    eprintln!("building agent and command line");
    let built = executables(&[
        "build",
        "--release",
        "--package",
        "tetra-agent",
        "--package",
        "tetra",
        "--bins",
    ])?;
    let find = |name: &str| {
        let found = built
            .iter()
            .find(|executable| executable.name == name && !executable.is_test);
        found
            .map(|executable| executable.path.clone())
            .with_context(|| format!("cargo built no program `{name}`"))
    };
    Ok(Programs {
        agent: find("tetra-agent")?,
        cli: find("tetra")?,
    })
}

/// Something cargo built that can be run.
pub(crate) struct Executable {
    /// Name of the target.
    pub(crate) name: String,
    /// Package it belongs to.
    pub(crate) package: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it is a test harness.
    pub(crate) is_test: bool,
}

/// Runs cargo with `arguments` and gives the executables it reports; its own messages pass through.
///
/// # Errors
/// If cargo fails.
pub(crate) fn executables(arguments: &[&str]) -> Result<Vec<Executable>> {
    let mut command = process::cargo();
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let line = process::display(&command);
    let output = command.output().with_context(|| format!("running `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}`: {}", output.status);
    }
    let mut found = Vec::new();
    for message in output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: Value = serde_json::from_slice(message).context("message of cargo")?;
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) {
            let manifest = PathBuf::from(message["manifest_path"].as_str().unwrap_or_default());
            let package = manifest
                .parent()
                .and_then(|directory| directory.file_name())
                .unwrap_or_default();
            found.push(Executable {
                name: name.to_owned(),
                package: package.to_string_lossy().into_owned(),
                path: path.into(),
                is_test: message["profile"]["test"] == true,
            });
        }
    }
    Ok(found)
}

/// Builds a small C program next to the other build products and gives its path.
///
/// # Errors
/// If the compiler is missing or refuses the source.
pub(crate) fn c_program(name: &str, source: &str, flags: &[&str]) -> Result<PathBuf> {
    let own = std::env::current_exe().context("path of this program")?;
    let directory = own.parent().context("path of this program")?.join("programs");
    std::fs::create_dir_all(&directory)?;
    let (source_path, path) = (directory.join(format!("{name}.c")), directory.join(name));
    std::fs::write(&source_path, source)?;
    process::output(
        Command::new("gcc")
            .args(["-O2", "-static", "-o"])
            .arg(&path)
            .args(flags)
            .arg(&source_path),
    )?;
    Ok(path)
}
