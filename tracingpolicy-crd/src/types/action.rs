//! What happens when a selector matches.

use super::declare::{names, object};

names! {
    /// A thing to do.
    pub enum Action: "action" {
        /// Send an event.
        Post = "Post",
        /// Kill the process.
        Sigkill = "Sigkill",
        /// Make the function return an error instead of running.
        Override = "Override",
        /// Fetch a URL.
        GetUrl = "GetUrl",
        /// Look up a domain name.
        DnsLookup = "DnsLookup",
        /// Send no event.
        NoPost = "NoPost",
        /// Send a signal to the process.
        Signal = "Signal",
        /// Remember which process owns a socket.
        TrackSock = "TrackSock",
        /// Forget which process owns a socket.
        UntrackSock = "UntrackSock",
        /// Have an enforcer act on a later call.
        NotifyEnforcer = "NotifyEnforcer",
        /// Withdraw what an enforcer was told.
        CleanupEnforcerNotification = "CleanupEnforcerNotification",
        /// Write a value to an argument.
        Set = "Set",
    }
}

impl Action {
    /// Whether it changes what the process can do; monitoring modes leave it out.
    pub const fn is_enforcement(self) -> bool {
        matches!(
            self,
            Self::Sigkill | Self::Signal | Self::Override | Self::NotifyEnforcer | Self::Set
        )
    }
}

names! {
    /// What a rate limit counts together.
    pub enum RateLimitScope: "scope" {
        /// Each thread by itself.
        Thread = "thread",
        /// All threads of a process.
        Process = "process",
        /// Everything.
        Global = "global",
    }
}

object! {
    /// An action with its parameters.
    pub struct ActionSelector {
        /// What to do.
        action: Action = "action" [required],
        /// URL that `GetUrl` fetches.
        arg_url: String = "argUrl",
        /// Domain name that `DnsLookup` asks for.
        arg_fqdn: String = "argFqdn",
        /// Error that `Override` returns, as a negative number.
        arg_error: i32 = "argError",
        /// Signal that `Signal` sends.
        arg_sig: u32 = "argSig",
        /// Position, in `args`, of the socket that `TrackSock` and `UntrackSock` mean.
        arg_sock: u32 = "argSock",
        /// Position, in `args`, of the argument that `Set` writes.
        arg_index: u32 = "argIndex",
        /// Value that `Set` writes.
        arg_value: u32 = "argValue",
        /// Registers that `Override` changes in a user program, such as `rax=1`.
        arg_regs: Vec<String> = "argRegs",
        /// Symbol of the function that `Override` runs instead, in a user program.
        arg_new_symbol: Option<String> = "argNewSymbol",
        /// Address of the function that `Override` runs instead, in a user program.
        arg_new_addr: Option<u64> = "argNewAddr",
        /// Offset in the file of the function that `Override` runs instead, in a user program.
        arg_new_offset: Option<u64> = "argNewOffset",
        /// Shortest time between two equal events: a number of seconds, or with a unit `s`, `m` or `h`.
        rate_limit: String = "rateLimit",
        /// What the rate limit counts together: `thread`, the default, `process` or `global`.
        rate_limit_scope: String = "rateLimitScope",
        /// Add the stack of kernel functions to the event.
        kernel_stack_trace: bool = "kernelStackTrace",
        /// Add the stack of user functions to the event.
        user_stack_trace: bool = "userStackTrace",
        /// Add the hash of the file that the integrity subsystem has.
        ima_hash: bool = "imaHash",
    }
    rules {
        "(has(self.argNewSymbol) ? 1 : 0) + (has(self.argNewAddr) ? 1 : 0) + (has(self.argNewOffset) ? 1 : 0) <= 1"
            => "override action needs at most one of argNewSymbol, argNewAddr or argNewOffset defined",
    }
}
