"""Errors caused by the user's input or environment, not by bugs."""


class ReelgraphError(Exception):
    """Base class. The command line prints the message in one line and exits with 2; the service maps it to a response.

    Args:
        problem: where it happened, what was expected and what was found, without a full stop.
        remedy: what the user can do, without a full stop; may be empty.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)

    def __str__(self) -> str:
        """One line, even if a file name or value contains line breaks."""
        return " ".join(super().__str__().split())


class DataError(ReelgraphError):
    """A ratings file, side table or prepared directory is invalid."""


class ConfigError(ReelgraphError):
    """An option or a configuration file has an unknown name or an invalid value."""


class OutputError(ReelgraphError):
    """A result cannot be written."""


class ArtifactError(ReelgraphError):
    """A model directory is incomplete, damaged, or of another format version."""


class UnknownIdError(ReelgraphError):
    """The model does not know a user, movie or genre."""


class LeakError(DataError):
    """Test or validation ratings leak into the model's input."""


class TrainingError(ReelgraphError):
    """Training cannot continue, for example because the loss is not finite."""


class StoppedError(TrainingError):
    """The user stopped training before there was a model to keep."""


class DatabaseError(ReelgraphError):
    """The database of ratings does not respond or cannot be written."""


class SchemaError(DatabaseError):
    """The tables of the database belong to a newer version or another program."""


class EngineError(ReelgraphError):
    """A job of the engine failed because of its environment or input."""


class SetupError(ReelgraphError):
    """A part of the environment is missing or unsuitable, such as Java for Spark."""
