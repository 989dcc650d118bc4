//! Names as Kubernetes wants them.

use crate::code::codes;
use crate::diagnostic::Diagnostic;
use crate::parse::decode::{Decoder, Language};
use crate::parse::node::{Entry, NodeKind};
use crate::source::Span;

/// Whether a text is a DNS label (RFC 1123): up to 63 lower-case letters, digits and inner hyphens.
fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

fn is_dns_part(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().last().is_some_and(alphanumeric)
}

/// Whether a text is a DNS subdomain (RFC 1123): parts as of labels, joined by dots, up to 253 bytes.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

/// Whether a text can be the value of a label, or the part of a key after the slash.
fn is_label_name(text: &str) -> bool {
    text.len() <= 63
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text can be the value of a label.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

/// Whether a text can be the key of a label: a name, perhaps after a domain and a slash. Keys with a source such as
/// `k8s:app` are possible too.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(&prefix.to_ascii_lowercase()) && is_label_name(name),
        None => is_label_name(text),
    }
}

fn to_dns(text: &str) -> String {
    let lower: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    lower
        .split('.')
        .map(|part| part.trim_matches('-'))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

pub(crate) fn check_object_name(decoder: &mut Decoder<'_>, name: &str, span: Span) {
    if is_dns_subdomain(name) {
        return;
    }
    let mut diagnostic = Diagnostic::error(
        codes::NAME_INVALID,
        decoder.source,
        span,
        "the name of the policy is not one Kubernetes allows",
    )
    .label("up to 253 lower-case letters, digits, `-` and `.`");
    let suggestion = to_dns(name);
    if is_dns_subdomain(&suggestion) {
        diagnostic = diagnostic.help(format!("for example `{suggestion}`"));
    }
    decoder.report(diagnostic);
}

pub(crate) fn check_namespace_name(decoder: &mut Decoder<'_>, name: &str, span: Span) {
    if is_dns_label(name) {
        return;
    }
    let diagnostic = Diagnostic::error(
        codes::NAME_INVALID,
        decoder.source,
        span,
        "the namespace is not a name Kubernetes allows",
    )
    .label("up to 63 lower-case letters, digits and `-`");
    decoder.report(diagnostic);
}

/// Checks `metadata.labels` or `metadata.annotations`.
pub(crate) fn check_metadata_map(decoder: &mut Decoder<'_>, map: &Entry, what: &str) {
    let NodeKind::Mapping(entries) = &map.value.kind else {
        decoder.wrong_type(&map.value, "a mapping");
        return;
    };
    for entry in entries {
        if !is_label_key(&entry.key) {
            let diagnostic = Diagnostic::error(
                codes::METADATA_INVALID,
                decoder.source,
                entry.key_span,
                format!("`{}` cannot be a key of `{what}`", entry.key),
            )
            .label("expected a name, perhaps after a domain and a slash");
            decoder.report(diagnostic);
        }
        let Some(text) = String::decode(&entry.value, decoder) else {
            continue;
        };
        if what == "labels" && !is_label_value(&text) {
            let diagnostic = Diagnostic::error(
                codes::METADATA_INVALID,
                decoder.source,
                entry.value.span,
                "this cannot be the value of a label",
            )
            .label("up to 63 letters, digits, `-`, `_` and `.`")
            .help("use an annotation for free text");
            decoder.report(diagnostic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b", "a.b-c.d", "0"] {
            assert!(is_dns_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a b"] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
        assert!(is_label_key("cilium.io/Some_key"));
        assert!(!is_label_key("cilium.io/"));
        assert_eq!(to_dns("My Policy_1"), "my-policy-1");
    }
}
