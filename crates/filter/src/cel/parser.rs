//! CEL's grammar: operators by precedence, everything else by descent.
//!
//! Chains of `&&` and `||` become one node whatever their length; everything else that nests is
//! counted, and [`MAX_DEPTH`] levels are enough.

use super::ast::{Binary, Kind, Literal, MAX_DEPTH, Name, Node};
use super::lexer::{Lexer, Token};
use crate::diagnostic::{Error, Result, quote};
use crate::span::Span;

/// Longest source, in bytes.
const MAX_SOURCE: usize = 1 << 20;

pub(crate) const SYSDIG: &str = "this looks like sysdig's language; CEL writes `==` for `=`, `&&` `||` `!` for \
     `and` `or` `not`, texts in quotes, and `name.contains(\"x\")` for `name contains x`";

/// Words that stand between operands in sysdig's language.
static SYSDIG_WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "contains",
    "icontains",
    "bcontains",
    "startswith",
    "bstartswith",
    "endswith",
    "glob",
    "iglob",
    "regex",
    "exists",
    "intersects",
    "pmatch",
];

/// The tree of `source`; `None` when it is blank.
pub(crate) fn parse(source: &str) -> Result<Option<Node<'_>>> {
    if source.len() > MAX_SOURCE {
        let place = Span::new(MAX_SOURCE, MAX_SOURCE);
        return Err(Error::new(place, "the expression is longer than 1 MiB"));
    }
    let mut parser = Parser::new(source)?;
    if parser.token == Token::End {
        return Ok(None);
    }
    let tree = parser.expression()?;
    match parser.token {
        Token::End => Ok(Some(tree)),
        _ => Err(parser.unexpected("an operator such as `&&`, or the end")),
    }
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token<'s>,
    span: Span,
    /// End of the token before.
    last: usize,
    /// Brackets and conditionals that are open.
    open: u16,
}

impl<'s> Parser<'s> {
    fn new(source: &'s str) -> Result<Self> {
        let mut lexer = Lexer::new(source);
        let (token, span) = lexer.next()?;
        Ok(Self { lexer, token, span, last: 0, open: 0 })
    }

    fn advance(&mut self) -> Result<Token<'s>> {
        let (token, span) = self.lexer.next()?;
        self.last = self.span.end;
        self.span = span;
        Ok(core::mem::replace(&mut self.token, token))
    }

    fn take(&mut self, mark: &str) -> Result<bool> {
        let here = matches!(&self.token, Token::Mark(found) if *found == mark);
        if here {
            self.advance()?;
        }
        Ok(here)
    }

    fn expect(&mut self, mark: &str, what: &str) -> Result<()> {
        if self.take(mark)? { Ok(()) } else { Err(self.unexpected(what)) }
    }

    fn unexpected(&self, expected: &str) -> Box<Error> {
        let error = Error::new(self.span, format!("found {}", self.token.describe())).expected(expected);
        match &self.token {
            Token::Ident(word) if SYSDIG_WORDS.contains(&word.to_ascii_lowercase().as_str()) => {
                error.hint(SYSDIG)
            }
            Token::Literal(Literal::Text(_)) => {
                error.hint("a quote inside a text is written \\\" or the text set in other quotes")
            }
            _ => error,
        }
    }

    fn node(&self, kind: Kind<'s>, span: Span, below: u16) -> Result<Node<'s>> {
        if below >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        Ok(Node { kind, span, depth: below + 1 })
    }

    /// Any expression, conditionals included.
    fn expression(&mut self) -> Result<Node<'s>> {
        self.open += 1;
        if self.open > MAX_DEPTH {
            return Err(too_deep(self.span));
        }
        let condition = self.operators(0)?;
        let tree = if self.take("?")? { self.conditional(condition)? } else { condition };
        self.open -= 1;
        Ok(tree)
    }

    fn conditional(&mut self, condition: Node<'s>) -> Result<Node<'s>> {
        let then = self.expression()?;
        self.expect(":", "`:` and what holds otherwise")?;
        let otherwise = self.expression()?;
        let span = condition.span.to(otherwise.span);
        let below = condition.depth.max(then.depth).max(otherwise.depth);
        self.node(Kind::Conditional(Box::new([condition, then, otherwise])), span, below)
    }

    /// Operands joined by operators that bind at least as tightly as `floor`.
    fn operators(&mut self, floor: u8) -> Result<Node<'s>> {
        let mut left = self.unary()?;
        loop {
            let Token::Mark(mark) = self.token else { return Ok(left) };
            let Some((power, binary)) = binding(mark) else { return Ok(left) };
            if power < floor {
                return Ok(left);
            }
            left = match binary {
                Some(binary) => self.binary(left, binary, power)?,
                None => self.chain(left, mark, power)?,
            };
        }
    }

    fn binary(&mut self, left: Node<'s>, binary: Binary, power: u8) -> Result<Node<'s>> {
        self.advance()?;
        let right = self.operators(power + 1)?;
        let (span, below) = (left.span.to(right.span), left.depth.max(right.depth));
        self.node(Kind::Binary(binary, Box::new(left), Box::new(right)), span, below)
    }

    /// `left && … && …`, or the same with `||`.
    fn chain(&mut self, left: Node<'s>, mark: &'static str, power: u8) -> Result<Node<'s>> {
        let mut span = left.span;
        let mut below = left.depth;
        let mut terms = vec![left];
        while self.take(mark)? {
            let term = self.operators(power + 1)?;
            span = span.to(term.span);
            below = below.max(term.depth);
            terms.push(term);
        }
        self.node(if mark == "&&" { Kind::And(terms) } else { Kind::Or(terms) }, span, below)
    }

    /// Any number of `!` or `-` before an operand. Pairs cancel out, so one or two are kept: two,
    /// so that the type of the operand is still checked.
    fn unary(&mut self) -> Result<Node<'s>> {
        let Token::Mark(mark @ ("!" | "-")) = self.token else { return self.postfix() };
        let start = self.span;
        let mut count = 0_usize;
        while self.take(mark)? {
            count += 1;
        }
        self.open += 1;
        if self.open > MAX_DEPTH {
            return Err(too_deep(start));
        }
        let mut operand = self.unary()?;
        self.open -= 1;
        for _ in 0..(2 - count % 2) {
            let (span, below) = (start.to(operand.span), operand.depth);
            let operand_box = Box::new(operand);
            operand = self.node(
                if mark == "!" { Kind::Not(operand_box) } else { Kind::Negate(operand_box) },
                span,
                below,
            )?;
        }
        Ok(operand)
    }

    /// An operand with its `.name`, `.name(…)` and `[…]`.
    fn postfix(&mut self) -> Result<Node<'s>> {
        let mut tree = self.primary()?;
        loop {
            let start = tree.span;
            if self.take(".")? {
                let name = self.name("a name after `.`")?;
                if self.take("(")? {
                    let args = self.items(")", "`,` or `)`")?;
                    tree = self.call(Some(tree), name, args)?;
                } else {
                    let below = tree.depth;
                    tree = self.node(Kind::Select(Box::new(tree), name), start.to(name.span), below)?;
                }
            } else if self.take("[")? {
                let index = self.expression()?;
                self.expect("]", "`]`")?;
                let below = tree.depth.max(index.depth);
                let span = Span::new(start.start, self.last);
                tree = self.node(Kind::Index(Box::new(tree), Box::new(index)), span, below)?;
            } else {
                return Ok(tree);
            }
        }
    }

    fn call(&mut self, target: Option<Node<'s>>, name: Name<'s>, args: Vec<Node<'s>>) -> Result<Node<'s>> {
        let start = target.as_ref().map_or(name.span, |target| target.span);
        let below = target.iter().chain(&args).map(|node| node.depth).max().unwrap_or(0);
        let span = Span::new(start.start, self.last);
        self.node(Kind::Call(target.map(Box::new), name, args), span, below)
    }

    fn name(&mut self, expected: &str) -> Result<Name<'s>> {
        let Token::Ident(text) = self.token else {
            // `in`, `true` and the like are names after a dot.
            return Err(self.unexpected(expected));
        };
        let span = self.span;
        self.advance()?;
        Ok(Name { text, span })
    }

    /// Expressions separated by commas, up to and with the closing bracket.
    fn items(&mut self, close: &str, expected: &str) -> Result<Vec<Node<'s>>> {
        let mut items = Vec::new();
        while !self.take(close)? {
            items.push(self.expression()?);
            if !self.take(",")? {
                self.expect(close, expected)?;
                break;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Node<'s>> {
        let span = self.span;
        match self.token {
            Token::Literal(_) => {
                let Token::Literal(literal) = self.advance()? else { return Err(self.unexpected("a value")) };
                self.node(Kind::Literal(literal), span, 0)
            }
            Token::Ident(text) => {
                if SYSDIG_WORDS[..3].contains(&text) {
                    return Err(self.unexpected("a value"));
                }
                self.advance()?;
                if self.take("(")? {
                    let args = self.items(")", "`,` or `)`")?;
                    return self.call(None, Name { text, span }, args);
                }
                self.node(Kind::Ident(text), span, 0)
            }
            Token::Mark("(") => self.group(span),
            Token::Mark("[") => {
                self.advance()?;
                let items = self.items("]", "`,` or `]`")?;
                let below = items.iter().map(|item| item.depth).max().unwrap_or(0);
                self.node(Kind::List(items), Span::new(span.start, self.last), below)
            }
            Token::Mark("{") => self.map(span),
            _ => Err(self.unexpected("a value: a field such as `process.name`, a number or a text")),
        }
    }

    fn group(&mut self, open: Span) -> Result<Node<'s>> {
        self.advance()?;
        let mut inner = self.expression()?;
        if !self.take(")")? {
            let error = self.unexpected("`)`");
            return Err(match self.token {
                Token::End => Error::new(open, "this `(` is not closed").expected("a `)` for it"),
                _ => error,
            });
        }
        inner.span = Span::new(open.start, self.last);
        Ok(inner)
    }

    fn map(&mut self, open: Span) -> Result<Node<'s>> {
        self.advance()?;
        let mut entries = Vec::new();
        let mut below = 0;
        while !self.take("}")? {
            let key = self.expression()?;
            self.expect(":", "`:` between key and value")?;
            let value = self.expression()?;
            below = below.max(key.depth).max(value.depth);
            entries.push((key, value));
            if !self.take(",")? {
                self.expect("}", "`,` or `}`")?;
                break;
            }
        }
        self.node(Kind::Map(entries), Span::new(open.start, self.last), below)
    }
}

/// How tightly an operator binds, and which it is; `None` for `&&` and `||`.
fn binding(mark: &str) -> Option<(u8, Option<Binary>)> {
    Some(match mark {
        "||" => (1, None),
        "&&" => (2, None),
        "==" => (3, Some(Binary::Eq)),
        "!=" => (3, Some(Binary::Ne)),
        "<" => (3, Some(Binary::Lt)),
        "<=" => (3, Some(Binary::Le)),
        ">" => (3, Some(Binary::Gt)),
        ">=" => (3, Some(Binary::Ge)),
        "in" => (3, Some(Binary::In)),
        "+" => (4, Some(Binary::Add)),
        "-" => (4, Some(Binary::Sub)),
        "*" => (5, Some(Binary::Mul)),
        "/" => (5, Some(Binary::Div)),
        "%" => (5, Some(Binary::Rem)),
        _ => return None,
    })
}

fn too_deep(span: Span) -> Box<Error> {
    Error::new(span, format!("nested deeper than {MAX_DEPTH} levels"))
}

/// The source of a node, as a message may quote it.
pub(crate) fn excerpt(source: &str, span: Span) -> String {
    quote(source.get(span.start..span.end).unwrap_or_default())
}
