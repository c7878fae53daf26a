"""The run configuration of operator jobs: what launchpads show at first, and what runs accept."""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from lfp_pipeline.dagster_support.console import SHORT_CONSOLE

_FIELD: Any = dg.Field  # These have no type hints.
_SHAPE: Any = dg.Shape


def prefilled_config(
    op_name: str, schema: object, proposed: Mapping[str, object], former_op: str = ""
) -> dg.ConfigMapping:
    """Return the configuration of a job of one op, for which the launchpad proposes values.

    A key that is missing from a configuration has the default value of the schema, whatever the
    launchpad proposes. So configurations that exist mean what they meant.

    Args:
        op_name: the op.
        schema: the schema of its configuration.
        proposed: the values that the launchpad shows.
        former_op: a name that a configuration may give the op, too.
    """
    aliases = {op_name: former_op} if former_op else {}
    ops = _SHAPE({op_name: dg.Field({"config": schema})}, field_aliases=aliases)
    fields = {
        "ops": _ProposedField(ops, {op_name: {"config": dict(proposed)}}),
        "loggers": dg.Field(dict, is_required=False),
        "execution": dg.Field(dict, is_required=False),
        # Earlier launchpads wrote the settings of resources into configurations.
        "resources": dg.Field(dict, is_required=False),
    }
    return dg.ConfigMapping(
        lambda given: SHORT_CONSOLE | given, fields, receive_processed_config_values=False
    )


class _ProposedField(_FIELD):  # type: ignore[misc]
    """A field for which the launchpad shows another value than the default."""

    def __init__(self, config: object, proposed: object) -> None:
        super().__init__(config)
        self._proposed = proposed

    @property
    def default_value_as_json_str(self) -> str:
        """The value in the launchpad, as JSON."""
        return json.dumps(self._proposed)
