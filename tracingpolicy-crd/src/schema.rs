//! The types as a Kubernetes CustomResourceDefinition.

mod definition;
mod yaml;

use serde_json::{Map, Value as Json, json};

pub use definition::{crd_file_name, crd_json, crd_yaml};

use crate::parse::decode::Field;

/// API group of policies.
pub const GROUP: &str = "cilium.io";
/// Version of the API.
pub const VERSION: &str = "v1alpha1";

/// A structural schema (OpenAPI v3 as Kubernetes restricts it).
#[derive(Clone, Debug)]
pub(crate) struct Schema(Map<String, Json>);

impl Schema {
    fn of_type(name: &str) -> Self {
        Self(Map::from_iter([("type".to_owned(), json!(name))]))
    }

    fn with(mut self, key: &str, value: Json) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn boolean() -> Self {
        Self::of_type("boolean")
    }

    pub(crate) fn string() -> Self {
        Self::of_type("string")
    }

    pub(crate) fn names<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self::string().with("enum", names.map(Json::from).collect())
    }

    /// An integer between bounds. Kubernetes keeps integers in 64 bits with sign: no bound above that is written.
    pub(crate) fn integer(minimum: i128, maximum: i128) -> Self {
        let mut schema = Self::of_type("integer");
        if let Ok(minimum) = i64::try_from(minimum) {
            schema = schema.with("minimum", json!(minimum));
        }
        match i64::try_from(maximum) {
            Ok(maximum) => schema.with("maximum", json!(maximum)),
            Err(_) => schema,
        }
    }

    pub(crate) fn list(items: Self) -> Self {
        Self::of_type("array").with("items", items.into_json())
    }

    pub(crate) fn map(values: Self) -> Self {
        Self::of_type("object").with("additionalProperties", values.into_json())
    }

    pub(crate) fn object(doc: &str) -> Self {
        Self::of_type("object")
            .with("description", json!(one_line(doc)))
            .with("properties", json!({}))
    }

    pub(crate) fn property(&mut self, field: &Field, mut schema: Self) {
        schema.0.insert("description".to_owned(), json!(one_line(field.doc)));
        if let Some(default) = &field.default {
            schema.0.insert("default".to_owned(), default.clone());
        }
        if let Some(max_items) = field.max_items {
            schema.0.insert("maxItems".to_owned(), json!(max_items));
        }
        if let Some(properties) = self.0.get_mut("properties").and_then(Json::as_object_mut) {
            properties.insert(field.key.to_owned(), schema.into_json());
        }
        if field.required {
            let required = self.0.entry("required").or_insert_with(|| json!([]));
            if let Some(required) = required.as_array_mut() {
                required.push(json!(field.key));
            }
        }
    }

    /// Adds a CEL rule.
    pub(crate) fn rule(&mut self, rule: &str, message: &str) {
        let rules = self.0.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(json!({ "rule": rule, "message": message }));
        }
    }

    pub(crate) fn into_json(self) -> Json {
        Json::Object(self.0)
    }
}

/// A doc comment as a paragraph.
fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
