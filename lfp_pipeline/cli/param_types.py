"""Types of arguments and options."""

import math
from typing import Any

import click
from click.types import StringParamType


class _Checked(click.ParamType[Any]):
    """A type whose values must also pass a check."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 (as in click)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 (likewise)
        """Return the value."""
        converted = super().convert(value, param, ctx)
        if fault := self._fault_of(converted):
            self.fail(fault, param, ctx)
        return converted

    def _fault_of(self, value: Any) -> str:  # noqa: ANN401 (any value of a type)
        """Return what is wrong with a value; empty if nothing is."""
        raise NotImplementedError


class Text(_Checked, StringParamType):
    """A text that is not empty: a variable that the shell does not know is no name."""

    def _fault_of(self, value: str) -> str:
        return "" if value.strip() else "the text is empty."


class Number(_Checked, click.FloatRange):
    """A number within limits, and neither infinite nor NaN."""

    def _fault_of(self, value: float) -> str:
        return "" if math.isfinite(value) else f"{value} is not a finite number."
