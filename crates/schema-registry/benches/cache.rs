//! What finding an answer in the cache costs, among a hundred others.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use klamm_schema_registry::{Cache, Limits, Lookup};

fn cache(criterion: &mut Criterion) {
    let cache: Cache<Lookup, Arc<str>, ()> = Cache::new(Limits {
        entries: 1000,
        answers_live: None,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let lookup = |id| Lookup::Id {
        id,
        subject: Some(Arc::from("orders-value")),
    };
    runtime.block_on(async {
        for id in 0..100 {
            let fetch = async { Ok(Arc::from("schema")) };
            cache
                .get_or_fetch(&lookup(id), |()| Duration::ZERO, fetch)
                .await
                .unwrap();
        }
    });
    let wanted = lookup(42);
    criterion.bench_function("cache hit", |bencher| {
        bencher.iter(|| cache.get(black_box(&wanted)).unwrap());
    });
}

criterion_group!(benches, cache);
criterion_main!(benches);
