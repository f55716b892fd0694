//! What requests and bytes have cost so far, by the prices of the configuration: an estimate, and not a bill.
//!
//! COS asks for every request that reaches it, whether it succeeds or fails, and has one price for those that read and one
//! for those that write. Requests that remove something are counted among those that write: what the service says of its
//! prices counts them, and does not say under which of the two.

use std::collections::BTreeMap;

use super::status::{CostStatus, OperationStatus};
use crate::config::Prices;

/// How many requests a price is for.
const REQUESTS_PRICED: f64 = 10_000.0;

/// The bytes that a price is for.
const BYTES_PRICED: f64 = (1u64 << 30) as f64;

/// How a request ended that never came to the service, which asks nothing for it.
const NEVER_ARRIVED: &str = "unreachable";

/// What it has cost so far. What has no price is left out.
pub(super) fn cost(prices: &Prices, requests: &BTreeMap<String, OperationStatus>, bytes_down: u64) -> CostStatus {
    let (mut reads, mut writes) = (0, 0);
    for (name, operation) in requests {
        let arrived = operation.count - operation.results.get(NEVER_ARRIVED).copied().unwrap_or(0);
        *(if is_read(name) { &mut reads } else { &mut writes }) += arrived;
    }
    let priced = |name: &str, price: Option<f64>, amount: f64| Some((name.to_owned(), price? * amount));
    let by: BTreeMap<String, f64> = [
        priced("read_requests", prices.per_10000_read_requests, reads as f64 / REQUESTS_PRICED),
        priced("write_requests", prices.per_10000_write_requests, writes as f64 / REQUESTS_PRICED),
        priced("bytes_down", prices.per_gib_down, bytes_down as f64 / BYTES_PRICED),
    ]
    .into_iter()
    .flatten()
    .collect();
    CostStatus { currency: prices.currency.clone(), total: by.values().sum(), by }
}

/// Whether an operation only reads: GET and HEAD, listings among them.
fn is_read(operation: &str) -> bool {
    ["Get", "Head", "List"].iter().any(|beginning| operation.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(count: u64, unreachable: u64) -> OperationStatus {
        let results = BTreeMap::from([("ok".into(), count - unreachable), ("unreachable".into(), unreachable)]);
        OperationStatus { count, results, ..OperationStatus::default() }
    }

    #[test]
    fn reads_writes_and_bytes_are_priced_and_what_has_no_price_is_left_out() {
        let requests = BTreeMap::from([
            ("HeadObject".to_owned(), done(15_000, 0)),
            ("ListObjects".to_owned(), done(5_000, 0)),
            ("UploadPart".to_owned(), done(11_000, 1_000)),
            ("DeleteObject".to_owned(), done(10_000, 0)),
        ]);
        let prices = Prices {
            currency: "CNY".into(),
            per_10000_read_requests: Some(0.01),
            per_10000_write_requests: Some(0.1),
            per_gib_down: None,
        };
        let found = cost(&prices, &requests, 1 << 30);
        assert_eq!(found.by, BTreeMap::from([("read_requests".into(), 0.02), ("write_requests".into(), 0.2)]));
        assert!((found.total - 0.22).abs() < 1e-12 && found.currency == "CNY");
        let bytes = cost(&Prices { per_gib_down: Some(0.5), ..prices }, &requests, 3 << 29);
        assert_eq!(bytes.by["bytes_down"], 0.75);
    }

    /// Every operation there is is one or the other on purpose.
    #[test]
    fn what_reads_is_known_by_its_name() {
        let reads = crate::wire::Op::ALL.iter().map(|op| op.name()).filter(|name| is_read(name));
        let reads: Vec<_> = reads.collect();
        let expected = [
            "GetService",
            "HeadBucket",
            "GetBucketLocation",
            "GetBucketVersioning",
            "GetBucketLifecycle",
            "ListObjects",
            "ListMultipartUploads",
            "HeadObject",
            "GetObject",
            "ListParts",
            "GetObjectTagging",
            "GetObjectAcl",
            "ListObjectVersions",
            "GetBucketConfiguration",
            "GetObjectAttributes",
        ];
        assert_eq!(reads, expected);
    }
}
