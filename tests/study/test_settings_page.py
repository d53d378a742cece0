"""docs/settings.md says of every setting what the code says; run as a script, this file prints its table."""

from pathlib import Path

from study.presets import PRESETS
from study.wording import allowed
from workers.settings import NOT_A_FACTOR, RunSettings, Settings, leaves

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def shown(value):
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def rows():
    for name, field in leaves(Settings).items():
        factor = "no" if name in NOT_A_FACTOR or name.startswith("measure.") else "yes"
        yield f"| `{name}` | {shown(field.default)} | {allowed(name)} | {factor} | {field.description} |"
    for name, field in leaves(RunSettings).items():
        yield f"| `run.{name}` | {shown(field.default)} | {allowed(name, RunSettings)} | no | {field.description} |"


def test_page_has_every_setting_as_the_code_has_it():
    page = PAGE.read_text()
    assert [row for row in rows() if row not in page] == []


def test_page_has_every_value_of_every_preset():
    page = PAGE.read_text()
    for preset, values in PRESETS.items():
        for name, value in values.items():
            assert f"| `{name}` | {shown(value)} |" in page, f"{preset}: {name}"


if __name__ == "__main__":
    print("| setting | default | allowed | factor | meaning |\n|---|---|---|---|---|")
    print("\n".join(rows()))
