"""What `dump` writes, strongSwan's own parser reads as it was meant: a real charon is asked what it was given."""

from __future__ import annotations

import random
import re
import string
import subprocess
from typing import TYPE_CHECKING

from roamvpn.render import swanctl

if TYPE_CHECKING:
    from pathlib import Path

_ODD = [
    "a{b}",
    "}",
    "{",
    "x;y",
    "a,b",
    "a=b",
    "a:b",
    "hash#tag",
    "$(touch gotcha)",
    "`id`",
    "${HOME}",
    "%s%n",
    'q"uote',
    "single'q",
    "back\\slash",
    "trail\\",
    "\\n",
    "include",
    "include /etc/passwd",
    "sp ace  twice",
]


def _random_texts(count: int) -> list[str]:
    draw = random.Random(20010607)  # noqa: S311 - the same texts in each run
    printable = string.ascii_letters + string.digits + string.punctuation + " "
    return ["x" + "".join(draw.choices(printable, k=draw.randint(1, 40))) + "x" for _ in range(count)]


def test_strongswan_reads_every_quoted_value_as_it_was_meant(charon: dict[str, str], tmp_path: Path) -> None:
    texts = _ODD + _random_texts(300)
    # an e-mail identity is the one field that charon keeps and shows as it was given
    connections = {
        f"c{index}": {
            "remote_addrs": "192.0.2.1",
            "local": {"auth": "psk", "id": f"email:{text}"},
            "remote": {"auth": "psk"},
            "children": {"k": {"local_ts": "192.0.2.9/32"}},
        }
        for index, text in enumerate(texts)
    }
    written = swanctl.dump({"connections": connections, "roamvpn": {"x": {"tc": {"1": texts[0]}}}})
    (tmp_path / "swanctl.conf").write_text(written)
    loaded = subprocess.run(["swanctl", "--load-conns"], env=charon, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    listed = subprocess.run(
        ["swanctl", "--list-conns", "--raw"], env=charon, capture_output=True, text=True, check=True
    )
    seen = {
        int(match[1]): match[2]
        for match in re.finditer(
            r"list-conn event \{c(\d+) .*? local-1 \{id=(.*?) class=pre-shared key groups", listed.stdout
        )
    }
    assert seen == dict(enumerate(texts))
    # and ours reads the same
    tree = swanctl.load(written)["connections"]
    assert isinstance(tree, dict)
    assert tree == connections
