"""Labels of predictors, measures and groups in tables."""

PREDICTORS = {
    "mean": "mean rating", "popularity": "popularity", "bias": "damped biases",
    "untimed": "this model, without the time of rating", "model": "this model",
}  # fmt: skip

MEASURES = {
    "ndcg": "nDCG@10", "recall": "Recall@20", "precision": "Precision@10", "average_precision": "MAP@10",
    "reciprocal_rank": "MRR@10", "hit_rate": "hit rate@10", "coverage": "coverage", "novelty": "novelty, bits",
    "diversity": "diversity", "popularity": "mean ratings",
}  # fmt: skip

GROUPS = {
    "user_ratings": "By the user's training ratings",
    "movie_ratings": "By the movie's training ratings",
    "rating": "By rating",
    "genre": "By genre",
    "decade": "By decade of the movie",
    "calibration": "By predicted rating",
}
