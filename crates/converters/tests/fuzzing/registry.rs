//! A registry of this process, Confluent's and AWS's at once, that has the last schemas.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

/// Schemas that can be asked for: what is asked for is asked at once.
const KEPT: usize = 16;

#[derive(Clone)]
struct Registered {
    id: i32,
    schema_type: &'static str,
    schema: String,
    /// What is the latest version of the subject, if that is another one.
    latest: Option<String>,
}

pub(crate) struct Registry {
    pub(crate) url: String,
    schemas: Arc<Mutex<VecDeque<Registered>>>,
    next: i32,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let schemas = Arc::default();
        let known = Arc::clone(&schemas);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = Arc::clone(&known);
                std::thread::spawn(move || serve(stream, &known));
            }
        });
        Self { url, schemas, next: 0 }
    }

    /// Registers a schema under an id that was not used before.
    pub(crate) fn add(&mut self, schema_type: &'static str, schema: String, latest: Option<String>) -> i32 {
        self.next += 1;
        let mut schemas = self.schemas.lock().unwrap();
        schemas.push_back(Registered {
            id: self.next,
            schema_type,
            schema,
            latest,
        });
        if schemas.len() > KEPT {
            schemas.pop_front();
        }
        self.next
    }
}

fn serve(mut stream: TcpStream, schemas: &Mutex<VecDeque<Registered>>) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if head.starts_with("POST") && !body.ends_with('}') {
            continue;
        }
        bytes.clear();
        let (status, answer) = answer(head, body, schemas);
        let answer = answer.to_string();
        let length = answer.len();
        let sent = write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        if sent.is_err() {
            return;
        }
    }
}

fn answer(head: &str, body: &str, schemas: &Mutex<VecDeque<Registered>>) -> (u16, serde_json::Value) {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let schemas = schemas.lock().unwrap();
    let by = |id: Option<u128>| {
        schemas
            .iter()
            .find(|known| u128::try_from(known.id).ok() == id)
            .cloned()
    };
    if head.starts_with("POST") {
        let id = body.split('"').nth(3).and_then(|text| uuid::Uuid::parse_str(text).ok());
        return match by(id.map(|id| id.as_u128())) {
            Some(known) => (
                200,
                json!({"SchemaDefinition": known.schema, "DataFormat": known.schema_type, "VersionNumber": 1}),
            ),
            None => (400, json!({"__type": "EntityNotFoundException", "Message": "gone"})),
        };
    }
    if last == "latest" {
        let known = schemas.back().unwrap();
        let schema = known.latest.as_ref().unwrap_or(&known.schema);
        return (
            200,
            json!({"schema": schema, "schemaType": known.schema_type, "id": 0, "version": 2}),
        );
    }
    let id = last
        .parse()
        .ok()
        .or_else(|| uuid::Uuid::parse_str(last).ok().map(|id| id.as_u128()));
    match by(id) {
        Some(known) => (200, json!({"schema": known.schema, "schemaType": known.schema_type})),
        None => (404, json!({"error_code": 40403, "message": "no schema"})),
    }
}
