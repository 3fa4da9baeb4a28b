//! Text format 0.0.4 from sinks: families sorted by name, series sorted by label values, each
//! series once.

use crate::exposition::{Body, Family, Sink};

/// Samples that could not be exposed as they were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Samples of this family were left out because others have the same name and labels.
    Repeated {
        /// The family.
        family: String,
        /// The number of samples left out.
        samples: usize,
    },
    /// A family was left out because another collector's family has its name and another type or
    /// help text.
    Inconsistent {
        /// The family.
        family: String,
    },
}

/// The order in which families were last exposed, which mostly serves the next answer, too.
#[derive(Debug, Default)]
pub struct Order(Vec<usize>);

impl Order {
    /// The families in the order of their names; families of one name keep their order.
    fn of<'a>(&mut self, families: &[&'a Family]) -> Vec<&'a Family> {
        let key = |&i: &usize| (families.get(i).map(|family| family.name()), i);
        let Self(order) = self;
        if order.len() != families.len() || !order.is_sorted_by(|a, b| key(a) < key(b)) {
            order.clear();
            order.extend(0..families.len());
            order.sort_by(|a, b| key(a).cmp(&key(b)));
        }
        order.iter().filter_map(|&i| families.get(i).copied()).collect()
    }
}

/// Appends the families of `sinks` to `body`: all of them, or those with the names in `only`. Of
/// conflicting families or samples, those of the first sink stay.
pub fn append(
    sinks: &[&Sink],
    only: Option<&[String]>,
    order: &mut Order,
    body: &mut impl Body,
) -> Vec<Conflict> {
    merge(sinks, only, order, |first, same| {
        append_head(first, body);
        Family::append_samples(same, body)
    })
}

/// Calls `append` for each name: with the family that gives type and help, and with all that agree
/// with it; it returns how many samples were left out. Returns the conflicts.
pub(super) fn merge(
    sinks: &[&Sink],
    only: Option<&[String]>,
    order: &mut Order,
    mut append: impl FnMut(&Family, &[&Family]) -> usize,
) -> Vec<Conflict> {
    let families: Vec<&Family> = (sinks.iter().flat_map(|sink| sink.families()))
        .filter(|family| only.is_none_or(|names| names.iter().any(|name| name == family.name())))
        .collect();
    let families = order.of(&families);
    let mut conflicts = Vec::new();
    for same_name in families.chunk_by(|a, b| a.name() == b.name()) {
        let Some(&first) = same_name.first() else { continue };
        let repeated = if same_name.len() == 1 {
            append(first, same_name)
        } else {
            let same: Vec<&Family> = (same_name.iter().copied())
                .filter(|family| family.kind() == first.kind() && family.help() == first.help())
                .collect();
            if same.len() < same_name.len() {
                conflicts.push(Conflict::Inconsistent { family: first.name().to_owned() });
            }
            append(first, &same)
        };
        if repeated > 0 {
            conflicts
                .push(Conflict::Repeated { family: first.name().to_owned(), samples: repeated });
        }
    }
    conflicts
}

fn append_head(family: &Family, body: &mut impl Body) {
    body.append(&["# HELP ", family.name(), " "]);
    let mut rest = family.help();
    while let Some(i) = memchr::memchr2(b'\\', b'\n', rest.as_bytes()) {
        let (plain, special) = rest.split_at(i);
        let mut chars = special.chars();
        body.append(&[plain, if chars.next() == Some('\n') { "\\n" } else { "\\\\" }]);
        rest = chars.as_str();
    }
    body.append(&[rest, "\n# TYPE ", family.name(), " ", family.kind().name(), "\n"]);
}
