use proptest::prelude::*;

use super::*;

#[test]
fn integers_are_read_as_by_parse_long() {
    let cases = [
        ("12", Some(12)),
        ("+12", Some(12)),
        ("-0", Some(0)),
        ("٣", Some(3)),
        ("９", Some(9)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("", None),
        ("-", None),
        (" 1", None),
        ("1.0", None),
        ("1e3", None),
        ("²", None),
    ];
    for (text, wanted) in cases {
        assert_eq!(parse_i64(text), wanted, "{text}");
    }
}

#[test]
fn floats_are_read_as_by_parse_double() {
    let cases = [
        (" 1e3d ", Some(1000.0)),
        ("1.f", Some(1.0)),
        (".5", Some(0.5)),
        ("-Infinity", Some(f64::NEG_INFINITY)),
        ("1e400", Some(f64::INFINITY)),
        ("1e-400", Some(0.0)),
        ("0x1.8p1", Some(3.0)),
        ("-0X.8P0f", Some(-0.5)),
        ("0x1p-1074", Some(5e-324)),
        ("0x1p-1075", Some(0.0)),
        ("0x1.0000000000001p-1075", Some(5e-324)),
        ("0x1.fffffffffffff8p1023", Some(f64::INFINITY)),
        ("0x1.fffffffffffff7p1023", Some(f64::MAX)),
        ("0x10000000000000000p0", Some(18_446_744_073_709_551_616.0)),
        ("0x1p99999999999999999999", Some(f64::INFINITY)),
        ("inf", None),
        ("nan", None),
        ("infinity", None),
        ("0x1", None),
        ("0xp1", None),
        (".", None),
        ("1e", None),
        ("1_0", None),
        ("1fd", None),
        ("", None),
        ("\u{a0}1", None),
        ("٣", None),
    ];
    for (text, wanted) in cases {
        assert_eq!(parse_f64(text), wanted, "{text}");
    }
    assert!(parse_f64("NaN").unwrap().is_nan());
    assert_eq!(parse_f64("-0").unwrap().to_bits(), (-0.0_f64).to_bits());
    // Rounded to a double first it would be a tie, and 1.0.
    assert_eq!(parse_f32("0x1.00000100000000001p0"), Some(1.000_000_1));
    assert_eq!(parse_f32("1.00000005960464477540"), Some(1.000_000_1));
}

#[test]
fn decimals_are_written_as_by_big_decimal() {
    let cases = [
        ("0", "0"),
        ("-12.50", "-12.50"),
        ("1e3", "1E+3"),
        ("12e3", "1.2E+4"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1E-7"),
        ("-0.00000123", "-0.00000123"),
        ("0.000000123", "1.23E-7"),
        ("0e-7", "0E-7"),
        ("+.5", "0.5"),
        ("5.", "5"),
        ("1e-2147483647", "1E-2147483647"),
        ("1e00000000000000003", "1E+3"),
    ];
    for (text, wanted) in cases {
        assert_eq!(decimal_to_string(&parse_decimal(text).unwrap()), wanted, "{text}");
    }
    for text in [
        "",
        ".",
        "1e",
        "0x1",
        "NaN",
        "1 ",
        "1e99999999999",
        "1e2147483649",
        "--1",
        "1.2.3",
        "1e1.5",
    ] {
        assert_eq!(parse_decimal(text), None, "{text}");
    }
}

#[test]
fn decimals_are_narrowed_as_by_big_decimal() {
    let cases = [
        ("12.99", 12),
        ("-12.99", -12),
        ("18446744073709551617", 1),
        ("-18446744073709551617", -1),
        ("9223372036854775808", i64::MIN),
        ("1e63", 1 << 63),
        ("1e64", 0),
        ("1e2147483647", 0),
        ("1e-2147483647", 0),
        ("0.5", 0),
    ];
    for (text, wanted) in cases {
        assert_eq!(decimal_to_i64(&parse_decimal(text).unwrap()), wanted, "{text}");
    }
    assert!(decimal_to_f64(&parse_decimal("1e400").unwrap()).is_infinite());
    assert!((decimal_to_f32(&parse_decimal("0.1").unwrap()) - 0.1).abs() < f32::EPSILON);
}

proptest! {
    #[test]
    fn numbers_that_are_written_are_read_again(number: f64, narrow: f32, unscaled: i128, scale in -30_i64..30) {
        if !number.is_nan() {
            prop_assert_eq!(parse_f64(&f64_to_string(number)), Some(number));
        }
        if !narrow.is_nan() {
            prop_assert_eq!(parse_f32(&f32_to_string(narrow)), Some(narrow));
        }
        let decimal = bigdecimal::BigDecimal::new(unscaled.into(), scale);
        let back = parse_decimal(&decimal_to_string(&decimal)).unwrap();
        prop_assert_eq!(back.as_bigint_and_exponent(), decimal.as_bigint_and_exponent());
    }

    #[test]
    fn hexadecimal_numbers_are_those_of_their_bits(number: f64) {
        let bits = number.to_bits();
        let exponent = i64::try_from(bits >> 52 & 0x7FF).unwrap();
        prop_assume!(number.is_normal());
        let text = format!("0x1.{:013x}p{}", bits & ((1 << 52) - 1), exponent - 1023);
        prop_assert_eq!(parse_f64(&text), Some(number.abs()));
    }

    #[test]
    fn any_text_is_read_or_not(text in "[-+0-9a-fxpPNI.eE٣ ]{0,20}") {
        std::hint::black_box((parse_i64(&text), parse_f32(&text), parse_f64(&text)));
        if let Some(decimal) = parse_decimal(&text) {
            std::hint::black_box(decimal_to_i64(&decimal));
        }
    }
}
