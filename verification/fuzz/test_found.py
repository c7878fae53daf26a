"""Faults that fuzzing has found, shrunk: the reader compared with the oracle."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from testing.csv_oracle.contents import expected_contents
from testing.reader import read

HEADER = b"sku,name,description\n"
BACKSLASHES = b"".join(b'"x%d","a \\" b","c"\n' % number for number in range(3))


def fault(data: bytes, name: str, *null_tokens: str) -> object:
    return pytest.param(data, null_tokens, id=name)


@pytest.mark.parametrize(
    ("data", "null_tokens"),
    [
        fault(
            HEADER + b"s1,a,x,\n" * 20 + b"s1,a\n",
            "where all rows end in a delimiter, a repaired copy is refused by its own header",
        ),
        fault(
            HEADER + b's1,A,"a""\ns2,B,x\ns3,C,"""\nend",c\n',
            "a closing quote after escaped ones at the begin of a line is not looked at twice",
        ),
        fault(
            HEADER + BACKSLASHES + b'y1,="A\\",z\n',
            "in a file with backslashes, a formula that ends in one is rewritten, and cut off",
        ),
        fault(
            HEADER + BACKSLASHES + b"y1,Lamp,\\\\N\n",
            "in a file with backslashes, null tokens of descriptions are compared before they go",
            "\\N",
        ),
        fault(HEADER + b"a,b,\r\n\nc,d,\n", "a CRLF among LF line ends counts as an empty line"),
        fault(
            b'description,x,sku,name,y\nb",,,,"\xc3\xa9\r"\n\\"a\n\\",,"","\n",\xc3\xa9',
            "a good record of the copy is judged by the text after it, which is another there",
        ),
        fault(
            b'description,x,sku,name,y\nb1,,c c,\n,,,,\n,,,,\n,\n,,,a\n,,,\n,,,","\na",,,\n',
            "a short record ends elsewhere if its habit is counted than if it is known",
        ),
        fault(
            b"description,x,sku,name,y\n,y,y,\ndescription,x,sku\ndescripti",
            "the first cells of the header in a row are a short row, and no other header",
        ),
    ],
)
def test_the_reader_agrees_with_the_oracle(data: bytes, null_tokens: tuple[str, ...]):
    names = data.splitlines()[0].decode().split(",")
    contents = expected_contents(data, data.index(b"\n") + 1, ",", names, null_tokens=null_tokens)
    assert read(data, max_reject_share=1, null_tokens=null_tokens).contents == contents


def test_another_header_is_detected_whatever_stands_before_its_names():
    data = b"description,x,sku,name,y\na,b,c,d,e\nz,x,sku,name,y,more\n"
    with pytest.raises(DeliveryRefusedError, match="is a header"):
        read(data, max_reject_share=1)
