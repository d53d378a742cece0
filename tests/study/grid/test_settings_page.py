"""docs/settings.md says of every setting what the code says; run as a script, this file prints its table."""

import inspect
import math
import re

import pytest

from study.grid.hints import allowed, words_of
from study.grid.presets import PRESETS
from tests import ROOT
from workers.contract.combinations import refusals
from workers.contract.schedules import learning_rate_at
from workers.contract.settings import NOT_A_FACTOR, RunSettings, Settings
from workers.contract.settings_table import default_of, leaves, settings_from

PAGE = ROOT / "docs" / "settings.md"


def shown(value):
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def meaning(field):
    # A bar ends a cell of the table.
    return field.description.replace("|", "\\|")


def rows():
    for name, field in leaves(Settings).items():
        factor = "no" if name in NOT_A_FACTOR or name.startswith("measure.") else "yes"
        yield f"| `{name}` | {shown(field.default)} | {allowed(name)} | {factor} | {meaning(field)} |"
    for name, field in leaves(RunSettings).items():
        yield f"| `run.{name}` | {shown(field.default)} | {allowed(name, RunSettings)} | no | {meaning(field)} |"


def test_page_has_every_setting_as_the_code_has_it():
    page = PAGE.read_text()
    assert [row for row in rows() if row not in page] == []


def section(title):
    """The part of the page below a heading, to the next heading of its kind or above."""
    level = title.split()[0]
    rest = PAGE.read_text().partition(f"\n{title}\n")[2]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_page_has_every_value_of_a_preset_in_its_section(preset):
    """`paper-literal` says only in what it differs from `paper`."""
    base = PRESETS["paper"] if preset == "paper-literal" else {}
    own = {name: value for name, value in PRESETS[preset].items() if name not in base or base[name] != value}
    said = re.findall(r"^\| `([a-z_.0-9]+)` \| (.*?) \| (.+) \|$", section(f"### `preset: {preset}`"), re.MULTILINE)
    assert {name: value for name, value, _ in said} == {name: shown(value) for name, value in own.items()}


def test_the_literal_preset_is_the_paper_but_for_the_heads_of_the_encoder():
    paper, literal = PRESETS["paper"], PRESETS["paper-literal"]
    assert {name: value for name, value in literal.items() if paper[name] != value} == {
        "model.encoder_mean_head": "sigmoid",
        "model.encoder_logvar_head": "tanh",
    }
    assert paper.keys() == literal.keys()


def choices():
    """The rows of what the literature leaves open, by number."""
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section("## What the literature leaves open"), re.MULTILINE)
    return [(int(number), re.split(r"(?<!\\) \| ", cells)) for number, cells in rows]


def test_page_answers_every_question():
    assert [number for number, _ in choices()] == list(range(1, 31))
    for number, cells in choices():
        question, setting, _, answer = (cell.strip() for cell in cells)
        assert question, number
        assert answer, number
        assert setting == "-" or re.match(r"`[a-z_.0-9]+`: ", setting), number


def test_defaults_of_the_questions_are_those_of_the_code():
    for number, (_, setting, *_) in choices():
        for name, value in re.findall(r"`([a-z_.0-9]+)`: ([^\s;]+)", setting):
            if not isinstance(default_of(name), (int, float)) or isinstance(default_of(name), bool):
                assert value == shown(default_of(name)), (number, name)
            else:
                assert float(value) == default_of(name), (number, name)


def test_other_values_of_the_questions_are_allowed():
    for number, (_, setting, others, _) in choices():
        name = setting.partition("`: ")[0].strip("`")
        words = words_of(name, Settings) if setting != "-" else []
        said = [word for word in re.split(r"[,;]\s*|\s", others) if word in words]
        assert not words or said, f"{number}: none of {words} in {others}"


def test_every_setting_has_its_reason_beyond_the_table():
    """Whatever can be trained otherwise is explained: an equation, a question, or what it is beyond the paper."""
    beyond = "".join(PAGE.read_text().partition("## Combinations")[1:])
    names = [name for name in leaves() if name not in ("data.name", "data.root", "data.path", "decoder")]
    assert [name for name in names if name not in beyond and name.rsplit(".", 1)[-1] not in beyond] == []


def test_every_refusal_is_on_the_page():
    rows = [line for line in section("## Combinations").splitlines() if line.startswith("| `")]
    first = " ".join(row.split(" | ")[0] for row in rows)
    source = inspect.getsource(refusals)
    assert len(rows) >= len(set(re.findall(r'refuse\("([a-z_.]+)"', source)))
    assert [name for name in set(re.findall(r'refuse\("([a-z_.]+)"', source)) if name not in first] == []


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("-0.4189", 0.5 - 0.5 * math.log(2 * math.pi)),
        ("-328.4", 784 * (0.5 - 0.5 * math.log(2 * math.pi))),
        ("1.36", math.e / 2),
        ("-0.229", -math.log1p(math.exp(-math.e / 2))),
        ("-179.2", -784 * math.log1p(math.exp(-math.e / 2))),
        ("9.2", math.log(10_000)),
    ],
)
def test_numbers_on_the_page_that_follow_from_an_equation(number, value):
    digits = len(number.partition(".")[2])
    assert f"{value:.{digits}f}" == number
    assert number in PAGE.read_text()


def test_the_learning_rates_on_the_page_are_those_of_the_schedule():
    training = settings_from(PRESETS["burda"]).training
    ends = [1, 4, 13, 40, 121, 364, 1093, 3280]
    shares = [f"{learning_rate_at(end, training) / training.learning_rate:g}" for end in ends]
    page = " ".join(PAGE.read_text().split())
    assert f"shares are {', '.join(shares[:-1])} and {shares[-1]} of `learning_rate`" in page
    assert f"up to pass {', '.join(map(str, ends[:-1]))} and {ends[-1]} of 3280" in page


def test_links_within_the_page_lead_somewhere():
    page = PAGE.read_text()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


if __name__ == "__main__":
    print("| setting | default | allowed | factor | meaning |\n|---|---|---|---|---|")
    print("\n".join(rows()))
