//! `google.protobuf.Any`.

use prost::Message as _;
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

const PREFIX: &str = "type.googleapis.com/google.protobuf.";

/// A value with its type. The API holds settings in it, so the JSON form knows strings, booleans
/// and integers: `{"@type":"type.googleapis.com/google.protobuf.BoolValue","value":true}`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    fn wrap(name: &str, message: &impl prost::Message) -> Self {
        Self {
            type_url: format!("{PREFIX}{name}"),
            value: message.encode_to_vec(),
        }
    }

    /// The value as JSON; `None` if its type is not one of those above.
    pub fn to_value(&self) -> Option<Value> {
        let bytes = self.value.as_slice();
        match self.type_url.strip_prefix(PREFIX)? {
            "StringValue" => Some(String::decode(bytes).ok()?.into()),
            "BoolValue" => Some(bool::decode(bytes).ok()?.into()),
            "Int64Value" => Some(i64::decode(bytes).ok()?.to_string().into()),
            "Int32Value" => Some(i32::decode(bytes).ok()?.into()),
            _ => None,
        }
    }
}

impl From<&str> for Any {
    fn from(value: &str) -> Self {
        Self::wrap("StringValue", &value.to_owned())
    }
}

impl From<bool> for Any {
    fn from(value: bool) -> Self {
        Self::wrap("BoolValue", &value)
    }
}

impl From<i64> for Any {
    fn from(value: i64) -> Self {
        Self::wrap("Int64Value", &value)
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self
            .to_value()
            .ok_or_else(|| S::Error::custom(format_args!("no JSON form for a value of type `{}`", self.type_url)))?;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("@type", &self.type_url)?;
        map.serialize_entry("value", &value)?;
        map.end()
    }
}

#[derive(Deserialize)]
struct Json {
    #[serde(rename = "@type")]
    type_url: String,
    value: Value,
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Json { type_url, value } = Json::deserialize(deserializer)?;
        let encoded = match (type_url.strip_prefix(PREFIX), &value) {
            (Some("StringValue"), Value::String(text)) => Some(text.encode_to_vec()),
            (Some("BoolValue"), Value::Bool(value)) => Some(value.encode_to_vec()),
            (Some("Int64Value"), Value::String(text)) => text.parse().ok().map(|value: i64| value.encode_to_vec()),
            (Some("Int32Value"), Value::Number(number)) => number
                .as_i64()
                .and_then(|value| i32::try_from(value).ok())
                .map(|value| value.encode_to_vec()),
            _ => None,
        };
        match encoded {
            Some(encoded) => Ok(Self {
                type_url,
                value: encoded,
            }),
            None => Err(D::Error::custom(format_args!(
                "`{value}` is not a value of type `{type_url}`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_their_type() {
        for (any, value) in [
            (
                Any::from("x"),
                r#"{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"x"}"#,
            ),
            (
                Any::from(false),
                r#"{"@type":"type.googleapis.com/google.protobuf.BoolValue","value":false}"#,
            ),
            (
                Any::from(-7_i64),
                r#"{"@type":"type.googleapis.com/google.protobuf.Int64Value","value":"-7"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&any).expect("serialises"), value);
            assert_eq!(serde_json::from_str::<Any>(value).expect("parses"), any);
        }
    }

    #[test]
    fn other_types_are_refused() {
        let any = Any {
            type_url: "x/y".into(),
            value: Vec::new(),
        };
        assert!(
            serde_json::to_string(&any)
                .expect_err("unknown")
                .to_string()
                .contains("`x/y`")
        );
    }
}
