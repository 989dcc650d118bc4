//! Kernel functions people hook often, each in its own words:
//! `📝 write   my-node /usr/bin/curl /etc/passwd 1234 bytes`; any other by its name:
//! `❓ syscall my-node /usr/bin/curl vfs_rename`.

use tetra_api::tetragon::ProcessKprobe;
use tetra_api::tetragon::kprobe_argument::Arg;

use super::colour::Colour;
use super::line::Line;
use super::{EncodeError, required};

/// Prefixes of the functions that system calls enter through.
const SYSCALL_PREFIXES: [&str; 4] = ["__x64_", "__ia32_", "__arm64_", "__s390x_"];

/// Bits of the mask that `security_file_permission` is given.
const MAY_WRITE: i32 = 2;
const MAY_READ: i32 = 4;

pub(super) fn describe(kprobe: &ProcessKprobe, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(kprobe.process.as_ref())?;
    let arguments = Arguments(kprobe);
    let name = kprobe.function_name.as_str();
    let function = SYSCALL_PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let mut start = |icon: &str, name: &str| {
        line.event(icon, name);
        line.process(process);
    };
    match function {
        "sys_write" | "sys_read" => {
            let (icon, name) = if function == "sys_write" {
                ("📝", "write")
            } else {
                ("📚", "read")
            };
            start(icon, name);
            line.detail(arguments.file(0));
            let bytes = if arguments.present(2) {
                format!("{} bytes", arguments.size(2))
            } else {
                String::new()
            };
            line.detail_in(Colour::Cyan, &bytes);
        }
        "fd_install" => {
            start("📬", "open");
            line.detail(arguments.file(1));
        }
        "sys_openat" => {
            start("📬️", "openat");
            line.detail(arguments.string(1));
        }
        "sys_open" => {
            start("📬️", "open");
            line.detail(arguments.string(1));
        }
        "sys_close" => {
            start("📪", "close");
            line.detail(arguments.file(0));
        }
        "sys_mount" | "sys_pivot_root" => {
            start("💾", function.trim_start_matches("sys_"));
            line.detail(arguments.string(0));
            line.detail(arguments.string(1));
        }
        "sys_setuid" => {
            start("🔑", "setuid");
            let user = if arguments.present(0) {
                arguments.int(0).to_string()
            } else {
                String::new()
            };
            line.detail_in(Colour::Cyan, &user);
        }
        "sys_clock_settime" => start("⏰", "clock_settime"),
        "proc_exec_connector" => start("🔧", "proc_exec_connector"),
        "sys_setns" => {
            start("🔧", "setns");
            let namespace = if arguments.present(1) {
                namespace_name(arguments.int(1))
            } else {
                ""
            };
            line.plain(&format!(" {namespace}"));
        }
        "tcp_connect" => {
            start("🔌", "connect");
            line.detail_in(Colour::Cyan, &arguments.connection(0));
        }
        "tcp_close" => {
            start("🧹", "close");
            line.detail_in(Colour::Cyan, &arguments.connection(0));
        }
        "tcp_sendmsg" => {
            start("📤", "sendmsg");
            line.detail_in(Colour::Cyan, &arguments.connection(0));
            line.plain(&format!(" bytes {}", arguments.int(1)));
        }
        "bpf_check" => {
            start("🐝", "bpf_load");
            line.detail_in(Colour::Cyan, &arguments.bpf_program(0));
        }
        "security_perf_event_alloc" => {
            start("🐝", "perf_event_alloc");
            line.detail_in(Colour::Cyan, &arguments.perf_event(0));
        }
        "security_bpf_map_alloc" | "security_bpf_map_create" => {
            start("🗺", "bpf_map_create");
            line.detail_in(Colour::Cyan, &arguments.bpf_map(0));
        }
        "security_file_permission" if arguments.present(0) && arguments.present(1) => {
            match arguments.int(1) {
                MAY_WRITE => start("📝", "write"),
                MAY_READ => start("📚", "read"),
                _ => start("❓", function),
            }
            line.detail(arguments.file(0));
        }
        "security_mmap_file" if arguments.present(0) && arguments.present(1) => {
            start("📝", &format!("mmap-{}", protection(arguments.uint(1))));
            line.detail(arguments.file(0));
        }
        "security_path_truncate" if arguments.present(0) => {
            start("📝", "truncate");
            line.detail(arguments.path(0));
        }
        "security_file_truncate" if arguments.present(0) => {
            start("📝", "truncate");
            line.detail(arguments.file(0));
        }
        "security_file_permission" | "security_mmap_file" | "security_path_truncate" | "security_file_truncate" => {
            start("❓", function);
            line.plain(" ");
        }
        _ => {
            start("❓", "syscall");
            line.plain(&format!(" {name}"));
        }
    }
    Ok(())
}

/// The namespaces `setns` can be asked for, by their clone flag.
fn namespace_name(flag: i32) -> &'static str {
    match flag {
        0 => "any",
        0x0200_0000 => "cgroup",
        0x0800_0000 => "ipc",
        0x4000_0000 => "net",
        0x0002_0000 => "mnt",
        0x2000_0000 => "pid",
        0x0000_0080 => "time",
        0x1000_0000 => "user",
        0x0400_0000 => "uts",
        _ => "",
    }
}

fn protection(bits: u32) -> String {
    [(1, 'r'), (2, 'w'), (4, 'x')]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

/// Arguments by index; of another type, or missing, they are empty or zero.
struct Arguments<'a>(&'a ProcessKprobe);

impl<'a> Arguments<'a> {
    fn present(&self, index: usize) -> bool {
        self.0.args.len() > index
    }

    fn get(&self, index: usize) -> Option<&'a Arg> {
        self.0.args.get(index)?.arg.as_ref()
    }

    fn file(&self, index: usize) -> &'a str {
        match self.get(index) {
            Some(Arg::FileArg(file)) => &file.path,
            _ => "",
        }
    }

    fn path(&self, index: usize) -> &'a str {
        match self.get(index) {
            Some(Arg::PathArg(path)) => &path.path,
            _ => "",
        }
    }

    fn string(&self, index: usize) -> &'a str {
        match self.get(index) {
            Some(Arg::StringArg(text)) => text,
            _ => "",
        }
    }

    fn int(&self, index: usize) -> i32 {
        match self.get(index) {
            Some(Arg::IntArg(value)) => *value,
            _ => 0,
        }
    }

    fn uint(&self, index: usize) -> u32 {
        match self.get(index) {
            Some(Arg::UintArg(value)) => *value,
            _ => 0,
        }
    }

    fn size(&self, index: usize) -> u64 {
        match self.get(index) {
            Some(Arg::SizeArg(value)) => *value,
            _ => 0,
        }
    }

    fn connection(&self, index: usize) -> String {
        match self.get(index) {
            Some(Arg::SockArg(sock)) => {
                format!("tcp {}:{} -> {}:{}", sock.saddr, sock.sport, sock.daddr, sock.dport)
            }
            _ => String::new(),
        }
    }

    fn bpf_program(&self, index: usize) -> String {
        match self.get(index) {
            Some(Arg::BpfAttrArg(program)) => {
                format!(
                    "{} {} instruction count {}",
                    program.prog_type, program.prog_name, program.insn_cnt
                )
            }
            _ => String::new(),
        }
    }

    fn perf_event(&self, index: usize) -> String {
        match self.get(index) {
            Some(Arg::PerfEventArg(event)) => format!("{} {}", event.r#type, event.kprobe_func),
            _ => String::new(),
        }
    }

    fn bpf_map(&self, index: usize) -> String {
        match self.get(index) {
            Some(Arg::BpfMapArg(map)) => format!(
                "{} {} key size {} value size {} max entries {}",
                map.map_type, map.map_name, map.key_size, map.value_size, map.max_entries
            ),
            _ => String::new(),
        }
    }
}
