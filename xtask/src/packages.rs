//! Installs what a task needs and the machine lacks, from the Debian mirror that apt is configured with.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Something a task needs from the distribution.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// Debian package.
    pub(crate) package: &'static str,
    /// A program on the path, or a file by absolute path, that shows that the package is there.
    pub(crate) proof: &'static str,
    /// Why it is needed, for the person who is asked to accept it.
    pub(crate) why: &'static str,
}

impl Need {
    fn is_met(&self) -> bool {
        if self.proof.starts_with('/') {
            Path::new(self.proof).exists()
        } else {
            process::find(self.proof).is_some()
        }
    }
}

/// What every build of the workspace needs.
pub(crate) const BUILD: &[Need] = &[
    Need {
        package: "gcc",
        proof: "cc",
        why: "links Rust programs and builds small test programs",
    },
    Need {
        package: "libc6-dev",
        proof: "/usr/include/stdio.h",
        why: "headers for the small test programs",
    },
    Need {
        package: "clang",
        proof: "clang",
        why: "compiles the kernel side in ebpf/",
    },
    Need {
        package: "llvm",
        proof: "llvm-objdump",
        why: "reads the objects our compiler writes",
    },
    Need {
        package: "linux-libc-dev",
        proof: "/usr/include/linux/bpf.h",
        why: "BPF headers for the kernel side",
    },
];

/// What the tests need besides.
pub(crate) const TEST: &[Need] = &[
    Need {
        package: "bpftool",
        proof: "bpftool",
        why: "independent loader and dumper of programs and links",
    },
    Need {
        package: "python3-venv",
        proof: "python3",
        why: "an independent client of the agent's API",
    },
];

/// Makes sure that all `needs` are met.
///
/// # Errors
/// If something is missing and may not or cannot be installed; the message says what.
pub(crate) fn ensure(needs: &[Need], may_install: bool) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("missing from this machine:");
    for need in &missing {
        eprintln!("  {:<20} {}", need.package, need.why);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    install(&packages, None, may_install)?;
    if let Some(need) = missing.iter().find(|need| !need.is_met()) {
        bail!(
            "package `{}` was installed but `{}` is still missing",
            need.package,
            need.proof
        );
    }
    Ok(())
}

/// Installs Debian packages, from `suite` if one is named.
///
/// # Errors
/// If installing is not allowed, apt or root is missing, or apt-get fails.
pub(crate) fn install(packages: &[&str], suite: Option<&str>, may_install: bool) -> Result<()> {
    let list = packages.join(" ");
    if !may_install {
        bail!("`--no-install` was given: install `{list}` yourself, for instance with `apt-get install {list}`");
    }
    if process::find("apt-get").is_none() {
        bail!("this machine has no apt-get: install what Debian calls `{list}`");
    }
    if process::text(Command::new("id").arg("-u"))? != "0" {
        bail!("installing `{list}` needs root: run `apt-get install {list}` as root");
    }
    eprintln!("installing {list} with apt-get");
    process::run(apt_get().args(["update", "-qq"]))?;
    let mut command = apt_get();
    command.args(["install", "-qq", "-y", "--no-install-recommends"]);
    if let Some(suite) = suite {
        command.args(["-t", suite]);
    }
    // apt-get's own progress goes to stdout, where a task's result belongs
    process::output(command.args(packages))?;
    Ok(())
}

/// apt-get that asks nothing.
pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}
