from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.precision.dtype import DefaultDtype, cast_floats

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
OTHERS = [torch.int64, torch.bool, torch.complex64, torch.uint8]


@given(st.lists(st.sampled_from(FLOATS), max_size=4))
def test_dtypes_nest(dtypes):
    before = torch.get_default_dtype()

    def enter(rest):
        if rest:
            with DefaultDtype(rest[0]):
                assert torch.zeros(1).dtype is rest[0]
                enter(rest[1:])
                assert torch.zeros(1).dtype is rest[0]

    enter(dtypes)
    assert torch.get_default_dtype() is before


@given(st.lists(st.sampled_from(FLOATS + OTHERS)), st.sampled_from(FLOATS))
def test_only_real_floats_are_cast(dtypes, target):
    batch = {"tensors": [torch.ones(2).to(dtype) for dtype in dtypes], "name": "x", "number": 1.5}
    cast = cast_floats(batch, target)
    assert [tensor.dtype for tensor in cast["tensors"]] == [target if d in FLOATS else d for d in dtypes]
    assert (cast["name"], cast["number"]) == ("x", 1.5)
