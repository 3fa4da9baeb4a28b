//! Chips: finding them, naming them and reading their files.

use super::{name::cleaned, sensor::Readings};
use crate::{
    error::Result,
    flag::Filter,
    host::{
        crew::Question,
        tree::{Dir, Entry, Folder, Tree},
    },
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// A chip's names, and the question that reads it.
pub(super) struct Name {
    pub(super) inode: u64,
    /// The value of the label `chip`, unique on this machine.
    pub(super) label: String,
    /// The driver's name of the chip, which need not be unique.
    pub(super) driver: Option<String>,
    pub(super) question: Arc<Question<Mutex<Chip>, ()>>,
}

/// A chip's directories and its last readings.
pub(super) struct Chip {
    pub(super) directories: Directories,
    pub(super) readings: Readings,
    /// Whether the directories could be listed.
    pub(super) result: Result,
}

/// The directories with the files of a chip's sensors.
pub(super) struct Directories {
    chip: Folder,
    /// The directory that older drivers use instead.
    device: Option<Folder>,
}

impl Directories {
    /// The path of a file of the chip or of its device.
    pub(super) fn path(&self, file: &str, of_device: bool) -> PathBuf {
        let device = self.device.as_ref().filter(|_| of_device);
        device.unwrap_or(&self.chip).path().join(file)
    }
}

impl Chip {
    /// Reads all sensors.
    pub(super) fn read(&mut self) {
        self.result = self.try_read();
    }

    fn try_read(&mut self) -> Result {
        let Self { directories: Directories { chip, device }, readings, .. } = self;
        readings.clear();
        let (names, files) = chip.kept_list()?;
        let (of_device, listed) = match device.as_mut().map(Folder::kept_list).transpose() {
            Ok(list) => (list, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let (names_of_device, of_device) = of_device.unzip();
        readings.learn([Some(names), names_of_device]);
        readings.read(files, of_device.into_iter().flatten());
        listed
    }
}

/// All chips in the directory `class`, with the sensors that are wanted.
pub(super) fn find<'a>(
    tree: &Tree,
    class: &str,
    entries: impl Iterator<Item = Entry<'a>>,
    wanted: &Filter,
) -> Vec<Name> {
    let mut found = Vec::new();
    for entry in entries {
        let (Some(inode), Ok(Some(dir))) = (entry.inode(), entry.dir()) else { continue };
        let name = dir.bytes("name").ok().flatten();
        let name = String::from_utf8_lossy(name.as_deref().unwrap_or_default()).trim().to_owned();
        let device = dir.resolve("device");
        if let Some(base) = base(&dir, device.as_deref(), &name) {
            let directory = entry.name().into_owned();
            found.push(Found { inode, directory, base, name, has_device: device.is_some() });
        }
    }
    let name = |(found, label): (&Found, String)| {
        let folder = format!("{class}/{}", found.directory);
        let directories = Directories {
            device: found.has_device.then(|| tree.devices(&format!("{folder}/device"))),
            chip: tree.devices(&folder),
        };
        let readings = Readings::new(label.clone(), wanted.clone());
        let chip = Chip { directories, readings, result: Ok(()) };
        Name {
            inode: found.inode,
            label,
            driver: Some(cleaned(&found.name)).filter(|name| !name.is_empty()),
            question: Arc::new(Question::new(Mutex::new(chip))),
        }
    };
    found.iter().zip(labels(&found)).map(name).collect()
}

struct Found {
    inode: u64,
    directory: String,
    base: String,
    name: String,
    has_device: bool,
}

/// A chip's label from the last two parts of its device's path (`pci0000:00/0000:00:18.3`). The
/// label of a chip without a device is the name that its driver gives it or, without such a name,
/// the name of its directory.
fn base(dir: &Dir<'_>, device: Option<&Path>, name: &str) -> Option<String> {
    let part = |path: Option<&Path>| {
        cleaned(&path.and_then(Path::file_name).unwrap_or_default().to_string_lossy())
    };
    match (part(device.and_then(Path::parent)), part(device)) {
        (_, device) if device.is_empty() => {}
        (bus, device) if bus.is_empty() => return Some(device),
        (bus, device) => return Some(format!("{bus}_{device}")),
    }
    let name = cleaned(name);
    if !name.is_empty() {
        return Some(name);
    }
    Some(part(dir.resolve(".").as_deref())).filter(|name| !name.is_empty())
}

/// Makes the labels unique. Where several chips share a device, the driver's name is appended to
/// their labels or, if the chips share that name too, the name of their directory.
fn labels(chips: &[Found]) -> Vec<String> {
    let label = |chip: &Found| {
        let same = || chips.iter().filter(|other| other.base == chip.base);
        if same().count() == 1 {
            return chip.base.clone();
        }
        let mut suffix = cleaned(&chip.name);
        if suffix.is_empty() || same().filter(|other| other.name == chip.name).count() > 1 {
            suffix = cleaned(&chip.directory);
        }
        format!("{}_{suffix}", chip.base)
    };
    chips.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_on_one_device_are_told_apart() {
        let chip = |directory: &str, base: &str, name: &str| Found {
            inode: 0,
            directory: directory.into(),
            base: base.into(),
            name: name.into(),
            has_device: true,
        };
        let chips = [
            chip("hwmon0", "platform_asus", "asus"),
            chip("hwmon1", "platform_asus", "asus-ec"),
            chip("hwmon2", "phy_phy0", "wifi"),
            chip("hwmon3", "phy_phy0", "wifi"),
            chip("hwmon4", "phy_phy0", ""),
            chip("hwmon5", "lone", ""),
        ];
        assert_eq!(
            labels(&chips),
            [
                "platform_asus_asus",
                "platform_asus_asus_ec",
                "phy_phy0_hwmon2",
                "phy_phy0_hwmon3",
                "phy_phy0_hwmon4",
                "lone"
            ]
        );
    }

    #[test]
    fn a_chip_without_device_and_name_is_named_after_its_directory() {
        let root = tempfile::tempdir().unwrap();
        for path in ["class/hwmon/hwmon0", "class/hwmon/hwmon1/device", "class/hwmon/hwmon2"] {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
        }
        std::fs::write(root.path().join("class/hwmon/hwmon2/name"), "k10temp\n").unwrap();
        let tree = Tree::new(root.path());
        let mut class = tree.folder("class/hwmon");
        let chips = find(&tree, "class/hwmon", class.list().unwrap(), &Filter::default());
        let names: Vec<_> =
            chips.iter().map(|name| (name.label.as_str(), name.driver.as_deref())).collect();
        assert_eq!(
            names,
            [("hwmon0", None), ("hwmon1_device", None), ("k10temp", Some("k10temp"))]
        );
    }
}
