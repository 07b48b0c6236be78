//! Damage of the kinds that find mistakes in decoders.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::Target;

/// An input for `target`: a valid one with a few mutations, seldom none or nothing but random bytes.
pub fn mutate(target: &Target, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = (target.valid)(rng);
    match rng.random_range(0..20_u8) {
        0 => return bytes,
        1 => {
            let length = rng.random_range(0..300);
            return (0..length).map(|_| rng.random()).collect();
        }
        _ => {}
    }
    for _ in 0..rng.random_range(1..5_u8) {
        mutate_once(target, &mut bytes, rng);
    }
    if rng.random_bool(0.8) {
        (target.mend)(&mut bytes);
    }
    bytes
}

/// Numbers at which lengths and counts change their meaning.
const EDGES: [i64; 14] = [
    0,
    1,
    -1,
    -2,
    0x7f,
    0x80,
    0x7fff,
    0x8000,
    0xffff,
    1 << 18,
    0x7fff_fffe,
    0x7fff_ffff,
    i64::MIN,
    i64::MAX,
];

fn mutate_once(target: &Target, bytes: &mut Vec<u8>, rng: &mut StdRng) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..10_u8) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 | 2 => bytes[at] = rng.random(),
        3 => bytes.truncate(at),
        4 => {
            let end = rng.random_range(at..bytes.len().min(at + 16));
            bytes.drain(at..end);
        }
        5 => {
            let new: Vec<u8> = (0..rng.random_range(1..9)).map(|_| rng.random()).collect();
            bytes.splice(at..at, new);
        }
        // A fixed-width number becomes a remarkable one.
        6 | 7 => {
            let edge = EDGES.choose(rng).unwrap().to_be_bytes();
            let width = *[1_usize, 2, 4, 4, 8].choose(rng).unwrap();
            for (byte, edge) in bytes[at..].iter_mut().zip(&edge[8 - width..]) {
                *byte = *edge;
            }
        }
        // A varint becomes a long one.
        8 => {
            let length = rng.random_range(1..11);
            let mut varint: Vec<u8> = (0..length).map(|_| rng.random::<u8>() | 0x80).collect();
            varint.push(rng.random_range(0..0x80));
            bytes.splice(at..=at, varint);
        }
        // Something else takes the place of the rest.
        _ => {
            let other = (target.valid)(rng);
            let from = rng.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
}
