"""The published GGUF file in another type of GGUF's: its values read out and coded again."""

from __future__ import annotations

from pathlib import Path

from bench.contender import whole
from bench.peers.decoders.decoder import DecoderWork


def place(work: DecoderWork, kind: str) -> Path:
    """Where the file of that type lies; for the type as published, the file itself."""
    published = Path(work.gguf)
    if kind in published.stem:
        return published
    return Path(work.kept) / f"{published.stem.rpartition('.')[0]}.{kind}.gguf"


def requantize(work: DecoderWork, kind: str) -> None:
    """Writes the file: matrices in that type, vectors as they are, every key but the type copied."""
    import gguf

    reader = gguf.GGUFReader(work.gguf)
    wanted = gguf.GGMLQuantizationType[kind]
    architecture = reader.fields["general.architecture"].contents()
    with whole(place(work, kind)) as path:
        writer = gguf.GGUFWriter(str(path), architecture)
        for name, field in reader.fields.items():
            if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
                continue
            # Of a list, the type that follows is its members'.
            value, inner = field.contents(), field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, value, field.types[0], inner)
        writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            if values.ndim == 1:
                writer.add_tensor(tensor.name, values.astype("float32"))
            else:
                writer.add_tensor(tensor.name, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
