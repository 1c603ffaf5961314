"""Input files of any bytes: problems with file and line, or a site; never anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from roamvpn.engine import open_site
from roamvpn.tables.problems import InputError
from tests.documents import Documents
from tests.one_vpn import with_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from roamvpn.tables.problems import Problem

_FILES = {name: text.encode() for name, text in with_secrets(Documents()).texts().items()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("site")
    for name in _FILES:
        (found / name).touch(mode=0o600)
    return found


def _open(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).write_bytes(content)
    problems: tuple[Problem, ...] = ()
    try:
        open_site(directory)
    except InputError as error:
        problems = error.problems
    for problem in problems:
        assert problem.file in _FILES
        assert problem.message
        # whatever the bytes were, the message is one line that a terminal can show
        assert str(problem).isprintable()


@st.composite
def _mutations(draw: st.DrawFn) -> dict[str, bytes]:
    """The files after one to three cuts, insertions or exchanged bytes."""
    files = dict(_FILES)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        content = files[name]
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 20))
        files[name] = content[:start] + draw(st.binary(max_size=12)) + content[end:]
    return files


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(_mutations())
@example({**_FILES, "network.yml": b"\xff\xfe" + _FILES["network.yml"].decode().encode("utf-16-le")})
@example({**_FILES, "network.yml": b"\xef\xbb\xbf" + _FILES["network.yml"]})
@example({**_FILES, "sessions.yml": b"sessions: !!binary aGk=\n"})
@example({**_FILES, "secrets.yml": b"$ANSIBLE_VAULT;1.1;AES256\nzz\n"})
@example({**_FILES, "secrets.yml": b"\x00" * 4096})
@example({**_FILES, "vpn_database.yml": b"vpn_database: [" + b"{}, " * 2000 + b"]\n"})
@example(dict.fromkeys(_FILES, b""))
def test_mutilated_bytes_give_problems_or_a_site(directory: Path, files: dict[str, bytes]) -> None:
    _open(directory, files)
