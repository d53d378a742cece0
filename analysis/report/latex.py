"""Renders a table as LaTeX with booktabs, for a paper to read in with its input command."""

import re

from analysis.report.section import Table
from workers.contract.errors import one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\u2212": r"$-$",
    "\u00b1": r"$\pm$",
    "\u2013": r"--",
    "\u00d7": r"$\times$",
    "\u2020": r"$\dagger$",
    "\u2714": "",
    "\u2718": "",
}


def latex(table: Table) -> str:
    """Render the rows and columns that the report shows, without a caption; needs the package booktabs."""
    texts = table.texts
    columns = "".join("r" if is_number else "l" for is_number in table.numeric)
    rows = [" & ".join(escape(str(value)) for value in row) + r" \\" for row in texts.itertuples(index=False)]
    head = " & ".join(escape(str(name)) for name in texts.columns) + r" \\"
    lines = [
        f"% {one_line(table.title)}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
    ]
    return "\n".join([*lines, r"\end{tabular}", ""])


def escape(words: str) -> str:
    """Escape text so that LaTeX prints it as it is, on one line."""
    found = "".join(_SPECIAL.get(letter, letter) for letter in one_line(words))
    found = re.sub(r"\bn\\_z\b", "$n_z$", found).strip()
    # At the beginning of a row, both would belong to the end of the row before, as in \\*[2pt].
    return f"{{{found[0]}}}{found[1:]}" if found.startswith(("[", "*")) else found
