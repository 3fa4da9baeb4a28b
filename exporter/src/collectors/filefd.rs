//! Open files of the whole machine, from `/proc/sys/fs/file-nr`.
//!
//! The file has one line with three numbers between tabs
//! (`Documentation/admin-guide/sysctl/fs.rst`): handles in use, handles allocated but free (0
//! since Linux 2.6), and the highest number of handles that the kernel allows.

use crate::{parse::decimal, prelude::*};

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
        self.0.parse(|text| parse(text, |metric, number| out.put(metric, [], number)))
    }
}

fn parse(text: &str, mut put: impl FnMut(&'static Metric, f64)) -> Result<(), Malformed> {
    let line = text.trim_end_matches('\n');
    let mut faults = Faults::default();
    let mut columns = line.split('\t');
    for (metric, column) in
        [(Some(&ALLOCATED), "allocated"), (None, "free"), (Some(&MAXIMUM), "maximum")]
    {
        let Some(word) = faults.keep(columns.next().ok_or_else(|| Malformed::new(column, line)))
        else {
            break;
        };
        let Some(metric) = metric else { continue };
        if let Some(number) = faults.keep(decimal(column, word.trim_ascii())) {
            put(metric, number);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn a_column_that_is_malformed_hides_no_other() {
        let parse = |text| {
            let mut numbers = Vec::new();
            let result = parse(text, |_, number| numbers.push(number));
            (numbers, result.map_err(|error| error.to_string()))
        };
        let wrong = |text: &str| Err(text.to_owned());
        assert_eq!(parse("1\t0\t18446744073709551616\n"), (vec![1.0, 2_f64.powi(64)], Ok(())));
        assert_eq!(parse("-1\tx\t2\n"), (vec![-1.0, 2.0], Ok(())));
        assert_eq!(parse("x\t0\t2\n"), (vec![2.0], wrong("bad allocated: \"x\"")));
        assert_eq!(parse("1\t0\n"), (vec![1.0], wrong("bad maximum: \"1\\t0\"")));
        assert_eq!(parse(""), (vec![], wrong("bad allocated: \"\"")));
    }

    #[test]
    fn names_the_file() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert_eq!(text, "");
        assert!(result.unwrap_err().to_string().contains("proc/sys/fs/file-nr: "));
    }
}
