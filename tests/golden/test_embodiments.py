"""The seven embodiments, step by step, in both orders: traces to read beside the requirements (E1 to E7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from roamvpn.render.artefacts import Renderer
from roamvpn.signalling.effects import Order
from roamvpn.sim.embodiments import EMBODIMENTS, Played, play
from roamvpn.simulate import narration, title
from roamvpn.stores.templates import templates
from tests.documents import Documents

_HERE = Path(__file__).resolve().parent / "embodiments"
TABLES = Documents().site().tables
CASES = [(name, order) for name in EMBODIMENTS for order in Order]


def _compare(path: Path, text: str, *, update: bool) -> None:
    if update:
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize(("name", "order"), CASES, ids=[f"{name}-{order}" for name, order in CASES])
def test_an_embodiment_goes_as_reviewed(name: str, order: Order, *, update_golden: bool) -> None:
    played = play(TABLES, name, order)
    text = "\n".join([title(played), *narration(played)]) + "\n"
    _compare(_HERE / f"{name}-{order}.txt", text, update=update_golden)
    assert played.differences == []


def _who_sends(played: Played) -> list[str]:
    return [line.text.partition("\t")[0] + f" {line.who}" for line in played.trace.lines if line.kind == "message"]


@pytest.mark.parametrize("name", ["E2", "E5"])
def test_a_move_within_a_domain_does_not_go_home_to_the_aaah(name: str) -> None:  # E2.1
    assert not any("aaah" in each for each in _who_sends(play(TABLES, name)))


@pytest.mark.parametrize(("name", "order"), CASES, ids=[f"{name}-{order}" for name, order in CASES])
def test_the_reply_to_the_mobile_is_last(name: str, order: Order) -> None:  # F3
    lines = [line for line in play(TABLES, name, order).trace.lines if line.at < 1000]
    assert (lines[-1].kind, lines[-1].text.partition("\t")[0]) == ("message", "Reg Rep")
    assert "@" in lines[-1].to


@pytest.mark.parametrize(("name", "order"), CASES, ids=[f"{name}-{order}" for name, order in CASES])
def test_ds_precedes_tunnels_at_every_gateway(name: str, order: Order) -> None:  # D14, F5
    seen: dict[tuple[str, float], str] = {}
    for line in play(TABLES, name, order).trace.lines:
        if line.kind == "change" and line.text.startswith(("+ ds", "+ tunnel")):
            kind = line.text.split()[1]
            assert not (kind == "ds" and seen.get((line.who, line.at)) == "tunnel"), line
            seen[line.who, line.at] = kind


def test_the_orders_differ_in_what_goes_first() -> None:  # G23
    def changes(order: Order) -> list[str]:
        return [line.text[:8] for line in play(TABLES, "E2", order).trace.lines if line.who == "ha31" and line.step]

    made, seed = changes(Order.MAKE_BEFORE_BREAK), changes(Order.PATENT)
    assert made.index("- tunnel") > made.index("+ tunnel") > made.index("+ decode")
    assert seed.index("- tunnel") < seed.index("+ tunnel") < seed.index("+ decode")


def test_a_hand_off_renders_as_reviewed(*, update_golden: bool) -> None:  # G21
    after = play(TABLES, "E2").after
    renderer = Renderer(TABLES.network, templates(), bytes(32))
    text = ""
    for gateway in ("fa21", "fa21b"):
        state = after.states[gateway]
        for path, artefact in sorted(renderer.artefacts(state).items()):
            if artefact.unit is not None and artefact.unit.startswith("rv-h"):
                text += f"== {gateway}/{path} {artefact.mode:04o}\n"
                text += "" if artefact.secret else renderer.text(state, artefact)
    _compare(_HERE / "E2-hand-off-files.txt", text, update=update_golden)
