"""On-device inference: an exported `.onnx` file, with NumPy, onnxruntime and Pillow only."""

from edgedistill.onnx_file import ModelInfo
from edgedistill.runtime.classifier import Classifier, Prediction, UnreadableImage

__all__ = ["Classifier", "ModelInfo", "Prediction", "UnreadableImage"]
