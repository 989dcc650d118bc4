//! Hooks in user programs.

use super::argument::ArgSpec;
use super::declare::object;
use super::selector::Selector;

object! {
    /// When a hook that cannot be placed is left out instead of failing.
    pub struct UprobeIgnore {
        /// None of `binaryDigests` fits the file.
        digest_verification_failure: bool = "digestVerificationFailure",
    }
}

object! {
    /// A hook on functions of a user program.
    pub struct UprobeSpec {
        /// Path of the binary.
        path: String = "path" [required],
        /// Type information (BTF) of the binary, for `resolve`.
        btf_path: String = "btfPath",
        /// Symbols, or symbols with an offset.
        symbols: Vec<String> = "symbols",
        /// Offsets in the file.
        offsets: Vec<u64> = "offsets",
        /// Virtual addresses.
        addrs: Vec<u64> = "addrs",
        /// Offsets of the reference counters that belong to the symbols or offsets.
        ref_ctr_offsets: Vec<u64> = "refCtrOffsets",
        /// Digests the binary may have, such as `sha256:…` or `build-id:…`; any, if none are given.
        binary_digests: Vec<String> = "binaryDigests",
        /// When to leave the hook out.
        ignore: Option<UprobeIgnore> = "ignore",
        /// Text sent with each event.
        message: String = "message",
        /// Whether to wait for the function to return and send what it returned; needs `returnArg`.
        has_return: bool = "return" [default(false)],
        /// Which calls are meant; all, if none are given.
        selectors: Vec<Selector> = "selectors",
        /// Arguments to read.
        args: Vec<ArgSpec> = "args",
        /// Other things to read: from the current task or from registers.
        data: Vec<ArgSpec> = "data",
        /// How to read the return value.
        return_arg: Option<ArgSpec> = "returnArg",
        /// Words sent with each event to sort it by.
        tags: Vec<String> = "tags" [max_items(16)],
    }
    rules {
        "(has(self.symbols) ? 1 : 0) + (has(self.offsets) ? 1 : 0) + (has(self.addrs) ? 1 : 0) <= 1"
            => "uprobe needs at most one of symbols, addrs or offsets defined",
        "!(has(self.return) && self.return) || has(self.returnArg)" => "ReturnArg not specified with Return=true.",
    }
}

object! {
    /// A hook on static probes of a user program.
    pub struct UsdtSpec {
        /// Path of the binary.
        path: String = "path" [required],
        /// Type information (BTF) of the binary, for `resolve`.
        btf_path: String = "btfPath",
        /// Provider of the probe.
        provider: String = "provider" [required],
        /// Name of the probe.
        name: String = "name" [required],
        /// Text sent with each event.
        message: String = "message",
        /// Which occurrences are meant; all, if none are given.
        selectors: Vec<Selector> = "selectors",
        /// Arguments to read.
        args: Vec<ArgSpec> = "args",
        /// Words sent with each event to sort it by.
        tags: Vec<String> = "tags" [max_items(16)],
    }
}
