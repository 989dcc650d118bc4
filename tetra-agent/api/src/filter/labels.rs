//! Selectors of labels, as kubectl takes them with `-l`: requirements with commas between them, all of which must hold.
//!
//! `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`. A label that is not there differs from every value.

use std::collections::BTreeMap;

use super::FilterError;

/// A selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Requirement {
    key: String,
    /// Any of these; `None`: whatever it is.
    values: Option<Vec<String>>,
    negated: bool,
}

impl Selector {
    /// Reads a selector. An empty one holds for every pod.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        let requirements = parts(text).map(|part| requirement(part.trim()));
        let parsed: Result<Vec<Requirement>, &'static str> = requirements.collect();
        parsed.map(Self).map_err(|reason| FilterError::Labels {
            selector: text.to_owned(),
            reason,
        })
    }

    /// Whether labels satisfy it.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let found = labels.get(&requirement.key);
            let holds = match &requirement.values {
                None => found.is_some(),
                Some(values) => found.is_some_and(|value| values.contains(value)),
            };
            holds != requirement.negated
        })
    }
}

/// Splits at commas outside of parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let text = text.trim();
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(move |_| !text.is_empty())
}

fn requirement(text: &str) -> Result<Requirement, &'static str> {
    let one = |key: &str, value: &str, negated| {
        Ok(Requirement {
            key: name(key)?,
            values: Some(vec![value.trim().to_owned()]),
            negated,
        })
    };
    if let Some((key, value)) = text.split_once("!=") {
        return one(key, value, true);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return one(key, value, false);
    }
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement {
            key: name(key)?,
            values: None,
            negated: true,
        });
    }
    let Some((head, list)) = text.split_once('(') else {
        return Ok(Requirement {
            key: name(text)?,
            values: None,
            negated: false,
        });
    };
    let list = list.strip_suffix(')').ok_or("a list ends with `)`")?;
    let (key, operator) = head
        .trim()
        .rsplit_once(char::is_whitespace)
        .ok_or("a list stands behind `in` or `notin`")?;
    let negated = match operator {
        "in" => false,
        "notin" => true,
        _ => return Err("a list stands behind `in` or `notin`"),
    };
    Ok(Requirement {
        key: name(key)?,
        values: Some(list.split(',').map(|value| value.trim().to_owned()).collect()),
        negated,
    })
}

/// A key of a label: a name, perhaps with a domain before it.
fn name(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let is_valid = !text.is_empty()
        && text.len() <= 317
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("a requirement is `key=value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key` or `!key`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_kubectl() {
        let labels: BTreeMap<String, String> = [("app", "web"), ("k8s.io/tier", "front"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app == web, k8s.io/tier != back", true),
            ("app=db", false),
            ("missing!=x", true),
            ("app in (db, web)", true),
            ("app notin (db, web)", false),
            ("missing notin (a)", true),
            ("app, !missing", true),
            ("!app", false),
            ("empty=", true),
            ("app in (db,web),k8s.io/tier=front", true),
        ] {
            assert_eq!(
                Selector::new(selector).unwrap().matches(&labels),
                expected,
                "{selector}"
            );
        }
        for wrong in ["app in web", "app in (web", "a b", ",", "=x", "app within (a)"] {
            assert!(Selector::new(wrong).is_err(), "{wrong}");
        }
    }
}
