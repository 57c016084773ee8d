"""Balances poles on carts: an actor that pushes, and a critic that says how good a state is, each with its own loss.

The method is the advantage actor-critic of Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning" (2016),
on the cart and pole of Barto, Sutton and Anderson (1983). The data set plays: what it yields are steps that the actor
has just made. Run it with `python examples/actor_critic.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import fulmen as pl
from fulmen.loggers import CSVLogger

SEED = 3


class Carts:
    """Carts that carry a pole each; a state is position, speed, angle and angular speed."""

    def __init__(self, count: int) -> None:
        self.state = self.start(count)

    def start(self, count: int) -> Tensor:
        return torch.rand(count, 4) * 0.1 - 0.05

    def push(self, right: Tensor) -> Tensor:
        """Pushes carts (N) to the right or left for 0.02 seconds; says which poles fell, and stands those up again."""
        _, speed, angle, spin = self.state.T
        force = (right * 20 - 10 + 0.05 * spin.square() * angle.sin()) / 1.1
        spin_change = (9.8 * angle.sin() - angle.cos() * force) / (0.5 * (4 / 3 - angle.cos().square() / 11))
        change = force - 0.05 * spin_change * angle.cos() / 1.1
        self.state = self.state + 0.02 * torch.stack([speed, change, spin, spin_change], 1)
        fell = (self.state[:, 0].abs() > 2.4) | (self.state[:, 2].abs() > 0.21)
        self.state = torch.where(fell[:, None], self.start(len(fell)), self.state)
        return fell


class Play(IterableDataset):
    """Lets the actor push carts. A batch: states (steps + 1, carts, 4), pushes and falls (steps, carts)."""

    def __init__(self, actor: nn.Module, batches: int, carts: int = 32, steps: int = 16) -> None:
        self.actor, self.batches, self.steps, self.carts = actor, batches, steps, Carts(carts)

    def __len__(self) -> int:  # with a length, no batch is asked for before the actor has learned from the last
        return self.batches

    @torch.no_grad()
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for _ in range(self.batches):
            states, pushes, falls = [self.carts.state], [], []
            for _ in range(self.steps):
                pushes.append(torch.bernoulli(self.actor(states[-1]).squeeze(1).sigmoid()))
                falls.append(self.carts.push(pushes[-1]))
                states.append(self.carts.state)
            yield torch.stack(states), torch.stack(pushes), torch.stack(falls)


class ActorCritic(pl.LightningModule):
    """Two networks and two losses: each loss trains the network of its name, and no other."""

    def __init__(self, width: int = 64, discount: float = 0.98, entropy: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.actor = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))
        self.critic = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        states, pushes, falls = batch
        values = self.critic(states).squeeze(2)
        gains, gain = [], values[-1].detach()
        for fell in reversed(falls.unbind()):  # a step that does not end in a fall is worth one
            gain = torch.where(fell, 0.0, 1 + self.hparams.discount * gain)
            gains.insert(0, gain)
        advantages = torch.stack(gains) - values[:-1]
        choice = torch.distributions.Bernoulli(logits=self.actor(states[:-1]).squeeze(2))
        # The advantages hold the critic's graph, and need no `detach`: this loss reaches the actor alone.
        actor_loss = -(choice.log_prob(pushes) * advantages).mean() - self.hparams.entropy * choice.entropy().mean()
        return {"actor": actor_loss, "critic": advantages.square().mean()}

    def configure_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "actor": torch.optim.Adam(self.actor.parameters(), lr=0.005),
            "critic": torch.optim.Adam(self.critic.parameters(), lr=0.02),
        }

    def on_train_epoch_end(self) -> None:
        self.log("return", steps_balanced(self.actor), prog_bar=True)


@torch.no_grad()
def steps_balanced(actor: nn.Module, carts: int = 50, limit: int = 200) -> float:
    """The return: for how many steps the actor keeps a pole up, in the mean."""
    played, up, steps = Carts(carts), torch.ones(carts, dtype=torch.bool), 0.0
    for _ in range(limit):
        up = up & ~played.push(torch.bernoulli(actor(played.state).squeeze(1).sigmoid()))
        steps += float(up.float().mean())
    return steps


def main(root: Path, max_epochs: int = 10) -> tuple[float, float]:
    """Trains. Returns for how many of 200 steps a pole stays up, before and after."""
    pl.seed_everything(SEED)
    model = ActorCritic()
    before = steps_balanced(model.actor)
    # The networks are so small that no device is faster than the CPU, where the carts are.
    trainer = pl.Trainer(max_epochs=max_epochs, accelerator="cpu", logger=CSVLogger(root, name="actor_critic"))
    trainer.fit(model, DataLoader(Play(model.actor, batches=25), batch_size=None))
    after = float(trainer.callback_metrics["return"])
    print(f"steps a pole stays up   {before:.1f} before, {after:.1f} after, of 200")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where logs and checkpoints go")
    parser.add_argument("--max-epochs", type=int, default=10, help="of 25 batches each")
    arguments = parser.parse_args()
    main(arguments.root, arguments.max_epochs)
