//! `Double.parseDouble` and `Float.parseFloat`.

/// The number that Java's `Double.parseDouble` reads: blanks around it, `NaN`, `Infinity`, decimal and hexadecimal
/// forms and the suffixes `f` and `d` in either case. Beyond the range it is infinite.
#[must_use]
pub fn parse_f64(text: &str) -> Option<f64> {
    match literal(text)? {
        Literal::Nan => Some(f64::NAN),
        Literal::Infinite(sign) => Some(sign.of(f64::INFINITY)),
        Literal::Decimal(text) => text.parse().ok(),
        Literal::Hexadecimal(sign, number) => Some(sign.of(f64::from_bits(number.rounded(52, 1023)))),
    }
}

/// The number that Java's `Float.parseFloat` reads, rounded once to a float. The texts are those of [`parse_f64`].
#[must_use]
pub fn parse_f32(text: &str) -> Option<f32> {
    match literal(text)? {
        Literal::Nan => Some(f32::NAN),
        Literal::Infinite(sign) => Some(sign.of(f32::INFINITY)),
        Literal::Decimal(text) => text.parse().ok(),
        Literal::Hexadecimal(sign, number) => {
            let bits = u32::try_from(number.rounded(23, 127)).ok()?;
            Some(sign.of(f32::from_bits(bits)))
        }
    }
}

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

impl Sign {
    fn of<T: std::ops::Neg<Output = T>>(self, number: T) -> T {
        match self {
            Self::Plus => number,
            Self::Minus => -number,
        }
    }
}

enum Literal<'a> {
    Nan,
    Infinite(Sign),
    /// Checked: what Rust reads alike.
    Decimal(&'a str),
    Hexadecimal(Sign, Hexadecimal),
}

fn literal(text: &str) -> Option<Literal<'_>> {
    let text = text.trim_matches(|char| char <= ' ');
    let (sign, unsigned) = match text.strip_prefix(['+', '-']) {
        Some(rest) if text.starts_with('-') => (Sign::Minus, rest),
        Some(rest) => (Sign::Plus, rest),
        None => (Sign::Plus, text),
    };
    match unsigned {
        "NaN" => return Some(Literal::Nan),
        "Infinity" => return Some(Literal::Infinite(sign)),
        _ => {}
    }
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let digits = digits.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(digits);
        return Hexadecimal::parse(digits).map(|number| Literal::Hexadecimal(sign, number));
    }
    let text = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    is_decimal(unsigned).then_some(Literal::Decimal(text))
}

/// Digits with a point, an exponent with a sign.
fn is_decimal(text: &str) -> bool {
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && are_digits(digits)
    });
    !(whole.is_empty() && fraction.is_empty()) && are_digits(whole) && are_digits(fraction) && has_exponent
}

#[derive(Clone, Copy)]
enum Place {
    Whole,
    Fraction,
}

/// `mantissa * 2^exponent`, and whether a bit below the mantissa was set.
struct Hexadecimal {
    mantissa: u64,
    exponent: i64,
    is_inexact: bool,
}

impl Hexadecimal {
    /// `1.8p1`: the exponent is required.
    fn parse(text: &str) -> Option<Self> {
        let (digits, exponent) = text.split_once(['p', 'P'])?;
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Further digits change nothing: the number is zero or infinite.
        let magnitude = unsigned.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
        let exponent = if exponent.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut number = Self {
            mantissa: 0,
            exponent,
            is_inexact: false,
        };
        for digit in whole.chars() {
            number.push(digit.to_digit(16)?, Place::Whole);
        }
        for digit in fraction.chars() {
            number.push(digit.to_digit(16)?, Place::Fraction);
        }
        Some(number)
    }

    fn push(&mut self, digit: u32, place: Place) {
        let is_full = self.mantissa >> 60 != 0;
        if is_full {
            self.is_inexact |= digit != 0;
        } else {
            self.mantissa = self.mantissa << 4 | u64::from(digit);
        }
        self.exponent += match (place, is_full) {
            (Place::Whole, true) => 4,
            (Place::Fraction, false) => -4,
            (Place::Whole, false) | (Place::Fraction, true) => 0,
        };
    }

    /// The bits of the nearest IEEE 754 number with `fraction_bits` and exponent bias `bias`, ties to even.
    fn rounded(&self, fraction_bits: u32, bias: i64) -> u64 {
        let infinity = (u64::try_from(2 * bias + 1).unwrap_or_default()) << fraction_bits;
        if self.mantissa == 0 {
            return 0;
        }
        let length = i64::from(64 - self.mantissa.leading_zeros());
        let top = self.exponent + length - 1;
        if top > bias {
            return infinity;
        }
        // The lowest exponent of a normal number is 1 - bias; below it the fraction gets shorter.
        let unit = (top.max(1 - bias)) - i64::from(fraction_bits);
        let shift = unit - self.exponent;
        let (kept, rest, half) = match u32::try_from(shift) {
            Ok(shift @ 1..=63) => (
                self.mantissa >> shift,
                self.mantissa & ((1 << shift) - 1),
                1_u64 << (shift - 1),
            ),
            Ok(0) => (self.mantissa, 0, 1),
            Ok(64) => (0, self.mantissa, 1 << 63),
            Ok(_) => (0, 0, 1),
            Err(_) => (self.mantissa << shift.unsigned_abs(), 0, 1),
        };
        let is_above = rest > half || (rest == half && self.is_inexact);
        let is_tie = rest == half && !self.is_inexact;
        let kept = kept + u64::from(is_above || (is_tie && kept & 1 == 1));
        // A carry out of the fraction lands in the exponent, where it belongs.
        let hidden = 1_u64 << fraction_bits;
        if kept < hidden {
            return kept;
        }
        let biased = u64::try_from(top.max(1 - bias) + bias).unwrap_or_default();
        (((biased - 1) << fraction_bits) + kept).min(infinity)
    }
}
