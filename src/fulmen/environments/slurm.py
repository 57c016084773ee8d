"""SLURM: ``srun`` starts the processes, and variables say which one this is."""

from __future__ import annotations

import os
import re
import signal

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.variables import number
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn

_BY_HAND = ("bash", "interactive")
_NEXT_STEP = 1009  # how far the ports of two steps of a job are apart, which jobs that come one after another are not
_BY_ITSELF = (
    " Without `srun`, so that the program starts its processes itself: `Trainer(plugins=LightningEnvironment())`."
)


class SLURMEnvironment(ClusterEnvironment):
    """The environment of a job step that ``srun`` started. A Trainer finds it by itself.

    A job that somebody started by hand (its name is ``bash`` or ``interactive``) counts as none.

    Args:
        auto_requeue: Whether SLURM's signal before the time limit (``#SBATCH --signal=SIGUSR1@90``) makes the run save
            everything, put the job into the queue again and end. The job then goes on by itself from what was saved.
        requeue_signal: Another signal than ``SIGUSR1``, as given to ``--signal``.

    Raises:
        MisconfigurationException: If `requeue_signal` is no signal that a process can hear.
    """

    def __init__(self, auto_requeue: bool = True, requeue_signal: signal.Signals | None = None) -> None:
        super().__init__()
        self.auto_requeue = auto_requeue
        if requeue_signal is None and hasattr(signal, "SIGUSR1"):
            requeue_signal = signal.SIGUSR1
        if requeue_signal is not None:
            _check_signal(requeue_signal)
        self.requeue_signal = requeue_signal

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        address = os.environ.get("MASTER_ADDR")
        if address is None:
            nodes = os.environ.get("SLURM_NODELIST", os.environ.get("SLURM_JOB_NODELIST", "127.0.0.1"))
            address = os.environ["MASTER_ADDR"] = self.resolve_root_node_address(nodes)
        return address

    @property
    def main_port(self) -> int:
        port = os.environ.get("MASTER_PORT")
        if port is None:  # all processes of a step find the same, and those of another probably another
            job, step = os.environ.get("SLURM_JOB_ID", "")[-4:], os.environ.get("SLURM_STEP_ID", "")
            shift = _NEXT_STEP * int(step) if step.isdigit() else 0
            port = os.environ["MASTER_PORT"] = str(15000 + (int(job) + shift) % 10000) if job.isdigit() else "12910"
        return int(port)

    def run_id(self) -> str:
        """The step's number, behind that of the job."""
        return ".".join(filter(None, (os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))))

    @staticmethod
    def detect() -> bool:
        return "SLURM_NTASKS" in os.environ and SLURMEnvironment.job_name() not in _BY_HAND

    @staticmethod
    def job_name() -> str | None:
        """The job's name."""
        return os.environ.get("SLURM_JOB_NAME")

    @staticmethod
    def job_id() -> int | None:
        """The job's number; None outside a job, and in one that was started by hand."""
        number = os.environ.get("SLURM_JOB_ID", "")
        return int(number) if number.isdigit() and SLURMEnvironment.job_name() not in _BY_HAND else None

    def world_size(self) -> int:
        return _number("SLURM_NTASKS")

    def set_world_size(self, size: int) -> None:
        """Nothing: SLURM knows it."""

    def global_rank(self) -> int:
        return _number("SLURM_PROCID")

    def set_global_rank(self, rank: int) -> None:
        """Takes note of the rank for what only the first process does; SLURM knows it."""
        rank_zero_only.rank = rank  # type: ignore[attr-defined]

    def local_rank(self) -> int:
        return _number("SLURM_LOCALID")

    def node_rank(self) -> int:
        return _number("SLURM_NODEID")

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raises if the job and the Trainer contradict each other.

        Args:
            num_devices: How many devices were asked for on each machine.
            num_nodes: How many machines were asked for.

        Raises:
            MisconfiguredValue: If they do.
        """
        by_hand = "" if _is_step() else _BY_ITSELF
        for flag, option, variable, asked in (
            ("devices", "--ntasks-per-node", "SLURM_NTASKS_PER_NODE", num_devices),
            ("num_nodes", "--nodes", "SLURM_NNODES", num_nodes),
        ):
            given = os.environ.get(variable, "")
            if given.isdigit() and int(given) != asked:
                raise MisconfiguredValue(
                    f"`Trainer({flag}=...)` and SLURM's `{option}` are the same number.",
                    got=f"{flag}={asked} and {option}={given}",
                    fix=f"`Trainer({flag}={given})`, or `#SBATCH {option}={asked}`.{by_hand}",
                )
        tasks = self.world_size()
        if tasks != num_devices * num_nodes:
            raise MisconfiguredValue(
                "SLURM starts one task for each device on each machine.",
                got=f"devices={num_devices} and num_nodes={num_nodes}, in a job with {tasks} tasks",
                fix=f"`#SBATCH --nodes={num_nodes} --ntasks-per-node={num_devices}`, or a Trainer with as many "
                f"`devices` on as many `num_nodes`.{by_hand}",
            )
        if tasks > 1 and not _is_step():
            rank_zero_warn(
                f"This is a job of SLURM with {tasks} tasks, but the program was not started with `srun`, so it may "
                f"be the only one and wait for the others in vain. What to do: `srun python ...`.{by_hand}",
            )

    @staticmethod
    def resolve_root_node_address(nodes: str) -> str:
        """The first machine of a list in SLURM's short form.

        Args:
            nodes: Such as ``"gpu[03-05,9],cpu1"``.

        Returns:
            Such as ``"gpu03"``.

        Example:
            >>> SLURMEnvironment.resolve_root_node_address("node-[05-09,11]-a,other")
            'node-05-a'
        """
        first = re.match(r"(?:[^\[\],\s]|\[[^\]]*\])*", nodes.strip())
        name = first.group() if first else ""
        return re.sub(r"\[([^,\]-]*)[^\]]*\]", r"\1", name)


def _is_step() -> bool:
    """Whether `srun` has started this process, and not the job's script."""
    return "SLURM_STEP_ID" in os.environ or "SLURM_STEPID" in os.environ


def _number(variable: str) -> int:
    return number(variable, "SLURMEnvironment", "Start the program with `srun`")


def _check_signal(number: signal.Signals) -> None:
    unheard = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}
    if number not in set(signal.valid_signals()) - unheard:
        raise MisconfigurationException(
            "`SLURMEnvironment(requeue_signal=...)` is a signal that a process can hear.",
            got=number,
            fix="`requeue_signal=signal.SIGUSR1`, and `#SBATCH --signal=SIGUSR1@90`.",
        )
