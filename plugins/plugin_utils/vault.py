# Copyright (c) the roamvpn authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The vault passwords that this run of Ansible was given, for the site's secrets file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.errors import AnsibleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.parsing.dataloader import DataLoader
    from ansible.parsing.vault import VaultLib

try:
    from roamvpn.stores.vault import decrypt
    from roamvpn.tables.problems import InputError, Problem
except ImportError:
    pass


def unlocker(loader: DataLoader) -> Callable[[bytes, str], bytes]:
    """A function that decrypts a file's content, with --vault-id, --ask-vault-pass or the configured password file."""
    vault: VaultLib = loader._vault  # noqa: SLF001 - Ansible has no public way to the run's vault

    def unlock(raw: bytes, name: str) -> bytes:
        if not vault.secrets:
            return decrypt(raw, name)
        try:
            return bytes(vault.decrypt(raw))
        except AnsibleError:
            message = "cannot be decrypted with the vault passwords of this run"
            raise InputError([Problem(name, 0, "", "", message)]) from None

    return unlock


def sealer(loader: DataLoader) -> Callable[[bytes], bytes]:
    """A function that encrypts with the first of these passwords."""
    vault: VaultLib = loader._vault  # noqa: SLF001 - see above

    def seal(content: bytes) -> bytes:
        return bytes(vault.encrypt(content))

    return seal
