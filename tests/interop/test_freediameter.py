"""freeDiameter relays between AAAF, AAAH and home agent; what is ours passes it as it was (RFC 6733, RFC 4004)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.signalled import ALICE, FRANK

if TYPE_CHECKING:
    from pathlib import Path

TIME_LIMIT = 120


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_registration_passes_freediameter_intact(tmp_path: Path, tls: bool) -> None:  # A3, A10, C6, C12, C13
    command = ["unshare", "-n", sys.executable, "-m", "tests.interop.relayed_registration", str(tmp_path)]
    done = subprocess.run(
        [*command, *(["tls"] if tls else [])], capture_output=True, text=True, check=False, timeout=TIME_LIMIT
    )
    log = (tmp_path / "freediameter.log").read_text() if (tmp_path / "freediameter.log").exists() else ""
    assert done.returncode == 0, done.stderr + log
    found = json.loads(done.stdout)
    for nai, segments in ((ALICE, 2), (FRANK, 1)):
        assert found[nai].pop("segments") == segments
        assert found[nai] == dict.fromkeys(found[nai], True)
        assert len(found[nai]) == 5
    assert found["refused"] == 4001
    assert found["after a crash"] == 2001
    assert found["encrypted"] is tls
