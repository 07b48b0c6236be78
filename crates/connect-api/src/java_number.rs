//! The text of Java's `Double.toString` and `Float.toString` (JDK 19 and later), which Connect writes wherever a
//! floating-point number becomes text.

use std::io::Write;

/// Appends `number` as `Double.toString` writes it: `100.0`, `1.0E7`, `NaN`, `-Infinity`.
pub fn write_f64(number: f64, out: &mut Vec<u8>) {
    write(
        &Digits::shortest(number, |text| text.parse::<f64>().is_ok_and(|back| back == number)),
        number,
        out,
    );
}

/// Appends `number` as `Float.toString` writes it.
pub fn write_f32(number: f32, out: &mut Vec<u8>) {
    let shortest = Digits::shortest(number, |text| text.parse::<f32>().is_ok_and(|back| back == number));
    write(&shortest, f64::from(number), out);
}

/// A number in Rust's scientific notation: `-1.25e-7`.
struct Digits {
    text: [u8; 32],
    len: usize,
}

impl Digits {
    /// The shortest digits that read back as the same number. Where one digit is enough Java looks at two, and takes
    /// those closest to the number: this shows only among the smallest subnormal numbers (`4.9E-324`).
    fn shortest(number: impl std::fmt::LowerExp, is_same: impl Fn(&str) -> bool) -> Self {
        let shortest = Self::format(format_args!("{number:e}"));
        if shortest.as_bytes().contains(&b'.') {
            return shortest;
        }
        let two_digits = Self::format(format_args!("{number:.1e}"));
        let same = std::str::from_utf8(two_digits.as_bytes()).is_ok_and(is_same);
        if same { two_digits } else { shortest }
    }

    fn format(number: std::fmt::Arguments<'_>) -> Self {
        let mut text = [0; 32];
        let mut rest = &mut text[..];
        // 17 digits, two signs, a point and a three-digit exponent are 24 bytes.
        rest.write_fmt(number)
            .expect("a float in scientific notation takes at most 24 bytes");
        let len = 32 - rest.len();
        Self { text, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

fn write(digits: &Digits, number: f64, out: &mut Vec<u8>) {
    if number.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if number.is_infinite() {
        return out.extend_from_slice(b"Infinity");
    }
    let mut parts = digits.as_bytes().split(|byte| *byte == b'e');
    let mantissa = parts.next().unwrap_or_default();
    let exponent: i32 = parts
        .next()
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .unwrap_or_default();
    let mut significant = [0_u8; 24];
    let mut count = 0;
    for digit in mantissa.iter().filter(|byte| byte.is_ascii_digit()) {
        significant[count] = *digit;
        count += 1;
    }
    while count > 1 && significant[count - 1] == b'0' {
        count -= 1;
    }
    plain_or_scientific(&significant[..count], exponent, out);
}

/// Java writes 10⁻³ ≤ |x| < 10⁷ and zero plainly, everything else as `d.ddE±n`; always with a fraction digit.
fn plain_or_scientific(significant: &[u8], exponent: i32, out: &mut Vec<u8>) {
    match usize::try_from(exponent) {
        Ok(exponent) if exponent < 7 => {
            let (whole, fraction) = significant.split_at(significant.len().min(exponent + 1));
            out.extend_from_slice(whole);
            out.resize(out.len() + exponent + 1 - whole.len(), b'0');
            out.push(b'.');
            out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
        }
        Err(_) if exponent >= -3 => {
            out.extend_from_slice(b"0.");
            for _ in exponent..-1 {
                out.push(b'0');
            }
            out.extend_from_slice(significant);
        }
        _ => {
            let (first, rest) = significant.split_at(1);
            out.extend_from_slice(first);
            out.push(b'.');
            out.extend_from_slice(if rest.is_empty() { b"0" } else { rest });
            out.push(b'E');
            out.extend_from_slice(exponent.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        let cases = [
            (0.0, "0.0", "zero is plain"),
            (-0.0, "-0.0", "its sign is kept"),
            (100.0, "100.0", "a fraction digit always"),
            (1234567.0, "1234567.0", "all digits before the point"),
            (9_999_999.5, "9999999.5", "just below the bound"),
            (1e7, "1.0E7", "the upper bound itself is scientific"),
            (0.001, "0.001", "the lower bound itself is plain"),
            (0.00099, "9.9E-4", "below the lower bound"),
            (123.456, "123.456", "both sides of the point"),
            (0.05, "0.05", "zeros behind the point"),
            (1.25e-7, "1.25E-7", "negative exponent"),
            (f64::MAX, "1.7976931348623157E308", "largest"),
            (5e-324, "4.9E-324", "two digits where one would do"),
            (2e-323, "2.0E-323", "two digits, the second zero"),
            (f64::NAN, "NaN", "not a number"),
            (f64::NEG_INFINITY, "-Infinity", "signed"),
        ];
        for (number, wanted, why) in cases {
            let mut out = Vec::new();
            write_f64(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), wanted, "{why}");
        }
    }

    #[test]
    fn floats_have_the_digits_of_their_own_width() {
        let cases = [
            (0.1_f32, "0.1"),
            (5.436_563_5, "5.4365635"),
            (16_777_216.0, "1.6777216E7"),
            (f32::MIN_POSITIVE, "1.1754944E-38"),
            (1e-45, "1.4E-45"),
        ];
        for (number, wanted) in cases {
            let mut out = Vec::new();
            write_f32(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
    }
}
