"""A recipe whose student remembers: frames of short videos, one after another."""
