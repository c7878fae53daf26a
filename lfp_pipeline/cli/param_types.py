"""Types of arguments and options."""

import math
from typing import Any

import click
from click.types import StringParamType


class Text(StringParamType):
    """A text that is not empty: a variable that the shell does not know is no name."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 (as in click)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 (likewise)
        """Return the text."""
        text = super().convert(value, param, ctx)
        if not text.strip():
            self.fail("the text is empty.", param, ctx)
        return text


class Number(click.FloatRange):
    """A number within limits, and neither infinite nor NaN."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 (as in click)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 (likewise)
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
