//! A nest beside an actix-web server, in one process.
//!
//! ```sh
//! cargo run -p web-server -- 127.0.0.1:8080 127.0.0.1:7101                  # the first
//! cargo run -p web-server -- 127.0.0.1:8081 127.0.0.1:7102 127.0.0.1:7101   # another, and where the first is
//! curl -X POST http://127.0.0.1:8080/visit                           # one more, counted for both
//! curl http://127.0.0.1:8080/live                                    # a response that doesn't end
//! ```
//!
//! With `FLOCK_KEY` in the environment of both (`openssl rand -hex 32`), nests without it stay out, and the nests' own
//! addresses may be such as other machines reach.
//!
//! SIGTERM ends one of them in good order: no request that it has accepted fails, and the count goes on
//! at the other.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use flock_actix::Flock;
use futures_util::stream;
use web::{Bytes, Data};
use web_server::{VISITS, Visit, Visits};

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: web-server HTTP-ADDRESS NEST-ADDRESS [SEED]...";
    let (address, nest) = words.next().zip(words.next()).context(usage)?;
    let flock = web_server::builder()?.bind(nest).seeds(words).species::<Visits>().join().await?;
    flock.start_or_get::<Visits>(VISITS, ()).await?;
    let nest = flock.address().context("a nest that joined listens somewhere")?;

    let shared = Data::new(flock.clone());
    let app = move || {
        let app = App::new().app_data(shared.clone());
        app.route("/visit", web::post().to(visit)).route("/live", web::get().to(live))
    };
    let server = HttpServer::new(app).bind(address)?;
    println!("nest {nest} http {}", server.addrs().first().context("an address")?);

    server.shutdown_timeout(5).run().await?; // returns after SIGTERM, its requests finished
    flock.leave().await?;
    Ok(())
}

async fn visit(flock: Data<Flock>) -> actix_web::Result<String> {
    let visits =
        flock.bird::<Visits>(VISITS).map_err(actix_web::error::ErrorInternalServerError)?;
    let count = visits.send(Visit).await.map_err(actix_web::error::ErrorServiceUnavailable)?;
    Ok(count.to_string())
}

/// Goes on until the client or the server ends it.
async fn live() -> HttpResponse {
    let ticks = stream::unfold((), async |()| {
        actix_web::rt::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, actix_web::Error>(Bytes::from_static(b"data: tick\n\n")), ()))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(ticks)
}
