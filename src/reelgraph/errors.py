"""The one family of errors that are not bugs: the user's input or environment is at fault.

The edges of the system (`cli`, later `service`) map the family once: one line on stderr and exit code 2.
"""


class ReelgraphError(Exception):
    """Says in one line what was expected, what was found, where, and what to do.

    Args:
        problem: where it happened and what was expected against what was found, one sentence without a full stop.
        remedy: what the user can do about it, one sentence without a full stop; may be empty.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)

    def __str__(self) -> str:
        """One line, whatever the parts held: a file name or a raw value may contain line breaks."""
        return " ".join(super().__str__().split())


class DataError(ReelgraphError):
    """A ratings file, side table or prepared directory that cannot be used as it is."""


class ConfigError(ReelgraphError):
    """An option or a configuration file with an unknown name or an impossible value."""


class OutputError(ReelgraphError):
    """A result that cannot be written where it was asked for."""


class ArtifactError(ReelgraphError):
    """A model directory that is incomplete, damaged, or of another format version."""


class UnknownIdError(ReelgraphError):
    """A user or movie id that the model does not know."""


class LeakError(DataError):
    """Something of the ratings to be predicted reaches what predicts them."""


class TrainingError(ReelgraphError):
    """A fit that cannot go on, such as a loss that is no longer finite."""


class StoppedError(TrainingError):
    """A fit that the user stopped before there was a model to keep."""


class DatabaseError(ReelgraphError):
    """A database of ratings that does not answer or cannot be written."""


class SchemaError(DatabaseError):
    """A database whose tables are those of a newer version or of another program."""


class EngineError(ReelgraphError):
    """A job of the engine that failed for what it ran on or read."""


class SetupError(ReelgraphError):
    """A missing or unfit part of the environment, such as Java for the Spark engine."""
