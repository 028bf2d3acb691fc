//! Values that a view keeps: owned, ordered and hashable where those of events are borrowed.

use core::cmp::Ordering;

use nabe_event::Value;
use nabe_event::value::List;

/// One value of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// None.
    #[default]
    Missing,
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A share, an average.
    Float(f64),
    /// Text as the kernel had it.
    Text(Box<[u8]>),
}

impl Cell {
    /// The value of an event's field, to be kept.
    #[must_use]
    pub fn of(value: Value<'_>) -> Self {
        match value {
            Value::Missing(_) => Self::Missing,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Int(number) => Self::Int(number),
            Value::Uint(number) => Self::Uint(number),
            Value::Text(text) => Self::Text(text.into()),
            Value::Ip(address) => Self::Text(address.to_string().into_bytes().into()),
            Value::List(list) => Self::Text(joined(list).into()),
            Value::Map(map) => {
                let entries = (0..map.len()).filter_map(|at| map.entry(at));
                let pairs: Vec<_> = entries.map(|(key, value)| [key, b"=", value].concat()).collect();
                Self::Text(pairs.join(&b","[..]).into())
            }
        }
    }

    /// Whether there is a value.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::Missing
    }

    /// The value as a number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Uint(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Self::Missing | Self::Text(_) => None,
        }
    }

    /// The value as a whole number, if it is one and fits.
    #[must_use]
    pub fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some((*number).into()),
            Self::Uint(number) => Some((*number).into()),
            Self::Bool(flag) => Some((*flag).into()),
            _ => None,
        }
    }

    /// A whole number in the narrowest form.
    #[must_use]
    pub fn from_whole(number: i128) -> Self {
        match (u64::try_from(number), i64::try_from(number)) {
            (Ok(number), _) => Self::Uint(number),
            (_, Ok(number)) => Self::Int(number),
            _ => Self::Float(number as f64),
        }
    }

    /// Appends the value as text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Missing => {}
            Self::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Uint(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Float(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => out.extend_from_slice(text),
        }
    }

    /// Appends bytes by which equal values are found again, and no others.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
        match self {
            Self::Missing => out.push(0),
            Self::Bool(flag) => out.extend_from_slice(&[1, u8::from(*flag)]),
            // A number is one number, however it came.
            Self::Int(number) if *number < 0 => {
                out.push(2);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Int(number) => {
                out.push(3);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Uint(number) => {
                out.push(3);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Float(number) => {
                out.push(4);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Self::Text(text) => {
                out.push(5);
                out.extend_from_slice(&(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text);
            }
        }
    }

    /// The order in which rows stand: numbers by size, texts by bytes, nothing first.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => match (self.whole(), other.whole()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => match (self.number(), other.number()) {
                    (Some(a), Some(b)) => a.total_cmp(&b),
                    _ => self.rank().cmp(&other.rank()),
                },
            },
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::Text(_) => 2,
            _ => 1,
        }
    }
}

fn joined(list: &dyn List) -> Vec<u8> {
    let mut text = Vec::new();
    for at in 0..list.len() {
        if at > 0 {
            text.push(b',');
        }
        Cell::of(list.get(at)).write(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_equal_keys_and_texts_do_not_run_together() {
        let key = |cells: &[Cell]| {
            let mut key = Vec::new();
            cells.iter().for_each(|cell| cell.write_key(&mut key));
            key
        };
        let text = |text: &str| Cell::Text(text.as_bytes().into());
        assert_eq!(key(&[Cell::Int(7)]), key(&[Cell::Uint(7)]));
        assert_ne!(key(&[Cell::Int(-1)]), key(&[Cell::Uint(u64::MAX)]));
        assert_ne!(key(&[text("a"), text("bc")]), key(&[text("ab"), text("c")]));
        assert_ne!(key(&[text("")]), key(&[Cell::Missing]));
    }

    #[test]
    fn cells_are_ordered() {
        let mut cells = [
            Cell::Text(b"a".as_slice().into()),
            Cell::Float(1.5),
            Cell::Missing,
            Cell::Int(-3),
            Cell::Uint(u64::MAX),
        ];
        cells.sort_by(Cell::compare);
        assert_eq!(cells[0], Cell::Missing);
        assert_eq!(cells[1..4], [Cell::Int(-3), Cell::Float(1.5), Cell::Uint(u64::MAX)]);
    }
}
