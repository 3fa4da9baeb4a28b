//! `/proc/cpuinfo`, which each architecture writes in its own way (`arch/*/kernel`).

use crate::{parse::number, prelude::*};

/// What is known of one processor; empty where the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Info<'a> {
    pub processor: u32,
    pub package: &'a str,
    pub core: &'a str,
    pub vendor: &'a str,
    pub family: &'a str,
    pub model: &'a str,
    pub model_name: &'a str,
    pub microcode: &'a str,
    pub stepping: &'a str,
    pub cache_size: &'a str,
    pub mhz: f64,
    /// Words.
    pub flags: &'a str,
    /// Words.
    pub bugs: &'a str,
}

/// An architecture whose form is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    X86,
    Arm,
    S390x,
    Mips,
    Loong,
    Ppc,
    RiscV,
}

impl Arch {
    /// The one this program is built for.
    pub const HERE: Option<Self> = if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        Some(Self::X86)
    } else if cfg!(any(target_arch = "arm", target_arch = "aarch64")) {
        Some(Self::Arm)
    } else if cfg!(target_arch = "s390x") {
        Some(Self::S390x)
    } else if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        Some(Self::Mips)
    } else if cfg!(target_arch = "loongarch64") {
        Some(Self::Loong)
    } else if cfg!(target_arch = "powerpc64") {
        Some(Self::Ppc)
    } else if cfg!(target_arch = "riscv64") {
        Some(Self::RiscV)
    } else {
        None
    };

    /// What the first line must begin with.
    const fn opening(self) -> &'static [&'static str] {
        match self {
            Self::X86 | Self::Ppc | Self::RiscV => &["processor"],
            Self::Arm => &["processor", "Processor"],
            Self::S390x => &["vendor_id"],
            Self::Mips | Self::Loong => &["system type"],
        }
    }
}

/// The processors in the order of the file.
pub(super) fn parse(arch: Option<Arch>, text: &str) -> Result<Vec<Info<'_>>, Malformed> {
    let Some(arch) = arch else {
        return Err(Malformed::new("cpuinfo: its form on this architecture is not known", ""));
    };
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if !arch.opening().iter().any(|word| first.starts_with(word)) || !first.contains(": ") {
        return Err(Malformed::new("first line of cpuinfo", first));
    }
    if arch == Arch::S390x { s390x(text) } else { listed(arch, text) }
}

/// All but s390x: a processor's lines follow its number.
fn listed(arch: Arch, text: &str) -> Result<Vec<Info<'_>>, Malformed> {
    let mut infos = Vec::new();
    let mut common = Info::default();
    let mut features = "";
    for (key, value) in pairs(text) {
        match (arch, key) {
            (_, "processor") => {
                infos.push(Info { processor: number("processor", value)?, ..common.clone() });
            }
            (Arch::Mips | Arch::Loong, "system type") => common.vendor = value,
            (Arch::Arm, "Processor") if infos.is_empty() => common.model_name = value,
            // Old kernels do not number the only processor.
            (Arch::Arm, "BogoMIPS") if infos.is_empty() => infos.push(common.clone()),
            (Arch::Arm, "Features") => features = value,
            _ => {
                if let Some(info) = infos.last_mut() {
                    describe(arch, key, value, info)?;
                }
            }
        }
    }
    if arch == Arch::Arm {
        for info in &mut infos {
            info.flags = features;
        }
    }
    Ok(infos)
}

fn describe<'a>(
    arch: Arch,
    key: &str,
    value: &'a str,
    info: &mut Info<'a>,
) -> Result<(), Malformed> {
    let slot = match (arch, key) {
        (Arch::X86, "vendor" | "vendor_id") | (Arch::Ppc, "cpu") => &mut info.vendor,
        (Arch::X86, "cpu family") | (Arch::Loong, "CPU Family") => &mut info.family,
        (Arch::X86, "model") => &mut info.model,
        (Arch::X86 | Arch::Arm, "model name")
        | (Arch::Mips, "cpu model")
        | (Arch::Loong, "Model Name")
        | (Arch::RiscV, "isa") => &mut info.model_name,
        (Arch::X86, "stepping") => &mut info.stepping,
        (Arch::X86, "microcode") => &mut info.microcode,
        (Arch::X86, "cache size") => &mut info.cache_size,
        (Arch::X86, "physical id") => &mut info.package,
        (Arch::X86, "core id") | (Arch::RiscV, "hart") => &mut info.core,
        (Arch::X86, "flags") => &mut info.flags,
        (Arch::X86, "bugs") => &mut info.bugs,
        (Arch::X86, "cpu MHz") => {
            info.mhz = number("cpu MHz", value)?;
            return Ok(());
        }
        (Arch::Ppc, "clock") => {
            info.mhz = clock(value)?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    *slot = value;
    Ok(())
}

/// s390x first lists all processors, then describes each after its `cpu number`, in the same
/// order; what the list says is common to all.
fn s390x(text: &str) -> Result<Vec<Info<'_>>, Malformed> {
    let mut infos = Vec::new();
    let mut common = Info::default();
    let mut described = 0_usize;
    for line in text.lines().filter(|line| line.contains(':')) {
        if line.starts_with("cpu number") {
            described += 1;
            continue;
        }
        let (key, value) = pair(line).unwrap_or_default();
        let Some(i) = described.checked_sub(1) else {
            match key {
                "vendor_id" => common.vendor = value,
                "features" => common.flags = value,
                _ => {}
            }
            if let Some(rest) = line.strip_prefix("processor") {
                let id = rest.split_once(':').map_or("", |(id, _)| id.trim_start());
                infos.push(Info { processor: number("processor", id)?, ..common.clone() });
            }
            continue;
        };
        let Some(info) = infos.get_mut(i) else { continue };
        match key {
            "cpu MHz dynamic" => info.mhz = clock(value)?,
            "physical id" => info.package = value,
            "core id" => info.core = value,
            _ => {}
        }
    }
    Ok(infos)
}

/// The first number in, for example, `1000.000000MHz`.
fn clock(value: &str) -> Result<f64, Malformed> {
    let is_other = |c: char| !c.is_ascii_digit() && c != '.';
    let digits = value.split(is_other).find(|part| !part.is_empty()).unwrap_or_default();
    number("clock", digits)
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(pair)
}

/// A line's key and value; a line that ends with its colon has none.
fn pair(line: &str) -> Option<(&str, &str)> {
    line.split_once(": ").map(|(key, value)| (key.trim(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn x86() {
        let text = "\nprocessor\t: 0\nvendor_id\t: A\nphysical id\t: 1\ncpu MHz\t\t: 2.5\nflags\t\t: x y\n\
                    power management:\n\nprocessor\t: 7\ncore id\t\t: 3\nmicrocode\t:\nnovel\n";
        let infos = parse(Some(Arch::X86), text).unwrap();
        let first = Info { vendor: "A", package: "1", mhz: 2.5, flags: "x y", ..Info::default() };
        assert_eq!(infos, [first, Info { processor: 7, core: "3", ..Info::default() }]);
    }

    #[test]
    fn arm() {
        let text = "processor\t: 0\nmodel name\t: v7\nFeatures\t: a b\n\nprocessor\t: 1\nFeatures\t: a c\n";
        let infos = parse(Some(Arch::Arm), text).unwrap();
        assert_eq!((infos[0].model_name, infos[0].flags, infos[1].flags), ("v7", "a c", "a c"));

        let text = "Processor\t: ARM926 rev 5\nBogoMIPS\t: 131.4\nFeatures\t: swp half\n";
        let only = Info { model_name: "ARM926 rev 5", flags: "swp half", ..Info::default() };
        assert_eq!(parse(Some(Arch::Arm), text), Ok(vec![only]));

        let text =
            "Processor\t: v7\nprocessor\t: 0\nBogoMIPS\t: 1\nprocessor\t: 1\nBogoMIPS\t: 1\n";
        let infos = parse(Some(Arch::Arm), text).unwrap();
        assert_eq!((infos.len(), infos[1].processor, infos[1].model_name), (2, 1, "v7"));
    }

    #[test]
    fn s390x_describes_after_it_lists() {
        let text = "vendor_id       : IBM/S390\nfeatures\t: esan3 zarch\n\
                    processor 0: version = FF,  identification = 2\n\
                    processor 4: version = FF,  identification = 2\n\n\
                    cpu number      : 0\nphysical id     : 2\ncpu MHz dynamic : 5000\n\n\
                    cpu number      : 4\ncore id         : 9\ncpu number      : 5\ncore id : 1\n";
        let infos = parse(Some(Arch::S390x), text).unwrap();
        let common = Info { vendor: "IBM/S390", flags: "esan3 zarch", ..Info::default() };
        assert_eq!(
            infos,
            [
                Info { package: "2", mhz: 5000.0, ..common.clone() },
                Info { processor: 4, core: "9", ..common }
            ]
        );
    }

    #[test]
    fn others() {
        let one = |arch, text| parse(Some(arch), text).unwrap().remove(0);
        let ppc = one(Arch::Ppc, "processor\t: 0\ncpu\t\t: POWER7\nclock\t\t: 3000.5MHz\n");
        assert_eq!(ppc, Info { vendor: "POWER7", mhz: 3000.5, ..Info::default() });
        let riscv = one(Arch::RiscV, "processor\t: 0\nhart\t\t: 4\nisa\t\t: rv64imac\n");
        assert_eq!(riscv, Info { core: "4", model_name: "rv64imac", ..Info::default() });
        let mips =
            one(Arch::Mips, "system type\t: U\nmachine\t: R\nprocessor\t: 0\ncpu model\t: V4\n");
        assert_eq!(mips, Info { vendor: "U", model_name: "V4", ..Info::default() });
        let loong = one(
            Arch::Loong,
            "system type\t: G\n\nprocessor\t: 0\nCPU Family\t: 64bit\nModel Name\t: 3A\n",
        );
        assert_eq!(
            loong,
            Info { vendor: "G", family: "64bit", model_name: "3A", ..Info::default() }
        );
    }

    #[test]
    fn refuses_what_is_no_cpuinfo() {
        let error = |arch, text| malformed(parse(Some(arch), text));
        assert_eq!(error(Arch::X86, ""), "bad first line of cpuinfo: \"\"");
        assert_eq!(
            error(Arch::X86, "vendor_id : x"),
            "bad first line of cpuinfo: \"vendor_id : x\""
        );
        assert_eq!(error(Arch::Ppc, "processor:"), "bad first line of cpuinfo: \"processor:\"");
        assert_eq!(error(Arch::X86, "processor : x"), "bad processor: \"x\"");
        assert_eq!(error(Arch::X86, "processor : 0\ncpu MHz : y"), "bad cpu MHz: \"y\"");
        assert_eq!(error(Arch::Ppc, "processor : 0\nclock : fast"), "bad clock: \"\"");
        assert_eq!(error(Arch::S390x, "vendor_id : I\nprocessor x: 1"), "bad processor: \"x\"");
        assert!(parse(None, "processor : 0").is_err());
    }
}
