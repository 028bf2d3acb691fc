//! Every rule that docs/sandbox.md shows is one.

use nabe_sandbox::Rule;

#[test]
fn the_rules_of_the_page_are_rules() {
    let page = include_str!("../../../docs/sandbox.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    for text in examples {
        let rule = Rule::parse(text, "docs/sandbox.md").unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert!(!rule.name.is_empty());
    }
}
