"""Deep Q-learning in a corridor: an iterable data set over a replay buffer that the training step fills."""

import random
from collections import deque, namedtuple

import lightning.pytorch as L
import torch
from figures import report
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data.dataset import IterableDataset

Experience = namedtuple("Experience", ["state", "action", "reward", "done", "new_state"])


class Corridor:
    length = 6

    def reset(self):
        self.place = 0
        return [0.0]

    def step(self, action):
        self.place = max(0, self.place + (1 if action else -1))
        done = self.place >= self.length
        return [self.place / self.length], (1.0 if done else -0.05), done


class ReplayBuffer:
    def __init__(self, capacity):
        self.buffer = deque(maxlen=capacity)

    def append(self, experience):
        self.buffer.append(experience)

    def sample(self, size):
        return zip(*random.sample(list(self.buffer), size), strict=True)


class RLDataset(IterableDataset):
    def __init__(self, buffer, sample_size):
        self.buffer, self.sample_size = buffer, sample_size

    def __iter__(self):
        states, actions, rewards, dones, new_states = self.buffer.sample(self.sample_size)
        for i in range(len(dones)):
            yield torch.tensor(states[i]), actions[i], rewards[i], dones[i], torch.tensor(new_states[i])


class DQNLightning(L.LightningModule):
    def __init__(self, batch_size=8, lr=1e-2, gamma=0.9, sync_rate=5, episode_length=32):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2))
        self.target_net = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2))
        self.env, self.buffer = Corridor(), ReplayBuffer(200)
        self.state = self.env.reset()
        self.total_reward = self.episode_reward = 0.0
        self.losses = []
        for _ in range(64):
            self.play(epsilon=1.0)

    @torch.no_grad()
    def play(self, epsilon):
        action = random.randint(0, 1)
        if random.random() >= epsilon:
            action = int(self.net(torch.tensor([self.state])).argmax())
        new_state, reward, done = self.env.step(action)
        self.buffer.append(Experience(self.state, action, reward, done, new_state))
        self.state = self.env.reset() if done else new_state
        return reward, done

    def dqn_mse_loss(self, batch):
        states, actions, rewards, dones, next_states = batch
        values = self.net(states).gather(1, actions.long().unsqueeze(-1)).squeeze(-1)
        with torch.no_grad():
            next_values = self.target_net(next_states).max(1)[0]
            next_values[dones] = 0.0
        return nn.MSELoss()(values, next_values * self.hparams.gamma + rewards.float())

    def training_step(self, batch, batch_idx):
        reward, done = self.play(max(0.1, 1.0 - self.global_step / 20))
        self.episode_reward += reward
        loss = self.dqn_mse_loss(batch)
        if done:
            self.total_reward, self.episode_reward = self.episode_reward, 0.0
        if self.global_step % self.hparams.sync_rate == 0:
            self.target_net.load_state_dict(self.net.state_dict())
        self.log_dict({"reward": reward, "train_loss": loss})
        self.log("total_reward", self.total_reward, prog_bar=True)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.net.parameters(), lr=self.hparams.lr)

    def train_dataloader(self):
        return DataLoader(RLDataset(self.buffer, self.hparams.episode_length), batch_size=self.hparams.batch_size)


if __name__ == "__main__":
    L.seed_everything(123)
    model = DQNLightning()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=6, val_check_interval=50, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model)
    report(model, losses=model.losses, steps=trainer.global_step, reward=model.total_reward)
