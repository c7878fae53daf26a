"""The options that decide how a file is read, and the form in which ledgers record them."""

import json
from pathlib import Path

from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.reading.options import Conditions, ReadOptions, reread
from lfp_pipeline.settings import Settings

# The form that version 0.1 wrote.
RECORDED = """{
    "column_aliases": {"sku": ["article no"]}, "fallback_encoding": null,
    "header_search_lines": 20, "max_description_length": 100000, "max_name_length": 1000,
    "max_record_bytes": 2000000, "max_reject_share": 0.1, "max_sku_length": 200,
    "max_unpacked_bytes": 107374182400, "null_tokens": ["\\\\N", "NULL"], "require_all_cells": false
}"""


def settings(folder: Path, **others: object) -> Settings:
    chosen: dict[str, object] = {
        "column_aliases": {"sku": ["article no"]},
        "null_tokens": ("\\N", "NULL"),
    }
    return Settings(data_dir=folder, **chosen | others)  # type: ignore[arg-type]


def test_the_recorded_options_keep_their_names_and_form(tmp_path: Path):
    options = ReadOptions.of(settings(tmp_path))
    assert options.recorded == json.loads(RECORDED)
    recorded = json.loads(Conditions.of(options, TextFormat()).text)
    assert list(recorded) == ["programs", "settings", "text_format"]
    assert recorded["settings"] == json.loads(RECORDED)
    assert recorded["text_format"] == {"charset": None, "delimiter": None, "encoding": None}


def test_conditions_survive_a_round_trip_through_a_ledger_row(tmp_path: Path):
    conditions = Conditions.of(ReadOptions.of(settings(tmp_path)), TextFormat())
    assert Conditions.from_text(conditions.text) == conditions


def test_a_time_limit_makes_no_difference(tmp_path: Path):
    then = Conditions.of(ReadOptions.of(settings(tmp_path)), TextFormat())
    now = settings(tmp_path, max_archive_seconds=1)
    way = reread(then.digest, then.text, TextFormat(), now)
    assert not way.differences
    assert way.settings is now


def test_recorded_options_are_restored_and_changed_ones_are_named(tmp_path: Path):
    then = Conditions.of(ReadOptions.of(settings(tmp_path, max_sku_length=5)), TextFormat())
    way = reread(then.digest, then.text, TextFormat(), settings(tmp_path))
    assert way.settings == settings(tmp_path, max_sku_length=5)
    assert way.kept == ("LFP_MAX_SKU_LENGTH was 5, and is 200 now",)


def test_equal_values_of_other_types_make_no_difference(tmp_path: Path):
    settings = Settings(data_dir=tmp_path, max_reject_share=1, null_tokens=("-",))
    copied = settings.model_copy(update={"max_reject_share": 1, "null_tokens": ["-"]})
    text_format = TextFormat()
    conditions = [Conditions.of(ReadOptions.of(one), text_format) for one in (settings, copied)]
    assert conditions[0].text == conditions[1].text
