"""What kind of file lies where a checkpoint is looked for, of those that ``torch.load`` does not read."""

from __future__ import annotations

from typing import NamedTuple

START = 64  # bytes that tell the kind
_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that comes first in torch's oldest format, pickled
_LONGEST_HEADER = 100_000_000  # which the format of safetensors allows


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: What it is.
        fix: What to do with it.
    """

    name: str
    fix: str


_SAFETENSORS = Kind(
    "a safetensors file, which holds weights alone",
    "Load the weights with `model.load_state_dict(safetensors.torch.load_file(path))`.",
)
_PICKLE = Kind(
    "a plain pickle, which `torch.save` did not write",
    "If you trust the file, read it with `pickle.load`, which runs the code that it names, and write what it holds "
    "with `torch.save`.",
)


def kind_of(start: bytes) -> Kind | None:
    """Tells the kind of a file by its first bytes.

    Args:
        start: The first `START` bytes, or all if it is shorter.

    Returns:
        The kind; None for a file that may be a checkpoint.
    """
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return _SAFETENSORS
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and _MAGIC not in start:
        return _PICKLE
    return None
