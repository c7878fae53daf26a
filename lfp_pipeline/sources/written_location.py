"""Locations as people write them, with variables of the environment in place of secrets.

Dagster stores every run configuration, so a location with a secret in it is refused. A secret is a
text that looks like the token of a known service, or a value under the name of a secret; under an
ambiguous name, a plain word or number is no secret. The signature of a signed URL is accepted,
because it gives access to one file for a limited time, and there is no other way to pass it.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Self
from urllib.parse import unquote, unquote_plus

from lfp_pipeline.common.text import printable

_DOLLAR = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<braced>[a-z_]\w*)\}|(?P<open>\{)|(?P<bare>[a-z_]\w*))",
    re.ASCII | re.IGNORECASE,
)
_AUTHORITY = re.compile(r"^\s*[a-z0-9+.-]+://([^/?#]*)", re.IGNORECASE)
_SCHEME_AND_HOST = re.compile(r"[^:/?#;]+:[/\\]*[^/\\?#;]*")
_NO_PORT = re.compile(r":(?![/\\]|\d*(?:[/\\]|$)|[\da-f:.]*\])[^/\\]*", re.IGNORECASE)
"""A colon and a text that is no port: perhaps the password of user info without an @."""
_PLAIN = re.compile(r"[^/?#@\[\]\s\\]*")

_WEB = re.compile(r"\s*https?:", re.IGNORECASE)
_USER_INFO = re.compile(r"(?:[^:/?#\\@]*:(?=[/\\]))?[/\\]*([^/\\?#]*)@")
_BROKEN_USER_INFO = re.compile(r"[^:/?#\\@]*:[/\\]+([^/\\?#@\[]*:(?!\d*(?:[/\\?#]|$))[^@]*)@")
"""User info whose password contains `/`, `?` or `#`. After a host, only digits follow the colon."""
_NESTED_USER_INFO = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@")

_SECRET_NAME = re.compile(
    r".*(?:password|passwort|passwd|passphrase|passkey|kennwort|pwd|psw|(?<!by)(?<!com)pass|secret"
    r"|token|(?:access|api|feed|licen[cs]e|private|secure|subscription|ws)key|credentials?"
    r"|authorization|bearer|jwt|sess(?:ion)?id)|aspsessionid.*|session|pw|auth|sas"
)
"""Names whose value is always a secret."""
_NO_SECRET_NAME = re.compile(
    r".*(?:page|next|continuation|sync|delta|skip|resume|scroll|cursor|csrf|csrfmiddleware|xsrf)token"
    r"|.*(?:sort|order|group|partition|primary|foreign|row|object|file|cache|resource|public|site)key"
)
"""Names whose value is never a secret: positions, row keys, or values that need a cookie."""
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
"""Tokens of well-known services, which are secrets anywhere in a location."""
_SIGNATURE_NAME = re.compile(r"x(?:amz|goog|oss)signature|signature|sig|hdnts|hdnea|authkey")
_OF_A_SIGNATURE = re.compile(r"x(?:amz|goog|oss)(?:credential|securitytoken)|securitytoken|authkey")
_EXPIRES = frozenset({"expires", "exp", "expiry"})


class WrittenSecretError(ValueError):
    """A location contains a secret. The message says what to write, without the secret."""


class Location(str):
    """A URL or path, with the values of the environment.

    Attributes:
        shown: the location with `${NAME}` in place of each value, to be shown and stored.
        names: for each value, its `${NAME}`.
    """

    __slots__ = ("names", "shown")

    shown: str
    names: Mapping[str, str]

    def __new__(cls, text: str, shown: str, names: Mapping[str, str]) -> Self:
        """Return a text with the form in which it is shown."""
        location = super().__new__(cls, text)
        location.shown = shown
        location.names = names
        return location

    def joined(self, name: str) -> "Location":
        """Return the location of a name in this folder, with the same query."""
        return Location(_join_path(self, name), _join_path(self.shown, name), self.names)


def _join_path(url: str, name: str) -> str:
    folder = re.split("[?#]", url, maxsplit=1)[0]
    return f"{folder.rstrip('/')}/{name}{url[len(folder) :]}"


def resolve_location(location: str) -> Location:
    """Return a location with the value of the environment for each `${NAME}`.

    `$$` is a dollar sign. `$NAME` is also a variable if the environment has one of this name. All
    other dollar signs are literal, because paths and queries contain them.

    Raises:
        WrittenSecretError: the location contains a password, a token or the like.
        ValueError: a variable is missing, or its value would change the host of the URL.
    """
    if advice := _secret_advice(location):
        raise WrittenSecretError(advice)
    for authority in _AUTHORITY.findall(location):
        for name in _variables(authority):
            if not _PLAIN.fullmatch(os.environ.get(name, "")):
                msg = (
                    f"the value of {name} has characters with a meaning in a URL; write them as %XX"
                )
                raise ValueError(msg)
    text = _substitute(location, os.environ)
    written = {name: f"${{{name}}}" for name in sorted(_variables(location))}
    names = {os.environ[name]: shown for name, shown in written.items()}
    return Location(text, _substitute(location, written), names)


def shown_location(location: str) -> str:
    """Return what can be shown of a location as it is written: a malformed one may have secrets.

    Shown are the scheme and the host of a URL, and the path of anything else, with `...` for the
    rest; nothing of a location with an @ and a colon, because user info and queries may contain any
    character.
    """
    if "@" in location and ":" in location:
        return "a location"
    url = _SCHEME_AND_HOST.match(location)
    shown = _NO_PORT.sub("", url[0] if url else re.split("[?#;]", location)[0])
    return printable(shown) + "..." * (shown != location)


def _variables(text: str) -> set[str]:
    found = list(_DOLLAR.finditer(text))
    braced, bare = ({match[kind] for match in found if match[kind]} for kind in ("braced", "bare"))
    return braced | (bare & os.environ.keys())


def _substitute(text: str, values: Mapping[str, str]) -> str:
    """Return a text with a value for each variable; raise ValueError if one is missing."""

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
            f"the environment has no variable {found['braced']}. Set it, or write $$ for a dollar "
            "sign"
        )
        raise ValueError(msg)

    return _DOLLAR.sub(value, text)


def shows_signature(location: Location) -> bool:
    """Return whether a location as it is written has a signature, and not a variable for it."""
    return is_signed(_DOLLAR.sub("", location.shown))


def is_signed(location: str) -> bool:
    """Return whether a location is a signed URL, as S3 and Google Cloud Storage issue them."""
    fields = list(_fields(location))
    return any(
        _SIGNATURE_NAME.fullmatch(name) or (name == "token" and _is_of_a_signature(name, fields))
        for name, _, value in fields
        if value
    )


def _is_of_a_signature(name: str, fields: Sequence[tuple[str, str, str]]) -> bool:
    """Return whether a field belongs to a signature, judged by the other fields."""
    others = {other for other, _, value in fields if value}
    if name == "token":
        return bool(others & _EXPIRES)
    is_signed_url = any(map(_SIGNATURE_NAME.fullmatch, others))
    return is_signed_url and bool(_OF_A_SIGNATURE.fullmatch(name))


def _secret_advice(location: str) -> str | None:
    """Return how to write a location that contains a secret; None: it contains none."""
    user_info = _USER_INFO.match(location) or _BROKEN_USER_INFO.match(location)
    if user_info and _has_password(user_info[1], is_web=bool(_WEB.match(location))):
        if not _WEB.match(location):
            return (
                "there is a password in it, before the @; set the credentials of object stores and "
                "file servers in the environment, or in the files that the store's own client reads"
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
    # For a web server, a user name without a password is a token.
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

    Each field is its name in normal form, its written name, and its value. A field with an index,
    such as `secret[1]`, is yielded without the index, too.
    """
    path, *rest = re.split("[?#]", location, maxsplit=1)
    for field in [*re.findall(";([^;/]*)", path), *re.split("[?&;#]", "".join(rest))]:
        written, _, value = field.partition("=")
        whole = unquote_plus(written).lower()
        for spelled in dict.fromkeys([whole, whole.partition("[")[0]]):
            name = re.sub("[^a-z0-9]", "", spelled)
            yield name, written if re.fullmatch(r"[\w.-]{1,40}", written) else name[:40], value
