"""Renders the report as one self-contained HTML page, without scripts, fonts or requests."""

import base64
from collections.abc import Mapping, Sequence
from html import escape as plain

from analysis.figures.picture import Picture
from analysis.loading.study import Study
from analysis.report.completeness import left_out_in_words, state_in_words
from analysis.report.section import Section, Table

_CSS = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1a1a1a;background:#fff;max-width:76rem;
margin:0 auto;padding:1rem}
h1{font-size:1.7rem;margin:.4rem 0}h2{font-size:1.3rem;margin:2.4rem 0 .6rem;border-bottom:1px solid #ccc}
h3{font-size:1.02rem;margin:1.4rem 0 .3rem}
p{max-width:60rem}p.lead{color:#444;margin:.2rem 0 1rem}
a{color:#0b5394}
nav{background:#f6f6f4;padding:.6rem 1rem;margin:1rem 0}nav ol{margin:.2rem 0;padding-left:1.4rem;columns:2 20rem}
nav li{break-inside:avoid}nav ul{margin:0;padding-left:1rem;font-size:.85rem;list-style:none}
.state{padding:.7rem 1rem;border-left:6px solid #009E73;background:#eef8f4;margin:1rem 0;max-width:none}
.state.open{border-color:#D55E00;background:#fdf1e8;font-weight:600}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1.6rem 1.2rem;
align-items:start}
figure{margin:0;break-inside:avoid;scroll-margin-top:1rem}figure img{width:100%;height:auto;display:block}
figure.wide-figure{grid-column:1/-1;max-width:54rem}
figcaption{font-size:.85rem;color:#333;margin-top:.3rem}
/* A table that is too wide scrolls in its box. Its edge fades, as a number cut at a digit would read as another number. */
.wide{overflow-x:auto;padding-right:1.6rem;mask-image:linear-gradient(to left,transparent,#000 1.6rem)}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .45rem;text-align:left;border-bottom:1px solid #e5e5e5;vertical-align:top}
th{border-bottom:2px solid #999;vertical-align:bottom}
th.number,td.number{text-align:right}td.number,td.short{white-space:nowrap}
td.text{min-width:14rem}td.long{overflow-wrap:anywhere;min-width:8rem}
@media (max-width:700px){.wide{overflow:visible;padding:0;mask-image:none}.wide table,.wide tbody{display:block}
.wide thead{display:none}.wide tr{display:block;border-bottom:2px solid #999;padding:.3rem 0}
.wide td{display:flex;justify-content:space-between;gap:1rem;padding:.1rem 0;text-align:right;min-width:0;white-space:normal;
overflow-wrap:anywhere;border:0}.wide td:empty{display:none}
.wide td::before{content:attr(data-of);color:#555;text-align:left;flex:none;max-width:50%}}
details{margin:.5rem 0}summary{cursor:pointer}
@media print{body{font-size:10px;max-width:none;padding:0}.pictures{grid-template-columns:1fr 1fr;gap:.8rem}
.wide{overflow:visible;padding:0;mask-image:none}table{font-size:.75rem}th,td{padding:.1rem .3rem}
h2,h3{break-after:avoid}tr{break-inside:avoid}thead{display:table-header-group}nav{background:none}
.state{border:1px solid #999}a{color:inherit;text-decoration:none}}
"""

_LONG = 30
"""Letters of a text that gets a column wide enough to be read, and of a word that may be broken anywhere."""

_SHORT = 13
"""Letters of a text that is not broken, such as 'no batch norm'."""


def escape(words: str) -> str:
    """Escape text for HTML and typeset n_z and L_K."""
    return plain(words).replace("n_z", "n<sub>z</sub>").replace("L_K", "L<sub>K</sub>")


def page(study: Study, sections: Sequence[Section], images: Mapping[str, bytes], made: str) -> str:
    """Render the whole page.

    Args:
        study: the output of `load`.
        sections: in the order of the page.
        images: the PNG of every picture, by its name.
        made: when and from what it was made.
    """
    classes = "state" if study.is_complete and not study.left_out else "state open"
    body = [
        f"<h1>{plain(study.name)}</h1>",
        f'<p class="lead">{plain(made)}</p>',
        f'<p class="{classes}">{escape(state_in_words(study))}</p>',
        *(f'<p class="state open">{plain(line)}</p>' for line in left_out_in_words(study)),
        _contents(sections),
        *(_section(section, images) for section in sections),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # An empty icon, as the browser would otherwise request one.
        '<link rel="icon" href="data:,">'
        f"<title>{plain(study.name)}: report</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _contents(sections: Sequence[Section]) -> str:
    items = []
    for section in sections:
        numbered = [picture for picture in section.pictures if picture.number]
        links = " \u00b7 ".join(
            f'<a href="#{plain(one.name)}">{escape(one.name.removeprefix("figure-"))}</a>' for one in numbered
        )
        inner = f"<ul><li>{links}</li></ul>" if links else ""
        items.append(f'<li><a href="#{plain(section.anchor)}">{escape(section.title)}</a>{inner}</li>')
    return f"<nav><ol>{''.join(items)}</ol></nav>"


def _section(section: Section, images: Mapping[str, bytes]) -> str:
    words = "".join(f"<p>{escape(part)}</p>" for part in section.words.split("\n\n") if part.strip())
    words += f"<ul>{''.join(f'<li>{escape(point)}</li>' for point in section.points)}</ul>" if section.points else ""
    pictures = "".join(_figure(picture, images[picture.name]) for picture in section.pictures if picture.name in images)
    grid = f'<div class="pictures">{pictures}</div>' if pictures else ""
    tables = "\n".join(_table(table) for table in section.tables)
    return f'<h2 id="{plain(section.anchor)}">{escape(section.title)}</h2>{words}\n{grid}\n{tables}'


def _figure(picture: Picture, image: bytes) -> str:
    data = base64.b64encode(image).decode()
    wide = ' class="wide-figure"' if picture.is_wide else ""
    number = f"<b>Figure {escape(picture.number)}.</b> " if picture.number else ""
    return (
        f'<figure id="{plain(picture.name)}"{wide}><img alt="{plain(picture.title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{number}{escape(picture.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    texts, numeric = table.texts, table.numeric
    kinds = [' class="number"' if is_number else "" for is_number in numeric]
    head = "".join(f"<th{kind}>{escape(str(name))}</th>" for name, kind in zip(texts, kinds, strict=True))
    rows = "".join(
        f"<tr>{''.join(map(_cell, map(str, row), map(str, texts), numeric))}</tr>" for row in texts.itertuples(index=False)
    )
    words = f"<p>{escape(table.words)}</p>" if table.words else ""
    body = f'{words}<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    if table.is_folded:
        return f"<details><summary>{escape(table.title)} ({len(texts)} rows)</summary>{body}</details>"
    return f"<h3>{escape(table.title)}</h3>{body}"


def _cell(value: str, column: str, is_number: bool) -> str:
    """Render one entry; it names its column, as narrow windows show each row as a list."""
    longest = max(map(len, value.split()), default=0)
    kind = "number" if is_number else "long" if longest > _LONG else "text" if len(value) > _LONG else ""
    if not kind and len(value) <= _SHORT:
        kind = "short"
    named = f' class="{kind}"' if kind else ""
    return f'<td{named} data-of="{plain(column)}">{f"<span>{escape(value)}</span>" if value else ""}</td>'
