//! Globs against the contract and against regular expressions.

use super::*;
use proptest::prelude::*;
use regex::Regex;
use rstest::rstest;
use std::time::Instant;

#[rstest]
#[case("state.*", "state.changed", true)]
#[case("state.*", "state.", true)]
#[case("state.*", "state", false)]
#[case("*.error", "a.b.c.error", true)]
#[case("task.*.completed", "task.ocr.page.7.completed", true)]
#[case("task.*.completed", "task.completed", false)]
#[case("*", "", true)]
#[case("?", "ä", true)]
#[case("?", "", false)]
#[case("[a-c]x", "bx", true)]
#[case("[a-c]x", "dx", false)]
#[case("[^a-c]x", "dx", true)]
#[case("[!a-c]x", "ax", false)]
#[case("[!a-c]x", "x", false)]
#[case("[a\\]]", "]", true)]
#[case("[\\-z]", "-", true)]
#[case("a\\*b", "a*b", true)]
#[case("a\\*b", "axb", false)]
#[case("Abc", "abc", false)]
#[case("*a*b*", "xxaxxbxx", true)]
#[case("*ab", "aab", true)]
fn globs_match_as_the_contract_says(#[case] glob: &str, #[case] text: &str, #[case] yes: bool) {
    assert_eq!(Pattern::new(glob).unwrap().matches(text), yes);
}

#[rstest]
#[case("", 1, "empty")]
#[case("a[bc", 2, "never closed")]
#[case("a[]", 3, "the class is empty")]
#[case("[^]", 3, "the class is empty")]
#[case("[z-a]", 4, "backwards")]
#[case("[-a]", 2, "lacks one of its ends")]
#[case("[a-]", 4, "lacks one of its ends")]
#[case("ab\\", 3, "nothing follows")]
fn a_bad_pattern_says_where_and_why(#[case] glob: &str, #[case] at: usize, #[case] says: &str) {
    let error = Pattern::new(glob).unwrap_err();
    assert!(error.at == at && error.what.contains(says), "{error:?}");
}

#[test]
fn a_pattern_tells_its_fixed_beginning() {
    let pattern = Pattern::new("state\\.*").unwrap();
    assert_eq!((pattern.prefix(), pattern.is_exact()), ("state.".to_owned(), false));
    assert!(Pattern::new("a\\*").unwrap().is_exact());
}

#[test]
fn a_pattern_reads_back_from_its_text() {
    let pattern: Pattern = serde_json::from_str(r#""task.*.[a-z]""#).unwrap();
    assert_eq!(serde_json::to_string(&pattern).unwrap(), r#""task.*.[a-z]""#);
    assert!(serde_json::from_str::<Pattern>(r#""[""#).is_err());
}

#[test]
fn a_thousand_stars_take_no_time() {
    let text = "a".repeat(20_000);
    let started = Instant::now();
    let stars = Pattern::new(&"*".repeat(1000)).unwrap();
    assert!(stars.matches(&text));
    let mixed = Pattern::new(&format!("{}b", "a*".repeat(1000))).unwrap();
    assert!(!mixed.matches(&text));
    let tail = Pattern::new(&format!("*{}b", "a".repeat(1000))).unwrap();
    assert!(!tail.matches(&text));
    assert!(started.elapsed().as_secs() < 10, "took {:?}", started.elapsed());
}

proptest! {
    #[test]
    fn globs_agree_with_regexes(glob in "[ab*?.]{1,12}", text in "[ab.]{0,16}") {
        let regex = format!("(?s)^{}$", regex::escape(&glob).replace("\\*", ".*").replace("\\?", "."));
        let expected = Regex::new(&regex).unwrap().is_match(&text);
        prop_assert_eq!(Pattern::new(&glob).unwrap().matches(&text), expected);
    }

    #[test]
    fn no_text_makes_the_parser_stumble(glob in "[-a-c*?\\[\\]\\\\!^]{0,16}", text in any::<String>()) {
        if let Ok(pattern) = Pattern::new(&glob) {
            let _ = pattern.matches(&text);
            prop_assert!(!pattern.is_exact() || pattern.matches(&pattern.prefix()));
        }
    }
}
