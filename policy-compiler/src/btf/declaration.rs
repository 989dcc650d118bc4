//! C spelling of types, for messages.

use super::{Btf, Kind, MAX_DEPTH, TypeId};

impl Btf {
    /// A type as C spells it: `struct file *`, `const char *`, `char[16]`, `int (*)(void *)`.
    pub fn c_declaration(&self, id: TypeId) -> String {
        let (before, after) = self.declare(id, String::new(), MAX_DEPTH);
        format!("{before}{after}")
    }

    /// The parts of a declaration before and after the name. `inner` is what already stands next to the name.
    fn declare(&self, id: TypeId, inner: String, depth: usize) -> (String, String) {
        let Some(depth) = depth.checked_sub(1) else {
            return ("…".into(), String::new());
        };
        let word = |text: &str| -> (String, String) {
            if inner.is_empty() {
                (text.to_owned(), String::new())
            } else {
                (format!("{text} {inner}"), String::new())
            }
        };
        let tagged =
            |keyword: &str, name: &str| word(&format!("{keyword} {}", if name.is_empty() { "{…}" } else { name }));
        match self.kind(id) {
            Kind::Void => word("void"),
            Kind::Int { .. } | Kind::Typedef(_) | Kind::Float(_) => word(self.name(id)),
            Kind::Struct { name, .. } => tagged("struct", name),
            Kind::Union { name, .. } => tagged("union", name),
            Kind::Enum { .. } => tagged("enum", self.name(id)),
            Kind::Fwd { name, is_union } => tagged(if is_union { "union" } else { "struct" }, name),
            // type tags (`__user`) say nothing that a user of the policy language would look for
            Kind::TypeTag(to) => self.declare(to, inner, depth),
            Kind::Const(to) => self.qualify("const", to, inner, depth),
            Kind::Volatile(to) => self.qualify("volatile", to, inner, depth),
            Kind::Restrict(to) => self.qualify("restrict", to, inner, depth),
            Kind::Ptr(to) => {
                let target = self.skip_tags(to);
                if matches!(self.kind(target), Kind::FuncProto | Kind::Array { .. }) {
                    let (before, after) = self.declare(target, format!("(*{inner})"), depth);
                    return (before, after);
                }
                self.declare(to, format!("*{inner}"), depth)
            }
            Kind::Array { element, count } => {
                let (before, after) = self.declare(element, inner, depth);
                let bounds = if count == 0 {
                    "[]".to_owned()
                } else {
                    format!("[{count}]")
                };
                (before, format!("{bounds}{after}"))
            }
            Kind::Func(proto) => self.declare(proto, self.name(id).to_owned(), depth),
            Kind::FuncProto => {
                let prototype = self.prototype(id);
                let mut params: Vec<_> = prototype
                    .params
                    .iter()
                    .map(|param| self.declare(param.type_id, String::new(), depth))
                    .collect();
                if prototype.variadic {
                    params.push(("...".into(), String::new()));
                }
                let params: Vec<_> = params.into_iter().map(|(before, after)| before + &after).collect();
                let list = if params.is_empty() {
                    "void".to_owned()
                } else {
                    params.join(", ")
                };
                self.declare(prototype.return_type, format!("{inner}({list})"), depth)
            }
            Kind::Var(to) => self.declare(to, self.name(id).to_owned(), depth),
            Kind::DataSec | Kind::DeclTag(_) => word(self.name(id)),
        }
    }

    fn skip_tags(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let Kind::TypeTag(to) = self.kind(id) else { break };
            id = to;
        }
        id
    }

    /// Qualifiers of a pointer stand behind its star, others before the type.
    fn qualify(&self, qualifier: &str, to: TypeId, inner: String, depth: usize) -> (String, String) {
        if matches!(self.kind(self.skip_tags(to)), Kind::Ptr(_)) {
            let inner = if inner.is_empty() {
                format!(" {qualifier}")
            } else {
                format!(" {qualifier} {inner}")
            };
            return self.declare(to, inner, depth);
        }
        let (before, after) = self.declare(to, inner, depth);
        (format!("{qualifier} {before}"), after)
    }
}
