//! The base process sensor: exec, fork and exit of every process, on BTF tracepoints, which exist everywhere.

use std::os::fd::AsFd;

use policy_compiler::output::AttachPoint;

use crate::error::LoadError;
use crate::kernel::{check_environment, kernel_btf};
use crate::link::Link;
use crate::maps::{SensorOptions, SharedMaps};
use crate::pins::{self, PinDirectory, PinError};
use crate::program::{LoadedObject, LoadedProgram, ProgramKind, last_lines};
use crate::ring::Rings;
use crate::sys::{self, SysError};

/// Ends of the names of its pins.
pub(crate) const PROGRAM: &str = "_program";
const LINK: &str = "_link";

/// Lines of a verifier log that an error shows.
const LOG_LINES: usize = 20;

/// The loaded and attached sensor. Dropping it detaches it; the shared maps live on while somebody holds them.
#[derive(Debug)]
pub struct Sensor {
    // In this order: links are dropped before what they need.
    links: Vec<Link>,
    programs: Vec<LoadedProgram>,
    maps: SharedMaps,
}

impl Sensor {
    /// Creates the shared maps, loads the sensor and attaches it. From here on the rings fill.
    ///
    /// # Errors
    /// [`LoadError::Environment`] if this machine cannot do it, with what to do about it; otherwise what the kernel says.
    pub fn load(options: &SensorOptions) -> Result<Self, LoadError> {
        check_environment()?;
        let kernel = kernel_btf()?;
        let maps = SharedMaps::create(options)?;
        let object = LoadedObject::load("sensor", ebpf::SENSOR, &maps)?;
        let mut programs = Vec::new();
        let mut attach_points = Vec::new();
        for (section, symbol) in object.object().programs() {
            let attach = attach_point(section).ok_or_else(|| refused(section, "its section names no attach point"))?;
            let kind = ProgramKind::of(&attach, &kernel).map_err(|missing| refused(symbol, &missing.to_string()))?;
            let code = object.assemble(section, symbol, &kernel, &maps)?;
            let program = object
                .load_program(symbol, kind, &code)
                .map_err(|rejected| LoadError::Rejected {
                    name: symbol.to_owned(),
                    error: rejected.error,
                    log: last_lines(&rejected.log, LOG_LINES),
                })?;
            programs.push(program);
            attach_points.push(attach);
        }
        let links = programs
            .iter()
            .zip(&attach_points)
            .map(|(program, attach)| Link::attach(attach, program.as_fd()))
            .collect::<Result<_, SysError>>()?;
        Ok(Self { links, programs, maps })
    }

    /// Takes over the sensor that a process has left pinned, and the shared maps. It was attached all the time: its table of
    /// processes is right, and the rings hold what was sent meanwhile, as far as it fitted.
    ///
    /// # Errors
    /// [`LoadError::Environment`] as for [`Sensor::load`]; what `BPF_OBJ_GET` says.
    pub fn adopt(options: &SensorOptions, directory: &PinDirectory) -> Result<Self, LoadError> {
        check_environment()?;
        let maps = SharedMaps::adopt(options, directory)?;
        let mut programs = Vec::new();
        let mut links = Vec::new();
        for path in pins::entries(&directory.path().join(pins::SENSOR))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(LINK) {
                links.push(Link::of_link(sys::obj_get(&path)?));
            } else if let Some(symbol) = name.strip_suffix(PROGRAM) {
                programs.push(LoadedProgram::open_pinned(symbol, &path)?);
            }
        }
        Ok(Self { links, programs, maps })
    }

    /// Pins the sensor and the shared maps, so that they outlive this process. Hooks are pinned by [`crate::HookSet::set_pins`],
    /// after this.
    ///
    /// # Errors
    /// [`PinError::Foreign`] if somebody else uses the directory; otherwise what `BPF_OBJ_PIN` and the file system say.
    pub fn pin(&self, directory: &PinDirectory) -> Result<(), PinError> {
        directory.prepare()?;
        self.maps.pin(directory)?;
        let path = |program: &LoadedProgram, what| {
            let name = format!("{}{what}", program.name());
            directory.path().join(pins::SENSOR).join(name)
        };
        for (program, link) in self.programs.iter().zip(&self.links) {
            sys::obj_pin(program.as_fd(), &path(program, PROGRAM))?;
            // The sensor's hooks are BTF tracepoints, which have links on every kernel.
            if let Some(link) = link.as_link_fd() {
                sys::obj_pin(link, &path(program, LINK))?;
            }
        }
        Ok(self.maps.pin_active(directory)?)
    }

    /// The maps that it shares with hook programs.
    pub fn maps(&self) -> &SharedMaps {
        &self.maps
    }

    /// Its programs.
    pub fn programs(&self) -> &[LoadedProgram] {
        &self.programs
    }

    /// Events that the kernel did not run the sensor for, because another task was inside the same program on the same CPU. See
    /// [`crate::HookInfo::missed`].
    ///
    /// # Errors
    /// What `BPF_OBJ_GET_INFO_BY_FD` says.
    pub fn missed(&self) -> Result<u64, SysError> {
        self.programs
            .iter()
            .map(|program| program.info().map(|info| info.missed))
            .sum()
    }

    /// A reader of all rings. There must be only one.
    ///
    /// # Errors
    /// What mmap(2) and epoll(7) say.
    pub fn rings(&self) -> Result<Rings, SysError> {
        Rings::of_maps(self.maps.rings())
    }
}

/// The attach point that a section of the sensor is named for.
fn attach_point(section: &str) -> Option<AttachPoint> {
    let (kind, event) = section.split_once('/')?;
    match kind {
        "tp_btf" => Some(AttachPoint::TpBtf {
            event: event.to_owned(),
        }),
        "raw_tp" => Some(AttachPoint::RawTracepoint {
            event: event.to_owned(),
        }),
        "tracepoint" | "tp" => {
            let (subsystem, event) = event.split_once('/')?;
            Some(AttachPoint::Tracepoint {
                subsystem: subsystem.to_owned(),
                event: event.to_owned(),
            })
        }
        _ => None,
    }
}

fn refused(name: &str, reason: &str) -> LoadError {
    LoadError::Rejected {
        name: name.to_owned(),
        error: SysError {
            syscall: "attach",
            object: name.to_owned(),
            errno: libc::ENOENT,
            hint: None,
        },
        log: reason.to_owned(),
    }
}
