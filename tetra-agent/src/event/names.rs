//! Names of kernel numbers in events. Numbers without a name are printed as numbers.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use tetra_api::tetragon::CapabilitiesType;

/// `AF_INET`
const AF_INET: u16 = 2;
/// `AF_INET6`
const AF_INET6: u16 = 10;

/// Address families by number.
#[rustfmt::skip]
const FAMILIES: [&str; 46] = [
    "AF_UNSPEC", "AF_UNIX", "AF_INET", "AF_AX25", "AF_IPX", "AF_APPLETALK", "AF_NETROM", "AF_BRIDGE", "AF_ATMPVC", "AF_X25",
    "AF_INET6", "AF_ROSE", "AF_DECnet", "AF_NETBEUI", "AF_SECURITY", "AF_KEY", "AF_NETLINK", "AF_PACKET", "AF_ASH",
    "AF_ECONET", "AF_ATMSVC", "AF_RDS", "AF_SNA", "AF_IRDA", "AF_PPPOX", "AF_WANPIPE", "AF_LLC", "AF_IB", "AF_MPLS",
    "AF_CAN", "AF_TIPC", "AF_BLUETOOTH", "AF_IUCV", "AF_RXRPC", "AF_ISDN", "AF_PHONET", "AF_IEEE802154", "AF_CAIF",
    "AF_ALG", "AF_NFC", "AF_VSOCK", "AF_KCM", "AF_QIPCRTR", "AF_SMC", "AF_XDP", "AF_MCTP",
];

/// TCP states by number; 0 is none.
#[rustfmt::skip]
const TCP_STATES: [&str; 13] = [
    "", "TCP_ESTABLISHED", "TCP_SYN_SENT", "TCP_SYN_RECV", "TCP_FIN_WAIT1", "TCP_FIN_WAIT2", "TCP_TIME_WAIT", "TCP_CLOSE",
    "TCP_CLOSE_WAIT", "TCP_LAST_ACK", "TCP_LISTEN", "TCP_CLOSING", "TCP_NEW_SYN_RECV",
];

/// Signals by number.
#[rustfmt::skip]
const SIGNALS: [&str; 32] = [
    "", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
    "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
    "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
];

/// `enum bpf_prog_type` (include/uapi/linux/bpf.h).
#[rustfmt::skip]
const BPF_PROG_TYPES: [&str; 33] = [
    "BPF_PROG_TYPE_UNSPEC", "BPF_PROG_TYPE_SOCKET_FILTER", "BPF_PROG_TYPE_KPROBE", "BPF_PROG_TYPE_SCHED_CLS",
    "BPF_PROG_TYPE_SCHED_ACT", "BPF_PROG_TYPE_TRACEPOINT", "BPF_PROG_TYPE_XDP", "BPF_PROG_TYPE_PERF_EVENT",
    "BPF_PROG_TYPE_CGROUP_SKB", "BPF_PROG_TYPE_CGROUP_SOCK", "BPF_PROG_TYPE_LWT_IN", "BPF_PROG_TYPE_LWT_OUT",
    "BPF_PROG_TYPE_LWT_XMIT", "BPF_PROG_TYPE_SOCK_OPS", "BPF_PROG_TYPE_SK_SKB", "BPF_PROG_TYPE_CGROUP_DEVICE",
    "BPF_PROG_TYPE_SK_MSG", "BPF_PROG_TYPE_RAW_TRACEPOINT", "BPF_PROG_TYPE_CGROUP_SOCK_ADDR",
    "BPF_PROG_TYPE_LWT_SEG6LOCAL", "BPF_PROG_TYPE_LIRC_MODE2", "BPF_PROG_TYPE_SK_REUSEPORT",
    "BPF_PROG_TYPE_FLOW_DISSECTOR", "BPF_PROG_TYPE_CGROUP_SYSCTL", "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE",
    "BPF_PROG_TYPE_CGROUP_SOCKOPT", "BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_STRUCT_OPS", "BPF_PROG_TYPE_EXT",
    "BPF_PROG_TYPE_LSM", "BPF_PROG_TYPE_SK_LOOKUP", "BPF_PROG_TYPE_SYSCALL", "BPF_PROG_TYPE_NETFILTER",
];

/// `enum bpf_map_type`, likewise.
#[rustfmt::skip]
const BPF_MAP_TYPES: [&str; 34] = [
    "BPF_MAP_TYPE_UNSPEC", "BPF_MAP_TYPE_HASH", "BPF_MAP_TYPE_ARRAY", "BPF_MAP_TYPE_PROG_ARRAY",
    "BPF_MAP_TYPE_PERF_EVENT_ARRAY", "BPF_MAP_TYPE_PERCPU_HASH", "BPF_MAP_TYPE_PERCPU_ARRAY", "BPF_MAP_TYPE_STACK_TRACE",
    "BPF_MAP_TYPE_CGROUP_ARRAY", "BPF_MAP_TYPE_LRU_HASH", "BPF_MAP_TYPE_LRU_PERCPU_HASH", "BPF_MAP_TYPE_LPM_TRIE",
    "BPF_MAP_TYPE_ARRAY_OF_MAPS", "BPF_MAP_TYPE_HASH_OF_MAPS", "BPF_MAP_TYPE_DEVMAP", "BPF_MAP_TYPE_SOCKMAP",
    "BPF_MAP_TYPE_CPUMAP", "BPF_MAP_TYPE_XSKMAP", "BPF_MAP_TYPE_SOCKHASH", "BPF_MAP_TYPE_CGROUP_STORAGE",
    "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY", "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE", "BPF_MAP_TYPE_QUEUE", "BPF_MAP_TYPE_STACK",
    "BPF_MAP_TYPE_SK_STORAGE", "BPF_MAP_TYPE_DEVMAP_HASH", "BPF_MAP_TYPE_STRUCT_OPS", "BPF_MAP_TYPE_RINGBUF",
    "BPF_MAP_TYPE_INODE_STORAGE", "BPF_MAP_TYPE_TASK_STORAGE", "BPF_MAP_TYPE_BLOOM_FILTER", "BPF_MAP_TYPE_USER_RINGBUF",
    "BPF_MAP_TYPE_CGRP_STORAGE", "BPF_MAP_TYPE_ARENA",
];

/// `enum perf_type_id` (include/uapi/linux/perf_event.h).
#[rustfmt::skip]
const PERF_TYPES: [&str; 6] = [
    "PERF_TYPE_HARDWARE", "PERF_TYPE_SOFTWARE", "PERF_TYPE_TRACEPOINT", "PERF_TYPE_HW_CACHE", "PERF_TYPE_RAW",
    "PERF_TYPE_BREAKPOINT",
];

/// Type of a BPF program.
pub fn bpf_prog_type(number: u32) -> Cow<'static, str> {
    large_number_or(&BPF_PROG_TYPES, number)
}

/// Type of a BPF map.
pub fn bpf_map_type(number: u32) -> Cow<'static, str> {
    large_number_or(&BPF_MAP_TYPES, number)
}

/// Type of a perf event. Those above the last are given out as drivers register.
pub fn perf_type(number: u32) -> Cow<'static, str> {
    large_number_or(&PERF_TYPES, number)
}

/// A capability, as the API names it.
pub fn capability(number: i32) -> Cow<'static, str> {
    CapabilitiesType::try_from(number).map_or_else(
        |_| Cow::Owned(number.to_string()),
        |known| Cow::Borrowed(known.as_str_name()),
    )
}

fn large_number_or(names: &'static [&'static str], number: u32) -> Cow<'static, str> {
    let name = names.get(number as usize);
    name.map_or_else(|| Cow::Owned(number.to_string()), |name| Cow::Borrowed(*name))
}

fn number_or(name: Option<&'static str>, number: u16) -> Cow<'static, str> {
    name.map_or_else(|| Cow::Owned(number.to_string()), Cow::Borrowed)
}

/// Address family.
pub fn family(number: u16) -> Cow<'static, str> {
    number_or(FAMILIES.get(number as usize).copied(), number)
}

/// Socket type.
pub fn socket_type(number: u16) -> Cow<'static, str> {
    let name = match number {
        1 => Some("SOCK_STREAM"),
        2 => Some("SOCK_DGRAM"),
        3 => Some("SOCK_RAW"),
        4 => Some("SOCK_RDM"),
        5 => Some("SOCK_SEQPACKET"),
        6 => Some("SOCK_DCCP"),
        10 => Some("SOCK_PACKET"),
        _ => None,
    };
    number_or(name, number)
}

/// IP protocol.
pub fn protocol(number: u16) -> Cow<'static, str> {
    let name = match number {
        0 => "IPPROTO_IP",
        1 => "IPPROTO_ICMP",
        2 => "IPPROTO_IGMP",
        4 => "IPPROTO_IPIP",
        6 => "IPPROTO_TCP",
        8 => "IPPROTO_EGP",
        12 => "IPPROTO_PUP",
        17 => "IPPROTO_UDP",
        22 => "IPPROTO_IDP",
        29 => "IPPROTO_TP",
        33 => "IPPROTO_DCCP",
        41 => "IPPROTO_IPV6",
        43 => "IPPROTO_ROUTING",
        44 => "IPPROTO_FRAGMENT",
        46 => "IPPROTO_RSVP",
        47 => "IPPROTO_GRE",
        50 => "IPPROTO_ESP",
        51 => "IPPROTO_AH",
        58 => "IPPROTO_ICMPV6",
        59 => "IPPROTO_NONE",
        60 => "IPPROTO_DSTOPTS",
        92 => "IPPROTO_MTP",
        94 => "IPPROTO_BEETPH",
        98 => "IPPROTO_ENCAP",
        103 => "IPPROTO_PIM",
        108 => "IPPROTO_COMP",
        115 => "IPPROTO_L2TP",
        132 => "IPPROTO_SCTP",
        135 => "IPPROTO_MH",
        136 => "IPPROTO_UDPLITE",
        137 => "IPPROTO_MPLS",
        143 => "IPPROTO_ETHERNET",
        255 => "IPPROTO_RAW",
        262 => "IPPROTO_MPTCP",
        _ => return Cow::Owned(number.to_string()),
    };
    Cow::Borrowed(name)
}

/// TCP state; empty for 0.
pub fn tcp_state(number: u16) -> Cow<'static, str> {
    number_or(TCP_STATES.get(number as usize).copied(), number)
}

/// Signal; empty for none and for real-time signals.
pub fn signal(number: u32) -> &'static str {
    SIGNALS.get(number as usize).copied().unwrap_or_default()
}

/// Address of a family that has addresses.
pub fn address(family: u16, bytes: &[u8; 16]) -> String {
    match family {
        AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
        AF_INET6 => Ipv6Addr::from(*bytes).to_string(),
        _ => "invalid IP".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_names_and_others_stay_numbers() {
        assert_eq!(family(2), "AF_INET");
        assert_eq!(family(45), "AF_MCTP");
        assert_eq!(family(99), "99");
        assert_eq!(socket_type(0), "0");
        assert_eq!(protocol(262), "IPPROTO_MPTCP");
        assert_eq!(tcp_state(12), "TCP_NEW_SYN_RECV");
        assert_eq!(signal(9), "SIGKILL");
        assert_eq!(signal(31), "SIGSYS");
        assert_eq!(signal(34), "");
    }

    #[test]
    fn addresses_follow_the_family() {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address(2, &bytes), "127.0.0.1");
        let mut bytes = [0; 16];
        bytes[15] = 1;
        assert_eq!(address(10, &bytes), "::1");
        assert_eq!(address(1, &bytes), "invalid IP");
    }
}
