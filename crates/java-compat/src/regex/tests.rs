use proptest::prelude::*;

use super::*;

#[test]
fn patterns_mean_what_they_mean_in_java() {
    let cases = [
        // pattern, text, whole match, why
        (r"\d+", "12", true, "digits"),
        (r"\d", "٣", false, "of ASCII"),
        (r"\w+", "é", false, "so are words"),
        (r"[\w.-]+", "a.b-c_1", true, "a shorthand in a class"),
        (r"[^\d]", "1", false, "in a negated class"),
        (r"[\D&&[^a]]", "b", true, "a negated shorthand in an intersection"),
        (r"a++b", "aaab", true, "possessive"),
        (r"a*+ab", "aaab", false, "possessive, nothing is given back"),
        (r"(?>a|ab)c", "abc", false, "atomic"),
        (r"(?!x).*", "orders", true, "look-ahead"),
        (r"(\w)\1.*", "aab", true, "back-reference"),
        (r"(a)\10", "aa0", true, "there is no group 10"),
        (r"\Qa.b*\E.*", "a.b*c", true, "quoted"),
        (r"\Qa.b", "a.b", true, "quoted to the end"),
        (r"\<a\>", "<a>", true, "no word boundaries"),
        (r"a]b}", "a]b}", true, "closing brackets on their own"),
        (r"[a\]~#]+", "]~#a", true, "punctuation in a class"),
        (r"(?i)ORD.*", "orders", true, "flag"),
        (r"(?iu)a", "A", true, "flags that make no difference"),
        (r"(?u)a", "a", true, "and alone"),
        (r"\x41\u0042\0103\cJ", "ABC\n", true, "characters by number"),
        (r"\p{Lower}\p{Lu}\pL", "aBc", true, "properties"),
        (r"\p{Punct}+", "!-~", true, "POSIX"),
        (r"\h", "\u{a0}", true, "horizontal blank, not a hexadecimal digit"),
        (r"(?<db>[^.]+)\.\k<db>", "a.a", true, "named reference"),
        (r"a{2}b{1,}c{1,2}", "aabcc", true, "repetitions"),
        (r"^orders$", "orders", true, "anchors"),
        (r"a|ab", "ab", true, "the whole text decides between alternatives"),
        (".", "\n", false, "a line end"),
        (".", "\u{85}", false, "there are five of them"),
        ("(?d:.)", "\u{85}", true, "one for Unix"),
        ("(?s).", "\n", true, "any character at all"),
        (
            "a$",
            "a\n",
            false,
            "the end before a line end is no end of the whole text",
        ),
        ("a$\n", "a\n", true, "but it is an end"),
        ("a$\n", "a\nb", false, "only at the end"),
        ("(?m)a$\nb", "a\nb", true, "or at that of a line"),
        ("(?m)a\r^\nb", "a\r\nb", false, "no line begins within a line end"),
        (r"a\Z\R", "a\r\n", true, "before the last line end"),
        (r"\R{2}", "\r\n", false, "a line end is not torn apart"),
        ("(?i)k", "\u{212a}", false, "the sign for kelvin is no k"),
        ("(?i)[a-z]", "\u{212a}", false, "nor in a class"),
        ("(?i)é", "É", false, "only letters of ASCII have two cases"),
        ("(?i)[é-ü]", "É", false, "in classes too"),
        ("(?iu)é[ä-ö]", "ÉÖ", true, "but for all of Unicode"),
        ("(?i:a)b", "AB", false, "the flag ends with its group"),
        ("((?i)a)b", "Ab", true, "so it does here"),
        (r"(?i)(é?a)\1", "éaéA", true, "a back-reference ignores case"),
        ("[:alpha:]+", "a:", true, "no class of POSIX, but its letters"),
        (
            r"(?i)\x41\p{Lu}",
            "aω",
            true,
            "case is ignored in numbers and properties",
        ),
    ];
    for (java, text, wanted, why) in cases {
        let pattern = Pattern::try_new(java).unwrap_or_else(|error| panic!("{java}: {error}"));
        assert_eq!(pattern.matches(text), Ok(wanted), "{java} on {text}: {why}");
    }
}

#[test]
fn what_java_refuses_and_what_has_no_equal_is_refused() {
    for java in [
        "[",
        "[a",
        "(",
        ")",
        "*a",
        "a{,3}",
        "{",
        "a{x}",
        "\\",
        "\\y",
        "(?P<n>a)",
        "(?<1>a)",
        "(?U)a",
        "(?x)a",
        "\\G",
        "[a--b]",
        "\\p{javaLowerCase}",
        "a**",
        "\\08",
        "\\x{110000}",
        "\\k{a}",
        "(?<a>x)|(?<a>y)",
        "[[:alpha:]]",
        "[&&a]",
        "[a&&]",
    ] {
        assert!(Pattern::try_new(java).is_err(), "{java}");
    }
}

#[test]
fn replacements_are_expanded_as_in_java() {
    let cases = [
        (r"(.*)-v\d+", "$1", "orders-v12", Ok("orders")),
        ("foo|foobar", "x", "foobar", Ok("xbar")),
        (".*?", "x", "abc", Ok("xabc")),
        ("(a)(b)?", "$1-$2-", "a", Ok("a--")),
        ("(.*)", "$10", "t", Ok("t0")),
        ("(.*)", "$1a", "t", Ok("ta")),
        ("(.*)", r"\$1-$0", "t", Ok("$1-t")),
        (
            "(?<db>[^.]+)\\.(?<tbl>.*)",
            "${tbl}.${db}",
            "shop.orders",
            Ok("orders.shop"),
        ),
        ("(.*)", "$2", "t", Err("No group 2")),
        ("(.*)", "${1}", "t", Err("No group with name {1}")),
        ("(.*)", "${}", "t", Err("No group with name {}")),
        (
            "(.*)",
            "a\\",
            "t",
            Err("character to be escaped is missing after the last `\\`"),
        ),
    ];
    for (java, replacement, text, wanted) in cases {
        let pattern = Pattern::try_new(java).unwrap();
        let got = pattern
            .replacement(replacement)
            .map(|replacement| pattern.replace_first(text, &replacement).unwrap());
        assert_eq!(
            got.as_deref().map_err(|error| error.0.as_str()),
            wanted,
            "{java} {replacement}"
        );
    }
}

#[test]
fn a_match_that_explodes_ends_in_an_error() {
    let pattern = Pattern::try_new(r"(a+)+\1b").unwrap();
    assert_eq!(pattern.matches(&"a".repeat(64)), Err(MatchError));
}

proptest! {
    #[test]
    fn any_pattern_is_compiled_or_refused(java in r"[\[\](){}?*+|.^$\\a-dQEpPx0-9<>:=!,&\-]{0,12}") {
        if let Ok(pattern) = Pattern::try_new(&java) {
            prop_assert!(matches!(pattern.matches("abc-1"), Ok(_) | Err(MatchError)));
        }
    }

    #[test]
    fn any_quoted_text_matches_itself(text in r"[^\\]{0,12}") {
        let pattern = Pattern::try_new(&format!("\\Q{text}\\E")).unwrap();
        prop_assert_eq!(pattern.matches(&text), Ok(true));
    }
}
