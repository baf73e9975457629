"""Lines of code, room by room: `python bench/lines.py`.

Counts lines that hold code: no blank lines, no comments, no docstrings.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "moduformer"
CORE = ("architecture", "blocks", "model.py", "batch.py", "mask.py", "kernels.py", "cache.py", "trace.py")
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def code_lines(path: Path) -> int:
    """How many lines of a file hold code."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT and token.type != tokenize.ENDMARKER:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def room_of(path: Path) -> str:
    """The first part of a file's path inside the package."""
    return path.relative_to(PACKAGE).parts[0]


def main() -> None:
    """Prints a line a room, and the sums that matter."""
    rooms: dict[str, int] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        rooms[room_of(path)] = rooms.get(room_of(path), 0) + code_lines(path)
    for room, lines in sorted(rooms.items(), key=lambda item: -item[1]):
        print(f"{lines:7,}  {room}")
    print(f"{sum(rooms.get(room, 0) for room in CORE):7,}  the core: {', '.join(CORE)}")
    print(f"{rooms.get('families', 0):7,}  families")
    print(f"{sum(rooms.values()):7,}  in all")


if __name__ == "__main__":
    main()
