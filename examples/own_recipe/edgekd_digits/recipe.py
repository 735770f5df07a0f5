from sklearn.datasets import load_digits
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.recipes.simple.recipe import Classification


class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        )
        self.head = nn.Linear(2 * width * 4 * 4, 10)

    def forward(self, image):
        return self.head(self.features(image).flatten(1))


class Recipe(Classification):
    image = TensorSpec(name="image", shape=(1, 1, 8, 8), layout="NCHW", range=(0.0, 1.0))
    io = IoSpec(inputs=(image,), outputs=(TensorSpec(name="logits", shape=(1, 10)),))

    def examples(self):
        digits = load_digits()
        return digits.images[:, None] / 16, digits.target

    def make_student(self):
        return Network(8)

    def make_teacher(self):
        return Network(48)
