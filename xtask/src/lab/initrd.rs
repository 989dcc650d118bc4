//! The guest's initial ramdisk: one static program and the modules it needs to reach virtiofs, as an uncompressed
//! `newc` cpio archive (<https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>).

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// Modules a guest needs before it has its root. What a kernel has built in is left out by modprobe.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtiofs", "overlay"];

/// An archive under construction.
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            entries: 0,
        }
    }

    /// Appends an entry; `mode` holds the file type too.
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries, // inode number
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // mtime: zero, so that equal inputs give equal archives
            u32::try_from(data.len()).expect("ramdisk entries are small"),
            0,
            0, // device of the file
            0,
            0, // device it stands for
            u32::try_from(name.len() + 1).expect("names are short"),
            0, // checksum, not used by this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn directory(&mut self, name: &str) {
        self.add(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.add(name, 0o100_000 | mode, data);
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

/// Builds the ramdisk for the kernel in `directory` (holding `lib/modules/RELEASE`) around the program `init`.
pub(super) fn build(directory: &Path, release: &str, init: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for name in ["dev", "proc", "sys", "lower", "upper", "newroot", "modules"] {
        archive.directory(name);
    }
    archive.file("init", 0o755, init);
    let mut list = String::new();
    for path in module_files(directory, release)? {
        let bytes = if Path::new(&path).extension().is_some_and(|extension| extension == "xz") {
            process::output(Command::new("xz").args(["-dc", &path]))?
        } else {
            std::fs::read(&path).with_context(|| format!("reading `{path}`"))?
        };
        let name = path.rsplit('/').next().expect("a path").trim_end_matches(".xz");
        archive.file(&format!("modules/{name}"), 0o644, &bytes);
        list.push_str(name);
        list.push('\n');
    }
    archive.file("modules/list", 0o644, list.as_bytes());
    Ok(archive.finish())
}

/// Files of [`MODULES`] and what they depend on, in the order in which they load.
fn module_files(directory: &Path, release: &str) -> Result<Vec<String>> {
    let mut files: Vec<String> = Vec::new();
    for module in MODULES {
        let modprobe = process::find("modprobe").context("modprobe is missing")?;
        // fails for what is neither a module nor known as built in, which is what an all-built-in kernel looks like
        let shown = Command::new(modprobe)
            .arg("-d")
            .arg(directory)
            .args(["-S", release, "--show-depends", module])
            .output()
            .context("running modprobe")?;
        for line in String::from_utf8_lossy(&shown.stdout).lines() {
            if let Some(path) = line.strip_prefix("insmod ") {
                let path = path.trim().to_owned();
                if !files.contains(&path) {
                    files.push(path);
                }
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_ends_them() {
        let mut archive = Archive::new();
        archive.directory("dev");
        archive.file("init", 0o755, b"#!odd");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let second = 110 + 4 + 2; // header, `dev` and its NUL, padding to four
        assert_eq!(&bytes[second..second + 6], b"070701");
        assert_eq!(
            &bytes[second + 14..second + 22],
            b"000081ed",
            "mode of a regular file 0755"
        );
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
