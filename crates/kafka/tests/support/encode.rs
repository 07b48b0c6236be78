//! Writes record batches for tests: small, slow, and independent of the decoder.

use std::io::Write;

/// A record to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRecord {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// How the records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestCodec {
    None,
    Gzip,
    SnappyRaw,
    SnappyJava,
    Lz4,
    Zstd,
}

pub const CODECS: [TestCodec; 6] = [
    TestCodec::None,
    TestCodec::Gzip,
    TestCodec::SnappyRaw,
    TestCodec::SnappyJava,
    TestCodec::Lz4,
    TestCodec::Zstd,
];

/// A batch to write.
#[derive(Clone, Debug)]
pub struct TestBatch {
    pub base_offset: i64,
    pub last_offset_delta: i32,
    pub codec: TestCodec,
    pub is_log_append_time: bool,
    pub is_transactional: bool,
    pub is_control: bool,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer: (i64, i16, i32),
    pub records: Vec<TestRecord>,
}

impl TestBatch {
    /// Records at consecutive offsets from `base_offset`.
    pub fn new(base_offset: i64, mut records: Vec<TestRecord>) -> Self {
        for (delta, record) in (0..).zip(&mut records) {
            record.offset_delta = delta;
        }
        Self {
            base_offset,
            last_offset_delta: records.last().map_or(0, |last| last.offset_delta),
            codec: TestCodec::None,
            is_log_append_time: false,
            is_transactional: false,
            is_control: false,
            base_timestamp: 1_000,
            max_timestamp: 9_000,
            producer: (-1, -1, -1),
            records,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for record in &self.records {
            let mut body = vec![0];
            varint(&mut body, record.timestamp_delta);
            varint(&mut body, i64::from(record.offset_delta));
            bytes(&mut body, record.key.as_deref());
            bytes(&mut body, record.value.as_deref());
            varint(&mut body, i64::try_from(record.headers.len()).unwrap());
            for (name, value) in &record.headers {
                bytes(&mut body, Some(name));
                bytes(&mut body, value.as_deref());
            }
            varint(&mut records, i64::try_from(body.len()).unwrap());
            records.extend(body);
        }
        let (codec, records) = compress(self.codec, &records);
        let flag = |is_set: bool, bit: i16| if is_set { 1_i16 << bit } else { 0 };
        let attributes =
            codec | flag(self.is_log_append_time, 3) | flag(self.is_transactional, 4) | flag(self.is_control, 5);
        let mut checked = Vec::new();
        checked.extend(attributes.to_be_bytes());
        checked.extend(self.last_offset_delta.to_be_bytes());
        checked.extend(self.base_timestamp.to_be_bytes());
        checked.extend(self.max_timestamp.to_be_bytes());
        checked.extend(self.producer.0.to_be_bytes());
        checked.extend(self.producer.1.to_be_bytes());
        checked.extend(self.producer.2.to_be_bytes());
        checked.extend(i32::try_from(self.records.len()).unwrap().to_be_bytes());
        checked.extend(records);
        let mut batch = Vec::new();
        batch.extend(self.base_offset.to_be_bytes());
        batch.extend(i32::try_from(checked.len() + 9).unwrap().to_be_bytes());
        batch.extend(7_i32.to_be_bytes()); // leader epoch
        batch.push(2);
        batch.extend(crc32c::crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        batch
    }
}

/// Zigzag varint.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

fn bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, i64::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
}

fn compress(codec: TestCodec, plain: &[u8]) -> (i16, Vec<u8>) {
    let snappy = |plain: &[u8]| snap::raw::Encoder::new().compress_vec(plain).unwrap();
    match codec {
        TestCodec::None => (0, plain.to_vec()),
        TestCodec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            (1, encoder.finish().unwrap())
        }
        TestCodec::SnappyRaw => (2, snappy(plain)),
        TestCodec::SnappyJava => {
            let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for chunk in plain.chunks(100) {
                let block = snappy(chunk);
                out.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
                out.extend(block);
            }
            (2, out)
        }
        TestCodec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            (3, encoder.finish().unwrap())
        }
        TestCodec::Zstd => (
            4,
            ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
        ),
    }
}
