"""Greedy continuations by vLLM: settings as JSON in the first argument, then one question and one answer a line.

A program of its own, run by the environment that vLLM is installed in; what vLLM prints goes to stderr.
"""

import json
import os
import sys


def main() -> None:
    """Runs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import vllm

    settings = json.loads(sys.argv[1])
    model = vllm.LLM(
        model=settings["folder"],
        dtype=settings["dtype"],
        max_model_len=settings["length"],
        max_num_seqs=settings["rows"],
        enable_prefix_caching=False,
    )
    print(json.dumps({"vllm": vllm.__version__}), file=answers)
    for line in sys.stdin:
        question = json.loads(line)
        prompts = [{"prompt_token_ids": prompt} for prompt in question["prompts"]]
        new = question["new"]
        sampling = vllm.SamplingParams(temperature=0, max_tokens=new, min_tokens=new, ignore_eos=True)
        found = model.generate(prompts, sampling, use_tqdm=False)
        print(json.dumps({"written": [list(one.outputs[0].token_ids) for one in found]}), file=answers)


if __name__ == "__main__":
    main()
