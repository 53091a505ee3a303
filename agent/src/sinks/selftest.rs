//! One harmless alert through each sink, once.

use std::sync::Arc;

use super::{Host, Opened, Outputs, open};
use crate::alert::Alert;

/// How a sink fared: nothing, or why the alert did not arrive.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// What went wrong.
    pub result: anyhow::Result<()>,
}

/// Delivers the alert through each configured sink, whatever its least level is, and does not try again.
pub fn deliver(outputs: &Outputs, host: &Arc<Host>, alert: &Arc<Alert>) -> anyhow::Result<Vec<Outcome>> {
    let opened = open(outputs, host)?;
    let outcomes = opened.into_iter().map(|Opened { name, mut sink, .. }| {
        let delivered = sink.deliver(std::slice::from_ref(alert)).and_then(|()| sink.confirm());
        Outcome {
            name,
            result: delivered.map_err(super::Failure::into_error),
        }
    });
    Ok(outcomes.collect())
}
