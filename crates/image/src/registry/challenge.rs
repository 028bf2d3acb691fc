//! `WWW-Authenticate` (RFC 7235, section 4.1): which authentication a registry asks for.

/// One challenge that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The challenges of one header; unknown schemes are left out.
    pub(super) fn parse(text: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut rest = text.trim_start_matches([' ', ',']);
        while !rest.is_empty() {
            let end = rest.find([' ', ',']).unwrap_or(rest.len());
            let (scheme, after) = rest.split_at(end);
            let (parameters, after) = parameters(after);
            let value = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                found.push(Self::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = value("realm")
            {
                found.push(Self::Bearer { realm, service: value("service"), scope: value("scope") });
            }
            rest = after.trim_start_matches([' ', ',']);
        }
        found
    }
}

/// `name=value` and `name="value"` up to the next scheme, and what follows.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut all = Vec::new();
    loop {
        let start = rest.trim_start_matches([' ', ',']);
        let end = start.find(['=', ' ', ',']).unwrap_or(start.len());
        let (name, after) = start.split_at(end);
        let Some(after) = after.strip_prefix('=').filter(|_| !name.is_empty()) else { return (all, start) };
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.to_owned(), after)
            }
        };
        all.push((name.to_owned(), value));
        rest = after;
    }
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn registries_ask_like_this() {
        for (text, want) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (r#"Basic realm="a \"b\" c""#, vec![Challenge::Basic]),
            ("Negotiate, bearer realm=x, Basic", vec![bearer("x", None, None), Challenge::Basic]),
            ("Bearer service=x", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(Challenge::parse(text), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_judged(text in "[ -~]{0,80}") {
            let _ = Challenge::parse(&text);
        }
    }
}
