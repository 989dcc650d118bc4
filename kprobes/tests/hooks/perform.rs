//! Operations: what the driver does, and what the hooks see of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use policy_compiler::interpret::{Sock, Sockaddr, Value};

use super::driver::{Argument, Driver};
use super::places::Operation;
use super::recipe::{self, CallRecipe};
use super::values::{AF_INET, AF_INET6, number, sockaddr_bytes, terminated};

/// What a hook is passed.
#[derive(Clone, Debug)]
pub(crate) enum Passed {
    Number(u64),
    Value(Value),
    /// User memory that becomes readable while the call goes on.
    Later(Value),
}

/// A call of a hook.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) passed: Vec<(u32, Passed)>,
    /// What it returns, unless it is made to return something else.
    pub(crate) returned: i64,
}

/// What came of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Performed {
    /// What the system call returned: for an operation that is denied, the negative errno.
    pub(crate) result: i64,
    pub(crate) hits: Vec<Hit>,
}

/// Files that operations are about, on a file system of their own, and sockets.
pub(crate) struct Stage {
    directory: PathBuf,
    /// Where the file system is mounted.
    mount: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    /// Modes of files and directory, read before any policy could refuse to tell them.
    modes: BTreeMap<PathBuf, u16>,
    /// Nodes that were made.
    nodes: u64,
}

impl Stage {
    /// Makes the files in a new directory on `mount`, a file system without layers: what is opened there is opened once.
    pub(crate) fn new(mount: &Path) -> Self {
        let directory = mount.join(format!("tetra-hooks-{}", std::process::id()));
        let mut deep = directory.clone();
        for depth in 0..30 {
            deep.push(format!("d{depth}"));
        }
        fs::create_dir_all(&deep).expect("directories");
        let mut files: Vec<PathBuf> = [1, 7, 8, 9, 15, 16, 17, 31, 63, 64, 255]
            .iter()
            .map(|length| directory.join("n".repeat(*length)))
            .collect();
        files.push(deep.join("x.log"));
        files.push(directory.join("passwd"));
        for file in &files {
            let mut options = fs::OpenOptions::new();
            options.create(true).truncate(true).write(true).mode(0o755);
            drop(options.open(file).expect("a file"));
            fs::write(file, "neither a program nor a script\n").expect("its content");
        }
        // also for those who are nobody here
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("a directory for all");
        let known = files.iter().chain([&directory]);
        let modes = known
            .map(|path| {
                let metadata = fs::symlink_metadata(path).expect("it was just made");
                (path.clone(), metadata.mode() as u16)
            })
            .collect();
        Self {
            directory,
            mount: mount.to_owned(),
            files,
            modes,
            nodes: 0,
        }
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        let files = self.files.iter().chain([&self.directory]);
        files.map(|file| file.to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn dentries(&self) -> Vec<String> {
        let files = self.files.iter().chain([&self.directory]);
        files
            .map(|file| String::from_utf8(self.inside(file)).expect("ASCII"))
            .collect()
    }

    /// A path inside the file system.
    fn inside(&self, path: &Path) -> Vec<u8> {
        let rest = path.strip_prefix(&self.mount).expect("a path on the file system");
        format!("/{}", rest.display()).into_bytes()
    }

    fn file(&self, choice: u16) -> &Path {
        &self.files[choice as usize % self.files.len()]
    }

    fn path_value(&self, path: &Path) -> Passed {
        Passed::Value(Value::Path {
            path: path.to_string_lossy().as_bytes().to_vec(),
            mode: self.modes[path],
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // a directory in memory goes with the guest anyway
        let _left = fs::remove_dir_all(&self.directory);
    }
}

fn c_path(path: &Path) -> Argument {
    Argument::Memory(terminated(path.to_string_lossy().as_bytes()))
}

/// An entry of a directory, by its path inside its file system.
fn dentry_value(path: Vec<u8>) -> Passed {
    // the language has no filter on the type of what it stands for
    Passed::Value(Value::Path { path, mode: 0 })
}

const NO_MEMORY: u64 = 0x10;
const KERNEL_MEMORY: u64 = 0xffff_ffff_ffff_e000;
const AT_FDCWD: Argument = Argument::Number(libc::AT_FDCWD as i64 as u64);

/// A string in user memory; `is_read` says that the kernel surely reads it, so that what is absent will be there.
fn string(choice: u16, is_read: bool) -> (Argument, Passed) {
    let pool = recipe::strings();
    let text = pool[choice as usize / 64 % pool.len()].as_bytes();
    let value = Value::String(text.to_vec());
    match choice % 64 {
        0 => (Argument::Number(0), Passed::Value(Value::Absent)),
        1 => (Argument::Number(NO_MEMORY), Passed::Value(Value::Unreadable)),
        2 => (Argument::Number(KERNEL_MEMORY), Passed::Value(Value::Unreadable)),
        // in one page
        kind if kind % 4 == 3 && is_read && text.len() < 4000 => {
            (Argument::Absent(terminated(text)), Passed::Later(value))
        }
        _ => (Argument::Memory(terminated(text)), Passed::Value(value)),
    }
}

impl Driver {
    /// Opens what stays open: files with the numbers that calls pass, and a UDP socket.
    pub(crate) fn open(&mut self, stage: &Stage) {
        for file in &stage.files[..6] {
            let opened = self.call(
                libc::SYS_openat,
                &[AT_FDCWD, c_path(file), Argument::Number(libc::O_RDONLY as u64)],
            );
            assert!(opened >= 0, "{}: errno {}", file.display(), -opened);
        }
        self.datagrams = self.socket(AF_INET, libc::SOCK_DGRAM);
    }

    fn close(&mut self, fd: i64) {
        if fd >= 0 {
            self.call(libc::SYS_close, &[Argument::Number(fd as u64)]);
        }
    }

    fn socket(&mut self, family: u16, kind: i32) -> i64 {
        let arguments = [u64::from(family), kind as u64, 0].map(Argument::Number);
        self.call(libc::SYS_socket, &arguments)
    }
}

/// An address that the loopback device has.
fn loopback(family: u16, choice: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    if family == AF_INET {
        let addresses = [[127, 0, 0, 1], [127, 128, 0, 1], [127, 0, 0, 2], [127, 255, 0, 1]];
        bytes[..4].copy_from_slice(&addresses[choice as usize % addresses.len()]);
    } else {
        bytes[15] = 1;
    }
    bytes
}

const PORTS: [u16; 10] = [1, 22, 80, 443, 1023, 1024, 1025, 8080, 32_768, 65_535];
const TCP: u16 = 6;
const TCP_SYN_SENT: u16 = 2;
const TCP_CLOSE: u16 = 7;
const TCP_LISTEN: u16 = 10;

/// A call of `connect` or `bind`.
fn at(address: Sockaddr, socket: i64) -> [Argument; 3] {
    let bytes = sockaddr_bytes(&address);
    let length = Argument::Number(bytes.len() as u64);
    [Argument::Number(socket as u64), Argument::Memory(bytes), length]
}

impl Stage {
    /// Makes the driver do an operation. `None`: it cannot now, as when a port is taken.
    pub(crate) fn perform(
        &mut self,
        operation: Operation,
        call: &CallRecipe,
        is_field: bool,
        driver: &mut Driver,
    ) -> Option<Performed> {
        let [a, b, c, d, ..] = call.values;
        let one = |result: i64, passed: Vec<(u32, Passed)>, returned: i64| {
            Some(Performed {
                result,
                hits: vec![Hit { passed, returned }],
            })
        };
        match operation {
            Operation::Access => {
                let directory = number(a);
                // the path is read if mode and flags are right
                let is_right = c.is_multiple_of(2);
                let (mode, flags) = if is_right {
                    (u64::from(c / 2 % 8), 0)
                } else {
                    (number(c), number(d))
                };
                let (path, value) = string(b, is_right);
                let numbers = [directory, mode, flags].map(Argument::Number);
                let [directory_argument, mode_argument, flags_argument] = numbers;
                let result = driver.call(
                    libc::SYS_faccessat2,
                    &[directory_argument, path, mode_argument, flags_argument],
                );
                let first = if is_field { 5 } else { 0 };
                let passed = vec![
                    (first, Passed::Number(directory)),
                    (first + 1, value),
                    (first + 2, Passed::Number(mode)),
                    (first + 3, Passed::Number(flags)),
                ];
                one(result, passed, result)
            }
            Operation::GetXattr => {
                let (name, name_value) = string(b, false);
                let is_right =
                    matches!(&name_value, Passed::Value(Value::String(name)) if (1..=255).contains(&name.len()));
                let (path, path_value) = string(a, is_right);
                let (value, size) = (number(c), number(d));
                let result = driver.call(
                    libc::SYS_getxattr,
                    &[path, name, Argument::Number(value), Argument::Number(size)],
                );
                let passed = vec![
                    (0, path_value),
                    (1, name_value),
                    (2, Passed::Number(value)),
                    (3, Passed::Number(size)),
                ];
                one(result, passed, result)
            }
            Operation::Connect => {
                let socket = driver.datagrams;
                let address = recipe::sockaddr(b);
                let bytes = sockaddr_bytes(&address);
                let value = Value::Sockaddr(address);
                let (argument, value) = match b % 32 {
                    0 => (Argument::Number(0), Passed::Value(Value::Absent)),
                    1 => (Argument::Number(NO_MEMORY), Passed::Value(Value::Unreadable)),
                    kind if kind % 4 == 3 => (Argument::Absent(bytes), Passed::Later(value)),
                    _ => (Argument::Memory(bytes), Passed::Value(value)),
                };
                let is_right = matches!(value, Passed::Later(_)) || c.is_multiple_of(2);
                let (socket_passed, length) = if is_right {
                    (socket as u64, 28)
                } else {
                    (number(a), number(c))
                };
                let result = driver.call(
                    libc::SYS_connect,
                    &[Argument::Number(socket_passed), argument, Argument::Number(length)],
                );
                let passed = vec![
                    (0, Passed::Number(socket_passed)),
                    (1, value),
                    (2, Passed::Number(length)),
                ];
                one(result, passed, result)
            }
            Operation::Open | Operation::Install => {
                let path = self.file(a).to_owned();
                let opened = driver.call(
                    libc::SYS_openat,
                    &[AT_FDCWD, c_path(&path), Argument::Number(libc::O_RDONLY as u64)],
                );
                driver.close(opened);
                if operation == Operation::Open {
                    return one(opened, vec![(0, self.path_value(&path))], 0);
                }
                let passed = vec![(0, Passed::Number(opened as u64)), (1, self.path_value(&path))];
                one(opened, passed, 0)
            }
            Operation::Stat => {
                let path = self.file(a).to_owned();
                let buffer = Argument::Memory(vec![0; 256]);
                let arguments = [AT_FDCWD, c_path(&path), buffer, Argument::Number(0)];
                let result = driver.call(libc::SYS_newfstatat, &arguments);
                one(result, vec![(0, self.path_value(&path))], 0)
            }
            Operation::MakeNode => {
                self.nodes += 1;
                let node = self
                    .directory
                    .join(format!("node{}.{}", self.nodes, "n".repeat(b as usize % 20)));
                let mode = u64::from(libc::S_IFIFO) | 0o600;
                let device = number(d) & 0xffff_ffff;
                let arguments = [
                    AT_FDCWD,
                    c_path(&node),
                    Argument::Number(mode),
                    Argument::Number(device),
                ];
                let result = driver.call(libc::SYS_mknodat, &arguments);
                if result == 0 {
                    driver.call(libc::SYS_unlink, &[c_path(&node)]);
                }
                let passed = vec![
                    (0, self.path_value(&self.directory)),
                    (1, dentry_value(self.inside(&node))),
                    (2, Passed::Number(mode)),
                    (3, Passed::Number(device)),
                ];
                one(result, passed, 0)
            }
            Operation::InodeGetXattr => {
                let path = self.file(a).to_owned();
                let pool = recipe::strings();
                let names: Vec<&String> = pool.iter().filter(|name| (1..=255).contains(&name.len())).collect();
                let name = names[b as usize % names.len()].as_bytes();
                let arguments = [
                    c_path(&path),
                    Argument::Memory(terminated(name)),
                    Argument::Number(0),
                    Argument::Number(0),
                ];
                let result = driver.call(libc::SYS_getxattr, &arguments);
                let passed = vec![
                    (0, dentry_value(self.inside(&path))),
                    (1, Passed::Value(Value::String(name.to_vec()))),
                ];
                one(result, passed, 0)
            }
            Operation::TcpConnect => {
                let sock = tcp_sock(a, b, c, TCP_SYN_SENT);
                let socket = driver.socket(sock.family, libc::SOCK_STREAM);
                let bound = driver.call(libc::SYS_bind, &at(source_of(&sock), socket));
                if bound != 0 {
                    driver.close(socket);
                    return None;
                }
                let peer = Sockaddr {
                    family: sock.family,
                    port: sock.destination_port,
                    address: sock.destination,
                };
                let result = driver.call(libc::SYS_connect, &at(peer, socket));
                driver.close(socket);
                one(result, vec![(0, Passed::Value(Value::Sock(sock)))], 0)
            }
            Operation::SocketConnect => {
                let socket = driver.datagrams;
                let address = recipe::sockaddr(b);
                let mut bytes = sockaddr_bytes(&address);
                bytes.resize([28, 32, 127, 128][c as usize % 4], 0);
                let length = bytes.len() as u64;
                let arguments = [
                    Argument::Number(socket as u64),
                    Argument::Memory(bytes),
                    Argument::Number(length),
                ];
                let result = driver.call(libc::SYS_connect, &arguments);
                let passed = vec![
                    (1, Passed::Value(Value::Sockaddr(address))),
                    (2, Passed::Number(length)),
                ];
                one(result, passed, 0)
            }
            Operation::Prctl => {
                let option = match number(a) as i32 {
                    // these would change how the process lives
                    libc::PR_SET_PDEATHSIG | libc::PR_SET_DUMPABLE => libc::PR_GET_KEEPCAPS,
                    other => other,
                };
                let numbers = [option as i64 as u64, number(b), number(c), number(d), number(b ^ d)];
                let result = driver.call(libc::SYS_prctl, &numbers.map(Argument::Number));
                let passed = vec![
                    (0, Passed::Number(numbers[0])),
                    (1, Passed::Number(numbers[1])),
                    (4, Passed::Number(numbers[4])),
                ];
                let returned = if option == libc::PR_GET_KEEPCAPS {
                    0
                } else {
                    -i64::from(libc::ENOSYS)
                };
                one(result, passed, returned)
            }
            Operation::Execute => {
                let path = self.file(a).to_owned();
                let arguments = [c_path(&path), Argument::Number(0), Argument::Number(0)];
                let result = driver.call(libc::SYS_execve, &arguments);
                one(result, vec![(0, self.path_value(&path))], 0)
            }
            Operation::Signal => {
                let signal = libc::SIGURG as u32;
                let (errno, code) = (number(a) as i32, number(b) as i32);
                let mut info = vec![0; 128];
                for (field, value) in [signal.to_le_bytes(), errno.to_le_bytes(), code.to_le_bytes()]
                    .iter()
                    .enumerate()
                {
                    info[4 * field..4 * field + 4].copy_from_slice(value);
                }
                let arguments = [
                    Argument::Number(driver.own_pid),
                    Argument::Number(u64::from(signal)),
                    Argument::Memory(info),
                ];
                let result = driver.call(libc::SYS_rt_sigqueueinfo, &arguments);
                let passed = vec![
                    (4, Passed::Number(u64::from(signal))),
                    (5, Passed::Number(errno as u64)),
                    (6, Passed::Number(code as u64)),
                    (8, Passed::Number(u64::from(driver.process.pid))),
                ];
                // some codes only the kernel may use
                (result == 0).then_some(())?;
                one(result, passed, 0)
            }
            Operation::Listen => {
                let mut sock = tcp_sock(a, b, c, TCP_CLOSE);
                (sock.destination, sock.destination_port) = ([0; 16], 0);
                let socket = driver.socket(sock.family, libc::SOCK_STREAM);
                let bound = driver.call(libc::SYS_bind, &at(source_of(&sock), socket));
                if bound != 0 {
                    driver.close(socket);
                    return None;
                }
                let result = driver.call(libc::SYS_listen, &[socket as u64, 1].map(Argument::Number));
                driver.close(socket);
                let hits = [(TCP_CLOSE, TCP_LISTEN), (TCP_LISTEN, TCP_CLOSE)].map(|(from, to)| Hit {
                    passed: vec![
                        (0, Passed::Value(Value::Sock(Sock { state: from, ..sock }))),
                        (1, Passed::Number(u64::from(from))),
                        (2, Passed::Number(u64::from(to))),
                    ],
                    returned: 0,
                });
                Some(Performed {
                    result,
                    hits: hits.to_vec(),
                })
            }
        }
    }
}

/// A TCP socket between two ports of the loopback device.
fn tcp_sock(a: u16, b: u16, c: u16, state: u16) -> Sock {
    let family = if a.is_multiple_of(3) { AF_INET6 } else { AF_INET };
    let source_port = PORTS[b as usize % PORTS.len()];
    // nobody connects to himself
    let destination_port = PORTS[(b as usize + 1 + c as usize % (PORTS.len() - 1)) % PORTS.len()];
    Sock {
        family,
        protocol: TCP,
        state,
        source_port,
        destination_port,
        source: loopback(family, a / 3),
        destination: loopback(family, c / 16),
    }
}

fn source_of(sock: &Sock) -> Sockaddr {
    Sockaddr {
        family: sock.family,
        port: sock.source_port,
        address: sock.source,
    }
}
