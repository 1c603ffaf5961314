"""ansible-vault files. Ansible is imported only when there is one to read: it costs a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from roamvpn.tables.problems import InputError, Problem

PASSWORD_FILE = "ANSIBLE_VAULT_PASSWORD_FILE"  # noqa: S105 - the name of a variable
Unlock = Callable[[bytes, str], bytes]
"""Content of an encrypted file, from its bytes and its name; raises InputError."""

_HEADER = b"$ANSIBLE_VAULT;"


def is_encrypted(raw: bytes) -> bool:
    """Whether this is an ansible-vault file."""
    return raw.startswith(_HEADER)


def decrypt(raw: bytes, name: str) -> bytes:
    """The content of an ansible-vault file, with the password file that Ansible itself would use."""
    password_file = os.environ.get(PASSWORD_FILE)
    if not password_file:
        raise InputError([Problem(name, 0, "", "", f"is encrypted; set {PASSWORD_FILE} to its password file")])
    from ansible.errors import AnsibleError  # noqa: PLC0415 - see above
    from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: PLC0415

    try:
        secret = VaultSecret(Path(password_file).read_bytes().strip())
        plain: bytes = VaultLib([("default", secret)]).decrypt(raw)
    except OSError as error:
        raise InputError([Problem(name, 0, "", "", f"password file: {error.strerror}")]) from None
    except AnsibleError:
        raise InputError([Problem(name, 0, "", "", "cannot be decrypted with this password")]) from None
    return plain
