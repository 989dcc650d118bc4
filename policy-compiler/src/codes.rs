//! Codes of the compiler's diagnostics, `TP0500` to `TP0899`. Each has a page in `docs/errors/`.

use tracingpolicy_crd::Code;

/// A part of the language that is not compiled.
pub const NOT_COMPILED: Code = Code(500);
/// The kernel has no such function.
pub const FUNCTION_NOT_FOUND: Code = Code(501);
/// The kernel has no such syscall.
pub const SYSCALL_NOT_FOUND: Code = Code(502);
/// The kernel has no such tracepoint.
pub const TRACEPOINT_NOT_FOUND: Code = Code(503);
/// The kernel has no such LSM hook.
pub const LSM_HOOK_NOT_FOUND: Code = Code(504);
/// The function has fewer parameters.
pub const INDEX_OUT_OF_RANGE: Code = Code(505);
/// The type cannot be read at this kind of hook.
pub const TYPE_NOT_READABLE: Code = Code(506);
/// The kernel's own type of the parameter is another one.
pub const TYPE_DIFFERS: Code = Code(507);
/// The operator does not apply to the type.
pub const OPERATOR_NOT_APPLICABLE: Code = Code(508);
/// The value is not one of the type.
pub const BAD_VALUE: Code = Code(509);
/// No argument has this index.
pub const NO_SUCH_ARGUMENT: Code = Code(510);
/// No list has this name, or it cannot be used here.
pub const BAD_LIST: Code = Code(511);
/// The hook cannot be attached on this kernel.
pub const NOT_ATTACHABLE: Code = Code(512);
/// The override cannot be honoured on this kernel.
pub const OVERRIDE_NOT_POSSIBLE: Code = Code(513);
/// The action cannot be done at this kind of hook.
pub const ACTION_NOT_POSSIBLE: Code = Code(514);
/// The option is unknown or its value is wrong.
pub const BAD_OPTION: Code = Code(515);
/// Filters of the return value without a return value.
pub const RETURN_FILTER_WITHOUT_RETURN: Code = Code(516);
/// The hook needs more memory of one kind than a program has.
pub const HOOK_TOO_LARGE: Code = Code(517);
/// The compiler produced something it should not have.
pub const COMPILER_DEFECT: Code = Code(518);
/// A namespace of the host is not known.
pub const HOST_NAMESPACE_UNKNOWN: Code = Code(519);
/// An enforcer kills, but lets the call be made.
pub const KILL_WITHOUT_OVERRIDE: Code = Code(520);
/// An enforcer that nobody notifies.
pub const ENFORCER_WITHOUT_WORK: Code = Code(521);
/// A value that is no glob, or no regular expression, or too large a one.
pub const BAD_PATTERN: Code = Code(525);
/// What `resolve` or `btfType` names is not in the kernel's types.
pub const RESOLVE_NOT_FOUND: Code = Code(526);
/// An expression that is none, or not of this language.
pub const BAD_EXPRESSION: Code = Code(527);
/// The user binary cannot be read.
pub const BINARY_NOT_FOUND: Code = Code(530);
/// The user binary has no such function, or no instructions there.
pub const SYMBOL_NOT_FOUND: Code = Code(531);
/// The user binary has no such static probe.
pub const PROBE_NOT_FOUND: Code = Code(532);
/// The user binary is not the one that the policy is for.
pub const DIGEST_DIFFERS: Code = Code(533);

// Of a review: the policy works, but may not do what its author wants.

/// A decision on user memory, which can change afterwards, or on a syscall that need not be made.
pub const DECIDED_ON_USER_MEMORY: Code = Code(600);
/// A path is denied, its file may have others.
pub const OTHER_NAMES: Code = Code(601);
/// A kill after the operation.
pub const KILL_TOO_LATE: Code = Code(602);
/// A kill that leaves the operation's effect.
pub const KILL_LEAVES_EFFECT: Code = Code(603);
/// A kill where a denial could be had.
pub const KILL_INSTEAD_OF_DENIAL: Code = Code(604);
/// Events of a hook that everybody calls all the time.
pub const HOT_HOOK: Code = Code(605);
/// Enforcement that depends on the path of a program.
pub const BINARY_BY_PATH: Code = Code(606);
/// A selector that an earlier one always beats.
pub const SELECTOR_NEVER_WINS: Code = Code(607);
/// Filters that nothing satisfies.
pub const FILTER_NEVER_HOLDS: Code = Code(608);
/// An argument wider than the kernel's.
pub const TYPE_TOO_WIDE: Code = Code(609);
/// Enforcement at a user function, which need not be called.
pub const USER_FUNCTION_AVOIDABLE: Code = Code(610);
