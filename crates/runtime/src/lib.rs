//! Worker, Herder, connector and task lifecycle.
