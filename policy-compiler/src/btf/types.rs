//! Decoding of type records, and the queries the compiler asks.

use super::{Btf, MAX_DEPTH, Record, TypeId};

pub(crate) mod kind {
    //! `BTF_KIND_*`
    pub(crate) const INT: u32 = 1;
    pub(crate) const PTR: u32 = 2;
    pub(crate) const ARRAY: u32 = 3;
    pub(crate) const STRUCT: u32 = 4;
    pub(crate) const UNION: u32 = 5;
    pub(crate) const ENUM: u32 = 6;
    pub(crate) const FWD: u32 = 7;
    pub(crate) const TYPEDEF: u32 = 8;
    pub(crate) const VOLATILE: u32 = 9;
    pub(crate) const CONST: u32 = 10;
    pub(crate) const RESTRICT: u32 = 11;
    pub(crate) const FUNC: u32 = 12;
    pub(crate) const FUNC_PROTO: u32 = 13;
    pub(crate) const VAR: u32 = 14;
    pub(crate) const DATASEC: u32 = 15;
    pub(crate) const FLOAT: u32 = 16;
    pub(crate) const DECL_TAG: u32 = 17;
    pub(crate) const TYPE_TAG: u32 = 18;
    pub(crate) const ENUM64: u32 = 19;
}

pub(crate) fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

pub(crate) fn vlen_of(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes that follow the three common words of a record; `None` if the kind is not known.
pub(crate) fn extra_len(info: u32) -> Option<usize> {
    let vlen = vlen_of(info);
    Some(match kind_of(info) {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * vlen,
        kind::ENUM | kind::FUNC_PROTO => 8 * vlen,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

/// What a type is. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// `void`, and ids that do not exist.
    Void,
    /// An integer; `bool` is `_Bool`.
    Int {
        /// Bytes.
        size: u32,
        /// Whether it is signed.
        signed: bool,
        /// Whether it is `_Bool`.
        bool: bool,
    },
    /// Pointer to this type.
    Ptr(TypeId),
    /// Array.
    Array {
        /// Type of an element.
        element: TypeId,
        /// Elements; 0 for a flexible array.
        count: u32,
    },
    /// Struct with its definition.
    Struct {
        /// Empty if anonymous.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// Union with its definition.
    Union {
        /// Empty if anonymous.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// Enumeration of 32 or 64 bits (or less, if packed).
    Enum {
        /// Bytes.
        size: u32,
        /// Whether its values are signed.
        signed: bool,
    },
    /// Declared but not defined.
    Fwd {
        /// Name.
        name: &'a str,
        /// Union rather than struct.
        is_union: bool,
    },
    /// Another name for this type.
    Typedef(TypeId),
    /// This type, volatile.
    Volatile(TypeId),
    /// This type, const.
    Const(TypeId),
    /// This type, restrict.
    Restrict(TypeId),
    /// This type with an attribute (`__user`, `__rcu`): [`Btf::name`] says which.
    TypeTag(TypeId),
    /// Function with this prototype.
    Func(TypeId),
    /// Prototype: see [`Btf::prototype`].
    FuncProto,
    /// Variable of this type.
    Var(TypeId),
    /// Section of variables.
    DataSec,
    /// Floating point of this size.
    Float(u32),
    /// Attribute of this declaration.
    DeclTag(TypeId),
}

/// A function of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Function {
    /// Its own id (`BTF_KIND_FUNC`): what a program names when it attaches.
    pub id: TypeId,
    /// Its prototype: see [`Btf::prototype`].
    pub proto: TypeId,
}

/// Parameters and result of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prototype<'a> {
    /// In order.
    pub params: Vec<Param<'a>>,
    /// Type of the result; [`TypeId::VOID`] if there is none.
    pub return_type: TypeId,
    /// Whether more arguments may follow (`...`).
    pub variadic: bool,
}

/// A parameter of a [`Prototype`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    /// Empty if the declaration has none.
    pub name: &'a str,
    /// Type.
    pub type_id: TypeId,
}

/// A member of a struct or union.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member<'a> {
    /// Empty for an anonymous struct or union.
    pub name: &'a str,
    /// Type.
    pub type_id: TypeId,
    /// From the start of the struct that was asked.
    pub bit_offset: u32,
    /// Bits, if it is a bit field.
    pub bitfield_size: Option<u32>,
}

impl Member<'_> {
    /// Offset in bytes, rounded down for bit fields.
    pub fn byte_offset(&self) -> u32 {
        self.bit_offset / 8
    }
}

/// A value of an enumeration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnumValue<'a> {
    /// Name.
    pub name: &'a str,
    /// Value; of an unsigned 64-bit enumeration, its bits.
    pub value: i64,
}

/// A variable in a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variable<'a> {
    /// Its own id (`BTF_KIND_VAR`).
    pub id: TypeId,
    /// Name.
    pub name: &'a str,
    /// Type.
    pub type_id: TypeId,
    /// Byte offset in the section; 0 before linking, then the symbol table has it.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Whether an enumeration of 32 bits has a value with the top bit set.
fn has_negative(record: Record<'_>) -> bool {
    (0..record.vlen()).any(|i| (record.word(3 + i * 2 + 1) as i32) < 0)
}

impl Btf {
    /// What a type is.
    pub fn kind(&self, id: TypeId) -> Kind<'_> {
        let Some(record) = self.record(id) else {
            return Kind::Void;
        };
        let reference = TypeId(record.word(2));
        let size = record.word(2);
        match record.kind() {
            kind::INT => {
                let encoding = (record.word(3) >> 24) & 0xf;
                Kind::Int {
                    size,
                    signed: encoding & 1 != 0,
                    bool: encoding & 4 != 0,
                }
            }
            kind::PTR => Kind::Ptr(reference),
            kind::ARRAY => Kind::Array {
                element: TypeId(record.word(3)),
                count: record.word(5),
            },
            kind::STRUCT => Kind::Struct {
                name: self.name(id),
                size,
            },
            kind::UNION => Kind::Union {
                name: self.name(id),
                size,
            },
            // before the flag existed, enumerations were signed; a negative value is the only trace
            kind::ENUM => Kind::Enum {
                size,
                signed: record.kind_flag() || has_negative(record),
            },
            kind::ENUM64 => Kind::Enum {
                size,
                signed: record.kind_flag(),
            },
            kind::FWD => Kind::Fwd {
                name: self.name(id),
                is_union: record.kind_flag(),
            },
            kind::TYPEDEF => Kind::Typedef(reference),
            kind::VOLATILE => Kind::Volatile(reference),
            kind::CONST => Kind::Const(reference),
            kind::RESTRICT => Kind::Restrict(reference),
            kind::TYPE_TAG => Kind::TypeTag(reference),
            kind::FUNC => Kind::Func(reference),
            kind::FUNC_PROTO => Kind::FuncProto,
            kind::VAR => Kind::Var(reference),
            kind::DATASEC => Kind::DataSec,
            kind::FLOAT => Kind::Float(size),
            kind::DECL_TAG => Kind::DeclTag(reference),
            // `parse` lets no other through
            _ => Kind::Void,
        }
    }

    /// Name of a type; empty if it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.record(id).map_or("", |record| self.string(record.word(0)))
    }

    /// Strips typedefs, qualifiers and type tags.
    pub fn resolve(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.kind(id) {
                Kind::Typedef(to) | Kind::Volatile(to) | Kind::Const(to) | Kind::Restrict(to) | Kind::TypeTag(to) => {
                    id = to;
                }
                _ => return id,
            }
        }
        TypeId::VOID
    }

    /// Size of a type in bytes; `None` for functions, `void` and what is only declared.
    pub fn size(&self, id: TypeId) -> Option<u32> {
        let mut id = id;
        let mut count = 1u32;
        for _ in 0..MAX_DEPTH {
            id = self.resolve(id);
            let size = match self.kind(id) {
                Kind::Int { size, .. }
                | Kind::Struct { size, .. }
                | Kind::Union { size, .. }
                | Kind::Enum { size, .. }
                | Kind::Float(size) => size,
                Kind::Ptr(_) => 8,
                Kind::Array { element, count: n } => {
                    count = count.checked_mul(n)?;
                    id = element;
                    continue;
                }
                Kind::Var(to) => {
                    id = to;
                    continue;
                }
                _ => return None,
            };
            return size.checked_mul(count);
        }
        None
    }

    fn named(&self, name: &str, wanted: &[u32]) -> Option<TypeId> {
        self.ids_by_name(name)
            .find(|id| self.record(*id).is_some_and(|record| wanted.contains(&record.kind())))
    }

    /// A function by name.
    pub fn function(&self, name: &str) -> Option<Function> {
        let id = self.named(name, &[kind::FUNC])?;
        Some(Function {
            id,
            proto: TypeId(self.record(id)?.word(2)),
        })
    }

    /// Names of functions that begin with `prefix`.
    pub fn functions_from<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.ids()
            .filter(|id| self.record(*id).is_some_and(|record| record.kind() == kind::FUNC))
            .map(|id| self.name(id))
            .filter(move |name| name.starts_with(prefix))
    }

    /// A typedef by name: its own id, to be given to [`Btf::resolve`].
    pub fn typedef(&self, name: &str) -> Option<TypeId> {
        self.named(name, &[kind::TYPEDEF])
    }

    /// A struct by tag.
    pub fn struct_by_name(&self, name: &str) -> Option<TypeId> {
        self.named(name, &[kind::STRUCT])
    }

    /// A union by tag.
    pub fn union_by_name(&self, name: &str) -> Option<TypeId> {
        self.named(name, &[kind::UNION])
    }

    /// An integer type by its name in BTF (`int`, `unsigned int`, `char`, `long unsigned int`, …).
    pub fn int_by_name(&self, name: &str) -> Option<TypeId> {
        self.named(name, &[kind::INT])
    }

    /// A section of variables by name.
    pub fn datasec(&self, name: &str) -> Option<TypeId> {
        self.named(name, &[kind::DATASEC])
    }

    /// Parameters and result of a prototype, or of a pointer to one (possibly through typedefs); empty for anything else.
    ///
    /// Typedefs such as `btf_trace_sched_process_exec` are pointers to prototypes.
    pub fn prototype(&self, id: TypeId) -> Prototype<'_> {
        let mut id = self.resolve(id);
        if let Kind::Ptr(to) | Kind::Func(to) = self.kind(id) {
            id = self.resolve(to);
        }
        let Some(record) = self.record(id).filter(|record| record.kind() == kind::FUNC_PROTO) else {
            return Prototype {
                params: Vec::new(),
                return_type: TypeId::VOID,
                variadic: false,
            };
        };
        let mut params: Vec<_> = (0..record.vlen())
            .map(|i| Param {
                name: self.string(record.word(3 + i * 2)),
                type_id: TypeId(record.word(4 + i * 2)),
            })
            .collect();
        // `...` is a last parameter without name and type
        let variadic = params
            .last()
            .is_some_and(|last| last.name.is_empty() && last.type_id == TypeId::VOID);
        if variadic {
            params.pop();
        }
        Prototype {
            params,
            return_type: TypeId(record.word(2)),
            variadic,
        }
    }

    /// Members of a struct or union (behind typedefs and qualifiers), anonymous ones as they are; empty for anything else.
    pub fn members(&self, id: TypeId) -> impl Iterator<Item = Member<'_>> {
        let record = self
            .record(self.resolve(id))
            .filter(|record| matches!(record.kind(), kind::STRUCT | kind::UNION));
        let count = record.map_or(0, Record::vlen);
        (0..count).filter_map(move |index| record.map(|record| self.decode_member(record, index)))
    }

    fn decode_member<'a>(&'a self, record: Record<'a>, index: usize) -> Member<'a> {
        let offset = record.word(3 + index * 3 + 2);
        let type_id = TypeId(record.word(3 + index * 3 + 1));
        let (bit_offset, bitfield_size) = if record.kind_flag() {
            (offset & 0x00ff_ffff, Some(offset >> 24).filter(|bits| *bits != 0))
        } else {
            (offset, None)
        };
        Member {
            name: self.string(record.word(3 + index * 3)),
            type_id,
            bit_offset,
            bitfield_size,
        }
    }

    /// A member by path (`f_path.dentry`, `__sk_common.skc_family`). Members of anonymous structs and unions are found as if
    /// they stood in the one around them. The path does not pass through pointers: ask again with what they point to.
    pub fn member(&self, id: TypeId, path: &str) -> Option<Member<'_>> {
        let mut base = 0;
        let mut current = id;
        let mut found = None;
        for part in path.split('.') {
            let member = self.find_member(current, part, MAX_DEPTH)?;
            let member = Member {
                bit_offset: base + member.bit_offset,
                ..member
            };
            base = member.bit_offset;
            current = member.type_id;
            found = Some(member);
        }
        found
    }

    fn find_member(&self, id: TypeId, name: &str, depth: usize) -> Option<Member<'_>> {
        let depth = depth.checked_sub(1)?;
        for member in self.members(id) {
            if member.name == name && !name.is_empty() {
                return Some(member);
            }
            if member.name.is_empty()
                && let Some(inner) = self.find_member(member.type_id, name, depth)
            {
                return Some(Member {
                    bit_offset: member.bit_offset + inner.bit_offset,
                    ..inner
                });
            }
        }
        None
    }

    /// Values of an enumeration (behind typedefs); empty for anything else.
    pub fn enum_values(&self, id: TypeId) -> impl Iterator<Item = EnumValue<'_>> {
        let record = self
            .record(self.resolve(id))
            .filter(|record| matches!(record.kind(), kind::ENUM | kind::ENUM64));
        let count = record.map_or(0, Record::vlen);
        (0..count).filter_map(move |index| {
            let record = record?;
            Some(if record.kind() == kind::ENUM {
                let bits = record.word(3 + index * 2 + 1);
                let negative = record.kind_flag() || (bits as i32) < 0;
                EnumValue {
                    name: self.string(record.word(3 + index * 2)),
                    value: if negative {
                        i64::from(bits as i32)
                    } else {
                        i64::from(bits)
                    },
                }
            } else {
                let low = u64::from(record.word(3 + index * 3 + 1));
                let high = u64::from(record.word(3 + index * 3 + 2));
                EnumValue {
                    name: self.string(record.word(3 + index * 3)),
                    value: ((high << 32) | low) as i64,
                }
            })
        })
    }

    /// A value of an enumeration, both by name. The enumeration's name may be empty: then all anonymous ones are searched,
    /// which takes a walk over all types.
    pub fn enum_value(&self, enum_name: &str, value_name: &str) -> Option<i64> {
        let value_in = |id| {
            self.enum_values(id)
                .find(|value| value.name == value_name)
                .map(|value| value.value)
        };
        let is_enum = |id: &TypeId| matches!(self.kind(*id), Kind::Enum { .. });
        if enum_name.is_empty() {
            return self
                .ids()
                .filter(|id| self.name(*id).is_empty())
                .filter(is_enum)
                .find_map(value_in);
        }
        self.ids_by_name(enum_name).filter(is_enum).find_map(value_in)
    }

    /// Variables of a section; empty for anything else.
    pub fn variables(&self, id: TypeId) -> impl Iterator<Item = Variable<'_>> {
        let record = self.record(id).filter(|record| record.kind() == kind::DATASEC);
        let count = record.map_or(0, Record::vlen);
        (0..count).filter_map(move |index| {
            let record = record?;
            let id = TypeId(record.word(3 + index * 3));
            Some(Variable {
                id,
                name: self.name(id),
                type_id: TypeId(self.record(id)?.word(2)),
                offset: record.word(3 + index * 3 + 1),
                size: record.word(3 + index * 3 + 2),
            })
        })
    }
}
