"""What the launchpad of a job shows before anybody has typed into it."""

import json
from typing import Any

import dagster as dg

_FIELD: Any = dg.Field  # It has no type hints.


class ProposedField(_FIELD):  # type: ignore[misc]
    """A field for which the launchpad proposes another value than the default.

    The launchpad writes the defaults of all fields into its editor. A configuration without the
    field still has the default value, so configurations that exist mean what they meant.
    """

    def __init__(self, field: Any, proposed: object) -> None:  # noqa: ANN401
        super().__init__(
            field.config_type, default_value=field.default_value, description=field.description
        )
        self._proposed = proposed

    @property
    def default_value_as_json_str(self) -> str:
        """The value in the launchpad, as JSON."""
        return json.dumps(self._proposed)
