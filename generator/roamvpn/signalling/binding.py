"""What a home agent knows of one user: his binding, who is to be told of it, and who holds a VPN of his."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roamvpn.tables.rows import replaced_often

if TYPE_CHECKING:
    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.messages import RegReq


@replaced_often
class Post(NamedTuple):
    """A binding update that a PCN has not acknowledged; repeated until it is, or nobody needs it any more."""

    profile_number: int
    pcn: str
    seq: int
    delete: bool
    again_at: int
    until: int
    attempts: int = 0
    ready: bool = False


class Grant(NamedTuple):
    """How long a PCN holds a VPN that was posted to it; looked at again at `check_at`, should it not have asked."""

    profile_number: int
    pcn: str
    until: int
    check_at: int


class Deferred(NamedTuple):
    """The answer to a registration, which waits for acknowledgements (G4)."""

    request: RegReq
    aaah: str | None
    old_fas: tuple[str, ...]
    deadline: int


class Left(NamedTuple):
    """A foreign agent that was left, and until when it would hold on to the user unless told."""

    foreign_agent: str
    until: int


@replaced_often
class Binding(NamedTuple):
    """One user; without `information` just how far his sequence has come.

    `since` is the sequence number with which he came to this foreign agent.
    """

    nai: str
    seq: int
    since: int = 0
    information: VpnInformation | None = None
    expires: int = 0
    left: tuple[Left, ...] = ()
    posts: tuple[Post, ...] = ()
    grants: tuple[Grant, ...] = ()
    deferred: Deferred | None = None
    legs: tuple[Contribution, ...] = ()
