"""Ignored inbox files: which names the built-in patterns and those of the setting match."""

import pytest

from lfp_pipeline.common.ignored_names import IGNORED, IgnoredNames, checked_pattern
from testing.processes import PROJECT

FILES = """
.hidden .DS_Store ._products.csv .a.csv.swp .~lock.products.ods# .nfs0001 .a.csv.AbC123
a.csv.part a.csv.partial A.TMP a.temp a.crdownload a.filepart a.opdownload a.csv.download
a.csv.uploading a.csv.inprogress a.csv._COPYING_ a.csv.aria2 a.csv.!qB a.csv.sb-1a2b3c4d-Xyz123
a.bak a.csv.BAK a.csv~ a.csv.swp a.csv.swo a.csv.orig a.csv.old #a.csv# ~$products.xlsx a.csv.lock
a.csv.md5 a.csv.sha1 a.csv.sha256 a.csv.sha512 a.zip.sha256sum SHA256SUMS MD5SUMS a.crc a.csv.sig
a.csv.done a.done A.DONE a.ok a.csv.ready a.trg a.ctl _SUCCESS _started_123
Thumbs.db thumbs.db ehthumbs.db desktop.ini Desktop.ini products.lnk products.url
"""

FOLDERS = """
.git lost+found @eaDir #recycle @Recycle __MACOSX $RECYCLE.BIN $Recycle.Bin FOUND.000
_temporary ~snapshot a.csv.download a.part found.012
"""

NAMED_BY_USERS = """
CVS cvs recycler 2024.old old.bak shop.backup my.orig swap.swp old~ #1# a.lock shop.md5 shop.done
shop.ok shop.ready found.abc thumbs.db shop.url _success
"""

DATA = """
products.csv a.csv.gz part tmp bak.csv done done.csv md5 md5.csv thumbs.csv lost+found.csv ok.csv
$products.csv ~products.csv #1.csv a~b.csv swap.csv a.csv.2026 products.txt a.part.csv temp.csv
lost+found @eaDir __MACOSX $RECYCLE.BIN
"""


@pytest.mark.parametrize("name", FILES.split())
@pytest.mark.parametrize("folder", ["", "shop/new/"])
def test_temporary_and_side_files_are_ignored(name: str, folder: str) -> None:
    assert IgnoredNames().match(folder + name, is_folder=False)


@pytest.mark.parametrize("name", [*FOLDERS.split(), "System Volume Information", "Temporary Items"])
def test_system_folders_are_ignored(name: str) -> None:
    assert IgnoredNames().match(name, is_folder=True)
    assert IgnoredNames().match(f"shop/{name}", is_folder=True)


@pytest.mark.parametrize("name", NAMED_BY_USERS.split())
def test_folders_that_users_may_have_named_are_not_ignored(name: str) -> None:
    assert not IgnoredNames().match(name, is_folder=True)
    assert not IgnoredNames().match(f"shop/{name}", is_folder=True)


@pytest.mark.parametrize("name", DATA.split())
def test_files_with_similar_names_are_not_ignored(name: str) -> None:
    assert not IgnoredNames().match(name, is_folder=False)


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        ("*.xml", ["a.xml", "shop/A.XML", "a.xml/"], ["a.xml.csv"]),
        ("drafts/", ["drafts/", "shop/Drafts/"], ["drafts", "drafts.csv/"]),
        ("shop/*.csv", ["shop/a.csv", "Shop/a.CSV"], ["a.csv", "shop/new/a.csv", "x/shop/a.csv"]),
        ("shop/*/old/", ["shop/x/old/"], ["shop/x/old", "shop/old/", "old/"]),
        ("/a.csv", ["a.csv"], ["shop/a.csv"]),
        ("[ab]?.csv", ["a1.csv", "B2.csv"], ["c1.csv", "a.csv"]),
        ("größe*", ["GRÖSSE".replace("SS", "ß") + ".csv"], ["gro.csv"]),
    ],
)
def test_the_setting_adds_patterns(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    ignored = IgnoredNames([checked_pattern(pattern)])
    for paths, expected in ((matched, True), (unmatched, False)):
        for path in paths:
            is_folder = path.endswith("/")
            assert ignored.match(path.rstrip("/"), is_folder=is_folder) is expected, path
    assert ignored.match("a.tmp", is_folder=False)


def test_a_name_that_is_not_utf8_is_matched() -> None:
    assert IgnoredNames().match("\udcff.tmp", is_folder=False)
    assert not IgnoredNames().match("\udcff.csv", is_folder=False)


@pytest.mark.parametrize("pattern", ["", "/", "//", "a//b", "../a", "./a", "a/.."])
def test_a_pattern_that_cannot_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="a pattern such as"):
        checked_pattern(pattern)


def test_the_documentation_lists_every_pattern() -> None:
    text = (PROJECT / "docs" / "sources.md").read_text()
    assert [
        pattern for pattern in IGNORED if f"`{pattern.replace(chr(13), chr(92) + 'r')}`" not in text
    ] == []
