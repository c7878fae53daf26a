"""The names of settings: former ones, unknown ones, secret ones; and errors that name a setting."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo

from lfp_pipeline.common.setting_types import BrokerUrl, CatalogUrl, SecretUrl
from lfp_pipeline.common.text import field_and_reason

ENV_PREFIX = "LFP_"
SETTINGS_FILE_VARIABLE = "LFP_SETTINGS_FILE"

NEEDS_CATALOG = "needs_catalog"
"""The type of the error of a setting that works only with a catalog."""

_SECRET = {BrokerUrl, CatalogUrl, SecretUrl}

Fields = Mapping[str, FieldInfo]
"""The fields of a settings class, by their present names."""


def unknown_variables(environ: Mapping[str, str], fields: Fields) -> list[str]:
    """Return a sentence on each variable that has the prefix of a setting, and is none."""
    known = {
        ENV_PREFIX + accepted.upper(): ENV_PREFIX + present.upper()
        for accepted, present in accepted_names(fields).items()
    } | {SETTINGS_FILE_VARIABLE: SETTINGS_FILE_VARIABLE}
    unknown = [name for name in environ if name.startswith(ENV_PREFIX) and name not in known]
    return [f"{name} is not a setting{_did_you_mean(name, known)}" for name in sorted(unknown)]


def accepted_names(fields: Fields) -> dict[str, str]:
    """Return the present name of each setting by each of its names, present or former."""
    names: dict[str, str] = {}
    for present, field in fields.items():
        alias = field.validation_alias
        accepted = map(str, alias.choices) if isinstance(alias, AliasChoices) else [present]
        names |= dict.fromkeys(accepted, present)
    return names


def secret_names(fields: Fields) -> set[str]:
    """Return the settings whose values are not shown."""
    return {name for name, field in fields.items() if _SECRET & set(get_args(field.annotation))}


def explain(error: ValidationError, fields: Fields) -> list[str]:
    """Return all problems of an error, each with the setting's name and value.

    The settings that need another one, which is missing, are one problem, and the first.
    """
    problems = error.errors()
    needing = [problem for problem in problems if problem["type"] == NEEDS_CATALOG]
    others = [_explain(problem, fields) for problem in problems if problem not in needing]
    if not needing:
        return others
    names = ", ".join(f"{ENV_PREFIX}{str(problem['loc'][0]).upper()}" for problem in needing)
    return [f"{ENV_PREFIX}CATALOG is not set, without which there is no {names}.", *others]


def _explain(problem: Any, fields: Fields) -> str:  # noqa: ANN401 (pydantic exports no type)
    """Return a problem that pydantic has with a setting, with the setting's name and value."""
    path, reason = field_and_reason(problem)
    field, dot, inner = path.partition(".")
    if problem["type"] == "extra_forbidden":
        bare = field.lower().removeprefix(ENV_PREFIX.lower())
        return f"{field} is not a setting{_did_you_mean(bare, accepted_names(fields))}"
    value = "(a secret)" if field in secret_names(fields) else repr(problem["input"])
    return f"{ENV_PREFIX}{field.upper()}{dot}{inner} = {value}: {reason}"


def _did_you_mean(name: str, known: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {known[near[0]]}?" if near else "."
