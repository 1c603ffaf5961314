"""The base of every input model."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
