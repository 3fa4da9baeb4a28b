//! Vulnerabilities of the processors, from `/sys/devices/system/cpu/vulnerabilities`.
//!
//! Each vulnerability has a file with a state and details
//! (`Documentation/ABI/testing/sysfs-devices-system-cpu`). A text that begins with no known state,
//! such as `KVM: Mitigation: …`, has the state `unknown` and is all details.

use crate::{exposition::Spaced, prelude::*};

pub const SPEC: Spec = Spec {
    name: "cpu_vulnerabilities",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(CpuVulnerabilities(host.sys.folder("devices/system/cpu/vulnerabilities"))))
    },
};

static INFO: Metric<3> = gauge(
    "node_cpu_vulnerabilities_info",
    "Details of each CPU vulnerability reported by sysfs. The value of the series is an int encoded state of the vulnerability. The same state is stored as a string in the label",
)
.by(["codename", "mitigation", "state"]);

struct CpuVulnerabilities(Folder);

impl Collector for CpuVulnerabilities {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Some(entries) = self.0.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        for entry in entries {
            let Some(text) = faults.read(entry.text()) else { continue };
            let (state, details) = parse(&text);
            out.put(&INFO, [&entry.bytes(), &Spaced(details), &state], true);
        }
        faults.end()
    }
}

/// State and details. The state may be in any case and runs into the details after its word.
fn parse(text: &str) -> (&'static str, &str) {
    let begins = |state: &str| {
        text.get(..state.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(state))
    };
    if begins("not affected") {
        return ("not affected", "");
    }
    let Some(state) =
        ["vulnerable", "mitigation", "unknown"].into_iter().find(|state| begins(state))
    else {
        return ("unknown", text);
    };
    (state, text.split_once(|c: char| c.is_ascii_whitespace()).map_or("", |(_, details)| details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn states_are_told_from_details() {
        for (text, want) in [
            ("Not affected", ("not affected", "")),
            ("Vulnerable", ("vulnerable", "")),
            ("Vulnerable: Safe RET,  no microcode", ("vulnerable", "Safe RET,  no microcode")),
            ("Mitigation: PTI", ("mitigation", "PTI")),
            ("Unknown: No mitigations", ("unknown", "No mitigations")),
            ("KVM: Mitigation: VMX disabled", ("unknown", "KVM: Mitigation: VMX disabled")),
            ("", ("unknown", "")),
            ("Vulnérable", ("unknown", "Vulnérable")),
        ] {
            assert_eq!(parse(text), want);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_hides_no_other() {
        let file = |name: &str| format!("sys/devices/system/cpu/vulnerabilities/{name}");
        let machine = Machine::new()
            .with(&file("a/is_a_directory"), "")
            .with(&file("b"), b"\xff\n")
            .with(&file("c"), "Not affected\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.ends_with("{codename=\"c\",mitigation=\"\",state=\"not affected\"} 1\n"));
        assert!(result.unwrap_err().to_string().contains("/b: bad text"));
    }

    #[test]
    fn a_kernel_without_vulnerabilities_has_no_series() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
    }
}
