//! The conflicts that the log has told.

use super::text::Conflict;

/// A conflict that was absent for this number of scrapes is news when it comes again.
const FORGOTTEN_AFTER: u16 = 500;

/// Conflicts that were told, each with the number of scrapes since it was last seen.
///
/// A conflict may be absent from a scrape without being over: a series may be repeated only while
/// interfaces come and go, and a scrape of selected collectors may lack it. Its return is not worth
/// a line.
#[derive(Debug, Default)]
pub struct Told(Vec<(Conflict, u16)>);

impl Told {
    /// Returns the conflicts of a scrape that are news, and notes that they are told. The number of
    /// repeated samples makes no difference.
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
