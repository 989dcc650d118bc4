//! The resource definition accepts exactly what the parser takes for a policy of the right shape.
//!
//! A small checker walks the generated schema as the Kubernetes API server does. Documents are made from the schema itself, so that
//! every key there is occurs, and then broken at every place in many ways; checker and parser have to agree on each.

use serde_json::{Value as Json, json};
use tracingpolicy_crd::schema::{self, crd_json, crd_yaml};
use tracingpolicy_crd::{Diagnostic, PolicyKind, Source, parse, render};

/// Lists of hooks.
const SECTIONS: [&str; 6] = ["kprobes", "fentries", "tracepoints", "uprobes", "usdts", "lsmhooks"];

#[test]
fn schema_and_parser_agree() {
    let mut compared = 0;
    for kind in PolicyKind::ALL {
        let schema = root_schema(kind);
        for document in documents(kind, &schema) {
            assert_eq!(check_schema(&schema, &document), Vec::<String>::new(), "{document:#}");
            compare(&schema, &document);
            let mut places = Vec::new();
            pointers(&document["spec"], "/spec".to_owned(), &mut places);
            for place in places {
                for broken in mutations(&document, &place) {
                    compare(&schema, &broken);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 2000, "only {compared} documents");
}

/// Documents that together have every key; small ones, since each is broken in every place.
fn documents(kind: PolicyKind, schema: &Json) -> Vec<Json> {
    let envelope = |spec: Json| {
        let mut metadata = json!({ "name": "x" });
        if kind == PolicyKind::Namespaced {
            metadata["namespace"] = json!("x");
        }
        json!({ "apiVersion": "cilium.io/v1alpha1", "kind": kind.as_str(), "metadata": metadata, "spec": spec })
    };
    let properties = schema["properties"]["spec"]["properties"]
        .as_object()
        .expect("`spec` is an object");
    let mut documents = Vec::new();
    for (key, property) in properties {
        // both kinds have one `spec`; what differs is outside of the hooks
        let namespaced = kind == PolicyKind::Namespaced;
        if namespaced && (SECTIONS.contains(&key.as_str()) || key == "hostSelector") {
            continue;
        }
        documents.push(envelope(json!({ key: instance(key, property) })));
    }
    if kind == PolicyKind::Cluster {
        let selector = &properties["kprobes"]["items"]["properties"]["selectors"]["items"]["properties"];
        for (key, property) in selector.as_object().expect("selectors are objects") {
            let selector = json!({ key: instance(key, property) });
            documents.push(envelope(
                json!({ "kprobes": [{ "call": "x", "selectors": [selector] }] }),
            ));
        }
    }
    documents
}

fn root_schema(kind: PolicyKind) -> Json {
    crd_json(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Compares the verdicts on one document.
fn compare(schema: &Json, document: &Json) {
    let by_schema = check_schema(schema, document);
    let parsed = parse(&Source::new("document.json", document.to_string()));
    let by_parser: Vec<Diagnostic> = parsed.diagnostics.into_iter().filter(is_about_shape).collect();
    assert_eq!(
        by_schema.is_empty(),
        by_parser.is_empty(),
        "schema: {by_schema:?}\nparser:\n{}\n{document:#}",
        render::full(&by_parser, false)
    );
}

/// Errors that the resource definition is meant to find too: reading, shape and the rules between keys.
fn is_about_shape(diagnostic: &Diagnostic) -> bool {
    diagnostic.is_error() && diagnostic.code.0 < 100
}

/// A value that fits a schema, with all optional keys that can stand together.
fn instance(key: &str, schema: &Json) -> Json {
    if let Some(names) = schema["enum"].as_array() {
        return names[0].clone();
    }
    match schema["type"].as_str().expect("every schema has a type") {
        "boolean" => json!(false),
        "integer" => json!(schema["minimum"].as_i64().unwrap_or(0).max(0)),
        "string" => json!("x"),
        // selectors have documents of their own
        "array" if key == "selectors" => json!([{}]),
        "array" => json!([instance(key, &schema["items"])]),
        "object" if key == "hostSelector" => json!({}),
        "object" => match schema.get("additionalProperties") {
            Some(_) if key == "selectorsMacros" => json!({ "x": {} }),
            Some(values) => json!({ "x": instance(key, values) }),
            None => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                // of keys that exclude each other, one
                let excluded = ["argNewAddr", "argNewOffset", "offsets", "addrs"];
                let chosen = properties.filter(|(key, _)| !excluded.contains(&key.as_str()));
                chosen
                    .map(|(key, schema)| (key.clone(), instance(key, schema)))
                    .collect()
            }
        },
        other => panic!("a schema of type {other}"),
    }
}

/// All places of a document as JSON pointers.
fn pointers(value: &Json, at: String, out: &mut Vec<String>) {
    match value {
        Json::Object(map) => map
            .iter()
            .for_each(|(key, value)| pointers(value, format!("{at}/{key}"), out)),
        Json::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| pointers(item, format!("{at}/{index}"), out));
        }
        _ => {}
    }
    out.push(at);
}

/// A document broken, or not, at one place.
fn mutations(document: &Json, place: &str) -> Vec<Json> {
    let replacements = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(5_000_000_000_u64),
        json!(1.5),
        json!(2.0),
        json!("Equal"),
        json!([]),
        json!({}),
        json!([null]),
        json!(["x"]),
        json!({ "x": "y" }),
    ];
    let mut out: Vec<Json> = Vec::new();
    for replacement in replacements {
        let mut changed = document.clone();
        *changed.pointer_mut(place).expect("the place exists") = replacement;
        out.push(changed);
    }
    let (parent, key) = place.rsplit_once('/').expect("pointers have slashes");
    let mut removed = document.clone();
    match removed.pointer_mut(parent).expect("the parent exists") {
        Json::Object(map) => {
            map.remove(key);
            out.push(removed);
        }
        Json::Array(items) => {
            let item = items[0].clone();
            items.extend(std::iter::repeat_n(item, 16));
            out.push(removed);
        }
        _ => {}
    }
    for (key, value) in [
        ("unknown", json!(1)),
        ("argNewAddr", json!(1)),
        ("offsets", json!([])),
        ("matchLabels", json!({})),
    ] {
        let mut added = document.clone();
        if let Some(Json::Object(map)) = added.pointer_mut(place) {
            map.entry(key).or_insert(value);
            out.push(added);
        }
    }
    out
}

/// What a Kubernetes API server would object to.
fn check_schema(schema: &Json, document: &Json) -> Vec<String> {
    let mut document = document.clone();
    prune_nulls(&mut document);
    let mut problems = Vec::new();
    check_value(schema, &document, "", &mut problems);
    problems
}

/// Nulls of keys that may not be null count as absent.
fn prune_nulls(value: &mut Json) {
    match value {
        Json::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

fn check_value(schema: &Json, value: &Json, at: &str, problems: &mut Vec<String>) {
    let ty = schema["type"].as_str().expect("every schema has a type");
    let fits = match ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("a schema of type {other}"),
    };
    if !fits {
        problems.push(format!("{at}: not of type {ty}"));
        return;
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        problems.push(format!("{at}: not one of the names"));
    }
    if let Some(number) = value.as_f64() {
        if schema["minimum"].as_f64().is_some_and(|minimum| number < minimum) {
            problems.push(format!("{at}: below the minimum"));
        }
        if schema["maximum"].as_f64().is_some_and(|maximum| number > maximum) {
            problems.push(format!("{at}: above the maximum"));
        }
    }
    if let Some(items) = value.as_array() {
        if schema["maxItems"]
            .as_u64()
            .is_some_and(|maximum| items.len() as u64 > maximum)
        {
            problems.push(format!("{at}: too many items"));
        }
        for (index, item) in items.iter().enumerate() {
            check_value(&schema["items"], item, &format!("{at}[{index}]"), problems);
        }
    }
    if let Some(map) = value.as_object() {
        for key in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            if !map.contains_key(key) {
                problems.push(format!("{at}: `{key}` is missing"));
            }
        }
        for (key, value) in map {
            let at = format!("{at}.{key}");
            if let Some(values) = schema.get("additionalProperties") {
                check_value(values, value, &at, problems);
            } else if let Some(property) = schema["properties"].get(key) {
                // the API server checks metadata by itself
                if key != "metadata" {
                    check_value(property, value, &at, problems);
                }
            } else {
                problems.push(format!("{at}: unknown"));
            }
        }
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if !rule_holds(rule["rule"].as_str().expect("rules are strings"), value) {
            problems.push(format!("{at}: {}", rule["message"]));
        }
    }
}

/// The rules of the resource definition, written once more by hand.
fn rule_holds(rule: &str, this: &Json) -> bool {
    let has = |key: &str| this.get(key).is_some();
    let count = |keys: [&str; 3]| keys.iter().filter(|key| this.get(**key).is_some()).count();
    match rule {
        "!(has(self.return) && self.return) || has(self.returnArg)" => {
            this.get("return") != Some(&json!(true)) || has("returnArg")
        }
        "(has(self.argNewSymbol) ? 1 : 0) + (has(self.argNewAddr) ? 1 : 0) + (has(self.argNewOffset) ? 1 : 0) <= 1" => {
            count(["argNewSymbol", "argNewAddr", "argNewOffset"]) <= 1
        }
        "(has(self.symbols) ? 1 : 0) + (has(self.offsets) ? 1 : 0) + (has(self.addrs) ? 1 : 0) <= 1" => {
            count(["symbols", "offsets", "addrs"]) <= 1
        }
        "!has(self.hostSelector) || (!has(self.hostSelector.matchLabels) && !has(self.hostSelector.matchExpressions))" =>
        {
            let host = &this["hostSelector"];
            host.get("matchLabels").is_none() && host.get("matchExpressions").is_none()
        }
        "!has(self.spec.hostSelector)" => this["spec"].get("hostSelector").is_none(),
        other => panic!("the test does not know the rule {other}"),
    }
}

#[test]
fn definitions_name_the_kinds() {
    for (kind, plural, scope, short) in [
        (PolicyKind::Cluster, "tracingpolicies", "Cluster", "tgtp"),
        (
            PolicyKind::Namespaced,
            "tracingpoliciesnamespaced",
            "Namespaced",
            "tgtpn",
        ),
    ] {
        let definition = crd_json(kind);
        assert_eq!(definition["metadata"]["name"], format!("{plural}.cilium.io"));
        assert_eq!(definition["spec"]["scope"], scope);
        assert_eq!(definition["spec"]["names"]["plural"], plural);
        assert_eq!(definition["spec"]["names"]["shortNames"], json!([short]));
        let kprobe = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["kprobes"];
        assert_eq!(kprobe["items"]["properties"]["syscall"]["default"], true);
        assert_eq!(kprobe["items"]["properties"]["tags"]["maxItems"], 16);
        assert_eq!(
            kprobe["items"]["properties"]["args"]["items"]["properties"]["type"]["default"],
            "auto"
        );
        assert!(crd_yaml(kind).contains("kind: CustomResourceDefinition"));
    }
}

/// Structural schemas, which Kubernetes asks for, have a type everywhere, a description on everything a user writes, and no references.
#[test]
fn schemas_are_structural() {
    fn check(schema: &Json, at: &str) {
        assert!(schema["type"].is_string(), "{at} has no type");
        for key in schema.as_object().expect("schemas are objects").keys() {
            let known = [
                "type",
                "description",
                "properties",
                "required",
                "items",
                "additionalProperties",
                "enum",
                "default",
                "minimum",
                "maximum",
                "maxItems",
                "x-kubernetes-validations",
            ];
            assert!(known.contains(&key.as_str()), "{at} has {key}");
        }
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            check(property, &format!("{at}.{key}"));
            assert!(
                key == "metadata" || property["description"].is_string(),
                "{at}.{key} is not described"
            );
        }
        if let Some(items) = schema.get("items") {
            check(items, &format!("{at}[]"));
        }
        if let Some(values) = schema.get("additionalProperties") {
            check(values, &format!("{at}{{}}"));
        }
    }
    for kind in PolicyKind::ALL {
        check(&root_schema(kind), "");
    }
}

#[test]
fn installed_definitions_are_up_to_date() {
    for kind in PolicyKind::ALL {
        let path = format!(
            "{}/../install/crds/{}",
            env!("CARGO_MANIFEST_DIR"),
            schema::crd_file_name(kind)
        );
        let installed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            installed == crd_yaml(kind),
            "{path} is not what the types say: run `cargo xtask crds`"
        );
    }
}
