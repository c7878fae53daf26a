"""`lfp names`: lists the most frequent names."""

import click

from lfp_pipeline.cli.layout import print_table
from lfp_pipeline.cli.output import examples, json_option, print_json, say
from lfp_pipeline.cli.tables import limit_option, reading_tables


@click.command(epilog=examples("lfp names --top 5", "lfp names --like smith"))
@limit_option("--top", 20, "names")
@click.option("--like", "text", default="", metavar="TEXT", help="Only names that contain TEXT.")
@json_option
def command(limit: int, text: str, *, as_json: bool) -> None:
    """List the most frequent names, with the number of products of each.

    Case and accents do not matter for --like.
    """
    from lfp_pipeline.operations.look_up import most_frequent_names

    with reading_tables() as tables:
        names = most_frequent_names(tables, limit, text)
    if as_json:
        print_json(names)
    elif not names:
        say(f"No name contains {text!r}." if text else "There are no names: no products.")
    else:
        rows = [(row["no_of_products"], row["name"]) for row in names]
        print_table(("products", "name"), rows)
