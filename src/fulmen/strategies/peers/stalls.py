"""Where the ranks are, when none of them gets on."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any

from fulmen.strategies.peers.faults import Fault

_OURS = os.path.dirname(os.path.abspath(__file__)).removesuffix(os.path.join("strategies", "peers"))
_LIBRARIES = (
    "<frozen ",
    *(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
# Stands for the rank of a fault that no single rank is to blame for.
NOBODY = -1
# How many frames of the stack are shown, the innermost.
_FRAMES = 12


def location(thread: int) -> dict[str, Any]:
    """Where a thread is.

    Args:
        thread: Its number.

    Returns:
        ``"user"``: the innermost line of the user's own code; ``"called"``: whether that was called by Fulmen, as a
        step or a hook; ``"stack"``: the innermost frames; ``"in"``: the file in which it is; ``"handling"``: the error
        that it is about to handle, as in a ``finally``.
    """
    frame = sys._current_frames().get(thread)
    if frame is None:
        return {"user": "", "called": False, "stack": "", "in": "", "handling": ""}
    stack = traceback.extract_stack(frame)
    index = next((i for i in reversed(range(len(stack))) if not stack[i].filename.startswith((_OURS, *_LIBRARIES))), 0)
    user = None if stack[index].filename.startswith((_OURS, *_LIBRARIES)) else stack[index]
    place = "" if user is None else f"{user.filename}:{user.lineno} in {user.name}: {user.line}".rstrip(": ")
    return {
        "user": place,
        "called": any(entry.filename.startswith(_OURS) for entry in stack[:index]),
        "stack": "".join(traceback.format_list(stack[-_FRAMES:])),
        "in": _file(frame),
        "handling": _handling(thread),
    }


def _handling(thread: int) -> str:
    found: Any = sys._current_exceptions().get(thread)
    error = found[1] if isinstance(found, tuple) else found  # a tuple before Python 3.12
    return "" if error is None else "".join(traceback.format_exception(error))


def tell(answers: Mapping[int, dict[str, Any] | None]) -> str:
    """What is printed of a group that makes no progress; who most likely holds up the others comes last.

    Args:
        answers: What each rank says of itself; None for one that does not answer.
    """
    suspect = _suspect(answers)
    seconds = min((answer["age"] for answer in answers.values() if answer is not None), default=0.0)
    lines = [f"No rank has made progress for {seconds:.0f} seconds."]
    if suspect == NOBODY:
        lines.append("The ranks wait for each other in different places:")
    for rank in sorted(answers, key=lambda rank: (rank == suspect, rank)):
        answer = answers[rank]
        if answer is None:
            lines.append(
                f"Rank {rank} does not answer: its process is stopped, or in code that keeps Python from running."
            )
            continue
        waits = f", waiting in {answer['where']}" if answer["where"] else ""
        lines.append(
            f"Rank {rank}, {answer['age']:.0f} s after it had passed {_place(answer['passed'])}{waits}: "
            f"{answer['user'] or 'in no code of the user'}"
        )
        lines.append(answer["stack"].rstrip())
        if answer.get("handling"):
            lines.append(f"Rank {rank} is there because of an error:\n{answer['handling'].rstrip()}")
    return "\n".join(lines)


def fault_of(answers: Mapping[int, dict[str, Any] | None]) -> Fault:
    """The fault that a group is ended with: the rank that most likely holds up the others, and where all are.

    Args:
        answers: As in `tell`.
    """
    return Fault(_suspect(answers), "stalled", tell(answers))


def _suspect(answers: Mapping[int, dict[str, Any] | None]) -> int:
    """Who does not answer; else who has met an error; else who waits for nobody; else who is behind.

    Where all wait at the same gate, it is who waits in code of the user, as in a collective that not all ranks call;
    it is nobody where they wait in different collectives.
    """

    def order(rank: int) -> tuple[bool, bool, bool, list[float], bool]:
        answer = answers[rank]
        if answer is None:
            return False, False, False, [], False
        waits = bool(answer["where"]) or _is_in_a_collective(answer)
        return True, not answer.get("handling"), waits, answer["passed"], not answer.get("called")

    orders = {rank: order(rank) for rank in answers}
    places = {answer["where"] for answer in answers.values() if answer is not None}
    if min(orders.values()) == max(orders.values()) and len(places) > 1 and "" not in places:
        return NOBODY
    return min(orders, key=lambda rank: (orders[rank], rank))


def _is_in_a_collective(answer: dict[str, Any]) -> bool:
    """Backward is one as well: torch's DDP reduces gradients there."""
    inner = answer["in"].replace(os.sep, "/")
    return "/torch/distributed/" in inner or "/torch/autograd/" in inner or "/torch/nn/parallel/" in inner


def _place(passed: list[float]) -> str:
    return f"{tuple(passed)}" if passed else "no gate"


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename
