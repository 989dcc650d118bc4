//! What outlives the agent, and what a former one has left.
//!
//! With `keep-sensors-on-exit` programs, hooks and maps are pinned below `bpf-dir`. They enforce while no agent runs, whatever
//! happened to it. The next agent takes them over and puts its own policies in their place at one instant, so there is no time
//! without enforcement; that it does with or without the setting, which only says whether they stay pinned afterwards.
//! Objects that this version cannot use are replaced: the new ones are in force before the old ones are detached.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kprobes::sys::{Filesystem, ensure_mounted};
use kprobes::{PinDirectory, PinSurvey, Sensor, SensorOptions, SharedMaps, remove_pins};

use crate::manager::{LiveKernel, Manager};

/// Where bpf file systems are mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// Where objects are pinned, and whether they are.
#[derive(Debug)]
pub struct Persistence {
    directory: PinDirectory,
    survey: PinSurvey,
    keep: bool,
}

impl Persistence {
    /// Looks what is pinned in the directory `name` below the bpf file system. Nothing is changed.
    ///
    /// # Errors
    /// If the file system can't be read, or `keep` asks for one and it can't be mounted.
    pub fn new(name: &Path, keep: bool, options: &SensorOptions) -> anyhow::Result<Self> {
        if keep {
            ensure_mounted(Filesystem::Bpffs).context("keeping sensors needs a bpf file system")?;
        }
        let directory = PinDirectory::new(&root(name), options);
        let survey = directory.survey().context("looking for pinned objects")?;
        Ok(Self {
            directory,
            survey,
            keep,
        })
    }

    /// Whether a former agent's objects are taken over.
    pub fn is_taking_over(&self) -> bool {
        self.survey.is_usable
    }

    /// Whether everything stays in force when the agent ends.
    pub fn keeps(&self) -> bool {
        self.keep
    }

    /// The process sensor: the pinned one, or a new one.
    ///
    /// # Errors
    /// If it can't be loaded, taken over or pinned.
    pub fn sensor(&self, options: &SensorOptions) -> anyhow::Result<Sensor> {
        if self.is_taking_over() {
            return Sensor::adopt(options, &self.directory).with_context(|| {
                format!(
                    "taking over what is pinned in {}; help: `tetra-agent uninstall` removes it, and ends its enforcement",
                    self.directory.path().display()
                )
            });
        }
        let sensor = Sensor::load(options).context("loading the process sensor")?;
        if self.keep {
            sensor.pin(&self.directory).context("pinning the process sensor")?;
        }
        Ok(sensor)
    }

    /// The policy hooks over the sensor's maps: the pinned ones, which are in force, or none.
    ///
    /// # Errors
    /// If they can't be taken over.
    pub fn hooks(&self, maps: &SharedMaps) -> anyhow::Result<LiveKernel> {
        if self.is_taking_over() {
            let (kernel, hooks) = LiveKernel::adopt(maps, &self.directory).context("taking over the pinned hooks")?;
            tracing::info!(
                hooks,
                directory = %self.directory.path().display(),
                "took over what a former agent has left in force"
            );
            return Ok(kernel);
        }
        let mut kernel = LiveKernel::new(maps).context("preparing the policy hooks")?;
        if self.keep {
            kernel
                .set_pins(Some(self.directory.path()))
                .context("pinning the policy hooks")?;
        }
        Ok(kernel)
    }

    /// Removes what is not needed any more, now that this agent's policies are in force: objects of other versions, and all pins
    /// if nothing shall be kept. Trouble is logged; what stays behind then still enforces.
    pub fn settle(&self, manager: &mut Manager<LiveKernel>) {
        match self.directory.remove_others() {
            Ok(removed) if removed.sets > 0 => {
                tracing::info!(
                    sets = removed.sets,
                    hooks = removed.hooks,
                    lost_bytes = removed.unread_bytes,
                    "replaced what an agent of another version has left; its unread records are lost"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "hooks of an agent of another version stay attached"),
        }
        if self.keep || !(self.survey.is_usable || self.survey.is_incomplete) {
            return;
        }
        let unpinned = manager
            .kernel_mut()
            .set_pins(None)
            .and_then(|()| self.directory.remove());
        if let Err(error) = unpinned {
            tracing::error!(%error, "pinned objects stay behind; `tetra-agent uninstall` removes them");
        }
    }
}

/// Detaches and removes everything that agents have left pinned; returns the text that says so.
///
/// # Errors
/// What the file system says.
pub fn uninstall(name: &Path) -> anyhow::Result<String> {
    let root = root(name);
    let removed = remove_pins(&root).context("removing pinned objects")?;
    Ok(match (removed.sets, removed.unread_bytes) {
        (0, _) => format!("nothing is pinned in {}", root.display()),
        (_, 0) => format!("{} hooks detached, {} is clean", removed.hooks, root.display()),
        (_, bytes) => format!(
            "{} hooks detached, {} is clean; {bytes} bytes of records that nobody has read are gone",
            removed.hooks,
            root.display()
        ),
    })
}

fn root(name: &Path) -> PathBuf {
    Path::new(BPFFS).join(name)
}
