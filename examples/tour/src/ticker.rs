//! The bird of the tour: a ticker streams prices to one connected user, and knows how far it got.

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use flock_actix::{Bird, Hatching};
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

/// The next price, please.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Tick, NotStored>")]
pub struct Next;

/// A price, and its place in the user's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// 1 for the first.
    pub position: u64,
    /// In cents.
    pub price: u64,
}

/// The ticker answered, but it could not store its position: the tick is not acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NotStored(pub String);

impl std::fmt::Display for NotStored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StoreError> for NotStored {
    fn from(e: StoreError) -> Self {
        Self(e.to_string())
    }
}

/// What a ticker is hatched from, on any nest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Symbol(pub String);

/// Streams the prices of one symbol to one user.
#[derive(Debug)]
pub struct Ticker {
    name: String,
    symbol: Symbol,
    position: u64,
    store: Store,
}

impl Actor for Ticker {
    type Context = Context<Self>;
}

impl Bird for Ticker {
    type Args = Symbol;

    async fn hatch(symbol: Symbol, bird: &Hatching) -> anyhow::Result<Self> {
        // Wherever the last life ran, and however it ended: all that it acknowledged is here.
        let store = Store::here()?;
        let position = store.load(bird.name().as_str()).await?;
        Ok(Self { name: bird.name().to_string(), symbol, position, store })
    }
}

impl Handler<Next> for Ticker {
    type Result = ResponseFuture<Result<Tick, NotStored>>;

    /// Answers only once the position is stored. A crash before that may skip a price; no price
    /// that the user has seen is ever sent again.
    fn handle(&mut self, _: Next, _: &mut Self::Context) -> Self::Result {
        self.position += 1;
        let tick = Tick { position: self.position, price: price(&self.symbol, self.position) };
        let stored = self.store.save(&self.name, self.position);
        Box::pin(async move {
            stored.await?;
            Ok(tick)
        })
    }
}

flock_actix::bird!(Ticker as "ticker" { Next });

/// The name of the n-th user's ticker.
pub fn name(user: usize) -> String {
    format!("user-{user:04}")
}

/// The names of the first so many users' tickers.
pub fn names(users: usize) -> Vec<String> {
    (1..=users).map(name).collect()
}

/// The symbol that a user watches.
pub fn symbol(name: &str) -> Symbol {
    const SYMBOLS: [&str; 5] = ["ROBN", "WREN", "SWFT", "LARK", "GULL"];
    let pick = name.bytes().map(usize::from).sum::<usize>() % SYMBOLS.len();
    Symbol(SYMBOLS.get(pick).copied().unwrap_or("ROBN").into())
}

/// A made-up market: the same for everybody, so that a stream taken up elsewhere goes on as if
/// nothing had happened.
fn price(symbol: &Symbol, position: u64) -> u64 {
    let seed = symbol.0.bytes().fold(position, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    });
    10_000 + seed % 1_000
}
