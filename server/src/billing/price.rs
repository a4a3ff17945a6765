//! Prices, and what usage costs at them.
//!
//! A price is US dollars per million tokens (or per million of another unit), an exact decimal with up to twelve
//! places. A cost is the exact sum over all units, rounded once, half to even, to a whole nano-dollar.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use weir_dialect::neutral::Usage;

use super::Money;

const PLACES: u32 = 12;
const SCALE: u64 = 10u64.pow(PLACES);
/// 10^-12 dollars per million units are 10^-18 dollars a unit; so many of them are one nano-dollar.
const PER_NANO: i128 = 1_000_000_000;

/// US dollars per million units, exact to twelve places, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

/// Why a price cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("is not a plain decimal number such as \"0.15\"")]
    NotANumber,
    #[error("must not be negative")]
    Negative,
    #[error("has more than {PLACES} decimal places")]
    TooFine,
    #[error("is larger than 1000000 dollars per million")]
    TooLarge,
}

impl FromStr for Price {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.starts_with('-') {
            return Err(Error::Negative);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(Error::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > PLACES as usize {
            return Err(Error::TooFine);
        }
        let whole: u64 = whole.parse().map_err(|_| Error::TooLarge)?;
        if whole > 1_000_000 {
            return Err(Error::TooLarge);
        }
        let scale = 10u64.pow(PLACES - fraction.len() as u32);
        let fraction: u64 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().map_err(|_| Error::TooFine)?
        };
        whole
            .checked_mul(SCALE)
            .and_then(|whole| whole.checked_add(fraction * scale))
            .map(Self)
            .ok_or(Error::TooLarge)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, mut fraction) = (self.0 / SCALE, self.0 % SCALE);
        if fraction == 0 {
            return write!(formatter, "{whole}");
        }
        let mut places = PLACES as usize;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            places -= 1;
        }
        write!(formatter, "{whole}.{fraction:0places$}")
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Price({self})")
    }
}

impl Serialize for Price {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| serde::de::Error::custom(format!("the price {text:?} {error}")))
    }
}

/// The prices of one model. Where a part has no price of its own it is billed as what it is a part of: cached input as
/// input, reasoning as output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Input tokens that are in none of the parts below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Price>,
    /// Input tokens that the vendor read from its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Price>,
    /// Input tokens that the vendor wrote to its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Price>,
    /// Output tokens that are in none of the parts below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Price>,
    /// Output tokens of reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_input: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output: Option<Price>,
    /// Per million requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Price>,
}

impl Rates {
    /// Whether there is no price at all: the model is `unpriced`.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the usage of one attempt costs: exact, then rounded half to even to a whole nano-dollar. Beyond what
    /// [`Money`] can hold it is the largest amount.
    pub fn cost(&self, usage: &Usage) -> Money {
        let zero = Price(0);
        let input = self.input.unwrap_or(zero);
        let output = self.output.unwrap_or(zero);
        let input_parts = [
            (usage.cached_read, self.cached_input.unwrap_or(input)),
            (usage.cached_write, self.cache_write.unwrap_or(input)),
            (usage.audio_input, self.audio_input.unwrap_or(input)),
            (usage.image_input, self.image_input.unwrap_or(input)),
        ];
        let output_parts = [
            (usage.reasoning, self.reasoning.unwrap_or(output)),
            (usage.audio_output, self.audio_output.unwrap_or(output)),
            (usage.image_output, self.image_output.unwrap_or(output)),
        ];
        let exact = split(usage.input, input, &input_parts)
            + split(usage.output, output, &output_parts)
            + times(1, self.request.unwrap_or(zero));
        Money::from_nanos(i64::try_from(half_to_even(exact, PER_NANO)).unwrap_or(i64::MAX))
    }
}

impl Rates {
    /// The most that so many tokens can cost, whatever they turn out to be: each at the dearest price that a token of its
    /// side has, rounded up to a whole nano-dollar.
    pub fn most(&self, input: u64, output: u64) -> Money {
        let exact = times(input, self.dearest_input())
            + times(output, self.dearest_output())
            + times(1, self.request.unwrap_or(Price(0)));
        let nanos = exact / PER_NANO + i128::from(exact % PER_NANO > 0);
        Money::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// How many output tokens so many nano-dollars surely pay; `None` where output costs nothing.
    pub fn output_for(&self, nanos: u64) -> Option<u64> {
        match self.dearest_output() {
            Price(0) => None,
            Price(price) => {
                let tokens = i128::from(nanos) * PER_NANO / i128::from(price);
                Some(u64::try_from(tokens).unwrap_or(u64::MAX))
            }
        }
    }

    fn dearest_input(&self) -> Price {
        let all = [
            self.input,
            self.cached_input,
            self.cache_write,
            self.audio_input,
            self.image_input,
        ];
        all.into_iter().flatten().max().unwrap_or(Price(0))
    }

    fn dearest_output(&self) -> Price {
        let all = [
            self.output,
            self.reasoning,
            self.audio_output,
            self.image_output,
        ];
        all.into_iter().flatten().max().unwrap_or(Price(0))
    }
}

/// A total whose parts are priced apart, each token once; parts beyond the total are not billed twice.
fn split(total: u64, price: Price, parts: &[(u64, Price)]) -> i128 {
    let mut left = total;
    let mut sum = 0;
    for (tokens, part_price) in parts {
        let tokens = (*tokens).min(left);
        left -= tokens;
        sum += times(tokens, *part_price);
    }
    sum + times(left, price)
}

fn times(units: u64, price: Price) -> i128 {
    i128::from(units) * i128::from(price.0)
}

/// `value / divisor`, halves to the even neighbour; both are not negative.
fn half_to_even(value: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (value / divisor, value % divisor);
    match (remainder * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
    }
}

/// A model's prices from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatedPrice {
    /// Unix milliseconds from which the rates hold.
    pub effective_ms: i64,
    pub rates: Rates,
}

/// The rates in force at `at_ms`, among prices in any order.
pub fn in_force(prices: &[DatedPrice], at_ms: i64) -> Option<&Rates> {
    let started = prices.iter().filter(|price| price.effective_ms <= at_ms);
    started
        .max_by_key(|price| price.effective_ms)
        .map(|price| &price.rates)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(text: &str) -> Price {
        text.parse().expect("a price")
    }

    fn rates(input: &str, output: &str) -> Rates {
        Rates {
            input: Some(price(input)),
            output: Some(price(output)),
            ..Rates::default()
        }
    }

    #[test]
    fn prices_are_read_and_written_exactly() {
        for text in [
            "0",
            "0.15",
            "0.075",
            "15",
            "1000000",
            "0.000000000001",
            "2.5",
        ] {
            assert_eq!(price(text).to_string(), text);
        }
        for (text, error) in [
            ("", Error::NotANumber),
            ("1e3", Error::NotANumber),
            (".5", Error::NotANumber),
            ("NaN", Error::NotANumber),
            ("-0.1", Error::Negative),
            ("0.0000000000001", Error::TooFine),
            ("1000001", Error::TooLarge),
            ("99999999999999999999999", Error::TooLarge),
        ] {
            assert_eq!(text.parse::<Price>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_cost_is_exact_and_rounded_once() {
        let usage = Usage {
            input: 1000,
            cached_read: 400,
            output: 200,
            ..Usage::default()
        };
        let rates = Rates {
            cached_input: Some(price("0.075")),
            ..rates("0.15", "0.60")
        };
        // 600 * 0.15 + 400 * 0.075 + 200 * 0.60 dollars per million
        assert_eq!(rates.cost(&usage), Money::from_nanos(240_000));
        let one = Usage {
            input: 1,
            ..Usage::default()
        };
        assert_eq!(
            self::rates("0.0005", "0").cost(&one),
            Money::from_nanos(0),
            "half of a nano-dollar goes to even"
        );
        assert_eq!(self::rates("0.0015", "0").cost(&one), Money::from_nanos(2));
        assert_eq!(
            self::rates("0.000501", "0").cost(&one),
            Money::from_nanos(1)
        );
    }

    #[test]
    fn parts_are_never_billed_twice() {
        let usage = Usage {
            input: 10,
            cached_read: 8,
            audio_input: 8,
            output: 5,
            reasoning: 9,
            ..Usage::default()
        };
        assert_eq!(rates("1", "1").cost(&usage), Money::from_nanos(15_000));
    }

    #[test]
    fn a_nonsensical_usage_costs_the_most_there_is() {
        let usage = Usage {
            input: u64::MAX,
            output: u64::MAX,
            ..Usage::default()
        };
        assert_eq!(
            rates("1000000", "1000000").cost(&usage),
            Money::from_nanos(i64::MAX)
        );
    }

    #[test]
    fn the_latest_started_price_is_in_force() {
        let dated = |effective_ms, input| DatedPrice {
            effective_ms,
            rates: rates(input, "0"),
        };
        let prices = [dated(200, "2"), dated(100, "1")];
        assert_eq!(in_force(&prices, 99), None);
        assert_eq!(in_force(&prices, 199), Some(&prices[1].rates));
        assert_eq!(in_force(&prices, 200), Some(&prices[0].rates));
    }

    proptest! {
        #[test]
        fn no_usage_costs_more_than_the_most(
            input in 0u64..1 << 30, output in 0u64..1 << 30, parts in prop::array::uniform7(0u64..1 << 30),
            prices in prop::array::uniform10(prop::option::of(0..100 * SCALE)),
        ) {
            let [input_price, cached_input, cache_write, audio_input, image_input, output_price, reasoning, audio_output, image_output, request] =
                prices.map(|price| price.map(Price));
            let rates = Rates {
                input: input_price, cached_input, cache_write, audio_input, image_input,
                output: output_price, reasoning, audio_output, image_output, request,
            };
            let [cached_read, cached_write, audio_in, image_in, reasoned, audio_out, image_out] = parts;
            let usage = Usage {
                input, cached_read, cached_write, audio_input: audio_in, image_input: image_in,
                output, reasoning: reasoned, audio_output: audio_out, image_output: image_out,
            };
            prop_assert!(rates.cost(&usage) <= rates.most(input, output));
        }

        #[test]
        fn what_is_enough_for_some_tokens_pays_them(nanos in 0u64..1 << 50, raw in 1..1000 * SCALE) {
            let rates = Rates { output: Some(Price(raw)), ..Rates::default() };
            let tokens = rates.output_for(nanos).expect("output costs");
            let cost = |tokens| i128::from(rates.most(0, tokens).nanos());
            prop_assert!(cost(tokens) <= i128::from(nanos));
            prop_assert!(cost(tokens + 1) > i128::from(nanos));
        }

        #[test]
        fn any_price_survives_writing(raw in 0..=1_000_000 * SCALE) {
            prop_assert_eq!(price(&Price(raw).to_string()), Price(raw));
        }

        #[test]
        fn a_cost_is_within_half_a_nano_dollar(input in 0u64..1 << 40, raw in 0..1000 * SCALE) {
            let rates = Rates { input: Some(Price(raw)), ..Rates::default() };
            let exact = i128::from(input) * i128::from(raw);
            let cost = rates.cost(&Usage { input, ..Usage::default() });
            let off = (exact - i128::from(cost.nanos()) * PER_NANO).abs();
            prop_assert!(cost.nanos() == i64::MAX || off * 2 <= PER_NANO);
        }
    }
}
