//! The service runs to its end by itself.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Command;

#[test]
fn all_orders_are_delivered() {
    let output = Command::new(env!("CARGO_BIN_EXE_embedded-worker"))
        .env_remove("BOOTSTRAP_SERVERS")
        .env_remove("FUNCTION")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("order-fn was called with"), "{out}");
    assert!(out.contains("all orders before offset 20 are delivered"), "{out}");
    assert!(out.contains("connector is PAUSED"), "{out}");
}
