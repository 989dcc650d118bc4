//! The codes of this crate, 1 to 499. Each has a page in `docs/errors/`.

use super::Code;

macro_rules! codes {
    ($( $(#[doc = $doc:literal])* $name:ident = $number:literal; )*) => {
        $( $(#[doc = $doc])* pub const $name: Code = Code($number); )*

        /// Every code of this crate, in ascending order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    // Reading the text.
    /// The bytes are not UTF-8.
    NOT_UTF8 = 1;
    /// The text holds NUL or other characters YAML does not allow.
    FORBIDDEN_CHARACTER = 2;
    /// The text, or what its aliases expand to, is larger than any policy.
    TOO_LARGE = 3;
    /// The text is not YAML.
    SYNTAX = 4;
    /// Values are nested deeper than in any policy.
    TOO_DEEP = 5;
    /// A key stands twice in one mapping.
    DUPLICATE_KEY = 6;
    /// A key is not a plain string.
    KEY_NOT_STRING = 7;
    /// A YAML tag other than those of JSON's types.
    UNSUPPORTED_TAG = 8;
    /// A placeholder of a template was never filled in.
    PLACEHOLDER = 9;
    /// The text holds no policy at all.
    NO_POLICY = 10;
    /// There are more problems than are worth showing.
    TOO_MANY_PROBLEMS = 11;

    // The envelope.
    /// The document is something other than a policy.
    NOT_A_POLICY = 20;
    /// `apiVersion` is not `cilium.io/v1alpha1`.
    API_VERSION = 21;
    /// `kind` is not a kind of policy.
    KIND = 22;
    /// `metadata.name` is missing.
    NAME_MISSING = 23;
    /// A name breaks Kubernetes' rules.
    NAME_INVALID = 24;
    /// A namespaced policy has no namespace.
    NAMESPACE_MISSING = 25;
    /// A cluster-wide policy has a namespace.
    NAMESPACE_FORBIDDEN = 26;
    /// A label or annotation breaks Kubernetes' rules.
    METADATA_INVALID = 27;
    /// The policy has no `spec`.
    SPEC_MISSING = 28;

    // The shape of the document.
    /// No such key here.
    UNKNOWN_KEY = 40;
    /// A key in the wrong case.
    KEY_CASE = 41;
    /// A required key is missing.
    MISSING_KEY = 42;
    /// A value of the wrong type.
    WRONG_TYPE = 43;
    /// A number, boolean or null where a string belongs.
    UNQUOTED = 44;
    /// A key without a value.
    EMPTY_VALUE = 45;
    /// A number outside of its range.
    NUMBER_RANGE = 46;
    /// A name that is not one of those allowed.
    UNKNOWN_NAME = 47;
    /// A boolean as only YAML 1.1 knows it.
    LEGACY_BOOLEAN = 48;
    /// A number as only YAML 1.1 knows it.
    LEGACY_NUMBER = 49;
    /// A list with too many elements.
    TOO_MANY_ITEMS = 50;

    // Rules of the resource definition that relate keys to each other.
    /// `return: true` without `returnArg`.
    RETURN_WITHOUT_ARGUMENT = 70;
    /// More than one new target for an overridden user function.
    OVERRIDE_TARGETS = 71;
    /// More than one way to say where a uprobe goes.
    UPROBE_TARGETS = 72;
    /// `hostSelector` with labels.
    HOST_SELECTOR_LABELS = 73;
    /// `hostSelector` in a namespaced policy.
    HOST_SELECTOR_NAMESPACED = 74;

    // Hooks.
    /// `message` is too short.
    MESSAGE_SHORT = 100;
    /// `message` is cut.
    MESSAGE_LONG = 101;
    /// A tag is too short.
    TAG_SHORT = 102;
    /// A tag is cut.
    TAG_LONG = 103;
    /// Hooks of user programs in a namespaced policy.
    USER_HOOK_NAMESPACED = 104;
    /// The name of a function, tracepoint or hook cannot be one.
    HOOK_NAME = 105;
    /// `returnArgAction` is not possible there.
    RETURN_ARG_ACTION = 106;
    /// A key that has no effect here.
    NO_EFFECT = 107;
    /// A uprobe that says nowhere to go.
    UPROBE_TARGET_MISSING = 108;
    /// A malformed symbol, offset or path of a user program.
    USER_TARGET = 109;
    /// `refCtrOffsets` does not fit the targets.
    REF_CTR_OFFSETS = 110;
    /// A malformed digest of a binary.
    DIGEST = 111;
    /// A policy that hooks nothing.
    NO_HOOKS = 112;

    // Lists, enforcers, options.
    /// A reference to a list that does not exist.
    LIST_UNKNOWN = 130;
    /// Two lists of one name.
    LIST_DUPLICATE = 131;
    /// A generated list with values.
    GENERATED_LIST_VALUES = 132;
    /// A list that needs a pattern and has none, or a pattern that has no effect.
    LIST_PATTERN = 133;
    /// A list of the wrong type for its use.
    LIST_TYPE = 134;
    /// A malformed list value.
    LIST_VALUE = 135;
    /// A list without values.
    LIST_EMPTY = 136;
    /// More than one enforcer.
    ENFORCER_COUNT = 150;
    /// A function no enforcer can act on.
    ENFORCER_CALL = 151;
    /// `NotifyEnforcer` without an enforcer.
    ENFORCER_MISSING = 152;
    /// A malformed option value.
    OPTION_VALUE = 160;
    /// An option nobody knows.
    OPTION_UNKNOWN = 161;

    // Arguments.
    /// A type that is not possible at this kind of hook.
    ARGUMENT_TYPE = 200;
    /// An argument index no hook of this kind has.
    ARGUMENT_INDEX = 201;
    /// `source` where it cannot be.
    ARGUMENT_SOURCE = 202;
    /// An entry of `data` without `resolve`.
    DATA_WITHOUT_RESOLVE = 203;
    /// A malformed `resolve` path.
    RESOLVE_PATH = 204;
    /// `pt_regs` has no such register.
    REGISTER = 205;
    /// `sizeArgIndex` is impossible or useless.
    SIZE_ARG_INDEX = 206;
    /// `btfType` and its like without what they need.
    BTF_TYPE = 207;
    /// `returnCopy` or `maxData` where they cannot work.
    BUFFER_OPTIONS = 208;

    // Filters of selectors.
    /// A filter refers to an argument the hook does not read.
    FILTER_ARGUMENT = 300;
    /// The operator does not go with the type.
    FILTER_OPERATOR = 301;
    /// A filter without the values it needs, or with ones it does not take.
    FILTER_VALUES = 302;
    /// Not a number of the argument's type.
    VALUE_NUMBER = 303;
    /// Not a range.
    VALUE_RANGE = 304;
    /// Not an IP address or prefix.
    VALUE_ADDRESS = 305;
    /// Not a port.
    VALUE_PORT = 306;
    /// Not the name of a protocol, address family or TCP state, nor a number.
    VALUE_SOCKET_NAME = 307;
    /// Not a type of file.
    VALUE_FILE_TYPE = 308;
    /// A string no argument can be.
    VALUE_STRING = 309;
    /// Not a capability.
    VALUE_CAPABILITY = 310;
    /// Not a namespace or its inode number.
    VALUE_NAMESPACE = 311;
    /// Not a path of a binary.
    VALUE_BINARY = 312;
    /// `followChildren` with an operator it does not work with.
    FOLLOW_CHILDREN = 313;
    /// A filter on a return value that is not read.
    RETURN_FILTER = 314;
    /// `matchData` where there is no data.
    DATA_FILTER = 315;
    /// The same value twice.
    VALUE_DUPLICATE = 316;
    /// A selector that can never be reached or never match.
    SELECTOR_UNREACHABLE = 317;
    /// A malformed label selector.
    LABEL_SELECTOR = 318;

    // Macros.
    /// A macro that does not exist.
    MACRO_UNKNOWN = 350;
    /// A macro that uses macros.
    MACRO_NESTED = 351;
    /// A filter that both a macro and the selector, or two macros, define.
    MACRO_CONFLICT = 352;

    // Actions.
    /// An action not possible at this kind of hook.
    ACTION_HOOK = 400;
    /// An action without the key it needs.
    ACTION_ARGUMENT_MISSING = 401;
    /// A key of an action that belongs to another one.
    ACTION_ARGUMENT_UNUSED = 402;
    /// A malformed `rateLimit`.
    RATE_LIMIT = 403;
    /// An impossible signal or error number.
    ACTION_NUMBER = 404;
    /// An action that refers to an argument that is not there or not of the right type.
    ACTION_INDEX = 405;
    /// A malformed `argRegs`.
    ARG_REGS = 406;
    /// Hashes where the kernel has none.
    IMA_HASH = 407;
    /// Two actions that contradict each other.
    ACTION_CONFLICT = 408;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_stay_in_range() {
        assert!(ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ALL.iter().all(|code| (1..500).contains(&code.0)));
    }
}
