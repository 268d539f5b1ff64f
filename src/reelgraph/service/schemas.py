"""Schemas of all requests and responses, with their bounds."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reelgraph.data.vocabulary import canonical_id
from reelgraph.recommend.lists import Order
from reelgraph.recommend.together import Strategy

MAX_LISTED, MAX_OFFSET, MAX_RATINGS, MAX_EXCLUDED, MAX_MEMBERS = 100, 1000, 2000, 10_000, 12


def _canonical(text: str) -> str:
    name = canonical_id(text)
    if name is None:
        raise ValueError("expected an id")
    return name


# No control characters: not every database stores them, and they do not belong into logs.
Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
    AfterValidator(_canonical),
]
Stars = Annotated[float, Field(allow_inf_nan=False, strict=True, description="a rating on the model's scale")]
Length = Annotated[int, Field(ge=1, le=MAX_LISTED)]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
Genre = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Years = Annotated[str, StringConstraints(max_length=20, pattern=r"^([0-9]{4}|[0-9]{4}-[0-9]{4}|[0-9]{4}-|-[0-9]{4})$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Ids = Annotated[list[Id], Field(max_length=MAX_LISTED)]
Ratings = Annotated[dict[Id, Stars], Field(max_length=MAX_RATINGS)]


class RequestBody(BaseModel):
    """Base of all request bodies; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _example(body: dict[str, Any]) -> ConfigDict:
    """Configuration with an example that /docs can send."""
    return ConfigDict(json_schema_extra={"examples": [body]})


# Errors


class ErrorFacts(BaseModel):
    """An error: a code for programs, a message for people, and details."""

    code: str
    message: str
    detail: Any | None


class ErrorResponse(BaseModel):
    """The body of every response that reports an error."""

    error: ErrorFacts


FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        404: "unknown id or path",
        413: "the body is too large",
        422: "the request is not valid",
        429: "too many requests; Retry-After says when to try again",
        500: "internal error",
        503: "no model yet, or the database does not answer",
    }.items()
}
KEYED: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "the key or token is missing or wrong"},
    403: {"model": ErrorResponse, "description": "not allowed with this token or from there, or off"},
}


# Movies, lists and explanations


class Movie(BaseModel):
    """A movie."""

    movie_id: str
    title: str | None
    year: int | None
    genres: list[str]
    imdb_id: str | None = None
    tmdb_id: str | None = None


class RatedMovie(Movie):
    """A movie with number and mean of its training ratings."""

    ratings: int
    mean: float | None


class SimilarMovie(Movie):
    """A movie and its similarity to another, from -1 to 1."""

    similarity: float


class ListedMovie(Movie):
    """A movie of a list: rank, ranking score, predicted stars, and the interval that holds nine ratings of ten.

    A model of views, likes or counts predicts no stars.
    """

    rank: int
    score: float
    prediction: float | None
    interval: tuple[float, float] | None


class MovieSearch(BaseModel):
    """A page of the movies that match a search, and the number of all matches."""

    movies: list[RatedMovie]
    total: int


class SimilarMovies(BaseModel):
    """Similar movies, most similar first."""

    movies: list[SimilarMovie]


class MovieList(BaseModel):
    """A page of a list, whether more movies follow, and why they are in this order, in one line."""

    movies: list[ListedMovie]
    more: bool
    order_reason: str


class GroupMember(RequestBody):
    """A person of a group: a user, a visitor's share token, or ratings."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")] | None = (
        None
    )
    user: Id | None = None
    share: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = None
    ratings: Ratings | None = None

    @model_validator(mode="after")
    def _one(self) -> "GroupMember":
        if sum(value is not None for value in (self.user, self.share, self.ratings)) != 1:
            raise ValueError("expected one of user, share and ratings")
        return self


class ListRequest(RequestBody):
    """A visitor's ratings and the options of the list; with `together`, one list for the visitor and these people."""

    model_config = _example({"ratings": {"260": 5, "1198": 4.5}, "k": 10})

    ratings: Ratings = Field(
        {}, description="the visitor's ratings by movie id, 1 for a like; without ratings, a start list"
    )
    k: Annotated[Length, Field(strict=True)] = 10
    genre: Genre | None = None
    year: Annotated[int, Field(strict=True, ge=0, le=9999)] | Years | None = Field(
        None, description="a year, or a range such as 1990-1999, 1990- or -1999"
    )
    exclude: Annotated[list[Id], Field(max_length=MAX_EXCLUDED)] = []
    only: Annotated[list[Id], Field(max_length=MAX_EXCLUDED)] | None = Field(
        None, description="list only these movies, such as a watchlist"
    )
    order: Order | None = None
    diversity: Annotated[Share, Field(strict=True)] | None = None
    calibration: Annotated[Share, Field(strict=True)] = 0.0
    include_seen: bool = Field(False, description="also list movies that have been rated")
    together: Annotated[list[GroupMember], Field(min_length=1, max_length=MAX_MEMBERS)] | None = Field(
        None, description="people to list movies together with; oneself, if there are `ratings` or a token, comes first"
    )
    strategy: Strategy = Field("fair", description="how a list for several people is made")
    offset: Annotated[Offset, Field(strict=True)] = 0


class MemberOpinion(BaseModel):
    """Predicted stars of a movie for a person of a group, and the ratings that support it most.

    Without interval and ratings for a person who is there by a share token or whose ratings the request may not read.
    """

    name: str
    prediction: float | None
    interval: tuple[float, float] | None
    because: list["RatingContribution"]


class VisitorMovie(ListedMovie):
    """A movie of a visitor's list; for several people, the mean of their predictions, and each one's own."""

    members: list[MemberOpinion] | None = None


class VisitorList(MovieList):
    """A visitor's list, and the rated ids that the model does not know."""

    movies: list[VisitorMovie]  # type: ignore[assignment]
    unknown: list[str]


class ShareRequest(RequestBody):
    """How long a share token is valid."""

    user: Id | None = None
    hours: Annotated[int, Field(strict=True, ge=1, le=24 * 90)] = 24 * 7


class ShareToken(BaseModel):
    """A token to list movies together with a visitor, and when it expires, in seconds since 1970."""

    share: str
    expires: int


class QuestionRequest(RequestBody):
    """A visitor's ratings so far, and how many movies to ask about."""

    model_config = _example({"ratings": {"260": 5}, "k": 10})

    ratings: Ratings = {}
    k: Annotated[Length, Field(strict=True)] = 10
    exclude: Annotated[list[Id], Field(max_length=MAX_EXCLUDED)] = Field(
        [], description="movies not to ask about, such as those that the visitor did not know"
    )


class Question(RatedMovie):
    """A movie to ask about, with the visitor's predicted stars and the interval that holds nine ratings of ten."""

    prediction: float | None
    interval: tuple[float, float] | None


class Questions(BaseModel):
    """The movies whose ratings would say most about a visitor, best first."""

    movies: list[Question]


class UnmatchedFilm(BaseModel):
    """A film of an export that the model does not know, and movies with similar titles."""

    title: str
    year: int | None
    similar: list[Movie]


class ExportResponse(BaseModel):
    """A personal export in the model's terms: stars on its scale by movie id, and ids of watched and wanted movies."""

    ratings: dict[str, float]
    watched: list[str]
    watchlist: list[str]
    unmatched: list[UnmatchedFilm]
    movies: list[RatedMovie] = Field(description="the rated movies")


class ExplanationRequest(RequestBody):
    """A movie, and either a visitor's ratings or, with the write key or the user's token, a known user."""

    model_config = _example({"movie": "260", "ratings": {"1198": 4.5, "1210": 2}})

    movie: Id
    user: Id | None = None
    ratings: Ratings | None = None


class RatingContribution(BaseModel):
    """A rated movie's contribution, and whether the rating is below the middle of the scale."""

    movie: Movie
    rating: float | None
    contribution: float
    disliked: bool


class Reasons(BaseModel):
    """What to tell a person: reasons for the number and against it, and the rest as one sum; all sum to `total`.

    `own` is the rating of the explained movie itself.
    """

    supporting: list[RatingContribution]
    opposing: list[RatingContribution]
    own: RatingContribution | None
    rest_number: int
    rest: float
    total: float


class RaterContributions(BaseModel):
    """Number and total contribution of the users who rated the explained movie."""

    number: int
    contribution: float


class Contributions(BaseModel):
    """Contributions that sum up: the parts with all of `because`, or the parts with `raters`."""

    movie: float
    because: list[RatingContribution]
    grounds: Reasons
    movie_free: float
    movie_side: float
    raters: RaterContributions


class ScoreExplanation(Contributions):
    """A ranking score as a sum of contributions."""

    score: float


class ExplanationResponse(Contributions):
    """A predicted rating and a ranking score as sums of contributions, whichever of the two the model has."""

    target: Movie
    prediction: float | None
    interval: tuple[float, float] | None
    mean: float
    user: float
    free: float
    side: float
    ranking: ScoreExplanation | None
    unknown: list[str]


# The catalogue


class ScaleFacts(BaseModel):
    """The rating scale."""

    low: float
    high: float
    step: float | None


class GenreCount(BaseModel):
    """A genre and its number of movies."""

    name: str
    movies: int


class ArtifactFacts(BaseModel):
    """The model in service: manifest checksum, time of training, and start of service."""

    id: str
    created: str | None
    since: str


class CatalogueFacts(BaseModel):
    """Size of the catalogue, rating scale, genres, years, the model, and who may write ratings."""

    movies: int
    users: int
    ratings: int
    scale: ScaleFacts | None = Field(description="null for a model of views, likes or counts, whose ratings are 1")
    genres: list[GenreCount]
    years: tuple[int, int] | None
    artifact: ArtifactFacts
    writes: Literal["open", "key", "off"]
    keep: Literal["ask", "browser", "server"] = Field(description="where the page keeps a visitor's ratings")
    posters: bool = Field(description="whether /posters/ID has pictures of the movies with a tmdb_id")


# Insights


class NamedCount(BaseModel):
    """The size of a group."""

    name: str
    number: int


class PopularityGroup(BaseModel):
    """Movies of similar popularity: their number, and their shares of ratings and list places."""

    name: str
    movies: int
    ratings: float
    places: float


class MovieListCount(RatedMovie):
    """A movie and the number of lists that it is in."""

    lists: int


class ListStatistics(BaseModel):
    """Which movies the default lists of a sample of users contain."""

    users: int
    k: int
    listed: int
    histogram: list[NamedCount]
    popularity: list[PopularityGroup]
    most: list[MovieListCount]


class ModelFacts(BaseModel):
    """A model: identity, training and measured quality."""

    artifact: dict[str, Any]
    kind: str
    steps: int | None
    seconds: float | None
    seed: int | None
    changes: dict[str, int] | None
    metrics: dict[str, dict[str, dict[str, float]]]
    list_measures: dict[str, dict[str, float | None]] | None


class DataFacts(BaseModel):
    """The training data."""

    users: int
    movies: int
    ratings: int
    scale: dict[str, Any] | None
    counts: dict[str, int]
    split: dict[str, Any]
    sources: list[str]
    values: list[NamedCount]
    user_ratings: list[NamedCount]
    movie_ratings: list[NamedCount]


class LearningRound(BaseModel):
    """A round of learning, with its figures: see `reelgraph learn`."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["update", "refit"]
    outcome: Literal["taken", "refused", "skipped", "overtaken", "failed"]
    why: str
    began: str
    ended: str
    measures: dict[str, dict[str, float]] = {}


class NextRound(BaseModel):
    """When the next round begins, null while unknown, and whether it trains anew."""

    at: str | None
    refit: bool


class Learning(BaseModel):
    """Whether a service learns, when it will next, and how its latest rounds went, newest first."""

    state: Literal["off", "waiting", "learning"]
    next: NextRound | None
    rounds: list[LearningRound]


class LearningResponse(Learning):
    """How a service learns; `learner` is the process that does at present, on any server of the database."""

    enabled: bool
    every: str | None
    after: int | None
    refit_every: str | None
    since: str | None
    learner: str | None
    new_ratings: int | None


class InsightsResponse(BaseModel):
    """All statistics of the insights page.

    `reasons` is the mean change of predictions without a user's strongest ratings, `similar` compares similar movies
    with random and popular ones; both are null without test ratings.
    """

    model: ModelFacts
    other: ModelFacts | None
    data: DataFacts
    history: list[dict[str, Any]]
    tuning: list[dict[str, Any]]
    groups: dict[str, list[dict[str, Any]]] | None
    lists: ListStatistics
    reasons: dict[str, dict[str, float]] | None
    similar: dict[str, dict[str, float | None]] | None
    leaderboard: dict[str, Any] | None
    learning: Learning


class ComparedMovie(ListedMovie):
    """A movie of a list and its rank in the other model's list, null if it is not there."""

    elsewhere: int | None


class ComparisonSide(BaseModel):
    """One model's list for a user, empty if the model does not know the user."""

    artifact: dict[str, Any]
    known: bool
    ratings: int
    movies: list[ComparedMovie]


class Comparison(BaseModel):
    """A user's lists by both models, and how many movies they share."""

    user: str
    k: int
    serving: ComparisonSide
    other: ComparisonSide | None
    shared: int | None


# Ratings


class VisitorId(BaseModel):
    """The anonymous user of the request's token, null without one."""

    user: str | None


class VisitorToken(BaseModel):
    """An anonymous user, and the token that gives access to this user's ratings."""

    user: str
    token: str


class RatingRequest(RequestBody):
    """One rating of a user; with a visitor's token the user is the visitor."""

    user: Id | None = None
    movie: Id
    rating: Stars


class RatingsRequest(RequestBody):
    """Several ratings of a user, by movie id; with a visitor's token the user is the visitor."""

    user: Id | None = None
    ratings: Annotated[dict[Id, Stars], Field(min_length=1, max_length=MAX_RATINGS)]


class RatingEntry(BaseModel):
    """A rating and when it was given, in seconds since 1970."""

    movie: str
    rating: float
    timestamp: int


class RatingResponse(RatingEntry):
    """A stored rating, and the rating that it replaced."""

    user: str
    replaced: float | None


class HistoryEntry(BaseModel):
    """A rating given or, if null, removed, and when, in seconds since 1970."""

    movie: str
    rating: float | None
    timestamp: int


class UserRatings(BaseModel):
    """A user's ratings, newest first, and on request all changes, oldest first."""

    user: str
    ratings: list[RatingEntry]
    history: list[HistoryEntry] | None = None


class WrittenCount(BaseModel):
    """Number of stored ratings."""

    written: int


class DeletedCount(BaseModel):
    """Number of deleted rows."""

    deleted: int


# Operations


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ServedFacts(ArtifactFacts):
    """The model in service and the directory it was read from."""

    path: str


class Readiness(Liveness):
    """The model in service and the state of the database."""

    artifact: ArtifactFacts
    database: Literal["ok", "unavailable", "off"]


class ReloadRequest(RequestBody):
    """The model to serve next."""

    path: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = Field(
        None, description="a model directory; by default the newest model of the watched directory"
    )


class ModelChange(BaseModel):
    """The model now in service."""

    artifact: ServedFacts
