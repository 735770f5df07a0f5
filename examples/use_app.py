"""What a product does with an app in Python: import its one file, load it once, ask it. No edgekd is needed.

edgekd embed bundles/lm-openvino --app python --out app
python examples/use_app.py app
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np


def main() -> int:
    app = imported(Path(sys.argv[1] if len(sys.argv) > 1 else "app") / "app.py")
    student = app.Student()
    for name, value in student.predict(app.vectors("raw")[0]).items():
        value = np.asarray(value)
        print(f"{name} {value.dtype} {list(value.shape)}")
    for check in app.verify(student):
        print(f"{'ok' if check.passed else 'FAIL'} {check.name}: {check.found:.3g}, limit {check.limit:.3g}")

    # What an app's proof is for: a constant of the pre-processing is another one, and nothing else is wrong.
    picture = getattr(student.main.pipeline, "image", None)
    if picture is not None:
        student.main.pipeline.image = dataclasses.replace(picture, scale=picture.scale * 1.002)
        worst = next(check for check in app.verify(student) if not check.passed)
        print(f"of a constant that was changed: FAIL {worst.name}")
    return 0


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["app"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
