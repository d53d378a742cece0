"""A good file of claims, and one with a mistake of every kind."""

GOOD = """
claims:
  - id: mine
    text: Twenty units are as good as fifty.
    figure: 2.5
    cells: {few: {n_z: 20}, many: {}}
    parts:
      - {name: nll, value: final, column: nll, test: equal, cells: [few, many], margin: 0.5, paired: false}
"""


BAD = """base: {k: 0, colour: red}
claims:
  - id: one
    cells: {few: {n_z: twenty}, many: {seed: 3}}
    parts:
      - {name: a, value: finale, column: nll, test: equal, cells: [few, many], margin: 0.5, paired: false}
      - {name: b, value: final, column: nlll, test: equal, cells: [few, lots], margin: -1, paired: perhaps}
      - {name: c, value: final, column: nll, test: within, cells: [few], range: [3, 1]}
      - {name: d, value: final, column: nll, test: greater, cells: [few], margin: 1, paired: true, margn: 2}
      - {name: e, value: slope, column: nll, last: 2.5, test: above, cells: [few]}
    needs: {epochs: many}
  - text: no id
    id: two
    cells: {a: {}}
    parts: []
"""
