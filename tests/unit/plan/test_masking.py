"""Secrets in diffs: no value shows, a rotated one is told apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamvpn.plan.masking import masker
from roamvpn.tables.types import Keying
from tests.one_vpn import SITE_KEY, Vpn, documents, side, texts, with_secrets

_OLD, _NEW = "0x" + "1f" * 32, "0x" + "2e" * 32


@pytest.mark.parametrize(
    "line",
    [
        "secret = {}",
        "  secret={}",
        'secret = "{}"',
        "xfrm state add src 192.0.2.1 auth-trunc hmac(sha256) {} 128 if_id 1",
        '1 = "xfrm state add enc cbc(aes) {} auth-trunc hmac(sha256) {} 128"',
    ],
)
def test_a_key_becomes_a_fingerprint_that_changes_with_it(line: str) -> None:
    mask = masker(SITE_KEY)
    old, new = (mask(line.replace("{}", key)) for key in (_OLD, _NEW))
    assert old != new
    assert old == mask(line.replace("{}", _OLD))
    for text in (old, new):
        assert "1f1f" not in text
        assert "2e2e" not in text
        assert re.search(r"<secret [0-9a-f]{12}>", text)


def test_a_fingerprint_depends_on_the_site() -> None:
    assert masker(b"a" * 32)(f"secret = {_OLD}") != masker(b"b" * 32)(f"secret = {_OLD}")


def test_the_case_and_the_quotes_of_a_key_do_not_matter() -> None:
    mask = masker(SITE_KEY)
    assert mask(f"secret = {_OLD}") == mask(f'secret = "{_OLD.upper().replace("0X", "0x")}"')


def test_without_a_key_secrets_are_hidden_and_not_told_apart() -> None:
    mask = masker(None)
    assert mask(f"secret = {_OLD}") == mask(f"secret = {_NEW}") == "secret = <secret>"


def test_what_is_no_secret_stays() -> None:
    text = "# secret of rv-e-ha31\nid-1 = p1-u12345678@fa21\nspi 0x1001 secretary = yes\n"
    assert masker(SITE_KEY)(text) == text


@given(st.text(alphabet=st.characters(blacklist_characters='"\\#}', blacklist_categories=("Z", "C")), min_size=1))
def test_any_word_that_is_assigned_to_secret_is_hidden(word: str) -> None:
    assert masker(SITE_KEY)(f"secret = {word}\n").startswith("secret = <secret ")
    assert masker(None)(f"secret = {word}\n") == "secret = <secret>\n"


@pytest.mark.parametrize("keying", Keying, ids=str)
def test_every_rendered_secret_is_masked(keying: Keying) -> None:
    for path, text in texts(side(with_secrets(documents(Vpn(keying=keying))).site())).items():
        if "/secrets/" in path:
            assert re.search(r"[0-9a-f]{32}", text)
            assert not re.search(r"[0-9a-f]{13}", masker(SITE_KEY)(text))
