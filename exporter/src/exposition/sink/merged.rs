//! Samples of one name from several collectors, or in no order, as they are exposed.

use super::Family;

/// The samples of families of one name, in the order of their label values.
pub(in crate::exposition) struct Merged<'a> {
    families: &'a [&'a Family],
    places: Vec<Place>,
    /// The number of samples left out, since another has the same labels.
    pub(in crate::exposition) repeated: usize,
}

/// The place of a sample: which of the families, and which of its samples. There may be a million.
struct Place {
    family: u32,
    sample: u32,
    /// The bounds of its key among all keys; both 0 where no key is needed.
    key: [u32; 2],
}

impl<'a> Merged<'a> {
    pub(in crate::exposition) fn of(families: &'a [&'a Family]) -> Self {
        let is_in_order = matches!(families, [family] if family.in_order);
        let all = families.iter().map(|family| family.samples.len()).sum();
        let (mut keys, mut places) = (String::new(), Vec::with_capacity(all));
        let end = |keys: &String| u32::try_from(keys.len()).unwrap_or(u32::MAX);
        for (family, it) in (0..).zip(families) {
            for (sample, found) in (0..).zip(&it.samples) {
                let begin = end(&keys);
                if !is_in_order {
                    // Samples with fewer labels come first.
                    keys.push(char::from_u32(found.labels).unwrap_or(char::MAX));
                    it.read_key(sample as usize, &mut keys);
                }
                places.push(Place { family, sample, key: [begin, end(&keys)] });
            }
        }
        if !is_in_order {
            let key = |place: &Place| {
                let [begin, end] = place.key.map(|place| place as usize);
                keys.get(begin..end).unwrap_or_default()
            };
            places.sort_by(|a, b| key(a).cmp(key(b)));
            places.dedup_by(|b, a| key(a) == key(b));
        }
        Self { families, repeated: all - places.len(), places }
    }

    /// Each sample's family, and its lines without the name before each: one line, or those of a
    /// histogram or summary.
    pub(in crate::exposition) fn samples(&self) -> impl Iterator<Item = (&'a Family, &'a str)> {
        self.places.iter().filter_map(|place| {
            let family = *self.families.get(place.family as usize)?;
            Some((family, family.lines(place.sample as usize)))
        })
    }
}
