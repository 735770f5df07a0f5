"""SIGKILL in every part of a run; ``killed.py`` does it, with any seed."""

import subprocess
import sys
from pathlib import Path


def test_a_run_killed_while_drawing_training_and_writing_ends_with_the_bits_of_one_that_was_not(tmp_path):
    command = [sys.executable, str(Path(__file__).parent / "killed.py"), str(tmp_path), "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 deaths of 9, the same bits" in done.stdout, done.stdout
