//! Prepares the lab: QEMU, virtiofsd, and the kernels with their modules and ramdisks. Does only what is missing.
//!
//! Kernels come from Debian packages of four suites. The suites that this machine does not use are reached through the
//! mirror that apt is configured with, in an apt configuration of their own, so that nothing can be installed from them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Kernel, Lab, bzimage, initrd};
use crate::packages::{self, Need, apt_get};
use crate::process;

/// The guest's first process.
const INIT_SOURCE: &str = include_str!("../../lab/init.c");

/// First major version of QEMU whose emulation runs all the kernels: 7.2 crashes 6.12.
const QEMU_MAJOR: u32 = 10;

const VIRTIOFSD_VERSION: &str = "1.14.0";

const ARCHIVE_KEY: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const NEEDS: &[Need] = &[
    Need {
        package: "gcc",
        proof: "gcc",
        why: "builds the guest's first process",
    },
    Need {
        package: "libc6-dev",
        proof: "/usr/include/stdio.h",
        why: "builds the guest's first process",
    },
    Need {
        package: "kmod",
        proof: "modprobe",
        why: "finds the modules a guest needs to boot",
    },
    Need {
        package: "xz-utils",
        proof: "xz",
        why: "unpacks kernel modules",
    },
    Need {
        package: "zstd",
        proof: "zstd",
        why: "unpacks kernels",
    },
    Need {
        package: "lz4",
        proof: "lz4",
        why: "unpacks kernels",
    },
];

const VIRTIOFSD_NEEDS: &[Need] = &[
    Need {
        package: "libseccomp-dev",
        proof: "/usr/include/seccomp.h",
        why: "builds virtiofsd",
    },
    Need {
        package: "libcap-ng-dev",
        proof: "/usr/include/cap-ng.h",
        why: "builds virtiofsd",
    },
];

/// Where a kernel's packages are.
struct Source {
    suite: &'static str,
    /// Regular expressions over package names. A name may carry an ABI number: the newest that matches is taken.
    packages: &'static [&'static str],
}

fn source(kernel: Kernel) -> Source {
    match kernel {
        Kernel::V5_10 => Source {
            suite: "bullseye",
            packages: &[r"^linux-image-5\.10\.0-[0-9]+-cloud-amd64$"],
        },
        Kernel::V6_1 => Source {
            suite: "bookworm",
            packages: &[r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$"],
        },
        Kernel::V6_12 => Source {
            suite: "bookworm-backports",
            packages: &[r"^linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64$"],
        },
        Kernel::V7_3 => Source {
            suite: "trixie-backports",
            packages: &[
                r"^linux-binary-7\.3\.[0-9]+\+deb13-cloud-amd64$",
                r"^linux-modules-7\.3\.[0-9]+\+deb13-cloud-amd64$",
            ],
        },
    }
}

fn is_fetched(lab: &Lab, kernel: Kernel) -> bool {
    lab.kernel_directory(kernel).join("vmlinux").is_file()
}

/// Makes sure that every one of `kernels` can boot.
///
/// # Errors
/// If something is missing and may not or cannot be installed.
pub(crate) fn setup(lab: &Lab, kernels: &[Kernel], may_install: bool) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the lab needs an x86-64 machine");
    packages::ensure(NEEDS, may_install)?;
    std::fs::create_dir_all(&lab.directory).with_context(|| format!("creating `{}`", lab.directory.display()))?;
    setup_qemu(may_install)?;
    setup_virtiofsd(lab, may_install)?;
    for &kernel in kernels {
        if !is_fetched(lab, kernel) {
            fetch_kernel(lab, kernel, may_install).with_context(|| format!("kernel {}", kernel.name()))?;
        }
        let ramdisk = initrd_path(lab, kernel)?;
        if !ramdisk.is_file() {
            build_initrd(lab, kernel, &ramdisk).with_context(|| format!("ramdisk of kernel {}", kernel.name()))?;
        }
    }
    Ok(())
}

/// Whether QEMU is there and new enough.
fn has_qemu() -> bool {
    let Ok(banner) = process::text(Command::new("qemu-system-x86_64").arg("--version")) else {
        return false;
    };
    let major = banner
        .split("version ")
        .nth(1)
        .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= QEMU_MAJOR)
}

fn setup_qemu(may_install: bool) -> Result<()> {
    if has_qemu() {
        return Ok(());
    }
    eprintln!(
        "missing from this machine:\n  qemu-system-x86      runs the lab's kernels (version {QEMU_MAJOR} or newer)"
    );
    let codename = codename()?;
    if codename == "bookworm" {
        if may_install {
            let list = Path::new("/etc/apt/sources.list.d/tetra-lab-backports.list");
            let line = format!("deb [signed-by={ARCHIVE_KEY}] {} bookworm-backports main\n", mirror()?);
            eprintln!("adding bookworm-backports to apt's sources: {}", list.display());
            std::fs::write(list, line).with_context(|| format!("writing `{}` (root?)", list.display()))?;
        }
        packages::install(&["qemu-system-x86"], Some("bookworm-backports"), may_install)?;
    } else {
        packages::install(&["qemu-system-x86"], None, may_install)?;
    }
    ensure!(has_qemu(), "the distribution's QEMU is older than {QEMU_MAJOR}");
    Ok(())
}

fn setup_virtiofsd(lab: &Lab, may_install: bool) -> Result<()> {
    if lab.virtiofsd().is_some() {
        return Ok(());
    }
    if !may_install {
        bail!(
            "`--no-install` was given: install virtiofsd yourself (package `virtiofsd`, or `cargo install virtiofsd`)"
        );
    }
    packages::ensure(VIRTIOFSD_NEEDS, may_install)?;
    eprintln!("building virtiofsd {VIRTIOFSD_VERSION} (serves this machine's files to the lab's guests)");
    let root = lab.directory.join("cargo");
    process::run(
        process::cargo()
            // built elsewhere: our own target directory and flags are none of its business
            .current_dir("/")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .args([
                "install",
                "--quiet",
                "--locked",
                "--version",
                VIRTIOFSD_VERSION,
                "--root",
            ])
            .arg(&root)
            .arg("virtiofsd"),
    )
}

/// Code name of the Debian release we run on.
fn codename() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.unwrap_or_default().trim_matches('"').to_owned())
}

/// The mirror that apt is configured with: the URI of its entry for this release's main suite.
fn mirror() -> Result<String> {
    let codename = codename()?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .find_map(|text| mirror_in(&text, &codename))
        .with_context(|| {
            format!("apt's sources have no Debian mirror for `{codename}`: the lab's kernels come from there")
        })
}

/// The URI for suite `codename` in an apt source file, of the one-line or the deb822 form.
fn mirror_in(text: &str, codename: &str) -> Option<String> {
    for line in text.lines() {
        // deb [options] URI SUITE COMPONENT...
        let mut words = line.split_whitespace();
        if words.next() == Some("deb") {
            let words: Vec<&str> = words.collect();
            let options = match words.first() {
                Some(first) if first.starts_with('[') => words.iter().position(|word| word.ends_with(']'))? + 1,
                _ => 0,
            };
            if let [uri, suite, components @ ..] = &words[options..]
                && *suite == codename
                && components.contains(&"main")
            {
                return Some(uri.trim_end_matches('/').to_owned());
            }
        }
    }
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let value = stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(value.split_whitespace())
        };
        if field("Suites").is_some_and(|mut suites| suites.any(|suite| suite == codename))
            && field("Components").is_some_and(|mut components| components.any(|component| component == "main"))
        {
            return Some(field("URIs")?.next()?.trim_end_matches('/').to_owned());
        }
    }
    None
}

/// Options that let apt see `suite` and nothing else, with lists of its own.
fn suite_options(lab: &Lab, suite: &str) -> Result<Vec<String>> {
    let apt = lab.directory.join("apt");
    let lists = apt.join(suite);
    std::fs::create_dir_all(lists.join("partial"))?;
    let source = apt.join(format!("{suite}.list"));
    std::fs::write(
        &source,
        format!("deb [signed-by={ARCHIVE_KEY}] {} {suite} main\n", mirror()?),
    )?;
    let mut options = Vec::new();
    for option in [
        format!("Dir::Etc::sourcelist={}", source.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::Lists={}", lists.display()),
        "APT::Sandbox::User=root".to_owned(),
    ] {
        options.extend(["-o".to_owned(), option]);
    }
    Ok(options)
}

fn fetch_kernel(lab: &Lab, kernel: Kernel, may_install: bool) -> Result<()> {
    let Source { suite, packages } = source(kernel);
    if !may_install {
        bail!(
            "`--no-install` was given: `cargo xtask lab --setup` fetches it from {suite} (it is unpacked, not installed)"
        );
    }
    eprintln!("fetching kernel {} from {suite} into the lab", kernel.name());
    let options = suite_options(lab, suite)?;
    process::output(apt_get().args(&options).args(["update", "-qq"]))?;
    let directory = lab.kernel_directory(kernel);
    let (download, unpacked) = (directory.join("deb"), directory.join("root"));
    for scratch in [&download, &unpacked] {
        if scratch.exists() {
            std::fs::remove_dir_all(scratch)?;
        }
        std::fs::create_dir_all(scratch)?;
    }
    for pattern in packages {
        let package = newest_package(&options, pattern)?;
        process::output(
            apt_get()
                .current_dir(&download)
                .args(&options)
                .args(["download", "-qq", &package]),
        )?;
    }
    for deb in files_under(&download)? {
        process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked))?;
    }
    let files = files_under(&unpacked)?;
    let image = files
        .iter()
        .find(|file| {
            file.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        })
        .context("the packages hold no vmlinuz")?;
    let vmlinux = bzimage::extract_vmlinux(&std::fs::read(image)?)?;

    let modules = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path));
    let modules = modules
        .iter()
        .find(|path| path.is_dir())
        .context("the packages hold no modules")?;
    let kept = directory.join("lib/modules");
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    std::fs::create_dir_all(directory.join("lib"))?;
    std::fs::rename(modules, &kept)?;
    let depmod = process::find("depmod").context("depmod is missing")?;
    process::output(
        Command::new(depmod)
            .arg("-b")
            .arg(&directory)
            .arg(release(lab, kernel)?),
    )?;
    if let Some(config) = files.iter().find(|file| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("config-"))
    }) {
        std::fs::copy(config, directory.join("config"))?;
    }
    std::fs::remove_dir_all(&download)?;
    std::fs::remove_dir_all(&unpacked)?;
    // last: its presence says that everything else is there
    std::fs::write(directory.join("vmlinux.new"), vmlinux)?;
    std::fs::rename(directory.join("vmlinux.new"), directory.join("vmlinux"))?;
    Ok(())
}

/// The newest package whose name matches `pattern`, by the numbers in the name.
fn newest_package(options: &[String], pattern: &str) -> Result<String> {
    let found = process::text(
        Command::new("apt-cache")
            .args(options)
            .args(["search", "--names-only", pattern]),
    )?;
    let names = found.lines().filter_map(|line| line.split_whitespace().next());
    names
        .max_by_key(|name| numbers(name))
        .map(str::to_owned)
        .with_context(|| format!("no package matches `{pattern}` (the mirror may have moved on to a newer kernel)"))
}

/// All runs of digits in `name`, as numbers.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn files_under(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// `uname -r` of `kernel`.
fn release(lab: &Lab, kernel: Kernel) -> Result<String> {
    let modules = lab.kernel_directory(kernel).join("lib/modules");
    let mut entries = std::fs::read_dir(&modules).with_context(|| format!("reading `{}`", modules.display()))?;
    let entry = entries
        .next()
        .with_context(|| format!("`{}` is empty", modules.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// FNV-1a: names files after their sources, nothing more.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Where the ramdisk of `kernel` is or will be.
pub(super) fn initrd_path(lab: &Lab, kernel: Kernel) -> Result<PathBuf> {
    let sources = format!("{INIT_SOURCE}{}", release(lab, kernel)?);
    Ok(lab
        .kernel_directory(kernel)
        .join(format!("initrd-{:016x}", fingerprint(&sources))))
}

fn build_initrd(lab: &Lab, kernel: Kernel, path: &Path) -> Result<()> {
    let init = lab.directory.join(format!("init-{:016x}", fingerprint(INIT_SOURCE)));
    if !init.is_file() {
        let source = init.with_extension("c");
        std::fs::write(&source, INIT_SOURCE)?;
        process::output(
            Command::new("gcc")
                .args(["-O2", "-Wall", "-static", "-o"])
                .arg(&init)
                .arg(&source),
        )?;
        std::fs::remove_file(&source)?;
    }
    let directory = lab.kernel_directory(kernel);
    let archive = initrd::build(&directory, &release(lab, kernel)?, &std::fs::read(&init)?)?;
    let new = path.with_extension("new");
    std::fs::write(&new, archive)?;
    std::fs::rename(&new, path)?;
    // ramdisks of earlier versions of init.c
    for entry in std::fs::read_dir(&directory)?.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("initrd-") && entry.path() != path {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_found_in_both_forms() {
        let one_line = "# comment\ndeb [arch=amd64 signed-by=/x.gpg] mirror://a/other stable main\n\
                        deb [arch=amd64 trusted=no signed-by=/x.gpg] mirror://a/debian/ bookworm main contrib\n";
        assert_eq!(mirror_in(one_line, "bookworm").as_deref(), Some("mirror://a/debian"));
        let deb822 = "Types: deb\nURIs: mirror://b/security\nSuites: bookworm-security\nComponents: main\n\n\
                      Types: deb\n# note\nURIs: mirror://b/debian\nSuites: bookworm bookworm-updates\nComponents: main\n";
        assert_eq!(mirror_in(deb822, "bookworm").as_deref(), Some("mirror://b/debian"));
        assert_eq!(mirror_in(deb822, "trixie"), None);
    }

    #[test]
    fn newest_is_by_number_not_by_letter() {
        assert!(numbers("linux-image-6.1.0-9-cloud-amd64") < numbers("linux-image-6.1.0-50-cloud-amd64"));
        assert!(numbers("linux-binary-7.3.4+deb13-cloud-amd64") < numbers("linux-binary-7.3.10+deb13-cloud-amd64"));
    }
}
