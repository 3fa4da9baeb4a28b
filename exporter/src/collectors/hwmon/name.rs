//! Names of chips and sensors in the characters that names of metrics may have.

/// `name` as [`clean`] writes it.
pub(super) fn cleaned(name: &str) -> String {
    let mut text = String::new();
    clean(name, &mut text);
    text
}

/// Appends `name` in small letters. A character that a metric's name may not have becomes `_`; at
/// the ends it is left out.
pub(super) fn clean(name: &str, text: &mut String) {
    let begin = text.len();
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | ':' => text.push(c),
            _ if text.len() > begin => text.push('_'),
            _ => {}
        }
    }
    while text.len() > begin && text.ends_with('_') {
        text.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        assert_eq!(cleaned("__Core 0-a:b.c°\n"), "core_0_a:b_c");
        assert_eq!(cleaned("___"), "");
    }
}
