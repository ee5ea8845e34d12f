"""Images of a run: datasets, splits, augmented views and the store of decoded images."""
