"""A target from somebody else's package."""
