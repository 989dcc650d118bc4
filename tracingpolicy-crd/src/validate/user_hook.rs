//! Uprobes and USDT probes: where they go.

use super::Checker;
use crate::code::codes;
use crate::path::FieldPath;
use crate::policy::PolicyKind;
use crate::types::{UprobeSpec, UsdtSpec};
use crate::value;

/// Digest algorithms with the number of hexadecimal digits each has; build ids have any even number.
const DIGESTS: [(&str, Option<usize>); 5] = [
    ("sha1", Some(40)),
    ("sha256", Some(64)),
    ("sha384", Some(96)),
    ("sha512", Some(128)),
    ("build-id", None),
];

pub(super) fn check(checker: &mut Checker<'_>) {
    let spec = &checker.policy.spec;
    let root = FieldPath::root().key("spec");
    for (index, uprobe) in spec.uprobes.iter().enumerate() {
        let path = root.key("uprobes").index(index);
        namespaced(checker, &path);
        check_uprobe(checker, uprobe, &path);
    }
    for (index, usdt) in spec.usdts.iter().enumerate() {
        let path = root.key("usdts").index(index);
        namespaced(checker, &path);
        check_usdt(checker, usdt, &path);
    }
}

fn namespaced(checker: &mut Checker<'_>, path: &FieldPath) {
    if checker.policy.kind == PolicyKind::Namespaced {
        let kind = checker.span(&FieldPath::root().key("kind"));
        let diagnostic = checker
            .error(
                codes::USER_HOOK_NAMESPACED,
                path,
                "a namespaced policy cannot hook user programs",
            )
            .label("not possible here")
            .secondary(kind, "this kind is for one namespace")
            .help("use `kind: TracingPolicy` with a `podSelector`");
        checker.report(diagnostic);
    }
}

fn not_empty(checker: &mut Checker<'_>, text: &str, path: &FieldPath, what: &str) {
    if text.is_empty() || text.contains('\0') {
        let diagnostic = checker.error(
            codes::USER_TARGET,
            path,
            format!("the {what} cannot be empty or hold NUL"),
        );
        checker.report(diagnostic);
    }
}

fn check_usdt(checker: &mut Checker<'_>, usdt: &UsdtSpec, path: &FieldPath) {
    not_empty(checker, &usdt.path, &path.key("path"), "path of the binary");
    not_empty(checker, &usdt.provider, &path.key("provider"), "provider");
    not_empty(checker, &usdt.name, &path.key("name"), "name of the probe");
}

fn check_uprobe(checker: &mut Checker<'_>, uprobe: &UprobeSpec, path: &FieldPath) {
    not_empty(checker, &uprobe.path, &path.key("path"), "path of the binary");
    let targets = uprobe.symbols.len() + uprobe.offsets.len() + uprobe.addrs.len();
    if targets == 0 {
        let diagnostic = checker
            .error(
                codes::UPROBE_TARGET_MISSING,
                path,
                "the uprobe does not say where in the binary it goes",
            )
            .label("no `symbols`, `offsets` or `addrs`")
            .help("add `symbols: [main]`, for example");
        checker.report(diagnostic);
    }
    for (index, symbol) in uprobe.symbols.iter().enumerate() {
        let (name, offset) = match symbol.rsplit_once('+') {
            Some((name, offset)) => (name, Some(offset)),
            None => (symbol.as_str(), None),
        };
        // names of C++ operators hold `+` themselves
        let offset_valid = offset.is_none_or(|offset| value::integer(offset).is_some_and(|offset| offset >= 0))
            || symbol.contains("operator");
        if name.is_empty() || name.contains(['\0', '\n']) || !offset_valid {
            let diagnostic = checker
                .error(
                    codes::USER_TARGET,
                    &path.key("symbols").index(index),
                    format!("`{symbol}` is neither a symbol nor a symbol with an offset"),
                )
                .label("expected `symbol` or `symbol+offset`");
            checker.report(diagnostic);
        }
    }
    let counters = uprobe.ref_ctr_offsets.len();
    if counters > 0 && counters != uprobe.symbols.len() + uprobe.offsets.len() {
        let diagnostic = checker
            .error(
                codes::REF_CTR_OFFSETS,
                &path.key("refCtrOffsets"),
                format!(
                    "{counters} reference counters for {} symbols or offsets",
                    uprobe.symbols.len() + uprobe.offsets.len()
                ),
            )
            .label("expected one for each symbol or offset");
        checker.report(diagnostic);
    }
    for (index, digest) in uprobe.binary_digests.iter().enumerate() {
        if !is_digest(digest) {
            let diagnostic = checker
                .error(
                    codes::DIGEST,
                    &path.key("binaryDigests").index(index),
                    format!("`{digest}` is not the digest of a file"),
                )
                .label("expected `sha256:` and 64 hexadecimal digits, for example")
                .help("possible are `sha1`, `sha256`, `sha384`, `sha512` and `build-id`");
            checker.report(diagnostic);
        }
    }
    if uprobe
        .ignore
        .as_ref()
        .is_some_and(|ignore| ignore.digest_verification_failure)
        && uprobe.binary_digests.is_empty()
    {
        let diagnostic = checker
            .warning(
                codes::NO_EFFECT,
                &path.key("ignore"),
                "`digestVerificationFailure` has no effect without `binaryDigests`",
            )
            .label("nothing is verified");
        checker.report(diagnostic);
    }
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else {
        return false;
    };
    let Some((_, length)) = DIGESTS.iter().find(|(name, _)| *name == algorithm) else {
        return false;
    };
    let length_fits = match length {
        Some(length) => digits.len() == *length,
        None => !digits.is_empty() && digits.len().is_multiple_of(2),
    };
    length_fits && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_the_length_of_their_algorithm() {
        assert!(is_digest(&format!("sha256:{}", "a1".repeat(32))));
        assert!(is_digest("build-id:00ff"));
        for bad in [
            "",
            "sha256",
            "sha256:00",
            "md5:00",
            "build-id:",
            "build-id:0",
            "build-id:xy",
        ] {
            assert!(!is_digest(bad), "{bad}");
        }
    }
}
