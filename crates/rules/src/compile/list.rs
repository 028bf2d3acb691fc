//! Lists put into conditions as text, as Falco does.

use super::CompiledList;

/// Quotes what would not be read as one text: what holds a blank, as Falco does, and what holds a
/// comma or an equals sign, which Falco would take apart. Calls and brackets stay as they are.
pub(super) fn quoted(item: &str) -> String {
    let apart = item.contains(' ') || item.contains([',', '=']) && !item.contains('(');
    if apart && !item.starts_with(['"', '\'']) { format!("\"{item}\"") } else { item.to_owned() }
}

/// Puts a list's items in place of its name; returns whether the name was there.
pub(super) fn put_in(condition: &mut String, list: &CompiledList) -> bool {
    const BLANKS: &[u8] = b" \t\n\r";
    let name = list.name.as_str();
    if name.is_empty() || !condition.contains(name) {
        return false;
    }
    let is_blank = |byte: u8| BLANKS.contains(&byte);
    let is_border = |byte: u8| is_blank(byte) || b"(),=".contains(&byte);
    let mut out = String::with_capacity(condition.len() + list.text.len());
    let (mut rest, mut from, mut used) = (condition.as_str(), 0, false);
    while let Some(found) = rest.get(from..).and_then(|text| text.find(name)) {
        let bytes = rest.as_bytes();
        let (mut start, mut end) = (from + found, from + found + name.len());
        let before = start.checked_sub(1).and_then(|at| bytes.get(at)).or_else(|| out.as_bytes().last());
        let bordered =
            before.is_none_or(|byte| is_border(*byte)) && bytes.get(end).is_none_or(|byte| is_border(*byte));
        if !bordered {
            from = end;
            continue;
        }
        while start > 0 && is_blank(bytes[start - 1]) {
            start -= 1;
        }
        while end < bytes.len() && is_blank(bytes[end]) {
            end += 1;
        }
        if list.text.is_empty() {
            // A comma beside an empty list goes with it.
            if start > 0 && bytes[start - 1] == b',' {
                start -= 1;
            } else if bytes.get(end) == Some(&b',') {
                end += 1;
            }
        }
        out.push_str(&rest[..start]);
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&list.text);
        out.push(' ');
        rest = &rest[end..];
        from = 0;
        used = true;
    }
    out.push_str(rest);
    if used {
        *condition = out;
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, items: &[&str]) -> CompiledList {
        let text = items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
        CompiledList { name: name.to_owned(), items: Vec::new(), used: false, text }
    }

    #[test]
    fn lists_are_put_in_as_text() {
        for (condition, items, expected) in [
            ("a in (l)", vec!["x", "y"], "a in ( x, y )"),
            ("a in (l, z)", vec!["x y"], "a in ( \"x y\" , z)"),
            ("a in (z, l)", vec![], "a in (z  )"),
            ("a in (l, z)", vec![], "a in (   z)"),
            ("a in (ll, l.b)", vec!["x"], "a in (ll, l.b)"),
            ("a=l", vec!["x"], "a= x "),
        ] {
            let mut text = condition.to_owned();
            let used = put_in(&mut text, &list("l", &items));
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(
                (used, squeeze(&text)),
                (condition != "a in (ll, l.b)", squeeze(expected)),
                "{condition}"
            );
        }
    }
}
