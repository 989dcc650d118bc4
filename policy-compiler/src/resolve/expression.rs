//! `CelExpr`: an expression in the Common Expression Language over the arguments of a hook (§11, docs/EXTENSIONS.md).
//!
//! `arg0` is the first argument of `args`. Numbers keep their widths: a constant takes the type of what it meets, `int32(…)` and
//! `uint32(…)` cut, and nothing else converts. Texts, paths and sockets are not of the language's subset in the reference.

use cel_interpreter::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel_interpreter::parser::PrattParser;
use tracingpolicy_crd::{ArgSelector, FieldPath};

use super::{Resolver, address, integer_width, names};
use crate::codes;
use crate::hir::{
    Argument, Condition, Number, NumberType, Operand, Operation, Order, Predicate, SockSide, SockTest, TextComparison,
    TextTest,
};
use crate::output::ArgumentType;
use crate::pattern;

/// Bytes of an expression.
const MAX_LENGTH: usize = 4096;
/// Parts of an expression, counted as often as they are compiled: both sides of `==` between conditions are needed twice.
const MAX_PARTS: usize = 512;
/// How deep parts may be within each other.
const MAX_DEPTH: usize = 48;

/// A part with its type.
enum Typed {
    Condition(Condition),
    Number(Number, NumberType),
    /// A number without a width of its own.
    Constant(i128),
    Text(Operand),
    Words(String),
    Socket(Operand),
    Field(Operand, Field),
}

/// What of a socket.
#[derive(Clone, Copy)]
enum Field {
    Address(SockSide),
    Port(SockSide),
    Family,
    Protocol,
    State,
}

/// Why an expression is none, and what to do.
type Refused = (String, &'static str);

fn refused<T>(message: impl Into<String>, help: &'static str) -> Result<T, Refused> {
    Err((message.into(), help))
}

impl Resolver<'_> {
    /// The predicate of a `CelExpr` filter.
    pub(super) fn expression(
        &mut self,
        filter: &ArgSelector,
        arguments: &[Argument],
        path: &FieldPath,
    ) -> Option<Predicate> {
        // whoever checked the policy has said that there must be one
        let text = filter.values.first()?;
        let arguments: Vec<&Operand> = arguments
            .iter()
            .filter(|argument| !argument.is_data)
            .map(|argument| &argument.operand)
            .collect();
        match condition(text, &arguments) {
            Ok(condition) => Some(Predicate::Expression(Box::new(condition))),
            Err((message, help)) => {
                self.error(codes::BAD_EXPRESSION, &path.key("values").index(0), message, help);
                None
            }
        }
    }
}

fn condition(text: &str, arguments: &[&Operand]) -> Result<Condition, Refused> {
    if text.len() > MAX_LENGTH {
        return refused(
            format!("the expression has {} bytes, {MAX_LENGTH} are possible", text.len()),
            "write several selectors",
        );
    }
    let tree = PrattParser::new().parse(text).map_err(|errors| {
        let message = errors.to_string();
        let line = message.lines().next().unwrap_or_default();
        (
            format!("this is no expression: {line}"),
            "an expression is like `arg0 == 1 || arg1.startsWith(\"/etc/\")`",
        )
    })?;
    let mut typing = Typing { arguments, parts: 0 };
    match typing.typed(&tree, 0)? {
        Typed::Condition(condition) => Ok(condition),
        _ => refused(
            "the expression is not true or false",
            "compare with something, for example `arg0 == 1`",
        ),
    }
}

struct Typing<'a> {
    arguments: &'a [&'a Operand],
    parts: usize,
}

impl Typing<'_> {
    fn typed(&mut self, node: &IdedExpr, depth: usize) -> Result<Typed, Refused> {
        self.more(1)?;
        if depth > MAX_DEPTH {
            return too_large();
        }
        match &node.expr {
            Expr::Ident(name) => self.argument(name),
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(value) => Typed::Condition(Condition::Constant(*value.inner())),
                LiteralValue::Int(value) => Typed::Constant(i128::from(*value.inner())),
                LiteralValue::UInt(value) => Typed::Number(Number::Constant(*value.inner()), NumberType::Uint64),
                LiteralValue::String(value) => Typed::Words(value.inner().to_owned()),
                _ => {
                    return refused(
                        "this constant has no meaning here",
                        "use numbers, texts, `true` and `false`",
                    );
                }
            }),
            Expr::Select(select) if !select.test => {
                let of = self.typed(&select.operand, depth + 1)?;
                field(of, &select.field)
            }
            Expr::Call(call) => match &call.target {
                Some(target) => {
                    let target = self.typed(target, depth + 1)?;
                    self.method(target, &call.func_name, &call.args)
                }
                None => self.call(&call.func_name, &call.args, depth),
            },
            _ => refused(
                "the expression has a part that is not compiled",
                "use arguments, constants, comparisons, `+ -`, `&& || !`, `in [...]` and the functions of docs/EXTENSIONS.md",
            ),
        }
    }

    fn more(&mut self, parts: usize) -> Result<(), Refused> {
        self.parts += parts;
        if self.parts > MAX_PARTS { too_large() } else { Ok(()) }
    }

    fn argument(&self, name: &str) -> Result<Typed, Refused> {
        let position = name.strip_prefix("arg").and_then(|number| number.parse::<usize>().ok());
        let Some(operand) = position.and_then(|position| self.arguments.get(position)) else {
            return refused(
                format!("there is no `{name}`: the hook has {} arguments", self.arguments.len()),
                "`arg0` is the first entry of `args`",
            );
        };
        let operand = (*operand).clone();
        if operand.is_text() {
            return Ok(Typed::Text(operand));
        }
        if operand.is_socket() {
            return Ok(Typed::Socket(operand));
        }
        match integer_width(operand.argument_type) {
            Some((64, signed)) => Ok(Typed::Number(
                Number::Argument(operand),
                if signed { NumberType::Int64 } else { NumberType::Uint64 },
            )),
            Some((_, signed)) => Ok(Typed::Number(
                Number::Argument(operand),
                if signed { NumberType::Int32 } else { NumberType::Uint32 },
            )),
            None => refused(
                format!("`{name}` is of a type that no filter is about"),
                "use arguments that are numbers, texts, paths or sockets",
            ),
        }
    }

    fn call(&mut self, name: &str, args: &[IdedExpr], depth: usize) -> Result<Typed, Refused> {
        let mut typed = |node: &IdedExpr| self.typed(node, depth + 1);
        match (name, args) {
            (operators::LOGICAL_AND, [left, right]) => {
                let (left, right) = (condition_of(typed(left)?)?, condition_of(typed(right)?)?);
                Ok(Typed::Condition(Condition::And(Box::new(left), Box::new(right))))
            }
            (operators::LOGICAL_OR, [left, right]) => {
                let (left, right) = (condition_of(typed(left)?)?, condition_of(typed(right)?)?);
                Ok(Typed::Condition(Condition::Or(Box::new(left), Box::new(right))))
            }
            (operators::LOGICAL_NOT, [of]) => Ok(not(condition_of(typed(of)?)?)),
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let left = self.typed(left, depth + 1)?;
                let before = self.parts;
                let right = self.typed(right, depth + 1)?;
                if matches!(right, Typed::Condition(_)) {
                    // it is compiled twice
                    self.more(self.parts - before)?;
                }
                let equal = self.equal(left, right)?;
                Ok(if name == operators::EQUALS {
                    Typed::Condition(equal)
                } else {
                    not(equal)
                })
            }
            (operators::LESS, [left, right]) => less(typed(left)?, typed(right)?).map(Typed::Condition),
            (operators::GREATER, [left, right]) => {
                let (left, right) = (typed(left)?, typed(right)?);
                less(right, left).map(Typed::Condition)
            }
            (operators::GREATER_EQUALS, [left, right]) => less(typed(left)?, typed(right)?).map(not),
            (operators::LESS_EQUALS, [left, right]) => {
                let (left, right) = (typed(left)?, typed(right)?);
                less(right, left).map(not)
            }
            (operators::NEGATE, [of]) => match typed(of)? {
                Typed::Constant(constant) => Ok(Typed::Constant(-constant)),
                Typed::Number(number, of_type) => Ok(Typed::Number(
                    Number::Operation(
                        Operation::Subtract,
                        of_type,
                        Box::new(Number::Constant(0)),
                        Box::new(number),
                    ),
                    of_type,
                )),
                _ => refused("only numbers can be negative", "use `!` for conditions"),
            },
            (operators::IN, [of, list]) => {
                let of = typed(of)?;
                let Expr::List(list) = &list.expr else {
                    return refused("`in` needs a list of constants", "for example `arg0 in [1, 2]`");
                };
                let elements: Vec<Typed> = list.elements.iter().map(typed).collect::<Result<_, _>>()?;
                self.member(of, elements).map(Typed::Condition)
            }
            ("int32" | "uint32", [of]) => {
                let of_type = if name == "int32" {
                    NumberType::Int32
                } else {
                    NumberType::Uint32
                };
                match typed(of)? {
                    Typed::Constant(constant) => {
                        Ok(Typed::Number(Number::Constant(of_type.cut(constant as u64)), of_type))
                    }
                    Typed::Number(number, _) => Ok(Typed::Number(Number::Cut(of_type, Box::new(number)), of_type)),
                    _ => refused(format!("`{name}` takes a number"), "for example `int32(arg0)`"),
                }
            }
            ("not", [of]) => match typed(of)? {
                Typed::Number(number, of_type) => {
                    let ones = Number::Constant(of_type.cut(u64::MAX));
                    let flipped = Number::Operation(Operation::Xor, of_type, Box::new(number), Box::new(ones));
                    Ok(Typed::Number(flipped, of_type))
                }
                Typed::Constant(constant) => Ok(Typed::Constant(!constant)),
                _ => refused("`not` takes a number", "use `!` for conditions"),
            },
            (operators::ADD | operators::SUBSTRACT | "and" | "or" | "xor", [left, right]) => {
                let operation = match name {
                    operators::ADD => Operation::Add,
                    operators::SUBSTRACT => Operation::Subtract,
                    "and" => Operation::And,
                    "or" => Operation::Or,
                    _ => Operation::Xor,
                };
                let (left, right, of_type) = pair(typed(left)?, typed(right)?)?;
                let number = Number::Operation(operation, of_type, Box::new(left), Box::new(right));
                Ok(Typed::Number(number, of_type))
            }
            _ => refused(
                format!("`{}` is not compiled", name.trim_matches(['_', '@'])),
                "functions are int32, uint32, and, or, xor and not; texts have startsWith, endsWith, contains and matches",
            ),
        }
    }

    fn equal(&mut self, left: Typed, right: Typed) -> Result<Condition, Refused> {
        match (left, right) {
            (Typed::Condition(left), Typed::Condition(right)) => Ok(Condition::Same(Box::new(left), Box::new(right))),
            (of @ (Typed::Text(_) | Typed::Field(..)), value) | (value, of @ (Typed::Text(_) | Typed::Field(..))) => {
                self.member(of, vec![value])
            }
            (left, right) => {
                let (left, right, number) = pair(left, right)?;
                Ok(Condition::Compare {
                    order: Order::Equal,
                    number,
                    left,
                    right,
                })
            }
        }
    }

    /// Whether something is one of a list.
    fn member(&mut self, of: Typed, elements: Vec<Typed>) -> Result<Condition, Refused> {
        match of {
            Typed::Text(operand) => {
                let values = elements.into_iter().map(words).collect::<Result<_, _>>()?;
                text_test(operand, TextComparison::Equal, values)
            }
            Typed::Field(operand, field) => field_test(operand, field, elements),
            Typed::Number(number, of_type) => {
                let mut any = Condition::Constant(false);
                for element in elements {
                    let (left, right, number) = pair(Typed::Number(number.clone(), of_type), element)?;
                    let equal = Condition::Compare {
                        order: Order::Equal,
                        number,
                        left,
                        right,
                    };
                    self.more(1)?;
                    any = match any {
                        Condition::Constant(false) => equal,
                        other => Condition::Or(Box::new(other), Box::new(equal)),
                    };
                }
                Ok(any)
            }
            _ => refused(
                "these cannot be compared",
                "compare arguments with constants of their type",
            ),
        }
    }

    fn method(&mut self, target: Typed, name: &str, args: &[IdedExpr]) -> Result<Typed, Refused> {
        let comparison = match name {
            "startsWith" => TextComparison::Prefix,
            "endsWith" => TextComparison::Postfix,
            "contains" => TextComparison::SubString,
            "matches" => TextComparison::Regex,
            _ => {
                return refused(
                    format!("there is no `{name}`"),
                    "texts and paths have startsWith, endsWith, contains and matches",
                );
            }
        };
        let Typed::Text(operand) = target else {
            return refused(
                format!("`{name}` is for texts and paths"),
                "use it on an argument that is a string, a path or a file",
            );
        };
        let [argument] = args else {
            return refused(
                format!("`{name}` takes one text"),
                "for example `arg0.startsWith(\"/etc/\")`",
            );
        };
        let value = words(self.typed(argument, MAX_DEPTH)?)?;
        text_test(operand, comparison, vec![value]).map(Typed::Condition)
    }
}

fn too_large<T>() -> Result<T, Refused> {
    refused(
        "the expression is too large",
        "write several selectors, or several filters",
    )
}

fn not(condition: Condition) -> Typed {
    Typed::Condition(Condition::Not(Box::new(condition)))
}

fn condition_of(typed: Typed) -> Result<Condition, Refused> {
    match typed {
        Typed::Condition(condition) => Ok(condition),
        _ => refused(
            "`&&`, `||` and `!` are for conditions",
            "compare with something, for example `arg0 == 1`",
        ),
    }
}

fn words(typed: Typed) -> Result<String, Refused> {
    match typed {
        Typed::Words(words) => Ok(words),
        _ => refused("a text can be compared with constants only", "write the text in quotes"),
    }
}

/// Two numbers of one type.
fn pair(left: Typed, right: Typed) -> Result<(Number, Number, NumberType), Refused> {
    let constant = |value: i128, of_type: NumberType| {
        let fits = match of_type {
            NumberType::Int32 => i32::try_from(value).is_ok(),
            NumberType::Uint32 => u32::try_from(value).is_ok(),
            NumberType::Int64 => i64::try_from(value).is_ok(),
            NumberType::Uint64 => u64::try_from(value).is_ok(),
        };
        if fits {
            Ok(Number::Constant(value as u64))
        } else {
            refused(
                format!("{value} is no value of the number it is compared with"),
                "cut the other side, or correct it",
            )
        }
    };
    match (left, right) {
        (Typed::Number(left, of_type), Typed::Number(right, other)) if of_type == other => Ok((left, right, of_type)),
        // `5u` is as wide as what it meets
        (Typed::Number(left, of_type), Typed::Number(Number::Constant(value), NumberType::Uint64))
            if !of_type.is_signed() =>
        {
            Ok((left, constant(i128::from(value), of_type)?, of_type))
        }
        (Typed::Number(Number::Constant(value), NumberType::Uint64), Typed::Number(right, of_type))
            if !of_type.is_signed() =>
        {
            Ok((constant(i128::from(value), of_type)?, right, of_type))
        }
        (Typed::Number(left, of_type), Typed::Constant(value)) => Ok((left, constant(value, of_type)?, of_type)),
        (Typed::Constant(value), Typed::Number(right, of_type)) => Ok((constant(value, of_type)?, right, of_type)),
        (Typed::Constant(left), Typed::Constant(right)) => {
            let of_type = NumberType::Int64;
            Ok((constant(left, of_type)?, constant(right, of_type)?, of_type))
        }
        (Typed::Number(..), Typed::Number(..)) => refused(
            "numbers of different types cannot be combined",
            "cut the wider one with `int32(...)` or `uint32(...)`, or read the arguments as one type",
        ),
        _ => refused("these cannot be combined", "numbers go with numbers, texts with texts"),
    }
}

fn less(left: Typed, right: Typed) -> Result<Condition, Refused> {
    const MOST: i128 = u16::MAX as i128;
    match (left, right) {
        // ports, whose bounds are those of a range
        (Typed::Field(operand, Field::Port(side)), Typed::Constant(bound)) => {
            let below = (bound - 1).clamp(-1, MOST);
            Ok(port_range(operand, side, 0, below))
        }
        (Typed::Constant(bound), Typed::Field(operand, Field::Port(side))) => {
            Ok(port_range(operand, side, (bound + 1).max(0), MOST))
        }
        (left, right) => {
            let (left, right, number) = pair(left, right)?;
            Ok(Condition::Compare {
                order: Order::Less,
                number,
                left,
                right,
            })
        }
    }
}

fn port_range(operand: Operand, side: SockSide, low: i128, high: i128) -> Condition {
    match (u16::try_from(low), u16::try_from(high)) {
        (Ok(low), Ok(high)) if low <= high => sock_test(operand, SockTest::Port(side, vec![(low, high)])),
        _ => Condition::Constant(false),
    }
}

fn sock_test(operand: Operand, test: SockTest) -> Condition {
    Condition::Test(Predicate::Sock {
        operand,
        test,
        negated: false,
    })
}

fn text_test(operand: Operand, comparison: TextComparison, values: Vec<String>) -> Result<Condition, Refused> {
    let mut bytes = Vec::with_capacity(values.len());
    for value in values {
        if !comparison.is_anchored()
            && let Err(reason) = pattern::check(comparison, value.as_bytes())
        {
            return refused(
                format!("`{value}` cannot be looked for: {reason}"),
                "see docs/EXTENSIONS.md",
            );
        }
        if value.len() > ebpf::record::TEXT_MAX {
            return refused("a text has 4,096 bytes at most", "shorten it");
        }
        // a NUL ends the strings of C
        let value = match operand.argument_type {
            ArgumentType::String => value.trim_end_matches('\0').to_owned(),
            _ => value,
        };
        bytes.push(value.into_bytes());
    }
    bytes.sort_unstable();
    bytes.dedup();
    Ok(Condition::Test(Predicate::Text {
        operand,
        test: TextTest {
            comparison,
            values: bytes,
        },
        negated: false,
    }))
}

fn field(of: Typed, name: &str) -> Result<Typed, Refused> {
    let Typed::Socket(operand) = of else {
        return refused(format!("there is no `.{name}`"), "only sockets have parts");
    };
    let field = match name {
        "saddr" => Field::Address(SockSide::Source),
        "daddr" => Field::Address(SockSide::Destination),
        "sport" => Field::Port(SockSide::Source),
        "dport" => Field::Port(SockSide::Destination),
        "family" => Field::Family,
        "protocol" => Field::Protocol,
        "state" => Field::State,
        _ => {
            return refused(
                format!("a socket has no `{name}`"),
                "it has saddr, daddr, sport, dport, family, protocol and state",
            );
        }
    };
    let is_sockaddr = operand.argument_type == ArgumentType::Sockaddr;
    let applies = match field {
        Field::Address(side) | Field::Port(side) => !is_sockaddr || matches!(side, SockSide::Source),
        Field::Family => true,
        Field::Protocol => !is_sockaddr,
        Field::State => operand.argument_type == ArgumentType::Sock,
    };
    if !applies {
        return refused(
            format!("this type of socket has no `{name}`"),
            "a `sockaddr` has saddr, sport and family; an `skb` has no state",
        );
    }
    Ok(Typed::Field(operand, field))
}

/// A field is one of some constants.
fn field_test(operand: Operand, field: Field, elements: Vec<Typed>) -> Result<Condition, Refused> {
    fn each<T: Ord>(elements: Vec<Typed>, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Refused> {
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            let text = match element {
                Typed::Words(words) => words,
                Typed::Constant(number) => number.to_string(),
                Typed::Number(Number::Constant(number), _) => number.to_string(),
                _ => {
                    return refused(
                        format!("{what} can be compared with constants only"),
                        "write a constant",
                    );
                }
            };
            match parse(&text) {
                Some(value) => values.push(value),
                None => return refused(format!("`{text}` is not {what}"), "see docs/EXTENSIONS.md"),
            }
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
    let test = match field {
        Field::Address(side) => SockTest::Address(side, each(elements, "an address or network", address::network)?),
        Field::Port(side) => SockTest::Port(side, each(elements, "a port", tracingpolicy_crd::value::ports)?),
        Field::Family => SockTest::Family(each(elements, "an address family", names::family)?),
        Field::Protocol => SockTest::Protocol(each(elements, "an IP protocol", names::protocol)?),
        Field::State => SockTest::State(each(elements, "a TCP state", names::state)?),
    };
    Ok(sock_test(operand, test))
}
