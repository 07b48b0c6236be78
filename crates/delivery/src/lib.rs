//! The delivery engine: lanes, batches, attempts, ledger.
