//! Converters without schemas: texts, numbers, raw bytes, and the literals of headers.

use bytes::Bytes;
use klamm_connect_api::{ConfigDef, RawConfig, Rendering, json};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::check::Check;
use super::damage::{self, damaged};

const LITERALS: [&str; 14] = [
    "null",
    "true",
    "[1,2,3]",
    r#"{"a":1,"b":[1.5,null]}"#,
    "-9223372036854775808",
    "9223372036854775808",
    "1e400",
    "2024-05-01",
    "10:15:30.123Z",
    "2024-05-01T10:15:30.123Z",
    "\"quoted\"",
    "{1:2,3:4}",
    "[[[[1]]]]",
    "0.00000000000000000001",
];

pub(crate) fn run(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let plugins = klamm_converters::header_converters();
    let plugin = plugins.choose(rng).unwrap();
    let encodings = ["UTF-8", "ISO-8859-1", "UTF-16", "UTF-16BE", "US-ASCII", "windows-1252"];
    let mut raw = RawConfig::new();
    if has(&(plugin.config_def)(), "converter.encoding") {
        raw.insert(
            "converter.encoding".to_owned(),
            (*encodings.choose(rng).unwrap()).to_owned(),
        );
    }
    if has(&(plugin.config_def)(), "schemas.enable") {
        raw.insert("schemas.enable".to_owned(), "false".to_owned());
    }
    let Ok(parsed) = (plugin.config_def)().parse(&raw) else {
        return Ok(());
    };
    let Ok(converter) = (plugin.create)(&parsed) else {
        return Ok(());
    };
    for _ in 0..50 {
        let mut bytes = match rng.random_range(0..3_u8) {
            0 => LITERALS.choose(rng).unwrap().as_bytes().to_vec(),
            1 => damage::text(rng).into_bytes(),
            _ => (0..rng.random_range(0..10)).map(|_| rng.random()).collect(),
        };
        if rng.random() {
            bytes = damaged(&bytes, rng);
        }
        let bytes = Bytes::from(bytes);
        let read = || {
            let datum = converter.to_connect_header("t", "h", Some(&bytes))?;
            let mut out = Vec::new();
            json::write(&datum.decode()?, Rendering::Connect, &mut out)?;
            Ok::<_, klamm_connect_api::DataError>(out)
        };
        let told = |what: String| format!("{what}\n  {} {raw:?}\n  bytes {bytes:02x?}", plugin.info.class);
        let (outcome, held) = Check::guarded(read).map_err(told)?;
        check.counts.inputs += 1;
        check.counts.most_bytes = check.counts.most_bytes.max(held);
        if held > 64 * 1024 + 1024 * bytes.len() {
            return Err(told(format!("held {held} bytes")));
        }
        if let Ok(out) = outcome {
            check.counts.accepted += 1;
            if out.len() > 64 + 16 * bytes.len() {
                return Err(told(format!("{} bytes of JSON", out.len())));
            }
        }
    }
    Ok(())
}

fn has(def: &ConfigDef, key: &str) -> bool {
    def.keys().iter().any(|known| known.name == key)
}
