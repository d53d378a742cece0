"""Words of factors and levels, and the file that renames them."""

import pytest

from analysis.figures.style import typeset, width_of, wrap
from analysis.loading.labels import PLAIN, LabelError, read_labels


def test_the_usual_words():
    cell = {"decoder": "continuous_bernoulli", "k": 5, "batch_norm": False, "warmup": 20, "training.learning_rate": 0.1}
    assert PLAIN.in_words(cell) == (
        "Continuous bernoulli decoder, K = 5, no batch norm, warm-up 20 epochs, training.learning_rate = 0.1"
    )


def test_a_file_renames_what_it_names_and_nothing_else(tmp_path):
    file = tmp_path / "labels.yaml"
    file.write_text(
        "factors: {n_z: code size, training.learning_rate: step}\n"
        "levels:\n  k: {1: VAE}\n  batch_norm: {true: BN, false: plain}\n  training.learning_rate: {1e-3: small}\n"
    )
    labels = read_labels(file)
    assert labels.title_of("n_z") == "code size"
    assert labels.title_of("k") == "importance samples K"
    assert [labels.label_of("k", level) for level in (1, 5)] == ["VAE", "K = 5"]
    assert [labels.label_of("batch_norm", level) for level in (True, False)] == ["BN", "plain"]
    assert labels.label_of("training.learning_rate", 0.001) == "small"
    assert labels.in_words({"k": 1, "n_z": 3, "training.learning_rate": 0.1}) == "VAE, n_z = 3, step = 0.1"
    for nothing in ("", "# nothing yet", "factors:\nlevels: {}"):
        file.write_text(nothing)
        assert read_labels(file) == PLAIN


def test_every_problem_of_a_file_is_named_at_once(tmp_path):
    file = tmp_path / "labels.yaml"
    file.write_text("factors: {kk: x}\nlevels: {k: VAE, n_z: {2: [a]}}\n")
    with pytest.raises(LabelError) as error:
        read_labels(file)
    lines = str(error.value).splitlines()
    assert [line.split(": ", 1)[0] for line in lines] == [f"{file}:1:11", f"{file}:2:13", f"{file}:2:27", str(file)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("factors: {kk: x}", r"1:11: factors\.kk: no such factor, did you mean k\?"),
        ("levels: {k: VAE}", r"1:13: levels\.k: must be a table"),
        ("levels: {n_z: {2: [a]}}", r"1:19: levels\.n_z\.2: got \['a'\], must be a text"),
        ("levels:\n  n_z: {2: true}", r"2:12: levels\.n_z\.2: got True, must be a text"),
        ("colours: {k: red}", "1:1: colours: a file of labels has only factors and levels"),
        ("factors: [k]", "1:10: factors: must be a table"),
        ("a: [", "1:5: is not valid YAML"),
        ("- 1", "1:1: the file: must be a table"),
        ("factors: {k: {a: b}}", r"1:14: factors\.k: got"),
        ("factors: {k: a, k: b}", r"1:17: k: is given twice"),
        ("factors: {k: &a b}", r"1:14: anchors and aliases"),
        ("factors: {k: !!str b}", r"1:14: tags are not allowed"),
        ("# " + "x" * 40_000, r"1:1: is 40,002 bytes; .* a file of labels is a page of text"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_with_what_to_write(tmp_path, text, words):
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(LabelError, match=f"labels.yaml:{words}") as error:
        read_labels(tmp_path / "labels.yaml")
    assert "write factors: {n_z: latent size}" in str(error.value)


def test_text_is_printed_as_it_stands_and_wrapped_by_its_width():
    assert typeset("cost $5, n_z -1") == "cost \\$5, $n_z$ \u22121"
    words = "one two three four five six seven eight nine ten eleven twelve"
    lines = wrap(words, 9, 100)
    assert len(lines) > 2
    assert all(width_of(line, 9) <= 100 for line in lines)
    assert " ".join(lines) == words
