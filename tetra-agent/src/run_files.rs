//! Files that say that an agent runs, and where to reach it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

/// The pid file, locked for as long as the agent runs: the kernel releases the lock whatever happens to the agent.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    _lock: Flock<File>,
}

impl PidFile {
    /// Takes the place of the only agent.
    ///
    /// # Errors
    /// If another one runs, or the file can't be written.
    pub fn acquire(run_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(run_dir).with_context(|| format!("creating {}", run_dir.display()))?;
        let path = run_dir.join("tetragon.pid");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, _)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).unwrap_or_default();
                bail!(
                    "another agent runs already (pid {}, {}); help: stop it first, or start this one with another --run-dir and \
                     --server-address",
                    pid.trim(),
                    path.display()
                );
            }
        };
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The file from which clients learn where the API is served.
#[derive(Debug)]
pub struct InfoFile(PathBuf);

impl InfoFile {
    /// Writes it, under another name first: who reads it reads it whole.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(run_dir: &Path, server_address: &str, export_filename: &str) -> anyhow::Result<Self> {
        let path = run_dir.join("tetragon-info.json");
        let text = json!({
            "export_fname": export_filename,
            "lib_dir": "",
            "btf_fname": "/sys/kernel/btf/vmlinux",
            "server_address": server_address,
            "metrics_address": "",
            "gops_address": "",
            "map_dir": "",
            "bpftool_path": "",
            "gops_path": "",
            "max_recv_size": 0,
            "pid": std::process::id(),
        });
        let temporary = path.with_extension("json.tmp");
        std::fs::write(&temporary, text.to_string()).with_context(|| format!("writing {}", temporary.display()))?;
        std::fs::rename(&temporary, &path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for InfoFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a file stays behind");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_until_the_first_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = PidFile::acquire(directory.path()).unwrap();
        let error = PidFile::acquire(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains(&std::process::id().to_string()) && error.contains("help:"),
            "{error}"
        );
        drop(first);
        assert!(!directory.path().join("tetragon.pid").exists());
        PidFile::acquire(directory.path()).unwrap();
    }

    #[test]
    fn the_info_file_names_the_address() {
        let directory = tempfile::tempdir().unwrap();
        let info = InfoFile::write(directory.path(), "unix:///x", "").unwrap();
        let text = std::fs::read_to_string(directory.path().join("tetragon-info.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["server_address"], &value["pid"]),
            (&json!("unix:///x"), &json!(std::process::id()))
        );
        drop(info);
        assert!(!directory.path().join("tetragon-info.json").exists());
    }
}
