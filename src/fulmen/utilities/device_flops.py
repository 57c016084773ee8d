"""What devices can compute at best, by their data sheets: dense, with sums in 32 bits where numbers have 16."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch

from fulmen.utilities.rank_zero import rank_zero_warn

_TERA = 1e12


class _Peak(NamedTuple):
    """Operations a second, in millions of millions; None where there is no unit for them."""

    fp64: float | None
    fp32: float
    tf32: float | None
    bf16: float | None
    fp16: float
    int8: float | None = None
    int4: float | None = None


_HOPPER = _Peak(33.5, 66.9, 494.7, 989.4, 989.4, 1978.9)
_HOPPER_NVL = _Peak(30.0, 60.0, 417.5, 835.5, 835.5, 1671.0)
_A10 = _Peak(None, 31.2, 62.5, 125.0, 125.0, 250.0, 500.0)
# Patterns are tried in this order, so that a name comes after those that begin with it.
_PEAKS: tuple[tuple[str, _Peak], ...] = (
    (r"gb200", _Peak(40.0, 80.0, 1250.0, 2500.0, 2500.0, 5000.0)),
    (r"b200", _Peak(37.0, 75.0, 1100.0, 2250.0, 2250.0, 4500.0)),
    (r"gh200", _HOPPER),
    (r"h[12]00 nvl", _HOPPER_NVL),
    (r"h100 pcie", _Peak(25.6, 51.2, 378.0, 756.0, 756.0, 1513.0)),
    (r"h[12]00", _HOPPER),
    (r"l40s", _Peak(None, 91.6, 183.0, 362.05, 362.05, 733.0, 733.0)),
    (r"l40", _Peak(None, 90.5, 90.5, 181.05, 181.05, 362.0, 724.0)),
    (r"l4", _Peak(None, 30.3, 60.0, 121.0, 121.0, 242.0, 484.0)),
    (r"a[18]00", _Peak(9.7, 19.5, 156.0, 312.0, 312.0, 624.0)),
    (r"a30", _Peak(5.2, 10.3, 82.0, 165.0, 165.0, 330.0, 661.0)),
    (r"a10g?", _A10),
    (r"a40", _Peak(None, 37.4, 74.8, 149.7, 149.7, 299.3, 598.7)),
    (r"a6000", _Peak(None, 38.7, 77.4, 154.8, 154.8, 309.7, 619.3)),
    (r"a5000", _Peak(None, 27.8, 55.6, 111.1, 111.1, 222.2, 444.4)),
    (r"a4000", _Peak(None, 19.2, 38.3, 76.7, 76.7, 153.4, 306.8)),
    (r"rtx 6000 ada", _Peak(None, 91.1, 182.1, 364.2, 364.2, 728.5, 1457.0)),
    (r"4090", _Peak(None, 82.6, 82.6, 165.2, 165.2, 660.6, 1321.2)),
    (r"4080 super", _Peak(None, 52.2, 52.2, 104.4, 104.4, 417.6, 835.2)),
    (r"4080", _Peak(None, 48.7, 48.7, 97.5, 97.5, 389.9, 779.8)),
    (r"3090 ti", _Peak(None, 40.0, 40.0, 80.0, 80.0, 320.0, 640.0)),
    (r"3090", _Peak(None, 35.6, 35.6, 71.0, 71.0, 284.0, 568.0)),
    (r"3080 ti", _Peak(None, 34.1, 34.1, 68.2, 68.2, 272.8, 546.6)),
    (r"3080", _Peak(None, 29.8, 29.8, 59.5, 59.5, 238.0, 476.0)),
    (r"3070", _Peak(None, 20.3, 20.3, 40.6, 40.6, 162.6, 325.2)),
    (r"titan rtx", _Peak(None, 16.3, None, None, 130.5, 261.0, 522.0)),
    (r"2080 ti", _Peak(None, 14.2, None, None, 56.9, 227.7, 455.4)),
    (r"2080 super", _Peak(None, 11.2, None, None, 44.6, 178.4, 356.8)),
    (r"2080", _Peak(None, 10.6, None, None, 42.4, 169.6, 339.1)),
    (r"rtx 5000", _Peak(None, 11.2, None, None, 89.2)),
    (r"t4", _Peak(None, 8.1, None, None, 65.0, 130.0, 260.0)),
    (r"v100-sxm2?", _Peak(7.8, 15.7, None, None, 125.0)),
    (r"v100s", _Peak(8.2, 16.4, None, None, 130.0)),
    (r"v100", _Peak(7.0, 14.0, None, None, 112.0)),
)
_FIELDS = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int8: "int8",
}


def get_available_flops(device: torch.device, dtype: torch.dtype | str) -> int | None:
    """What a device can compute at best, in operations a second.

    Args:
        device: The device.
        dtype: The numbers it computes with; ``"int8"`` and ``"int4"`` are known as well. For ``torch.float32`` it
            matters whether torch may use TF32 (``torch.set_float32_matmul_precision``).

    Returns:
        The number by the data sheet; None where the device is not known or has no unit for such numbers, which is
        warned of, and for the CPU.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((peak for pattern, peak in _PEAKS if re.search(rf"\b{pattern}\b", name.lower())), None)
    if peak is None:
        rank_zero_warn(f"It is not known what {name!r} can compute at best, so no `mfu` is shown.")
        return None
    field = _FIELDS.get(dtype, "") if isinstance(dtype, torch.dtype) else dtype
    if field == "fp32" and torch.get_float32_matmul_precision() != "highest" and peak.tf32 is not None:
        field = "tf32"
    value: float | None = getattr(peak, field, None)
    if value is None:
        rank_zero_warn(f"{name!r} has no unit for numbers of {dtype}, so no `mfu` is shown.")
        return None
    return round(value * _TERA)
