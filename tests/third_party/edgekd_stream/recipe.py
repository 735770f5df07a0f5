import numpy as np
import torch
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.recipes.contract import Datasets, Sample, Stage

SIDE, WIDTH = 16, 8
MAP = (1, WIDTH, SIDE // 2, SIDE // 2)


class Eye(nn.Module):
    """One step: a frame and what is known of the one before it. ``pair`` is the same on two frames at once."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(3, WIDTH, 3, 2, 1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.fuse = nn.Sequential(nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, image, past, started):
        now = self.encode(image)
        return self.decide(now, torch.where(started > 0, past, now)), now, torch.ones_like(started)

    def pair(self, image, before):
        return self.decide(self.encode(image), self.encode(before))

    def decide(self, now, before):
        return self.head(self.fuse(torch.cat([now, before], 1)).mean((2, 3)))


class Videos:
    """Frames of flickering videos; a function of (seed, index) alone."""

    def __init__(self, videos, frames, seed):
        self.frames, self.size, self.seed = frames, videos * frames, seed
        self.fingerprint = f"{seed:064d}"

    def __len__(self):
        return self.size

    def light(self, index):
        return np.random.default_rng([self.seed, index]).uniform(0.2, 0.8)

    def before(self, index):
        return index - (index % self.frames > 0)

    def image(self, index):
        noise = np.random.default_rng([self.seed, index, 1]).uniform(-0.1, 0.1, (SIDE, SIDE, 3))
        return (255 * (self.light(index) + noise)).astype(np.uint8)

    def truth(self, index):
        now, before = self.light(index), self.light(self.before(index))
        return np.array([now, before, now - before, 1 - now], np.float32)

    def sample(self, index):
        frame = np.array(divmod(index, self.frames), np.int64)
        return Sample({"image": self.image(index), "frame": frame}, {"y": self.truth(index)})

    def batch(self, keys):
        indices = [index for _, index in keys]
        images, befores = (
            np.stack([self.image(i) for i in chosen]).transpose(0, 3, 1, 2).astype(np.float32) / 255
            for chosen in (indices, map(self.before, indices))
        )
        parts = {"image": images, "before": befores, "y": np.stack([self.truth(i) for i in indices])}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in parts.items()}


class Recipe:
    def __init__(self, config):
        self.config = config

    def datasets(self, cache, progress):
        return Datasets(*(Videos(self.config.videos, self.config.frames, self.config.seed + k) for k in range(3)))

    def io_spec(self):
        return IoSpec(
            inputs=(
                TensorSpec(name="image", shape=(1, 3, SIDE, SIDE)),
                TensorSpec(name="past", shape=MAP),
                TensorSpec(name="started", shape=(1,)),
            ),
            outputs=(
                TensorSpec(name="y", shape=(1, 4)),
                TensorSpec(name="past_next", shape=MAP),
                TensorSpec(name="started_next", shape=(1,)),
            ),
            state={"past_next": "past", "started_next": "started"},
        )

    def student(self, io):
        torch.manual_seed(self.config.seed)
        return Eye()

    def stages(self, data, control):
        student = self.student(self.io_spec())
        return [
            Stage(
                name="student",
                role="student",
                model=student,
                step=lambda batch: {"l2": (student.pair(batch["image"], batch["before"]) - batch["y"]).square().mean()},
                optimizer=lambda parameters: torch.optim.Adam(parameters, lr=self.config.train.learning_rate),
                schedule=None,
                epochs=self.config.train.epochs,
                batch_size=16,
            )
        ]
