//! The service, as `protoc` would give it from
//!
//! ```proto
//! service Echo { rpc Call (Ping) returns (Pong); }
//! ```

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let call = Method::builder()
        .name("call")
        .route_name("Call")
        .input_type("crate::Ping")
        .output_type("crate::Pong")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let echo = Service::builder().package("peer").name("Echo").method(call).build();
    Builder::new().compile(&[echo]);
}
