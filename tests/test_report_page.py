"""The report page: nothing foreign runs or loads, every kind of run can be drawn, labels do not overlap."""

import base64
import hashlib
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import pytest
import report_samples as samples

from moduformer.errors import DataError
from moduformer.report import charts
from moduformer.report.drawing import element, shorten, text_width, write
from moduformer.report.page import render_report, write_report
from moduformer.report.pictures import confusion_matrix_svg, learning_curves_svg, schedule_svg, write_pictures
from moduformer.report.results import (
    ClassCount,
    Cost,
    DataFacts,
    Evaluation,
    History,
    LongText,
    Metrics,
    ModelFacts,
    Recipe,
    Results,
    Step,
    Window,
)
from moduformer.report.wording import LANGUAGES, WORDS, duration, in_language, rate

RUN = "document.documentElement.setAttribute('data-pwned','1')"
ATTACKS = (
    f'<img src=x onerror="{RUN}">',
    f"<img src=x onerror={RUN}>",
    f'"><svg onload="{RUN}">',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}'",
    f"</script><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</title></text></svg><script>{RUN}</script>",
    f"--><script>{RUN}</script><!--",
    f"javascript:{RUN}",
    "a\u2028b\u2029c\x00d\x1be\u202eevil\u2066\ud800",
    "{{ 7 * 7 }}{% for x in y %} ${7*7} {0} {label} %s",
    "<iframe src='https://example.com/x'></iframe><link rel=stylesheet href=//example.com/a.css>",
    "]]><foreignObject><body onload=alert(1)>",
)


def attacked() -> Results:
    """A run in which every text that can come from outside is an attack."""
    everything = " ".join(ATTACKS)
    results = samples.make_results(
        labels=ATTACKS,
        epochs=3,
        groups=4,
        gradual=True,
        name=everything,
        base=everything,
        recipe=everything,
        data=everything,
        text=everything,
    )
    model = replace(results.model, family=everything, license=everything, languages=(everything,))
    data = replace(
        results.data,
        refused_reasons={everything: 2},
        text_column=everything,
        label_column=everything,
        heldout_from=everything,
        license=everything,
    )
    return replace(
        results,
        model=model,
        data=data,
        recipe=replace(results.recipe, settings={everything: everything, "b": (everything, 1)}),
        metrics=replace(results.metrics, baseline_accuracy=0.2, baseline_name=everything),
        history=replace(results.history, groups=ATTACKS[:4]),
        comparison=tuple(replace(c, name=a, note=a) for c, a in zip(results.comparison, ATTACKS)),
        long_texts=(replace(results.long_texts[0], merge=everything), *results.long_texts),
        cost=Cost(3.0, 5, everything, 1),
        seeds={everything: 3},
        versions={everything: everything},
        command=everything,
    )


class Page(HTMLParser):
    """The tags, attributes and visible text of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_report(attacked())


def test_foreign_text_never_becomes_markup(hostile):
    page, honest = Page(hostile), Page(render_report(samples.ulmfit()))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in honest.tags} | {"small"}
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert sum(tag == "style" for tag, _ in page.tags) == 1
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "src", "srcset", "action", "formaction", "data", "xlink:href")
            if name == "href":
                assert value is not None
                assert value.startswith("#")
    assert "{{ 7 * 7 }}" in page.text
    assert "{label}" in page.text
    assert RUN in page.text


def test_controls_and_overrides_are_replaced(hostile):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", hostile)
    hostile.encode()


def test_policy_allows_only_this_style_and_script(hostile):
    policy = next(a["content"] for t, a in Page(hostile).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    for name in ("style", "script"):
        content = re.search(f"<{name}>(.*?)</{name}>", hostile, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize(
    "make", [samples.emotions, samples.ulmfit, samples.two_classes, samples.korean, samples.banking]
)
def test_equal_results_give_equal_pages_with_every_section(make):
    html = render_report(make())
    assert render_report(make()) == html
    page = Page(html)
    identities = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identities) == len(set(identities))
    for name in ("href", "aria-labelledby", "for"):
        for _, attributes in page.tags:
            if name in attributes:
                assert attributes[name].removeprefix("#") in identities
    for part in ("summary", "comparison", "quality", "errors", "long", "training", "data", "reproduce"):
        assert part in identities


def test_a_run_that_knows_little_still_has_a_page():
    least = Results(
        ModelFacts("m"), Recipe("plain"), DataFacts("d.csv", 10, 0), Metrics(accuracy=0.0, rows=0, macro_f1=None)
    )
    page = Page(render_report(least))
    assert not [t for t, _ in page.tags if t == "svg"]
    odd = replace(
        least,
        history=History(
            steps=(Step(1, 0.5, None, (0.0,)), Step(2, 1.0, 3.0, ())),
            evaluations=(Evaluation(2, 1.0, {"accuracy": None, "loss": None}), Evaluation(3, 2.0, {"accuracy": 1.0})),
        ),
        metrics=Metrics(accuracy=1.0, rows=3, labels=("a", "b"), confusion=((0, 0), (0, 3))),
        data=DataFacts("d.csv", 0, 0, classes=(ClassCount("a", 0),)),
        long_texts=(
            LongText("", "x", 0.5, (), ()),
            LongText("abc", "x", 0.5, ("a",), (Window(2, 1, ()), Window(-5, 99, (0.4, 7.0)), Window(500, 900, (1.0,)))),
        ),
    )
    assert render_report(odd)


def test_extreme_numbers_can_be_drawn():
    steps = tuple(Step(n, n / 10, value) for n, value in enumerate((1e308, -1e308, 0.0, 5e-324, 1e-12)))
    flat = tuple(Step(n, float(n), 0.7, (1e-4, 0.0)) for n in range(5000))
    for some in (steps, flat, flat[:1]):
        results = replace(samples.two_classes(), history=History(steps=some))
        html = render_report(results)
        assert "nan" not in "".join(re.findall(r'd="[^"]*"', html))
        assert "inf" not in "".join(re.findall(r'd="[^"]*"', html))
    assert len(html) < 200_000


def test_schedule_shows_triangles_and_frozen_stretches():
    drawing = charts.schedule(samples.ulmfit().history, ("en",))
    assert drawing.body.count('class="ridge"') == 8
    assert drawing.body.count('class="frozen"') == 8
    starts = [float(x) for x in re.findall(r'class="ridge" d="M([\d.]+),', drawing.body)]
    assert starts == sorted(starts)
    assert len(set(starts)) == 8
    same = replace(samples.ulmfit().history, steps=tuple(Step(n, n, 1.0, (1e-3, 1e-3)) for n in range(9)))
    assert charts.schedule(same, ("en",)).body.count('class="ridge"') == 1


def boxes_of_text(svg: str, style: str, font: float, turned: bool) -> list[tuple[float, float]]:
    """Where labels begin and end across their line: along y for level ones, along x for upright ones."""
    pattern = rf'<text class="{style}" x="([\d.]+)" y="([\d.]+)"([^>]*)>'
    boxes = []
    for x, y, rest in re.findall(pattern, svg):
        if ("rotate" in rest) == turned:
            edge = float(x) if turned else float(y)
            boxes.append((edge - font * 0.8, edge + font * 0.15))
    return boxes


@pytest.mark.parametrize(
    ("size", "style", "font"), [(6, "label", 11.5), (20, "label dense", 10), (77, "label densest", 9)]
)
def test_labels_of_the_confusion_matrix_do_not_overlap(size, style, font):
    results = samples.make_results(tuple(f"a rather long label, number {n}" for n in range(size)))
    drawing = charts.confusion_matrix(results.metrics, ("en",))
    for turned in (False, True):
        boxes = boxes_of_text(drawing.body, style, font, turned)
        assert len(boxes) == size
        assert all(a[1] <= b[0] + 0.01 for a, b in pairwise(boxes))


def test_a_confusion_matrix_of_a_thousand_classes_keeps_the_worst():
    size = 300
    confusion = [[0] * size for _ in range(size)]
    for n in range(size):
        confusion[n][n] = 5
    confusion[250][251] = 9
    metrics = Metrics(0.9, 1509, tuple(f"c{n}" for n in range(size)), confusion=tuple(map(tuple, confusion)))
    chosen = charts.classes_drawn(metrics)
    assert len(chosen) == 80
    assert {250, 251} <= set(chosen)
    assert "Only the 80 classes of 300" in render_report(replace(samples.emotions(), metrics=metrics))


def test_text_is_cut_to_its_room():
    assert shorten("short", 100) == "short"
    cut = shorten("가나다라마바사아자차카타파하" * 1000, 60, 12)
    assert cut.endswith("…")
    assert text_width(cut, 12) <= 62
    both = write(0, 0, {"en": "a", "ko": "가"})
    assert both.count("<text") == 2
    assert 'class="ko"' in both


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_element_escapes_attributes_and_text(attack):
    made = ElementTree.fromstring(element("g", {"class": attack}, attack))
    assert len(made) == 0
    assert set(made.attrib) == {"class"}
    assert (made.text or "")[:1] == attack[:1]


def test_windows_show_every_character_once_unless_repeated():
    text = "0123456789" * 10
    windows = (Window(0, 40, (0.9,)), Window(30, 70, (0.2,)), Window(60, 100, (0.5,)))
    long_text = LongText(text, "a", 0.9, ("a",), windows, deciding=0, merge="max")
    html = render_report(replace(samples.two_classes(), long_texts=(long_text,)))
    assert re.findall(r'<span class="">(\d+)</span>', html) == [text[0:40], text[40:70], text[70:100]]
    assert re.findall(r'<span class="repeated">(\d+)</span>', html) == [text[30:40], text[60:70]]
    assert html.count('<li class="deciding">') == 1


def test_every_wording_exists_in_both_languages():
    for key, versions in WORDS.items():
        assert len(versions) == len(LANGUAGES), key
        fields = [set(re.findall(r"{(\w+)}", v)) for v in versions]
        assert fields[0] == fields[1], key
        assert all(versions), key


def test_numbers_are_written_for_people():
    assert in_language(duration(188.2), "en") == "3 min 08 s"
    assert in_language(duration(3725), "ko") == "1시간 2분"
    assert in_language(duration(59.7), "en") == "1 min 00 s"
    assert (rate(2e-5), rate(3.14e-4), rate(0.0)) == ("2e-5", "3.1e-4", "0")


@pytest.mark.parametrize("draw", [learning_curves_svg, schedule_svg, confusion_matrix_svg])
@pytest.mark.parametrize("language", LANGUAGES)
def test_pictures_are_well_formed_and_inert(draw, language):
    tree = ElementTree.fromstring(draw(attacked(), language))
    names = {e.tag.removeprefix("{http://www.w3.org/2000/svg}") for e in tree.iter()}
    assert names <= {"svg", "title", "style", "rect", "g", "path", "line", "text"}
    for item in tree.iter():
        assert not [a for a in item.attrib if a.startswith("on") or "href" in a]


def test_pictures_are_written_where_there_is_something_to_draw(tmp_path):
    names = [p.name for p in write_pictures(samples.ulmfit(), tmp_path)]
    assert names == ["learning_curves.svg", "schedule.svg", "confusion_matrix.svg"]
    least = Results(ModelFacts("m"), Recipe("plain"), DataFacts("d.csv", 10, 0), Metrics(0.5, 2))
    assert write_pictures(least, tmp_path / "none") == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"report\.html: cannot be written"):
        write_report(samples.two_classes(), tmp_path / "file" / "report.html")


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH to run the page")


def browse(html: str, folder) -> tuple[str, list[str]]:
    """Load a page from a local server in a headless browser; the document it became, and the paths it asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = html.encode() if self.path == "/report.html" else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        command = [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={folder}", "--lang=en-US", "--virtual-time-budget=2000", "--dump-dom"),
            f"http://127.0.0.1:{server.server_port}/report.html",
        ]
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    finally:
        server.shutdown()
        server.server_close()
    return done.stdout.decode(), asked


def attacked_root(document: str) -> bool:
    """Whether an attack ran: each of them marks the root element."""
    return "data-pwned" in re.search(r"<html[^>]*>", document)[0]


@needs_browser
def test_nothing_foreign_runs_in_a_browser(hostile, tmp_path):
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", hostile)
    assert bare != hostile
    document, asked = browse(bare, tmp_path / "escaping")
    assert not attacked_root(document), "escaping alone must hold"
    assert set(asked) <= {"/report.html", "/favicon.ico"}

    raw = "<p>" + "".join(a.replace("\ud800", "") for a in ATTACKS) + "</p>"
    document, _ = browse(bare.replace("<main>", "<main>" + raw), tmp_path / "attack")
    assert attacked_root(document), "the attacks must be real"

    document, asked = browse(hostile.replace("<main>", "<main>" + raw), tmp_path / "policy")
    assert not attacked_root(document), "the policy alone must hold"
    assert asked == ["/report.html"]


@needs_browser
def test_the_page_works_under_its_own_policy(tmp_path):
    document, asked = browse(render_report(samples.emotions()), tmp_path)
    assert asked == ["/report.html"]
    # The script ran: headings became buttons and the filter appeared.
    assert document.count('<button type="button">') == 10
    assert '<div class="tools">' in document
