"""What freezing saves: processor time of a training step of a MiniLM-sized encoder by the number of trained groups.

Run: OMP_NUM_THREADS=1 python bench/freezing.py
"""

import time

import numpy as np

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Head, LearnedPositions, Norm, Spec, Stack
from moduformer.lora import Lora
from moduformer.model import build
from moduformer.train.encoded import Encoded
from moduformer.train.groups import Only, Policy, TopGroups
from moduformer.train.loop import train
from moduformer.train.settings import Settings

STEPS = 4


def main() -> None:
    """Prints one line a policy."""
    block = Block(Attention(12, 32, 12), FeedForward(1536), dropout=0.1)
    embedding = Embedding(384, positions=LearnedPositions(512), segments=2, norm=Norm(), dropout=0.1)
    spec = Spec(30522, 384, embedding, Stack(6, (block,)), heads=(Head("classify", reads="first", outputs=6),))
    generator = np.random.default_rng(0)
    rows = [generator.integers(1000, 30000, n) for n in generator.integers(5, 40, 32 * STEPS)]
    examples, labels = Encoded.of([row.tolist() for row in rows]), generator.integers(0, 6, len(rows))
    model = build(spec, seed=0)

    def measure(label: str, policy: Policy, lora: Lora | None = None) -> None:
        settings = Settings(epochs=1, policy=policy)
        for _ in range(2):
            began = time.process_time()
            train(model, examples, labels, settings, adapters=lora)
        print(f"{label:<24}{(time.process_time() - began) / STEPS * 1000:8.0f} ms a step")

    for count in (8, 6, 4, 2, 1):
        measure(f"top {count} of 8 groups", TopGroups(count))
    lora = Lora(model)
    measure("LoRA on q and v", Only(("head", "adapters")), lora)
    lora.remove()


if __name__ == "__main__":
    main()
