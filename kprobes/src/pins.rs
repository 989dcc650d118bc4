//! Objects pinned in a bpf file system, so that what they enforce outlives the process that made them.
//!
//! ```text
//!   ROOT/                              one for an agent, see `--bpf-dir`
//!     tetra_0123456789abcdef/          one set of objects; the digits name their layout
//!       maps/NAME                      the shared maps, and the rings
//!       sensor/SYMBOL_program, _link   the base sensor
//!       tetra_active                   the active word; pinned last, so a set without it was never in force
//!       hook_STUB-ID_NAME/             one hook
//!         attach                       where it is attached, as text
//!         slots, stub                  its two programs, and what hands calls on to them
//!         link                         pinned last, so a hook without it is not attached
//! ```
//! A process that ends at any point of this leaves either a hook that the next one can take over, or files that keep nothing in
//! force and that it removes. Nothing is ever renamed or replaced in place.
//!
//! The layout is a hash of everything that two agents must agree on to use the same objects: this format, the version, the
//! kernel side's own code, and the shapes of the maps. Objects of another layout cannot be taken over; they are left alone until
//! what replaces them is in force.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::maps::SensorOptions;
use crate::ring::Rings;
use crate::sys::{self, SysError};
use crate::{hook, sensor};

/// Changes whenever the files above change their meaning.
const FORMAT: u32 = 1;

/// What the directories of sets begin with.
const PREFIX: &str = "tetra_";
/// Directory of the shared maps in a set.
pub(crate) const MAPS: &str = "maps";
/// Directory of the base sensor in a set.
pub(crate) const SENSOR: &str = "sensor";
/// What the directories of hooks begin with.
pub(crate) const HOOK: &str = "hook_";
/// What the names of rings begin with.
pub(crate) const RING: &str = "tetra_ring_";

/// Why pinned objects cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A system call.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// Something in the directory was made by somebody else.
    #[error(
        "`{}` was not pinned by this agent; help: give this agent a directory of its own with --bpf-dir, or remove the file if nobody needs it",
        .0.display()
    )]
    Foreign(PathBuf),
}

/// A directory for pinned objects, and the set in it that this process can use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinDirectory {
    root: PathBuf,
    own: PathBuf,
}

/// What was found in a [`PinDirectory`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PinSurvey {
    /// A complete set of this process's layout is there: it can be taken over.
    pub is_usable: bool,
    /// A set of this layout whose maker ended before it was complete. It keeps nothing in force.
    pub is_incomplete: bool,
    /// Sets of other layouts.
    pub others: Vec<PathBuf>,
    /// What no agent has pinned.
    pub foreign: Vec<PathBuf>,
}

/// What [`PinDirectory::remove_others`] or [`remove_pins`] removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RemovedPins {
    /// Sets of objects.
    pub sets: usize,
    /// Hooks among them, which are detached now.
    pub hooks: usize,
    /// Bytes of records in their rings that nobody has read.
    pub unread_bytes: u64,
}

impl PinDirectory {
    /// A directory below a bpf file system, for objects of the layout that these options and this build make. Nothing is made
    /// or looked at.
    pub fn new(root: &Path, options: &SensorOptions) -> Self {
        Self {
            root: root.to_owned(),
            own: root.join(format!("{PREFIX}{:016x}", layout(options))),
        }
    }

    /// Where the objects of this layout are.
    pub fn path(&self) -> &Path {
        &self.own
    }

    /// Looks what is there. A directory that does not exist is empty.
    ///
    /// # Errors
    /// What the file system says.
    pub fn survey(&self) -> Result<PinSurvey, SysError> {
        let mut survey = PinSurvey::default();
        for path in entries(&self.root)? {
            if path == self.own {
                survey.is_usable = self.own.join(crate::maps::ACTIVE).exists();
                survey.is_incomplete = !survey.is_usable;
            } else if is_set(&path) {
                survey.others.push(path);
            } else {
                survey.foreign.push(path);
            }
        }
        Ok(survey)
    }

    /// Makes the directory for a new set, after removing what an incomplete one has left.
    ///
    /// # Errors
    /// [`PinError::Foreign`] if there is something of somebody else; otherwise what the file system says.
    pub fn prepare(&self) -> Result<(), PinError> {
        let survey = self.survey()?;
        if let Some(path) = survey.foreign.into_iter().next() {
            return Err(PinError::Foreign(path));
        }
        if survey.is_incomplete {
            remove_tree(&self.own)?;
        }
        for directory in [MAPS, SENSOR] {
            make(&self.own.join(directory))?;
        }
        Ok(())
    }

    /// Removes sets of other layouts and detaches their hooks. To be called when what replaces them is in force.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_others(&self) -> Result<RemovedPins, SysError> {
        let mut removed = RemovedPins::default();
        for path in self.survey()?.others {
            remove_set(&path, &mut removed)?;
        }
        Ok(removed)
    }

    /// Removes the pins of this layout, and the directory if nothing else is in it. What this process holds itself stays attached.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> Result<(), SysError> {
        remove_tree(&self.own)?;
        remove_if_empty(&self.root)
    }
}

/// Removes everything that agents of any layout have left pinned in a directory, and detaches it; it is detached when this
/// returns. What others have put there stays.
///
/// # Errors
/// What the file system says.
pub fn remove_pins(root: &Path) -> Result<RemovedPins, SysError> {
    let mut removed = RemovedPins::default();
    for path in entries(root)?.into_iter().filter(|path| is_set(path)) {
        remove_set(&path, &mut removed)?;
    }
    remove_if_empty(root)?;
    Ok(removed)
}

/// Makes a directory and those above it.
pub(crate) fn make(directory: &Path) -> Result<(), SysError> {
    fs::create_dir_all(directory).map_err(|error| failed("mkdir", directory, &error))
}

/// The files of a directory, sorted; none if there is no directory.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, SysError> {
    let of = |error: io::Error| failed("readdir", directory, &error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(of(error)),
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, io::Error>>()
        .map_err(of)?;
    paths.sort();
    Ok(paths)
}

/// Removes a directory with all that is in it. What was attached by nothing else is detached some time later, by a worker of the
/// kernel.
pub(crate) fn remove_tree(directory: &Path) -> Result<(), SysError> {
    let mut paths = entries(directory)?;
    // A link goes before what it needs, so that whoever is interrupted leaves nothing attached that does nothing.
    paths.sort_by_key(|path| !is_link(path));
    for path in paths {
        if path.is_dir() {
            remove_tree(&path)?;
            continue;
        }
        gone(fs::remove_file(&path)).map_err(|error| failed("unlink", &path, &error))?;
    }
    gone(fs::remove_dir(directory)).map_err(|error| failed("rmdir", directory, &error))
}

fn remove_set(path: &Path, removed: &mut RemovedPins) -> Result<(), SysError> {
    removed.sets += 1;
    removed.hooks += entries(path)?.iter().filter(|entry| is_hook(entry)).count();
    let rings: Vec<OwnedFd> = entries(&path.join(MAPS))?
        .iter()
        .filter(|entry| name(entry).starts_with(RING))
        .filter_map(|entry| sys::obj_get(entry).ok())
        .collect();
    // Of another layout, so nobody can say what the bytes mean; only that they are there.
    if let Ok(rings) = Rings::new(rings) {
        removed.unread_bytes += rings.unread_bytes().iter().sum::<u64>();
    }
    let mut programs = Vec::new();
    attached_programs(path, &mut programs)?;
    remove_tree(path)?;
    await_detached(&programs)
}

/// Numbers of the programs that links of a set are for.
fn attached_programs(directory: &Path, numbers: &mut Vec<u32>) -> Result<(), SysError> {
    for path in entries(directory)? {
        if path.is_dir() {
            attached_programs(&path, numbers)?;
        } else if name(&path) == hook::STUB || name(&path).ends_with(sensor::PROGRAM) {
            numbers.push(sys::program_info(sys::obj_get(&path)?.as_fd())?.id);
        }
    }
    Ok(())
}

/// Waits until the kernel has detached what nobody holds any more: a program goes after its link.
fn await_detached(programs: &[u32]) -> Result<(), SysError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + PATIENCE;
    for &program in programs {
        while sys::program_exists(program)? {
            if Instant::now() > deadline {
                return Err(SysError {
                    syscall: "unlink",
                    object: format!("program {program}"),
                    errno: libc::EBUSY,
                    hint: Some("nothing is pinned any more, but another process holds this program or its link"),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

fn remove_if_empty(directory: &Path) -> Result<(), SysError> {
    if directory.exists() && entries(directory)?.is_empty() {
        gone(fs::remove_dir(directory)).map_err(|error| failed("rmdir", directory, &error))?;
    }
    Ok(())
}

/// What is gone already need not be removed.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn is_set(path: &Path) -> bool {
    let digits = name(path).strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && path.is_dir()
}

/// Whether this is the directory of a hook.
pub(crate) fn is_hook(path: &Path) -> bool {
    name(path).starts_with(HOOK)
}

fn is_link(path: &Path) -> bool {
    name(path).ends_with("link")
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn failed(syscall: &'static str, path: &Path, error: &io::Error) -> SysError {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => Some("the directory must be below a bpf file system, and its name without dots"),
        // systemd mounts it for root alone
        Some(libc::EACCES) => Some("run as root, or as somebody who may read the bpf file system"),
        _ => None,
    };
    SysError {
        hint,
        ..SysError::io(syscall, path.display().to_string(), error)
    }
}

/// FNV-1a over everything that two users of the same objects must agree on.
fn layout(options: &SensorOptions) -> u64 {
    let sizes = format!(
        "{FORMAT} {} {options:?} {:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        options.sharding(),
        options.shapes()
    );
    let parts = [sizes.as_bytes(), ebpf::SENSOR, ebpf::RUNTIME, ebpf::RUNTIME_LEGACY];
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        part.iter().fold(hash, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_depends_on_the_sizes_of_maps() {
        let options = SensorOptions::default();
        let larger = SensorOptions {
            ring_bytes: options.ring_bytes * 2,
            ..options.clone()
        };
        assert_eq!(layout(&options), layout(&options.clone()));
        assert_ne!(layout(&options), layout(&larger));
    }

    #[test]
    fn own_sets_of_other_layouts_and_foreign_files_are_told_apart() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let pins = PinDirectory::new(root.path(), &SensorOptions::default());
        assert_eq!(pins.survey().expect("survey"), PinSurvey::default());
        let other = root.path().join("tetra_00000000000000aa");
        let foreign = [root.path().join("__base__"), root.path().join("tetra_maps")];
        for directory in foreign.iter().chain([&other]) {
            fs::create_dir(directory).expect("mkdir");
        }
        make(pins.path()).expect("mkdir");
        let survey = pins.survey().expect("survey");
        assert_eq!((survey.is_usable, survey.is_incomplete), (false, true));
        assert_eq!((survey.others, survey.foreign), (vec![other], foreign.to_vec()));
        let error = pins.prepare().expect_err("foreign files").to_string();
        assert!(error.contains("__base__") && error.contains("--bpf-dir"), "{error}");

        let removed = remove_pins(root.path()).expect("remove");
        assert_eq!(removed.sets, 2);
        assert!(foreign.iter().all(|path| path.exists()), "they are not ours");
    }
}
