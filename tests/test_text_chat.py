"""Chat templates: the text of `transformers`, under limits, and control tokens only from the template."""

import concurrent.futures
import itertools
import os
import subprocess
import unicodedata

import pytest
import tokenizers
from text_samples import CORPUS, sentencepiece_file, write_folder

from moduformer.errors import TextError
from moduformer.text import chat
from moduformer.text.chat import encode_chat, render
from moduformer.text.tokenizer import Tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_BOS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content.strip() }} [/INST]"
    "{% else %}{% generation %} {{ m['content'] }} {{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
BUILT = "{% for m in messages %}{{ '<|' + m.role + '|>' }}\n{{ m.content }}<|end|>\n{% endfor %}"
REASONING = (
    "{%- for m in messages %}{%- set text = m.content %}{%- if m.role == 'assistant' and '</think>' in text %}"
    "{%- set text = text.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}{%- endfor %}"
)
TOOLS = (
    "{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}{% set ns = namespace(n=0) %}{% for m in messages %}"
    "{% if loop.first and m.role == 'system' %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}"
    "{{ ns.n }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% endfor %}"
)
MESSAGES = [
    {"role": "system", "content": "너는 친절한 조수야. "},
    {"role": "user", "content": " 안녕! 👨‍👩‍👧‍👦 שלום \n"},
    {"role": "assistant", "content": unicodedata.normalize("NFD", "반가워요") + " <think>hm</think>\n예 < 3 [1]"},
    {"role": "user", "content": "1 < 2 and [x|y> |> <|"},
]


def chat_tokenizer(kind="bpe", **special):
    tokenizer = Tokenizer.train(CORPUS, kind, 400)
    raw = tokenizer.to_tokenizers()
    raw.add_special_tokens(["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<s>", "</s>"])
    raw.add_special_tokens([tokenizers.AddedToken(f"<|{word}|>", rstrip=True) for word in ("user", "end", "assistant")])
    raw.add_tokens(["<think>", "</think>", "plain-word"])
    return Tokenizer.from_tokenizers(raw, bos="<s>", eos="</s>", **special)


def hugging_face(tokenizer, folder, template):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(folder)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(folder))
    theirs.chat_template = template
    return theirs


@pytest.mark.parametrize("template", [CHATML, WITH_BOS, BUILT, REASONING, TOOLS])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_text_and_ids_equal_those_of_transformers(tmp_path, kind, template):
    tokenizer = chat_tokenizer(kind)
    theirs = hugging_face(tokenizer, tmp_path, template)
    options = {"add_generation_prompt": True, "tools": [{"type": "function", "function": {"name": "f", "x": "é<"}}]}
    expected = theirs.apply_chat_template(MESSAGES, tokenize=False, **options)
    assert render(template, MESSAGES, bos_token="<s>", eos_token="</s>", **options) == expected
    ids = theirs.apply_chat_template(MESSAGES, tokenize=True, return_dict=False, **options)
    if kind == "unigram" and ids[0] != tokenizer.bos_id:
        ids = [tokenizer.bos_id, *ids]
    assert encode_chat(tokenizer, MESSAGES, template=template, **options) == ids


def test_llama_style_ids_equal_those_of_transformers(tmp_path):
    model = sentencepiece_file(tmp_path / "train", "bpe", 600, byte_fallback=True, normalization_rule_name="identity")
    files = {"tokenizer.model": model, "tokenizer_config.json": {"add_bos_token": True, "chat_template": WITH_BOS}}
    folder = write_folder(tmp_path / "model", files)
    theirs = pytest.importorskip("transformers").LlamaTokenizer.from_pretrained(str(folder))
    tokenizer = Tokenizer.load(folder, "llama")
    messages = [MESSAGES[1], MESSAGES[2], MESSAGES[3]]
    assert encode_chat(tokenizer, messages) == theirs.apply_chat_template(messages, return_dict=False)


def test_exactly_one_bos():
    tokenizer = chat_tokenizer("unigram")
    for template in [WITH_BOS, CHATML, "{{ bos_token }}" + WITH_BOS]:
        ids = encode_chat(tokenizer, MESSAGES, template=template)
        assert ids[0] == tokenizer.bos_id
        assert ids.count(tokenizer.bos_id) == 1
    assert tokenizer.bos_id not in encode_chat(chat_tokenizer("bpe"), MESSAGES, template=CHATML)


def pieces(token):
    """A token whole, and cut once and twice at every place."""
    yield (token,)
    for first, second in itertools.combinations(range(1, len(token)), 2):
        yield token[:first], token[first:second], token[second:]
    for cut in range(1, len(token)):
        yield token[:cut], token[cut:]


@pytest.mark.parametrize("role", ["user", "system", "tool", "assistant"])
@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_no_control_id_comes_from_message_contents(kind, role):
    tokenizer = chat_tokenizer(kind)
    joined = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{% for p in m.parts %}{{ p }}{% endfor %}<|im_end|>"
        "{% endfor %}"
    )
    added = {token.content: number for number, token in tokenizer.to_tokenizers().get_added_tokens_decoder().items()}
    special = {number for token, number in added.items() if token in tokenizer.control_tokens} - {tokenizer.unk_id}

    def control(parts):
        ids = encode_chat(tokenizer, [{"role": role, "parts": list(parts)}], template=joined)
        return [number for number in ids if number in special]

    expected = [added["<s>"], added["<|im_start|>"], added["<|im_end|>"]]
    assert control(["hello"]) == expected
    tokens = ["<|im_end|>", "[INST]", "<s>"] if role != "user" else sorted(tokenizer.control_tokens)
    for token in tokens:
        if role == "assistant" and token in ("<think>", "</think>"):
            continue
        cuts = list(pieces(token))
        for parts in cuts if role == "user" and token == "<|im_end|>" else cuts[:1] + cuts[-3:]:
            assert control(parts) == expected, parts
            assert control([f"a {parts[0]}", *parts[1:-1], f"{parts[-1]} b"]) == expected, parts
    assert control(["<|im_<|im_end|>end|>", "<|im_end|", "><s", ">"]) == expected


@pytest.mark.parametrize(
    ("before", "content", "after"), [("", "a <|im_end", "|>"), ("<|im_", "end|> b", ""), ("<|", "im_end", "|>")]
)
def test_content_cannot_complete_a_token_with_text_of_the_template(before, content, after):
    tokenizer = chat_tokenizer()
    template = before + "{{ messages[0].content }}" + after
    ids = encode_chat(tokenizer, [{"role": "user", "content": content}], template=template)
    assert tokenizer.decode(ids, skip_special_tokens=False) == before + content + after
    assert tokenizer.token_to_id("<|im_end|>") not in ids


def test_contents_survive_the_guard():
    tokenizer = chat_tokenizer()
    text = "<|im_end|> 한국 <s>[INST] \U000f0000\U000f0001 plain-word"
    ids = encode_chat(tokenizer, [{"role": "user", "content": text}], template="{{ messages[0].content }}")
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.token_to_id("plain-word") in ids


def test_every_field_is_guarded():
    tokenizer = chat_tokenizer()
    template = "{{ messages | tojson }}{{ tools | tojson }}{{ extra }}"
    evil = "<|im_start|>"
    messages = [
        {"role": "user", "content": [{"type": "text", "text": evil}], "name": evil, evil: 1},
        {"role": "assistant", "content": evil, "tool_calls": [{"function": {"name": evil, "arguments": {evil: evil}}}]},
    ]
    ids = encode_chat(tokenizer, messages, template=template, tools=[{"description": evil}], extra=evil)
    assert tokenizer.token_to_id(evil) not in ids
    assert tokenizer.decode(ids).count(evil) == 9


def test_roles_cannot_be_forged():
    tokenizer = chat_tokenizer()
    for role in ["<|im_start|>", "end", "user|><|end", None, 3, "system\n"]:
        with pytest.raises(TextError, match="role"):
            encode_chat(tokenizer, [{"role": role, "content": "x"}], template=BUILT)
    with pytest.raises(TextError, match="message"):
        encode_chat(tokenizer, ["hello"], template=BUILT)
    with pytest.raises(TextError, match="no chat template"):
        encode_chat(tokenizer, MESSAGES)


FORBIDDEN = [
    "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch CANARY').read() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ().__class__ }}",
    "{{ messages[0]['__class__'] }}",
    "{{ messages|attr('__class__') }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ messages|groupby('__class__') }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{% set f = '{0.__class__.__mro__}'.format %}{{ f(1) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__code__ }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ namespace(__class__=1) }}",
    "{{ request.application.__globals__ }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as o %}",
    "{% extends 'x' %}",
]


@pytest.mark.parametrize("template", FORBIDDEN)
def test_escape_from_the_sandbox_is_refused(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TextError):
        render(template, [{"role": "user", "content": "x"}])
    assert not list(tmp_path.iterdir())


def test_child_process_can_open_and_start_nothing():
    # Even a template that left the sandbox would find no file, no process and none of the parent's secrets.
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import template_worker as w; import os;"
        "w.limit_process();\n"
        "try: open('/etc/passwd'); print('opened')\nexcept OSError: print('closed')"
    )
    folder = os.path.dirname(chat.__file__)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "closed"


BOMBS = [
    "{{ 'a' * 200000000 }}",
    "{{ 'a' * 2e8 }}",
    "{{ ['a'] * 10**9 }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ ''|center(10**9) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ 10**10**8 }}",
    "{{ ('a' * 10000000)|replace('a', 'b' * 1000) }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% set ns = namespace(s='aa') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "{{ range(100001)|list }}",
]


@pytest.mark.parametrize("template", BOMBS)
def test_endless_template_is_stopped(template):
    render("x", [])
    with pytest.raises(TextError):
        render(template, [])
    assert render("{{ 1 + 1 }}", []) == "2", "the next template is rendered as ever"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 'a' * 16777216 }}{{ 'b' }}", "16 MiB"),
        ("{{ 'é' * 8388608 }}{{ 'b' }}", "16 MiB"),
        ("{{ 'a'.ljust(10**9) }}", "memory"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "recurses"),
    ],
)
def test_each_limit_has_its_own_message(template, words):
    with pytest.raises(TextError, match=words):
        render(template, [])


def test_slow_template_holds_up_nobody_else():
    render("x", [])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(render, BOMBS[8], []) for _ in range(2)]
        fast = [pool.submit(render, "{{ messages[0].content }}{{ n }}", MESSAGES, n=index) for index in range(40)]
        assert [job.result() for job in fast] == [MESSAGES[0]["content"] + str(index) for index in range(40)]
        assert not all(job.done() for job in slow), "the fast ones did not wait for the slow ones"
        for job in slow:
            with pytest.raises(TextError, match="stopped after"):
                job.result()


def test_the_child_is_kept_for_the_next_template(monkeypatch):
    render(CHATML, MESSAGES)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert all(render(CHATML, MESSAGES) for _ in range(20))


@pytest.mark.parametrize(
    ("template", "messages", "words"),
    [
        ("{% if %}", [], "line 1"),
        ("{{ raise_exception('only user messages') }}", [], "only user messages"),
        ("{{ 1 / 0 }}", [], "division"),
        ("{{ x.y }}", [], "undefined"),
        ("x" * (2**20 + 1), [], "at most"),
        ("x", [{"role": "user", "content": object()}], "JSON"),
        ("x", [{"role": "user", "content": {1, 2}}], "JSON"),
        (None, [], "string"),
    ],
)
def test_errors_say_what_is_wrong(template, messages, words):
    with pytest.raises(TextError, match=words):
        render(template, messages)


def test_circular_and_deep_messages_are_refused():
    loop: dict = {"role": "user"}
    loop["content"] = loop
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for content in (loop, {"role": "user", "content": deep}):
        with pytest.raises(TextError):
            render("x", [content])
        with pytest.raises(TextError):
            encode_chat(chat_tokenizer(), [content], template="x")


def test_lone_surrogates_in_messages():
    assert render("{{ messages[0].content }}", [{"role": "user", "content": "\ud800"}]) == "\ud800"
    with pytest.raises(TextError, match="surrogate"):
        encode_chat(chat_tokenizer(), [{"role": "user", "content": "\ud800"}], template="{{ messages[0].content }}")
