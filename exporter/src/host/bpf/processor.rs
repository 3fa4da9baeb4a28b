//! The processors that the programs are for.
//!
//! The objects have the byte order of little-endian processors, and their programs keep the
//! kernel's addresses and counts in words of 64 bits. The layout of the processors' times is known
//! of x86-64 alone. Elsewhere the kernel is not asked to load anything: netlink and /proc serve.

use super::{Error, report::SUBJECTS};

/// The properties of a processor that programs depend on.
#[derive(Clone, Copy, Debug)]
pub struct Processor {
    /// The name of its architecture in Rust.
    pub arch: &'static str,
    /// Whether the least byte of a number comes first.
    pub is_little_endian: bool,
    /// The width of an address.
    pub bits: u32,
}

/// The programs of a subject, and whether a processor has them.
#[derive(Debug)]
pub struct Offer {
    /// The subject, as in `node_bpf_resyncs_total`.
    pub subject: &'static str,
    /// The name of the object file in `exporter-ebpf/prebuilt`.
    pub object: &'static str,
    /// The reason why they are not for this processor.
    pub refused: Option<Error>,
}

impl Processor {
    /// The processor that this program is built for.
    pub const OWN: Self = Self {
        arch: std::env::consts::ARCH,
        is_little_endian: cfg!(target_endian = "little"),
        bits: usize::BITS,
    };

    /// The programs of all subjects.
    #[must_use]
    pub fn offers(self) -> [Offer; SUBJECTS.len()] {
        SUBJECTS.map(|(subject, plan)| Offer {
            subject,
            object: plan.name,
            refused: self.admits(subject).err(),
        })
    }

    /// Whether the programs of a subject are for this processor.
    ///
    /// # Errors
    /// The reason why they are not.
    pub(super) fn admits(self, subject: &str) -> Result<(), Error> {
        let Self { arch, is_little_endian, bits } = self;
        if !is_little_endian {
            return Err(Error::BigEndian(arch));
        }
        if bits != 64 {
            return Err(Error::Narrow { arch, bits });
        }
        if subject == "cpu" && arch != "x86_64" {
            return Err(Error::Untried(arch));
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "reads the project")]
mod tests {
    use super::*;
    use crate::{
        host::{
            bpf::{Bpf, Places, Sizes},
            tree::Tree,
        },
        testing::Machine,
    };

    const FOREIGN: [(Processor, &str); 2] = [
        (
            Processor { arch: "s390x", is_little_endian: false, bits: 64 },
            "the programs are for little-endian processors, and s390x is big-endian",
        ),
        (
            Processor { arch: "arm", is_little_endian: true, bits: 32 },
            "the programs are for processors of 64 bits, and arm has 32",
        ),
    ];

    #[test]
    fn a_foreign_processor_is_a_reason_of_its_own() {
        let machine = Machine::new().with("kernel/btf/vmlinux", "no types");
        let tree = Tree::new(machine.path());
        for (processor, reason) in FOREIGN {
            let places = Places { processor, ..Places::new(&tree, &tree, &tree) };
            let bpf = Bpf::with(Some(places), Sizes::default());
            bpf.keep(|_| Ok(())).unwrap();
            assert!(bpf.loader().is_none(), "nobody is to load");
            let reasons = [
                bpf.neighbours().err(),
                bpf.cpu(true).err(),
                bpf.interrupts().err(),
                bpf.tasks(|_| panic!("there are none")).err(),
            ];
            for told in reasons {
                assert_eq!(told.map(ToString::to_string).as_deref(), Some(reason));
            }
        }
    }

    #[test]
    fn one_subject_may_be_refused_alone() {
        let told = |arch| {
            let processor = Processor { arch, is_little_endian: true, bits: 64 };
            processor.offers().map(|offer| offer.refused.map(|error| error.to_string()))
        };
        assert_eq!(told("x86_64"), [const { None }; 4]);
        assert_eq!(told("aarch64"), [None, Some("not tried on aarch64".into()), None, None]);
    }

    #[test]
    fn objects_bear_the_names_of_their_files() {
        for (_, plan) in SUBJECTS {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../exporter-ebpf/prebuilt");
            let file = format!("{folder}/{}.o", plan.name);
            assert!(std::fs::read(&file).unwrap() == plan.object, "{file}");
        }
    }
}
