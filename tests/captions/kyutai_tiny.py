"""A model for Kyutai's real server that holds nothing but zeros: it starts, steps and counts slots, and says no word.

The server checks the names and shapes of its weights, and computes with whatever they hold. `kyutai_tiny_shapes.json`
lists the tensors of a one-layer language model and of the audio codec, as moshi-server 0.6.4 asks for them.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

SHAPES = Path(__file__).with_name("kyutai_tiny_shapes.json")
PIECES = 400
"""Size of the tokenizer's vocabulary, and of the model's text output."""


def shrink(config: dict[str, Any], folder: Path) -> None:
    """Make a configuration of the real model one of the tiny model, whose files are written into a folder."""
    files = write_model(folder)
    asr = config["modules"]["asr"]
    asr |= {name: str(file) for name, file in files.items()}
    asr["model"] |= {"text_in_vocab_size": PIECES + 1, "text_out_vocab_size": PIECES, "audio_codebooks": 8}
    asr["model"]["transformer"] |= {
        "d_model": 64, "num_heads": 2, "num_layers": 1, "dim_feedforward": 128, "context": 75, "max_seq_len": 4096,
    }  # fmt: skip


def write_model(folder: Path) -> dict[str, Path]:
    """Write weights and tokenizer; the result names them as the configuration does."""
    files = {
        "lm_model_file": folder / "model.safetensors",
        "audio_tokenizer_file": folder / "mimi.safetensors",
        "text_tokenizer_file": folder / "tokenizer.model",
    }
    shapes = json.loads(SHAPES.read_text())
    for name, part in (("lm_model_file", "lm"), ("audio_tokenizer_file", "mimi")):
        if not files[name].exists():
            _write_zeros(files[name], shapes[part])
    files["text_tokenizer_file"].write_bytes(_tokenizer())
    return files


def _write_zeros(file: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file: the header's length, the header as JSON, the numbers. Zeros are a hole in the file."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as writer:
        writer.write(struct.pack("<Q", len(text)) + text)
        writer.truncate(8 + len(text) + end)


def _tokenizer() -> bytes:
    """A sentencepiece model, a protocol buffer: field 1 repeats pieces, each with text (1), score (2) and type (3)."""
    unknown, control, normal = 2, 3, 1
    pieces = [("<unk>", unknown), ("<s>", control), ("</s>", control)]
    pieces += [(f"\u2581piece{number}", normal) for number in range(PIECES - len(pieces))]
    model = b""
    for index, (text, kind) in enumerate(pieces):
        piece = _field(1, text.encode()) + b"\x15" + struct.pack("<f", -float(index)) + bytes([0x18, kind])
        model += _field(1, piece)
    return model


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 128, "one byte of length"
    return bytes([number << 3 | 2, len(value)]) + value
