"""A recipe from somebody else's package, made of edgekd's simple parts, for training by several processes."""
