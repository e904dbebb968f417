"""Connections that ask for nothing are closed, and there are only so many."""

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds within which a request's lines have to come.
PATIENCE = 20
MOST = 500


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for ever for a request that has not come whole."""

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._looked_at = None
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self.loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        """Close a connection on which nothing was asked for since the last look."""
        if self not in self.connections or self.transport.is_closing():
            return  # it has ended, or became a web socket
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self.cycle is self._looked_at:
            self.transport.abort()
            return
        self._looked_at = self.cycle
        self.loop.call_later(PATIENCE, self._look)


def be_patient() -> None:
    """Let servers of this program that name no protocol speak ours, from the first connection on.

    Gradio makes its server itself, and answers as soon as it is made.
    """
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"
