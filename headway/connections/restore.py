"""Replace a SQLite file by a snapshot of it."""

from pathlib import Path

from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects.sqlite import snapshots
from headway.errors import SnapshotFailed, SnapshotNotFound


def restore(address: Address, policy: Policy, snapshot: Path) -> None:
    """Replace the file under its lock. The replaced one is kept beside it."""
    path = address.path
    if path is None:
        raise SnapshotNotFound(
            f"{address} has no snapshots: they are copies of SQLite files. Restore it "
            "with its server's tools."
        )
    if address.connection is not None:
        raise SnapshotFailed(
            f"{address} cannot be restored through a connection, which would go on "
            "reading the old file. Give its path or its engine."
        )
    with held(address, policy):
        snapshots.restore(snapshot, path)
    if address.engine is not None:
        address.engine.dispose()  # its idle connections have the old file open
