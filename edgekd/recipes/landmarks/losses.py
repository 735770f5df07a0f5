"""KD-Loss: a main term as tolerant as the tolerant teacher errs, and one assistance term per teacher.

Fard & Mahoor, CVIU 215 (2022) 103316. The figures of the paper and the authors' released code differ; both
are here: ``paper`` as drawn (A4), ``released`` as coded (A3). All is computed coordinate by coordinate, in the
unit of the labels, with p the student, g the ground truth, t a teacher, e = |p - g| and d = |t - g|.

**Main term.** q = |tolerant - g|; slope*e up to q and e² + slope*q - q² beyond it: continuous, and e² where
q = 0. The paper draws it for q = 0.5, where it reads |e| and e² + 0.25. Without a tolerant teacher there is
no q, and the main term is ``hard``: e² ("l2", the main term with q = 0) or |e| ("l1").

**Assistance.** The teacher is mirrored to the student's side of the ground truth, T = g + sign(p - g)*d, and
weight * |T - p| is added, where the weight is

    e >= d         alpha > 0     the student is beyond the teacher: be drawn to it
    beta*d <= e    alpha_n < 0   it is nearer than the teacher: be pushed off it, towards the ground truth
    e < beta*d     0 (released), or alpha_n * e/(beta*d) (paper), which makes the value continuous

Weights and teachers carry no gradient. So the gradient of every form and setting points from p to g,
everywhere, and the ground truth is the only point at rest. Of the *value* this is true only while the main
term outweighs the negative weights: always with the tolerant teacher alone, and with both while the tolerant
one errs at least 3 % as much as the tough one. With the tough teacher and "l2", or q = 0, the value dips
below zero beside the ground truth: do not select a checkpoint by this loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from edgekd.errors import InputError

Form = Literal["paper", "released"]


@dataclass(frozen=True)
class KDConstants:
    """``tough`` and ``tolerant`` are (alpha, alpha_n); ``beta`` is the edge of the low-influence region."""

    main_weight: float
    main_slope: float
    beta: float
    ramp: bool
    tough: tuple[float, float]
    tolerant: tuple[float, float]


KD_CONSTANTS: dict[str, KDConstants] = {
    # A4: the figures of the whole loss, of its main term and of its weights; alpha_n = -alpha/2.
    "paper": KDConstants(2.5, 1.0, 0.4, ramp=True, tough=(0.9, -0.45), tolerant=(0.9, -0.45)),
    # A3: what the published training script passes to the published loss.
    "released": KDConstants(2.0, 3.0, 0.15, ramp=False, tough=(1.9, -0.45), tolerant=(1.8, -0.4)),
}


class KDLoss:
    """KD-Loss with both teachers, one, or none (then it is the plain ``hard`` loss, times the main weight).

    Args:
        form: "paper" (A4) or "released" (A3).
        tough, tolerant: which teachers take part.
        hard: the main term where there is no tolerant teacher.
    """

    def __init__(self, form: Form, tough: bool, tolerant: bool, hard: Literal["l2", "l1"] = "l2") -> None:
        if form not in KD_CONSTANTS:
            raise InputError(f"loss.form is {form!r}", f"KD-Loss comes as {' or '.join(KD_CONSTANTS)}")
        if hard not in ("l2", "l1"):
            raise InputError(f"loss.hard is {hard!r}", "it is l2 or l1")
        self.constants = KD_CONSTANTS[form]
        self.uses = {"tough": tough, "tolerant": tolerant}
        self.hard = hard

    def __call__(
        self,
        prediction: torch.Tensor,
        truth: torch.Tensor,
        tough: torch.Tensor | None = None,
        tolerant: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Weighted terms whose sum is the loss: "main", and "tough" and "tolerant" for the teachers in use.

        All tensors are (B, 2N) in the unit of the labels; each term is a float32 mean over B * 2N.

        Raises:
            ValueError: shapes differ, or the teachers handed over are not those in use.
        """
        teachers = {"tough": tough, "tolerant": tolerant}
        for name, teacher in teachers.items():
            if (teacher is not None) != self.uses[name]:
                raise ValueError(f"the {name} teacher is {'' if self.uses[name] else 'not '}in use")
        given = {name: t.detach().float() for name, t in teachers.items() if t is not None}
        for name, tensor in {"truth": truth, **given}.items():
            if tensor.shape != prediction.shape:
                raise ValueError(f"{name} is {list(tensor.shape)}, prediction {list(prediction.shape)}")
        prediction, truth = prediction.float(), truth.detach().float()
        terms = {"main": self.constants.main_weight * self._main(prediction, truth, given.get("tolerant"))}
        for name, teacher in given.items():
            terms[name] = self._assistance(prediction, truth, teacher, getattr(self.constants, name))
        return {name: term.mean() for name, term in terms.items()}

    def _main(self, p: torch.Tensor, g: torch.Tensor, tolerant: torch.Tensor | None) -> torch.Tensor:
        error = (p - g).abs()
        if tolerant is None:
            return error.square() if self.hard == "l2" else error
        slope, q = self.constants.main_slope, (tolerant - g).abs()
        return torch.where(error <= q, slope * error, error.square() + slope * q - q.square())

    def _assistance(
        self, p: torch.Tensor, g: torch.Tensor, teacher: torch.Tensor, alphas: tuple[float, float]
    ) -> torch.Tensor:
        alpha, alpha_n = alphas
        with torch.no_grad():
            offset, distance = p - g, (teacher - g).abs()
            error, edge = offset.abs(), self.constants.beta * distance
            mirrored = g + offset.sign() * distance
            # Where the teacher is exactly right (distance 0) every student is at or beyond it. The released
            # code gives it no weight there, the drawing does.
            beyond = error >= distance if self.constants.ramp else (error > distance) & (distance > 0)
            tiny = torch.finfo(edge.dtype).tiny
            low = alpha_n * error / edge.clamp_min(tiny) if self.constants.ramp else torch.zeros_like(error)
            nearer = torch.where(error >= edge, alpha_n, low)
            nearer = torch.where(distance > 0, nearer, 0.0)
            weight = torch.where(beyond, alpha, nearer)
        return weight * (mirrored - p).abs()
