//! Hooks in the kernel.

use super::argument::ArgSpec;
use super::declare::object;
use super::selector::Selector;

object! {
    /// When a hook that cannot be placed is left out instead of failing.
    pub struct Ignore {
        /// The kernel has no such function.
        call_not_found: bool = "callNotFound",
    }
}

object! {
    /// A hook on a kernel function or system call.
    pub struct KprobeSpec {
        /// Name of the function, or `list:NAME` for all functions of a list.
        call: String = "call" [required],
        /// Whether the function is a system call; its arguments are those of the user then.
        syscall: bool = "syscall" [default(true)],
        /// Whether to wait for the function to return and send what it returned; needs `returnArg`.
        has_return: bool = "return" [default(false)],
        /// Text sent with each event.
        message: String = "message",
        /// Arguments to read.
        args: Vec<ArgSpec> = "args",
        /// Other things to read: from the current task or from registers.
        data: Vec<ArgSpec> = "data",
        /// How to read the return value.
        return_arg: Option<ArgSpec> = "returnArg",
        /// What to do with the return value: `TrackSock` or `UntrackSock`.
        return_arg_action: Option<String> = "returnArgAction",
        /// Which calls are meant; all, if none are given.
        selectors: Vec<Selector> = "selectors",
        /// Words sent with each event to sort it by.
        tags: Vec<String> = "tags" [max_items(16)],
        /// When to leave the hook out.
        ignore: Option<Ignore> = "ignore",
    }
    rules {
        "!(has(self.return) && self.return) || has(self.returnArg)" => "ReturnArg not specified with Return=true.",
    }
}

object! {
    /// A hook on a tracepoint.
    pub struct TracepointSpec {
        /// Subsystem of the tracepoint.
        subsystem: String = "subsystem" [required],
        /// Name of the tracepoint.
        event: String = "event" [required],
        /// Text sent with each event.
        message: String = "message",
        /// Fields to read, or arguments if `raw`.
        args: Vec<ArgSpec> = "args",
        /// Which occurrences are meant; all, if none are given.
        selectors: Vec<Selector> = "selectors",
        /// Words sent with each event to sort it by.
        tags: Vec<String> = "tags" [max_items(16)],
        /// Read the arguments the kernel passed, not the fields it made of them.
        raw: bool = "raw",
    }
}

object! {
    /// A hook of the BPF security module.
    pub struct LsmHookSpec {
        /// Name of the hook, such as `file_open`.
        hook: String = "hook" [required],
        /// Text sent with each event.
        message: String = "message",
        /// Arguments to read.
        args: Vec<ArgSpec> = "args",
        /// Which calls are meant; all, if none are given.
        selectors: Vec<Selector> = "selectors",
        /// Words sent with each event to sort it by.
        tags: Vec<String> = "tags" [max_items(16)],
    }
}
