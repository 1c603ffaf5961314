"""What ansible-doc shows is what the actions take."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


@pytest.fixture(scope="module", autouse=True)
def _collections() -> None:
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder  # noqa: PLC0415

    _AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()


def _loaded(kind: str, name: str) -> ModuleType:
    path = ROOT / "plugins" / kind / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"roamvpn_{kind}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ACTIONS)
def test_an_actions_arguments_are_documented_as_they_are(name: str) -> None:
    arguments = _loaded("action", name).ActionModule.ARGUMENTS
    documented = yaml.safe_load(_loaded("modules", name).DOCUMENTATION).get("options") or {}
    assert set(documented) == set(arguments)
    for option, given in arguments.items():
        told = documented[option]
        for key in ("type", "default", "choices", "elements", "required"):
            assert told.get(key) == given.get(key), f"{name}.{option}.{key}"


@pytest.mark.parametrize("name", [*ACTIONS, "program"])
def test_examples_name_arguments_that_exist(name: str) -> None:
    module = _loaded("modules", name)
    options = set(yaml.safe_load(module.DOCUMENTATION).get("options") or {})
    tasks = yaml.safe_load(module.EXAMPLES)
    for task in tasks:
        assert set(task[f"roamvpn.gateway.{name}"] or {}) <= options
    assert yaml.safe_load(module.RETURN)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_of_a_role_are_documented_as_they_are(role: str) -> None:
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults
