"""Methods of other libraries, which are imported when used."""

import os
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Floats, Indices
from reelgraph.bench.fitted import Fitted, Settings
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.engines.spark_session import open_session


def _surprise(algorithm: Any, train: Interactions, data: Dataset) -> Any:
    """Fit an algorithm of scikit-surprise, with indices as ids."""
    import pandas as pd  # noqa: PLC0415
    import surprise  # noqa: PLC0415

    frame = pd.DataFrame({"user": train.user_index, "item": train.item_index, "rating": train.rating})
    reader = surprise.Reader(rating_scale=data.scale)
    return algorithm.fit(surprise.Dataset.load_from_df(frame, reader).build_full_trainset())


def _one_by_one(algorithm: Any, pairs: Interactions) -> Floats:
    rows = zip(pairs.user_index.tolist(), pairs.item_index.tolist(), pairs.rating.tolist(), strict=True)
    lines = algorithm.test(list(rows))
    return np.asarray([np.nan if line.details["was_impossible"] else line.est for line in lines])


def _by_index(inner: Mapping[int, int], size: int) -> npt.NDArray[np.intp]:
    """Map our indices to those of scikit-surprise, -1 if it has not seen them."""
    place = np.full(size, -1, np.intp)
    place[list(inner.keys())] = list(inner.values())
    return place


def item_knn(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """Item neighbours by shrunk Pearson correlation, on top of biases (scikit-surprise's KNNBaseline)."""
    import surprise  # noqa: PLC0415

    similarity = {"name": "pearson_baseline", "user_based": False, "shrinkage": settings["shrinkage"]}
    algorithm = surprise.KNNBaseline(k=settings["k"], sim_options=similarity, verbose=False)
    algorithm = _surprise(algorithm, train, data)
    return Fitted(lambda pairs: _one_by_one(algorithm, pairs))


def svd(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """Biased matrix factorisation (scikit-surprise's SVD)."""
    import surprise  # noqa: PLC0415

    algorithm = _surprise(surprise.SVD(random_state=seed, **settings), train, data)
    return Fitted(lambda pairs: _one_by_one(algorithm, pairs), _factor_scores(algorithm, algorithm.pu, data))


def svdpp(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """SVD++ (scikit-surprise's SVDpp)."""
    import surprise  # noqa: PLC0415

    algorithm = _surprise(surprise.SVDpp(random_state=seed, **settings), train, data)
    known = algorithm.trainset
    implicit = [algorithm.yj[[item for item, _ in known.ur[user]]].sum(0) for user in range(known.n_users)]
    roots = np.sqrt([len(known.ur[user]) for user in range(known.n_users)])[:, None]
    states = algorithm.pu + np.asarray(implicit) / roots
    return Fitted(lambda pairs: _one_by_one(algorithm, pairs), _factor_scores(algorithm, states, data))


def _factor_scores(algorithm: Any, states: Floats, data: Dataset) -> Any:
    known = algorithm.trainset
    user = _by_index(known._raw2inner_id_users, len(data.users))
    item = _by_index(known._raw2inner_id_items, len(data.items))

    def score(users: Indices) -> Floats:
        place = user[users]
        scores = np.where(place[:, None] >= 0, states[place] @ algorithm.qi[item].T, 0.0) + algorithm.bi[item]
        return np.where(item >= 0, scores, -1e9)

    return score


def als_implicit(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """Weighted matrix factorisation of implicit feedback (implicit's AlternatingLeastSquares); ranks only."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the library asks for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from implicit.als import AlternatingLeastSquares  # noqa: PLC0415
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    shape = (len(data.users), len(data.items))
    rated = csr_matrix((np.ones(len(train), np.float32), (train.user_index, train.item_index)), shape=shape)
    model = AlternatingLeastSquares(random_state=seed, iterations=20, **settings)
    model.fit(rated, show_progress=False)
    return Fitted(score=lambda users: np.asarray(model.user_factors[users] @ model.item_factors.T))


def lightgcn(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """LightGCN with the BPR loss on implicit feedback (PyG's LightGCN), ten steps an epoch; ranks only.

    Source: He et al., LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation, 2020.
    """
    import torch  # noqa: PLC0415
    from torch_geometric.nn import LightGCN  # noqa: PLC0415

    torch.manual_seed(seed)
    users, items = len(data.users), len(data.items)
    user, item = (torch.as_tensor(index.astype(np.int64)) for index in (train.user_index, train.item_index))
    ends = torch.stack([torch.cat([user, item + users]), torch.cat([item + users, user])])
    root = torch.bincount(ends[0], minlength=users + items).clamp(min=1).double() ** -0.5
    weight = (root[ends[0]] * root[ends[1]]).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sparse CSR tensors are in beta
        adjacency = torch.sparse_coo_tensor(ends, weight, (users + items,) * 2).coalesce().to_sparse_csr()
    model = LightGCN(users + items, settings["dim"], settings["layers"], normalize=False)
    adam = torch.optim.Adam(model.parameters(), settings["learning_rate"])
    batch = -(-len(train) // 10)
    for _ in range(10 * settings["epochs"]):
        at = torch.randint(len(train), (batch,))
        nodes = torch.stack([user[at], item[at] + users, torch.randint(items, (batch,)) + users])
        of_user, liked, other = model.get_embedding(adjacency)[nodes]
        adam.zero_grad()
        model.recommendation_loss(
            (of_user * liked).sum(1), (of_user * other).sum(1), nodes.flatten(), settings["l2"]
        ).backward()
        adam.step()
    with torch.no_grad():
        states = model.get_embedding(adjacency).numpy()
    return Fitted(score=lambda index: states[index] @ states[users:].T)


def bayesian_fm(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """Bayesian factorisation machine by Gibbs sampling (myFM); `implicit` adds the features of SVD++ to both sides.

    Source: Rendle, Zhang and Koren, On the Difficulty of Evaluating Baselines, 2019.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import myfm  # noqa: PLC0415
    from scipy.sparse import csr_matrix, eye_array, hstack  # noqa: PLC0415

    users, items = len(data.users), len(data.items)
    rated = csr_matrix((np.ones(len(train)), (train.user_index, train.item_index)), shape=(users, items))
    blocks = [csr_matrix(eye_array(users)), csr_matrix(eye_array(items))]
    groups = [[users], [items]]
    if settings["implicit"]:
        for side, matrix in enumerate((rated, rated.T.tocsr())):
            count = np.maximum(np.asarray(matrix.sum(1)).ravel(), 1)
            blocks[side] = csr_matrix(hstack([blocks[side], matrix.multiply(count[:, None] ** -0.5)]))
            groups[side].append(matrix.shape[1])

    def relations(pairs: Interactions) -> list[Any]:
        index = (pairs.user_index, pairs.item_index)
        return [myfm.RelationBlock(part.tolist(), block) for part, block in zip(index, blocks, strict=True)]

    model = myfm.MyFMGibbsRegressor(rank=settings["rank"], random_seed=seed)
    kept = settings["iterations"] * 3 // 4
    model.fit(
        csr_matrix((len(train), 0)), train.rating.astype(np.float64), X_rel=relations(train),
        n_iter=settings["iterations"], n_kept_samples=kept, group_shapes=[size for side in groups for size in side],
        callback=lambda *_: (False, None),
    )  # fmt: skip
    return Fitted(lambda pairs: np.asarray(model.predict(csr_matrix((len(pairs), 0)), relations(pairs))))


def als_spark(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """Matrix factorisation of ratings (Spark MLlib's ALS, on this machine)."""
    import pandas as pd  # noqa: PLC0415
    from pyspark.ml.recommendation import ALS  # noqa: PLC0415

    columns = {"user": train.user_index, "item": train.item_index, "rating": train.rating}
    with open_session("local[2]") as opened, tempfile.TemporaryDirectory() as folder:
        # Without checkpoints the plan grows with each iteration until Java's stack overflows.
        opened.session.sparkContext.setCheckpointDir(folder)
        als = ALS(userCol="user", itemCol="item", ratingCol="rating", seed=seed, **settings)
        model = als.fit(opened.session.createDataFrame(pd.DataFrame(columns)))
        factors = [
            _rows(part.toPandas(), number, model.rank)
            for part, number in ((model.userFactors, len(data.users)), (model.itemFactors, len(data.items)))
        ]

    def predict(pairs: Interactions) -> Floats:
        users, items = factors
        return np.asarray((users[pairs.user_index] * items[pairs.item_index]).sum(1))

    return Fitted(predict)


def _rows(factors: Any, number: int, rank: int) -> Floats:
    """Spark's factors by index, NaN for users or movies without ratings."""
    table = np.full((number, rank), np.nan)
    table[factors["id"].to_numpy()] = np.stack(factors["features"].to_numpy())
    return table
