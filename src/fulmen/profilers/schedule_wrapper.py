"""A schedule of torch's profiler that counts training, validation, testing and prediction each by itself."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerAction

_KINDS = ("training_step", "validation_step", "test_step", "predict_step")


class ScheduleWrapper:
    """Asks a schedule about the steps of one kind at a time, and stops after its first whole recording.

    Args:
        schedule: What to do in a step, given its number; see ``torch.profiler.schedule``.

    Example:
        >>> from torch.profiler import schedule
        >>> wrapper = ScheduleWrapper(schedule(wait=0, warmup=1, active=1))
        >>> wrapper.pre_step("[Strategy]SingleDeviceStrategy.training_step")
        >>> [wrapper(step).name for step in range(3)]
        ['RECORD_AND_SAVE', 'NONE', 'NONE']
    """

    def __init__(self, schedule: Callable[[int], ProfilerAction]) -> None:
        self._schedule = schedule
        self.reset()

        self._start: str | None = None

    def setup(self, start_action_name: str) -> None:
        """Takes note of what the profiler began with.

        Args:
            start_action_name: The name of the action. Where it is ``on_fit_start``, validation steps before the first
                training step are those of the sanity check, and do not count.
        """
        self._start = start_action_name

    def reset(self) -> None:
        """Forgets all steps."""
        self._counts = dict.fromkeys(_KINDS, 0)
        self._ended = dict.fromkeys(_KINDS, False)
        self._current: str | None = None
        self._last: ProfilerAction | None = None

    def pre_step(self, current_action: str) -> None:
        """Takes note of what runs.

        Args:
            current_action: The name of the profiled action.
        """
        self._current = current_action

    def _kind(self) -> str | None:
        if self._current is None:
            raise AssertionError("Nothing runs yet.\nWhat to do: call `pre_step` with the name of the action first.")
        return next((kind for kind in _KINDS if self._current.endswith(kind)), None)

    @property
    def is_training(self) -> bool:
        """Whether a training step runs."""
        return self._kind() == "training_step"

    @property
    def is_validating(self) -> bool:
        """Whether a validation step runs."""
        return self._kind() == "validation_step"

    @property
    def is_testing(self) -> bool:
        """Whether a test step runs."""
        return self._kind() == "test_step"

    @property
    def is_predicting(self) -> bool:
        """Whether a prediction step runs."""
        return self._kind() == "predict_step"

    @property
    def num_step(self) -> int:
        """How many steps of the kind that runs there were; 0 where none runs."""
        return self._counts.get(self._kind() or "", 0)

    @property
    def has_finished(self) -> bool:
        """Whether the steps of the kind that runs are recorded."""
        return self._ended.get(self._kind() or "", False)

    def _is_sanity_check(self, kind: str) -> bool:
        fitting = self._start is not None and self._start.endswith("on_fit_start")
        return fitting and kind == "validation_step" and not self._counts["training_step"]

    def __call__(self, num_step: int) -> ProfilerAction:
        """What to do in the next step.

        Args:
            num_step: The number of the step over all kinds, which does not matter here.
        """
        if self.has_finished:
            return ProfilerAction.NONE
        kind = self._kind()
        if kind is not None and not self._is_sanity_check(kind):
            self._counts[kind] += 1
        action = self._schedule(self.num_step)
        if self._last is ProfilerAction.RECORD and action is ProfilerAction.WARMUP:
            action = ProfilerAction.RECORD_AND_SAVE  # the schedule begins anew, and what there is would be lost
        if kind is not None and action is ProfilerAction.RECORD_AND_SAVE:
            self._ended[kind] = True
        self._last = action
        return action
