//! Maps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use super::attr::{self, MapCreate, MapElement, MapFreeze};
use super::preemption::Unpreempted;
use super::{SysError, bpf, bpf_fd, object_name};

/// `enum bpf_map_type`, as far as it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum MapType {
    Hash = 1,
    Array = 2,
    ProgArray = 3,
    PercpuHash = 5,
    PercpuArray = 6,
    LruHash = 9,
    LpmTrie = 11,
    ArrayOfMaps = 12,
    RingBuf = 27,
}

impl MapType {
    /// The type with the kernel's number.
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Hash,
            Self::Array,
            Self::ProgArray,
            Self::PercpuHash,
            Self::PercpuArray,
            Self::LruHash,
            Self::LpmTrie,
            Self::ArrayOfMaps,
            Self::RingBuf,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == number)
    }

    /// Whether user space sees one value for each possible CPU.
    fn is_percpu(self) -> bool {
        matches!(self, Self::PercpuHash | Self::PercpuArray)
    }
}

/// What a map is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapShape {
    /// Kind.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Elements; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
}

impl MapShape {
    /// `BPF_F_NO_PREALLOC`: memory for the elements of a hash is allocated as they come, not when it is created.
    pub const NO_PREALLOC: u32 = 1 << 0;
}

/// What to do if the key is there already, or not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateMode {
    /// Write in any case.
    Any = 0,
    /// Only create (`BPF_NOEXIST`).
    Create = 1,
    /// Only replace (`BPF_EXIST`).
    Replace = 2,
}

/// A map, closed on drop.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    name: String,
    shape: MapShape,
}

impl Map {
    /// Creates a map. Its name is cut to 15 bytes for the kernel; errors use it in full.
    ///
    /// # Errors
    /// What `BPF_MAP_CREATE` says.
    pub fn create(name: &str, shape: MapShape, inner: Option<BorrowedFd<'_>>) -> Result<Self, SysError> {
        let mut attr = MapCreate {
            map_type: shape.map_type as u32,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            map_flags: shape.flags,
            inner_map_fd: inner.map_or(0, |fd| fd.as_raw_fd() as u32),
            map_name: object_name(name),
            ..MapCreate::default()
        };
        match bpf_fd(attr::BPF_MAP_CREATE, &mut attr) {
            Ok(fd) => Ok(Self {
                fd,
                name: name.to_owned(),
                shape,
            }),
            Err(errno) => {
                let hint = match errno {
                    libc::EPERM => Some(
                        "run as root or with CAP_BPF; before 5.11 the locked-memory limit (`ulimit -l`) may also be too low",
                    ),
                    libc::ENOMEM => Some("not enough memory for this map: make the tables or rings smaller"),
                    _ => None,
                };
                Err(SysError {
                    syscall: "bpf(BPF_MAP_CREATE)",
                    object: name.to_owned(),
                    errno,
                    hint,
                })
            }
        }
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// What `BPF_OBJ_GET` says; `EINVAL` for a type that the loader does not know.
    pub fn open_pinned(name: &str, path: &Path) -> Result<Self, SysError> {
        let fd = super::obj_get(path)?;
        let shape = super::map_shape_of(fd.as_fd())?;
        Ok(Self {
            fd,
            name: name.to_owned(),
            shape,
        })
    }

    /// Name it was created with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of.
    pub fn shape(&self) -> MapShape {
        self.shape
    }

    /// Bytes of a value as user space sees it: for per-CPU maps one 8-byte aligned value for each possible CPU.
    pub fn user_value_size(&self) -> usize {
        let size = self.shape.value_size as usize;
        if self.shape.map_type.is_percpu() {
            size.next_multiple_of(8) * possible_cpus()
        } else {
            size
        }
    }

    /// Reads the value of a key into `value`; `false` if there is none.
    ///
    /// # Errors
    /// What `BPF_MAP_LOOKUP_ELEM` says.
    ///
    /// # Panics
    /// If key or value have the wrong length.
    pub fn lookup_into(&self, key: &[u8], value: &mut [u8]) -> Result<bool, SysError> {
        self.check_key(key);
        assert_eq!(value.len(), self.user_value_size(), "value of map {}", self.name);
        let mut attr = self.element(key, value.as_mut_ptr() as u64);
        match element_command(attr::BPF_MAP_LOOKUP_ELEM, &mut attr) {
            Ok(_) => Ok(true),
            Err(libc::ENOENT) => Ok(false),
            Err(errno) => Err(self.error("bpf(BPF_MAP_LOOKUP_ELEM)", errno)),
        }
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// What `BPF_MAP_LOOKUP_ELEM` says.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SysError> {
        let mut value = vec![0; self.user_value_size()];
        Ok(self.lookup_into(key, &mut value)?.then_some(value))
    }

    /// Writes an element; `false` if `mode` forbids it.
    ///
    /// # Errors
    /// What `BPF_MAP_UPDATE_ELEM` says; `E2BIG` for a full hash, `ENOMEM` for one that is not preallocated where memory is short.
    ///
    /// # Panics
    /// If key or value have the wrong length.
    pub fn update(&self, key: &[u8], value: &[u8], mode: UpdateMode) -> Result<bool, SysError> {
        self.check_key(key);
        assert_eq!(value.len(), self.user_value_size(), "value of map {}", self.name);
        let mut attr = self.element(key, value.as_ptr() as u64);
        attr.flags = mode as u64;
        match element_command(attr::BPF_MAP_UPDATE_ELEM, &mut attr) {
            Ok(_) => Ok(true),
            Err(libc::EEXIST) if mode == UpdateMode::Create => Ok(false),
            Err(libc::ENOENT) if mode == UpdateMode::Replace => Ok(false),
            Err(errno) => Err(self.error("bpf(BPF_MAP_UPDATE_ELEM)", errno)),
        }
    }

    /// Puts a descriptor (a program of a `PROG_ARRAY`, a map of an `ARRAY_OF_MAPS`) at an index.
    ///
    /// # Errors
    /// `EINVAL` if program and array do not fit, otherwise what `BPF_MAP_UPDATE_ELEM` says.
    pub fn update_fd(&self, index: u32, fd: BorrowedFd<'_>) -> Result<(), SysError> {
        self.update(&index.to_ne_bytes(), &fd.as_raw_fd().to_ne_bytes(), UpdateMode::Any)
            .map(|_| ())
    }

    /// Removes an element; `false` if there was none.
    ///
    /// # Errors
    /// What `BPF_MAP_DELETE_ELEM` says.
    ///
    /// # Panics
    /// If the key has the wrong length.
    pub fn delete(&self, key: &[u8]) -> Result<bool, SysError> {
        self.check_key(key);
        let mut attr = self.element(key, 0);
        match element_command(attr::BPF_MAP_DELETE_ELEM, &mut attr) {
            Ok(_) => Ok(true),
            Err(libc::ENOENT) => Ok(false),
            Err(errno) => Err(self.error("bpf(BPF_MAP_DELETE_ELEM)", errno)),
        }
    }

    /// The key after `key`, or the first one. A key that has vanished is followed by the first one.
    ///
    /// # Errors
    /// What `BPF_MAP_GET_NEXT_KEY` says.
    ///
    /// # Panics
    /// If the key has the wrong length.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, SysError> {
        let mut next = vec![0; self.shape.key_size as usize];
        let mut attr = self.element(key.unwrap_or(&[]), next.as_mut_ptr() as u64);
        match key {
            Some(key) => self.check_key(key),
            None => attr.key = 0,
        }
        match bpf(attr::BPF_MAP_GET_NEXT_KEY, &mut attr) {
            Ok(_) => Ok(Some(next)),
            Err(libc::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("bpf(BPF_MAP_GET_NEXT_KEY)", errno)),
        }
    }

    /// Forbids user space to write: the verifier then takes the values of a `BPF_F_RDONLY_PROG` map as constants.
    ///
    /// # Errors
    /// What `BPF_MAP_FREEZE` says.
    pub fn freeze(&self) -> Result<(), SysError> {
        let mut attr = MapFreeze {
            map_fd: self.fd.as_raw_fd() as u32,
        };
        bpf(attr::BPF_MAP_FREEZE, &mut attr)
            .map(|_| ())
            .map_err(|errno| self.error("bpf(BPF_MAP_FREEZE)", errno))
    }

    fn element(&self, key: &[u8], value: u64) -> MapElement {
        MapElement {
            map_fd: self.fd.as_raw_fd() as u32,
            key: key.as_ptr() as u64,
            value,
            ..MapElement::default()
        }
    }

    fn check_key(&self, key: &[u8]) {
        assert_eq!(key.len(), self.shape.key_size as usize, "key of map {}", self.name);
    }

    fn error(&self, syscall: &'static str, errno: i32) -> SysError {
        SysError {
            syscall,
            object: self.name.clone(),
            errno,
            hint: None,
        }
    }
}

/// A command on one element, during which the kernel runs no kprobe program on this CPU: nobody else gets it meanwhile.
fn element_command(command: u32, attr: &mut MapElement) -> Result<i64, i32> {
    let _unpreempted = Unpreempted::begin();
    bpf(command, attr)
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many CPUs the kernel may ever have: the number of values of a per-CPU element.
pub fn possible_cpus() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        parse_cpu_list(&text).unwrap_or_else(|| {
            // Without sysfs the configured number is the best bound there is.
            // SAFETY: sysconf only takes a number.
            unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }.max(1) as usize
        })
    })
}

/// The highest CPU of a list like `0-3,8`, plus one.
fn parse_cpu_list(text: &str) -> Option<usize> {
    text.trim()
        .rsplit([',', '-'])
        .next()?
        .parse::<usize>()
        .ok()
        .map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-1\n"), Some(2));
        assert_eq!(parse_cpu_list("0"), Some(1));
        assert_eq!(parse_cpu_list("0-3,8-11"), Some(12));
        assert_eq!(parse_cpu_list(""), None);
    }
}
