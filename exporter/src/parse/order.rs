//! The rows of a table in the order of their series.

use super::line_places;
use crate::error::Malformed;
use std::ops::Range;

/// The order of a table's rows by the text of their first label, kept between scrapes. The kernel
/// counts rows (`9`, then `10`), and series are exposed in the order of texts (`10`, then `9`):
/// samples that are put so need not be sorted one family after the other.
#[derive(Debug, Default)]
pub struct RowOrder {
    rows: Vec<Row>,
    /// The labels of all rows.
    labels: String,
    /// The rows by their labels, as they were last time, which mostly is right.
    order: Vec<usize>,
}

/// The places of a row's line in the text and of its label among the labels.
#[derive(Debug)]
struct Row {
    line: Range<usize>,
    label: Range<usize>,
}

impl RowOrder {
    /// Gives `row` the number of each line, counted from 0, and the line, in the order of the labels
    /// that `label` appends for them; after a malformed row, the others are still read.
    ///
    /// # Errors
    /// The error of the first malformed line, with its number.
    pub fn rows<'a>(
        &mut self,
        text: &'a str,
        mut label: impl FnMut(usize, &'a str, &mut String),
        mut row: impl FnMut(usize, &'a str) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let line = |place: &Range<usize>| text.get(place.clone()).unwrap_or_default();
        let Self { rows, labels, order } = self;
        rows.clear();
        labels.clear();
        for place in line_places(text) {
            let begin = labels.len();
            label(rows.len(), line(&place), labels);
            rows.push(Row { line: place, label: begin..labels.len() });
        }
        let key = |&number: &usize| {
            let label = rows.get(number).and_then(|row| labels.get(row.label.clone()));
            (label.unwrap_or_default(), number)
        };
        if order.len() != rows.len() || !order.is_sorted_by(|a, b| key(a) < key(b)) {
            order.clear();
            order.extend(0..rows.len());
            order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        }
        let mut first_fault: Option<(usize, Malformed)> = None;
        for &number in &*order {
            let Some(Row { line: place, .. }) = rows.get(number) else { continue };
            if let Err(fault) = row(number, line(place))
                && first_fault.as_ref().is_none_or(|(first, _)| number < *first)
            {
                first_fault = Some((number, fault));
            }
        }
        first_fault.map_or(Ok(()), |(number, fault)| Err(fault.in_line(number + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_labels_and_the_first_fault_is_that_of_the_first_line() {
        let mut order = RowOrder::default();
        for (text, seen, fault) in [
            ("", "", None),
            ("9 a\n10 b\n\n11 c", "2: 1:10 b 3:11 c 0:9 a", None),
            ("9 d\n10 e\n\n11 f\n", "2: 1:10 e 3:11 f 0:9 d", None),
            ("9 bad\n10 bad\n8 g\n11 h\n", "1:10 bad 3:11 h 2:8 g 0:9 bad", Some("9 bad")),
            ("8 i\r\n8 j\n", "0:8 i 1:8 j", None),
        ] {
            let mut rows = Vec::new();
            let read = order.rows(
                text,
                |_, line, label| label.push_str(line.split(' ').next().unwrap()),
                |number, line| {
                    rows.push(format!("{number}:{line}"));
                    if line.ends_with("bad") { Err(Malformed::new("row", line)) } else { Ok(()) }
                },
            );
            assert_eq!(rows.join(" "), seen);
            let want = fault.map(|line| Malformed::new("row", line).in_line(1).to_string());
            assert_eq!(read.err().map(|fault| fault.to_string()), want);
        }
    }
}
