"""From a finished run to the one ONNX file a device runs. Needs torch; the runtime does not."""
