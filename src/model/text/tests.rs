//! What may never reach a screen, and that everything else does unharmed.

use super::*;
use proptest::prelude::*;
use rstest::rstest;
use std::time::Instant;

#[rstest]
#[case("plain text", "plain text")]
#[case("\x1b[2J\x1b]52;c;aGk=\x07", "␛[2J␛]52;c;aGk=␇")]
#[case("a\nb\r\nc\td\0\x7f", "a␊b␍␊c d␀␡")]
#[case("\u{9b}31m\u{85}", "‹9B›31m‹85›")]
#[case("abc\u{202e}cba", "abc‹202E›cba")]
#[case("a\u{200b}b\u{feff}c\u{200d}d", "a‹200B›b‹FEFF›c‹200D›d")]
#[case("x\u{2028}y\u{2029}", "x‹2028›y‹2029›")]
#[case("hi\u{e0041}\u{e007f}", "hi‹E0041›‹E007F›")]
#[case("\u{e0a0}\u{fdd0}\u{50000}", "‹E0A0›‹FDD0›‹50000›")]
#[case("\u{301}e\u{301}", "‹301›e\u{301}")]
#[case("größer 漢字 한국어 हिन्दी", "größer 漢字 한국어 हिन्दी")]
#[case(
    "👩\u{200d}🚀 ❤\u{fe0f} 1\u{fe0f}\u{20e3} 👍🏽",
    "👩\u{200d}🚀 ❤\u{fe0f} 1\u{fe0f}\u{20e3} 👍🏽"
)]
#[case("👩\u{200d}x 👩\u{200d}", "👩‹200D›x 👩‹200D›")]
#[case("❤\u{fe0f}\u{fe0f} a\u{fe0f} x\u{fe01}", "❤\u{fe0f}‹FE0F› a‹FE0F› x‹FE01›")]
#[case("漢\u{e0100} a\u{e0100}", "漢\u{e0100} a‹E0100›")]
fn hostile_text_becomes_visible(#[case] input: &str, #[case] shown: &str) {
    assert_eq!(Safe::new(input).as_str(), shown);
}

#[test]
fn a_pile_of_marks_is_cut_and_counted() {
    let pile = format!("Z{}!", "\u{0336}".repeat(100));
    assert_eq!(Safe::new(&pile).as_str(), format!("Z{}‹+96›!", "\u{0336}".repeat(4)));
    let chain = "👩\u{200d}".repeat(1000) + "👩";
    assert!(Safe::new(&chain).as_str().contains("‹200D›"), "a chain of joined emoji has an end");
}

#[test]
fn a_long_line_keeps_its_beginning_and_says_what_is_missing() {
    let text = Safe::new(&"x".repeat(1_000_000));
    assert!(text.as_str().len() <= MAX_BYTES);
    let kept = text.as_str().bytes().take_while(|byte| *byte == b'x').count();
    assert!(kept >= MAX_BYTES - 64, "kept {kept}");
    assert!(text.as_str().ends_with(&format!("x…(+{} bytes)", 1_000_000 - kept)));
    assert_eq!(Safe::new(text.as_str()), text);
    let exact = "é".repeat(MAX_BYTES / 2);
    assert_eq!(Safe::new(&exact).as_str(), exact, "what just fits is not cut");
}

#[test]
fn lines_are_split_and_tabs_reach_the_next_stop() {
    let lines = Safe::lines("a\tb\r\n\n12345678\tc\n漢\td\rend");
    let texts: Vec<&str> = lines.iter().map(Safe::as_str).collect();
    assert_eq!(texts, ["a       b", "", "12345678        c", "漢      d␍end"]);
    assert!(Safe::lines("").is_empty());
}

#[rstest]
#[case("abc", 5, Align::Left, "abc  ")]
#[case("abc", 5, Align::Right, "  abc")]
#[case("abcdef", 4, Align::Left, "abc…")]
#[case("abcdef", 0, Align::Left, "")]
#[case("abcdef", 1, Align::Left, "…")]
#[case("漢字漢字", 4, Align::Left, "漢… ")]
#[case("漢字漢字", 5, Align::Right, "漢字…")]
#[case("漢字", 4, Align::Left, "漢字")]
#[case("e\u{301}e\u{301}e\u{301}", 2, Align::Left, "e\u{301}…")]
fn a_cell_is_exactly_as_wide_as_asked(
    #[case] input: &str,
    #[case] width: usize,
    #[case] align: Align,
    #[case] shown: &str,
) {
    assert_eq!(Safe::new(input).fit(width, align), shown);
}

#[test]
fn ascii_keeps_the_sense_or_the_columns() {
    let text = Safe::new("\x1b[1m‘é’ 漢\u{202e} a…");
    assert_eq!(text.ascii().as_str(), "^[[1m'?' ??<202E> a...");
    assert_eq!(ascii_columns("│ ▌漢 ✖ a…"), "| #?? x a~");
    assert_eq!(Safe::new("\x7f\0").ascii().as_str(), "^?^@");
}

#[test]
fn filtering_takes_time_in_proportion_to_the_length() {
    // Each of these made some naive filter quadratic. A megabyte must not take a second even in
    // an unoptimised build; quadratic time would take minutes.
    for unit in
        ["\u{301}", "🇩", "👩\u{200d}", "\u{1100}", "\u{200b}", "\x1b", "a\u{301}", "\u{93f}"]
    {
        let text = unit.repeat(1_000_000 / unit.len());
        let started = Instant::now();
        let safe = Safe::new(&text);
        let _ = (safe.width(), safe.fit(40, Align::Left), safe.ascii());
        assert!(started.elapsed().as_secs() < 2, "{unit:?} took {:?}", started.elapsed());
    }
}

/// Characters that matter to the filter, oftener than chance would bring them.
fn hostile_text() -> impl Strategy<Value = String> {
    let picks = prop::sample::select(vec![
        '\0',
        '\t',
        '\n',
        '\r',
        '\x1b',
        '\x7f',
        '\u{85}',
        '\u{9b}',
        '\u{ad}',
        '\u{200b}',
        '\u{200d}',
        '\u{202e}',
        '\u{2066}',
        '\u{2028}',
        '\u{feff}',
        '\u{fe0f}',
        '\u{fe01}',
        '\u{e0100}',
        '\u{e0041}',
        '\u{301}',
        '\u{20e3}',
        '\u{336}',
        '👩',
        '🚀',
        '❤',
        '🏽',
        '🇩',
        '🏴',
        '漢',
        'a',
        '1',
        ' ',
        '\u{1100}',
        '\u{1161}',
        '\u{11a8}',
        '\u{94d}',
        '\u{93f}',
        '\u{600}',
        '\u{3164}',
        '\u{e000}',
        '\u{ffff}',
        '…',
        '‹',
        '›',
    ]);
    prop::collection::vec(prop_oneof![3 => picks, 1 => any::<char>()], 0..60)
        .prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn no_text_gets_through_with_a_hostile_character(text in hostile_text(), other in any::<String>()) {
        for input in [text, other] {
            let safe = Safe::new(&input);
            prop_assert!(!safe.as_str().chars().any(|c| c.is_control() || is_hostile(c)), "{:?}", safe.as_str());
            prop_assert!(safe.as_str().chars().next().and_then(unicode_width::UnicodeWidthChar::width) != Some(0));
            for line in Safe::lines(&input) {
                prop_assert!(!line.as_str().chars().any(|c| c.is_control() || is_hostile(c)));
            }
        }
    }

    #[test]
    fn filtering_twice_changes_nothing(text in hostile_text(), times in 1usize..2000) {
        for input in [text.clone(), text.repeat(times)] {
            let once = Safe::new(&input);
            prop_assert!(once.as_str().len() <= MAX_BYTES);
            prop_assert_eq!(&Safe::new(once.as_str()), &once);
            prop_assert_eq!(Safe::lines(once.as_str()).concat_all(), once.as_str());
        }
    }

    #[test]
    fn fitting_gives_exactly_the_width(text in hostile_text(), width in 0usize..40) {
        let safe = Safe::new(&text);
        for align in [Align::Left, Align::Right] {
            prop_assert_eq!(columns(&safe.fit(width, align)), width);
        }
        prop_assert!(columns(&safe.cut(width)) <= width);
        prop_assert_eq!(ascii_columns(safe.as_str()).len(), safe.width());
        prop_assert!(safe.ascii().as_str().is_ascii());
    }
}

trait Concat {
    fn concat_all(&self) -> String;
}

impl Concat for Vec<Safe> {
    fn concat_all(&self) -> String {
        self.iter().map(Safe::as_str).collect()
    }
}

#[test]
fn a_log_line_loses_its_colours_and_keeps_everything_else() {
    for (raw, shown) in [
        ("\u{1b}[32mok\u{1b}[0m done", "ok done"),
        ("\u{1b}[1;38;5;208mWARN\u{1b}[m slow", "WARN slow"),
        ("plain [32m", "plain [32m"),
        ("\u{1b}[2Jx", Safe::new("\u{1b}[2Jx").as_str()),
        ("cut \u{1b}[3", Safe::new("cut \u{1b}[3").as_str()),
        // what is left when the colour is gone is filtered like any other text
        ("\u{1b}\u{1b}[31m[2J", Safe::new("\u{1b}[2J").as_str()),
    ] {
        let line = Safe::log_line(raw);
        assert_eq!(line.as_str(), shown, "{raw:?}");
        assert!(!line.as_str().contains('\u{1b}'), "{raw:?}");
    }
}
