"""The per-target backends. Each folder has one shape: target.toml, build.py, runtime.py, profiles/, README.md."""
