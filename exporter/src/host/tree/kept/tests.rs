use super::*;
use crate::{
    host::tree::{Entry, Folder, Names, Tree},
    testing::settle,
};
use std::fs;

/// A folder of devices, each a directory, and a budget for `descriptors`.
struct Machine {
    root: tempfile::TempDir,
    budget: Budget,
    folder: Folder,
}

impl Machine {
    fn new(descriptors: usize, files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let budget = Budget::new(descriptors, usize::MAX);
        let folder = Tree::new(root.path()).keeping(budget.clone()).devices("class");
        let machine = Self { root, budget, folder };
        for (file, content) in files {
            machine.put(file, content);
        }
        machine.settle();
        machine
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.root.path().join("class").join(file)
    }

    fn put(&self, file: &str, content: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes all directories look as if nothing had changed for long.
    fn settle(&self) {
        settle(self.root.path());
    }

    /// The values of these attributes of all devices, each with the device's name.
    fn scrape(&mut self, attributes: &[&str]) -> String {
        let mut seen = Vec::new();
        for entry in self.folder.list().unwrap() {
            let Some(dir) = entry.dir().unwrap() else { continue };
            for attribute in attributes {
                let value = dir.text(attribute).unwrap();
                seen.push(format!("{}={}", entry.name(), value.as_deref().unwrap_or("-")));
            }
        }
        seen.join(" ")
    }

    /// The value of the setting of that name of each device.
    fn settings(&mut self, setting: &str) -> String {
        let values = self.folder.list().unwrap().map(|entry| {
            let dir = entry.dir().unwrap().unwrap();
            dir.setting(setting).unwrap().as_deref().unwrap_or("-").to_owned()
        });
        values.collect::<Vec<_>>().join(" ")
    }

    /// The names in the directory `a` as they are kept, and whether they are the same list as
    /// `before`.
    fn names(&mut self, before: &mut Arc<Names>) -> (String, bool) {
        let mut names = Arc::clone(before);
        let entry = self.folder.list().unwrap().find(|entry| entry.bytes() == b"a").unwrap();
        let dir = entry.dir().unwrap().unwrap();
        let listed: Vec<_> = dir.kept_list(&mut names).unwrap().map(|entry| entry.name()).collect();
        let listed = listed.join(" ");
        let is_same = Arc::ptr_eq(before, &names);
        *before = names;
        (listed, is_same)
    }

    fn left(&self) -> usize {
        self.budget.left()
    }
}

#[test]
fn what_is_read_at_every_scrape_stays_open() {
    let mut machine = Machine::new(10, &[("a/x", "1\n"), ("a/y", "2\n"), ("b/x", "3\n")]);
    assert_eq!(machine.left(), 10);
    for _ in 0..3 {
        assert_eq!(machine.scrape(&["x", "y"]), "a=1 a=2 b=3 b=-");
        assert_eq!(machine.left(), 5, "two directories and three files");
    }
    fs::write(machine.path("a/y"), "a longer value").unwrap();
    assert_eq!(machine.scrape(&["x", "y"]), "a=1 a=a longer value b=3 b=-");
    fs::write(machine.path("a/y"), "4").unwrap();
    assert_eq!(machine.scrape(&["y", "y", "x"]), "a=4 a=4 a=1 b=- b=- b=3");
    assert_eq!(machine.left(), 5);
    machine.scrape(&["x"]);
    machine.scrape(&["x"]);
    assert_eq!(machine.left(), 6, "y is closed");
    drop(machine.folder);
    assert_eq!(machine.budget.left(), 10);
}

#[test]
fn attributes_beyond_the_budget_are_read_all_the_same() {
    let files = [("a/x", "1"), ("a/y", "2"), ("b/x", "3"), ("b/y", "4")];
    for descriptors in 0..7 {
        let mut machine = Machine::new(descriptors, &files);
        for _ in 0..3 {
            assert_eq!(machine.scrape(&["x", "y"]), "a=1 a=2 b=3 b=4");
            assert_eq!(machine.left(), descriptors.saturating_sub(6));
        }
        fs::remove_dir_all(machine.path("a")).unwrap();
        machine.settle();
        for _ in 0..2 {
            assert_eq!(machine.scrape(&["x", "y"]), "b=3 b=4");
        }
        machine.scrape(&["x", "y"]);
        assert_eq!(machine.left(), descriptors.saturating_sub(3), "the other one has the room");
    }
}

#[test]
fn a_device_that_was_replaced_under_its_name_shows_its_own_values() {
    let mut machine = Machine::new(100, &[("../devices/0/x", "1"), ("../devices/1/x", "2")]);
    let link = |to: &str, machine: &Machine| {
        let _ = fs::remove_file(machine.path("dev"));
        fs::create_dir_all(machine.path("")).unwrap();
        std::os::unix::fs::symlink(to, machine.path("dev")).unwrap();
        machine.settle();
    };
    link("../devices/0", &machine);
    assert_eq!(machine.scrape(&["x"]), "dev=1");
    link("../devices/1", &machine);
    assert_eq!(machine.scrape(&["x"]), "dev=2", "the link leads to another device");
    let device = machine.path("../devices/1");
    fs::rename(&device, machine.path("../devices/2")).unwrap();
    assert_eq!(machine.scrape(&["x"]), "");
    machine.put("../devices/1/x", "3");
    machine.settle();
    assert_eq!(machine.scrape(&["x"]), "dev=3", "the directory is another");
    for round in 4..20 {
        fs::remove_dir_all(&device).unwrap();
        machine.put("../devices/1/x", &round.to_string());
        machine.settle();
        assert_eq!(machine.scrape(&["x"]), format!("dev={round}"));
        assert!(machine.left() >= 94, "devices that are gone are closed");
    }
}

#[test]
fn an_attribute_that_was_replaced_shows_its_own_value() {
    let mut machine = Machine::new(100, &[("a/x", "1"), ("a/new", "2"), ("top", "5")]);
    let top = |machine: &mut Machine| {
        let mut entries = machine.folder.list().unwrap();
        let top = entries.find(|entry| entry.bytes() == b"top").unwrap();
        top.text().unwrap().unwrap().to_owned()
    };
    assert_eq!((machine.scrape(&["x"]), top(&mut machine)), ("a=1".into(), "5".into()));
    machine.scrape(&["x"]);
    fs::rename(machine.path("a/new"), machine.path("a/x")).unwrap();
    machine.put("new", "6");
    fs::rename(machine.path("new"), machine.path("top")).unwrap();
    assert_eq!((machine.scrape(&["x"]), top(&mut machine)), ("a=2".into(), "6".into()));
    // Replaced once more, perhaps at the same time as far as the file system tells.
    machine.put("a/new", "3");
    fs::rename(machine.path("a/new"), machine.path("a/x")).unwrap();
    assert_eq!(machine.scrape(&["x"]), "a=3");
    fs::remove_file(machine.path("a/x")).unwrap();
    assert_eq!(machine.scrape(&["x"]), "a=-");
}

#[test]
fn a_directory_that_has_just_changed_and_files_below_another_are_not_kept() {
    let mut machine = Machine::new(10, &[("a/sub/x", "1")]);
    machine.scrape(&["sub/x"]);
    assert_eq!(machine.left(), 9, "the directory alone");
    machine.put("a/x", "1");
    assert_eq!(machine.scrape(&["x"]), "a=1");
    assert_eq!(machine.left(), 9);
    machine.settle();
    assert_eq!(machine.scrape(&["x"]), "a=1");
    assert_eq!(machine.left(), 8);
}

#[test]
fn an_attribute_that_cannot_be_read_is_not_kept() {
    let mut machine = Machine::new(10, &[("a/x/directory", "")]);
    for _ in 0..3 {
        let entry = machine.folder.list().unwrap().next().unwrap();
        let dir = entry.dir().unwrap().unwrap();
        assert!(dir.text("x").is_err());
        assert_eq!(machine.budget.left(), 9);
    }
}

#[test]
fn a_setting_is_read_again_after_some_scrapes_and_takes_no_descriptor() {
    let mut machine = Machine::new(10, &[("a/max", "1\n"), ("b/max", "1\n")]);
    for value in [2, 3] {
        machine.settings("max");
        fs::write(machine.path("a/max"), format!("{value}\n")).unwrap();
        fs::write(machine.path("b/max"), format!("{value}\n")).unwrap();
        let after = format!("{value} {value}");
        let mut scrapes = 1;
        while machine.settings("max") != after {
            scrapes += 1;
        }
        assert!(scrapes <= SETTINGS_EVERY, "{scrapes}");
        assert_eq!(machine.left(), 8, "two directories");
    }
    // Without descriptors, a directory is not kept and each scrape reads the setting.
    let mut machine = Machine::new(0, &[("a/max", "1\n")]);
    assert_eq!(machine.settings("max"), "1");
    fs::write(machine.path("a/max"), "2\n").unwrap();
    assert_eq!(machine.settings("max"), "2");
}

#[test]
fn settings_of_a_directory_are_not_all_read_in_the_same_scrape() {
    let names: Vec<_> = (0..4 * SETTINGS_EVERY).map(|n| format!("max{n}")).collect();
    let files: Vec<_> = names.iter().map(|name| (format!("a/{name}"), "old")).collect();
    let files: Vec<_> = files.iter().map(|(file, value)| (&**file, *value)).collect();
    let mut machine = Machine::new(10, &files);
    let scrape = |machine: &mut Machine| {
        let entry = machine.folder.list().unwrap().next().unwrap();
        let dir = entry.dir().unwrap().unwrap();
        let value = |name: &String| dir.setting(name).unwrap().as_deref() == Some("new");
        names.iter().filter(|name| value(name)).count()
    };
    assert_eq!(scrape(&mut machine), 0);
    for name in &names {
        fs::write(machine.path(&format!("a/{name}")), "new").unwrap();
    }
    let new: Vec<_> = (0..SETTINGS_EVERY).map(|_| scrape(&mut machine)).collect();
    assert_eq!(new, [4, 8, 12, 16, 20, 24, 28, 32]);
}

#[test]
fn settings_of_another_device_or_a_changed_directory_are_its_own() {
    let mut machine = Machine::new(10, &[("a/max", "1\n")]);
    assert_eq!(machine.settings("max"), "1");
    fs::rename(machine.path("a"), machine.root.path().join("elsewhere")).unwrap();
    machine.put("a/max", "2\n");
    machine.settle();
    assert_eq!(machine.settings("max"), "2", "the directory is another");
    fs::write(machine.path("a/max"), "3\n").unwrap();
    machine.put("a/crit", "9\n"); // an entry came
    assert_eq!(machine.settings("max"), "3");
    fs::remove_file(machine.path("a/max")).unwrap();
    assert_eq!(machine.settings("max"), "-");
}

#[test]
fn a_file_that_is_not_there_is_asked_for_again_like_a_setting() {
    let mut machine = Machine::new(10, &[("a/x", "1"), ("a/below/max", "2")]);
    assert_eq!(machine.scrape(&["y"]), "a=-");
    assert_eq!(machine.settings("below/min"), "-");
    machine.put("a/y", "3");
    assert_eq!(machine.scrape(&["y"]), "a=3", "its directory changed");
    machine.settle();
    // A directory does not tell of entries in those below it.
    assert_eq!(machine.settings("below/min"), "-");
    machine.put("a/below/min", "4");
    machine.settle();
    let scrapes = (1..=SETTINGS_EVERY + 1).find(|_| machine.settings("below/min") == "4");
    assert!(scrapes.is_some());
}

#[test]
fn a_directory_in_the_folder_that_was_replaced_shows_its_own_values() {
    let mut machine = Machine::new(100, &[("a/x", "1"), ("b/x", "0")]);
    assert_eq!(machine.scrape(&["x"]), "a=1 b=0");
    for value in 2..20 {
        if value % 2 == 0 {
            fs::remove_dir_all(machine.path("a")).unwrap();
        } else {
            let away = machine.root.path().join(value.to_string());
            fs::rename(machine.path("a"), away).unwrap();
        }
        machine.put("a/x", &value.to_string());
        machine.settle();
        for _ in 0..3 {
            assert_eq!(machine.scrape(&["x"]), format!("a={value} b=0"));
        }
        assert_eq!(machine.left(), 96, "the other one is closed");
    }
    fs::remove_dir_all(machine.path("a")).unwrap();
    assert_eq!(machine.scrape(&["x"]), "b=0");
}

#[test]
fn names_are_listed_again_after_some_scrapes_and_when_the_directory_tells_of_a_change() {
    let mut machine = Machine::new(10, &[("a/x", "1"), ("a/y", "2")]);
    let mut names = Arc::default();
    let listed = |names: &str, is_same| (names.to_owned(), is_same);
    assert_eq!(machine.names(&mut names), listed("x y", false));
    for _ in 0..=2 * SETTINGS_EVERY {
        assert_eq!(machine.names(&mut names), listed("x y", true));
    }
    machine.put("a/z", "3");
    assert_eq!(machine.names(&mut names), listed("x y z", false), "the directory has changed");
    machine.settle();
    assert_eq!(machine.names(&mut names), listed("x y z", true));
    // A change that no time tells of, as in sysfs.
    for (file, after) in [("a/w", "w x y z"), ("a/v", "v w x y z")] {
        let (before, _) = machine.names(&mut names);
        machine.put(file, "4");
        machine.settle();
        let mut scrapes = 1;
        while machine.names(&mut names).0 == before {
            scrapes += 1;
        }
        assert!(scrapes <= SETTINGS_EVERY, "{scrapes}");
        assert_eq!(machine.names(&mut names), listed(after, true));
    }
    fs::rename(machine.path("a"), machine.root.path().join("elsewhere")).unwrap();
    machine.put("a/u", "5");
    machine.settle();
    assert_eq!(machine.names(&mut names), listed("u", false), "the directory is another");
}

#[test]
fn directories_of_one_scrape_are_not_all_listed_again_in_the_same_scrape() {
    let devices: Vec<_> = (0..64).map(|n| format!("{n:02}/old")).collect();
    let files: Vec<_> = devices.iter().map(|file| (&**file, "1")).collect();
    let mut machine = Machine::new(100, &files);
    let scrape = |machine: &mut Machine| {
        let entries = machine.folder.list().unwrap();
        let news = entries.filter(|entry| {
            let dir = entry.dir().unwrap().unwrap();
            dir.kept_list(&mut Arc::default()).unwrap().any(|entry| entry.bytes() == b"new")
        });
        news.count()
    };
    assert_eq!(scrape(&mut machine), 0);
    for device in 0..64 {
        machine.put(&format!("{device:02}/new"), "2");
    }
    machine.settle();
    let mut before = 0;
    for _ in 0..SETTINGS_EVERY {
        let found = scrape(&mut machine);
        assert!(found - before < 32, "{before} {found}");
        before = found;
    }
    assert_eq!(before, 64);
}

#[test]
fn the_names_in_the_folder_itself_are_kept() {
    let mut machine = Machine::new(0, &[("x", "1")]);
    let scrape = |machine: &mut Machine| {
        let (_, entries) = machine.folder.kept_list().unwrap();
        let value = |entry: Entry<'_>| entry.text().unwrap().unwrap().to_owned();
        entries.map(|entry| format!("{}={}", entry.name(), value(entry))).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        assert_eq!(scrape(&mut machine), ["x=1"]);
    }
    let (names, _) = machine.folder.kept_list().unwrap();
    let names = Arc::clone(names);
    assert!(Arc::ptr_eq(&names, machine.folder.kept_list().unwrap().0), "they are the same");
    machine.put("y", "2");
    assert_eq!(scrape(&mut machine), ["x=1", "y=2"]);
    machine.settle();
    machine.put("z", "3");
    machine.settle();
    let found = (0..=SETTINGS_EVERY).find(|_| scrape(&mut machine).len() == 3);
    assert!(found.is_some(), "a change that no time tells of shows some scrapes later");
    fs::remove_dir_all(machine.path("")).unwrap();
    assert!(machine.folder.kept_list().is_err_and(|error| error.is_absent()));
    machine.put("w", "4");
    machine.settle();
    assert_eq!(scrape(&mut machine), ["w=4"]);
    let mut plain = Tree::new(machine.root.path()).folder("class");
    assert_eq!(plain.kept_list().unwrap().1.count(), 1);
    machine.put("v", "5");
    assert_eq!(plain.kept_list().unwrap().1.count(), 2, "listed each time");
}
