"""docs/commands.md lists every command and option that the parsers take; run as a script, this file prints its tables.

With `--write` the script puts the tables into the page.
"""

import argparse
import re
import sys

import pytest

import analysis.claims.__main__
import analysis.latent.__main__
import analysis.report.__main__
import study.commands.main
import study.commands.run
from tests import ROOT

PAGE = ROOT / "docs" / "commands.md"


def subcommands():
    """The parsers of `study COMMAND` by name, with the sentence that `study --help` prints for each."""
    (action,) = (one for one in study.commands.main._parser()._actions if isinstance(one, argparse._SubParsersAction))
    return {one.dest: (action.choices[one.dest], one.help) for one in action._choices_actions}


def parsers():
    """Every parser with a table of its own, by the heading above the table."""
    of_study = {f"study {name}": parser for name, (parser, _) in subcommands().items() if name not in ("run", "plan")}
    return {
        "python -m study.run": study.commands.run._parser(),
        **of_study,
        "python -m analysis.report": analysis.report.__main__._parser(),
        "python -m analysis.claims": analysis.claims.__main__._parser(),
        "python -m analysis.latent": analysis.latent.__main__._parser(),
    }


def written(action):
    """An option as you type it: `--set NAME=VALUE`, `--executor ray|inline`, or the name of an argument."""
    if not action.option_strings:
        return f"[{action.metavar or action.dest}]" if action.nargs == "?" else str(action.metavar or action.dest)
    value = "" if action.nargs == 0 else "|".join(action.choices or ()) or action.metavar or action.dest.upper()
    return f"{', '.join(action.option_strings)} {value}".strip().replace("|", "\\|")


def meaning(action):
    text = (action.help or "").replace("|", "\\|")
    is_repeated = isinstance(action, argparse._AppendAction) and "repeated" not in text and "again" not in text
    return f"{text}; may be repeated" if is_repeated else text


def table(parser):
    rows = [f"| `{written(one)}` | {meaning(one)} |" for one in parser._actions if one.dest != "help"]
    return "\n".join(["| argument or option | meaning |", "|---|---|", *rows])


def overview():
    rows = [f"| `study {name}` | {said} |" for name, (_, said) in subcommands().items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def tables():
    return {"The study command": overview(), **{heading: table(parser) for heading, parser in parsers().items()}}


TABLE = r"(\n##+ `?{heading}`?\n(?:(?!\n#).)*?\n)(\|[^\n]*(?:\n\|[^\n]*)*)"


def found(page, heading):
    """The first table below a heading, or nothing."""
    match = re.search(TABLE.format(heading=re.escape(heading)), page, re.DOTALL)
    return match and match[2]


@pytest.mark.parametrize("heading", list(tables()))
def test_the_page_has_every_option_as_the_parser_has_it(heading):
    assert found(PAGE.read_text(), heading) == tables()[heading]


def test_the_page_has_no_command_of_which_the_parsers_know_nothing():
    assert re.findall(r"^### `(.+)`$", PAGE.read_text(), re.MULTILINE) == list(parsers())


def test_an_option_that_changes_is_noticed():
    page, parser = PAGE.read_text(), parsers()["study status"]
    parser.add_argument("--planted", action="append", metavar="X|Y", help="a | b")
    assert found(page, "study status") != table(parser)
    assert table(parser).endswith("| `--planted X\\|Y` | a \\| b; may be repeated |")


def replaced(page):
    for heading, text in tables().items():
        page = re.sub(
            TABLE.format(heading=re.escape(heading)), lambda match, text=text: match[1] + text, page, flags=re.DOTALL
        )
    return page


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(replaced(PAGE.read_text()))
    else:
        print("\n\n".join(f"### {heading}\n\n{text}" for heading, text in tables().items()))
