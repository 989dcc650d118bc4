//! Declaring types of the language once: the Rust type, how it is read, and its schema come from one text.

/// A mapping with fixed keys.
///
/// After the type of a field stands its key in YAML and, in brackets, what constrains it: `required`, `default(value)`,
/// `max_items(count)`. `rules` are the CEL rules of the resource definition; the `validate` module checks the same in Rust.
macro_rules! object {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $ty:ty = $key:literal $([ $( $limit:ident $(($value:expr))? ),+ ])?, )*
        }
        $( rules { $( $rule:literal => $message:literal, )+ } )?
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ #[serde(rename = $key)] pub $field: $ty, )*
        }

        impl $name {
            fn fields() -> Vec<$crate::parse::decode::Field> {
                vec![ $(
                    $crate::parse::decode::Field::new($key, concat!($($field_doc, "\n"),+)) $( $( .$limit($($value)?) )+ )?,
                )* ]
            }
        }

        impl $crate::parse::decode::Language for $name {
            fn decode(
                node: &$crate::parse::node::Node,
                decoder: &mut $crate::parse::decode::Decoder<'_>,
            ) -> Option<Self> {
                let fields = Self::fields();
                let mut opened = decoder.open(node, &fields)?;
                let mut field = fields.iter();
                // each field is read even if one before it is wrong; the order is that of `fields`
                $( let $field: $ty = decoder.field(&mut opened, field.next()?); )*
                Some(Self { $( $field, )* })
            }

            fn placeholder() -> Self {
                Self { $( $field: <$ty as $crate::parse::decode::Language>::placeholder(), )* }
            }

            fn schema() -> $crate::schema::Schema {
                let fields = Self::fields();
                let mut field = fields.iter();
                let mut schema = $crate::schema::Schema::object(concat!($($doc, "\n"),+));
                $( if let Some(field) = field.next() {
                    schema.property(field, <$ty as $crate::parse::decode::Language>::schema());
                } )*
                $( $( schema.rule($rule, $message); )+ )?
                schema
            }
        }
    };
}

/// A string that is one of some names.
macro_rules! names {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident: $what:literal {
            $( $(#[doc = $variant_doc:literal])+ $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $( $(#[doc = $variant_doc])+ $variant, )+
        }

        impl $name {
            /// All names with their variants, in the order of the resource definition.
            pub const NAMES: &'static [(&'static str, Self)] = &[$(($text, Self::$variant)),+];

            /// The name as in YAML.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }

            /// The variant of a name, spelled exactly.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::NAMES.iter().find(|(text, _)| *text == name).map(|(_, variant)| *variant)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::parse::decode::Language for $name {
            fn decode(
                node: &$crate::parse::node::Node,
                decoder: &mut $crate::parse::decode::Decoder<'_>,
            ) -> Option<Self> {
                decoder.name(node, $what, Self::NAMES)
            }

            fn placeholder() -> Self {
                Self::NAMES[0].1
            }

            fn from_default(default: &serde_json::Value) -> Option<Self> {
                Self::from_name(default.as_str()?)
            }

            fn schema() -> $crate::schema::Schema {
                $crate::schema::Schema::names(Self::NAMES.iter().map(|(name, _)| *name))
            }
        }
    };
}

pub(super) use {names, object};
