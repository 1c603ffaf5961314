"""A stream of numbered datagrams both ways, to see what a change costs."""

from __future__ import annotations

import struct
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.lab.guest.probes import PORT, _udp

if TYPE_CHECKING:
    import socket

INTERVAL = 0.005


class Stream:
    """From one namespace to another and back, one probe each way every 5 ms, until it is stopped."""

    def __init__(self, near: str, near_address: str, far: str, far_address: str) -> None:
        self._ends = {"up": _udp(near, near_address), "down": _udp(far, far_address)}
        self._to = {"up": (far_address, PORT), "down": (near_address, PORT)}
        self._sent = 0
        self._got: dict[str, dict[int, float]] = {"up": {}, "down": {}}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send)]
        # what goes up arrives at the far end
        self._threads += [
            threading.Thread(target=self._receive, args=(way, self._ends["down" if way == "up" else "up"]))
            for way in ("up", "down")
        ]
        for end in self._ends.values():
            end.settimeout(1.0)
        for thread in self._threads:
            thread.start()
        while not all(self._got.values()):
            if self._sent > 1000:
                raise RuntimeError(f"nothing arrives: {self.told()}")
            time.sleep(0.01)

    def stop(self) -> dict[str, list[int]]:
        """End it; returns the numbers that were lost, by direction. Those before the first that came do not count."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for end in self._ends.values():
            end.close()
        return {
            way: [number for number in range(min(got), self._sent) if number not in got]
            for way, got in self._got.items()
        }

    def told(self) -> str:
        """How many were sent, and the longest pause on each way."""
        gaps = {}
        for way, got in self._got.items():
            times = sorted(got.values())
            gaps[way] = round(1000 * max((b - a for a, b in pairwise(times)), default=0.0), 1)
        return f"{self._sent} probes each way, longest pause in ms {gaps}"

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            for way, end in self._ends.items():
                end.sendto(struct.pack("!I", self._sent), self._to[way])
            self._sent += 1
            due += INTERVAL
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self, way: str, end: socket.socket) -> None:
        while True:
            try:
                data = end.recv(64)
            except TimeoutError:
                if self._over.is_set():
                    return
                continue
            self._got[way][struct.unpack("!I", data)[0]] = time.monotonic()
