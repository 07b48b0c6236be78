//! What a preview costs is paid on threads of its own, and no longer than somebody waits for it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use klamm_connect_api::{
    ConfigDef, Converter, ConverterPlugin, CreateConverter, DataError, Datum, PluginInfo, PluginKind, RawHeader,
};
use serde_json::{Value, json};
use support::{Answer, about, herder_with, send};

/// Where converters wait until the test lets them on.
#[derive(Debug)]
struct Gate {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct GateState {
    is_open: bool,
    entered: usize,
    /// Converters that somebody holds.
    converters: usize,
}

impl Gate {
    const fn new() -> Self {
        Self {
            state: Mutex::new(GateState {
                is_open: false,
                entered: 0,
                converters: 0,
            }),
            opened: Condvar::new(),
        }
    }

    fn state(&self) -> GateState {
        *self.state.lock().unwrap()
    }

    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.opened.notify_all();
    }

    /// A test that never opens it ends with an error, not in a hang.
    fn pass(&self) -> Result<(), DataError> {
        let mut state = self.state.lock().unwrap();
        state.entered += 1;
        let patience = Duration::from_secs(20);
        let waited = self.opened.wait_timeout_while(state, patience, |state| !state.is_open);
        if waited.unwrap().1.timed_out() {
            return Err(DataError::data("the gate stayed shut"));
        }
        Ok(())
    }

    async fn wait_until(&self, holds: impl Fn(GateState) -> bool) {
        let wait = async {
            while !holds(self.state()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), wait).await;
        ended.unwrap_or_else(|_| panic!("the gate stayed at {:?}", self.state()));
    }
}

#[derive(Debug)]
struct GatedConverter(&'static Gate);

impl Converter for GatedConverter {
    fn to_connect(&self, _topic: &str, _headers: &[RawHeader], _bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        self.0.pass().map(|()| Datum::NULL)
    }
}

impl GatedConverter {
    fn new(gate: &'static Gate) -> Self {
        gate.state.lock().unwrap().converters += 1;
        Self(gate)
    }
}

impl Drop for GatedConverter {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().converters -= 1;
    }
}

async fn router(create: CreateConverter) -> Router {
    let info = PluginInfo {
        kind: PluginKind::Converter,
        class: "io.acme.GatedConverter",
        aliases: &[],
        version: "1",
    };
    let plugin = ConverterPlugin {
        info,
        config_def: ConfigDef::new,
        create,
    };
    klamm_rest::router(herder_with(vec![plugin]).await, about())
}

/// A preview of three records.
async fn preview(router: &Router) -> Answer {
    let record = json!({"topic": "t", "value": {"base64": "eyJhIjoxfQ=="}});
    let body = json!({
        "config": {"connector.class": "FileStreamSink", "value.converter": "io.acme.GatedConverter"},
        "records": [record, record, record],
    });
    let json = ("content-type", "application/json");
    let path = "/connector-plugins/FileStreamSink/config/preview";
    send(router, "POST", path, &[json], body.to_string()).await
}

/// Polls the request until its first record is at the gate.
async fn at_the_gate(request: &mut Request<'_>, gate: &Gate) {
    tokio::select! {
        answer = request => panic!("the preview has ended: {answer:?}"),
        () = gate.wait_until(|state| state.entered == 1) => {}
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

// One thread: whatever stalls it stalls every request.
#[tokio::test(flavor = "current_thread")]
async fn other_requests_are_answered_while_a_preview_computes() {
    static GATE: Gate = Gate::new();
    let router = router(|_, _| Ok(Arc::new(GatedConverter::new(&GATE)))).await;
    let mut request: Request<'_> = Box::pin(preview(&router));
    at_the_gate(&mut request, &GATE).await;
    assert_eq!(send(&router, "GET", "/", &[], "").await.status, 200);
    assert_eq!(GATE.state().entered, 1, "the preview waits meanwhile");
    GATE.open();
    let answer = request.await;
    assert_eq!(answer.status, 200);
    let outcomes = answer.body.as_array().unwrap();
    assert_eq!(outcomes.len(), 3);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome["record"]["value"]["payload"] == Value::Null),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_preview_that_nobody_waits_for_ends_after_the_record_in_hand() {
    static GATE: Gate = Gate::new();
    let router = router(|_, _| Ok(Arc::new(GatedConverter::new(&GATE)))).await;
    let mut request: Request<'_> = Box::pin(preview(&router));
    at_the_gate(&mut request, &GATE).await;
    drop(request);
    GATE.open();
    // The last one who holds the converter is the preview.
    GATE.wait_until(|state| state.converters == 0).await;
    assert_eq!(GATE.state().entered, 1, "the other two records were not converted");
}
