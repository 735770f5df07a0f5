from edgekd.recipes.contract import RecipeConfig, TrainSettings


class Train(TrainSettings):
    epochs: int = 30
    learning_rate: float = 0.02


class Config(RecipeConfig):
    train: Train = Train()
