"""Label-free pretraining: a student learns to embed any images as a teacher does."""
