"""The formulas of the domain-generalisation methods, as pure functions of tensors.

Branch-free like `functional`: rows are assigned to source domains by a matrix of zeros and ones, so
nothing has a shape that only the host can know. ``domains`` is always int64 [B], the number of each
row's source domain, of which there are ``count``; each has a row.

Sources: CORAL (arXiv 1607.01719), MMD (arXiv 1502.02791), V-REx (arXiv 2003.00688), RSC
(arXiv 2007.02454), ARPL (arXiv 2103.00065), mixup (arXiv 2001.00677); what the papers leave open is
as in DomainBed (arXiv 2007.01434).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Inverse squared widths of the kernels that DomainBed adds up.
KERNELS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def domain_means(values: Tensor, domains: Tensor, count: int) -> Tensor:
    """Mean of ``values``, [B] or [B, d], over the rows of each domain: [count] or [count, d]."""
    return _shares(domains, count, values) @ values


def population_variance(values: Tensor) -> Tensor:
    """Mean squared distance from the mean of ``values`` [K]: V-REx's penalty on risks."""
    return (values - values.mean()).square().mean()


def coral_distance(features: Tensor, domains: Tensor, count: int) -> Tensor:
    """Squared differences of means and of covariances [d, d], averaged over entries and pairs.

    Of ``features`` [B, d], over all pairs of domains. Covariances have n - 1 in the denominator;
    that of a single row is 0.
    """
    members = _membership(domains, count, features)
    sizes = members.sum(dim=1)
    means = domain_means(features, domains, count)
    covariances = []
    for number in range(count):
        centred = (features - means[number]) * members[number, :, None]
        covariances.append(centred.T @ centred / (sizes[number] - 1).clamp_min(1.0))
    distances = [
        (means[i] - means[j]).square().mean() + (covariances[i] - covariances[j]).square().mean()
        for i in range(count)
        for j in range(i)
    ]
    return torch.stack(distances).mean()


def gaussian_mmd(features: Tensor, domains: Tensor, count: int) -> Tensor:
    """Squared maximum mean discrepancy of ``features`` [B, d], averaged over pairs of domains.

    ``k(x, y)`` is the sum over `KERNELS` g of ``exp(-g |x - y|**2)``; the estimate is the biased
    one, with a row's kernel with itself.
    """
    squares = features.square().sum(dim=1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp_min(0.0)
    kernel = torch.stack([torch.exp(-width * distances) for width in KERNELS]).sum(dim=0)
    shares = _shares(domains, count, features)
    within = shares @ kernel @ shares.T
    pairs = [within[i, i] + within[j, j] - 2 * within[i, j] for i in range(count) for j in range(i)]
    return torch.stack(pairs).mean()


def salient_features(gradients: Tensor, share: float) -> Tensor:
    """Whether a feature's gradient is in the largest ``share`` of its row's: bool [B, d] (RSC)."""
    return gradients >= torch.quantile(gradients, 1 - share, dim=1, keepdim=True)


def mixed_cross_entropy(logits: Tensor, labels: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Mean cross-entropy of [B, C] with the labels of the two images of which each row is mixed.

    The row's own, int64 [B], counts ``shares`` [B], that of row ``partners`` [B] the rest.
    """
    own = F.cross_entropy(logits, labels, reduction="none")
    others = F.cross_entropy(logits, labels[partners], reduction="none")
    return (shares * own + (1 - shares) * others).mean()


def _membership(domains: Tensor, count: int, like: Tensor) -> Tensor:
    """[count, B] of ones where a row is of a domain, in the dtype of ``like``."""
    numbers = torch.arange(count, device=domains.device)
    return (domains == numbers[:, None]).to(like.dtype)


def _shares(domains: Tensor, count: int, like: Tensor) -> Tensor:
    """`_membership` over each domain's number of rows: a matrix that takes means."""
    members = _membership(domains, count, like)
    return members / members.sum(dim=1, keepdim=True)
