from edgekd.recipes.simple import config


class Config(config.Config):
    still: bool = True  # BatchNorm in eval mode even in training
