"""What a step draws by chance: which ratings it hides, which entries of the tables it drops.

Numbers are drawn for the whole graph in the same order whatever the number of processes; each takes those of its part.
"""

import torch
from torch import Tensor

from reelgraph.graph import BipartiteGraph
from reelgraph.shard import Shard

FEW = 10_000  # ratings, below which a step may by chance hide none


def hide_ratings(
    graph: BipartiteGraph, hide: float, newcomers: float, most: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Which ratings a step hides, which users it takes for visitors, and which of the hidden ratings it scores.

    Of most users a share `hide` is hidden. A visitor is known by few ratings, and a model that has only ever seen whole
    histories is lost with them; so of some users a share anywhere between `hide` and 1 is hidden.

    Args:
        graph: the ratings.
        hide: share of the ratings hidden, in (0, 1).
        newcomers: share of the users taken for visitors, in [0, 1).
        most: about how many of the hidden ratings to score, a random part of them; None for all.

    Returns:
        Hidden, bool `(num_edges,)`; visitors, bool `(num_users,)`; scored, bool `(num_edges,)`, at least one of all
        processes' together.
    """
    shard = graph.shard
    newcomer = torch.rand(shard.num_users) < newcomers
    share = torch.where(newcomer, hide + (1 - hide) * torch.rand(shard.num_users), hide)
    number = draws(shard.num_edges)[slice(*shard.edges)]
    share, newcomer = share[slice(*shard.users)], newcomer[slice(*shard.users)]
    hidden = number < threshold(share).index_select(0, graph.user)
    expected = shard.num_edges * (hide + newcomers * (1 - hide) / 2)
    scored = hidden
    if most is not None and expected > most:  # A part of what is below a threshold is what is below a lower one.
        scored = number < threshold(share * (most / expected)).index_select(0, graph.user)
    if shard.num_edges < FEW and not shard.total(int(scored.sum())):
        # A handful of ratings can all stay visible by chance; a step needs a target.
        place = int(torch.randint(shard.num_edges, (1,))) - shard.edges[0]
        if 0 <= place < graph.num_edges:
            hidden[place] = scored[place] = True
    return hidden, newcomer, scored


def draws(count: int) -> Tensor:
    """Uniform random int16 numbers, `(count,)`, four out of one 64-bit number: drawing is what a step does serially."""
    return torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]


def threshold(share: Tensor | float) -> Tensor:
    """The number that a share of `draws` is below, int16; shares are cut to multiples of 2^-16."""
    scaled = (torch.as_tensor(share) * 65536).round().clamp(0, 65535)
    return (scaled - 32768).to(torch.int16)


def dropout(values: Tensor, share: float, training: bool, shard: Shard | None = None) -> Tensor:
    """Values with a share of the entries set to 0 and the others scaled up, as `torch.nn.functional.dropout`.

    Args:
        values: `(num_nodes, dim)`, of the shard's own nodes.
        share: of the entries to drop, in [0, 1).
        training: drop nothing when false.
        shard: the part of all nodes that `values` are; None for all.
    """
    if not training or not share:
        return values
    rows = len(values) if shard is None else shard.num_users + shard.num_items
    dropped = draws(rows * values[0].numel()).view(rows, -1) < threshold(share)
    kept = (dropped if shard is None else shard.own(dropped)).logical_not().to(values.dtype)
    return values * kept.mul_(1 / (1 - share))
