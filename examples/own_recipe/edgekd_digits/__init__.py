"""Handwritten digits: a recipe for edgekd, of one's own."""
