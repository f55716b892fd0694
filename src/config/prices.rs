//! What a service asks for requests and bytes, as a configuration file says it; no program knows the prices of tomorrow.
//!
//! ```toml
//! [prices]
//! currency = "CNY"
//! per_10000_read_requests = 0.01
//! per_10000_write_requests = 0.01
//! per_gib_down = 0.5
//!
//! [bucket.photos-1250000000.prices]
//! per_gib_down = 0.0
//! ```

use toml::{Table, Value};

/// What requests and bytes cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// In which currency.
    pub currency: String,
    /// 10,000 requests that read; `None` where nobody has said it.
    pub per_10000_read_requests: Option<f64>,
    /// 10,000 requests that write.
    pub per_10000_write_requests: Option<f64>,
    /// 1 GiB that comes from the service.
    pub per_gib_down: Option<f64>,
}

/// What one section says of prices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SaidPrices {
    currency: Option<String>,
    per_10000_read_requests: Option<f64>,
    per_10000_write_requests: Option<f64>,
    per_gib_down: Option<f64>,
}

impl SaidPrices {
    /// Reads a table. The error is the name of what is wrong, and why.
    pub(super) fn read(table: &Table) -> Result<SaidPrices, (String, String)> {
        let mut said = SaidPrices::default();
        for (name, value) in table {
            let refused = |reason: &str| Err((format!("prices.{name}"), reason.to_owned()));
            let price = match name.as_str() {
                "currency" => {
                    match value.as_str() {
                        Some(text) if is_currency(text) => said.currency = Some(text.to_owned()),
                        _ => return refused("is not a currency; write its three letters, for example \"CNY\""),
                    }
                    continue;
                }
                "per_10000_read_requests" => &mut said.per_10000_read_requests,
                "per_10000_write_requests" => &mut said.per_10000_write_requests,
                "per_gib_down" => &mut said.per_gib_down,
                _ => {
                    return refused(
                        "there is no such price; there are per_10000_read_requests, per_10000_write_requests, \
                         per_gib_down and their currency",
                    );
                }
            };
            *price = match amount(value) {
                Some(amount) => Some(amount),
                None => return refused("is not a price; write a number that is not negative, for example 0.01"),
            };
        }
        Ok(said)
    }

    /// What `self` says, and where it says nothing, what `lower` says.
    pub(super) fn over(self, lower: SaidPrices) -> SaidPrices {
        SaidPrices {
            currency: self.currency.or(lower.currency),
            per_10000_read_requests: self.per_10000_read_requests.or(lower.per_10000_read_requests),
            per_10000_write_requests: self.per_10000_write_requests.or(lower.per_10000_write_requests),
            per_gib_down: self.per_gib_down.or(lower.per_gib_down),
        }
    }

    /// The prices, if there are any.
    pub(super) fn decided(self) -> Result<Option<Prices>, String> {
        let SaidPrices { currency, per_10000_read_requests, per_10000_write_requests, per_gib_down } = self;
        if [per_10000_read_requests, per_10000_write_requests, per_gib_down].iter().all(Option::is_none) {
            return Ok(None);
        }
        let currency = currency.ok_or("there are prices without a currency; add for example currency = \"CNY\"")?;
        Ok(Some(Prices { currency, per_10000_read_requests, per_10000_write_requests, per_gib_down }))
    }
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.chars().all(|letter| letter.is_ascii_uppercase())
}

fn amount(value: &Value) -> Option<f64> {
    let amount = value.as_float().or_else(|| value.as_integer().map(|number| number as f64))?;
    (amount.is_finite() && amount >= 0.0).then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SaidPrices, (String, String)> {
        SaidPrices::read(&text.parse().unwrap())
    }

    #[test]
    fn prices_have_a_currency_and_are_laid_over_each_other() {
        let common = read("currency = 'CNY'\nper_10000_read_requests = 0.01\nper_gib_down = 1").unwrap();
        let own = read("per_gib_down = 0.0").unwrap();
        let prices = own.clone().over(common).decided().unwrap().unwrap();
        assert_eq!((prices.currency.as_str(), prices.per_10000_read_requests), ("CNY", Some(0.01)));
        assert_eq!((prices.per_10000_write_requests, prices.per_gib_down), (None, Some(0.0)));
        assert!(own.decided().unwrap_err().contains("currency"));
        assert_eq!(read("currency = 'USD'").unwrap().decided(), Ok(None));
    }

    #[test]
    fn what_is_no_price_is_named() {
        let table = [
            ("currency = 'yuan'", "prices.currency"),
            ("per_gib_down = -1.0", "prices.per_gib_down"),
            ("per_gib_down = nan", "prices.per_gib_down"),
            ("per_gib_down = '1'", "prices.per_gib_down"),
            ("per_gib_up = 1.0", "prices.per_gib_up"),
        ];
        for (text, name) in table {
            assert_eq!(read(text).unwrap_err().0, name, "{text}");
        }
    }
}
