//! The functions: names, types, and how they are called. One table, which the resolver checks
//! calls against and the printer finds names in.

use super::Typed;
use crate::ir::Func;
use crate::types::Ty;

/// How a function is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `f(a, b)`
    Function,
    /// `a.f(b)`
    Method,
}

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    Text,
    Int,
    Number,
    Duration,
    Ip,
    Net,
    Texts,
    Numbers,
    /// Text, list or map.
    Sized,
    /// Anything that is not a list or a map.
    Simple,
    /// Any list.
    List,
}

/// The type of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    Bool,
    Int,
    Float,
    Text,
    Texts,
    Ip,
    Duration,
    /// The type of the first argument.
    Same,
    /// The type of the items of the first argument.
    Item,
}

/// A function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// The receiver of a method comes first.
    pub(crate) args: &'static [Arg],
    /// How many of them must be given.
    pub(crate) least: usize,
    pub(crate) gives: Gives,
    pub(crate) func: Func,
}

const fn f(
    name: &'static str,
    form: Form,
    args: &'static [Arg],
    least: usize,
    gives: Gives,
    func: Func,
) -> Function {
    Function { name, form, args, least, gives, func }
}

use Arg::{Duration, Int, Ip, List, Net, Number, Numbers, Simple, Sized, Text, Texts};
use Form::{Function as F, Method as M};

/// `math.greatest` and `math.least` take up to this many arguments; more go into a list.
const MANY: &[Arg] = &[Number; 8];

/// All functions but those that bind variables, make constants or decide a test.
pub(crate) static FUNCTIONS: &[Function] = &[
    f("size", F, &[Sized], 1, Gives::Int, Func::Size),
    f("size", M, &[Sized], 1, Gives::Int, Func::Size),
    f("lowerAscii", M, &[Text], 1, Gives::Text, Func::Lower),
    f("upperAscii", M, &[Text], 1, Gives::Text, Func::Upper),
    f("trim", M, &[Text], 1, Gives::Text, Func::Trim),
    f("reverse", M, &[Text], 1, Gives::Text, Func::Reverse),
    f("replace", M, &[Text, Text, Text, Int], 3, Gives::Text, Func::Replace),
    f("split", M, &[Text, Text, Int], 2, Gives::Texts, Func::Split),
    f("substring", M, &[Text, Int, Int], 2, Gives::Text, Func::Substring),
    f("indexOf", M, &[Text, Text, Int], 2, Gives::Int, Func::IndexOf),
    f("lastIndexOf", M, &[Text, Text, Int], 2, Gives::Int, Func::LastIndexOf),
    f("charAt", M, &[Text, Int], 2, Gives::Text, Func::CharAt),
    f("join", M, &[Texts, Text], 1, Gives::Text, Func::Join),
    f("format", M, &[Text, List], 2, Gives::Text, Func::Format),
    f("strings.quote", F, &[Text], 1, Gives::Text, Func::Quote),
    f("quote", M, &[Text], 1, Gives::Text, Func::Quote),
    f("int", F, &[Simple], 1, Gives::Int, Func::ToInt),
    f("uint", F, &[Simple], 1, Gives::Int, Func::ToUint),
    f("double", F, &[Simple], 1, Gives::Float, Func::ToFloat),
    f("bool", F, &[Simple], 1, Gives::Bool, Func::ToBool),
    f("string", F, &[Duration], 1, Gives::Text, Func::DurationText),
    f("string", F, &[Simple], 1, Gives::Text, Func::ToText),
    f("bytes", F, &[Text], 1, Gives::Text, Func::ToText),
    f("duration", F, &[Text], 1, Gives::Duration, Func::ToDuration),
    f("duration", F, &[Int], 1, Gives::Duration, Func::ToDuration),
    f("ip", F, &[Text], 1, Gives::Ip, Func::ToIp),
    f("ip", F, &[Ip], 1, Gives::Ip, Func::ToIp),
    f("isIP", F, &[Text], 1, Gives::Bool, Func::IsIp),
    f("family", M, &[Ip], 1, Gives::Int, Func::IpFamily),
    f("isLoopback", M, &[Ip], 1, Gives::Bool, Func::IpIsLoopback),
    f("isUnspecified", M, &[Ip], 1, Gives::Bool, Func::IpIsUnspecified),
    f("isMulticast", M, &[Ip], 1, Gives::Bool, Func::IpIsMulticast),
    f("isPrivate", M, &[Ip], 1, Gives::Bool, Func::IpIsPrivate),
    f("containsIP", M, &[Net, Ip], 2, Gives::Bool, Func::NetContains),
    f("getHours", M, &[Duration], 1, Gives::Int, Func::Hours),
    f("getMinutes", M, &[Duration], 1, Gives::Int, Func::Minutes),
    f("getSeconds", M, &[Duration], 1, Gives::Int, Func::Seconds),
    f("getMilliseconds", M, &[Duration], 1, Gives::Int, Func::Milliseconds),
    f("math.greatest", F, &[Numbers], 1, Gives::Item, Func::Greatest),
    f("math.greatest", F, MANY, 1, Gives::Same, Func::Greatest),
    f("math.least", F, &[Numbers], 1, Gives::Item, Func::Least),
    f("math.least", F, MANY, 1, Gives::Same, Func::Least),
    f("math.abs", F, &[Number], 1, Gives::Same, Func::Abs),
    f("math.ceil", F, &[Number], 1, Gives::Float, Func::Ceil),
    f("math.floor", F, &[Number], 1, Gives::Float, Func::Floor),
    f("math.round", F, &[Number], 1, Gives::Float, Func::Round),
    f("math.bitAnd", F, &[Int, Int], 2, Gives::Int, Func::BitAnd),
    f("math.bitOr", F, &[Int, Int], 2, Gives::Int, Func::BitOr),
    f("math.bitXor", F, &[Int, Int], 2, Gives::Int, Func::BitXor),
    f("math.bitNot", F, &[Int], 1, Gives::Int, Func::BitNot),
    f("math.bitShiftLeft", F, &[Int, Int], 2, Gives::Int, Func::ShiftLeft),
    f("math.bitShiftRight", F, &[Int, Int], 2, Gives::Int, Func::ShiftRight),
];

/// Methods that are tests; the printer writes them itself.
static TESTS: &[&str] = &["contains", "startsWith", "endsWith", "matches", "has", "hasAny", "hasAll"];
/// Functions that bind a variable.
pub(crate) static MACROS: &[&str] = &["all", "exists", "exists_one", "map", "filter"];

/// Every name that may be called in this form, for "nearest name" hints.
pub(crate) fn names(form: Form) -> impl Iterator<Item = &'static str> {
    let listed = FUNCTIONS.iter().filter(move |function| function.form == form).map(|function| function.name);
    let (tests, macros, makers): (&[_], &[_], &[_]) = match form {
        Form::Method => (TESTS, MACROS, &[]),
        Form::Function => (&[], &[], &["has", "cidr", "matches"]),
    };
    listed.chain(tests.iter().chain(macros).chain(makers).copied())
}

/// Whether values have a method of this name.
pub(crate) fn is_method(name: &str) -> bool {
    names(Form::Method).any(|known| known == name)
}

impl Arg {
    /// Whether a value may stand here.
    pub(crate) fn takes(self, ty: &Ty) -> bool {
        match self {
            Self::Text => *ty == Ty::Text,
            Self::Int => ty.is_whole(),
            Self::Number => ty.is_number(),
            Self::Duration => *ty == Ty::Duration,
            Self::Ip => *ty == Ty::Ip,
            Self::Net => *ty == Ty::Net,
            Self::Texts => match ty {
                Ty::List(item) => item.as_deref().is_none_or(|item| *item == Ty::Text),
                _ => false,
            },
            Self::Numbers => matches!(ty, Ty::List(Some(item)) if item.is_number()),
            Self::Sized => matches!(ty, Ty::Text | Ty::List(_) | Ty::Map(_)),
            Self::Simple => !matches!(ty, Ty::List(_) | Ty::Map(_) | Ty::Null),
            Self::List => matches!(ty, Ty::List(_)),
        }
    }

    /// What a literal here is taken for.
    pub(crate) fn wants(self) -> Option<Ty> {
        match self {
            Self::Ip => Some(Ty::Ip),
            Self::Duration => Some(Ty::Duration),
            _ => None,
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Int => "an int",
            Self::Number => "a number",
            Self::Duration => "a duration",
            Self::Ip => "an ip",
            Self::Net => "a cidr",
            Self::Texts => "a list of strings",
            Self::Numbers => "a list of numbers",
            Self::Sized => "a string, a list or a map",
            Self::Simple => "a single value",
            Self::List => "a list",
        }
    }
}

impl Function {
    /// The type of its result.
    pub(crate) fn result(&self, args: &[Typed]) -> Ty {
        match self.gives {
            Gives::Bool => Ty::Bool,
            Gives::Int => Ty::Int,
            Gives::Float => Ty::Float,
            Gives::Text => Ty::Text,
            Gives::Texts => Ty::list(Ty::Text),
            Gives::Ip => Ty::Ip,
            Gives::Duration => Ty::Duration,
            Gives::Same => {
                // Symbols and masks become plain numbers; one floating point makes all so.
                if args.iter().any(|arg| arg.ty == Ty::Float) {
                    Ty::Float
                } else if args.iter().all(|arg| arg.ty == Ty::Duration) {
                    Ty::Duration
                } else {
                    Ty::Int
                }
            }
            Gives::Item => match args.first().map(|arg| &arg.ty) {
                Some(Ty::List(Some(item))) => item.as_ref().clone(),
                _ => Ty::Int,
            },
        }
    }
}
