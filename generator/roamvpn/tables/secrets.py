"""`secrets.yml`: the site key and the keys of each SLA. Never shown, never rendered but into 0600 files."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from roamvpn.tables.base import Frozen
from roamvpn.tables.types import Name

_MAX_DIGITS = 256


class Secret(bytes):
    """Key material that does not print."""

    __slots__ = ()

    def __repr__(self) -> str:
        """A placeholder, so that no log, diff or traceback shows the value."""
        return "Secret(…)"

    __str__ = __repr__


def _hex(value: object) -> Secret:
    if not isinstance(value, str) or len(value) > _MAX_DIGITS:
        raise ValueError("must be hexadecimal digits, at most 256 of them")
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        raise ValueError("must be hexadecimal digits") from None
    if len(raw) < 16:
        raise ValueError("must have at least 128 bits")
    return Secret(raw)


def _hex256(value: object) -> Secret:
    secret = _hex(value)
    if len(secret) != 32:
        raise ValueError("must have 256 bits, 64 hexadecimal digits")
    return secret


Hex = Annotated[Secret, PlainValidator(_hex), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{32,256}$"})]
Hex256 = Annotated[Secret, PlainValidator(_hex256), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})]


class ProfileKeys(NamedTuple):
    """Keys of one association: the four of a profile (B11, 256 bits each) or, for IKEv2, the PSK of its leg.

    One authentication key per direction fills the AH or the ESP slot by security type (G14).
    """

    psk: Secret | None = None
    up_esp_encryption: Secret | None = None
    down_esp_encryption: Secret | None = None
    up_authentication: Secret | None = None
    down_authentication: Secret | None = None


class SlaKeys(Frozen):
    """The keys of one association of an SLA: a PSK for IKEv2, or four keys for static keying."""

    psk: Hex | None = None
    up_encryption: Hex256 | None = None
    down_encryption: Hex256 | None = None
    up_authentication: Hex256 | None = None
    down_authentication: Hex256 | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        static = (self.up_encryption, self.down_encryption, self.up_authentication, self.down_authentication)
        if self.psk is None and None in static:
            raise ValueError("needs a psk, or all four keys of static keying")
        return self

    @classmethod
    def of(cls, keys: ProfileKeys) -> SlaKeys:
        """These keys as the file names them."""
        return cls.model_construct(
            psk=keys.psk,
            up_encryption=keys.up_esp_encryption,
            down_encryption=keys.down_esp_encryption,
            up_authentication=keys.up_authentication,
            down_authentication=keys.down_authentication,
        )

    def profile_keys(self) -> ProfileKeys:
        """The same keys, as a gateway's state holds them."""
        return ProfileKeys(
            psk=self.psk,
            up_esp_encryption=self.up_encryption,
            down_esp_encryption=self.down_encryption,
            up_authentication=self.up_authentication,
            down_authentication=self.down_authentication,
        )


class SlaSecrets(Frozen):
    """One static gateway's keys: the shared association, and users' own by profile number."""

    shared: SlaKeys | None = None
    profiles: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")], SlaKeys] = Field(default_factory=dict)


class Secrets(Frozen):
    """All of `secrets.yml`. The site key seeds the key generator and the fingerprints in diffs."""

    site_key: Hex256
    sla: dict[Name, SlaSecrets] = Field(default_factory=dict)
