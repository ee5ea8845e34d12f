"""The frozen CLIP teacher: loading it, its class texts, and the cache of its view embeddings."""
