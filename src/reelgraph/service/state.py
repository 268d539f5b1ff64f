"""The parts of the service that routes share."""

from dataclasses import dataclass

from fastapi import Request

from reelgraph.service.database.ledger import Ledger
from reelgraph.service.insights import Insights
from reelgraph.service.learning import Learner
from reelgraph.service.model import Current, Served
from reelgraph.service.posters import Posters
from reelgraph.service.settings import Keys, Settings
from reelgraph.service.telemetry import Metrics


@dataclass(frozen=True)
class State:
    """The parts of a running service."""

    settings: Settings
    keys: Keys
    current: Current
    insights: Insights
    metrics: Metrics
    ledger: Ledger
    learner: Learner
    posters: Posters | None

    @property
    def keep(self) -> str:
        """Where the page keeps ratings: "browser", "server", or "ask" the visitor."""
        return "browser" if self.writes == "off" else self.settings.keep

    @property
    def writes(self) -> str:
        """Who may write: "open" to all of this machine, with a "key" or token, or "off" for everybody."""
        return "open" if self.settings.open else "key" if self.keys.write else "off"


def state_of(request: Request) -> State:
    """The state of the application that a request is for."""
    state: State = request.app.state.service
    return state


def served(request: Request) -> Served:
    """The model in service; ServiceError `not_ready` while there is none."""
    return state_of(request).current.get()
