"""A location as people write it: with variables of the environment in place of secrets.

What people write is kept by others (Dagster's history of runs has every run configuration), so a
secret that is written out is refused. A signed URL is let through: its signature opens one file,
for a while, and there is no other way to give it.
"""

import os
import re
from collections.abc import Iterator
from string import Template
from urllib.parse import unquote_plus

_AUTHORITY = re.compile(r"^\s*[a-z0-9+.-]+://([^/?#]*)", re.IGNORECASE)
_PLAIN = re.compile(r"[^/?#@\[\]\s\\]*")

_WEB = re.compile(r"\s*https?:", re.IGNORECASE)
_USER_INFO = re.compile(r"(?:[^:/?#\\@]*:(?=[/\\]))?[/\\]*([^/\\?#]*)@")
_BROKEN_USER_INFO = re.compile(r"[^:/?#\\@]*:[/\\]+([^/\\?#@\[]*:(?!\d*(?:[/\\?#]|$))[^@]*)@")
"""Of a password that has a `/`, `?` or `#` in it; after a host, there is a port of digits."""
_NESTED_USER_INFO = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@")

_SECRET_NAME = re.compile(
    r".*(?:password|passwd|passphrase|pwd|secret|(?<!page)token|apikey|accesskey|secretkey|privatekey"
    r"|subscriptionkey|credentials?|authorization|sessionid|bearer|jwt)|pass|userpass|pw|auth|sas"
)
_KEY_NAME = re.compile(r"key|code")
_LOOKS_RANDOM = re.compile(r"(?=.*\d)[\w-]{16,}", re.ASCII)
_SIGNATURE_NAME = re.compile(r"x(?:amz|goog|oss)signature|signature|sig|hdnts|hdnea|authkey")
_OF_A_SIGNATURE = re.compile(r".*(?:token|credential)")
_EXPIRES = frozenset({"expires", "exp", "expiry"})


class WrittenSecretError(ValueError):
    """A location has a secret in it. The text says how to write it instead, and not the secret."""


def resolved(location: str) -> str:
    """Return a location with the values of the environment for each `${NAME}` in it.

    Raises:
        WrittenSecretError: there is a password, a token or the like in it.
        ValueError: a variable is not there, or would change where the URL leads.
    """
    if advice := _advice(location):
        raise WrittenSecretError(advice)
    for authority in _AUTHORITY.findall(location):
        for name in Template(authority).get_identifiers():
            if not _PLAIN.fullmatch(os.environ.get(name, "")):
                msg = f"the value of {name} has characters that mean something in a URL; write %XX"
                raise ValueError(msg)
    try:
        return Template(location).substitute(os.environ)
    except KeyError as error:
        msg = f"the environment has no variable {error.args[0]}"
    except ValueError:
        msg = "a $ that begins no ${NAME}; write $$ for one"
    raise ValueError(msg)


def is_signed(location: str) -> bool:
    """Whether a location is a signed URL, such as S3 and Google Cloud Storage give out."""
    names = {name for name, _, value in _fields(location) if value}
    return any(map(_SIGNATURE_NAME.fullmatch, names)) or bool("token" in names and names & _EXPIRES)


def _advice(location: str) -> str | None:
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
    signed = is_signed(location)
    for name, written, value in _fields(location):
        if _is_secret(name, value, signed=signed):
            return (
                f"there is a password in it, after {written}=; write {written}=${{SHOP_TOKEN}}, "
                "and set that variable in the environment"
            )
    return None


def _has_password(user_info: str, *, is_web: bool) -> bool:
    user, _, password = user_info.partition(":")
    # What logs in to a web server without a password is a token.
    return _is_written_out(password or (user if is_web else ""))


def _is_secret(name: str, value: str, *, signed: bool) -> bool:
    if not _is_written_out(value):
        return False
    if _NESTED_USER_INFO.search(unquote_plus(value)):
        return True
    if _KEY_NAME.fullmatch(name):
        return bool(_LOOKS_RANDOM.fullmatch(value))
    return bool(_SECRET_NAME.fullmatch(name)) and not (signed and _OF_A_SIGNATURE.fullmatch(name))


def _is_written_out(value: str) -> bool:
    return bool(value) and not Template(value).get_identifiers()


def _fields(location: str) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of a query and a fragment: the name as it is compared, as written, value."""
    _, *fields = re.split("[?#]", location, maxsplit=1)
    for field in re.split("[?&;#]", "".join(fields)):
        written, _, value = field.partition("=")
        name = re.sub("[^a-z0-9]", "", unquote_plus(written).lower())
        yield name, written if re.fullmatch(r"[\w.-]{1,40}", written) else name[:40], value
