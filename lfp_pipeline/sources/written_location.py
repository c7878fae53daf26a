"""A location as people write it: with variables of the environment in place of secrets.

What people write is kept by others (Dagster's history of runs has every run configuration), so a
secret that is written out is refused: what has the name of a secret, unless it is a plain word or
number under a name that may mean something else, and what looks like a token of a known service.
The signature of a signed URL is let through, with what belongs to it: it opens one file, for a
while, and there is no other way to give it.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Self
from urllib.parse import unquote, unquote_plus

_DOLLAR = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<braced>[a-z_]\w*)\}|(?P<open>\{)|(?P<bare>[a-z_]\w*))",
    re.ASCII | re.IGNORECASE,
)
_AUTHORITY = re.compile(r"^\s*[a-z0-9+.-]+://([^/?#]*)", re.IGNORECASE)
_PLAIN = re.compile(r"[^/?#@\[\]\s\\]*")

_WEB = re.compile(r"\s*https?:", re.IGNORECASE)
_USER_INFO = re.compile(r"(?:[^:/?#\\@]*:(?=[/\\]))?[/\\]*([^/\\?#]*)@")
_BROKEN_USER_INFO = re.compile(r"[^:/?#\\@]*:[/\\]+([^/\\?#@\[]*:(?!\d*(?:[/\\?#]|$))[^@]*)@")
"""Of a password that has a `/`, `?` or `#` in it; after a host, there is a port of digits."""
_NESTED_USER_INFO = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@")

_SECRET_NAME = re.compile(
    r".*(?:password|passwort|passwd|passphrase|passkey|kennwort|pwd|psw|(?<!by)(?<!com)pass|secret"
    r"|token|(?:access|api|feed|licen[cs]e|private|secure|subscription|ws)key|credentials?"
    r"|authorization|bearer|jwt|sess(?:ion)?id)|aspsessionid.*|session|pw|auth|sas"
)
"""Of what is a secret whatever it looks like."""
_NO_SECRET_NAME = re.compile(
    r".*(?:page|next|continuation|sync|delta|skip|resume|scroll|cursor|csrf|csrfmiddleware|xsrf)token"
    r"|.*(?:sort|order|group|partition|primary|foreign|row|object|file|cache|resource|public|site)key"
)
"""Of what tells where to go on, which rows, or nothing without a cookie."""
_PERHAPS_SECRET_NAME = re.compile(r".+(?:key|session)")
_PLAIN_WORDS = re.compile(
    r"(?:[a-z]{1,15}|[0-9]{1,12})(?:[ ,._+-]+(?:[a-z]{1,15}|[0-9]{1,12}))*", re.IGNORECASE
)
_KEY_NAME = re.compile(r"key|code|sid")
_LOOKS_RANDOM = re.compile(r"(?=.*\d)[\w-]{16,}", re.ASCII)
_TOKEN = re.compile(
    r"\b(?:eyJ[\w-]{8,}\.[\w-]{2,}|gh[oprsu]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|xox[a-z]-[\w-]{10,}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|[rs]k_live_\w{16,}|shp[a-z]{2}_\w{16,})",
    re.ASCII,
)
"""What the tokens of some services look like: they are secrets wherever they stand."""
_SIGNATURE_NAME = re.compile(r"x(?:amz|goog|oss)signature|signature|sig|hdnts|hdnea|authkey")
_OF_A_SIGNATURE = re.compile(r"x(?:amz|goog|oss)(?:credential|securitytoken)|securitytoken|authkey")
_EXPIRES = frozenset({"expires", "exp", "expiry"})


class WrittenSecretError(ValueError):
    """A location has a secret in it. The text says how to write it instead, and not the secret."""


class Location(str):
    """A URL or a path, with the values of the environment in it.

    Attributes:
        shown: the same with `${NAME}` in place of each value, for people and for what is kept.
        names: for each value, its `${NAME}`.
    """

    __slots__ = ("names", "shown")

    shown: str
    names: Mapping[str, str]

    def __new__(cls, text: str, shown: str, names: Mapping[str, str]) -> Self:
        """Join a text to how it is shown."""
        location = super().__new__(cls, text)
        location.shown = shown
        location.names = names
        return location

    def joined(self, name: str) -> "Location":
        """Return the location of what is called so in this folder; the query is kept."""
        return Location(_join_path(self, name), _join_path(self.shown, name), self.names)


def _join_path(url: str, name: str) -> str:
    folder = re.split("[?#]", url, maxsplit=1)[0]
    return f"{folder.rstrip('/')}/{name}{url[len(folder) :]}"


def resolve_location(location: str) -> Location:
    """Return a location with the values of the environment for each `${NAME}` in it.

    `$$` is a dollar sign. `$NAME` is a variable, too, if the environment has it. Any other dollar
    sign is one: paths have them, and queries.

    Raises:
        WrittenSecretError: there is a password, a token or the like in it.
        ValueError: a variable is not there, or would change where the URL leads.
    """
    if advice := _secret_advice(location):
        raise WrittenSecretError(advice)
    for authority in _AUTHORITY.findall(location):
        for name in _variables(authority):
            if not _PLAIN.fullmatch(os.environ.get(name, "")):
                msg = f"the value of {name} has characters that mean something in a URL; write %XX"
                raise ValueError(msg)
    text = _substitute(location, os.environ)
    written = {name: f"${{{name}}}" for name in sorted(_variables(location))}
    names = {os.environ[name]: shown for name, shown in written.items()}
    return Location(text, _substitute(location, written), names)


def _variables(text: str) -> set[str]:
    """Return the names of the variables in a text."""
    found = list(_DOLLAR.finditer(text))
    braced, bare = ({one[kind] for one in found if one[kind]} for kind in ("braced", "bare"))
    return braced | (bare & os.environ.keys())


def _substitute(text: str, values: Mapping[str, str]) -> str:
    """Return a text with a value for each variable.

    Raises:
        ValueError: one has none, or is not well written.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if found["open"]:
            msg = "a $ that begins no ${NAME}; write $$ for a dollar sign before a brace"
            raise ValueError(msg)
        if name := found["bare"]:
            return values.get(name, found[0])
        if found["braced"] in values:
            return values[found["braced"]]
        msg = (
            f"the environment has no variable {found['braced']}. Set it; or, if a dollar sign is "
            "meant, write $$ for it"
        )
        raise ValueError(msg)

    return _DOLLAR.sub(value, text)


def is_signed(location: str) -> bool:
    """Whether a location is a signed URL, such as S3 and Google Cloud Storage give out."""
    fields = list(_fields(location))
    return any(
        _SIGNATURE_NAME.fullmatch(name) or (name == "token" and _is_of_a_signature(name, fields))
        for name, _, value in fields
        if value
    )


def _is_of_a_signature(name: str, fields: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a field of that name opens no more than one file for a while, beside the others."""
    beside = {other for other, _, value in fields if value}
    if name == "token":
        return bool(beside & _EXPIRES)
    is_signed_url = any(map(_SIGNATURE_NAME.fullmatch, beside))
    return is_signed_url and bool(_OF_A_SIGNATURE.fullmatch(name))


def _secret_advice(location: str) -> str | None:
    """Return how to write a location that has a secret in it; None: there is none."""
    user_info = _USER_INFO.match(location) or _BROKEN_USER_INFO.match(location)
    if user_info and _has_password(user_info[1], is_web=bool(_WEB.match(location))):
        if not _WEB.match(location):
            return (
                "there is a password in it, before the @; credentials of object stores and file "
                "servers belong into the environment or the files that the store's own client reads"
            )
        return (
            "there is a password in it, before the @; write https://${SHOP_USER}:${SHOP_PASSWORD}@"
            "..., and set these variables in the environment"
        )
    fields = list(_fields(location))
    for name, written, value in fields:
        if _is_secret(name, value) and not _is_of_a_signature(name, fields):
            return (
                f"there is a password in it, after {written}=; write {written}=${{SHOP_TOKEN}}, "
                "and set that variable in the environment"
            )
    if _TOKEN.search(unquote(location)):
        return (
            "there is a password in it, namely a token; write ${SHOP_TOKEN} in its place, and set "
            "that variable in the environment"
        )
    return None


def _has_password(user_info: str, *, is_web: bool) -> bool:
    user, _, password = user_info.partition(":")
    # What logs in to a web server without a password is a token.
    return _is_written_out(password or (user if is_web else ""))


def _is_secret(name: str, value: str) -> bool:
    if not _is_written_out(value):
        return False
    if _NESTED_USER_INFO.search(unquote_plus(value)):
        return True
    if _NO_SECRET_NAME.fullmatch(name):
        return False
    if _KEY_NAME.fullmatch(name):
        return bool(_LOOKS_RANDOM.fullmatch(value))
    if _SECRET_NAME.fullmatch(name):
        return True
    is_plain = bool(_PLAIN_WORDS.fullmatch(unquote_plus(value)))
    return bool(_PERHAPS_SECRET_NAME.fullmatch(name)) and not is_plain


def _is_written_out(value: str) -> bool:
    return bool(value) and not _variables(value)


def _fields(location: str) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of a path, a query and a fragment.

    Of each, it is the name as it is compared, the name as it was written, and the value. One with
    an index, as in `secret[1]`, comes without it, too.
    """
    path, *rest = re.split("[?#]", location, maxsplit=1)
    for field in [*re.findall(";([^;/]*)", path), *re.split("[?&;#]", "".join(rest))]:
        written, _, value = field.partition("=")
        whole = unquote_plus(written).lower()
        for spelled in dict.fromkeys([whole, whole.partition("[")[0]]):
            name = re.sub("[^a-z0-9]", "", spelled)
            yield name, written if re.fullmatch(r"[\w.-]{1,40}", written) else name[:40], value
