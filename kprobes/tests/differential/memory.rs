//! Kernel memory that a test fills, and kernel objects behind its file descriptors.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use kprobes::{SharedMaps, TestRun};
use policy_compiler::btf::Btf;
use policy_compiler::interpret::Sock;
use policy_compiler::output::{AttachPoint, HookObject};

use super::values::{AF_INET, AF_INET6, path_of};

const SOURCE: &str = include_str!("../programs/memory.bpf.c");

/// Bytes of the area that belong to one parameter.
const PIECE: u64 = 8192;
/// Parameters that may have something in the area.
pub(crate) const PIECES: usize = 4;

const ADDRESS_OF_AREA: u64 = 0;
const WRITE_AREA: u64 = 1;
const FILE_OF_DESCRIPTOR: u64 = 2;
const READ_WORD: u64 = 3;

/// The program that reaches into the kernel.
struct Reach(TestRun);

impl Reach {
    fn load(maps: &SharedMaps) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (source, object) = (
            directory.path().join("memory.bpf.c"),
            directory.path().join("memory.bpf.o"),
        );
        fs::write(&source, SOURCE).expect("the source is written");
        let output = std::process::Command::new("clang")
            .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-c"])
            .arg(&source)
            .arg("-o")
            .arg(&object)
            .output()
            .expect("clang builds this project");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let hook = HookObject {
            attach: AttachPoint::RawTracepoint { event: "none".into() },
            elf: fs::read(&object).expect("the object"),
            section: "syscall".into(),
            symbol: "memory".into(),
            tag: 1,
            templates: Vec::new(),
            source_lines: Vec::new(),
            enforces: false,
            reasons: Vec::new(),
            hook_bit: 0,
            policy_slots: Vec::new(),
        };
        Self(TestRun::load(&hook, maps).expect("the program for kernel memory loads"))
    }

    fn ask(&self, operation: u64, argument: u64, offset: u64, len: u64) -> Option<u64> {
        let request = [operation, argument, offset, len, 0];
        let mut bytes: Vec<u8> = request.iter().flat_map(|word| word.to_le_bytes()).collect();
        let returned = self.0.run(&mut bytes).expect("the program for kernel memory runs");
        let result = u64::from_le_bytes(bytes[32..40].try_into().expect("8 bytes"));
        (returned == 0).then_some(result)
    }
}

/// An open file.
pub(crate) struct OpenFile {
    /// Its number.
    pub(crate) fd: u32,
    /// Address of its `struct file`.
    pub(crate) file: u64,
    /// Address of its `struct path`.
    pub(crate) path: u64,
    /// Address of its `struct dentry`.
    pub(crate) dentry: u64,
    /// Its path, as the kernel tells it.
    pub(crate) text: Vec<u8>,
    /// The mode of its inode.
    pub(crate) mode: u16,
    /// Whether its path inside its file system is the same.
    pub(crate) on_root: bool,
    _open: File,
}

/// Everything that calls may point to.
pub(crate) struct Memory {
    reach: Reach,
    area: u64,
    pub(crate) files: Vec<OpenFile>,
    sock: SockLayout,
    skb: SkbLayout,
    /// Byte offset of the file in `struct linux_binprm`.
    binprm_file: usize,
    _directory: tempfile::TempDir,
}

/// Byte offsets in `struct sock`.
struct SockLayout {
    family: usize,
    state: usize,
    protocol: usize,
    source_port: usize,
    destination_port: usize,
    source: [usize; 2],
    destination: [usize; 2],
    size: usize,
}

impl SockLayout {
    fn new(btf: &Btf) -> Self {
        let sock = btf.struct_by_name("sock").expect("struct sock");
        let common = |member: &str| {
            let path = format!("__sk_common.{member}");
            btf.member(sock, &path)
                .unwrap_or_else(|| panic!("sock.{path}"))
                .byte_offset() as usize
        };
        Self {
            family: common("skc_family"),
            state: common("skc_state"),
            protocol: btf.member(sock, "sk_protocol").expect("sk_protocol").byte_offset() as usize,
            source_port: common("skc_num"),
            destination_port: common("skc_dport"),
            source: [common("skc_rcv_saddr"), common("skc_v6_rcv_saddr")],
            destination: [common("skc_daddr"), common("skc_v6_daddr")],
            size: btf.size(sock).expect("a struct has a size") as usize,
        }
    }
}

/// Byte offsets in `struct sk_buff`.
struct SkbLayout {
    head: usize,
    tail: usize,
    network_header: usize,
    size: usize,
}

impl SkbLayout {
    fn new(btf: &Btf) -> Self {
        let skb = btf.struct_by_name("sk_buff").expect("struct sk_buff");
        let at = |member: &str| {
            let found = btf.member(skb, member).unwrap_or_else(|| panic!("sk_buff.{member}"));
            found.byte_offset() as usize
        };
        Self {
            head: at("head"),
            tail: at("tail"),
            network_header: at("network_header"),
            size: btf.size(skb).expect("a struct has a size") as usize,
        }
    }
}

impl Memory {
    pub(crate) fn new(maps: &SharedMaps, btf: &Btf) -> Self {
        let reach = Reach::load(maps);
        let area = reach.ask(ADDRESS_OF_AREA, 0, 0, 0).expect("the area has an address");
        let directory = tempfile::tempdir().expect("a directory");
        let files = open_files(directory.path(), &reach, btf);
        Self {
            reach,
            area,
            files,
            sock: SockLayout::new(btf),
            skb: SkbLayout::new(btf),
            binprm_file: {
                let binprm = btf.struct_by_name("linux_binprm").expect("struct linux_binprm");
                btf.member(binprm, "file").expect("its file").byte_offset() as usize
            },
            _directory: directory,
        }
    }

    /// Puts bytes into the piece of a parameter; their address.
    pub(crate) fn put(&self, piece: usize, bytes: &[u8]) -> u64 {
        assert!(piece < PIECES && (bytes.len() as u64) < PIECE);
        let offset = piece as u64 * PIECE;
        self.reach
            .ask(WRITE_AREA, bytes.as_ptr() as u64, offset, bytes.len() as u64)
            .expect("the area can be written");
        self.area + offset
    }

    /// Puts a `struct linux_binprm` of a `struct file` (or of none, 0) into the piece of a parameter; its address.
    pub(crate) fn put_binprm(&self, piece: usize, file: u64) -> u64 {
        let mut bytes = vec![0xff; self.binprm_file + 8];
        bytes[self.binprm_file..].copy_from_slice(&file.to_le_bytes());
        self.put(piece, &bytes)
    }

    /// Puts a `struct sk_buff` with a packet behind it into the piece of a parameter; its address.
    pub(crate) fn put_skb(&self, piece: usize, packet: &[u8]) -> u64 {
        const HEADROOM: usize = 14;
        let at = &self.skb;
        let mut bytes = vec![0xff; at.size];
        let head = self.area + piece as u64 * PIECE + at.size as u64;
        let tail = (HEADROOM + packet.len()) as u32;
        bytes[at.head..at.head + 8].copy_from_slice(&head.to_le_bytes());
        bytes[at.tail..at.tail + 4].copy_from_slice(&tail.to_le_bytes());
        bytes[at.network_header..at.network_header + 2].copy_from_slice(&(HEADROOM as u16).to_le_bytes());
        bytes.extend([0xee; HEADROOM]);
        bytes.extend(packet);
        // what is behind the tail is none of the packet
        bytes.extend([0x55; 64]);
        self.put(piece, &bytes)
    }

    /// Puts a `struct sock` into the piece of a parameter; its address.
    pub(crate) fn put_sock(&self, piece: usize, sock: &Sock) -> u64 {
        let at = &self.sock;
        let mut bytes = vec![0; at.size.max(at.protocol + 2)];
        let mut set = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        set(at.family, &sock.family.to_le_bytes());
        set(at.state, &[sock.state as u8]);
        set(at.protocol, &sock.protocol.to_le_bytes());
        if matches!(sock.family, AF_INET | AF_INET6) {
            set(at.source_port, &sock.source_port.to_le_bytes());
            set(at.destination_port, &sock.destination_port.to_be_bytes());
        } else {
            // what stands there means something else
            set(at.source_port, &[0x12, 0x34]);
            set(at.destination_port, &[0x56, 0x78]);
        }
        if sock.family == AF_INET6 {
            set(at.source[1], &sock.source);
            set(at.destination[1], &sock.destination);
        } else {
            set(at.source[0], &sock.source[..4]);
            set(at.destination[0], &sock.destination[..4]);
        }
        self.put(piece, &bytes)
    }
}

/// Files whose paths have lengths around the edges of words and of the walk.
fn open_files(directory: &Path, reach: &Reach, btf: &Btf) -> Vec<OpenFile> {
    let member = |of: &str, name: &str| {
        let id = btf.struct_by_name(of).unwrap_or_else(|| panic!("struct {of}"));
        u64::from(
            btf.member(id, name)
                .unwrap_or_else(|| panic!("{of}.{name}"))
                .byte_offset(),
        )
    };
    let (f_path, path_dentry) = (member("file", "f_path"), member("path", "dentry"));
    let mut opened: Vec<File> = [
        "/",
        "/etc",
        "/etc/passwd",
        "/etc/hosts",
        "/proc/self/status",
        "/dev/null",
    ]
    .iter()
    .filter_map(|path| File::open(path).ok())
    .collect();
    let create = |path: &Path| {
        fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .expect("a file")
    };
    for length in [1, 7, 8, 9, 15, 16, 17, 31, 63, 64, 255] {
        opened.push(create(&directory.join("n".repeat(length))));
    }
    let mut deep = directory.to_owned();
    for depth in 0..40 {
        deep.push(format!("d{depth}"));
    }
    fs::create_dir_all(&deep).expect("directories");
    opened.push(create(&deep.join("x.log")));
    let gone = directory.join("gone");
    opened.push(create(&gone));
    fs::remove_file(&gone).expect("removed");
    let root = fs::metadata("/").expect("/").dev();
    opened
        .into_iter()
        .map(|open| {
            let fd = open.as_raw_fd() as u32;
            let file = reach
                .ask(FILE_OF_DESCRIPTOR, u64::from(fd), 0, 0)
                .expect("an open file");
            let path = file + f_path;
            let dentry = reach.ask(READ_WORD, path + path_dentry, 0, 0).expect("its dentry");
            let text = path_of("self", fd).expect("its path");
            OpenFile {
                fd,
                file,
                path,
                dentry,
                on_root: open.metadata().expect("its metadata").dev() == root && is_plain(&text),
                text,
                mode: open.metadata().expect("its metadata").mode() as u16,
                _open: open,
            }
        })
        .collect()
}

/// Whether a path is under no mount of the root file system's own (a bind mount would change it).
fn is_plain(path: &[u8]) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |mount: &str| {
        mount != "/" && path.starts_with(mount.as_bytes()) && path.get(mount.len()).is_none_or(|byte| *byte == b'/')
    };
    !mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(below)
        && mounts
            .lines()
            .any(|line| line.split(' ').nth(3) == Some("/") && line.split(' ').nth(4) == Some("/"))
}
