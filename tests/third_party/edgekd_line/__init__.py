"""A recipe from somebody else's package: four numbers in, one out, by stages of its own."""
