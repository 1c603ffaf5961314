"""JSON Schemas of every file that people or programs read and write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from roamvpn.plan.report import PlanReport
from roamvpn.render.manifest import Manifest
from roamvpn.sim.script import Script
from roamvpn.tables.site import MODELS

if TYPE_CHECKING:
    from pydantic import BaseModel

SCHEMAS: dict[str, type[BaseModel]] = {
    **{name.removesuffix(".yml"): model for name, model in MODELS.items()},
    "manifest": Manifest,
    "plan": PlanReport,
    "moves": Script,
}
"""Models by the name that `roamvpn schema` takes."""

_WRITTEN = frozenset({"manifest", "plan"})


def schema_text(name: str) -> str:
    """The JSON Schema (2020-12) of one of `SCHEMAS`, as text; raises KeyError."""
    model = SCHEMAS[name]
    schema = model.model_json_schema(mode="serialization" if name in _WRITTEN else "validation", by_alias=True)
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"roamvpn {name}"}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
