"""The base protocol's own messages: capabilities, watchdog, disconnect (RFC 6733 section 5)."""

from __future__ import annotations

import re
from typing import NamedTuple

from roamvpn.wire import diameter_avps as a
from roamvpn.wire import diameter_frames as f
from roamvpn.wire.diameter_frames import DiameterError, Header, pack_message

CAPABILITIES_EXCHANGE, DEVICE_WATCHDOG, DISCONNECT_PEER = 257, 280, 282
SUCCESS = 2001
RELAY = 0xFFFFFFFF
"""The application that relays advertise: all."""
REBOOTING, BUSY, DO_NOT_WANT_TO_TALK_TO_YOU = 0, 1, 2
_MAX_ADVERTISED = 256
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+")


class Capabilities(NamedTuple):
    """What a peer says of itself in CER or CEA."""

    identity: str
    realm: str
    applications: frozenset[int]
    state: int = 0
    result: int | None = None

    def serves(self, application: int) -> bool:
        """Whether requests of the application may be sent there."""
        return application in self.applications or RELAY in self.applications


class BaseCodec:
    """Writes and reads them for one node. `state` is its Origin-State-Id, which grows with each start."""

    def __init__(self, identity: str, realm: str, application: int, vendor: int, state: int) -> None:
        self.identity = identity
        self._application = application
        self._vendor = vendor
        self._state = state
        self.origin = a.Writer(vendor).add(a.ORIGIN_HOST, identity).add(a.ORIGIN_REALM, realm).payload()

    def capabilities_request(self, address: bytes) -> bytes:
        """CER; `address` is the local one, packed."""
        return self._request(CAPABILITIES_EXCHANGE, self._capabilities(a.Writer(self._vendor), address))

    def capabilities_answer(self, request: bytes, address: bytes, error: DiameterError | None = None) -> bytes:
        """CEA: we may talk, or not, and why."""
        out = a.Writer(self._vendor).add(a.RESULT_CODE, error.result if error is not None else SUCCESS)
        if error is not None:
            out.add(a.ERROR_MESSAGE, str(error))
        return self._answer(request, self._capabilities(out, address), error)

    def watchdog_request(self) -> bytes:
        """DWR."""
        return self._request(DEVICE_WATCHDOG, self._with_origin().add(a.ORIGIN_STATE_ID, self._state))

    def disconnect_request(self, cause: int = REBOOTING) -> bytes:
        """DPR."""
        return self._request(DISCONNECT_PEER, self._with_origin().add(a.DISCONNECT_CAUSE, cause))

    def success(self, request: bytes) -> bytes:
        """DWA or DPA."""
        out = a.Writer(self._vendor).add(a.RESULT_CODE, SUCCESS).raw(self.origin)
        if f.peek_header(request).command == DEVICE_WATCHDOG:
            out.add(a.ORIGIN_STATE_ID, self._state)
        return self._answer(request, out, None)

    def read_capabilities(self, raw: bytes) -> Capabilities:
        """CER or CEA; raises DiameterError."""
        reader = a.Reader(raw, self._vendor)
        header = f.peek_header(raw)
        applications = set(reader.all(a.AUTH_APPLICATION_ID, _MAX_ADVERTISED))
        applications |= set(reader.all(a.ACCT_APPLICATION_ID, _MAX_ADVERTISED)) & {RELAY}
        for each in reader.all(a.VENDOR_SPECIFIC_APPLICATION_ID, _MAX_ADVERTISED):
            applications |= set(each.all(a.AUTH_APPLICATION_ID, _MAX_ADVERTISED))
        return Capabilities(
            reader.checked(a.ORIGIN_HOST, host_name),
            reader.checked(a.ORIGIN_REALM, host_name),
            frozenset(applications),
            reader.maybe(a.ORIGIN_STATE_ID) or 0,
            None if header.is_request else reader.one(a.RESULT_CODE),
        )

    def read_cause(self, raw: bytes) -> int:
        """Disconnect-Cause of a DPR; raises DiameterError."""
        return int(a.Reader(raw, self._vendor).one(a.DISCONNECT_CAUSE))

    def _capabilities(self, out: a.Writer, address: bytes) -> a.Writer:
        out.raw(self.origin)
        out.add(a.HOST_IP_ADDRESS, (b"\0\1" if len(address) == 4 else b"\0\2") + address)
        out.add(a.VENDOR_ID, self._vendor).add(a.PRODUCT_NAME, "roamvpn").add(a.ORIGIN_STATE_ID, self._state)
        return out.add(a.SUPPORTED_VENDOR_ID, self._vendor).add(a.AUTH_APPLICATION_ID, self._application)

    def _with_origin(self) -> a.Writer:
        return a.Writer(self._vendor).raw(self.origin)

    def _request(self, command: int, out: a.Writer) -> bytes:
        # identifiers are the connection's
        return pack_message(Header(0, f.REQUEST, command, 0, 0, 0), out.payload())

    def _answer(self, request: bytes, out: a.Writer, error: DiameterError | None) -> bytes:
        flags = f.ERROR if error is not None and error.is_protocol_error else 0
        return pack_message(f.peek_header(request)._replace(flags=flags), out.payload())


def host_name(identity: str) -> str:
    """A host name with a domain, in lower case; raises ValueError."""
    if len(identity) > 253 or not _HOST.fullmatch(identity):
        raise ValueError("no host name")
    return identity
