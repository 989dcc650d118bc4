//! The kernel lab: four Debian kernels under QEMU's software emulation, with this machine's root as the guest's root.
//!
//! A guest sees the host's files read-only through virtiofs, with a tmpfs on top for its own writes, so a command runs in
//! it exactly as it would here but on another kernel. `--icount` makes every guest instruction last one nanosecond of guest
//! time, which turns clock differences into instruction counts.
//!
//! Everything lives in `$TETRA_LAB`, by default `~/.cache/tetra-lab`:
//!
//! ```text
//! k/VERSION/vmlinux        kernel, extracted from the package's bzImage (QEMU boots it by PVH)
//! k/VERSION/lib/modules/   its modules
//! k/VERSION/initrd-HASH    initial ramdisk; HASH changes with lab/init.c
//! init-HASH                the guest's first process
//! cargo/bin/virtiofsd      unless the distribution has a package of it
//! apt/                     package lists of the suites that the kernels come from
//! ```
//!
//! Sockets and logs of a running guest are in a temporary directory of its own.

mod bzimage;
mod channel;
mod initrd;
mod machine;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

pub(crate) use machine::{Machine, Options, Outcome, Sink, Streams};
pub(crate) use setup::setup;

/// A kernel of the lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 11's: no BPF LSM by default, no `bpf_loop`, no module BTF
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12's
    #[value(name = "6.1")]
    V6_1,
    /// Debian 12's backport; the one benchmarks name
    #[value(name = "6.12")]
    V6_12,
    /// Debian 13's backport
    #[value(name = "7.3")]
    V7_3,
}

impl Kernel {
    /// All of them, oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V7_3];

    /// Version as users write it; also its directory in the lab.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_3 => "7.3",
        }
    }
}

/// Where the lab's files are.
pub(crate) struct Lab {
    directory: PathBuf,
}

impl Lab {
    /// `$TETRA_LAB` or its default; nothing is created.
    pub(crate) fn locate() -> Result<Self> {
        let directory = match std::env::var_os("TETRA_LAB") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(std::env::var_os("HOME").context("neither TETRA_LAB nor HOME is set")?)
                .join(".cache/tetra-lab"),
        };
        Ok(Self { directory })
    }

    fn kernel_directory(&self, kernel: Kernel) -> PathBuf {
        self.directory.join("k").join(kernel.name())
    }

    /// virtiofsd of the distribution, or the one built into the lab.
    fn virtiofsd(&self) -> Option<PathBuf> {
        [
            self.directory.join("cargo/bin/virtiofsd"),
            "/usr/libexec/virtiofsd".into(),
        ]
        .into_iter()
        .find(|path| path.is_file())
        .or_else(|| crate::process::find("virtiofsd"))
    }
}

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Prepare the lab and stop
    #[arg(long)]
    setup: bool,
    /// Refuse to install anything
    #[arg(long)]
    no_install: bool,
    /// Kernel to boot
    #[arg(short, long, default_value = "6.12")]
    kernel: Kernel,
    #[command(flatten)]
    machine: Options,
    /// Command to run as root in the current directory
    #[arg(last = true, required_unless_present = "setup")]
    command: Vec<String>,
}

/// Runs the task.
///
/// # Errors
/// If the lab cannot be set up or the guest fails; a failing command is a status, not an error.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let lab = Lab::locate()?;
    if arguments.setup {
        setup(&lab, &Kernel::ALL, !arguments.no_install)?;
        println!("lab ready in {}", lab.directory.display());
        return Ok(ExitCode::SUCCESS);
    }
    setup(&lab, &[arguments.kernel], !arguments.no_install)?;
    let machine = Machine {
        kernel: arguments.kernel,
        options: arguments.machine,
        environment: Vec::new(),
    };
    let timeout = machine.options.timeout;
    match machine.run(&lab, &arguments.command, &mut Streams)? {
        Outcome::Exited(status) => Ok(ExitCode::from(status)),
        Outcome::TimedOut => {
            eprintln!("lab: time-out after {} s", Duration::as_secs(&timeout));
            Ok(ExitCode::from(124))
        }
    }
}
