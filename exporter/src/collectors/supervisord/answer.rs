//! The answer to `supervisor.getAllProcessInfo`: XML-RPC.

use crate::{
    error::{Faults, Malformed, Result},
    parse::decimal,
};
use roxmltree::{Document, Node, ParsingOptions};

/// Elements and texts that an answer may have. They may nest in any depth: no function here calls
/// itself.
const NODES: u32 = 1 << 20;

/// A process that supervisord looks after. A value that it does not tell is `None`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) state: Option<f64>,
    pub(super) exit_status: Option<f64>,
    /// When it was started last, in seconds since 1970.
    pub(super) start: Option<f64>,
}

/// The processes, and the first value that is malformed: it costs itself alone, the process where
/// it is a name.
///
/// # Errors
/// It is no such answer, or the server tells an error.
pub(super) fn parse(xml: &str) -> Result<(Vec<Process>, Faults<Malformed>), Malformed> {
    let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(xml, options)
        .map_err(|error| Malformed::new("XML", &error.to_string()))?;
    let root = document.root_element();
    if let Some(fault) = below(root, &["fault", "value", "struct"]) {
        return Err(Malformed::new("answer", member(fault, "faultString").map_or("a fault", text)));
    }
    let list = below(root, &["params", "param", "value", "array", "data"])
        .ok_or_else(|| Malformed::new("answer", "no list of processes"))?;
    let mut faults = Faults::default();
    let processes = children(list, "value").filter_map(|value| {
        let process =
            below(value, &["struct"]).ok_or_else(|| Malformed::new("process", text(value)));
        faults.keep(process).and_then(|process| read(process, &mut faults))
    });
    Ok((processes.collect(), faults))
}

fn read(process: Node<'_, '_>, faults: &mut Faults<Malformed>) -> Option<Process> {
    let mut word = |name| {
        let value = member(process, name);
        let is_text = value.is_some_and(|value| {
            value.first_element_child().is_none_or(|child| child.has_tag_name("string"))
        });
        let text = value.map_or("", text);
        faults.keep(if is_text { Ok(text.to_owned()) } else { Err(Malformed::new(name, text)) })
    };
    let (name, group) = (word("name")?, word("group")?);
    let mut number = |name| {
        let value = member(process, name)?;
        faults.keep(decimal(name, text(value)))
    };
    Some(Process {
        name,
        group,
        state: number("state"),
        exit_status: number("exitstatus"),
        start: number("start"),
    })
}

/// The value of a structure's member.
fn member<'a, 'b>(structure: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    let members = children(structure, "member");
    let named = |member: &Node<'_, '_>| below(*member, &["name"]).map(text) == Some(name);
    members.filter(named).find_map(|member| below(member, &["value"]))
}

/// The text of a value: in an element that says its type, or right in it.
fn text<'a>(value: Node<'a, '_>) -> &'a str {
    let inner = value.first_element_child().unwrap_or(value);
    inner.text().unwrap_or_default().trim()
}

fn children<'a, 'b>(node: Node<'a, 'b>, tag: &str) -> impl Iterator<Item = Node<'a, 'b>> {
    node.children().filter(move |child| child.has_tag_name(tag))
}

/// The element that one comes to by going from each to its first child of that name.
fn below<'a, 'b>(node: Node<'a, 'b>, path: &[&str]) -> Option<Node<'a, 'b>> {
    path.iter().try_fold(node, |node, tag| children(node, tag).next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    fn answer(processes: &[&[(&str, &str)]]) -> String {
        let member = |(name, value): &(&str, &str)| {
            format!("<member>\n<name>{name}</name>\n<value>{value}</value>\n</member>")
        };
        let process = |members: &&[(&str, &str)]| {
            let members: String = members.iter().map(member).collect();
            format!("<value><struct>{members}</struct></value>\n")
        };
        let processes: String = processes.iter().map(process).collect();
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n{processes}</data></array></value>\n</param>\n</params>\n</methodResponse>\n"
        )
    }

    const WEB: &[(&str, &str)] = &[
        ("name", "<string>web &amp; more</string>"),
        ("group", "front"),
        ("start", "<int>1700000000</int>"),
        ("state", "<int>20</int>"),
        ("exitstatus", "<i4>-1</i4>"),
        ("spawnerr", "<string></string>"),
    ];

    fn web() -> Process {
        Process {
            name: "web & more".into(),
            group: "front".into(),
            state: Some(20.0),
            exit_status: Some(-1.0),
            start: Some(1.7e9),
        }
    }

    #[test]
    fn processes_are_read() {
        let xml = answer(&[WEB, &[("group", "<string/>"), ("name", "<string>b</string>")]]);
        let (processes, faults) = parse(&xml).unwrap();
        faults.end().unwrap();
        assert_eq!(processes, [web(), Process { name: "b".into(), ..Process::default() }]);
        assert_eq!(parse(&answer(&[])).unwrap().0, []);
    }

    #[test]
    fn a_malformed_value_costs_itself_alone() {
        let odd: &[(&str, &str)] =
            &[("name", "<string>c</string>"), ("group", "g"), ("state", "up")];
        let nameless: &[(&str, &str)] = &[("name", "<int>1</int>"), ("group", "g")];
        let (processes, faults) = parse(&answer(&[odd, nameless, WEB])).unwrap();
        assert_eq!(malformed(faults.end()), "bad state: \"up\"");
        let c = Process { name: "c".into(), group: "g".into(), ..Process::default() };
        assert_eq!(processes, [c, web()]);
        let (processes, faults) = parse(&answer(&[nameless, &[]])).unwrap();
        assert_eq!((processes, malformed(faults.end())), (vec![], "bad name: \"1\"".into()));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>6</int></value></member><member><name>faultString</name><value><string>SHUTDOWN_STATE</string></value></member></struct></value></fault></methodResponse>";
        for (xml, said) in [
            (fault, "bad answer: \"SHUTDOWN_STATE\""),
            ("", "bad XML: "),
            ("<methodResponse/>", "bad answer: \"no list of processes\""),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "bad XML: "),
            ("<methodResponse><fault><value><struct/></value></fault></methodResponse>", "a fault"),
        ] {
            let error = malformed(parse(xml));
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn an_answer_may_be_cut_anywhere_and_nest_in_any_depth() {
        let xml = answer(&[WEB]);
        for (length, _) in xml.char_indices() {
            let (there, rest) = xml.split_at(length);
            assert!(parse(there).is_err() || rest.trim().is_empty(), "{length}");
        }
        let deep = "<value><array><data>".repeat(50_000);
        assert!(parse(&deep).is_err());
        let closed = "</data></array></value>".repeat(50_000);
        assert!(parse(&format!("{deep}{closed}")).is_err());
        let within = answer(&[&[("name", &format!("{deep}{closed}")), ("group", "g")]]);
        assert_eq!(malformed(parse(&within).unwrap().1.end()), "bad name: \"\"");
        let many = "<a/>".repeat(NODES as usize);
        assert!(malformed(parse(&format!("<b>{many}</b>"))).contains("bad XML"), "too many");
    }
}
