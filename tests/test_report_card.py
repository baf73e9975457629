"""The model card: a header that YAML readers and the hub agree on, and a body no label can break out of."""

import json
import re
from dataclasses import replace

import pytest
import report_samples as samples
from test_report_page import ATTACKS, attacked

from moduformer.report.card import fenced, header, markdown, quoted, render_card, write_card
from moduformer.report.results import ClassCount

yaml = pytest.importorskip("yaml")

INJECTIONS = (
    *ATTACKS,
    'x"\nlicense: mit\n---\n# Owned',
    "---",
    "- item",
    "1. item",
    "# heading",
    "[link](https://example.com)",
    "![image](https://example.com/a.png)",
    "a | b |\n| c",
    "`code` ``` ~~~ *bold* _under_ ~~gone~~",
    "&lt;b&gt; &#60;",
    "\\| \\` trailing\\",
    "https://example.com www.example.com me@example.com",
    "null",
    "yes",
    "!!python/object/apply:os.system ['true']",
    "\x85\xa0\ufeff\u2028😀 한글\U0001f600\u3000",
    "$$x$$ :smile: @someone",
)


def front(card: str) -> dict:
    """The YAML header of a card as the hub reads it."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])


@pytest.mark.parametrize("text", INJECTIONS)
def test_yaml_gives_back_any_text(text):
    read = yaml.safe_load(f"key: {quoted(text)}\nafter: 1\n")
    assert read["after"] == 1
    assert isinstance(read["key"], str)
    kept = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", "\ufffd", text)
    assert read["key"] == kept


@pytest.mark.parametrize("text", INJECTIONS)
def test_markdown_shows_any_text_and_nothing_else(text):
    reader = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False, "html": True})
    shown = markdown(text)
    for card in (shown, f"| a |\n| --- |\n| {shown} |", f"- {shown}", f"## {shown}", f"**{shown}** end"):
        tokens = reader.parse(card)
        plain = reader.parse(card.replace(shown, "word"))
        assert [t.type for t in tokens] == [t.type for t in plain]
        inside = [c.type for t in tokens for c in t.children or ()]
        assert set(inside) <= {"text", "text_special", "strong_open", "strong_close"}
        written = "".join(c.content for t in tokens for c in t.children or ())
        expected = " ".join(
            re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]+", "\ufffd", text).split()
        )
        assert expected[:12].split("\ufffd")[0].strip() in written


def test_header_is_what_the_hub_expects():
    made = front(render_card(samples.ulmfit()))
    assert made == json.loads(json.dumps(header(samples.ulmfit())))
    assert made["library_name"] == "moduformer"
    assert made["pipeline_tag"] == "text-classification"
    assert made["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert made["language"] == ["en"]
    assert made["license"] == "apache-2.0"


def test_the_hub_library_reads_the_metrics():
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(render_card(samples.emotions()))
    results = {r.metric_type: r.metric_value for r in card.data.eval_results}
    assert results["accuracy"] == pytest.approx(samples.emotions().metrics.accuracy, abs=1e-6)
    assert set(results) == {"accuracy", "f1"}
    assert card.data.model_name == "emotion-minilm"


def test_nobody_writes_the_header_from_outside():
    evil = 'x"\nlicense: mit\n---\n# Owned'
    results = samples.make_results(name=evil, base=evil, recipe=evil, data=evil)
    results = replace(results, model=replace(results.model, license=evil, languages=(evil, "ko")))
    made = front(render_card(results))
    assert "license" not in made
    assert "base_model" not in made
    assert "datasets" not in made
    assert made["language"] == ["ko"]
    assert made["model-index"][0]["name"] == " ".join(evil.split())
    assert set(made) == set(header(samples.emotions())) - {"license", "base_model"}


def test_an_attacked_card_has_the_structure_of_an_honest_one():
    reader = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False, "html": True})
    card = render_card(attacked()).split("\n---\n", 1)[1]
    tokens = reader.parse(card)
    inside = [c.type for t in tokens for c in t.children or ()]
    assert not {"html_block", "hr"} & {t.type for t in tokens}
    assert not {"html_inline", "link_open", "image", "code_inline"} & set(inside)
    headings = [tokens[n + 1].content for n, t in enumerate(tokens) if t.type == "heading_open"]
    assert headings[1:] == ["Results", "Use", "Data", "Training", "Limits"]


def test_a_fence_is_longer_than_what_it_holds():
    assert fenced("a\n`````\nb").startswith("``````\n")
    assert fenced("plain", "sh") == "```sh\nplain\n```"


def test_limits_are_said_when_the_numbers_ask_for_them():
    results = samples.emotions()
    card = render_card(results)
    assert "2 held-out texts also stand in the training data" in card
    assert "The weakest class is surprise" in card
    assert "chances" not in card
    unsure = replace(results, metrics=replace(results.metrics, calibration_error=0.2), seeds={"a": 1, "b": 2})
    assert "off by 20.0%" in render_card(unsure)
    assert "another seed" not in render_card(unsure)


def test_the_command_stands_in_the_card_word_for_word():
    assert f"```sh\n{samples.korean().command}\n```" in render_card(samples.korean())


def test_many_classes_and_none(tmp_path):
    assert "and 65 more" in render_card(samples.banking())
    results = samples.emotions()
    bare = replace(results, data=replace(results.data, classes=(ClassCount("only", 3),)), comparison=(), command=None)
    assert "1 classes" not in render_card(bare)
    assert write_card(bare, tmp_path) == tmp_path / "README.md"
