"""The charset in a Content-Type."""

from email.message import Message

from lfp_pipeline.common.text_codecs import codec_name

_LONGEST_NAME = 40


def charset_in(content_type: str) -> str | None:
    """Return the charset that a Content-Type names, by Python's name; None: no known one."""
    message = Message()
    message["Content-Type"] = content_type
    charset = message.get_content_charset("")
    try:
        return codec_name(charset) if 0 < len(charset) <= _LONGEST_NAME else None
    except ValueError:
        return None
