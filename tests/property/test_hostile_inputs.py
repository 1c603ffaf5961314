"""Hostile inputs are refused with a clear message, or rendered to files that parse to a harmless name's trees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from roamvpn.plan.sides import RenderedSide
from roamvpn.policy.compile import compile_fleet
from roamvpn.policy.keys import derived
from roamvpn.policy.naming import user_hash
from roamvpn.render import swanctl
from roamvpn.render.artefacts import Renderer
from roamvpn.stores.templates import example_site, templates
from roamvpn.tables.problems import InputError
from roamvpn.tables.site import Site, load_site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from roamvpn.tables.problems import Problem

_FILES = {
    path.name: path.read_text()
    for path in sorted(example_site().glob("*.yml"))
    if path.name not in ("roamvpn.yml", "secrets.yml")
}
_DATA = {name: yaml.safe_load(text) for name, text in _FILES.items()}
_HARMLESS = "alice@isp3.example"

HOSTILE = [
    "a{b}@isp3.example",
    "}@isp3.example",
    'q"uote@isp3.example',
    "new\nline@isp3.example",
    "a\r\nconnections {@isp3.example",
    "$(touch gotcha)@isp3.example",
    "$(id)@isp3.example",
    "`id`@isp3.example",
    "a;b@isp3.example",
    "include@isp3.example",
    "include /etc/passwd@isp3.example",
    "nul\x00@isp3.example",
    "a" * 65536 + "@isp3.example",
    "аlice@isp3.example",  # noqa: RUF001 - a Cyrillic a
    "alice@isp3.ехample",  # noqa: RUF001
    "alice＠isp3.example",  # noqa: RUF001 - a full-width @
    "alice\u202e@isp3.example",
    "{{7*7}}@isp3.example",
    "{% raw %}@isp3.example",
    "a#b@isp3.example",
    "a=b@isp3.example",
    "back\\slash@isp3.example",
    "%s%n@isp3.example",
    "--help@isp3.example",
    "../../etc@isp3.example",
    "a|b&c@isp3.example",
    "*@isp3.example",
]


def _texts(documents: Mapping[str, object]) -> dict[str, str]:
    return {name: yaml.safe_dump(data, allow_unicode=True) for name, data in documents.items()}


def _attempt(texts: Mapping[str, str]) -> tuple[Site | None, tuple[Problem, ...]]:
    """The site, or what is wrong with it; anything but an InputError is a failure."""
    try:
        return load_site(texts), ()
    except InputError as error:
        return None, error.problems


def _check(problems: tuple[Problem, ...]) -> None:
    assert problems
    for problem in problems:
        assert problem.file in _FILES
        assert problem.message
        # one printable line of bounded length, whatever was put in
        assert str(problem).isprintable()
        assert len(str(problem)) < 400


def _renamed(nai: str) -> dict[str, object]:
    """The example's documents with alice called `nai`."""

    def swap(node: object) -> object:
        if isinstance(node, dict):
            return {key: swap(value) for key, value in node.items()}
        if isinstance(node, list):
            return [swap(value) for value in node]
        return nai if node == _HARMLESS else node

    return {name: swap(data) for name, data in _DATA.items()}


def _trees(site: Site, nai: str) -> dict[str, object]:
    """Every file of the fleet: parsed where it is swanctl's, without comments elsewhere; the user's hash made equal."""
    # secrets' names carry the hash; their values depend on it as well, and are compared nowhere
    fleet = compile_fleet(site.tables, site.sessions, None, derived(b"k" * 32))
    side = RenderedSide(Renderer(site.tables.network, templates(), b"k" * 32), fleet)
    found: dict[str, object] = {}
    for gateway in side.gateways():
        for path in side.sources(gateway):
            text = (side.text(gateway, path) or "").replace(user_hash(nai), "HASH")
            name = path.replace(user_hash(nai), "HASH")
            if "/secrets/" in path:
                text = re.sub(r"0x[0-9a-f]{64}", "KEY", text)
            comment = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
            parsed = swanctl.load(text) if "/" in path and path.count("/") == 2 else comment
            found[f"{gateway}/{name}"] = parsed
    return found


@pytest.fixture(scope="module")
def harmless() -> dict[str, object]:
    return _trees(load_site(_FILES), _HARMLESS)


def _refused_or_equal(nai: str, harmless: dict[str, object]) -> None:
    site, problems = _attempt(_texts(_renamed(nai)))
    if site is None:
        _check(problems)
        return
    (known,) = (user.nai for user in site.tables.network.subscribers if user.home_address == "203.0.113.5")
    assert _trees(site, known) == harmless


@pytest.mark.parametrize("nai", HOSTILE, ids=ascii)
def test_a_hostile_nai_is_refused_or_changes_no_tree(nai: str, harmless: dict[str, object]) -> None:
    _refused_or_equal(nai, harmless)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user=st.text(min_size=1, max_size=30), realm=st.sampled_from(["isp3.example", "ISP3.example", "x.y", "a b.c", ""])
)
@example(user="a", realm="isp3.example")
def test_any_nai_is_refused_or_changes_no_tree(user: str, realm: str, harmless: dict[str, object]) -> None:
    _refused_or_equal(f"{user}@{realm}", harmless)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=st.from_regex(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]{1,20}", fullmatch=True))
def test_every_nai_that_rfc_4282_allows_is_taken_and_changes_no_tree(user: str, harmless: dict[str, object]) -> None:
    site = load_site(_texts(_renamed(f"{user}@isp3.example")))
    assert _trees(site, f"{user}@isp3.example") == harmless


_PLACES: dict[str, Callable[[dict[str, object], str], None]] = {}


def _place(name: str) -> Callable[[Callable[[dict[str, object], str], None]], None]:
    def keep(function: Callable[[dict[str, object], str], None]) -> None:
        _PLACES[name] = function

    return keep


def _gateways(documents: dict[str, object]) -> dict[str, dict[str, object]]:
    network = cast("dict[str, dict[str, dict[str, object]]]", documents["network.yml"])
    return network["gateways"]


@_place("a gateway's name")
def _gateway_name(documents: dict[str, object], text: str) -> None:
    _gateways(documents)[text] = _gateways(documents).pop("fa22")


@_place("a gateway's address")
def _gateway_address(documents: dict[str, object], text: str) -> None:
    _gateways(documents)["fa21"]["address"] = text


@_place("an access interface")
def _interface(documents: dict[str, object], text: str) -> None:
    _gateways(documents)["fa21"]["access"] = [text]


@_place("a destination")
def _destination(documents: dict[str, object], text: str) -> None:
    database = cast("dict[str, list[dict[str, object]]]", documents["vpn_database.yml"])
    database["vpn_database"][0]["destaddr"] = text


@_place("a CN-GW row")
def _row(documents: dict[str, object], text: str) -> None:
    table = cast("dict[str, list[dict[str, object]]]", documents["cn_gw_table.yml"])
    table["cn_gw_table"][0]["cn"] = text


@_place("a class")
def _class(documents: dict[str, object], text: str) -> None:
    database = cast("dict[str, list[dict[str, object]]]", documents["vpn_database.yml"])
    database["vpn_database"][0]["upclass"] = text


@_place("a session's identifier")
def _session(documents: dict[str, object], text: str) -> None:
    sessions = cast("dict[str, list[dict[str, object]]]", documents["sessions.yml"])
    sessions["sessions"][0]["session_id"] = text


_TEXTS = [
    *(nai.partition("@")[0] for nai in HOSTILE),
    "198.51.100.999",
    "10.5.0.0/99",
    "10.5.0.1/16",
    "0.0.0.0/0",
    "010.5.0.0/16",
    "10.5",
    "::1",
    "1.2.3.4 ",
    "127.0.0.1",
]


@pytest.mark.parametrize("text", _TEXTS, ids=ascii)
@pytest.mark.parametrize("place", _PLACES)
def test_hostile_text_in_any_field_is_refused_or_renders_to_what_parses(place: str, text: str) -> None:
    documents = _renamed(_HARMLESS)
    _PLACES[place](documents, text)
    site, problems = _attempt(_texts(documents))
    if site is None:
        _check(problems)
        return
    assert _trees(site, _HARMLESS)


_NAMES = sorted(_FILES)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(_NAMES),
    start=st.integers(0, 4000),
    length=st.integers(0, 40),
    junk=st.one_of(
        st.text(max_size=30),
        st.sampled_from(["\x00", "\t", "&a ", "*a", "!!python/object:os.system ", "{", "[" * 3000]),
    ),
)
def test_a_mutilated_file_is_refused_with_file_and_line_or_still_holds(
    name: str, start: int, length: int, junk: str
) -> None:
    text = _FILES[name]
    start %= len(text)
    texts = {**_FILES, name: text[:start] + junk + text[start + length :]}
    site, problems = _attempt(texts)
    if site is None:
        _check(problems)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a:\n" + "".join(" " * depth + "a:\n" for depth in range(1, 3000)),
        "&a [*a]",
        "a: &a [x]\nb: [*a, *a]",
        "a: 1\na: 2",
        "!!python/object/apply:os.system ['true']",
        "\x00",
        "\x1b[31m: x",
        "? [a]\n: b",
        "",
        "- a\n- b",
        "x" * 1_000_000,
        "\ufeff",
        "%YAML 9.9\n---\n",
    ],
    ids=lambda text: ascii(text[:12]),
)
@pytest.mark.parametrize("name", _NAMES)
def test_a_file_that_is_something_else_is_refused(name: str, text: str) -> None:
    site, problems = _attempt({**_FILES, name: text})
    assert site is None
    _check(problems)
