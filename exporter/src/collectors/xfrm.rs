//! Packets that transformation (IP security) did not let pass, from `/proc/net/xfrm_stat`.
//!
//! A name and a number a line (`net/xfrm/xfrm_proc.c`); the file is absent where the kernel has
//! no `CONFIG_XFRM_STATISTICS`. Newer kernels have names that are not exposed, older ones lack
//! some, which are then 0.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "xfrm",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Xfrm(host.proc.file("net/xfrm_stat")))),
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
        let values = self.0.parse(parse)?;
        for ((_, metric), value) in COUNTERS.iter().zip(values) {
            out.put(metric, [], value);
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<[i64; COUNTERS.len()], Malformed> {
    let mut values = [0; COUNTERS.len()];
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let name = words.word("name")?;
        let value = words.number("value")?;
        if words.next().is_some() {
            return Err(Malformed::new("line", line));
        }
        let known = COUNTERS.iter().zip(&mut values).find(|((key, _), _)| *key == name);
        if let Some((_, known)) = known {
            *known = value;
        }
    }
    Ok(values)
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
    fn refuses_what_is_not_a_name_and_a_number() {
        assert_eq!(malformed(parse("\n")), "bad name: \"\"");
        assert_eq!(malformed(parse("XfrmInError")), "bad value: \"\"");
        assert_eq!(malformed(parse("XfrmInError x")), "bad value: \"x\"");
        assert_eq!(malformed(parse("XfrmInError 1 2")), "bad line: \"XfrmInError 1 2\"");
        assert!(Machine::new().collect(&SPEC, &[]).1.unwrap_err().is_absent());
    }
}
