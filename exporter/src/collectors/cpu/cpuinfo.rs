//! `/proc/cpuinfo`, which each architecture writes in its own way (`arch/*/kernel`).

use crate::{
    parse::{decimal, number},
    prelude::*,
};

/// One processor; an attribute that the kernel does not write is empty.
#[derive(Clone, Debug, PartialEq)]
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
    /// 0 where the kernel has no such line, `None` where the frequency is unknown or malformed.
    pub mhz: Option<f64>,
    /// Names of flags with spaces between them.
    pub flags: &'a str,
    /// Names of bugs with spaces between them.
    pub bugs: &'a str,
}

impl Info<'_> {
    /// A processor without attributes.
    const NONE: Self = Self {
        processor: 0,
        package: "",
        core: "",
        vendor: "",
        family: "",
        model: "",
        model_name: "",
        microcode: "",
        stepping: "",
        cache_size: "",
        mhz: Some(0.0),
        flags: "",
        bugs: "",
    };
}

/// The architectures with a form of the file that this module can read.
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
    /// The architecture that this program is built for.
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
}

/// The processors in the order of the file, and the first fault in it.
pub(super) fn parse(arch: Option<Arch>, text: &str) -> (Vec<Info<'_>>, Result<(), Malformed>) {
    let Some(arch) = arch else {
        let what = "cpuinfo: its form on this architecture is not known";
        return (Vec::new(), Err(Malformed::new(what, "")));
    };
    let mut faults = Faults::default();
    let infos = if arch == Arch::S390x {
        s390x(text, &mut faults)
    } else {
        listed(arch, text, &mut faults)
    };
    if infos.is_empty() {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        faults.keep::<()>(Err(Malformed::new("list of processors", first)));
    }
    (infos, faults.end())
}

/// All architectures but s390x: a processor's lines follow its number. Lines below a malformed
/// number are left out up to the next number.
fn listed<'a>(arch: Arch, text: &'a str, faults: &mut Faults<Malformed>) -> Vec<Info<'a>> {
    let mut infos: Vec<Info<'_>> = Vec::new();
    let mut common = Info::NONE;
    let mut features = "";
    let mut is_known = true;
    for (line, key, value) in pairs(text) {
        match (arch, key) {
            (_, "processor") => {
                let processor = number("processor", value).map_err(|error| error.in_line(line));
                let processor = faults.keep(processor);
                is_known = processor.is_some();
                if let Some(processor) = processor
                    && infos.last().is_none_or(|last| last.processor != processor)
                {
                    infos.push(Info { processor, ..common.clone() });
                }
            }
            (Arch::Mips | Arch::Loong, "system type") => common.vendor = value,
            (Arch::Arm, "Processor") if infos.is_empty() => common.model_name = value,
            // With a single processor, old kernels do not write its number.
            (Arch::Arm, "BogoMIPS") if infos.is_empty() => infos.push(common.clone()),
            (Arch::Arm, "Features") => features = value,
            _ if is_known => {
                if let Some(info) = infos.last_mut() {
                    let described = describe(arch, key, value, info);
                    faults.keep(described.map_err(|error| error.in_line(line)));
                }
            }
            _ => {}
        }
    }
    if arch == Arch::Arm {
        for info in &mut infos {
            info.flags = features;
        }
    }
    infos
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
            info.mhz = None;
            // The kernel writes `Unknown` where it knows no clock of the processor.
            if value != "Unknown" {
                info.mhz = Some(decimal("cpu MHz", value)?);
            }
            return Ok(());
        }
        (Arch::Ppc, "clock") => {
            info.mhz = None;
            info.mhz = Some(clock(value)?);
            return Ok(());
        }
        _ => return Ok(()),
    };
    *slot = value;
    Ok(())
}

/// s390x first lists all processors, then describes each after its `cpu number`, in the same order.
/// The vendor and the features stand in the list and hold for all processors.
fn s390x<'a>(text: &'a str, faults: &mut Faults<Malformed>) -> Vec<Info<'a>> {
    let mut infos: Vec<Option<Info<'_>>> = Vec::new();
    let mut common = Info::NONE;
    let mut described = 0_usize;
    for (number_of_line, line) in (1..).zip(text.lines()).filter(|(_, line)| line.contains(':')) {
        let mut keep = |error: Malformed| {
            faults.keep::<()>(Err(error.in_line(number_of_line)));
        };
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
                let processor = number("processor", id).map_err(&mut keep).ok();
                infos.push(processor.map(|processor| Info { processor, ..common.clone() }));
            }
            continue;
        };
        let Some(Some(info)) = infos.get_mut(i) else { continue };
        match key {
            "cpu MHz dynamic" => info.mhz = clock(value).map_err(&mut keep).ok(),
            "physical id" => info.package = value,
            "core id" => info.core = value,
            _ => {}
        }
    }
    infos.into_iter().flatten().collect()
}

/// The first number of a text such as `1000.000000MHz`.
fn clock(value: &str) -> Result<f64, Malformed> {
    let is_other = |c: char| !c.is_ascii_digit() && c != '.';
    let digits = value.split(is_other).find(|part| !part.is_empty()).unwrap_or_default();
    decimal("clock", digits)
}

/// Each line's number, key and value.
fn pairs(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    (1..).zip(text.lines()).filter_map(|(number, line)| {
        let (key, value) = pair(line)?;
        Some((number, key, value))
    })
}

/// A line's key and value; a line that ends with its colon has none.
fn pair(line: &str) -> Option<(&str, &str)> {
    line.split_once(": ").map(|(key, value)| (key.trim(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(arch: Arch, text: &str) -> Vec<Info<'_>> {
        let (infos, result) = parse(Some(arch), text);
        result.unwrap();
        infos
    }

    #[test]
    fn x86() {
        let text = "\nprocessor\t: 0\nvendor_id\t: A\nphysical id\t: 1\ncpu MHz\t\t: 2.5\nflags\t\t: x y\n\
                    power management:\n\nprocessor\t: 7\ncore id\t\t: 3\nmicrocode\t:\nnovel\n";
        let infos = good(Arch::X86, text);
        let first = Info { vendor: "A", package: "1", mhz: Some(2.5), flags: "x y", ..Info::NONE };
        assert_eq!(infos, [first, Info { processor: 7, core: "3", ..Info::NONE }]);
    }

    #[test]
    fn arm() {
        let text = "processor\t: 0\nmodel name\t: v7\nFeatures\t: a b\n\nprocessor\t: 1\nFeatures\t: a c\n";
        let infos = good(Arch::Arm, text);
        assert_eq!((infos[0].model_name, infos[0].flags, infos[1].flags), ("v7", "a c", "a c"));

        let text = "Processor\t: ARM926 rev 5\nBogoMIPS\t: 131.4\nFeatures\t: swp half\n";
        let only = Info { model_name: "ARM926 rev 5", flags: "swp half", ..Info::NONE };
        assert_eq!(good(Arch::Arm, text), [only]);

        let text =
            "Processor\t: v7\nprocessor\t: 0\nBogoMIPS\t: 1\nprocessor\t: 1\nBogoMIPS\t: 1\n";
        let infos = good(Arch::Arm, text);
        assert_eq!((infos.len(), infos[1].processor, infos[1].model_name), (2, 1, "v7"));
    }

    #[test]
    fn s390x_lists_processors_before_it_describes_them() {
        let text = "vendor_id       : IBM/S390\nfeatures\t: esan3 zarch\n\
                    processor 0: version = FF,  identification = 2\n\
                    processor 4: version = FF,  identification = 2\n\n\
                    cpu number      : 0\nphysical id     : 2\ncpu MHz dynamic : 5000\n\n\
                    cpu number      : 4\ncore id         : 9\ncpu number      : 5\ncore id : 1\n";
        let infos = good(Arch::S390x, text);
        let common = Info { vendor: "IBM/S390", flags: "esan3 zarch", ..Info::NONE };
        assert_eq!(
            infos,
            [
                Info { package: "2", mhz: Some(5000.0), ..common.clone() },
                Info { processor: 4, core: "9", ..common }
            ]
        );
    }

    #[test]
    fn others() {
        let one = |arch, text| good(arch, text).remove(0);
        let ppc = one(Arch::Ppc, "processor\t: 0\ncpu\t\t: POWER7\nclock\t\t: 3000.5MHz\n");
        assert_eq!(ppc, Info { vendor: "POWER7", mhz: Some(3000.5), ..Info::NONE });
        let riscv = one(Arch::RiscV, "processor\t: 0\nhart\t\t: 4\nisa\t\t: rv64imac\n");
        assert_eq!(riscv, Info { core: "4", model_name: "rv64imac", ..Info::NONE });
        let mips =
            one(Arch::Mips, "system type\t: U\nmachine\t: R\nprocessor\t: 0\ncpu model\t: V4\n");
        assert_eq!(mips, Info { vendor: "U", model_name: "V4", ..Info::NONE });
        let loong = one(
            Arch::Loong,
            "system type\t: G\n\nprocessor\t: 0\nCPU Family\t: 64bit\nModel Name\t: 3A\n",
        );
        assert_eq!(loong, Info { vendor: "G", family: "64bit", model_name: "3A", ..Info::NONE });
    }

    #[test]
    fn a_malformed_line_costs_itself_alone() {
        let error = |arch, text| parse(Some(arch), text).1.unwrap_err().to_string();
        assert_eq!(error(Arch::X86, ""), "bad list of processors: \"\"");
        assert_eq!(error(Arch::Ppc, "\nprocessor:"), "bad list of processors: \"processor:\"");
        assert_eq!(error(Arch::Ppc, "processor : 0\nclock : fast"), "bad clock: \"\"");
        assert_eq!(error(Arch::S390x, "vendor_id : I\nprocessor x: 1"), "bad processor: \"x\"");
        assert!(parse(None, "processor : 0").1.is_err());

        let text = "odd\nprocessor : 0\nmodel : 1\ncpu MHz : y\nprocessor : x\nmodel : 2\n\
                    processor : 2\ncpu MHz : Unknown\nmodel : 3\n";
        let (infos, result) = parse(Some(Arch::X86), text);
        assert_eq!(result, Err(Malformed::new("cpu MHz", "y").in_line(4)));
        let seen: Vec<_> = infos.iter().map(|i| (i.processor, i.model, i.mhz)).collect();
        assert_eq!(seen, [(0, "1", None), (2, "3", None)]);

        let text = "processor x: 1\nprocessor 1: 1\ncpu number : 0\ncore id : 5\n\
                    cpu number : 1\ncpu MHz dynamic : fast\ncore id : 6\n";
        let (infos, result) = parse(Some(Arch::S390x), text);
        assert_eq!(result, Err(Malformed::new("processor", "x").in_line(1)));
        let seen: Vec<_> = infos.iter().map(|i| (i.processor, i.core, i.mhz)).collect();
        assert_eq!(seen, [(1, "6", None)]);
    }
}
