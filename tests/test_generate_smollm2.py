"""The default chat model from its 4-bit file: the tokens of transformers, streaming, a conversation."""

import pytest
import torch
import transformers

import moduformer as mf
from moduformer.errors import SourceError
from moduformer.generate.chat import Chat
from moduformer.generate.text import generate_text, stream
from moduformer.model import Model
from moduformer.sources.resolve import resolve

pytestmark = pytest.mark.slow
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):"]


@pytest.fixture(scope="module")
def model() -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODUFORMER_SOURCES", "none")
        patch.setenv("HF_HUB_OFFLINE", "1")
        try:
            return mf.load("smollm2")
        except SourceError as error:
            pytest.skip(f"smollm2 is not in the cache: {error}")


def test_64_tokens_equal_transformers_from_the_same_file(model: Model) -> None:
    path = resolve("smollm2").path
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    found = generate_text(model, PROMPTS, max_new_tokens=64)
    for prompt, result in zip(PROMPTS, found):
        ids = torch.tensor([model.tokenizer.encode(prompt).ids])
        expected = theirs.generate(ids, max_new_tokens=64, do_sample=False, attention_mask=torch.ones_like(ids))
        assert result.tokens == expected[0, ids.shape[1] :].tolist()


def test_a_stream_is_the_text_and_a_conversation_goes_on(model: Model) -> None:
    settings = {"max_new_tokens": 24, "do_sample": True, "temperature": 0.7, "seed": 5}
    assert "".join(stream(model, PROMPTS[0], **settings)) == generate_text(model, PROMPTS[0], **settings)[0].text
    talk = Chat(model, max_new_tokens=24)
    first = talk.say("What is the capital of France?")
    assert "Paris" in first.text
    assert first.ended_by == "eos"
    whole = talk.fed
    talk.say("And of Italy?")
    assert talk.fed < whole
    fresh = Chat(model, messages=talk.messages[:-2], max_new_tokens=24)
    assert fresh.say("And of Italy?").text == talk.messages[-1]["content"]
