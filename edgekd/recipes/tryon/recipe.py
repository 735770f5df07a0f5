"""The ``tryon`` recipe: four stages, each of which the next one needs (DM-VTON, B5).

    teacher-warp   the teacher's first half, on pairs of a garment and a photo of somebody in it
    teacher        both halves, from there
    student-warp   the student's first half: the person in another garment, as the teacher draws them, and the garment
                   of the photo in; the photo is the truth. The teacher's maps and flows where it does better.
    student        both halves, from there

The control's two stages see what the student's see, and minimise all but the teacher's maps and flows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Datasets, Progress, SampleSet, Stage
from edgekd.recipes.tryon import data as tryon_data
from edgekd.recipes.tryon import losses
from edgekd.recipes.tryon.config import Config, StageConfig
from edgekd.recipes.tryon.fakes import StudentSet, draw_fakes
from edgekd.recipes.tryon.flow import Flows
from edgekd.recipes.tryon.models import Frame, Garment, TryOn, Warping, level_channels
from edgekd.recipes.tryon.perceptual import PerceptualDistance, load_vgg19
from edgekd.recipes.tryon.teacher import Teacher, TeacherWarping
from edgekd.recipes.weights import load_weights
from edgekd.storage import sha256_file

PICTURE = ImageSpec(scale=1 / 127.5, mean=(1.0, 1.0, 1.0))  # -1..1 (B6)
TEACHER_SHARE, STUDENT_SHARE = 0.5, 0.25  # of the warping loss, end to end


class Recipe:
    """A mobile try-on network from a parser-based one."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.size = (config.height, config.width)
        self._cache = Path("cache")
        self._vgg = load_vgg19(Path(config.loss.vgg19)) if config.loss.vgg19 else None

    def datasets(self, cache: Path, progress: Progress) -> Datasets:
        own = self.config.data
        self._cache = self._folder(cache)
        held = {"val": own.val, "test": own.test}
        if self.config.loss.true_warp and tryon_data.parse_source(own.source)[0] != "wardrobe":
            raise InputError(
                f"loss.true_warp is {self.config.loss.true_warp:g}, and {own.source[0]} knows no true warp",
                fix="loss.true_warp=0, or --data wardrobe:N",
            )
        made = tryon_data.datasets(own.source, self.size, self.config.seed, held, self._cache, progress)
        facts: dict[str, Any] = {"perceptual": self._perceptual_facts()}
        if weights := self.config.teacher.weights:
            facts["teacher"] = {"weights": Path(weights).name, "sha256": self._teacher_sha256()}
        return replace(made, provenance={**made.provenance, **facts})

    def make_share(self, cache: Path, part: int, parts: int, progress: Progress) -> None:
        own, held = self.config.data, {"val": self.config.data.val, "test": self.config.data.test}
        share = (part, parts)
        tryon_data.draw_share(own.source, self.size, self.config.seed, held, self._folder(cache), progress, share)

    def _folder(self, beside_the_run: Path) -> Path:
        return Path(self.config.data.cache) if self.config.data.cache else beside_the_run / "tryon"

    def io_spec(self) -> IoSpec:
        height, width = self.size
        return IoSpec(
            inputs=(
                self._picture("person", "a person, upright, in any garment", PICTURE),
                self._picture("clothes", "the garment; 0 where its mask is 0", PICTURE),
                TensorSpec(
                    name="clothes_edge",
                    shape=(1, 1, height, width),
                    layout="NCHW",
                    range=(0.0, 1.0),
                    meaning="the garment's mask: 1 on it, 0 beside it",
                ),
            ),
            outputs=self._outputs(),
        )

    def student(self, io: IoSpec) -> TryOn:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return TryOn(self.config.student)

    def graphs(self, student: TryOn, io: IoSpec) -> Mapping[str, tuple[nn.Module, IoSpec]]:
        """The live mirror: ``garment`` runs once per garment, ``frame`` per picture of the person."""
        maps = tuple(self._map(level, channels) for level, channels in enumerate(level_channels(self.config.student)))
        both = TensorSpec(
            name="garment",
            shape=(1, 4, *self.size),
            layout="NCHW",
            range=(-1.0, 1.0),
            meaning="the garment, and its mask as the fourth channel",
        )
        held = (*maps, both)
        person, *garment = io.inputs
        return {
            "garment": (Garment(student), IoSpec(inputs=tuple(garment), outputs=held)),
            "frame": (
                Frame(student),
                IoSpec(
                    inputs=(person, *held),
                    outputs=io.outputs,
                    held={tensor.name: f"garment/{tensor.name}" for tensor in held},
                ),
            ),
        }

    def stages(self, data: Datasets, control: bool) -> Sequence[Stage]:
        stages: list[Stage] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed + 1)
            teacher = Teacher(self.config.teacher.width, self.size)
            half = TeacherWarping(self.config.teacher.width, self.size)
        if self.config.teacher.weights:
            load_weights(teacher, Path(self.config.teacher.weights))
        else:
            stages += [self._teacher_warp_stage(half), self._teacher_stage(teacher, half)]
        samples = StudentSet(data.train, self.config.train.fakes)
        stages += self._student_stages("student", teacher, samples)
        return [*stages, *self._student_stages("control", teacher, samples)] if control else stages

    def _teacher_warp_stage(self, model: TeacherWarping) -> Stage:
        distance = self._vgg_distance()  # without VGG19 no encoder has learned anything yet

        def step(batch: Batch) -> losses.Terms:
            return self._teacher_warp_terms(model, model.flows(batch["condition"], batch["clothes"]), batch, distance)

        return self._stage("teacher-warp", "preparation", model, step, self.config.train.teacher_warp)

    @property
    def _warp_learns(self) -> bool:
        """Also end to end."""
        return self.config.train.warp_rate > 0

    @contextmanager
    def _end_to_end(self, warping: nn.Module) -> Iterator[None]:
        """A warping half that learns no more is as it will be used: no gradient, no statistics."""
        if self._warp_learns:
            yield
            return
        was_training = warping.training
        warping.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            warping.train(was_training)

    def _teacher_warp_terms(
        self, warping: TeacherWarping, flows: Flows, batch: Batch, distance: PerceptualDistance | None
    ) -> losses.Terms:
        terms = _warp_terms(warping, flows, batch, distance)
        if weight := self.config.loss.true_warp:
            terms["true_warp"] = weight * losses.true_warp_term(flows, batch["true_grid"], batch["seen"])
        return terms

    def _teacher_stage(self, model: Teacher, half: TeacherWarping) -> Stage:
        distance = self._vgg_distance() or PerceptualDistance(half.clothes.encoder, relative=True)

        def step(batch: Batch) -> losses.Terms:
            with self._end_to_end(model.warping):
                flows = model.warping.flows(batch["condition"], batch["clothes"])
                warped, edge = _warped(model.warping, batch, flows)
            rendering = model.render(batch["preserve"], batch["dense_preserve"], warped, edge)
            terms = losses.rendering_terms(rendering, batch["person"], distance)
            if not self._warp_learns:
                return terms
            warp = self._teacher_warp_terms(model.warping, flows, batch, distance)
            return losses.scaled(warp, TEACHER_SHARE) | terms

        def prepare(folder: Path, tell: Progress) -> None:
            half.eval().requires_grad_(False)
            model.warping.load_state_dict(half.state_dict())

        settings = self.config.train.teacher
        return self._stage("teacher", "teacher", model, step, settings, prepare=prepare, slower=model.warping)

    def _student_stages(self, role: str, teacher: Teacher, samples: StudentSet) -> list[Stage]:
        """The warping half, then both; without the teacher's maps and flows where the role is ``control``."""
        student, train, distilled = self.student(self.io_spec()), self.config.train, role == "student"
        half = self.student(self.io_spec()).warping
        distance = self._vgg_distance() or PerceptualDistance(teacher.warping.clothes.encoder, relative=True)
        frozen = {"teacher": teacher}

        def seen(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            return (batch["fake"], batch["fake_edge"]) if "fake" in batch else draw_fakes(teacher, batch)

        def warp_terms(warping: Warping, flows: Flows, batch: Batch) -> losses.Terms:
            terms = _warp_terms(warping, flows, batch, distance)
            if not distilled:
                return terms
            with torch.no_grad():
                theirs = teacher.warping.flows(batch["condition"], batch["clothes"])
                worn = batch["person"] * batch["worn"]
                shown, own = (_warped(warping, batch, flow)[0] for flow in (theirs, flows))
                factor = losses.better_teacher(shown, own, worn)
            return terms | losses.distillation_terms(flows, theirs, factor) | {"_teacher_better": factor.mean()}

        def warp_step(batch: Batch) -> losses.Terms:
            fake, _ = seen(batch)
            return warp_terms(half, _flows(half, fake, batch["clothes"]), batch)

        def step(batch: Batch) -> losses.Terms:
            fake, other_edge = seen(batch)
            with self._end_to_end(student.warping):
                flows = _flows(student.warping, fake, batch["clothes"])
                warped, edge = _warped(student.warping, batch, flows)
            rendering = student.render(fake, warped, edge)
            late = bool(batch["epoch"][0] >= train.student.epochs)
            skin = other_edge * (1 - batch["worn"])
            terms = losses.rendering_terms(rendering, batch["person"], distance, skin, late)
            if not self._warp_learns:
                return terms
            return losses.scaled(warp_terms(student.warping, flows, batch), STUDENT_SHARE) | terms

        def keep(folder: Path, tell: Progress) -> None:
            samples.keep(teacher, self._cache, tell)

        def start(folder: Path, tell: Progress) -> None:
            keep(folder, tell)
            student.warping.load_state_dict(half.state_dict())

        common: dict[str, Any] = {"frozen": frozen, "samples": samples}
        return [
            self._stage(f"{role}-warp", "preparation", half, warp_step, train.student_warp, prepare=keep, **common),
            self._stage(role, role, student, step, train.student, prepare=start, slower=student.warping, **common),
        ]

    def _stage(
        self,
        name: str,
        role: str,
        model: nn.Module,
        step: Callable[[Batch], losses.Terms],
        settings: StageConfig,
        *,
        frozen: Mapping[str, nn.Module] | None = None,
        samples: SampleSet | None = None,
        prepare: Callable[[Path, Progress], None] | None = None,
        slower: nn.Module | None = None,
    ) -> Stage:
        """``slower``: the part of the model that learns at ``train.warp_rate`` of the learning rate."""
        rate, share = settings.learning_rate, self.config.train.warp_rate
        own = {id(parameter) for parameter in slower.parameters()} if slower is not None else set()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = self.config.train.norm_momentum

        def optimizer(parameters: Iterable[Any]) -> torch.optim.Optimizer:
            every = list(parameters)
            groups = [{"params": [p for p in every if id(p) not in own], "lr": rate}]
            if own:
                groups.append({"params": [p for p in every if id(p) in own], "lr": rate * share})
            return torch.optim.Adam(groups, lr=rate, betas=(0.5, 0.999))

        def schedule(optimizer: torch.optim.Optimizer, steps: int) -> Any:
            constant = steps * settings.epochs / (settings.epochs + settings.decay)

            def factor(step: int) -> float:
                return min(1.0, (steps - step) / max(1.0, steps - constant))

            return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

        return Stage(
            name=name,
            role=role,
            model=model,
            step=step,
            optimizer=optimizer,
            schedule=schedule,
            epochs=settings.epochs + settings.decay,
            batch_size=settings.batch_size,
            clip=settings.clip,
            frozen=frozen or {},
            samples=samples,
            prepare=prepare,
            # A warp is judged pasted on the true photo, where a smaller garment is a better one: it does not select.
            keeps="last" if role == "preparation" else "best",
        )

    def _vgg_distance(self) -> PerceptualDistance | None:
        return PerceptualDistance(self._vgg[0], relative=False) if self._vgg else None

    def _perceptual_facts(self) -> dict[str, Any]:
        """Which perceptual distance was used: said in the run and in its bundles."""
        if self._vgg:
            return {"network": "VGG19", **self._vgg[1]}
        return {"network": "the teacher's garment encoder, as no VGG19 was given; none in teacher-warp"}

    def _teacher_sha256(self) -> str:
        return sha256_file(Path(self.config.teacher.weights))

    def _outputs(self) -> tuple[TensorSpec, ...]:
        height, width = self.size
        grid = TensorSpec(
            name="grid",
            shape=(1, 2, height, width),
            layout="NCHW",
            unit="-1 to 1 from the garment's first pixel's centre to its last's",
            meaning="x and y of the garment's place that is seen at each pixel",
        )
        return (
            self._picture("tryon", "the person in the garment"),
            self._picture("warped_cloth", "the garment as it would lie on the person"),
            grid,
        )

    def _picture(self, name: str, meaning: str, image: ImageSpec | None = None) -> TensorSpec:
        shape = (1, 3, *self.size)
        return TensorSpec(name=name, shape=shape, layout="NCHW", range=(-1.0, 1.0), meaning=meaning, image=image)

    def _map(self, level: int, channels: int) -> TensorSpec:
        height, width = self.size
        scale = 2 ** (5 - level)
        shape = (1, channels, height // scale, width // scale)
        return TensorSpec(
            name=f"garment_{scale}", shape=shape, layout="NCHW", meaning=f"the garment's map at 1/{scale}"
        )


def _flows(warping: Warping, person: torch.Tensor, clothes: torch.Tensor) -> Flows:
    """The correlation as matrix products: the plain form's gradient takes twenty times as long on a CPU."""
    correlation = warping.flow.correlation
    plain = correlation.form
    correlation.take("tiles")
    try:
        return warping.flows(person, clothes)
    finally:
        correlation.take(plain)


def _warped(warping: Warping | TeacherWarping, batch: Batch, flows: Flows) -> tuple[torch.Tensor, torch.Tensor]:
    return warping.cloth_warp(batch["clothes"], flows.grid), warping.edge_warp(batch["clothes_edge"], flows.grid)


def _warp_terms(
    warping: Warping | TeacherWarping, flows: Flows, batch: Batch, distance: PerceptualDistance | None
) -> losses.Terms:
    worn, warps = batch["worn"], (warping.cloth_warp, warping.edge_warp)
    return losses.warp_terms(
        flows, batch["clothes"], batch["clothes_edge"], batch["person"] * worn, worn, distance, warps
    )
