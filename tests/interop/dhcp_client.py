"""A DHCP relay with one client behind it: `dhcp_client.py FROM SERVER lease|renew|release`; prints the address.

It runs in the client's network namespace, with the standard library only.
"""

from __future__ import annotations

import socket
import struct
import sys

HWADDR = bytes.fromhex("020000000011")
DISCOVER, OFFER, REQUEST, ACK, RELEASE = 1, 2, 3, 5, 7


def message(kind: int, relay: str, options: dict[str, bytes], address: str = "0.0.0.0") -> bytes:  # noqa: S104 - none yet
    """A message of the client (RFC 2131), which names itself by the text `client`."""
    head = struct.pack(
        "!4BIHH4s4s4s4s16s192x", 1, 1, 6, 1, 7, 0, 0,
        socket.inet_aton(address), bytes(4), bytes(4), socket.inet_aton(relay), HWADDR,
    )  # fmt: skip
    told = {
        "53": bytes([kind]),
        "61": b"\x00client",
        **{name.removeprefix("o"): data for name, data in options.items()},
    }
    return (
        head
        + bytes.fromhex("63825363")
        + b"".join(bytes([int(code), len(data)]) + data for code, data in told.items())
        + b"\xff"
    )


def main(relay: str, server: str, what: str) -> None:
    """Ask, and print the address that was given."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(20)
        line.bind((relay, 67))
        line.connect((server, 67))

        def asked(kind: int, wanted: int, options: dict[str, bytes]) -> str:
            line.send(message(kind, relay, options))
            answer = line.recv(2048)
            kinds = answer.index(b"\x35\x01", 240)
            assert answer[kinds + 2] == wanted, answer.hex()
            return socket.inet_ntoa(answer[16:20])

        identifier = socket.inet_aton(server)
        if what == "release":
            line.send(message(RELEASE, relay, {"54": identifier}, "10.3.0.11"))
            return
        address = asked(DISCOVER, OFFER, {})
        address = asked(REQUEST, ACK, {"50": socket.inet_aton(address), "54": identifier})
        sys.stdout.write(address)


if __name__ == "__main__":
    main(*sys.argv[1:])
