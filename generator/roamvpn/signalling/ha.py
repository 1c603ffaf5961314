"""The home agent (A6, B21, D8 to D11): the mobility binding, and the anchor of static VPNs.

Of all nodes the home agent alone sees every move, so it decides: it orders registrations by their sequence,
gives the session its generations, and knows which foreign agents may not have heard yet that they were left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roamvpn.policy.paths import SegmentKind
from roamvpn.signalling.binding import Binding, Deferred, Grant, Left, Post
from roamvpn.signalling.correspondence import Case
from roamvpn.signalling.effects import Alarm
from roamvpn.signalling.machine import answer, applied
from roamvpn.signalling.messages import (
    Address,
    Ba,
    Br,
    Bu,
    Code,
    Haa,
    Har,
    InstanceId,
    NodeRole,
    RegRep,
    RegReq,
    Result,
    Timer,
)
from roamvpn.signalling.settings import MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roamvpn.policy.information import VpnInformation
    from roamvpn.policy.legs import Contribution
    from roamvpn.signalling.effects import Effect
    from roamvpn.signalling.machine import Surroundings
    from roamvpn.signalling.messages import Event


class Ha:
    """The home agent's machine."""

    role = NodeRole.HA
    durable = True
    by_profile = False
    entry = Binding

    def __init__(self, surroundings: Surroundings) -> None:
        self._here = Address(NodeRole.HA, surroundings.name)
        self._legs = surroundings.legs
        self._settings = surroundings.settings
        self._prepares = surroundings.settings.prepares

    def handle(self, entry: Binding | None, event: Event, now: int) -> tuple[Binding | None, list[Effect]]:
        """S205 to S212: AAA messages carry a registration request, which is then handled like a direct one."""
        if isinstance(event, RegReq):
            return self._request(entry, event, now)
        if isinstance(event, Har):
            return self._har(entry, event, now)
        if entry is None:
            return None, []
        if isinstance(event, Ba):
            return self._ba(entry, event)
        if isinstance(event, Br):
            return self._br(entry, event, now)
        if isinstance(event, Timer):
            return self._timer(entry, now)
        return entry, []

    # registration

    def _har(self, entry: Binding | None, har: Har, now: int) -> tuple[Binding | None, list[Effect]]:
        request, aaah = har.request, har.origin
        if entry is not None and (har.seq < entry.seq or (har.seq == entry.seq and entry.information is None)):
            return entry, [self._refused(request, aaah, Code.STALE)]
        if not request.lifetime:
            return self._deregister(entry, request, aaah, now)
        information = har.information
        if information is None:
            return entry, [self._refused(request, aaah, Code.HA_UNSPECIFIED)]
        if entry is not None and har.seq == entry.seq and entry.deferred is not None:
            # a duplicate, whose answer waits
            return entry, []
        entry = entry or Binding(har.nai, 0)
        known = entry.information
        # S208 the posted information replaces what was cached; the generation is counted here
        if known is None:
            posted = information._replace(generation=0)
        elif known.foreign_agent != information.foreign_agent or information.collides_with(
            known.moved(information.foreign_agent, 0)
        ):
            posted = information._replace(generation=known.generation + 1)
        else:
            posted = information._replace(generation=known.generation)
        return self._bind(entry, request, aaah, posted, now)

    def _request(self, entry: Binding | None, request: RegReq, now: int) -> tuple[Binding | None, list[Effect]]:
        """A request that the foreign agent sends itself: a move within its domain, or a refresh (G20)."""
        agent = request.care_of
        if agent is None:
            return entry, []
        if entry is not None and request.seq <= entry.seq:
            if request.seq == entry.seq and entry.deferred is not None:
                return entry, []
            information = entry.information
            if request.seq < entry.seq or information is None or information.foreign_agent != agent:
                return entry, [self._refused(request, None, Code.STALE)]
        known = entry.information if entry is not None else None
        held = request.held
        if entry is None or known is None or held is None:
            return entry, [self._refused(request, None, Code.HA_UNSPECIFIED)]
        # S213 care-of address unchanged?
        if agent == known.foreign_agent:
            if held != InstanceId.of(known):
                return entry, [self._refused(request, None, Code.HA_UNSPECIFIED)]
            return self._bind(entry, request, None, known, now)
        # S214 only where the old care-of address stands (G2)
        moved = known.moved(agent, known.generation + 1)
        # G26: an old agent that is not the session's is not honoured
        if request.old_fa != known.foreign_agent or held != InstanceId.of(moved):
            return entry, [self._refused(request, None, Code.HA_UNSPECIFIED)]
        return self._bind(entry, request, None, moved, now)

    def _bind(
        self, entry: Binding, request: RegReq, aaah: str | None, information: VpnInformation, now: int
    ) -> tuple[Binding, list[Effect]]:
        settings = self._settings
        lifetime = min(request.lifetime, settings.max_lifetime)
        known = entry.information
        changed = known is None or not information.same_vpns(known) or information.generation != known.generation
        legs = self._compiled(information) if changed else entry.legs
        left = self._left(entry, request, information.foreign_agent, now)
        posts = self._posts(entry, request, aaah, information, now)
        # S216: the gateway's state; what the foreign agent has prepared can be brought up from here
        local = aaah is None
        apply = applied(entry.nai, request.seq, entry.legs, legs, initiate=local and self._prepares)
        effects: list[Effect] = [apply] if apply is not None else []
        old_fas = tuple([each.foreign_agent for each in left])
        deferred = Deferred(request, aaah, old_fas, now + settings.ba_timeout * MS)
        expires = now + lifetime * MS
        due = [post for post in posts if post.seq == request.seq]
        wanted = [(segment.profile_number, segment.far) for segment in information.dynamic if not segment.empty]
        held = tuple([each for each in entry.grants if (each.profile_number, each.pcn) in wanted])
        grants = self._granted(held, due, expires, now) if due else held
        stays = known is not None and known.foreign_agent == information.foreign_agent
        since = entry.since if stays else request.seq
        bound = Binding(entry.nai, request.seq, since, information, expires, left, posts, grants, deferred, legs)
        # S215 each dynamic profile is posted to its correspondent; static ones are not
        received, case = (Har, Case.DYNAMIC) if aaah is not None else (RegReq, Case.DYNAMIC)
        effects += [answer(self.role, received, case, post.pcn, self._bu(bound, post, now)) for post in due]
        if due:
            return bound, effects
        return self._answered(bound, received, Case.STATIC, effects)

    def _left(self, entry: Binding, request: RegReq, agent: str, now: int) -> tuple[Left, ...]:
        """The agents that the new one is to tell (C13).

        Who has had a reply since he came to the agent of this binding has been served there (F3), so that one sees to
        those before. The mobile's own word is taken: it leaves but its own tunnels behind.
        """
        known = entry.information
        served = known is not None and request.answered >= entry.since
        left = () if served else tuple([each for each in entry.left if each.until > now])
        if known is not None and known.foreign_agent != agent:
            left = (*left, Left(known.foreign_agent, entry.expires))
        return tuple([each for each in dict.fromkeys(left) if each.foreign_agent != agent])

    def _posts(
        self, entry: Binding, request: RegReq, aaah: str | None, information: VpnInformation, now: int
    ) -> tuple[Post, ...]:
        dynamic = information.dynamic
        if not dynamic and not entry.posts:
            return ()
        until = now + min(request.lifetime, self._settings.max_lifetime) * MS
        ready = aaah is None and self._prepares
        before = entry.information
        known = {segment.profile_number: segment for segment in before.dynamic} if before is not None else {}
        same_generation = before is not None and before.generation == information.generation
        outstanding = [post.profile_number for post in entry.posts]
        again_at = now + self._settings.pause(0)
        posts, numbers = [], []
        for segment in dynamic:
            number = segment.profile_number
            numbers.append(number)
            was = known.get(number)
            if same_generation and was == segment and number not in outstanding:
                continue
            if not segment.empty or (was is not None and was.far == segment.far):
                posts.append(Post(number, segment.far, request.seq, segment.empty, again_at, until, 1, ready))
        # who was to forget a VPN that is no more is still to be told
        kept = [post for post in entry.posts if post.delete and post.profile_number not in numbers]
        return (*kept, *posts)

    def _deregister(
        self, entry: Binding | None, request: RegReq, aaah: str, now: int
    ) -> tuple[Binding | None, list[Effect]]:
        settings = self._settings
        agent = request.care_of or ""
        entry = entry or Binding(request.nai, 0)
        left = self._left(entry, request, agent, now)
        old_fas = tuple(each.foreign_agent for each in left)
        # whoever asks next tells them all, should this answer not come through
        still = [each for each in entry.left if each.foreign_agent == agent and each.until > now]
        if entry.information is not None:
            still = [Left(agent, entry.expires)]
        deferred = Deferred(request, aaah, old_fas, now + settings.ba_timeout * MS)
        gone = Binding(entry.nai, request.seq, expires=now + settings.remember * MS, left=(*left, *still))
        gone = gone._replace(deferred=deferred, posts=entry.posts)
        if entry.information is None:
            return self._answered(gone, Har, Case.STATIC, [])
        effects: list[Effect] = []
        apply = applied(entry.nai, request.seq, entry.legs, ())
        if apply is not None:
            effects.append(apply)
        # F10: those who hold the user's VPNs are told
        posts = tuple(
            Post(segment.profile_number, segment.far, request.seq, delete=True, again_at=now, until=entry.expires)
            for segment in entry.information.dynamic
            if not segment.empty
        )
        gone = gone._replace(posts=posts)
        effects += [answer(self.role, Har, Case.DYNAMIC, post.pcn, self._bu(gone, post, now)) for post in posts]
        gone = self._sent(gone, posts, now)
        if posts:
            return gone, effects
        return self._answered(gone, Har, Case.STATIC, effects)

    # binding updates

    def _bu(self, entry: Binding, post: Post, now: int) -> Bu:
        if post.delete or entry.information is None:
            return Bu(entry.nai, post.seq, self._here, 0, post.profile_number)
        # whole seconds, rounded up: the PCN must not forget before the home agent does
        lifetime = max(-((now - entry.expires) // MS), 1)
        information = entry.information.posted(post.profile_number)
        return Bu(entry.nai, post.seq, self._here, lifetime, post.profile_number, information, post.ready)

    def _sent(self, entry: Binding, due: Sequence[Post], now: int) -> Binding:
        """Note what was sent: when to repeat it, and how long the PCN then holds the VPN."""
        if not due:
            return entry
        posts = tuple(
            post._replace(attempts=post.attempts + 1, again_at=now + self._settings.pause(post.attempts))
            if post in due
            else post
            for post in entry.posts
        )
        return entry._replace(posts=posts, grants=self._granted(entry.grants, due, entry.expires, now))

    def _granted(self, grants: tuple[Grant, ...], due: Sequence[Post], expires: int, now: int) -> tuple[Grant, ...]:
        # looked at again between the PCN's own question and the end
        check_at = max(expires - self._settings.br_threshold * MS // 2, now)
        numbers = [post.profile_number for post in due]
        kept = [each for each in grants if each.profile_number not in numbers]
        return (*kept, *[Grant(post.profile_number, post.pcn, expires, check_at) for post in due if not post.delete])

    def _ba(self, entry: Binding, ba: Ba) -> tuple[Binding, list[Effect]]:
        key = (ba.profile_number, ba.seq)
        posts = tuple([post for post in entry.posts if (post.profile_number, post.seq) != key])
        if len(posts) == len(entry.posts):
            return entry, []
        entry = entry._replace(posts=posts)
        deferred = entry.deferred
        if deferred is None or any(post.seq == deferred.request.seq for post in posts):
            return entry, []
        case = Case.FOR_HAR if deferred.aaah is not None else Case.FOR_REQUEST
        return self._answered(entry, Ba, case, [])

    def _br(self, entry: Binding, br: Br, now: int) -> tuple[Binding, list[Effect]]:
        information = entry.information
        wanted = information is not None and any(
            segment.profile_number == br.profile_number and segment.far == br.sender.name and not segment.empty
            for segment in information.dynamic
        )
        if not wanted or now >= entry.expires:
            # silence: the PCN lets it end (E7.5)
            return entry, []
        asked = self._posted_again(entry, [(br.profile_number, br.sender.name)], now)
        return self._send_due(asked, now, [], Br, Case.CACHED)

    def _posted_again(self, entry: Binding, what: Iterable[tuple[int, str]], now: int) -> Binding:
        """Posts of VPNs that stay as they are, for longer; those that are on their way already cover it."""
        under_way = {(post.profile_number, post.pcn) for post in entry.posts}
        fresh = [
            Post(*each, entry.seq, delete=False, again_at=now, until=entry.expires)
            for each in what
            if each not in under_way
        ]
        again = [
            post._replace(again_at=now, until=entry.expires) if (post.profile_number, post.pcn) in set(what) else post
            for post in entry.posts
        ]
        return entry._replace(posts=(*again, *fresh))

    def _send_due(
        self, entry: Binding, now: int, effects: list[Effect], received: type, case: Case
    ) -> tuple[Binding, list[Effect]]:
        due = [post for post in entry.posts if now >= post.again_at]
        effects += [answer(self.role, received, case, post.pcn, self._bu(entry, post, now)) for post in due]
        return self._sent(entry, due, now), effects

    # answers

    def _answered(
        self, entry: Binding, received: type, case: Case, effects: list[Effect]
    ) -> tuple[Binding, list[Effect]]:
        """S217, and G4: the answer, now that tunnels stand."""
        deferred = entry.deferred
        if deferred is None:
            return entry, effects
        request = deferred.request
        lifetime = min(request.lifetime, self._settings.max_lifetime)
        reply = RegRep(entry.nai, request.seq, Code.ACCEPTED, lifetime, deferred.old_fas)
        entry = entry._replace(deferred=None)
        if deferred.aaah is None:
            return entry, [*effects, answer(self.role, received, case, request.care_of or "", reply)]
        generation = entry.information.generation if entry.information is not None else 0
        haa = Haa(entry.nai, request.seq, Result.SUCCESS, reply, generation)
        return entry, [*effects, answer(self.role, received, case, deferred.aaah, haa)]

    def _refused(self, request: RegReq, aaah: str | None, code: Code) -> Effect:
        reply = RegRep(request.nai, request.seq, code)
        if aaah is None:
            return answer(self.role, RegReq, Case.REFUSED, request.care_of or "", reply)
        haa = Haa(request.nai, request.seq, Result.MIP_REPLY_FAILURE, reply)
        return answer(self.role, Har, Case.REFUSED, aaah, haa)

    # time

    def _timer(self, entry: Binding, now: int) -> tuple[Binding | None, list[Effect]]:
        effects: list[Effect] = []
        if entry.information is not None and now >= entry.expires:
            # F10: the registration was not refreshed; PCNs end by themselves
            apply = applied(entry.nai, entry.seq, entry.legs, ())
            if apply is not None:
                effects.append(apply)
            entry = Binding(entry.nai, entry.seq, expires=now + self._settings.remember * MS)
        if entry.deferred is not None and now >= entry.deferred.deadline:
            # G25: the answer goes out, an alarm is raised, the binding update is repeated
            missing = ", ".join(sorted({post.pcn for post in entry.posts if post.seq == entry.deferred.request.seq}))
            effects.append(Alarm(entry.nai, f"no binding acknowledgement from {missing}: it is asked again"))
            case = Case.FOR_HAR if entry.deferred.aaah is not None else Case.FOR_REQUEST
            entry, effects = self._answered(entry, Timer, case, effects)
        entry = entry._replace(posts=tuple(post for post in entry.posts if post.until > now))
        overdue = [grant for grant in entry.grants if now >= grant.check_at]
        if overdue:
            # the registration was refreshed, and the PCN has not asked: it or its question was lost
            longer = [(each.profile_number, each.pcn) for each in overdue if entry.expires > each.until]
            later = (each._replace(check_at=each.until) for each in overdue if each.check_at < each.until)
            entry = entry._replace(grants=(*(each for each in entry.grants if each not in overdue), *later))
            entry = self._posted_again(entry, longer, now)
        entry, effects = self._send_due(entry, now, effects, Timer, Case.DYNAMIC)
        if entry.information is None and not entry.posts and now >= entry.expires:
            return None, effects
        return entry, effects

    def deadline(self, entry: Binding) -> int:
        """The next repetition, the end of patience, the end of the binding."""
        times = [entry.expires]
        if entry.deferred is not None:
            times.append(entry.deferred.deadline)
        times += [post.again_at for post in entry.posts]
        times += [grant.check_at for grant in entry.grants]
        return min(times)

    def restored(self, entry: Binding) -> Binding:
        """With its legs."""
        return entry._replace(legs=self._compiled(entry.information)) if entry.information is not None else entry

    def contributions(self, entry: Binding) -> tuple[Contribution, ...]:
        """The legs towards the foreign agent and towards the enterprise."""
        return entry.legs

    def _compiled(self, information: VpnInformation) -> tuple[Contribution, ...]:
        """Towards the enterprise first, as the seed sets them (E1.3). No data tunnel for a dynamic profile (E4.2)."""
        legs = self._legs
        generation, agent = information.generation, information.foreign_agent
        near = [segment for segment in information.segments if segment.kind is SegmentKind.ENTERPRISE]
        far = [segment for segment in information.segments if segment.kind is SegmentKind.ACCESS and not segment.empty]
        return (
            *[legs.near_end(segment, generation, segment.keys, agent) for segment in near],
            *[legs.far_end(segment, generation, legs.leg_keys(segment, generation)) for segment in far],
        )
