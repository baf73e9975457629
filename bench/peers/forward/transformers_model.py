"""`transformers`: LLaMA, or Mistral for its window."""

from __future__ import annotations

from typing import Any

from bench.peers.forward.forward import Forward


class TransformersForward(Forward):
    """`AutoModel.from_config` with SDPA."""

    modules = ("psutil", "transformers")
    packages = ("transformers",)

    def __init__(self, window: int | None = None) -> None:
        super().__init__(window)
        self.name = f"transformers, {self.attends}"

    def build(self, layers: int) -> Any:
        """Random weights."""
        from transformers import AutoModel, LlamaConfig, MistralConfig

        sizes: dict[str, Any] = {
            "vocab_size": 1000,
            "hidden_size": 384,
            "intermediate_size": 1024,
            "num_hidden_layers": layers,
            "num_attention_heads": 12,
            "num_key_value_heads": 12,
            "max_position_embeddings": 2**16,
        }
        config = MistralConfig(**sizes, sliding_window=self.window) if self.window else LlamaConfig(**sizes)
        return AutoModel.from_config(config, attn_implementation="sdpa").eval()

    def forward(self, model: Any, ids: Any) -> Any:
        """Without a cache."""
        return model(input_ids=ids, use_cache=False).last_hidden_state
