//! Hooks of a running kernel, and the operations that make the kernel call them with known values.

use super::arena::{Arena, Class, Parameter, Returns, Section};

/// Numbers as wide as a register.
const WIDE: &[&str] = &[
    "int", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "size_t", "long",
];
/// Numbers of at most the width of a parameter: what lies above it in its register is whatever was there before.
const HALF: &[&str] = &["int", "int8", "int16", "int32", "uint8", "uint16", "uint32"];
const QUARTER: &[&str] = &["int8", "int16", "uint8", "uint16"];
const DESCRIPTOR: &[&str] = &["fd", "int", "uint32", "fd", "int64"];

const fn of(index: u32, class: Class, types: &'static [&'static str]) -> Parameter {
    Parameter { index, class, types }
}

const fn arena(section: Section, parameters: &'static [Parameter]) -> Arena {
    Arena {
        section,
        parameters,
        returns: Returns::No,
        overrides: false,
        signals: true,
        features: |_| (),
    }
}

const fn function(call: &'static str, parameters: &'static [Parameter]) -> Arena {
    arena(Section::Kprobe { call, syscall: false }, parameters)
}

const fn syscall(call: &'static str, parameters: &'static [Parameter]) -> Arena {
    arena(Section::Kprobe { call, syscall: true }, parameters)
}

const fn fentry(call: &'static str, parameters: &'static [Parameter]) -> Arena {
    arena(Section::Fentry { call }, parameters)
}

const fn lsm(hook: &'static str, parameters: &'static [Parameter]) -> Arena {
    arena(Section::Lsm { hook }, parameters)
}

const fn tracepoint(
    subsystem: &'static str,
    event: &'static str,
    raw: bool,
    parameters: &'static [Parameter],
) -> Arena {
    arena(Section::Tracepoint { subsystem, event, raw }, parameters)
}

/// With the value returned, by whatever programs that takes.
const fn returning(arena: Arena) -> Arena {
    Arena {
        returns: Returns::Pair,
        ..arena
    }
}

const fn without_signals(arena: Arena) -> Arena {
    Arena {
        signals: false,
        ..arena
    }
}

/// What makes the kernel call a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// `faccessat2`, as a call of its own.
    Access,
    /// `getxattr`, as a call of its own.
    GetXattr,
    /// `connect`, as a call of its own.
    Connect,
    /// Opens a file: `security_file_open`.
    Open,
    /// Opens a file: `fd_install`.
    Install,
    /// `stat`: `security_inode_getattr`.
    Stat,
    /// `mknod`: `security_path_mknod`.
    MakeNode,
    /// `getxattr`: `security_inode_getxattr`.
    InodeGetXattr,
    /// `connect` of a TCP socket: `tcp_connect`.
    TcpConnect,
    /// `connect` of a UDP socket: `security_socket_connect`.
    SocketConnect,
    /// `prctl`: `security_task_prctl`.
    Prctl,
    /// `execve` of what is no program: `security_bprm_check`.
    Execute,
    /// `rt_sigqueueinfo`: `signal_generate`.
    Signal,
    /// `listen` and `close`: `inet_sock_set_state`.
    Listen,
}

impl Operation {
    /// Whether it takes a loopback device.
    pub(crate) fn needs_network(self) -> bool {
        matches!(self, Self::TcpConnect | Self::Listen)
    }
}

const ACCESS: &[Parameter] = &[
    of(0, Class::Number, DESCRIPTOR),
    of(1, Class::String, &["string"]),
    of(2, Class::Number, WIDE),
    of(3, Class::Number, WIDE),
];
const ACCESS_FIELDS: &[Parameter] = &[
    of(5, Class::Number, DESCRIPTOR),
    of(6, Class::String, &["string"]),
    of(7, Class::Number, WIDE),
    of(8, Class::Number, WIDE),
];
const TWO_STRINGS: &[Parameter] = &[
    of(0, Class::String, &["string"]),
    of(1, Class::String, &["string"]),
    of(2, Class::Number, WIDE),
    of(3, Class::Number, WIDE),
];
const ADDRESS: &[Parameter] = &[
    of(0, Class::Number, DESCRIPTOR),
    of(1, Class::Sockaddr, &["sockaddr"]),
    of(2, Class::Number, WIDE),
];
const FILE: &[Parameter] = &[of(0, Class::File, &["file"])];
const NUMBER_AND_FILE: &[Parameter] = &[of(0, Class::Number, HALF), of(1, Class::File, &["file"])];
const PATH: &[Parameter] = &[of(0, Class::Path, &["path"])];
const NODE: &[Parameter] = &[
    of(0, Class::Path, &["path"]),
    of(1, Class::Dentry, &["dentry"]),
    of(2, Class::Number, QUARTER),
    of(3, Class::Number, HALF),
];
const DENTRY_AND_STRING: &[Parameter] = &[of(0, Class::Dentry, &["dentry"]), of(1, Class::String, &["string"])];
const SOCK: &[Parameter] = &[of(0, Class::Sock, &["sock"])];
const KERNEL_ADDRESS: &[Parameter] = &[of(1, Class::Sockaddr, &["sockaddr"]), of(2, Class::Number, HALF)];
const PRCTL: &[Parameter] = &[
    of(0, Class::Number, HALF),
    of(1, Class::Number, WIDE),
    of(4, Class::Number, WIDE),
];
const BINPRM: &[Parameter] = &[of(0, Class::Binprm, &["linux_binprm"])];
const SIGNAL: &[Parameter] = &[
    of(4, Class::Number, WIDE),
    of(5, Class::Number, WIDE),
    of(6, Class::Number, WIDE),
    of(8, Class::Number, WIDE),
];
const STATES: &[Parameter] = &[
    of(0, Class::Sock, &["sock"]),
    of(1, Class::Number, HALF),
    of(2, Class::Number, HALF),
];

/// A hook with the operation that makes the kernel call it.
pub(crate) type Place = (&'static str, Arena, Operation);

pub(crate) const PLACES: &[Place] = &[
    ("sys_faccessat2", syscall("sys_faccessat2", ACCESS), Operation::Access),
    (
        "sys_faccessat2 and its return",
        returning(syscall("sys_faccessat2", ACCESS)),
        Operation::Access,
    ),
    (
        "sys_getxattr",
        syscall("sys_getxattr", TWO_STRINGS),
        Operation::GetXattr,
    ),
    (
        "sys_connect and its return",
        returning(syscall("sys_connect", ADDRESS)),
        Operation::Connect,
    ),
    (
        "tracepoint sys_enter_faccessat2",
        tracepoint("syscalls", "sys_enter_faccessat2", false, ACCESS_FIELDS),
        Operation::Access,
    ),
    (
        "security_file_open",
        function("security_file_open", FILE),
        Operation::Open,
    ),
    (
        "security_file_open and its return",
        returning(function("security_file_open", FILE)),
        Operation::Open,
    ),
    ("lsm file_open", lsm("file_open", FILE), Operation::Open),
    (
        "fd_install",
        function("fd_install", NUMBER_AND_FILE),
        Operation::Install,
    ),
    (
        "fentry fd_install",
        fentry("fd_install", NUMBER_AND_FILE),
        Operation::Install,
    ),
    (
        "security_inode_getattr",
        function("security_inode_getattr", PATH),
        Operation::Stat,
    ),
    ("lsm inode_getattr", lsm("inode_getattr", PATH), Operation::Stat),
    (
        "security_path_mknod",
        function("security_path_mknod", NODE),
        Operation::MakeNode,
    ),
    ("lsm path_mknod", lsm("path_mknod", NODE), Operation::MakeNode),
    (
        "security_inode_getxattr and its return",
        returning(function("security_inode_getxattr", DENTRY_AND_STRING)),
        Operation::InodeGetXattr,
    ),
    ("tcp_connect", function("tcp_connect", SOCK), Operation::TcpConnect),
    ("fentry tcp_connect", fentry("tcp_connect", SOCK), Operation::TcpConnect),
    (
        "security_socket_connect",
        function("security_socket_connect", KERNEL_ADDRESS),
        Operation::SocketConnect,
    ),
    (
        "security_task_prctl and its return",
        returning(function("security_task_prctl", PRCTL)),
        Operation::Prctl,
    ),
    ("lsm task_prctl", lsm("task_prctl", PRCTL), Operation::Prctl),
    (
        "security_bprm_check",
        function("security_bprm_check", BINPRM),
        Operation::Execute,
    ),
    (
        "lsm bprm_check_security",
        lsm("bprm_check_security", BINPRM),
        Operation::Execute,
    ),
    (
        "tracepoint signal_generate",
        without_signals(tracepoint("signal", "signal_generate", false, SIGNAL)),
        Operation::Signal,
    ),
    (
        "raw tracepoint inet_sock_set_state",
        tracepoint("sock", "inet_sock_set_state", true, STATES),
        Operation::Listen,
    ),
];
