from typing import ClassVar

import numpy as np
import torch
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.nn.lowering import Lowerable
from edgekd.recipes.contract import Datasets, Sample, Stage

SIDE, WIDTH = 16, 8
PICTURE, EDGE, MAP = (1, 3, SIDE, SIDE), (1, 1, SIDE, SIDE), (1, WIDTH, SIDE, SIDE)


class Agreement(Lowerable):
    """The mean over channels of the product of two maps; ``wrong`` is a form that is not exact."""

    op: ClassVar[str] = "agreement"
    FORMS: ClassVar[tuple[str, ...]] = ("product", "matmul", "wrong")

    def forward(self, first, second):
        if self.form == "matmul":
            rows = [t.flatten(2).transpose(1, 2) for t in (first, second)]
            return (rows[0].unsqueeze(2) @ rows[1].unsqueeze(3)).reshape(1, 1, SIDE, SIDE) / WIDTH
        return (first * second).mean(1, keepdim=True) + (1 if self.form == "wrong" else 0)


class Mirror(nn.Module):
    def __init__(self):
        super().__init__()
        self.person, self.clothes = (nn.Sequential(nn.Conv2d(3, WIDTH, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.agreement = Agreement()
        self.paint = nn.Conv2d(2 * WIDTH + 1, 3, 3, padding=1)

    def forward(self, person, clothes, clothes_edge):
        return self.worn(person, *self.prepared(clothes, clothes_edge))

    def prepared(self, clothes, clothes_edge):
        masked = clothes * clothes_edge
        return self.clothes(masked), masked

    def worn(self, person, pyramid, masked):
        seen = self.person(person)
        return masked + self.paint(torch.cat([seen, pyramid, self.agreement(seen, pyramid)], 1))


class Garment(nn.Module):
    def __init__(self, student):
        super().__init__()
        self.student = student

    def forward(self, clothes, clothes_edge):
        return self.student.prepared(clothes, clothes_edge)


class Frame(nn.Module):
    def __init__(self, student):
        super().__init__()
        self.student = student

    def forward(self, person, pyramid, masked):
        return self.student.worn(person, pyramid, masked)


class Scenes:
    def __init__(self, count, seed):
        self.size, self.seed, self.fingerprint = count, seed, f"{seed:064d}"

    def __len__(self):
        return self.size

    def sample(self, index):
        rng = np.random.default_rng([self.seed, index])
        person, clothes = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
        edge = (255 * (rng.random((SIDE, SIDE)) < 0.7)).astype(np.uint8)
        truth = (clothes * (edge[..., None] > 0) + 0.4 * person) / 255
        raw = {"person": person, "clothes": clothes, "clothes_edge": edge}
        return Sample(raw, {"tryon": truth.astype(np.float32)})

    def batch(self, keys):
        samples = [self.sample(index) for _, index in keys]
        parts = {name: np.stack([np.atleast_3d(s.raw[name]) for s in samples]) / 255 for name in samples[0].raw}
        parts["tryon"] = np.stack([s.truth["tryon"] for s in samples])
        return {n: torch.from_numpy(v.transpose(0, 3, 1, 2).astype(np.float32)) for n, v in parts.items()}


class Recipe:
    def __init__(self, config):
        self.config = config

    def datasets(self, cache, progress):
        return Datasets(*(Scenes(count, self.config.seed + k) for k, count in enumerate((32, 8, 12))))

    def io_spec(self):
        inputs = zip(("person", "clothes", "clothes_edge"), (PICTURE, PICTURE, EDGE), strict=True)
        return IoSpec(
            inputs=tuple(TensorSpec(name=name, shape=shape) for name, shape in inputs),
            outputs=(TensorSpec(name="tryon", shape=PICTURE),),
        )

    def student(self, io):
        torch.manual_seed(self.config.seed)
        return Mirror()

    def graphs(self, student, io):
        held = (TensorSpec(name="pyramid", shape=MAP), TensorSpec(name="masked", shape=PICTURE))
        garment = IoSpec(inputs=(io.input("clothes"), io.input("clothes_edge")), outputs=held)
        frame = IoSpec(
            inputs=(io.input("person"), *held),
            outputs=io.outputs,
            held={t.name: f"garment/{t.name}" for t in held},
        )
        return {"garment": (Garment(student), garment), "frame": (Frame(student), frame)}

    def stages(self, data, control):
        student = self.student(self.io_spec())

        def step(batch):
            found = torch.cat([student(*(batch[t.name][k : k + 1] for t in self.io_spec().inputs)) for k in range(4)])
            return {"l1": (found - batch["tryon"][:4]).abs().mean()}

        return [
            Stage(
                name="student",
                role="student",
                model=student,
                step=step,
                optimizer=lambda parameters: torch.optim.Adam(parameters, lr=self.config.train.learning_rate),
                schedule=None,
                epochs=self.config.train.epochs,
                batch_size=8,
            )
        ]
