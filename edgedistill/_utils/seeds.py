"""Seeds derived from several values."""

import hashlib


def seed_hash(*values: int | str) -> int:
    """DomainBed's seed from several values: MD5 of their tuple's text, below 2**31.

    Gulrajani & Lopez-Paz, "In Search of Lost Domain Generalization", arXiv 2007.01434.
    """
    digest = hashlib.md5(str(values).encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % 2**31
