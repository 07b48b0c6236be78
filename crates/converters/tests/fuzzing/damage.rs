//! Damage of the kinds that find mistakes in decoders.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// Bytes at which lengths, counts and texts change their meaning.
const EDGES: [&[u8]; 12] = [
    &[0],
    &[1],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    b"\"",
    b"{",
    b"[[[[",
    b"1e999999999",
];

/// Bytes with a few mutations.
pub(crate) fn damaged(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    if rng.random_range(0..40_u8) == 0 {
        let length = rng.random_range(0..100);
        return (0..length).map(|_| rng.random()).collect();
    }
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4_u8) {
        once(&mut bytes, rng);
    }
    bytes
}

fn once(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    let at = rng.random_range(0..bytes.len());
    let end = rng.random_range(at..bytes.len().min(at + 16)) + 1;
    match rng.random_range(0..8_u8) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let edge = EDGES.choose(rng).unwrap();
            bytes.splice(at..=at, edge.iter().copied());
        }
        5 => {
            let edge = EDGES.choose(rng).unwrap();
            bytes.splice(at..at, edge.iter().copied());
        }
        // A part stands there again, or somewhere else.
        6 => {
            let part = bytes[at..end].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, part);
        }
        _ => {
            let part = bytes[at..end].repeat(rng.random_range(2..40));
            bytes.splice(at..end, part);
        }
    }
}

/// A text with a few mutations.
pub(crate) fn damaged_text(text: &str, rng: &mut StdRng) -> String {
    String::from_utf8_lossy(&damaged(text.as_bytes(), rng)).into_owned()
}

/// Text with characters that need care: in JSON, in UTF-8, in names.
pub(crate) fn text(rng: &mut StdRng) -> String {
    let chars = [
        'a',
        'b',
        'é',
        '"',
        '\\',
        '\n',
        '\u{0}',
        '\u{1f600}',
        '/',
        '<',
        '\u{2028}',
        '1',
    ];
    (0..rng.random_range(0..12))
        .map(|_| *chars.choose(rng).unwrap())
        .collect()
}

/// Numbers of all sizes.
pub(crate) fn long(rng: &mut StdRng) -> i64 {
    let shift = rng.random_range(0..64);
    match rng.random_range(0..8_u8) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 0,
        _ => rng.random::<i64>() >> shift,
    }
}

pub(crate) fn double(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..6_u8) {
        0 => f64::NAN,
        1 => f64::NEG_INFINITY,
        2 => -0.0,
        3 => f64::from_bits(rng.random()),
        _ => rng.random_range(-1_000..1_000) as f64 / 8.0,
    }
}

pub(crate) fn zigzag(number: i64, out: &mut Vec<u8>) {
    varint(((number << 1) ^ (number >> 63)) as u64, out);
}

pub(crate) fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
