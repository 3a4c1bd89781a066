"""Small random models in Hugging Face layout, one for each seed: what gates must accept, whatever their shape."""

from pytest_aprqa.random_models.folder import random_model_folder
from pytest_aprqa.random_models.shape import ModelShape, random_shape

__all__ = ["ModelShape", "random_model_folder", "random_shape"]
