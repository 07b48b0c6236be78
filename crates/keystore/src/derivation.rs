//! What opening a password-protected key or keystore costs, told before any of it is done: the file itself says how
//! often to hash.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::jks::Reader;

/// Rounds that are worked off for one file, all its parts together: a few seconds. Java's keytool writes 10,000 for each
/// part, OpenSSL 2,048, and OWASP recommends 600,000.
const MAX_ROUNDS: u64 = 2_000_000;
/// Memory that scrypt may run through for one file. OpenSSL writes 16 MiB.
pub const MAX_SCRYPT_BYTES: u64 = 64 * 1024 * 1024;

const PBKDF2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const SCRYPT: &[u8] = b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x04\x0b";
/// `pbeWithSHA1And…`, up to the byte that names the cipher.
const PKCS12_PBE: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01";

/// Refuses a PKCS#8 key or PKCS12 keystore that asks for more than a few seconds of work.
///
/// Every derivation in sight counts, wherever it stands: DER has one way to write an object identifier. What a keystore
/// hides inside an encrypted part shows only to whoever has its password; there each derivation has its own bound, of
/// 1,000,000 rounds.
///
/// # Errors
/// What is wrong, in words that follow the name of the file.
pub(crate) fn check_cost(der: &[u8]) -> Result<(), String> {
    let (mut rounds, mut scrypt) = (0_u64, 0_u64);
    for at in 0..der.len() {
        let rest = der.get(at..).unwrap_or_default();
        if let Some(params) = rest.strip_prefix(PBKDF2) {
            rounds = rounds.saturating_add(numbers::<1>(params)?.into_iter().product());
        } else if let Some(params) = rest.strip_prefix(PKCS12_PBE).and_then(|rest| rest.get(1..)) {
            rounds = rounds.saturating_add(numbers::<1>(params)?.into_iter().product());
        } else if let Some(params) = rest.strip_prefix(SCRYPT) {
            let bytes = numbers::<3>(params)?.into_iter().fold(128, u64::saturating_mul);
            scrypt = scrypt.saturating_add(bytes);
        }
    }
    if rounds > MAX_ROUNDS {
        return Err(format!(
            "it asks for {rounds} rounds of hashing, above the {MAX_ROUNDS} that are worked off: encrypt it anew with \
             fewer iterations"
        ));
    }
    if scrypt > MAX_SCRYPT_BYTES {
        return Err(format!(
            "its scrypt asks for {scrypt} bytes of memory, above the {MAX_SCRYPT_BYTES} that are given: encrypt it anew \
             with a lower cost"
        ));
    }
    Ok(())
}

/// The first numbers behind the salt: `SEQUENCE { OCTET STRING, INTEGER… }`. All count from one.
fn numbers<const N: usize>(params: &[u8]) -> Result<[u64; N], String> {
    let read = || {
        let mut params = Reader(Reader(params).der(0x30)?);
        params.der(0x04)?;
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = params.der(0x02)?.iter().fold(0_u64, |number, byte| {
                number.saturating_mul(256).saturating_add(u64::from(*byte))
            });
        }
        numbers.iter().all(|number| *number > 0).then_some(numbers)
    };
    read().ok_or_else(|| "it says in no known way how its password is to be hashed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(salt: u8, numbers: &[&[u8]]) -> Vec<u8> {
        let mut content = vec![4, salt];
        content.resize(2 + usize::from(salt), 0x5a);
        for number in numbers {
            content.extend([2, u8::try_from(number.len()).unwrap()]);
            content.extend(*number);
        }
        let mut all = vec![0x30, u8::try_from(content.len()).unwrap()];
        all.extend(content);
        all
    }

    #[test]
    fn every_derivation_in_a_file_counts() {
        let million: &[u8] = &[0x0f, 0x42, 0x40];
        let pbkdf2 = [PBKDF2, &params(8, &[million])].concat();
        let legacy = [PKCS12_PBE, &[3], &params(20, &[million])].concat();
        let scrypt = |n: &[u8], r: &[u8], p: &[u8]| [SCRYPT, &params(8, &[n, r, p])].concat();
        let mib_16 = scrypt(&[0x40, 0], &[8], &[1]);
        let cases: Vec<(Vec<u8>, Option<&str>, &str)> = vec![
            (vec![], None, "nothing to derive"),
            (
                b"\x2a\x86\x48\x86\xf7\x0d\x01\x05".repeat(5),
                None,
                "other object identifiers",
            ),
            ([&b"a"[..], &pbkdf2, b"b", &legacy].concat(), None, "two million rounds"),
            (
                [&pbkdf2[..], &legacy, &params(0, &[]), &legacy].concat(),
                Some("asks for 3000000 rounds of hashing, above the 2000000"),
                "three million, of both kinds",
            ),
            (
                [PBKDF2, &params(8, &[&[0xff; 20]])].concat(),
                Some("asks for 18446744073709551615 rounds"),
                "a number without end",
            ),
            ([&mib_16[..], &mib_16, &mib_16, &mib_16].concat(), None, "64 MiB"),
            (
                mib_16.repeat(5),
                Some("its scrypt asks for 83886080 bytes of memory, above the 67108864"),
                "80 MiB",
            ),
            (
                scrypt(&[0x40, 0], &[8], &[0x10]),
                Some("its scrypt asks for 268435456 bytes"),
                "16 MiB in 16 lanes",
            ),
            (
                scrypt(&[0], &[1], &[1]),
                Some("in no known way"),
                "a cost of zero, at which pkcs5 panics",
            ),
            (
                [PBKDF2, &[0x30, 0x84, 0, 0, 0, 0]].concat(),
                Some("in no known way"),
                "a length that hides the number",
            ),
        ];
        for (der, wanted, why) in cases {
            let found = check_cost(&der);
            match wanted {
                None => assert_eq!(found, Ok(()), "{why}"),
                Some(wanted) => assert!(
                    found.as_ref().is_err_and(|err| err.contains(wanted)),
                    "{why}: {found:?}"
                ),
            }
        }
    }
}
