"""The training loop: batches, steps, optimizer, weight averages, checkpoints, devices."""
