//! Parts of a pattern in the syntax of the crate `regex`, and their composition.

/// The binding strength of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One item, which a repetition can follow.
    Item,
    /// A repetition or a row of items.
    Row,
    /// Alternatives.
    Choice,
}

/// A part of the pattern, translated.
#[derive(Debug)]
pub(super) struct Part {
    /// The text in the syntax of `regex`.
    pub(super) text: String,
    pub(super) shape: Shape,
    /// The most repetitions that nested numbers ask for: the greatest product of their numbers.
    pub(super) repeats: u32,
}

impl Part {
    pub(super) fn item(text: impl Into<String>) -> Self {
        Self { text: text.into(), shape: Shape::Item, repeats: 0 }
    }

    /// The same part, in a group unless its shape makes the group needless.
    pub(super) fn grouped(self, at_most: Shape) -> Self {
        let needless = self.shape == Shape::Item || (self.shape == at_most);
        if needless {
            return self;
        }
        Self { text: format!("(?:{})", self.text), shape: Shape::Item, ..self }
    }
}

/// The inside of one group, or the whole.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// The complete alternatives.
    branches: Vec<Part>,
    /// The parts of the alternative that is being read.
    pub(super) row: Vec<Part>,
}

impl Level {
    /// Ends an alternative, at `|` or at the group's end.
    pub(super) fn end_branch(&mut self) {
        let mut row = std::mem::take(&mut self.row);
        let branch = match (row.pop(), row.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                let mut all = Part { text: String::new(), shape: Shape::Row, repeats: 0 };
                for part in row.into_iter().chain(last) {
                    let part = part.grouped(Shape::Row);
                    all.text.push_str(&part.text);
                    all.repeats = all.repeats.max(part.repeats);
                }
                all
            }
        };
        self.branches.push(branch);
    }

    /// All alternatives as one part.
    pub(super) fn finish(mut self) -> Part {
        self.end_branch();
        let repeats = self.branches.iter().map(|branch| branch.repeats).max().unwrap_or(0);
        match self.branches.pop() {
            Some(only) if self.branches.is_empty() => only,
            last => {
                let all: Vec<String> =
                    self.branches.into_iter().chain(last).map(|branch| branch.text).collect();
                Part { text: all.join("|"), shape: Shape::Choice, repeats }
            }
        }
    }
}
