"""Questions that every rank answers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.neighbours import Neighbours


class Question:
    """A question to all ranks.

    Args:
        kind: ``"health"``, or ``"stall"``.
        patience: For how many seconds to wait for answers.

    Attributes:
        answers: What each rank has answered, None for one that has not; None as long as it is open.
    """

    _numbers = itertools.count()

    def __init__(self, kind: str, patience: float) -> None:
        self.kind = kind
        self.number = next(self._numbers)
        self.deadline = time.monotonic() + patience
        self.asked = False
        self.answers: dict[int, dict[str, Any] | None] | None = None


class Questions:
    """Asks, answers, and gathers the answers.

    Args:
        board: Where the ranks meet.
        neighbours: Who has left.
    """

    def __init__(self, board: Board, neighbours: Neighbours) -> None:
        self._board = board
        self._neighbours = neighbours
        self._open: list[Question] = []
        self._to_answer: list[str] = []

    @property
    def is_waiting(self) -> bool:
        """Whether answers are missing."""
        return bool(self._open)

    def ask(self, question: Question) -> None:
        """Has all ranks asked.

        Args:
            question: It gets the answers.
        """
        self._open.append(question)

    def was_asked(self, topic: str) -> None:
        """Takes note of a question of any rank.

        Args:
            topic: Where the answers are put.
        """
        self._to_answer.append(topic)

    def answer(self, what: Callable[[], dict[str, Any]]) -> None:
        """Answers all questions that were asked.

        Args:
            what: Makes the answer.
        """
        while self._to_answer:
            self._board.note(self._to_answer[0], what())
            self._to_answer.pop(0)

    def give_up(self) -> bool:
        """Gives all open questions no answers, since there is nobody to ask.

        Returns:
            Whether there were any.
        """
        found, self._open = self._open, []
        for question in found:
            question.answers = {}
        return bool(found)

    def gather(self) -> Iterator[tuple[Question, dict[int, dict[str, Any] | None]]]:
        """The questions that have their answers now, and these."""
        for question in list(self._open):
            topic = f"answer/{self._board.rank}.{question.number}"
            if not question.asked:
                self._board.say("ask", topic=topic, kind=question.kind)
                question.asked = True
                continue
            ranks = self._neighbours.present
            answers = self._board.notes(topic, ranks)
            if answers is None and time.monotonic() >= question.deadline:
                answers = {**dict.fromkeys(ranks), **self._board.notes_there_are(topic, ranks)}
            if answers is not None:
                self._open.remove(question)
                yield question, answers
