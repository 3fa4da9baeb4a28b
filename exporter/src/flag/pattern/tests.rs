use super::{super::Value, *};

/// Each line of the table: the pattern, Go's verdict on it, and the tested text or Go's error.
fn rows() -> impl Iterator<Item = [String; 3]> {
    include_str!("go.tsv").lines().filter(|line| !line.starts_with("## ")).map(|line| {
        let mut cells = line.split('\t').map(|cell| cell.replace('␊', "\n").replace('␉', "\t"));
        std::array::from_fn(|_| cells.next().expect("three cells"))
    })
}

#[test]
fn patterns_mean_the_same_as_in_go() {
    let mut wrong = Vec::new();
    for [pattern, verdict, text] in rows() {
        let ours = match (Pattern::new(&pattern), parse::translate(&pattern)) {
            (Ok(compiled), _) if compiled.matches(&text) => "matches".to_owned(),
            (Ok(_), _) => "other".to_owned(),
            (Err(_), Err(refused)) => format!("{}: `{}`", refused.reason, refused.part),
            (Err(error), Ok(_)) => error,
        };
        let gos = if verdict == "refused" { &text } else { &verdict };
        // For these three errors, this exporter shows the parenthesis or the backslash itself.
        let placed = ["missing closing ): ", "unexpected ): ", "trailing backslash"];
        let same = |reason: &&str| ours.starts_with(*reason) && gos.starts_with(*reason);
        if ours != *gos && !placed.iter().any(same) {
            wrong.push(format!("`{pattern}` on {text:?}: Go {gos}, here {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn patterns_match_anywhere_and_errors_show_the_wrong_part() {
    let pattern = <Option<Pattern> as Value>::parse(&["th0|lo"]).unwrap().unwrap();
    assert!(pattern.matches("eth0") && pattern.matches("lo") && !pattern.matches("eth1"));
    assert!(<Option<Pattern> as Value>::parse(&[""]).unwrap().is_none());
    for (pattern, error) in [
        ("a(b", "missing closing ): `(b` at character 2 of the pattern `a(b`"),
        ("éa**", "invalid nested repetition operator: `**` at character 3 of the pattern `éa**`"),
        ("x\n)", r"unexpected ): `)` at character 3 of the pattern `x\n)`"),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap_err(), error);
    }
}

#[test]
fn patterns_that_take_too_much_memory_or_nesting_are_refused() {
    for (pattern, error) in [
        (r"\pL{1000}", "expression too large: it takes more than 10 MB"),
        ("(?:a{1000}){1000}", "invalid repeat count"),
        ("((((((((a{9}){9}){9}){9}){9}){9}){9}){9}){9}", "invalid repeat count"),
        (&"(a".repeat(900), "missing closing )"),
        (&format!("{}{}", "(a|b".repeat(900), ")".repeat(900)), "expression nests too deeply"),
        (&format!("{}{}", "(a|b".repeat(200_000), ")*".repeat(200_000)), "nests too deeply"),
    ] {
        let said = Pattern::new(pattern).unwrap_err();
        assert!(said.contains(error) && said.lines().count() == 1 && said.len() < 1000, "{said}");
    }
    assert!(Pattern::new(&format!("{}{}", "(".repeat(999), ")".repeat(999))).is_ok());
    assert!(Pattern::new(&format!("{}{}", "(a|b".repeat(60), ")*".repeat(60))).is_ok());
}

#[test]
fn scripts_of_two_words_have_a_name() {
    // Go 1.25 and 1.26 do not know these names; this exporter does, as other versions of Go do.
    assert!(Pattern::new(r"^\p{Old_Italic}$").unwrap().matches("\u{10300}"));
    assert!(Pattern::new(r"\p{Unknown}").is_err());
}
