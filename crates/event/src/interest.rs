//! What a snapshot must hold: which collectors run, and which processes and sockets they may leave
//! out. An interest accepts a superset of what is wanted and may never lose a match.

use crate::need::Needs;

/// What is to be collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Collectors to run.
    pub needs: Needs,
    /// Only these processes (tgids), sorted; `None` for all.
    pub pids: Option<Vec<u32>>,
    /// Only processes with one of these effective user ids, sorted.
    pub euids: Option<Vec<u32>>,
    /// Only processes with one of these names (comm, at most 15 bytes), sorted.
    pub names: Option<Vec<Vec<u8>>>,
    /// Only descriptors that are sockets.
    pub only_sockets: bool,
    /// Only sockets of these families, sorted; says nothing about other descriptors.
    pub families: Option<Vec<u16>>,
    /// Only sockets of these types (SOCK_STREAM = 1), sorted.
    pub types: Option<Vec<u16>>,
    /// Only sockets in these states, sorted.
    pub states: Option<Vec<u8>>,
}

impl Interest {
    /// Everything that `needs` names, of every process.
    #[must_use]
    pub fn all(needs: Needs) -> Self {
        Self { needs, ..Self::default() }
    }

    /// What both want of the same subjects: the filter's predicates hold for both (`a && b`).
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        Self {
            needs: self.needs | other.needs,
            pids: narrow(self.pids, other.pids),
            euids: narrow(self.euids, other.euids),
            names: narrow(self.names, other.names),
            only_sockets: self.only_sockets || other.only_sockets,
            families: narrow(self.families, other.families),
            types: narrow(self.types, other.types),
            states: narrow(self.states, other.states),
        }
    }

    /// What either wants (`a || b`, or two consumers).
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            needs: self.needs | other.needs,
            pids: widen(self.pids, other.pids),
            euids: widen(self.euids, other.euids),
            names: widen(self.names, other.names),
            only_sockets: self.only_sockets && other.only_sockets,
            families: widen(self.families, other.families),
            types: widen(self.types, other.types),
            states: widen(self.states, other.states),
        }
    }
}

/// The intersection; `None` is everything.
fn narrow<T: Ord>(a: Option<Vec<T>>, b: Option<Vec<T>>) -> Option<Vec<T>> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            a.retain(|item| b.binary_search(item).is_ok());
            Some(a)
        }
        (a, b) => a.or(b),
    }
}

/// The union; `None` is everything.
fn widen<T: Ord>(a: Option<Vec<T>>, b: Option<Vec<T>>) -> Option<Vec<T>> {
    let (mut a, b) = (a?, b?);
    a.extend(b);
    a.sort_unstable();
    a.dedup();
    Some(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meet_narrows_and_join_widens() {
        let one = Interest { pids: Some(vec![1, 2]), only_sockets: true, ..Interest::all(Needs::TASK) };
        let two = Interest { pids: Some(vec![2, 3]), euids: Some(vec![0]), ..Interest::all(Needs::FD) };
        let both = one.clone().meet(two.clone());
        assert_eq!(both.pids, Some(vec![2]));
        assert_eq!(both.euids, Some(vec![0]));
        assert!(both.only_sockets);
        let either = one.join(two);
        assert_eq!(either.pids, Some(vec![1, 2, 3]));
        assert_eq!(either.euids, None);
        assert!(!either.only_sockets);
        assert!(either.needs.contains(Needs::TASK | Needs::FD));
    }
}
