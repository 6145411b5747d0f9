"""What outlives a process, in one SQLite file: knows nothing of Telegram."""

from telestage.actors.store.database import Migrations, Store
from telestage.actors.store.errors import StoreClosed, StoreError, StoreTooNew

__all__ = ["Migrations", "Store", "StoreClosed", "StoreError", "StoreTooNew"]
