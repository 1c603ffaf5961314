"""Connections and secrets in charon: from the trees of unit files to vici messages, and what is loaded now."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from roamvpn.gateway.errors import GatewayError
from roamvpn.gateway.units import OURS
from roamvpn.gateway.vici import Vici, encode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from roamvpn.gateway.vici import Value
    from roamvpn.render.swanctl import Tree

SOCKET = "/var/run/charon.vici"
_LISTS = frozenset(
    {"local_addrs", "remote_addrs", "local_ts", "remote_ts", "proposals", "esp_proposals", "ah_proposals"}
)
_FILES = {"certs": "x509", "cacerts": "x509ca"}
_INITIATE_MS, _TERMINATE_MS = 5_000, 2_000
_INSTALLED = (b"INSTALLED", b"REKEYING", b"REKEYED")
_CREDENTIALS = (("x509", "X509", "NONE"), ("x509ca", "X509", "CA"), ("x509crl", "X509_CRL", "NONE"))


def connection(tree: Tree, credentials: Path) -> dict[str, object]:
    """A connection as `load-conn` takes it; certificates are named by file in the tree and sent by content."""
    message: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            message[key] = connection(value, credentials)
        elif key in _LISTS:
            message[key] = _words(value)
        elif key in _FILES:
            message[key] = [_content(credentials / _FILES[key] / word) for word in _words(value)]
        else:
            message[key] = value
    return message


def shared(name: str, tree: Tree) -> dict[str, object]:
    """A secret as `load-shared` takes it."""
    text = str(tree.get("secret", ""))
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if not data or not text.startswith("0x"):
        raise GatewayError("read", f"secret {name} is not in hexadecimal digits")
    owners = [str(value) for key, value in sorted(tree.items()) if key.startswith("id")]
    return {"id": name, "type": "IKE", "data": data, "owners": owners}


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError("credentials", f"{path}: {error.strerror}") from None


def digest(message: dict[str, object]) -> str:
    """Names what was loaded without telling it."""
    return hashlib.sha256(encode(message)).hexdigest()


class Charon:
    """charon on this gateway, and a note of what this instance of it was given."""

    def __init__(self, vici: Vici, credentials: Path, note: Path) -> None:
        """`credentials` has x509, x509ca, x509crl and private; `note` is a file in /run."""
        self._vici = vici
        self._credentials = credentials
        self._note = note
        self._instance = vici.peer()
        self._loaded = self._known()
        self.replaced: set[str] = set()  # what this charon had otherwise before

    def _known(self) -> dict[str, str]:
        try:
            stored = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, dict) or stored.get("instance") != self._instance:
            return {}
        loaded = stored.get("loaded")
        return {str(key): str(value) for key, value in loaded.items()} if isinstance(loaded, dict) else {}

    def _remember(self) -> None:
        staged = self._note.with_suffix(".new")
        staged.write_text(json.dumps({"instance": self._instance, "loaded": self._loaded}, sort_keys=True))
        staged.replace(self._note)

    @property
    def brought(self) -> set[str]:
        """Names of what this program has loaded into this charon, whoever else has."""
        return set(self._loaded)

    def connections(self) -> set[str]:
        """Names of our connections that are loaded."""
        found: set[str] = set()
        for event in self._vici.stream("list-conns", "list-conn"):
            found |= {name for name in event if name.startswith(OURS)}
        return found

    def secrets(self) -> set[str]:
        """Names of our secrets that are loaded."""
        keys = self._vici.request("get-shared").get("keys", [])
        return {key.decode() for key in _items(keys) if key.startswith(f"ike-{OURS}".encode())}

    def established(self) -> dict[str, list[str]]:
        """Unique ids of the IKE_SAs that have an installed child, by connection, oldest first."""
        found: dict[str, list[str]] = {}
        for event in self._vici.stream("list-sas", "list-sa"):
            for name, node in event.items():
                if not name.startswith(OURS) or not isinstance(node, dict) or node.get("state") != b"ESTABLISHED":
                    continue
                children = node.get("child-sas")
                nodes = children.values() if isinstance(children, dict) else ()
                if any(isinstance(child, dict) and child.get("state") in _INSTALLED for child in nodes):
                    found.setdefault(name, []).append(_text(node.get("uniqueid")))
        return {name: sorted(ids, key=int) for name, ids in found.items()}

    def load_credentials(self) -> list[str]:
        """Load certificates, CA certificates, CRLs and the private key that changed since they were loaded."""
        done = []
        for directory, kind, flag in _CREDENTIALS:
            for path in sorted((self._credentials / directory).glob("*.*")):
                done += self._load("load-cert", path, {"type": kind, "flag": flag})
        for path in sorted((self._credentials / "private").glob("*.pem")):
            done += self._load("load-key", path, {"type": "any"})
        return done

    def _load(self, command: str, path: Path, message: dict[str, object]) -> list[str]:
        content = _content(path)
        name, whole = f"{path.parent.name}/{path.name}", hashlib.sha256(content).hexdigest()
        if self._loaded.get(name) == whole:
            return []
        self._vici.request(command, {**message, "data": content})
        self._loaded[name] = whole
        self._remember()
        return [name]

    def changed(self, wanted: dict[str, dict[str, object]]) -> set[str]:
        """Names of `wanted` messages that this charon does not have, or has otherwise."""
        present = self.connections() | self.secrets()
        have = {name: known for name, known in self._loaded.items() if name in present}
        return {name for name, message in wanted.items() if have.get(name) != digest(message)}

    def load(self, command: str, name: str, message: dict[str, object]) -> None:
        """`load-conn` or `load-shared`; raises GatewayError with charon's reason."""
        try:
            self._vici.request(command, {name: message} if command == "load-conn" else message)
        except GatewayError as error:
            raise GatewayError("charon", f"{name}: {error.message}") from None
        if name in self._loaded:
            self.replaced.add(name)
        self._loaded[name] = digest(message)

    def settle(self) -> None:
        """Write down what was loaded."""
        self._remember()

    def unload(self, names: Iterable[str]) -> None:
        """Take connections with their SAs, and secrets, out of charon."""
        for name in sorted(names):
            if name.startswith("ike-"):
                self._vici.request("unload-shared", {"id": name})
            else:
                self._vici.request("unload-conn", {"name": name})
                self.terminate({"ike": name})
            self._loaded.pop(name, None)
        self._remember()

    def terminate(self, which: dict[str, object]) -> None:
        """Close IKE_SAs; does not wait for a peer that is gone."""
        try:
            self._vici.request("terminate", {**which, "force": "yes", "timeout": str(_TERMINATE_MS)})
        except GatewayError:
            # it may have gone meanwhile, for the peer closes what was replaced, too
            left = [node for event in self._vici.stream("list-sas", "list-sa", which) for node in event.values()]
            if any(isinstance(node, dict) and node.get("state") == b"ESTABLISHED" for node in left):
                raise

    def initiate(self, name: str) -> str:
        """Set up an association; returns what went wrong, or nothing."""
        try:
            self._vici.request("initiate", {"child": name, "ike": name, "timeout": str(_INITIATE_MS)})
        except GatewayError as error:
            return error.message
        return ""

    def reload_settings(self) -> None:
        """Read strongswan.conf again."""
        self._vici.request("reload-settings")


def _items(value: Value) -> list[bytes]:
    return value if isinstance(value, list) else []


def _text(value: Value | None) -> str:
    return value.decode() if isinstance(value, bytes) else ""
