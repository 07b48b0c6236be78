//! Bytes as text the way Java's `new String(bytes, charset)` reads them: what is malformed becomes U+FFFD, nothing
//! fails.

use std::borrow::Cow;

const REPLACEMENT: char = '\u{fffd}';

/// A charset that bytes can be read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8
    Utf8,
    /// US-ASCII
    UsAscii,
    /// ISO-8859-1
    Latin1,
    /// windows-1252
    Windows1252,
    /// UTF-16, big endian unless a byte order mark says otherwise
    Utf16,
    /// UTF-16BE
    Utf16Be,
    /// UTF-16LE
    Utf16Le,
}

impl Charset {
    const NAMES: &str = "UTF-8, US-ASCII, ISO-8859-1, windows-1252, UTF-16, UTF-16BE, UTF-16LE";

    /// The charset of that name, in any case, by its common Java aliases too.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Self::Utf8,
            "us-ascii" | "ascii" | "iso646-us" => Self::UsAscii,
            "iso-8859-1" | "iso8859_1" | "iso8859-1" | "latin1" | "l1" => Self::Latin1,
            "windows-1252" | "cp1252" => Self::Windows1252,
            "utf-16" | "utf16" | "utf_16" | "unicode" => Self::Utf16,
            "utf-16be" | "utf_16be" => Self::Utf16Be,
            "utf-16le" | "utf_16le" => Self::Utf16Le,
            _ => return None,
        })
    }

    /// Whether there is a charset of that name, for the validation of a setting.
    ///
    /// # Errors
    /// A name that is not known, with those that are.
    pub fn check(name: &str) -> Result<(), String> {
        match Self::of(name) {
            Some(_) => Ok(()),
            None => Err(format!("Unsupported encoding, must be one of: {}", Self::NAMES)),
        }
    }

    /// The bytes as text; what is malformed becomes U+FFFD.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => utf8(bytes),
            Self::UsAscii => single(
                bytes,
                |byte| if byte.is_ascii() { char::from(byte) } else { REPLACEMENT },
            ),
            Self::Latin1 => single(bytes, char::from),
            Self::Windows1252 => single(bytes, windows_1252),
            Self::Utf16 => match bytes {
                [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
                [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
                _ => utf16(bytes, u16::from_be_bytes),
            },
            Self::Utf16Be => utf16(bytes, u16::from_be_bytes),
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes),
        }
    }
}

/// UTF-8 with one U+FFFD for each malformed part. Java takes an encoded surrogate for one part of three bytes, where
/// Unicode's recommendation, and Rust, see three.
pub(crate) fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    let mut text = match std::str::from_utf8(bytes) {
        Ok(text) => return Cow::Borrowed(text),
        Err(_) => String::with_capacity(bytes.len()),
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let (good, bad) = rest.split_at(valid);
        text.push_str(std::str::from_utf8(good).unwrap_or_default());
        if bad.is_empty() {
            break;
        }
        text.push(REPLACEMENT);
        let malformed = match bad {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            _ => std::str::from_utf8(bad)
                .err()
                .and_then(|error| error.error_len())
                .unwrap_or(bad.len()),
        };
        rest = bad.get(malformed..).unwrap_or_default();
    }
    Cow::Owned(text)
}

fn single(bytes: &[u8], decode: fn(u8) -> char) -> Cow<'_, str> {
    if bytes.is_ascii() {
        return Cow::Borrowed(std::str::from_utf8(bytes).unwrap_or_default());
    }
    Cow::Owned(bytes.iter().map(|byte| decode(*byte)).collect())
}

fn windows_1252(byte: u8) -> char {
    // 0x80 to 0x9f; the rest is Latin-1.
    const SPECIAL: [char; 32] = [
        '€',
        REPLACEMENT,
        '‚',
        'ƒ',
        '„',
        '…',
        '†',
        '‡',
        'ˆ',
        '‰',
        'Š',
        '‹',
        'Œ',
        REPLACEMENT,
        'Ž',
        REPLACEMENT,
        REPLACEMENT,
        '‘',
        '’',
        '“',
        '”',
        '•',
        '–',
        '—',
        '˜',
        '™',
        'š',
        '›',
        'œ',
        REPLACEMENT,
        'ž',
        'Ÿ',
    ];
    match byte.checked_sub(0x80).and_then(|i| SPECIAL.get(usize::from(i))) {
        Some(special) => *special,
        None => char::from(byte),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'_, str> {
    let (units, tail) = bytes.as_chunks::<2>();
    let mut text: String = char::decode_utf16(units.iter().map(|pair| unit(*pair)))
        .map(|char| char.unwrap_or(REPLACEMENT))
        .collect();
    if !tail.is_empty() {
        text.push(REPLACEMENT);
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_input_becomes_replacement_characters_as_in_java() {
        let cases: [(Charset, &[u8], &str); 9] = [
            (Charset::Utf8, b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (Charset::Utf8, b"\xc3(", "\u{fffd}("),
            (Charset::Utf8, b"a\xed\xa0\x80b", "a\u{fffd}b"),
            (Charset::Utf8, b"\xe2\x82", "\u{fffd}"),
            (Charset::UsAscii, b"a\xe9", "a\u{fffd}"),
            (Charset::Latin1, b"\xe9\x80", "é\u{80}"),
            (Charset::Windows1252, b"\x80\x99\xe9", "€™é"),
            (Charset::Utf16, b"\xff\xfe\xe9\x00\x01", "é\u{fffd}"),
            (Charset::Utf16Be, b"\xd8\x00\x00a", "\u{fffd}a"),
        ];
        for (charset, bytes, wanted) in cases {
            assert_eq!(charset.decode(bytes), wanted, "{charset:?} {bytes:02x?}");
        }
    }

    #[test]
    fn names_are_javas() {
        assert_eq!(Charset::of("latin1"), Some(Charset::Latin1));
        assert_eq!(Charset::of("Utf-16le"), Some(Charset::Utf16Le));
        assert_eq!(Charset::of("bogus"), None);
    }
}
