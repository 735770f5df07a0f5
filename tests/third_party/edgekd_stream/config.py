from edgekd.recipes.contract import RecipeConfig, TrainSettings


class Train(TrainSettings):
    epochs: int = 40
    learning_rate: float = 0.02


class Config(RecipeConfig):
    frames: int = 10  # of a video
    videos: int = 6
    train: Train = Train()
