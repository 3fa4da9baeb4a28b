//! Faults in the files, each logged when it is new.

use hashbrown::HashSet;
use tracing::error;

/// The most complaints that are kept and logged of one scrape.
const MOST: usize = 100;

/// The complaints of the last scrape and of this one.
#[derive(Debug, Default)]
pub struct Complaints {
    before: HashSet<String>,
    now: HashSet<String>,
}

impl Complaints {
    /// Logs a complaint, unless the last scrape had the same. Returns whether the complaint was
    /// logged.
    pub fn say(&mut self, what: &str, err: &str) -> bool {
        let has_room = self.now.len() < MOST;
        let (what, err) = if has_room {
            (what, err)
        } else {
            ("left out", "more files and families, which are not listed")
        };
        // Without room, the one line for all further complaints is kept beyond `MOST`.
        let is_new = self.now.insert(format!("{what}: {err}"));
        let is_new = is_new && !self.before.contains(&format!("{what}: {err}"));
        if is_new {
            error!(collector = "textfile", err, "{what}");
        }
        is_new
    }

    /// Ends a scrape.
    pub fn end(&mut self) {
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_fault_is_logged_once() {
        let mut complaints = Complaints::default();
        assert!(complaints.say("a", "1") && complaints.say("a", "2"));
        assert!(!complaints.say("a", "1"), "twice in one scrape");
        complaints.end();
        assert!(!complaints.say("a", "1") && complaints.say("a", "3"));
        complaints.end();
        assert!(complaints.say("a", "2"), "it was right meanwhile");
    }

    #[test]
    fn any_number_of_faults_costs_a_hundred_lines() {
        let mut complaints = Complaints::default();
        for last in [MOST + 1, 0] {
            let said = (0..10_000).filter(|n| complaints.say("a", &n.to_string())).count();
            assert_eq!(said, last);
            complaints.end();
        }
    }
}
