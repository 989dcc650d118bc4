//! The files with policies: what is in them is in force, also after they have changed.
//!
//! The directory is looked at once a second. That sees what any editor, package manager or ConfigMap of Kubernetes does to it, on
//! any file system. A change counts once two looks in a row have found the same, so a file that is still being written is left
//! alone. All changes are made at once. A text that is refused leaves what was in force before; a directory that cannot be read
//! changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use similar::TextDiff;

use crate::config::Config;
use crate::manager::{Change, DOMAIN_STATIC, Kernel, Loaded, Manager, PolicyKey, read_policy_files};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: device, inode, time of change, size.
type Print = (u64, u64, i64, i64, u64);

/// A file whose text was looked at.
#[derive(Debug, Default)]
struct Known {
    /// The text that was tried last, in force or refused.
    text: String,
    /// The policies of it that are in force, or of the text before it.
    keys: Vec<PolicyKey>,
    /// The text that these come from.
    in_force: String,
}

/// Files with policies.
#[derive(Debug)]
pub struct PolicyFiles {
    directory: PathBuf,
    /// The directory was asked for: it must be there at the start.
    must_exist: bool,
    /// One more file.
    single: Option<PathBuf>,
    known: BTreeMap<String, Known>,
    prints: BTreeMap<PathBuf, Print>,
    /// What was found last has been dealt with.
    settled: bool,
    /// It has been said that the directory cannot be read.
    complained: bool,
}

impl PolicyFiles {
    /// Those that the configuration names.
    pub fn new(config: &Config) -> Self {
        Self {
            directory: config.tracing_policy_dir.clone(),
            must_exist: config.tracing_policy_dir_given,
            single: config.tracing_policy.clone(),
            known: BTreeMap::new(),
            prints: BTreeMap::new(),
            settled: false,
            complained: false,
        }
    }

    /// Names and texts, to be put in force for the first time. A file that can't be read is logged.
    ///
    /// # Errors
    /// If the file or directory that was asked for is not there.
    pub fn read(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        self.prints = self.look().unwrap_or_default();
        self.settled = true;
        let mut files = match read_policy_files(&self.directory) {
            Ok(files) => files,
            Err(_) if self.directory.as_os_str().is_empty() => Vec::new(),
            Err(error) if self.must_exist => {
                return Err(error).with_context(|| format!("reading {}", self.directory.display()));
            }
            Err(error) => {
                tracing::debug!(directory = %self.directory.display(), %error, "no policies are read from the default directory");
                self.complained = true;
                Vec::new()
            }
        };
        files.extend(self.single.clone());
        let mut texts = Vec::with_capacity(files.len());
        for file in files {
            match std::fs::read_to_string(&file) {
                Ok(text) => texts.push((file.display().to_string(), text)),
                Err(error) if Some(&file) == self.single.as_ref() && !file.exists() => {
                    return Err(error).with_context(|| format!("reading {}", file.display()));
                }
                Err(error) => tracing::error!(file = %file.display(), %error, "policy is not in force"),
            }
        }
        Ok(texts)
    }

    /// Notes what became of the texts of [`Self::read`].
    pub fn loaded(&mut self, texts: Vec<(String, String)>, loaded: Vec<Loaded>) {
        for ((file, text), loaded) in texts.into_iter().zip(loaded) {
            let mut known = Known {
                text,
                ..Known::default()
            };
            match loaded {
                Ok(keys) => {
                    for key in &keys {
                        tracing::info!(policy = %key, file, "policy loaded");
                    }
                    known.in_force.clone_from(&known.text);
                    known.keys = keys;
                }
                Err(error) => tracing::error!(file, "policy is not in force: {:#}", anyhow::Error::from(error)),
            }
            self.known.insert(file, known);
        }
    }

    /// Looks whether files have changed, and puts in force what is in them then.
    pub fn follow<K: Kernel>(&mut self, manager: &Mutex<Manager<K>>, stopping: &AtomicBool) {
        let Some(prints) = self.look() else { return };
        if prints != self.prints {
            self.prints = prints;
            self.settled = false;
            return;
        }
        if !std::mem::replace(&mut self.settled, true) {
            self.reconcile(manager, stopping);
        }
    }

    /// The state of every file; `None` if the directory cannot be read.
    fn look(&mut self) -> Option<BTreeMap<PathBuf, Print>> {
        let files = if self.directory.as_os_str().is_empty() {
            Vec::new()
        } else {
            match read_policy_files(&self.directory) {
                Ok(files) => files,
                Err(error) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        tracing::warn!(
                            directory = %self.directory.display(), %error,
                            "policies cannot be read any more; what is in force stays"
                        );
                    }
                    return None;
                }
            }
        };
        self.complained = false;
        let print = |path: PathBuf| {
            let found = std::fs::metadata(&path).ok()?;
            let print = (
                found.dev(),
                found.ino(),
                found.mtime(),
                found.mtime_nsec(),
                found.size(),
            );
            Some((path, print))
        };
        Some(files.into_iter().chain(self.single.clone()).filter_map(print).collect())
    }

    fn reconcile<K: Kernel>(&mut self, manager: &Mutex<Manager<K>>, stopping: &AtomicBool) {
        let mut texts: BTreeMap<String, Option<String>> = self.known.keys().map(|file| (file.clone(), None)).collect();
        for path in self.prints.keys() {
            let file = path.display().to_string();
            match std::fs::read_to_string(path) {
                Ok(text) => drop(texts.insert(file, Some(text))),
                // gone since: the next look finds that
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => drop(texts.remove(&file)),
                Err(error) => {
                    tracing::error!(file, %error, "policy file cannot be read; what is in force stays");
                    texts.remove(&file);
                }
            }
        }
        texts.retain(|file, text| match (self.known.get(file), text) {
            (Some(known), Some(text)) => known.text != *text,
            _ => true,
        });
        if texts.is_empty() {
            return;
        }
        let none = Known::default();
        let changes: Vec<Change<'_>> = texts
            .iter()
            .map(|(file, text)| Change {
                name: file,
                text: text.as_deref(),
                replaces: &self.known.get(file).unwrap_or(&none).keys,
            })
            .collect();
        let mut manager = manager.lock().unwrap_or_else(PoisonError::into_inner);
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let outcomes = manager.change(&changes, DOMAIN_STATIC);
        drop(manager);
        match outcomes {
            Ok(outcomes) => {
                for ((file, text), outcome) in texts.into_iter().zip(outcomes) {
                    self.note(&file, text, outcome);
                }
            }
            Err(error) => {
                // the next look tries again
                self.settled = false;
                tracing::error!(
                    "policy files have changed, but what was in force stays: {:#}",
                    anyhow::Error::from(error)
                );
            }
        }
    }

    /// Says what became of a file.
    fn note(&mut self, file: &str, text: Option<String>, outcome: Loaded) {
        let Some(text) = text else {
            let known = self.known.remove(file).unwrap_or_default();
            let policies = names(&known.keys);
            tracing::info!(
                file,
                policies,
                "policy file is gone: its policies are no longer in force"
            );
            return;
        };
        let known = self.known.entry(file.to_owned()).or_default();
        match outcome {
            Ok(keys) => {
                let policies = names(&keys);
                if known.in_force.is_empty() {
                    tracing::info!(file, policies, "new policy file: it is in force");
                } else {
                    let changes = difference(&known.in_force, &text);
                    tracing::info!(file, policies, "policy file has changed: it is in force\n{changes}");
                }
                known.in_force.clone_from(&text);
                known.keys = keys;
            }
            Err(error) if known.keys.is_empty() => {
                tracing::error!(file, "policy is not in force: {:#}", anyhow::Error::from(error));
            }
            Err(error) => {
                let policies = names(&known.keys);
                tracing::error!(
                    file,
                    policies,
                    "policy file has changed, but what it said before stays in force: {:#}",
                    anyhow::Error::from(error)
                );
            }
        }
        known.text = text;
    }
}

fn names(keys: &[PolicyKey]) -> String {
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What has changed, as `diff -u` shows it.
fn difference(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(2)
        .to_string()
        .trim_end()
        .to_owned()
}

/// Follows the files until it is told to stop.
#[derive(Debug)]
pub struct Follower {
    stopping: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    /// Begins.
    pub fn start<K: Kernel + Send + 'static>(mut files: PolicyFiles, manager: Arc<Mutex<Manager<K>>>) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let (manager, stop) = (Arc::clone(&manager), Arc::clone(&stop));
                // reading files and loading programs would hold the API up
                let looked = tokio::task::spawn_blocking(move || {
                    files.follow(&manager, &stop);
                    files
                });
                match looked.await {
                    Ok(back) => files = back,
                    Err(error) => return tracing::error!(%error, "policy files are no longer followed"),
                }
            }
        });
        Self { stopping, task }
    }

    /// Ends. Nothing is put in force any more once whoever calls this has had the manager's lock.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
