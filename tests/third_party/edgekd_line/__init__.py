"""A recipe from somebody else's package: four numbers in, one out. As small as a recipe can be."""
