//! Things that are asked for by name, in the same order again and again.

/// A thing that has a name.
pub(super) trait Named {
    fn name(&self) -> &[u8];
}

/// Named things, in the order in which they are asked for.
#[derive(Debug)]
pub(super) struct Row<T> {
    things: Vec<T>,
    /// The place of the thing that is expected to be asked for next.
    next: usize,
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self { things: Vec::new(), next: 0 }
    }
}

impl<T: Named> Row<T> {
    /// The thing of that name.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<&mut T> {
        let next = if self.next < self.things.len() { self.next } else { 0 };
        let is_next = self.things.get(next).is_some_and(|thing| thing.name() == name);
        let place = if is_next {
            next
        } else {
            self.things.iter().position(|thing| thing.name() == name)?
        };
        self.next = place + 1;
        self.things.get_mut(place)
    }

    /// The thing that [`Row::find`] has just found.
    pub(super) fn found(&mut self) -> Option<&mut T> {
        self.next.checked_sub(1).and_then(|place| self.things.get_mut(place))
    }

    /// Takes the thing out that [`Row::find`] has just found.
    pub(super) fn remove_found(&mut self) {
        self.next = self.next.saturating_sub(1);
        if self.next < self.things.len() {
            self.things.remove(self.next);
        }
    }

    /// Puts a thing at the place of the one that [`Row::find`] has just not found.
    pub(super) fn insert(&mut self, thing: T) {
        let place = self.next.min(self.things.len());
        self.things.insert(place, thing);
        self.next = place + 1;
    }

    pub(super) fn retain(&mut self, keeps: impl FnMut(&T) -> bool) {
        self.things.retain(keeps);
    }

    pub(super) fn clear(&mut self) {
        self.things.clear();
    }

    pub(super) const fn len(&self) -> u64 {
        self.things.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for &str {
        fn name(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn things_stand_in_the_order_in_which_they_are_asked_for() {
        let mut row: Row<&str> = Row::default();
        for name in ["a", "b", "d"] {
            assert_eq!(row.find(name.as_bytes()), None);
            row.insert(name);
        }
        for name in ["a", "b"] {
            assert_eq!(row.find(name.as_bytes()), Some(&mut &*name));
        }
        assert_eq!(row.find(b"c"), None);
        row.insert("c");
        assert_eq!(row.things, ["a", "b", "c", "d"]);
        assert_eq!(row.find(b"d"), Some(&mut "d"));
        assert_eq!(row.found(), Some(&mut "d"));
        row.remove_found();
        assert_eq!(row.find(b"b"), Some(&mut "b"));
        row.remove_found();
        assert_eq!(row.things, ["a", "c"]);
        assert_eq!(row.find(b"c"), Some(&mut "c"), "the one after the removed one");
        row.retain(|name| *name == "c");
        assert_eq!(row.find(b"a"), None);
        assert_eq!(row.len(), 1);
        row.clear();
        assert_eq!(row.find(b"c"), None);
        row.insert("e");
        assert_eq!(row.things, ["e"]);
    }
}
