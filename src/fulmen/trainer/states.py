"""What a Trainer is doing, under its public path."""

from fulmen.utilities.states import RunningStage as RunningStage
from fulmen.utilities.states import TrainerFn as TrainerFn
from fulmen.utilities.states import TrainerState as TrainerState
from fulmen.utilities.states import TrainerStatus as TrainerStatus
