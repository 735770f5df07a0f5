"""A recipe of three inputs whose bundles hold three graphs: of all, of the garment, of the frame."""
