"""On-device inference: an exported `.onnx` file, with NumPy, onnxruntime and Pillow only."""

from edgedistill.runtime.classifier import Classifier, Prediction, UnreadableImage
from edgedistill.runtime.contract import ModelInfo

__all__ = ["Classifier", "ModelInfo", "Prediction", "UnreadableImage"]
