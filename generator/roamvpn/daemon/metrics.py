"""What a daemon counts, in the format that Prometheus scrapes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry a daemon, so that several may live in one process."""

    def __init__(self, node: str) -> None:
        self.registry = CollectorRegistry()
        self._node = node
        self.received = self.counter("messages_received", "Messages received by name.", "message")
        self.sent = self.counter("messages_sent", "Messages sent by name.", "message")
        self.refused = self.counter("refused", "What came in and was refused, by reason.", "reason")
        self.alarms = self.counter("alarms", "Alarms raised.")
        self.dropped = self.counter("events_dropped", "Events dropped because the queue was full.")
        self.entries = self.gauge("entries", "Table entries by role.", "role")
        self.queue = self.gauge("queue", "Events that wait.")
        self.saving = self.histogram("save_seconds", "Time to keep a batch of entries on disk.")
        self.registration = self.histogram("registration_seconds", "From a registration request to its reply.")
        self.apply = self.histogram("apply_seconds", "From what signalling asks for to tunnels in force.")

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter `roamvpn_NAME_total`."""
        return Counter(f"roamvpn_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge `roamvpn_NAME`."""
        return Gauge(f"roamvpn_{name}", text, labels, registry=self.registry)

    def histogram(self, name: str, text: str) -> Histogram:
        """A histogram of seconds, `roamvpn_NAME`."""
        return Histogram(f"roamvpn_{name}", text, buckets=_LATENCY, registry=self.registry)

    def text(self) -> bytes:
        """All of it, for a scrape."""
        return generate_latest(self.registry)
