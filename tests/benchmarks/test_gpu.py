from __future__ import annotations

import pytest


@pytest.fixture
def gpu(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import gpu

    return gpu


def test_without_a_gpu_it_says_so_and_writes_nothing(gpu, tmp_path, monkeypatch, capsys):
    from edgekd.errors import MachineError

    try:
        gpu.gpu()
    except MachineError:
        pass
    else:
        pytest.skip("there is a GPU here")
    monkeypatch.setattr("sys.argv", ["gpu.py", "--results", str(tmp_path / "results")])
    assert gpu.main() == 4
    assert "no NVIDIA driver" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("recipe", ["landmarks", "hypergraph"])
def test_every_subject_takes_the_inputs_that_are_made_for_it(gpu, recipe):
    import torch

    names = []
    for name, module, io in gpu.subjects(recipe):
        names.append(name)
        inputs = gpu.example(io, "cpu")
        with torch.inference_mode():
            exact = module(*inputs)
            made = gpu.contenders(module, inputs)
            for how in ("torch eager fp32", "torch channels-last fp32"):  # what also a CPU can do
                torch.testing.assert_close(made[how]()(), exact, rtol=1e-3, atol=1e-3)
    assert names == [f"{recipe} student", f"{recipe} teacher"][: len(names)]
    assert names


def test_the_page_shows_figures_failures_and_the_hardware(gpu):
    conditions = {
        "made": "2026-01-01T00:00:00", "gpu": "Test GPU", "capability": "sm_86", "driver_cuda": "12.9",
        "memory_bytes": 8 * 2**30, "machine": "a machine", "tensorrt": "TensorRT-RTX 1", "versions": {"torch": "2"},
    }  # fmt: skip
    both = {"median_ms": 1.5, "median_device_ms": 1.25}
    rows = [
        {"name": "m", "how": "torch eager fp32", "peak_bytes": 3e6, **both},
        {"name": "m", "how": "TensorRT fp16", "device_bytes": 1e6, "load_ms": 12.0, "compile_ms": 340.0, **both},
        {"name": "m", "how": "torch compile fp32", "error": "RuntimeError: no compiler"},
        {"name": "m", "how": "its paper's protocol", "mean_ms": 20.0, "frames_per_second": 50.0},
    ]
    speeds = [
        {"accelerator": "gpu", "images_per_second": {"student": 900.0}},
        {"accelerator": "cpu", "error": "killed"},
    ]
    lines = gpu.section({"conditions": conditions, "rows": rows, "distillation": speeds}).splitlines()
    assert lines[0] == "## `python benchmarks/gpu.py`: what it shows"
    assert "Test GPU (sm_86), 8 GiB" in lines[2]
    assert "| m | torch eager fp32 | 1.50 | 1.25 | 3 |  |" in lines
    assert "| m | TensorRT fp16 | 1.50 | 1.25 | 1 | loaded in 12 ms, compiled in 340 |" in lines
    assert "| m | torch compile fp32 | | | | RuntimeError: no compiler |" in lines
    assert "| m | its paper's protocol | 20.00 (mean) | | | 50.0 frames/s |" in lines
    assert "| gpu | student 900 |" in lines
    assert "| cpu | killed |" in lines
