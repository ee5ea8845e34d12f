"""Networks for tests in which another would do as well."""

# Exporting a graph of few nodes takes a third of the time that MobileNetV3 takes.
FEW_NODES = {"model": "timm/test_byobnet", "weights": "none", "size": 32}
