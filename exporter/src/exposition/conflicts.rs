//! Which conflicts the log knows of.

use super::text::Conflict;

/// After so many scrapes without it, a conflict that comes again is news again.
const FORGOTTEN_AFTER: u16 = 500;

/// Conflicts that were told, each with the number of scrapes since it was last seen.
///
/// A series that is repeated while interfaces come and go is so in one scrape and not in the next,
/// and scrapes of some collectors only do not have it at all: neither is worth a line.
#[derive(Debug, Default)]
pub struct Told(Vec<(Conflict, u16)>);

impl Told {
    /// Those of a scrape's conflicts that were not told yet, and now are. How many samples of a
    /// family are repeated makes no difference.
    pub fn news(&mut self, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        for (_, scrapes) in &mut self.0 {
            *scrapes += 1;
        }
        let mut news = Vec::new();
        for conflict in conflicts {
            match self.0.iter_mut().find(|(told, _)| told.is_like(&conflict)) {
                Some((_, scrapes)) => *scrapes = 0,
                None => {
                    self.0.push((conflict.clone(), 0));
                    news.push(conflict);
                }
            }
        }
        self.0.retain(|&(_, scrapes)| scrapes < FORGOTTEN_AFTER);
        news
    }
}

impl Conflict {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repeated { family, .. }, Self::Repeated { family: other, .. })
            | (Self::Inconsistent { family }, Self::Inconsistent { family: other }) => {
                family == other
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_news_once() {
        let repeated =
            |family: &str, samples| Conflict::Repeated { family: family.into(), samples };
        let inconsistent = |family: &str| Conflict::Inconsistent { family: family.into() };
        let mut told = Told::default();
        assert_eq!(told.news(vec![repeated("a", 1)]), [repeated("a", 1)]);
        assert_eq!(told.news(vec![repeated("a", 39)]), []);
        assert_eq!(told.news(vec![]), []);
        let both = vec![inconsistent("a"), repeated("a", 2), repeated("b", 1)];
        assert_eq!(told.news(both), [inconsistent("a"), repeated("b", 1)]);
        for _ in 1..FORGOTTEN_AFTER {
            assert_eq!(told.news(vec![repeated("b", 1)]), []);
        }
        assert_eq!(told.news(vec![]), []);
        assert_eq!(told.news(vec![repeated("a", 1)]), [repeated("a", 1)]);
        assert_eq!(told.news(vec![repeated("b", 7)]), []);
    }
}
