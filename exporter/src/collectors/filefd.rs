//! Open files of the whole machine, from `/proc/sys/fs/file-nr`.
//!
//! One line with three numbers between tabs (`Documentation/admin-guide/sysctl/fs.rst`): handles
//! in use, handles allocated but free (0 since Linux 2.6), and the most there may be.

use crate::{parse::number, prelude::*};

pub const SPEC: Spec = Spec {
    name: "filefd",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(FileFd(host.proc.single_file("sys/fs/file-nr")))),
};

static ALLOCATED: Metric = gauge("node_filefd_allocated", "File descriptor statistics: allocated.");
static MAXIMUM: Metric = gauge("node_filefd_maximum", "File descriptor statistics: maximum.");

struct FileFd(SingleFile);

impl Collector for FileFd {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let [allocated, maximum] = self.0.parse(parse)?;
        out.put(&ALLOCATED, [], allocated);
        out.put(&MAXIMUM, [], maximum);
        Ok(())
    }
}

fn parse(text: &str) -> Result<[u64; 2], Malformed> {
    let mut parts = text.trim().split('\t');
    let (Some(allocated), Some(_free), Some(maximum)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::new("three numbers", text.trim()));
    };
    Ok([number("allocated", allocated)?, number("maximum", maximum)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn refuses_what_is_not_three_numbers() {
        assert_eq!(parse("1\t0\t9223372036854775807\n"), Ok([1, 9_223_372_036_854_775_807]));
        assert_eq!(malformed(parse("")), "bad three numbers: \"\"");
        assert_eq!(malformed(parse("1 0 2\n")), "bad three numbers: \"1 0 2\"");
        assert_eq!(malformed(parse("x\t0\t2\n")), "bad allocated: \"x\"");
        assert_eq!(
            malformed(parse("1\t0\t18446744073709551616\n")),
            "bad maximum: \"18446744073709551616\""
        );
    }

    #[test]
    fn names_the_file() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert_eq!(text, "");
        assert!(result.unwrap_err().to_string().contains("proc/sys/fs/file-nr: "));
    }
}
