"""A linear item-item model of low rank in closed form, from which the ranking head starts.

    a_ui   = |N_u|^-1/4 |N_i|^-1/2 ( 1 + rho_ui / 2 )
    l_ui   = |N_u|^-1/4 |N_i|^-1/2 for liked ratings, 0 for others
    B      = argmin |L - A B|^2 + lambda |B|^2   with a diagonal of zeros
    A      ~ P S Q^T, the truncated singular value decomposition
    B_ij   = <Q_i, W_j> for i != j
    W_j    = g S^-1 (L^T P)_j + g Q_j c_j / ( 1 - <Q_j, g Q_j> ),   c_j = <Q_j, g S^-1 (L^T P)_j>
    g      = S^2 / ( S^2 + lambda )

B is that of EASE (Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019, equation 8) with liked ratings as
targets, and with lambda (A^T A + lambda)^-1 = 1 - Q g Q^T, which is exact at full rank. The decomposition is randomised
(Halko, Martinsson and Tropp, Finding Structure with Randomness, 2011, algorithm 5.1).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

RESIDUAL = 0.5  # weight of a rating's residual
LEAST = 1e-3  # least lambda, as a share of the largest squared singular value
PENALTY = 20  # number, from the largest, of the singular value whose square is lambda


def low_rank_ease(
    user: Tensor, item: Tensor, residual: Tensor, liked: Tensor, sizes: tuple[int, int], rank: int
) -> tuple[Tensor, Tensor]:
    """Q and W of ratings sorted by user, each float32 `(num_items, rank)`; W is zero beyond the rank of the ratings.

    Args:
        user, item: their indices, int `(num_edges,)`.
        residual, liked: rho, and 1 for liked ratings and 0 for others, float32 `(num_edges,)`.
        sizes: numbers of users and of movies.
        rank: number of columns.
    """
    degrees = [
        torch.bincount(index, minlength=size).clamp(min=1) for index, size in zip((user, item), sizes, strict=True)
    ]
    norm = degrees[0][user] ** -0.25 * degrees[1][item] ** -0.5
    start = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(user, minlength=sizes[0]).cumsum(0)])
    ratings, targets = (
        torch.sparse_csr_tensor(start, item.long(), norm * value, sizes) for value in (1 + RESIDUAL * residual, liked)
    )
    found = min(rank, *sizes)
    left, values, movies = torch.svd_lowrank(ratings, q=found, niter=4)
    square = values**2
    penalty = square[min(PENALTY, found) - 1].clamp(min=LEAST * float(square[0]) + torch.finfo(square.dtype).tiny)
    share = square / (square + penalty)
    fitted = (targets.mT @ left) * (values / (square + penalty))
    own = torch.linalg.vecdot(movies, fitted) / (1 - torch.linalg.vecdot(movies, share * movies))
    wanted = fitted + share * movies * own.unsqueeze(1)
    return pad(movies, (0, rank - found)), pad(wanted, (0, rank - found))
