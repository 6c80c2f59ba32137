//! Traces over OTLP, for builds with the feature `otel`: sends the server's spans to the operator's collector. It never
//! delays a request: spans that cannot be sent are dropped.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing_opentelemetry::OpenTelemetryLayer;

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The time limit for sending a batch of spans, and for the last batch at the end.
const SEND: Duration = Duration::from_secs(5);

/// The exporter of traces.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Makes an exporter to a collector, given by its whole URL, such as `http://collector.example:4318/v1/traces`. It
    /// must be called in a tokio runtime.
    ///
    /// # Errors
    /// `otlp`: the URL cannot be used.
    pub fn to(collector: &str) -> Result<Self, Problem> {
        // The exporter's client needs a TLS provider even for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(collector)
            .with_timeout(SEND)
            .build();
        let exporter = exporter.map_err(|error| {
            let message = format!("traces cannot be sent to {collector}: {error}");
            let help = "`otlp` under [server] is the collector's whole URL";
            Problem::one(Class::Invalid, Diagnostic::new("otlp", message).help(help))
        })?;
        let batches = BatchSpanProcessor::builder(exporter, Tokio).build();
        let resource = Resource::builder().with_service_name("orghost").build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(batches)
            .with_resource(resource);
        Ok(Self(provider.build()))
    }

    /// Makes the layer that turns `tracing` spans into traces.
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, Tracer>
    where
        S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("orghost"))
    }

    /// Sends the remaining spans and ends the exporter.
    pub async fn finish(self) {
        let sent = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(SEND)).await;
        if let Ok(Err(error)) = sent {
            crate::cli::render::text::note(&format!("the last traces were not sent: {error}"));
        }
    }
}
