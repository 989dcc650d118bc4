//! `google.protobuf.FieldMask`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of field paths; in JSON, one string with commas and camelCase names:
/// `"process.execId,time"`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FieldMask {
    /// Paths from the message on, with the names of the `.proto` files: `process.exec_id`.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

fn camel_case(path: &str) -> String {
    let mut camel = String::with_capacity(path.len());
    let mut upper = false;
    for character in path.chars() {
        match character {
            '_' => upper = true,
            _ if upper => {
                camel.push(character.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(character),
        }
    }
    camel
}

fn snake_case(path: &str) -> String {
    let mut snake = String::with_capacity(path.len() + 4);
    let mut start = true;
    for character in path.chars() {
        // names that start with a capital (`ProgType`) are so in the `.proto` files
        if character.is_ascii_uppercase() && !start {
            snake.push('_');
            snake.push(character.to_ascii_lowercase());
        } else {
            snake.push(character);
        }
        start = character == '.';
    }
    snake
}

impl Serialize for FieldMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths = self.paths.iter().map(|path| camel_case(path)).collect::<Vec<_>>();
        serializer.serialize_str(&paths.join(","))
    }
}

impl<'de> Deserialize<'de> for FieldMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self {
            paths: text
                .split(',')
                .filter(|path| !path.is_empty())
                .map(snake_case)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_change_case_in_json() {
        let mask = FieldMask {
            paths: vec!["process.exec_id".into(), "time".into()],
        };
        let json = serde_json::to_string(&mask).expect("serialises");
        assert_eq!(json, r#""process.execId,time""#);
        assert_eq!(serde_json::from_str::<FieldMask>(&json).expect("parses"), mask);
        // what people write
        let snake: FieldMask = serde_json::from_str(r#""process.exec_id,time""#).expect("parses");
        assert_eq!(snake, mask);
    }
}
