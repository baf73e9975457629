"""Recordings of no model: made-up heads of known shapes, and a local server that answers as a model would."""

import base64
import hashlib
import json
import re
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

PAGE = Path(__file__).resolve().parents[2] / "moduformer" / "view" / "page"
POLICY = "default-src 'none'; img-src data: blob:; require-trusted-types-for 'script'; trusted-types 'none'"


def nameless(page):
    """What can be operated on a page and has no name that a screen reader could say."""
    return page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, textarea, [tabindex]")].filter((element) =>
          !element.getAttribute("aria-label") && !element.textContent.trim() &&
          !element.closest("label")?.textContent.trim()
        ).map((element) => element.outerHTML)"""
    )


def sequence(words, specials=("[CLS]", "[SEP]")):
    """Tokens of words; a word written `un|likely` is two tokens."""
    tokens, text = [], " ".join(word.replace("|", "") for word in words)
    if specials:
        tokens.append({"text": specials[0], "start": 0, "end": 0, "word": 0, "special": True})
    at = 0
    for number, word in enumerate(words, 1):
        for piece in word.split("|"):
            tokens.append({"text": piece, "start": at, "end": at + len(piece), "word": number, "special": False})
            at += len(piece)
        at += 1
    if specials:
        tokens.append({"text": specials[1], "start": at, "end": at, "word": len(words) + 1, "special": True})
    return {"text": text, "tokens": tokens}


def heads(layers, heads, queries, keys, causal=False, seed=0):
    """Weights `[layers, heads, queries, keys]`: previous token, first token, last token, itself, and diffuse ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.2, (layers, heads, queries, keys)).astype(np.float32)
    rows, columns = np.arange(queries), np.arange(keys)
    offset = columns[None, :] - rows[:, None]
    shapes = [offset == -1, columns[None, :] == 0, columns[None, :] == keys - 1, offset == 0, offset == 1]
    for layer in range(layers):
        for head in range(heads):
            kind = (layer * 5 + head * 3) % 8
            if kind < len(shapes):
                logits[layer, head] += (3 + 4 * ((layer + head) % 3)) * shapes[kind]
            else:
                logits[layer, head] -= np.abs(offset) / (4 + 3 * head)
    if causal:
        logits[..., offset > 0] = -1e9
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


class Made:
    """A recording as data, and its weights by attention."""

    def __init__(self, data, weights):
        self.data, self.weights = data, weights

    def layer(self, attention, layer, head=None):
        weights = self.weights[attention][layer]
        weights = weights if head is None else weights[head : head + 1]
        tops = weights.max(-1)
        return tops.astype("<f4").tobytes() + np.rint(weights / tops[..., None] * 255).astype(np.uint8).tobytes()


def recording(id, sequences, attentions, kind="encoder", **more):
    """`attentions` is name -> (queries, keys, weights)."""
    entries = []
    for name, (queries, keys, weights) in attentions.items():
        layers, count, rows, columns = weights.shape
        size = min(32, rows, columns)
        small = np.zeros((layers, count, size, size), np.float32)
        for i in range(size):
            for j in range(size):
                block = weights[
                    :,
                    :,
                    i * rows // size : max((i + 1) * rows // size, i * rows // size + 1),
                    j * columns // size : max((j + 1) * columns // size, j * columns // size + 1),
                ]
                small[:, :, i, j] = block.max((-1, -2))
        diagonal = np.eye(rows, columns, -1)
        safe = np.maximum(weights, 1e-12)
        entropy = -(weights * np.log2(safe)).sum(-1).mean(-1)
        scores = {
            "entropy": entropy,
            "previous": (weights * diagonal).sum((-1, -2)) / max(1, rows - 1),
            "first": weights[..., 0].mean(-1),
            "separator": weights[..., -1].mean(-1),
        }
        entries.append(
            {
                "name": name,
                "queries": queries,
                "keys": keys,
                "layers": layers,
                "heads": count,
                "scores": {key: np.round(value, 5).tolist() for key, value in scores.items()},
                "thumbnail": {
                    "size": size,
                    "data": base64.b64encode(np.rint(small * 255).astype(np.uint8).tobytes()).decode(),
                },
            }
        )
    data = {
        "format": "moduformer recording 1",
        "id": id,
        "model": {"name": "synthetic", "family": "none", "kind": kind, "parameters": 22_700_000},
        "sequences": sequences,
        "attentions": entries,
        "prediction": None,
        "written": None,
        "can": ["layer"],
    } | more
    return Made(data, {name: weights for name, (_, _, weights) in attentions.items()})


PREDICTION = {"of": "class", "labels": ["joy", "sadness", "anger"], "probabilities": [0.71, 0.2, 0.09]}
QUESTIONS = ["layer", "pair", "rollout", "gradient", "off", "effects", "record"]


def sentence(id="1", words="the cat sat on the un|believ|ably soft mat and slept", seed=0, layers=4, count=6, **more):
    """A small encoder's recording."""
    text = sequence(words.split(" "))
    length = len(text["tokens"])
    weights = heads(layers, count, length, length, seed=seed)
    given = {"prediction": PREDICTION, "can": QUESTIONS} | more
    return recording(id, {"source": text}, {"encoder.attention": ("source", "source", weights)}, **given)


def long_text(length=512, layers=12, count=12):
    """As large as a BERT's longest text; every layer has the same heads, so that it is made quickly."""
    words = " ".join(f"word{i % 97}" for i in range(length - 2))
    made = sentence("long", words, layers=1, count=count, can=["layer"])
    entry = made.data["attentions"][0]
    entry["layers"] = layers
    entry["scores"] = {name: rows * layers for name, rows in entry["scores"].items()}
    entry["thumbnail"]["data"] = base64.b64encode(base64.b64decode(entry["thumbnail"]["data"]) * layers).decode()
    weights = made.weights["encoder.attention"]
    made.weights["encoder.attention"] = np.broadcast_to(weights, (layers, *weights.shape[1:]))
    return made


def story(id="gpt", words="once upon a time there was a small model that liked to read stories", layers=4, count=4):
    """A decoder's recording with what it expected at every token."""
    text = sequence(words.split(" "), specials=())
    length = len(text["tokens"])
    random = np.random.default_rng(3)
    chances = [None, *np.round(random.uniform(0.001, 0.98, length - 1), 4).tolist()]
    likely = [[[f"word{k}", round(0.5 / 2**k, 4)] for k in range(5)] for _ in range(length)]
    written = {"sequence": "source", "probabilities": chances, "likeliest": likely, "from": length - 4}
    return recording(
        id,
        {"source": text},
        {"decoder.attention": ("source", "source", heads(layers, count, length, length, causal=True))},
        kind="decoder",
        written=written,
        prediction={"of": "next token", "labels": [" every", " and", "\n"], "probabilities": [0.5, 0.2, 0.1]},
        can=["layer", "off", "lens", "gradient"],
    )


def translation(id="marian"):
    """Two sequences: self attention of each, and one looking at the other."""
    source = sequence("나는 고양이|를 정말 좋아|해".split(" "), specials=("<s>", "</s>"))
    target = sequence("I really like cats".split(" "), specials=("<pad>", "</s>"))
    rows, columns = len(target["tokens"]), len(source["tokens"])
    return recording(
        id,
        {"source": source, "target": target},
        {
            "encoder.attention": ("source", "source", heads(3, 4, columns, columns)),
            "decoder.attention": ("target", "target", heads(3, 4, rows, rows, causal=True)),
            "decoder.cross_attention": ("target", "source", heads(3, 4, rows, columns, seed=2)),
        },
        kind="encoder-decoder",
    )


def vision(id="vit", picture="", side=14):
    """A class token and patches."""
    tokens = [{"text": "[CLS]", "start": 0, "end": 0, "word": 0, "special": True}]
    for i in range(side):
        tokens += [
            {"text": f"{i},{j}", "start": 0, "end": 0, "word": i * side + j + 1, "special": False} for j in range(side)
        ]
    length = len(tokens)
    weights = heads(3, 4, length, length)
    distance = np.hypot(*(np.indices((side, side)) - np.array([4, 9])[:, None, None])).ravel()
    weights[0, 0, 0, 1:] = np.exp(-distance / 2)
    weights[0, 0, 0] /= weights[0, 0, 0].sum()
    image = {"text": "", "tokens": tokens, "grid": [side, side], "picture": picture}
    return recording(id, {"image": image}, {"vision.attention": ("image", "image", weights)}, kind="vision")


def embedded(made, answers=None, language="en"):
    """One page that holds everything, as the exported file does, with a policy that lets nothing else run."""

    def spell(value):
        return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")

    script = (PAGE / "viewer.js").read_text(encoding="utf-8")
    style = (PAGE / "viewer.css").read_text(encoding="utf-8")
    layers = [
        f"<script type=\"text/plain\" data-layer='{spell([one.data['id'], name, layer])}'>"
        + base64.b64encode(zlib.compress(one.layer(name, layer), 1)).decode()
        + "</script>"
        for one in made
        for name, weights in one.weights.items()
        for layer in range(len(weights))
    ]
    data = spell({"recordings": [one.data for one in made], "answers": answers or {}})
    rules = f"{POLICY}; script-src {_hash(script)}; style-src {_hash(style)}"
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>viewer</title>'
        f'<link rel="icon" href="data:,"><style>{style}</style></head>'
        f'<body><div data-viewer="embedded" data-language="{language}"></div>'
        f'<script type="application/json" data-recordings>{data}</script>{"".join(layers)}'
        f'<script type="module">{script}</script></body></html>'
    )


def _hash(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


class Server:
    """The page at an address of this machine, and answers that follow from the made-up weights."""

    def __init__(self, made, pages=None):
        self.made = {one.data["id"]: one for one in made}
        self.pages = pages or {}
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                name = self.path.strip("/") or "index"
                if name == "index":
                    page = (
                        '<!doctype html><html><head><meta charset="utf-8"><title>viewer</title>'
                        '<meta name="viewport" content="width=device-width, initial-scale=1">'
                        '<link rel="icon" href="data:,"><link rel="stylesheet" href="viewer.css"></head><body>'
                        '<div data-viewer="http" data-language="en"></div>'
                        '<script type="module" src="viewer.js"></script></body></html>'
                    )
                    return self.reply(200, "text/html; charset=utf-8", page.encode())
                kinds = {"viewer.js": "text/javascript", "viewer.css": "text/css"}
                if name in outer.pages:
                    return self.reply(200, *outer.pages[name])
                if name not in kinds:
                    return self.reply(404, "text/plain", b"")
                return self.reply(200, kinds[name], (PAGE / name).read_bytes())

            def do_POST(self):
                question = re.fullmatch(r"/api/(\w+)", self.path)[1]
                parameters = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((question, parameters))
                try:
                    answer = getattr(outer, question)(**parameters)
                except ValueError as error:
                    return self.reply(400, "application/json", json.dumps({"error": str(error)}).encode())
                if isinstance(answer, bytes):
                    return self.reply(200, "application/octet-stream", answer)
                return self.reply(200, "application/json", json.dumps(answer).encode())

            def reply(self, status, kind, content):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header(
                    "Content-Security-Policy", f"{POLICY}; script-src 'self'; style-src 'self'; connect-src 'self'"
                )
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def recordings(self):
        return [one.data for one in self.made.values()]

    def layer(self, recording, attention, layer, head=None):
        return self.made[recording].layer(attention, layer, head)

    def pair(self, recording, attention, layer, head, query, key):
        random = np.random.default_rng(query * 100 + key)
        one, other = random.normal(0, 1, (2, 32))
        products = one * other / np.sqrt(32)
        return {
            "query": one.tolist(),
            "key": other.tolist(),
            "products": products.tolist(),
            "score": float(products.sum()),
            "added": 0.0,
            "weight": float(self.made[recording].weights[attention][layer, head, query, key]),
        }

    def rollout(self, recording, attention):
        weights = self.made[recording].weights[attention].mean(1)
        product = np.eye(weights.shape[1])
        for layer in weights:
            product = (0.5 * layer + 0.5 * np.eye(len(layer))) @ product
        return product.tolist()

    def gradient(self, recording, attention, target=0, token=None):
        target = target if token is None else token
        weights = self.made[recording].weights[attention]
        return {"heads": weights.mean((-1, -2)).tolist(), "weights": weights[target % len(weights)].mean(0).tolist()}

    def off(self, recording, heads):
        data = self.made[recording].data
        shift = min(0.6, 0.15 * len(heads))
        prediction = data["prediction"]
        first, *rest = prediction["probabilities"]
        moved = [first - shift, rest[0] + shift, *rest[1:]]
        return {"prediction": prediction | {"probabilities": moved}, "written": data["written"], "moved": shift}

    def effects(self, recording, attention):
        return self.made[recording].weights[attention][..., 0].mean(-1).tolist()

    def record(self, recording, text):
        if "refuse" in text:
            raise ValueError("this text is refused")
        made = sentence(id=f"new-{len(self.made)}", words=text)
        self.made[made.data["id"]] = made
        return made.data

    def lens(self, recording):
        tokens = next(iter(self.made[recording].data["sequences"].values()))["tokens"]
        return [
            [[[f"l{layer}t{token}c{k}", 0.6 / 2**k] for k in range(5)] for token in range(len(tokens))]
            for layer in range(5)
        ]
