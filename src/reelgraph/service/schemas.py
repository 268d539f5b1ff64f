"""What requests and answers look like, with their bounds."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_LISTED, MOST_OFFSET, MOST_RATINGS, MOST_EXCLUDED, MOST_NEIGHBOURS = 100, 1000, 2000, 2000, 10_000


# No control characters: databases do not keep them all, and logs should not.
Id = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]

Stars = Annotated[float, Field(allow_inf_nan=False, strict=True, description="in the data's scale")]

Length = Annotated[int, Field(ge=1, le=MOST_LISTED)]

Offset = Annotated[int, Field(ge=0, le=MOST_OFFSET)]

Genre = Annotated[str, StringConstraints(min_length=1, max_length=100)]

Years = Annotated[str, StringConstraints(max_length=20, pattern=r"^([0-9]{4}|[0-9]{4}-[0-9]{4}|[0-9]{4}-|-[0-9]{4})$")]

Order = Literal["rank", "stars", "blend"]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

Ids = Annotated[list[Id], Field(max_length=MOST_LISTED)]

Ratings = Annotated[dict[Id, Stars], Field(max_length=MOST_RATINGS)]


class Asked(BaseModel):
    """A request; what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _example(body: dict[str, Any]) -> ConfigDict:
    """The settings of a request whose page in /docs shows a body that can be sent."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class ListWanted(Asked):
    """A visitor's ratings, and what is wanted of the list."""

    model_config = _example({"ratings": {"260": 5, "1198": 4.5}, "k": 10})

    ratings: Ratings = Field({}, description="the visitor's ratings by movie id; none gives the start list")
    k: Annotated[Length, Field(strict=True)] = 10
    genre: Genre | None = None
    year: Annotated[int, Field(strict=True, ge=0, le=9999)] | Years | None = Field(
        None, description="a year, or years such as 1990-1999, 1990- or -1999"
    )
    exclude: Annotated[list[Id], Field(max_length=MOST_EXCLUDED)] = []
    order: Order | None = None
    diversity: Annotated[Share, Field(strict=True)] | None = None
    offset: Annotated[Offset, Field(strict=True)] = 0


class ReasonsWanted(Asked):
    """Whose prediction of which movie to explain: a user of the training data, or a visitor by ratings."""

    model_config = _example({"movie": "260", "ratings": {"1198": 4.5, "1210": 2}})

    movie: Id
    user: Id | None = None
    ratings: Ratings | None = None
    neighbours: Annotated[int, Field(strict=True, ge=0, le=MOST_NEIGHBOURS)] = Field(
        20, description="of the others who rated the movie, those whose ratings weigh most; the rest comes as one sum"
    )


class MovieFacts(BaseModel):
    """A movie."""

    movie_id: str
    title: str | None
    year: int | None
    genres: list[str]


class RatedMovie(MovieFacts):
    """A movie with its training ratings."""

    ratings: int
    mean: float | None


class SimilarMovie(MovieFacts):
    """A movie and how similar it is to another, -1 to 1."""

    similarity: float


class Suggested(MovieFacts):
    """A movie of a list: its rank, score and predicted stars, and the interval that holds nine ratings of ten."""

    rank: int
    score: float
    prediction: float
    interval: tuple[float, float] | None


class MoviesFound(BaseModel):
    """Movies of a search, and how many there are in all."""

    movies: list[RatedMovie]
    total: int


class SimilarMovies(BaseModel):
    """Similar movies, the most similar first."""

    movies: list[SimilarMovie]


class UserList(BaseModel):
    """A list, and whether it goes on."""

    movies: list[Suggested]
    more: bool


class VisitorList(UserList):
    """A visitor's list, and which of the rated ids the model does not know."""

    unknown: list[str]


class Scale(BaseModel):
    """The ratings' scale."""

    low: float
    high: float
    step: float | None


class GenreCount(BaseModel):
    """A genre and its number of movies."""

    name: str
    movies: int


class ArtifactFacts(BaseModel):
    """Which model is in service: its checksum, when it was made, and since when it serves."""

    id: str
    created: str | None
    since: str


class CatalogueFacts(BaseModel):
    """What there is, in numbers."""

    movies: int
    users: int
    ratings: int
    scale: Scale
    genres: list[GenreCount]
    years: tuple[int, int] | None
    artifact: ArtifactFacts
    writes: Literal["open", "key", "off"]


class Reason(BaseModel):
    """What one rating adds."""

    movie: MovieFacts
    rating: float
    contribution: float


class Neighbour(BaseModel):
    """What another user's rating of the movie adds."""

    user_id: str
    rating: float
    contribution: float


class Others(BaseModel):
    """The neighbours that are not listed: how many, and what they add together."""

    number: int
    contribution: float


class Parts(BaseModel):
    """What adds up: `movie` and the other parts with all of `because`, or with all of `neighbours` and `others`."""

    movie: float
    because: list[Reason]
    movie_free: float
    movie_side: float
    neighbours: list[Neighbour]
    others: Others


class ScoreFound(Parts):
    """A ranking score as sums; see `reelgraph.why.Score`."""

    score: float


class ReasonsFound(Parts):
    """A prediction as sums; see `reelgraph.why.Explanation`."""

    target: MovieFacts
    prediction: float
    interval: tuple[float, float] | None
    mean: float
    user: float
    free: float
    side: float
    ranking: ScoreFound | None
    unknown: list[str]


class Fault(BaseModel):
    """What went wrong: a code for programs, a line for people, and details."""

    code: str
    message: str
    detail: Any | None


class Failure(BaseModel):
    """Every answer that is not the one asked for."""

    error: Fault


FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": what}
    for status, what in {
        404: "an id or a path that is not known",
        413: "a body that is too large",
        422: "a request that cannot be understood",
        429: "too many requests; Retry-After says when to ask again",
        500: "a bug of ours",
        503: "no model yet, or the database does not answer",
    }.items()
}

KEYED: dict[int | str, dict[str, Any]] = {
    401: {"model": Failure, "description": "the key is missing or wrong"},
    403: {"model": Failure, "description": "not from there"},
}


class Number(BaseModel):
    """How many have something in common."""

    name: str
    number: int


class Popularity(BaseModel):
    """Movies of a range of popularity, and their shares of the catalogue, of the ratings and of the lists' places."""

    name: str
    movies: int
    ratings: float
    places: float


class ListedMovie(RatedMovie):
    """A movie, and in how many of the lists it is."""

    lists: int


class ListsFound(BaseModel):
    """Lists of a sample of users: how many movies are in how many lists, and whose places they are."""

    users: int
    k: int
    listed: int
    histogram: list[Number]
    popularity: list[Popularity]
    most: list[ListedMovie]


class ModelFacts(BaseModel):
    """A model: which, how it was fitted and how well it predicts."""

    artifact: dict[str, Any]
    kind: str
    steps: int | None
    seconds: float | None
    seed: int | None
    changes: dict[str, int] | None
    metrics: dict[str, dict[str, dict[str, float]]]
    list_measures: dict[str, dict[str, float | None]] | None


class DataFacts(BaseModel):
    """The ratings that a model was trained on."""

    users: int
    movies: int
    ratings: int
    scale: dict[str, Any]
    counts: dict[str, int]
    split: dict[str, Any]
    sources: list[str]
    values: list[Number]
    user_ratings: list[Number]
    movie_ratings: list[Number]


class InsightsFound(BaseModel):
    """Everything that /insights shows but lists of users."""

    model: ModelFacts
    other: ModelFacts | None
    data: DataFacts
    history: list[dict[str, Any]]
    groups: dict[str, list[dict[str, Any]]] | None
    lists: ListsFound
    leaderboard: dict[str, Any] | None


class ComparedMovie(Suggested):
    """A movie of a list, and its rank in the other model's list; null where it is not in it or there is none."""

    elsewhere: int | None


class Side(BaseModel):
    """One model's list of a user; empty where the model does not know the user."""

    artifact: dict[str, Any]
    known: bool
    ratings: int
    movies: list[ComparedMovie]


class Compared(BaseModel):
    """A user's lists by the model in service and by the other one, and how many movies they share."""

    user: str
    k: int
    serving: Side
    other: Side | None
    shared: int | None


class RatingGiven(Asked):
    """One rating of one user."""

    user: Id
    movie: Id
    rating: Stars


class RatingsGiven(Asked):
    """Several ratings of one user, by movie id."""

    user: Id
    ratings: Annotated[dict[Id, Stars], Field(min_length=1, max_length=MOST_RATINGS)]


class RatingKept(BaseModel):
    """A rating on disk, when it was given (seconds since 1970), and the one that it replaced."""

    user: str
    movie: str
    rating: float
    timestamp: int
    replaced: float | None


class NumberWritten(BaseModel):
    """How many ratings are on disk."""

    written: int


class NumberDeleted(BaseModel):
    """How many rows are gone."""

    deleted: int


class Rated(BaseModel):
    """A rating, and when it was given (seconds since 1970)."""

    movie: str
    rating: float
    timestamp: int


class Change(BaseModel):
    """A rating that was given or, where it is null, taken back, and when (seconds since 1970)."""

    movie: str
    rating: float | None
    timestamp: int


class UserRatings(BaseModel):
    """What a user has rated, the newest first, and, if asked for, every change in the order it was made."""

    user: str
    ratings: list[Rated]
    history: list[Change] | None = None


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ServedFacts(ArtifactFacts):
    """Which model is in service, and where it was read from."""

    path: str


class Ready(Alive):
    """There is a model."""

    artifact: ServedFacts
    database: Literal["ok", "unavailable", "off"]


class ReloadWanted(Asked):
    """Which model to put in service."""

    path: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = Field(
        None, description="a model's directory; the newest of the watched directory when not given"
    )


class Changed(BaseModel):
    """The model now in service."""

    artifact: ServedFacts
