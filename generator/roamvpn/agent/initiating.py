"""Which end brings an association up, and how often it is tried."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from roamvpn.agent.charon import NOT_YET
from roamvpn.gateway.errors import GatewayError

if TYPE_CHECKING:
    from roamvpn.agent.charon import Charon
    from roamvpn.agent.plan import Key
    from roamvpn.agent.user import Limits, User

_TRY_AGAIN = 0.25
_ASKED_FOR = 1.0
"""Seconds for which charon is asked; it goes on after that, and others have their turn."""


class Initiating:
    """Tasks that initiate, one for each association that this end is to bring up."""

    def __init__(self, charon: Charon, limits: Limits) -> None:
        self._charon = charon
        self._limits = limits

    def _initiates(self, user: User, key: Key) -> bool:
        """The end that learns last: this one if the change says so; towards an enterprise always; else as recovery."""
        material = user.material[key]
        alone = not user.waiters or user.attempts > 0
        return user.initiate or (material.leg.initiate and (material.static or alone))

    def start(self, user: User, key: Key) -> None:
        """Bring an association up, if that is for this end to do and nobody is at it."""
        if self._initiates(user, key) and key not in user.tries:
            user.tries[key] = asyncio.create_task(self._try(user, key))

    async def _try(self, user: User, key: Key) -> None:
        """Initiate until it is up or too late; what was said against it is kept for the alarm.

        Time counts from when it is its turn: charon carries out but some at once.
        """
        pause = _TRY_AGAIN
        try:
            if not user.waiters:
                # it was lost: the other end may have meant it, and may be about to tell
                await asyncio.sleep(self._limits.retry_first)
            user.begun[key] = math.inf
            while not self._charon.up(key) and self.left(user, key) > 0:
                if key.name in user.tried:
                    await self._charon.abandon(key.name)
                user.tried.add(key.name)
                wrong = await self._charon.initiate(key, _ASKED_FOR, partial(_begin, user, key))
                if not wrong or NOT_YET in wrong:
                    break
                user.wrong[key] = wrong
                await asyncio.sleep(pause)
                pause *= 2
        except GatewayError as error:
            user.wrong[key] = error.message
        finally:
            _begin(user, key)
            user.tries.pop(key, None)
            user.wake.set()

    def left(self, user: User, each: Key | str) -> float:
        """Seconds until it is given up."""
        return user.begun.get(each, 0.0) + self._limits.deadline - time.monotonic()


def _begin(user: User, key: Key) -> None:
    """Time runs from now, unless it does already."""
    if user.begun.get(key) == math.inf:
        user.begun[key] = time.monotonic()
