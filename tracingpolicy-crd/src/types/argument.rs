//! Arguments a hook reads.

use super::declare::{names, object};

names! {
    /// How an argument is read and shown.
    pub enum ArgType: "argument type" {
        /// From the format of the tracepoint or the type that `resolve` ends at.
        Auto = "auto",
        /// Signed 32-bit integer.
        Int = "int",
        /// Signed 8-bit integer.
        Sint8 = "sint8",
        /// Signed 8-bit integer.
        Int8 = "int8",
        /// Unsigned 8-bit integer.
        Uint8 = "uint8",
        /// Signed 16-bit integer.
        Sint16 = "sint16",
        /// Signed 16-bit integer.
        Int16 = "int16",
        /// Unsigned 16-bit integer.
        Uint16 = "uint16",
        /// Unsigned 32-bit integer.
        Uint32 = "uint32",
        /// Signed 32-bit integer.
        Sint32 = "sint32",
        /// Signed 32-bit integer.
        Int32 = "int32",
        /// Unsigned 64-bit integer.
        Ulong = "ulong",
        /// Unsigned 64-bit integer, as C spells it.
        UnsignedLong = "unsigned long",
        /// Unsigned 64-bit integer.
        Uint64 = "uint64",
        /// Unsigned size.
        SizeT = "size_t",
        /// Signed 64-bit integer.
        Long = "long",
        /// Signed 64-bit integer.
        Sint64 = "sint64",
        /// Signed 64-bit integer.
        Int64 = "int64",
        /// Bytes in memory, counted by another argument.
        CharBuf = "char_buf",
        /// Vector of bytes in memory, counted by another argument.
        CharIovec = "char_iovec",
        /// Socket buffer: addresses, ports, protocol.
        Skb = "skb",
        /// Socket: addresses, ports, protocol, state.
        Sock = "sock",
        /// Socket address.
        Sockaddr = "sockaddr",
        /// Address of a local socket.
        SockaddrUn = "sockaddr_un",
        /// Socket as system calls see it.
        Socket = "socket",
        /// NUL-terminated string.
        String = "string",
        /// File descriptor, shown as path.
        Fd = "fd",
        /// Open file, shown as path.
        File = "file",
        /// Name given to a system call, in the kernel's form.
        Filename = "filename",
        /// Mount and directory entry, shown as path.
        Path = "path",
        /// Not read: a placeholder.
        Nop = "nop",
        /// Attributes of a `bpf` call.
        BpfAttr = "bpf_attr",
        /// Performance event.
        PerfEvent = "perf_event",
        /// BPF map.
        BpfMap = "bpf_map",
        /// User namespace.
        UserNamespace = "user_namespace",
        /// Number of a capability.
        Capability = "capability",
        /// Kernel I/O control block, shown as path.
        Kiocb = "kiocb",
        /// Iterator over I/O memory.
        IovIter = "iov_iter",
        /// Credentials.
        Cred = "cred",
        /// Bytes of fixed number in a tracepoint.
        ConstBuf = "const_buf",
        /// Kernel module being loaded.
        LoadInfo = "load_info",
        /// Kernel module.
        Module = "module",
        /// Number of a system call.
        Syscall64 = "syscall64",
        /// Set of capabilities.
        KernelCapT = "kernel_cap_t",
        /// Set of inheritable capabilities.
        CapInheritable = "cap_inheritable",
        /// Set of permitted capabilities.
        CapPermitted = "cap_permitted",
        /// Set of effective capabilities.
        CapEffective = "cap_effective",
        /// Program being executed, shown as path.
        LinuxBinprm = "linux_binprm",
        /// String at a place the tracepoint names.
        DataLoc = "data_loc",
        /// Network device, shown by name.
        NetDevice = "net_device",
        /// Command of a `bpf` call.
        BpfCmd = "bpf_cmd",
        /// Directory entry, shown as path in its mount.
        Dentry = "dentry",
        /// BPF program.
        BpfProg = "bpf_prog",
    }
}

impl ArgType {
    /// Width in bits and signedness of an integer type.
    pub const fn integer(self) -> Option<(u32, bool)> {
        Some(match self {
            Self::Int | Self::Int32 | Self::Sint32 => (32, true),
            Self::Uint32 => (32, false),
            Self::Int8 | Self::Sint8 => (8, true),
            Self::Uint8 => (8, false),
            Self::Int16 | Self::Sint16 => (16, true),
            Self::Uint16 => (16, false),
            Self::Int64 | Self::Sint64 | Self::Long => (64, true),
            Self::Uint64 | Self::Ulong | Self::UnsignedLong | Self::SizeT | Self::Syscall64 => (64, false),
            _ => return None,
        })
    }

    /// Whether it is shown as the path of a file.
    pub const fn is_path(self) -> bool {
        matches!(
            self,
            Self::Fd | Self::File | Self::Path | Self::Dentry | Self::Kiocb | Self::LinuxBinprm
        )
    }

    /// Whether string operators make sense for it.
    pub const fn is_string_like(self) -> bool {
        self.is_path()
            || matches!(
                self,
                Self::String
                    | Self::Filename
                    | Self::CharBuf
                    | Self::CharIovec
                    | Self::IovIter
                    | Self::DataLoc
                    | Self::NetDevice
                    | Self::SockaddrUn
            )
    }

    /// Whether it is a set of capabilities.
    pub const fn is_capability_set(self) -> bool {
        matches!(
            self,
            Self::KernelCapT | Self::CapInheritable | Self::CapPermitted | Self::CapEffective
        )
    }

    /// Whether it has addresses and ports.
    pub const fn is_socket(self) -> bool {
        matches!(self, Self::Skb | Self::Sock | Self::Socket | Self::Sockaddr)
    }

    /// Whether its length stands in another argument.
    pub const fn is_buffer(self) -> bool {
        matches!(self, Self::CharBuf | Self::CharIovec | Self::IovIter)
    }
}

object! {
    /// An argument to read.
    pub struct ArgSpec {
        /// Position among the arguments of the function, from 0. For classic tracepoints, position in the list of
        /// fields of the format file.
        index: u32 = "index" [required],
        /// How it is read.
        arg_type: ArgType = "type" [default("auto")],
        /// Path to a member of the type, such as `a.b[3].c`, that is read instead.
        resolve: String = "resolve" [default("")],
        /// Name of the structure that `resolve` starts from, instead of the one in the function's prototype.
        btf_type: String = "btfType",
        /// Kernel module whose type information knows `btfType`.
        btf_type_module: String = "btfTypeModule",
        /// Where an entry of `data` comes from: `current_task` or `pt_regs`.
        source: String = "source",
        /// Position, from 1, of the argument that holds the number of bytes of a buffer; 0 for none.
        size_arg_index: u32 = "sizeArgIndex",
        /// Read the buffer when the function returns, and only as many bytes as it says.
        return_copy: bool = "returnCopy" [default(false)],
        /// Read as much of the buffer as possible.
        max_data: bool = "maxData" [default(false)],
        /// Text shown with the argument in events.
        label: String = "label",
    }
}
