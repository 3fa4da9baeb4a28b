//! Packets that the transformation of IP security dropped, from `/proc/net/xfrm_stat`.
//!
//! Each line has a name and a number (`net/xfrm/xfrm_proc.c`); the file is absent where the kernel
//! has no `CONFIG_XFRM_STATISTICS`. Newer kernels have names that are not exposed; a name that an
//! older kernel lacks is 0.

use crate::{parse::rows, prelude::*};

pub const SPEC: Spec = Spec {
    name: "xfrm",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Xfrm(host.net.file("xfrm_stat")))),
};

macro_rules! counters {
    ($($key:literal $name:literal $help:literal)*) => {
        /// The kernel's names, in the order of its file.
        static COUNTERS: [(&str, Metric); [$($key),*].len()] =
            [$(($key, counter($name, $help))),*];
    };
}

counters! {
    "XfrmInError" "node_xfrm_in_error_packets_total"
        "All errors not matched by other"
    "XfrmInBufferError" "node_xfrm_in_buffer_error_packets_total"
        "No buffer is left"
    "XfrmInHdrError" "node_xfrm_in_hdr_error_packets_total"
        "Header error"
    "XfrmInNoStates" "node_xfrm_in_no_states_packets_total"
        "No state is found i.e. Either inbound SPI, address, or IPsec protocol at SA is wrong"
    "XfrmInStateProtoError" "node_xfrm_in_state_proto_error_packets_total"
        "Transformation protocol specific error e.g. SA key is wrong"
    "XfrmInStateModeError" "node_xfrm_in_state_mode_error_packets_total"
        "Transformation mode specific error"
    "XfrmInStateSeqError" "node_xfrm_in_state_seq_error_packets_total"
        "Sequence error i.e. Sequence number is out of window"
    "XfrmInStateExpired" "node_xfrm_in_state_expired_packets_total"
        "State is expired"
    "XfrmInStateMismatch" "node_xfrm_in_state_mismatch_packets_total"
        "State has mismatch option e.g. UDP encapsulation type is mismatch"
    "XfrmInStateInvalid" "node_xfrm_in_state_invalid_packets_total"
        "State is invalid"
    "XfrmInTmplMismatch" "node_xfrm_in_tmpl_mismatch_packets_total"
        "No matching template for states e.g. Inbound SAs are correct but SP rule is wrong"
    "XfrmInNoPols" "node_xfrm_in_no_pols_packets_total"
        "No policy is found for states e.g. Inbound SAs are correct but no SP is found"
    "XfrmInPolBlock" "node_xfrm_in_pol_block_packets_total"
        "Policy discards"
    "XfrmInPolError" "node_xfrm_in_pol_error_packets_total"
        "Policy error"
    "XfrmOutError" "node_xfrm_out_error_packets_total"
        "All errors which is not matched others"
    "XfrmOutBundleGenError" "node_xfrm_out_bundle_gen_error_packets_total"
        "Bundle generation error"
    "XfrmOutBundleCheckError" "node_xfrm_out_bundle_check_error_packets_total"
        "Bundle check error"
    "XfrmOutNoStates" "node_xfrm_out_no_states_packets_total"
        "No state is found"
    "XfrmOutStateProtoError" "node_xfrm_out_state_proto_error_packets_total"
        "Transformation protocol specific error"
    "XfrmOutStateModeError" "node_xfrm_out_state_mode_error_packets_total"
        "Transformation mode specific error"
    "XfrmOutStateSeqError" "node_xfrm_out_state_seq_error_packets_total"
        "Sequence error i.e. Sequence number overflow"
    "XfrmOutStateExpired" "node_xfrm_out_state_expired_packets_total"
        "State is expired"
    "XfrmOutPolBlock" "node_xfrm_out_pol_block_packets_total"
        "Policy discards"
    "XfrmOutPolDead" "node_xfrm_out_pol_dead_packets_total"
        "Policy is dead"
    "XfrmOutPolError" "node_xfrm_out_pol_error_packets_total"
        "Policy error"
    "XfrmFwdHdrError" "node_xfrm_fwd_hdr_error_packets_total"
        "Forward routing of a packet is not allowed"
    "XfrmOutStateInvalid" "node_xfrm_out_state_invalid_packets_total"
        "State is invalid, perhaps expired"
    "XfrmAcquireError" "node_xfrm_acquire_error_packets_total"
        "State hasn’t been fully acquired before use"
}

struct Xfrm(File);

impl Collector for Xfrm {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse(|text| {
            let mut values = [Some(0.0); COUNTERS.len()];
            let parsed = parse(text, &mut values);
            for ((_, metric), value) in COUNTERS.iter().zip(values) {
                if let Some(value) = value {
                    out.put(metric, [], value);
                }
            }
            parsed
        })
    }
}

/// Puts the values of the file into `values`, which are in the order of [`COUNTERS`]; `None` for a
/// line that is malformed.
fn parse(text: &str, values: &mut [Option<f64>; COUNTERS.len()]) -> Result<(), Malformed> {
    rows(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let known = COUNTERS.iter().zip(&mut *values).find(|((key, _), _)| *key == name);
        let Some((_, value)) = known else { return Ok(()) };
        *value = None;
        let number = words.decimal("value")?;
        if words.next().is_some() {
            return Err(Malformed::new("line", line));
        }
        *value = Some(number);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    #[test]
    fn names_that_are_absent_are_zero_and_new_ones_are_skipped() {
        let machine = Machine::new().with("proc/net/xfrm_stat", "XfrmNew 1\nXfrmAcquireError 7\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("node_xfrm_acquire_error_packets_total 7\n"), "{text}");
        assert!(text.contains("node_xfrm_in_error_packets_total 0\n"), "{text}");
        assert_eq!(sample_lines(&text).count(), COUNTERS.len());
    }

    #[test]
    fn a_line_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/net/xfrm_stat",
            "XfrmNew x\n\nXfrmInError\nXfrmInNoPols x\nXfrmInPolBlock 1 2\nXfrmInPolError -1\n\
             XfrmOutError 18446744073709551616\nXfrmAcquireError 7\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("net/xfrm_stat:3: bad value: \"\""), "{error}");
        assert_eq!(
            sample_lines(&text).filter(|line| !line.ends_with(" 0")).collect::<Vec<_>>(),
            [
                "node_xfrm_acquire_error_packets_total 7",
                "node_xfrm_in_pol_error_packets_total -1",
                "node_xfrm_out_error_packets_total 1.8446744073709552e+19",
            ]
        );
        assert_eq!(sample_lines(&text).count(), COUNTERS.len() - 3);
        let mut values = [None; COUNTERS.len()];
        let two = malformed(parse("XfrmInPolBlock 1 2", &mut values));
        assert_eq!(two, "bad line: \"XfrmInPolBlock 1 2\"");
        assert!(Machine::new().collect(&SPEC, &[]).1.unwrap_err().is_absent());
    }
}
