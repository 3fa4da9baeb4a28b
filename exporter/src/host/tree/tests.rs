use super::*;
use crate::testing::settle;
use std::fs;

#[test]
fn files_are_read_again_in_place_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::new(dir.path());
    let mut file = tree.file("a");
    assert!(!file.exists() && file.read().unwrap_err().is_absent());
    fs::write(dir.path().join("a"), "x".repeat(10_000)).unwrap();
    assert!(file.exists());
    assert_eq!(file.read().unwrap().len(), 10_000);
    fs::write(dir.path().join("a"), "short").unwrap();
    assert_eq!(file.read().unwrap(), "short");
    fs::write(dir.path().join("a"), b"not \xff text").unwrap();
    assert!(file.read().unwrap_err().to_string().ends_with("/a: bad text: \"\u{fffd} text\""));
}

#[test]
fn lines_are_read_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = Tree::new(dir.path()).file("a");
    assert!(file.lines(4096, |_| Ok(())).unwrap_err().is_absent());
    let lines: Vec<String> = (0..2_000).map(|n| "x".repeat(n % 23) + "y").collect();
    for content in [lines.join("\n"), lines.join("\n") + "\n"] {
        fs::write(dir.path().join("a"), content).unwrap();
        let mut seen = Vec::new();
        file.lines(4096, |line| {
            seen.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert!(seen == lines);
        assert!(file.bytes.len() < 10_000, "not the whole file");
    }
    fs::write(dir.path().join("a"), "x".repeat(20_000)).unwrap();
    let mut seen = 0;
    file.lines(4096, |line| {
        seen = line.len();
        Err(Malformed::new("line", "x"))
    })
    .unwrap_err();
    assert_eq!(seen, 20_000);
    fs::write(dir.path().join("a"), b"1\nx\n\xff\n").unwrap();
    let mut seen = Vec::new();
    let read = file.lines(4096, |line| {
        seen.push(line.to_owned());
        if line == "x" { Err(Malformed::new("line", line)) } else { Ok(()) }
    });
    assert_eq!(seen, ["1", "x", "\u{fffd}"], "reading goes on after odd lines");
    assert!(read.unwrap_err().to_string().ends_with("/a:2: bad line: \"x\""));
}

#[test]
fn numbers_have_white_space_around_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut file = Tree::new(dir.path()).file("a");
    fs::write(&path, " 12\n").unwrap();
    assert_eq!(file.number::<u64>().unwrap(), 12);
    fs::write(&path, "x\n").unwrap();
    let error = file.number::<u64>().unwrap_err().to_string();
    assert!(error.ends_with("/a: bad number: \"x\""), "{error}");
}

#[test]
fn a_file_that_was_replaced_or_removed_is_not_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let [path, new] = ["a", "new"].map(|name| dir.path().join(name));
    let mut file = Tree::new(dir.path()).file("a");
    let line = |file: &mut File| {
        let mut seen = String::new();
        file.lines(4096, |line| {
            seen.push_str(line);
            Ok(())
        })
        .map(|()| seen)
    };
    for value in ["1", "2", "3"] {
        fs::write(&new, value).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(file.read().unwrap(), value);
        fs::write(&new, format!("{value}0")).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(line(&mut file).unwrap(), format!("{value}0"));
        fs::remove_file(&path).unwrap();
        assert!(file.read().unwrap_err().is_absent());
        assert!(line(&mut file).unwrap_err().is_absent());
    }
}

#[test]
fn a_folder_that_was_replaced_is_listed_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let tree = Tree::new(dir.path()).keeping(Budget::new(10, usize::MAX));
    let names = |list: Result<Vec<String>>| list.unwrap().join(" ");
    for mut folder in [tree.folder("class"), tree.devices("class")] {
        for name in ["a", "b", "c"] {
            fs::create_dir_all(path("new").join(name)).unwrap();
            fs::rename(path("new"), path("class")).unwrap();
            let list = folder.list().map(|list| list.map(|entry| entry.name().into()).collect());
            assert_eq!(names(list), name);
            let list = folder.kept_list();
            assert_eq!(
                names(list.map(|(_, list)| list.map(|it| it.name().into()).collect())),
                name
            );
            fs::rename(path("class"), path(name)).unwrap();
            assert!(folder.list().err().unwrap().is_absent());
        }
        for name in ["a", "b", "c"] {
            fs::remove_dir_all(path(name)).unwrap();
        }
    }
}

#[test]
fn entries_differ_when_a_directory_or_an_entry_of_it_was_replaced() {
    let root = tempfile::tempdir().unwrap();
    let class = root.path().join("class");
    for file in ["a/name", "b/name"] {
        fs::create_dir_all(class.join(file).parent().unwrap()).unwrap();
        fs::write(class.join(file), "").unwrap();
    }
    settle(root.path());
    let mut folder = Tree::new(root.path()).folder("class");
    let mut seen = Seen::default();
    let mut changed = || seen.changed(folder.list().unwrap());
    assert_eq!([changed(), changed()], [true, false]);
    fs::write(class.join("new"), "1").unwrap();
    assert!(!changed(), "it is no directory");
    fs::rename(class.join("new"), class.join("a/name")).unwrap();
    assert_eq!([changed(), changed()], [true, true], "the time may be the same after a change");
    settle(root.path());
    assert_eq!([changed(), changed()], [true, false]);
    fs::rename(class.join("b"), class.join("c")).unwrap();
    fs::create_dir(class.join("b")).unwrap();
    settle(root.path());
    assert_eq!([changed(), changed()], [true, false]);
    fs::remove_dir_all(&class).unwrap();
    fs::create_dir(&class).unwrap();
    assert_eq!([changed(), changed()], [true, false]);
    seen.forget();
    assert!(seen.changed(folder.list().unwrap()));
}

#[test]
fn a_file_in_an_entry_is_read_without_opening_the_entry() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("proc/12/map")).unwrap();
    fs::write(dir.path().join("proc/12/stat"), b"12 (\xff) S").unwrap();
    let mut folder = Tree::new(dir.path()).folder("proc");
    let entry = folder.list().unwrap().next().unwrap();
    let mut room = [0; 7];
    assert_eq!(entry.read_in("stat", &mut room).unwrap(), Some(&b"12 (\xff) "[..]));
    assert_eq!(entry.read_in("absent", &mut room).unwrap(), None);
    let error = entry.read_in("map", &mut room).unwrap_err().to_string();
    assert!(error.contains("/proc/12/map: "), "{error}");
    let error = entry.read_in(&"x".repeat(400), &mut room).unwrap_err().to_string();
    assert!(error.contains("/proc/12/xxx"), "{error}");
    assert_eq!(entry.read_in(&"x".repeat(600), &mut room).unwrap(), None);
}

#[test]
fn folders_list_in_order_and_attributes_are_optional() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::new(dir.path());
    let mut folder = tree.folder("class");
    assert!(folder.list().err().unwrap().is_absent());
    for name in ["b", "a", "c"] {
        fs::create_dir_all(dir.path().join("class").join(name)).unwrap();
        fs::write(dir.path().join("class").join(name).join("value"), " 12\n").unwrap();
    }
    fs::write(dir.path().join("class/file"), "").unwrap();
    fs::write(dir.path().join("class/b/value"), "twelve").unwrap();
    let mut seen = Vec::new();
    for entry in folder.list().unwrap() {
        let Some(dir) = entry.dir().unwrap() else { continue };
        assert!(dir.text("absent").unwrap().is_none());
        seen.push((
            entry.name().into_owned(),
            dir.number::<u64>("value").map_err(|e| e.to_string()),
        ));
    }
    assert_eq!(seen[0], ("a".into(), Ok(Some(12))));
    assert!(seen[1].1.as_ref().unwrap_err().ends_with("/class/b/value: bad number: \"twelve\""));
    assert_eq!(seen[2].0, "c");
    fs::remove_dir_all(dir.path().join("class/a")).unwrap();
    assert_eq!(folder.list().unwrap().count(), 3);
}

#[test]
fn links_are_followed_and_a_directory_made_anew_has_another_inode() {
    let root = tempfile::tempdir().unwrap();
    let device = root.path().join("devices/b.0");
    fs::create_dir_all(device.join("net/eth0")).unwrap();
    fs::create_dir_all(root.path().join("class")).unwrap();
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(to, root.path().join(at)).unwrap();
    };
    link("../devices/b.0/net/eth0", "class/eth0");
    link("gone", "class/eth1");
    link("../..", "devices/b.0/net/eth0/device");
    fs::write(device.join("net/eth0/name"), b" not \xff text\n").unwrap();
    let mut folder = Tree::new(root.path()).folder("class");
    let entries: Vec<_> = folder.list().unwrap().collect();
    assert!(entries[1].inode().is_none() && entries[1].dir().unwrap().is_none());
    let dir = entries[0].dir().unwrap().unwrap();
    assert_eq!(dir.resolve("device"), fs::canonicalize(&device).ok());
    assert_eq!(dir.resolve("gone"), None);
    assert_eq!(entries[0].link().unwrap().unwrap().to_str(), Some("../devices/b.0/net/eth0"));
    assert_eq!(&*dir.bytes("name").unwrap().unwrap(), b" not \xff text\n");
    assert!(dir.text("name").is_err());
    let before = entries[0].inode();
    fs::rename(device.join("net/eth0"), device.join("net/old")).unwrap();
    fs::create_dir(device.join("net/eth0")).unwrap();
    assert_ne!(entries[0].inode(), before);
}

#[test]
fn directories_nest_and_errors_give_the_whole_path() {
    let root = tempfile::tempdir().unwrap();
    let ports = root.path().join("class/mlx0/ports");
    for port in ["2", "1"] {
        fs::create_dir_all(ports.join(port)).unwrap();
        fs::write(ports.join(port).join("state"), format!("{port}: up\n")).unwrap();
    }
    std::os::unix::fs::symlink("../../driver/mlx", ports.join("driver")).unwrap();
    let mut folder = Tree::new(root.path()).folder("class");
    let mut names = Names::default();
    let mut seen = Vec::new();
    for device in folder.list().unwrap() {
        let device = device.dir().unwrap().unwrap();
        assert!(device.dir("absent").unwrap().is_none());
        assert!(device.entry(b"ports").dir().unwrap().is_some());
        let ports = device.dir("ports").unwrap().unwrap();
        let driver = ports.link("driver").unwrap().unwrap();
        assert_eq!(driver.file_name().unwrap(), "mlx");
        assert!(ports.link("1").unwrap().is_none());
        for port in ports.list(&mut names).unwrap() {
            let Some(port) = port.dir().unwrap() else { continue };
            seen.push(port.text("state").unwrap().unwrap().to_owned());
            let error = port.number::<u8>("state").unwrap_err().to_string();
            assert!(error.contains("/class/mlx0/ports/"), "{error}");
        }
    }
    assert_eq!(seen, ["1: up", "2: up"]);
}

#[test]
fn a_file_in_one_piece_may_outgrow_the_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = Tree::new(dir.path()).single_file("a");
    for length in [0, 1, 1023, 1024, 1025, 5000, 70_000, 3] {
        let text: String = ('a'..='z').cycle().take(length).collect();
        fs::write(dir.path().join("a"), &text).unwrap();
        assert!(file.read().unwrap() == text, "{length}");
    }
}

#[test]
fn files_longer_than_an_attribute_are_read_whole() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("long"), "x".repeat(3 * attribute::PAGE)).unwrap();
    fs::write(root.path().join("short"), "y").unwrap();
    let folder = Tree::new(root.path()).folder("");
    let dir = folder.dir().unwrap().unwrap();
    let mut room = Vec::new();
    assert_eq!(dir.whole("long", &mut room).unwrap().unwrap().len(), 3 * attribute::PAGE);
    assert_eq!(dir.whole("short", &mut room).unwrap().unwrap(), b"y");
    assert!(dir.whole("absent", &mut room).unwrap().is_none());
}

#[test]
fn a_folder_replaced_while_it_was_open_is_opened_anew() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("class");
    let mut folder = Tree::new(root.path()).folder("class");
    for name in ["a", "b"] {
        fs::create_dir_all(path.join(name)).unwrap();
        let names: Vec<_> = folder.list().unwrap().map(|entry| entry.name()).collect();
        assert_eq!(names, [name]);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn an_empty_folder_that_is_removed_filled_or_made_anew_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("class");
    let tree = Tree::new(root.path()).keeping(Budget::new(10, 10_000));
    for mut folder in [tree.folder("class"), tree.devices("class")] {
        let mut names = || {
            let entries = folder.list().map(|entries| {
                entries.map(|entry| entry.name().into_owned()).collect::<Vec<_>>().join(" ")
            });
            entries.map_err(|error| error.is_absent())
        };
        let listed = |names: &str| Ok(names.to_owned());
        assert_eq!(names(), Err(true));
        for _ in 0..2 {
            fs::create_dir(&path).unwrap();
            assert_eq!(names(), listed(""));
            assert_eq!(names(), listed(""));
            fs::write(path.join("a"), "").unwrap();
            assert_eq!(names(), listed("a"));
            fs::remove_file(path.join("a")).unwrap();
            assert_eq!(names(), listed(""));
            fs::rename(&path, root.path().join("elsewhere")).unwrap();
            assert_eq!(names(), Err(true));
            fs::create_dir(&path).unwrap();
            assert_eq!(names(), listed(""));
            fs::remove_dir(&path).unwrap();
            fs::create_dir(&path).unwrap();
            fs::write(path.join("b"), "").unwrap();
            assert_eq!(names(), listed("b"));
            fs::remove_dir_all(&path).unwrap();
            assert_eq!(names(), Err(true));
            fs::remove_dir(root.path().join("elsewhere")).unwrap();
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process that the test ends")]
fn the_folders_of_a_process_that_is_gone_are_absent() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let folder = Tree::new("/proc").folder(&child.id().to_string());
    let dir = folder.dir().unwrap().unwrap();
    let task = dir.dir("task").unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel answers each of these questions with ESRCH.
    assert!(dir.dir("task").unwrap().is_none());
    let mut names = Names::default();
    assert!(task.list(&mut names).err().unwrap().is_absent());
}

#[test]
fn attributes_are_read_up_to_a_page() {
    let root = tempfile::tempdir().unwrap();
    let folder = Tree::new(root.path()).folder("");
    for length in [0, 1, 511, 512, 513, 1500, 4095, 4096, 5000] {
        fs::write(root.path().join("a"), "x".repeat(length)).unwrap();
        let dir = folder.dir().unwrap().unwrap();
        assert_eq!(dir.text("a").unwrap().unwrap().len(), length.min(attribute::PAGE), "{length}");
    }
}
