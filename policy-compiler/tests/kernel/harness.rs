//! Loads objects and runs their programs: aya's parser and relocations, and the five bpf(2) commands that takes.
#![expect(unsafe_code, reason = "bpf(2) has no safe interface")]
#![expect(clippy::print_stderr, reason = "a test says why it skips")]

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use aya_obj::Object;
use aya_obj::btf::BtfFeatures;

const MAP_CREATE: i64 = 0;
const MAP_LOOKUP: i64 = 1;
const MAP_UPDATE: i64 = 2;
const PROG_LOAD: i64 = 5;
const TEST_RUN: i64 = 10;
const BTF_LOAD: i64 = 18;

const PROG_TYPE_SYSCALL: u32 = 31;
const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const F_SLEEPABLE: u32 = 1 << 4;

/// `union bpf_attr` as bytes: fields are put where the kernel's header has them.
struct Attributes([u8; 144]);

impl Attributes {
    fn new() -> Self {
        Self([0; 144])
    }

    fn put(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn word(self, offset: usize, value: u32) -> Self {
        self.put(offset, &value.to_le_bytes())
    }

    fn fd(self, offset: usize, fd: &OwnedFd) -> Self {
        self.word(offset, fd.as_raw_fd() as u32)
    }

    fn pointer<T>(self, offset: usize, slice: &[T]) -> Self {
        self.put(offset, &(slice.as_ptr() as u64).to_le_bytes())
    }

    fn pointer_mut<T>(self, offset: usize, slice: &mut [T]) -> Self {
        self.put(offset, &(slice.as_mut_ptr() as u64).to_le_bytes())
    }

    /// Calls bpf(2). Every pointer put in must be to memory that is alive and as large as the attributes say.
    fn call(&mut self, command: i64) -> std::io::Result<i64> {
        // SAFETY: the kernel reads and writes `size` bytes of the array, which is that large and borrowed for the call; memory
        // that pointers in it lead to is alive and large enough by this function's contract, which each caller below keeps by
        // putting in slices that outlive the call together with their lengths, mutable ones where the command writes.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(result)
        }
    }

    fn call_for_fd(&mut self, command: i64) -> std::io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: these commands return a new file descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}

/// Says why a test does nothing; fails it if that is not allowed.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("REQUIRE_KERNEL").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
}

/// Whether programs can be loaded; says why not.
pub(crate) fn can_run() -> bool {
    let attempt = Attributes::new()
        .word(0, 2)
        .word(4, 4)
        .word(8, 8)
        .word(12, 1)
        .call_for_fd(MAP_CREATE);
    match attempt {
        Ok(_) => true,
        Err(error) => {
            assert!(
                std::env::var_os("REQUIRE_KERNEL").is_none(),
                "a map cannot be created: {error}"
            );
            eprintln!("skipped: a map cannot be created: {error}");
            false
        }
    }
}

/// Whether the kernel has syscall programs (5.14). Older ones can test-run raw tracepoints.
pub(crate) fn has_syscall_programs() -> bool {
    // r0 = 0; exit
    let code = [[0xb7u8, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    Attributes::new()
        .word(0, PROG_TYPE_SYSCALL)
        .word(4, 2)
        .pointer(8, &code)
        .pointer(16, b"GPL\0")
        .word(44, F_SLEEPABLE)
        .call_for_fd(PROG_LOAD)
        .is_ok()
}

/// A program in the kernel, with its maps.
pub(crate) struct Loaded {
    program: OwnedFd,
    maps: HashMap<String, (OwnedFd, usize)>,
}

impl Loaded {
    /// Loads a program of an object as one that can be test-run, whatever its section says; else the verifier's last words.
    pub(crate) fn load(elf: &[u8], name: &str) -> Result<Self, String> {
        let mut object = Object::parse(elf).expect("aya parses it");
        let features = BtfFeatures::new(true, true, true, true, true, true, true, true);
        let btf = object
            .fixup_and_sanitize_btf(&features)
            .expect("BTF")
            .expect("BTF is there")
            .to_bytes();
        let btf = Attributes::new()
            .pointer(0, &btf)
            .word(16, btf.len() as u32)
            .call_for_fd(BTF_LOAD)
            .expect("the kernel accepts the BTF");
        if object.btf_ext.is_some() {
            let vmlinux = aya_obj::btf::Btf::from_sys_fs().expect("vmlinux BTF");
            object.relocate_btf(&vmlinux).expect("CO-RE");
        }
        let mut maps = HashMap::new();
        let mut definitions = Vec::new();
        let mut by_name: Vec<_> = object.maps.drain().collect();
        by_name.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, map) in by_name {
            let fd = Attributes::new()
                .word(0, map.map_type())
                .word(4, map.key_size())
                .word(8, map.value_size())
                .word(12, map.max_entries())
                .word(16, map.map_flags())
                .call_for_fd(MAP_CREATE)
                .expect("map");
            if !map.data().is_empty() {
                let key = [0u32];
                let update = Attributes::new()
                    .fd(0, &fd)
                    .pointer(8, &key)
                    .pointer(16, map.data())
                    .call(MAP_UPDATE);
                update.expect("initial data");
            }
            definitions.push((name.clone(), fd.as_raw_fd(), map));
            maps.insert(name, fd);
        }
        let text = object.functions.keys().map(|(section, _)| *section).collect();
        object
            .relocate_maps(
                definitions.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
                &text,
            )
            .expect("maps");
        object.relocate_calls(&text).expect("calls");
        let key = object.programs[name].function_key();
        let function = &object.functions[&key];
        let instructions: Vec<[u8; 8]> = function.instructions.iter().copied().map(slot_bytes).collect();
        let functions: Vec<[u32; 2]> = function
            .func_info
            .func_info
            .iter()
            .map(|f| [f.insn_off, f.type_id])
            .collect();
        let lines: Vec<[u32; 4]> = function
            .line_info
            .line_info
            .iter()
            .map(|l| [l.insn_off, l.file_name_off, l.line_off, l.line_col])
            .collect();
        let (program_type, flags) = if has_syscall_programs() {
            (PROG_TYPE_SYSCALL, F_SLEEPABLE)
        } else {
            (PROG_TYPE_RAW_TRACEPOINT, 0)
        };
        let load = |log: &mut [u8]| {
            Attributes::new()
                .word(0, program_type)
                .word(4, instructions.len() as u32)
                .pointer(8, &instructions)
                .pointer(16, b"GPL\0")
                .word(24, u32::from(!log.is_empty()))
                .word(28, log.len() as u32)
                .put(
                    32,
                    &(if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 }).to_le_bytes(),
                )
                .word(44, flags)
                .fd(72, &btf)
                .word(76, 8)
                .pointer(80, &functions)
                .word(88, functions.len() as u32)
                .word(92, 16)
                .pointer(96, &lines)
                .word(104, lines.len() as u32)
                .call_for_fd(PROG_LOAD)
        };
        let program = match load(&mut []) {
            Ok(program) => program,
            Err(error) => {
                // only now a log: it costs
                let mut log = vec![0u8; 1 << 24];
                drop(load(&mut log));
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                let text = String::from_utf8_lossy(&log[..end]).into_owned();
                let tail: Vec<_> = text.lines().rev().take(200).collect();
                return Err(format!(
                    "{error}\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                ));
            }
        };
        let sizes: HashMap<_, _> = definitions
            .iter()
            .map(|(name, _, map)| (name.clone(), map.value_size() as usize))
            .collect();
        let maps = maps
            .into_iter()
            .map(|(name, fd)| (name.clone(), (fd, sizes[&name])))
            .collect();
        Ok(Self { program, maps })
    }

    /// Runs the program on a context and returns its result.
    pub(crate) fn run(&self, ctx: &[u8]) -> u32 {
        // the kernel writes the context back
        let mut ctx = ctx.to_vec();
        let mut attributes = Attributes::new()
            .fd(0, &self.program)
            .word(40, ctx.len() as u32)
            .pointer_mut(48, &mut ctx);
        attributes.call(TEST_RUN).expect("test run");
        u32::from_le_bytes(attributes.0[4..8].try_into().expect("4 bytes"))
    }

    /// Element 0 of an array map.
    pub(crate) fn read_map(&self, name: &str) -> Vec<u8> {
        let (fd, size) = &self.maps[name];
        let key = [0u32];
        let mut value = vec![0u8; *size];
        Attributes::new()
            .fd(0, fd)
            .pointer(8, &key)
            .pointer_mut(16, &mut value)
            .call(MAP_LOOKUP)
            .expect("lookup");
        value
    }

    /// Writes element 0 of an array map.
    pub(crate) fn write_map(&self, name: &str, value: &[u8]) {
        let (fd, size) = &self.maps[name];
        assert_eq!(value.len(), *size);
        let key = [0u32];
        Attributes::new()
            .fd(0, fd)
            .pointer(8, &key)
            .pointer(16, value)
            .call(MAP_UPDATE)
            .expect("update");
    }
}

/// The bytes of one of aya's instructions.
fn slot_bytes(instruction: aya_obj::generated::bpf_insn) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[0] = instruction.code;
    bytes[1] = instruction.dst_reg() | instruction.src_reg() << 4;
    bytes[2..4].copy_from_slice(&instruction.off.to_le_bytes());
    bytes[4..].copy_from_slice(&instruction.imm.to_le_bytes());
    bytes
}
