"""Which edges a dropout keeps: a function of the seed, the slot and the head, never of the order of the work."""

import torch
from torch import Tensor

__all__ = ["dropout_mask"]

ROUND_A, ROUND_B = 0xD2511F53, 0xCD9E8D57
KEY_A, KEY_B = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF
CHUNK = 1 << 15  # counters at a time: some ten int64 buffers of 256 KiB stay in the second-level cache


def dropout_mask(seed: Tensor, slots: int, heads: int, dropout: float, *, first: int = 0) -> Tensor:
    r"""Draw the edges that a dropout keeps, the same on every device and for every split of the edges into chunks.

    .. math:: \text{keep}_{e,h} = [\, u(\text{seed}, eH + h) \ge \text{dropout} \,]

    with the uniform number :math:`u` of the Philox-4x32-10 generator, as ``tl.rand(seed, e * H + h)`` in Triton.

    Args:
        seed: One int64 number.
        slots: Number of edges :math:`E`.
        heads: Number of heads :math:`H`.
        dropout: Probability in [0, 1) that an edge is dropped.
        first: The slot of the first edge.

    Returns:
        A boolean tensor [slots, heads].

    References:
        Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.

    Example:
        >>> dropout_mask(torch.tensor([7]), 4, 1, 0.5).flatten().tolist()
        [False, True, False, True]
    """
    key = int(seed)
    mask = torch.empty(slots * heads, dtype=torch.bool, device=seed.device)
    for start in range(0, slots * heads, CHUNK):
        stop = min(start + CHUNK, slots * heads)
        counter = torch.arange(first * heads + start, first * heads + stop, device=seed.device)
        torch.ge(_uniform(_philox(key, counter)), dropout, out=mask[start:stop])
    return mask.view(slots, heads)


def _philox(key: int, counter: Tensor) -> Tensor:
    """First of the four words of each counter; every word is 32 bits in an int64, whose product wraps as wanted."""
    low_key, high_key = key & LOW, (key >> 32) & LOW
    c0, c1 = counter & LOW, counter >> 32
    c2, c3 = torch.zeros_like(counter), torch.zeros_like(counter)
    for _ in range(10):
        a, b = c0 * ROUND_A, c2 * ROUND_B
        c0 = (b >> 32).bitwise_and_(LOW).bitwise_xor_(c1).bitwise_xor_(low_key)
        c2 = (a >> 32).bitwise_and_(LOW).bitwise_xor_(c3).bitwise_xor_(high_key)
        c1, c3 = b.bitwise_and_(LOW), a.bitwise_and_(LOW)
        low_key, high_key = (low_key + KEY_A) & LOW, (high_key + KEY_B) & LOW
    return c0


def _uniform(word: Tensor) -> Tensor:
    """A float32 in [0, 1) from 32 random bits, folded at the sign bit as Triton does."""
    signed = word.to(torch.int32)
    return torch.where(signed < 0, -signed - 1, signed).to(torch.float32) * 4.6566127342e-10
