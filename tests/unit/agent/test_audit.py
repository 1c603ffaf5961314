"""The audit: a chain that shows what was altered, and goes on after rotation and crash."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.agent.audit import FIRST, Audit, AuditError, Record, files, of_outcome, verify
from roamvpn.agent.user import Outcome, Timing

if TYPE_CHECKING:
    from pathlib import Path

LINES = 6


def record(number: int, who: str = "alice@isp3.example") -> Record:
    return Record(number, who, {"set": [f"rv-p{number}"]}, f"{number:032x}")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    audit = Audit(tmp_path / "audit")
    for number in range(LINES):
        audit.append(record(number))
    audit.close()
    return tmp_path / "audit"


def test_a_chain_holds_and_says_who_what_and_when(written: Path) -> None:
    assert verify(written) == LINES
    first = json.loads(written.read_text().splitlines()[0])
    assert first == {
        "at": 0,
        "digest": f"{0:032x}",
        "previous": FIRST,
        "what": {"set": ["rv-p0"]},
        "who": "alice@isp3.example",
    }


def test_nobody_else_can_read_it(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


@pytest.mark.parametrize("number", range(LINES - 1))
def test_a_line_that_was_altered_is_found(written: Path, number: int) -> None:
    lines = written.read_text().splitlines()
    lines[number] = lines[number].replace("alice", "mallory")
    written.write_text("\n".join(lines) + "\n")
    with pytest.raises(AuditError, match=f":{number + 2}: not what followed"):
        verify(written)


def test_a_line_that_was_dropped_or_moved_is_found(written: Path) -> None:
    lines = written.read_text().splitlines()
    for other in ([*lines[:2], *lines[3:]], [lines[0], lines[2], lines[1], *lines[3:]]):
        written.write_text("\n".join(other) + "\n")
        with pytest.raises(AuditError):
            verify(written)


def test_it_goes_on_where_it_ended(written: Path) -> None:
    audit = Audit(written)
    audit.append(record(LINES))
    audit.close()
    assert verify(written) == LINES + 1


def test_a_line_that_a_crash_cut_off_is_cut_away(written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[:-20])
    audit = Audit(written)
    audit.append(record(LINES))
    audit.close()
    assert verify(written) == LINES


def test_a_file_that_has_grown_is_put_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    audit = Audit(path, size=600, kept=3)
    for number in range(40):
        audit.append(record(number))
    audit.close()
    assert [file.name for file in files(path)] == ["audit.3", "audit.2", "audit.1", "audit"]
    assert all(file.stat().st_size < 600 for file in files(path))
    assert verify(path) > 4
    # a restart on an empty file goes on from the file before
    (path).write_text("")
    audit = Audit(path, size=600)
    audit.append(record(41))
    audit.close()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        Audit(tmp_path / "missing" / "audit")
    audit = Audit(tmp_path / "audit")
    with pytest.raises(AuditError, match="a line of"):
        audit.append(record(1, "a" * 100_000))
    audit.append(record(2))
    audit.close()
    assert verify(tmp_path / "audit") == 1


@given(garbage=st.binary(max_size=300))
def test_garbage_is_no_chain_and_no_crash(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit"
    path.write_bytes(garbage)
    if b"previous" not in garbage and garbage:
        with pytest.raises(AuditError):
            verify(path)


def test_an_outcome_becomes_a_line() -> None:
    outcome = Outcome("a@b", 7, False, "why" * 400, 3, "d", Timing(1, 0, 0, 0), ("rv-p1",), ("rv-p2",))
    made = of_outcome(outcome, 99)
    assert (made.at, made.who, made.digest) == (99, "a@b", "d")
    assert made.what["set"] == ["rv-p1"]
    assert made.what["deleted"] == ["rv-p2"]
    assert len(str(made.what["reason"])) == 500
