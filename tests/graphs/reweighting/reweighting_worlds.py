"""Small worlds in which it is known what depends on what."""

import torch


def shortcut(seed, rows=256, agreement=0.9, width=16):
    """Half of the variables follow the label, the other half an attribute that mostly agrees with it."""
    draw = torch.Generator().manual_seed(seed)
    label = 2.0 * torch.randint(0, 2, (rows,), generator=draw) - 1
    attribute = torch.where(torch.rand(rows, generator=draw) < agreement, label, -label)
    noise = torch.randn(rows, 2 * width, generator=draw)
    z = torch.cat([0.8 * label.unsqueeze(1).expand(-1, width), attribute.unsqueeze(1).expand(-1, width)], 1) + noise
    return z, label, attribute, torch.arange(2 * width) // width


def worlds(seed, rows=800, agreements=(0.95, 0.8, 0.5), loadings=(0.3, 1.5), width=16):
    """As above in several environments, in each of which the attribute agrees with the label at another rate."""
    draw = torch.Generator().manual_seed(seed)
    tables, environment = [], []
    for place, agreement in enumerate(agreements):
        label = 2.0 * torch.randint(0, 2, (rows,), generator=draw) - 1
        attribute = torch.where(torch.rand(rows, generator=draw) < agreement, label, -label)
        loading = torch.tensor([loadings[i % len(loadings)] for i in range(width)])
        signal = torch.cat([torch.outer(label, loading), torch.outer(attribute, loading)], 1)
        tables.append(signal + torch.randn(rows, 2 * width, generator=draw))
        environment.append(torch.full((rows,), place))
    return torch.cat(tables), torch.cat(environment), torch.arange(2 * width) // width


def correlation(a, b, weights):
    share = weights.double() / weights.double().sum()
    a, b = a.double() - share @ a.double(), b.double() - share @ b.double()
    return float((share @ (a * b)) / ((share @ a**2) * (share @ b**2)).sqrt())
