"""Metrics and traces of pages, calls and events, for Prometheus and OpenTelemetry."""
