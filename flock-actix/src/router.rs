//! The `Router`: the flock's face for other actors.
//!
//! It takes [`Call`] and [`Cast`] as plain actix messages and hands them to the same data plane
//! that a [`BirdRef`](crate::BirdRef) uses directly. It keeps nothing itself, so there may be any
//! number of routers.

use actix::prelude::*;

use crate::bird::{Hears, Wire};
use crate::call::{Call, CallError, Cast};

/// The actor that takes [`Call`]s and [`Cast`]s for birds.
#[derive(Debug, Default)]
pub struct Router(());

/// Messages that may wait at the router before senders who ask politely are made to wait.
const MAILBOX: usize = 4096;

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl<B: Hears<M>, M: Wire> Handler<Call<B, M>> for Router {
    type Result = ResponseFuture<Result<M::Result, CallError>>;

    fn handle(&mut self, Call { to, message }: Call<B, M>, _: &mut Context<Self>) -> Self::Result {
        // Sent here and now, not when the future is polled: calls keep their order.
        Box::pin(to.send(message).at_once())
    }
}

impl<B: Hears<M>, M: Wire> Handler<Cast<B, M>> for Router {
    type Result = ();

    fn handle(&mut self, Cast { to, message }: Cast<B, M>, _: &mut Context<Self>) {
        to.do_send(message);
    }
}
