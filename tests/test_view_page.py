"""The exported file and the served page: hostile texts stay text, and nobody else is answered."""

import base64
import hashlib
import http.client
import json
import re
import socket
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from view_models import HOSTILE, decoder, encoder, encoder_decoder, recurrent, vision

import moduformer as mf
from moduformer.errors import DataError, TextError
from moduformer.view import document
from moduformer.view.document import exported_page
from moduformer.view.opening import View, view
from moduformer.view.record import record
from moduformer.view.server import MOST_BODY, PageServer
from moduformer.view.source import Source
from moduformer.view.widget import answer

SCRIPT, STYLE = "export default { render() {} };\n", "body { margin: 0 }\n"
ATTENTION = "encoder.attention"


@pytest.fixture(autouse=True, scope="module")
def page():
    """A page of one line, since the real one is built elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("document", "server", "widget"):
            patch.setattr(f"moduformer.view.{module}.resource", lambda name: SCRIPT if name == "viewer.js" else STYLE)
        yield


class Elements(HTMLParser):
    """Elements of a page with their attributes and the text inside."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open = False
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.open:
            self.found[-1][2].append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, "".join(text)) for name, attrs, text in self.found if name == tag]


def hostile() -> Source:
    model = encoder(max_position_embeddings=96)
    model.labels = ("<b>bad</b>", '"><img src=x onerror=alert(3)>')
    return Source([record(model, HOSTILE, name="</script><svg onload=alert(4)>")])


def test_hostile_texts_labels_and_names_are_never_markup():
    source = hostile()
    content = exported_page(source)
    elements = Elements(content)
    allowed = {"html", "head", "meta", "title", "link", "style", "body", "main", "script"}
    assert {name for name, _, _ in elements.found} == allowed
    assert len(elements.of("script")) == 2 + 2 + 2
    assert "\u2028" not in content
    assert content.count("</script>") == 6
    (data,) = [text for attrs, text in elements.of("script") if "data-recordings" in attrs]
    found = json.loads(data)["recordings"][0]
    assert found["sequences"]["source"]["text"] == HOSTILE
    assert found["prediction"]["labels"][1] == '"><img src=x onerror=alert(3)>'
    assert found["model"]["name"] == "</script><svg onload=alert(4)>"
    assert not re.search(
        r"on(error|load)\s*=",
        re.sub(r"<script type=\"application/json\".*?</script>", "", content, flags=re.S).replace(
            "onload=alert(4)&gt;", ""
        ),
    )


def test_an_exported_page_allows_its_own_script_and_style_by_hash_and_no_request():
    content = exported_page(hostile())
    elements = Elements(content)
    (rules,) = [
        attrs["content"] for attrs, _ in elements.of("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "unsafe" not in rules
    assert {"default-src 'none'", "connect-src 'none'", "base-uri 'none'", "form-action 'none'"} <= set(
        rules.split("; ")
    )
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        inside = elements.of(tag)[-1][1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in rules
    assert content.index("Content-Security-Policy") < content.index("<style")
    assert not any(attrs.get(name) for _, attrs, _ in elements.found for name in ("src", "style", "onclick"))


@pytest.mark.parametrize("kind", ["encoder", "decoder", "translator", "vision"])
def test_an_exported_page_holds_every_layer_and_the_small_answers(kind, monkeypatch):
    made = {
        "encoder": lambda: record(encoder(), "The movie was good"),
        "decoder": lambda: record(decoder(), "영화 참"),
        "translator": lambda: record(encoder_decoder(), "The movie was good", "the story"),
        "vision": lambda: record(vision(), image=torch.rand(3, 8, 8)),
    }[kind]()
    source = Source([made])
    elements = Elements(exported_page(source))
    layers = {attrs["data-layer"]: text for attrs, text in elements.of("script") if "data-layer" in attrs}
    for name, attention in made.attentions.items():
        for layer in range(len(attention.layers)):
            stored = layers[json.dumps([made.id, name, layer], separators=(",", ":"))]
            assert zlib.decompress(base64.b64decode(stored)) == made.layer(name, layer)
    (data,) = [json.loads(text) for attrs, text in elements.of("script") if "data-recordings" in attrs]
    (recording,) = data["recordings"]
    assert "layer" in recording["can"]
    assert not {"off", "record"} & set(recording["can"])
    given = {
        (question, entry[0].get("attention")) for question, entries in data["answers"].items() for entry in entries
    }
    for entry in recording["attentions"]:
        small = set(entry["can"]) - {"layer", "pair"}
        assert {(question, entry["name"]) for question in small} <= given
        assert "effects" in entry["can"]
    for question, entries in data["answers"].items():
        for parameters, stored in entries:
            assert stored == json.loads(json.dumps(source.ask(question, parameters)))


@pytest.mark.parametrize("kind", ["encoder", "llama", "t5", "recurrent"])
def test_an_exported_page_holds_queries_and_keys_of_every_layer(kind):
    made = {
        "encoder": lambda: record(encoder(), "The movie was good"),
        "llama": lambda: record(decoder("llama"), "영화 참"),
        "t5": lambda: record(encoder_decoder("t5"), "The movie was good", "the story"),
        "recurrent": lambda: record(recurrent(), "The movie was good", "the story"),
    }[kind]()
    elements = Elements(exported_page(Source([made])))
    (data,) = [json.loads(text) for attrs, text in elements.of("script") if "data-recordings" in attrs]
    held = {attrs["data-pairs"]: text for attrs, text in elements.of("script") if "data-pairs" in attrs}
    assert ("pair" in data["recordings"][0]["can"]) == bool(held) == (kind != "recurrent")
    for place, text in held.items():
        _, name, layer = json.loads(place)
        entry = next(each for each in data["recordings"][0]["attentions"] if each["name"] == name)
        queries, keys = (len(made.inputs.readings[entry[side]]) for side in ("queries", "keys"))
        content = zlib.decompress(base64.b64decode(text))
        width, shared, rules, scale = struct.unpack("<IIIf", content[:16])
        values = np.frombuffer(content, "<f2", offset=16).astype(np.float32)
        q, k, added = np.split(values, np.cumsum([queries * entry["heads"] * width, keys * shared * width]))
        head, query, key = entry["heads"] - 1, queries - 1, keys // 2
        wanted = made.pair(name, layer, head, query, key)
        one = q.reshape(queries, entry["heads"], width)[query, head]
        other = k.reshape(keys, shared, width)[key, head * shared // entry["heads"]]
        assert one == pytest.approx(wanted["query"], rel=1e-3, abs=1e-5)
        assert other == pytest.approx(wanted["key"], rel=1e-3, abs=1e-5)
        assert one @ other * scale == pytest.approx(wanted["score"], abs=0.01)
        found = added.reshape(rules, queries, keys)[head, query, key] if rules else 0.0
        assert found == pytest.approx(wanted["added"], rel=1e-3)


def test_queries_and_keys_that_do_not_fit_are_left_out_and_not_promised(monkeypatch):
    monkeypatch.setattr(document, "MOST_PARTS", 100)
    elements = Elements(exported_page(Source([record(encoder(), "The movie was good")])))
    (data,) = [json.loads(text) for attrs, text in elements.of("script") if "data-recordings" in attrs]
    assert "pair" not in data["recordings"][0]["can"]
    assert "layer" in data["recordings"][0]["can"]
    assert not [attrs for attrs, _ in elements.of("script") if "data-pairs" in attrs]


def test_layers_that_do_not_fit_are_left_out_and_not_promised():
    made = record(encoder(), "The movie was good")
    content = exported_page(Source([made]), most_bytes=10)
    elements = Elements(content)
    (data,) = [json.loads(text) for attrs, text in elements.of("script") if "data-recordings" in attrs]
    assert "layer" not in data["recordings"][0]["can"]
    assert not [attrs for attrs, _ in elements.of("script") if {"data-layer", "data-pairs"} & attrs.keys()]


def test_large_layers_are_embedded_head_by_head(monkeypatch):
    monkeypatch.setattr(document, "WHOLE", 10)
    made = record(encoder(), "The movie was good")
    elements = Elements(exported_page(Source([made])))
    layers = {attrs["data-layer"]: text for attrs, text in elements.of("script") if "data-layer" in attrs}
    assert zlib.decompress(base64.b64decode(layers['["1","encoder.attention",1,1]'])) == made.layer(ATTENTION, 1, 1)
    assert len(layers) == 4


def test_a_script_that_would_end_its_element_is_refused(monkeypatch):
    monkeypatch.setattr(document, "resource", lambda name: "'</SCRIPT>'")
    with pytest.raises(DataError, match="cannot stand inside"):
        exported_page(hostile())


def test_a_picture_is_a_png():
    (address,) = [reading.picture for reading in record(vision(), image=torch.rand(3, 8, 8)).inputs.readings.values()]
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (8, 8)
    pillow = pytest.importorskip("PIL.Image")
    import io

    assert pillow.open(io.BytesIO(data)).convert("RGB").size == (8, 8)


# The local page --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording():
    return record(encoder(max_position_embeddings=96), HOSTILE)


@pytest.fixture(scope="module")
def server(recording, page):
    served = PageServer(Source([recording]))
    yield served
    served.close()


def call(
    server: PageServer, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if content is not None else {}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in ({"Host": f"127.0.0.1:{server.port}"} | given).items():
        connection.putheader(name, value)
    if content is not None and "Content-Length" not in given:
        connection.putheader("Content-Length", str(len(content)))
    connection.endheaders(content)
    answered = connection.getresponse()
    found = answered.status, {name.lower(): value for name, value in answered.getheaders()}, answered.read()
    connection.close()
    return found


def own(server: PageServer, path: str) -> str:
    return f"/{server.key}/{path}"


LAYER = {"recording": "1", "attention": ATTENTION, "layer": 0}


def test_the_page_and_its_answers_are_served(server, recording):
    status, headers, content = call(server, "GET", own(server, ""))
    assert status == 200
    assert b'data-viewer="http"' in content
    assert b'<script type="module" src="viewer.js">' in content
    rules = headers["content-security-policy"]
    assert "unsafe" not in rules
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
        rules.split("; ")
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert call(server, "GET", own(server, "viewer.js"))[2] == SCRIPT.encode()
    status, headers, content = call(server, "POST", own(server, "api/layer"), LAYER)
    assert (status, content) == (200, recording.layer(ATTENTION, 0))
    status, _, content = call(server, "POST", own(server, "api/recordings"), {})
    assert json.loads(content) == [json.loads(json.dumps(recording.data))]
    off = {"recording": "1", "heads": [[ATTENTION, 0, 1]]}
    status, _, content = call(
        server,
        "POST",
        own(server, "api/off"),
        off,
        Origin=f"http://127.0.0.1:{server.port}",
        Sec_Fetch_Site="same-origin",
    )
    assert json.loads(content)["moved"] > 0
    assert call(server, "HEAD", own(server, ""))[2] == b""


def test_only_this_computer_is_listened_to(server):
    assert server._server.server_address[0] == "127.0.0.1"
    assert server.address.startswith("http://127.0.0.1:")
    assert len(server.key) >= 20


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "127.0.0.1:1", "0.0.0.0"]
)
def test_a_foreign_host_is_refused(server, host):
    for method, path, body in (("GET", "", None), ("GET", "viewer.js", None), ("POST", "api/layer", LAYER)):
        assert call(server, method, own(server, path), body, Host=host)[0] == 403


def test_a_foreign_page_is_refused(server):
    for origin in ("http://evil.example", "null", "https://127.0.0.1", f"http://127.0.0.1:{server.port + 1}"):
        status, headers, _ = call(server, "POST", own(server, "api/layer"), LAYER, Origin=origin)
        assert status == 403
        assert "access-control-allow-origin" not in headers
    assert call(server, "POST", own(server, "api/layer"), LAYER, Sec_Fetch_Site="cross-site")[0] == 403
    assert (
        call(server, "GET", own(server, ""), Sec_Fetch_Site="cross-site")[0] == 200
    )  # a link, opened by who has the key
    assert call(server, "OPTIONS", own(server, "api/layer"))[0] == 501


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"]
)
def test_what_a_form_could_send_is_refused(server, kind):
    assert call(server, "POST", own(server, "api/layer"), LAYER, Content_Type=kind)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/viewer.js",
        "/wrong/",
        "/wrong/viewer.js",
        "//",
        "/{key}",
        "/{key}x/",
        "/{key}/index.html",
        "/{key}/../",
        "/{key}/..%2f..%2fetc/passwd",
        "/{key}/../../../../etc/passwd",
        "/{key}/%252e%252e/",
        "/{key}/viewer.js%00",
        "/{key}/viewer.js/",
        "/{key}/viewer.js?x",
        "/{key}/..\\viewer.py",
        "/{key}//etc/passwd",
        "/{key}/server.py",
        "/{key}/./viewer.js",
        "/{key}/api/layer",
        "http://evil.example/{key}/",
        "/{key}/\u00e9",
    ],
)
def test_no_path_opens_anything_else(server, path):
    path = path.format(key=server.key).encode().decode("latin-1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        answered = connection.makefile("rb").read()
    assert re.match(rb'HTTP/1.1 4\d\d |{"error"', answered), answered[:80]
    assert b"/work" not in answered
    assert b"root:" not in answered


@pytest.mark.parametrize("question", ["api/", "api/nothing", "api/layer/", "api/__class__", "layer", "", "viewer.js"])
def test_no_other_question_is_answered(server, question):
    assert call(server, "POST", own(server, question), LAYER)[0] == 404


@pytest.mark.parametrize(
    ("question", "parameters"),
    [
        ("layer", []),
        ("layer", None),
        ("layer", {}),
        ("layer", LAYER | {"layer": 10**30}),
        ("layer", LAYER | {"layer": -1}),
        ("layer", LAYER | {"layer": True}),
        ("layer", LAYER | {"layer": 0.5}),
        ("layer", LAYER | {"head": "0"}),
        ("layer", LAYER | {"recording": "2"}),
        ("layer", LAYER | {"recording": {}}),
        ("layer", LAYER | {"attention": "x" * 1000}),
        ("pair", LAYER | {"head": 0, "query": 0, "key": 10**6}),
        ("pair", LAYER),
        ("gradient", LAYER | {"target": 99}),
        ("off", {"recording": "1"}),
        ("off", {"recording": "1", "heads": [[1, 2, 3]]}),
        ("off", {"recording": "1", "heads": [[]]}),
        ("off", {"recording": "1", "heads": [[ATTENTION, 0, 0]] * 10_001}),
        ("off", {"recording": "1", "heads": "all"}),
        ("lens", {"recording": "1"}),
        ("rollout", {"recording": "1", "attention": "decoder.attention"}),
        ("record", {"recording": "1"}),
        ("record", {"recording": "1", "text": "a\ud800"}),
        ("record", {"recording": "1", "text": "x" * 300_000}),
        ("record", {"recording": "1", "text": "city " * 200}),
        ("record", {"recording": "1", "text": "a", "generate": 10**9}),
    ],
)
def test_wrong_parameters_are_refused_in_words(server, question, parameters):
    status, _, content = call(server, "POST", own(server, f"api/{question}"), json.dumps(parameters).encode())
    assert status == 400
    said = json.loads(content)["error"]
    assert said
    assert not re.search(r"/work|0x[0-9a-f]{4}|Traceback|\.py", said)


def test_bodies_that_are_no_questions_are_refused(server):
    path = own(server, "api/layer")
    assert call(server, "POST", path, b"{")[0] == 400
    assert call(server, "POST", path, b"[" * 100_000)[0] == 400
    assert call(server, "POST", path, b"\xff\xfe")[0] == 400
    assert call(server, "POST", path, None)[0] in (403, 411)
    assert call(server, "POST", path, b"{}", Content_Length="-1")[0] == 400
    assert call(server, "POST", path, b"{}", Content_Length=str(MOST_BODY + 1))[0] == 413
    assert call(server, "POST", path, b"{}", Content_Length="9" * 30)[0] == 400
    assert (
        call(server, "POST", path, b"2\r\n{}\r\n0\r\n\r\n", Content_Length="2", Transfer_Encoding="chunked")[0] == 411
    )
    assert call(server, "POST", path, LAYER)[0] == 200


def test_what_goes_wrong_inside_says_nothing_of_files(server, recording, monkeypatch):
    def broken(*_: object) -> bytes:
        raise RuntimeError("/work/secret/model.safetensors at 0x7f0000000000")

    monkeypatch.setattr(recording, "layer", broken)
    status, _, content = call(server, "POST", own(server, "api/layer"), LAYER)
    assert status == 500
    assert json.loads(content) == {"error": "the answer could not be computed"}
    reply, _ = answer(server.source, {"id": 3, "question": "layer", "parameters": LAYER})
    assert reply == {"id": 3, "error": "the answer could not be computed"}


def test_another_text_can_be_typed(recording):
    source = Source([recording])
    made = source.ask("record", {"recording": recording.id, "text": "the city was long"})
    assert made["id"] == "2"
    assert source.ask("layer", {"recording": "2", "attention": ATTENTION, "layer": 0})
    for _ in range(30):
        made = source.ask("record", {"recording": "1", "text": "the"})
    assert len(source.recordings) <= 25
    assert "1" in source.recordings
    assert made["id"] in source.recordings


def test_a_taken_port_is_said(server):
    with pytest.raises(DataError, match="cannot be used"):
        PageServer(server.source, server.port)


def test_messages_of_a_notebook_are_answered(recording):
    source = Source([recording])
    reply, buffers = answer(source, {"id": 1, "question": "layer", "parameters": LAYER})
    assert (reply["id"], buffers) == (1, [recording.layer(ATTENTION, 0)])
    reply, buffers = answer(
        source, {"id": 2, "question": "effects", "parameters": {"recording": "1", "attention": ATTENTION}}
    )
    assert len(reply["answer"]) == 2
    assert not buffers
    for wrong in (None, [], {"id": 4}, {"id": 4, "question": []}, {"id": 4, "question": "layer", "parameters": 3}):
        assert "error" in answer(source, wrong)[0]


def test_mf_view_compares_and_saves(tmp_path):
    model = encoder()
    shown = mf.view(
        "The movie was good", model=model, compare=encoder("BertForMaskedLM"), second="a bad film", language="ko"
    )
    assert isinstance(shown, View)
    assert [each.id for each in shown.recordings] == ["1", "2", "3", "4"]
    path = shown.save(tmp_path / "deep" / "page.html")
    assert '<html lang="ko">' in path.read_text(encoding="utf-8")
    assert "save" in repr(shown)
    folder = model.save(tmp_path / "secret place" / "mine")
    assert view("good", model=folder).recordings[0].data["model"]["name"] == "mine"
    assert "secret place" not in json.dumps(view("good", model=folder).recordings[0].data)
    with pytest.raises(TextError, match="give a sentence"):
        view(" \n", model=model)
    with pytest.raises(TextError, match="language"):
        view("good", model=model, language="fr")
    with pytest.raises(DataError, match="cannot be written"):
        shown.save(tmp_path / "deep" / "page.html" / "x.html")


def test_a_notebook_gets_a_widget(recording, monkeypatch):
    pytest.importorskip("anywidget")
    from moduformer.view.widget import widget

    made = widget(Source([recording]), "ko")
    assert made.language == "ko"
    assert made.recordings[0]["format"] == "moduformer recording 1"
    sent = []
    monkeypatch.setattr(made, "send", lambda reply, buffers=None: sent.append((reply, buffers)))
    made._hear(made, {"id": 9, "question": "layer", "parameters": LAYER}, [])
    assert sent == [({"id": 9, "answer": None}, [recording.layer(ATTENTION, 0)])]
