"""Fine-tuning speed and memory against the Hugging Face Trainer: same weights, same texts, same batch size.

    python bench/fine_tuning.py --rounds 3 [--data train.parquet --text text --label label_name --rows 2048]

The same as `python -m bench fine-tuning`, which also writes its results down.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.__main__ import main

if __name__ == "__main__":
    main(["fine-tuning", *sys.argv[1:]])
